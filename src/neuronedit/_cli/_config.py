"""Arguments in a YAML file: read as if they stood on the command line, and written beside every output."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from ._screen import join_words

ABOUT = ("command", "neuronedit")  # keys that are no arguments: the verb, and the version that wrote the file
OF_ONE_RUN = ("config", "overwrite", "quiet", "json")  # what concerns one run alone


def load_config(ctx: click.Context, parameter: click.Parameter, path: Path | None) -> None:
    """Take the arguments of a YAML file for those that the command line does not give."""
    if path is None:
        return
    content = _read_yaml(path)
    parameters = _name_parameters(ctx.command)
    if unknown := [name for name in content if name not in parameters and name not in ABOUT]:
        names = ", ".join(parameters)
        raise click.UsageError(
            f"{path}: {join_words(unknown)} is no argument of {ctx.command.name}; it has {names}.", ctx
        )
    if content.get("command", ctx.command.name) != ctx.command.name:
        text = f"{path} is for neuronedit {content['command']}, not for neuronedit {ctx.command.name}."
        raise click.UsageError(text, ctx)
    given = {}
    for name, value in content.items():
        if name in parameters and value != "":
            given[parameters[name].name] = _to_argument(parameters[name], value, path)
    ctx.default_map = given


def _read_yaml(path: Path) -> dict[str, Any]:
    """Return the keys of a YAML file and their values, which stay words: `no` and `1` may be names of batches."""
    import yaml

    try:
        content = yaml.load(path.read_text(encoding="utf-8"), yaml.BaseLoader)
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise click.UsageError(f"--config {path} cannot be read as YAML: {reason}.") from None
    if content in (None, ""):
        return {}
    if not isinstance(content, dict) or not all(isinstance(name, str) for name in content):
        raise click.UsageError(f"--config {path} must hold arguments, one a line, such as 'batch-key: batch'.")
    return {name.replace("_", "-"): value for name, value in content.items()}


def _name_parameters(command: click.Command) -> dict[str, click.Parameter]:
    """Return the parameters of a verb by the names that they have in YAML: those of the command line, without dashes."""
    named: dict[str, click.Parameter] = {}
    for parameter in command.params:
        if parameter.name in ("config", "help"):
            continue
        long = [name.removeprefix("--") for name in parameter.opts if name.startswith("--")]
        named |= dict.fromkeys(long or [str(parameter.name)], parameter)
    return named


def _to_argument(parameter: click.Parameter, value: Any, path: Path) -> Any:
    """Return a value as the command line would give it; a path is relative to the YAML file."""
    takes_several = parameter.multiple or parameter.nargs != 1
    values = value if isinstance(value, list) else [value]
    if any(isinstance(one, Mapping | list) for one in values):
        raise click.UsageError(f"{path}: {parameter.name} must be a value, or a list of values.")
    if len(values) != 1 and not takes_several:
        raise click.UsageError(f"{path}: {parameter.name} is one value; there are {len(values)}.")
    if isinstance(parameter.type, click.Path):
        values = [os.path.join(os.path.realpath(path.parent), one) for one in values]
    return values if takes_several else values[0]


def format_config(command: click.Command, settings: Any, path: Path, project: Path) -> str:
    """Return the YAML that repeats a run, as it stands at a path; what lies in the project's folder is named relative to it."""
    import yaml

    content = _head(command)
    for name, parameter, value in _list_given(command, settings):
        content[name] = _to_yaml(value, (path.parent, project) if isinstance(parameter.type, click.Path) else None)
    text = yaml.safe_dump(content, sort_keys=False, allow_unicode=True, width=120)
    return f"# Repeats the run that wrote what is beside it: neuronedit {command.name} --config {path.name}\n{text}"


def list_arguments(command: click.Command, settings: Any, *, has_paths: bool) -> dict[str, Any]:
    """Return the arguments of a run as they may be shown to others: of paths their names alone, or none of them."""
    content = _head(command)
    for name, parameter, value in _list_given(command, settings):
        if not isinstance(parameter.type, click.Path):
            content[name] = list(value) if isinstance(value, tuple) else value
        elif has_paths:
            content[name] = [Path(one).name for one in value] if isinstance(value, tuple) else Path(value).name
    return content


def _head(command: click.Command) -> dict[str, Any]:
    """Return the keys that are no arguments: the verb and the version."""
    from importlib.metadata import version

    return {"command": command.name, "neuronedit": version("neuronedit")}


def _list_given(command: click.Command, settings: Any) -> list[tuple[str, click.Parameter, Any]]:
    """Return the arguments of a run that are of more than this run: their names, parameters and values."""
    given: list[tuple[str, click.Parameter, Any]] = []
    for name, parameter in _name_parameters(command).items():
        value = getattr(settings, str(parameter.name), None)
        is_written = any(parameter is other for _, other, _ in given)  # some have two names
        if not is_written and parameter.name not in OF_ONE_RUN and value is not None and value != ():
            given.append((name, parameter, value))
    return given


def _to_yaml(value: Any, folders: tuple[Path, Path] | None) -> Any:
    """Return a value for YAML; of a path, given the folders of the YAML file and of the project: relative if it is in the project."""
    if isinstance(value, tuple | list):
        return [_to_yaml(one, folders) for one in value]
    if folders is None:
        return value
    whole, (own, project) = Path(os.path.realpath(value)), map(os.path.realpath, folders)
    end = "/" if str(value).endswith("/") else ""
    return (os.path.relpath(whole, own) if whole.is_relative_to(project) else str(whole)) + end
