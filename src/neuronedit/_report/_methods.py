"""The text for the methods of a paper, with versions and citation, and the settings that repeat the run."""

import inspect
import json
import platform
from collections.abc import Callable, Mapping
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import numpy as np

from .._data.batches import DEFAULT_CONTROL, MEAN_OF_BATCHES
from .._data.record import Tool
from ..tl import combine, compare, correct, edit, train
from ._cells import CellSample
from ._result import Result

FUNCTIONS: dict[Tool, Callable[..., Any]] = {
    Tool.EDIT: edit,
    Tool.CORRECT: correct,
    Tool.COMBINE: combine,
    Tool.COMPARE: compare,
}
PACKAGES_NAMED = ("anndata", "numpy", "torch", "scikit-learn", "bokeh")
ARTICLE = "Amodio M, van Dijk D, Montgomery R, Wolf G, Krishnaswamy S. Out-of-Sample Extrapolation with Neuron Editing. arXiv:1805.12198, 2018."
ARTICLE_LINK = "https://arxiv.org/abs/1805.12198"
KEYS_OF_RUN = ("batch_key", "groupby")  # arguments that stand first, without their names
MAX_LETTERS_OF_LINE = 100
N_SEEDS_TRIED = 100


def list_versions(result: Result) -> dict[str, str]:
    """Return the versions of what was used: neuronedit's as the record has it, the others as they are installed."""
    found = {"neuronedit": result.written_by or version("neuronedit"), "Python": platform.python_version()}
    for name in PACKAGES_NAMED:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def write_citation(result: Result) -> list[str]:
    """Return what to cite: the method, and the software."""
    release = result.written_by or version("neuronedit")
    return [ARTICLE, f"The neuronedit developers. neuronedit, version {release}. BSD-3-Clause."]


def write_methods(result: Result, sample: CellSample | None) -> str:
    """Return a paragraph that says what was done."""
    sentences = [*_describe_values(result, sample), *_describe_space(result), *DESCRIPTIONS[result.tool](result)]
    rng = result.config.get("rng")
    versions = ", ".join(f"{name} {number}" for name, number in list_versions(result).items())
    sentences.append(f"{'' if rng is None else f'The random seed was {rng}. '}Software: {versions}.")
    return " ".join(sentences)


def _describe_values(result: Result, sample: CellSample | None) -> list[str]:
    """Say what was measured and how it was transformed."""
    if sample is None:
        return []
    text = f"The data comprise {sample.n_cells:,} cells with a role in the analysis and {sample.n_features:,} features."
    cofactors = result.scale.get("arcsinh")
    if cofactors:
        values = f"cofactor {cofactors[0]:g}" if len(cofactors) == 1 else "a cofactor for each channel"
        return [text, f"Values were transformed by arcsinh ({values})."]
    return [text, "Values were transformed by the logicle function."] if "logicle" in result.scale else [text]


def _describe_space(result: Result) -> list[str]:
    """Say in which space was worked."""
    if "config" not in result.space:
        return []
    config, name = json.loads(str(result.space["config"])), str(result.space["space"])
    widths = config["parameters"].get("widths")
    layers = f" with layers of {', '.join(map(str, widths))} units" if widths else ""
    epochs = config["training"].get("max_epochs") if isinstance(config.get("training"), Mapping) else None
    trained = f", trained for {epochs} epochs on all cells without labels" if epochs and widths else ""
    kind = {"autoencoder": "an autoencoder", "conv": "a convolutional autoencoder", "pca": "principal components"}
    return [f"Changes were fitted in {kind.get(name, f'the space {name!r}')}{layers}{trained}."]


def _describe_edit_of(config: Mapping[str, Any]) -> str:
    """Say how a change is fitted."""
    name, strata = config.get("edit"), config.get("strata")
    within = f" within strata of {strata!r}" if strata else ""
    if name == "auto":
        held_out = f"strata of {strata!r}" if strata else "matched populations and halves of the cells"
        return f"an ensemble of edits, weighted by cross-validation over {held_out} and stacking"
    if name == "paper":
        return "the percentile edit of neurons as published (Amodio et al. 2018)"
    return f"the {name} edit of neurons{within}"


def _describe_correction(result: Result) -> list[str]:
    config = result.config.get("fitted", result.config)
    reference, control = config.get("reference"), config.get("control")
    control = DEFAULT_CONTROL if control is None else control
    control = " or ".join(map(str, control)) if isinstance(control, list) else control
    goal = MEAN_OF_BATCHES if reference is None else f"that of the reference, {reference}"
    text = f"Batches ({config['batch_key']}) were corrected by their controls ({config['control_key']}: {control})."
    how = f"For each batch the change from its control to {goal} was fitted by {_describe_edit_of(config)}"
    applied = "" if result.config.get("strength", 1.0) == 1 else f" at a strength of {result.config['strength']:g}"
    return [text, f"{how}, and applied to all cells of the batch{applied}."]


def _describe_population(result: Result, role: str) -> str:
    """Return a population in words."""
    selector = result.config.get("fitted", result.config).get(role)
    if isinstance(selector, Mapping):
        parts = (f"{column}: {_join(values)}" for column, values in selector.items())
        return f"{role} ({'; '.join(parts)})"
    return f"{role} ({_join(selector)})"


def _join(values: Any) -> str:
    return ", ".join(map(str, values)) if isinstance(values, list) else str(values)


def _describe_edit(result: Result) -> list[str]:
    config = result.config.get("fitted", result.config)
    source, target = (_describe_population(result, role) for role in ("source", "target"))
    text = f"The change from the {source} to the {target} was fitted by {_describe_edit_of(config)}"
    if "model" in result.config:
        return [f"{text} on other cells, and applied to the query."]
    return [f"{text}, and applied to the {_describe_population(result, 'query')}."]


def _describe_combination(result: Result) -> list[str]:
    config = result.config
    effects = ", ".join(map(str, config["effects"]))
    text = (
        f"Combinations of {effects} ({config['groupby']}; control: {config['control']}) were predicted in both orders"
    )
    return [f"{text}: each effect was fitted by {_describe_edit_of(config)}, and applied to the cells under the other."]


def _describe_comparison(result: Result) -> list[str]:
    if result.scores is None:
        methods = ", ".join(map(str, result.config.get("methods", [])))
        return [f"Methods ({methods}) learned the change from source to target and predicted the query."]
    methods, metrics = (", ".join(map(str, result.scores[name].unique())) for name in ("method", "metric"))
    task = "learned the change from source to target and predicted the query"
    if result.config.get("held_out") is not None:
        task = f"learned the change from source to target without one value of {result.config['held_out']}, and predicted its cells; each value was held out in turn"
    return [f"Methods ({methods}) {task}.", f"Predictions were scored by {metrics}."]


DESCRIPTIONS = {
    Tool.EDIT: _describe_edit,
    Tool.CORRECT: _describe_correction,
    Tool.COMBINE: _describe_combination,
    Tool.COMPARE: _describe_comparison,
}


def write_call(result: Result) -> str:
    """Return the Python that repeats the run, on the same cells; what has its default is left out."""
    if result.tool is Tool.COMPARE and not result.config:
        return ""
    lines = ["import neuronedit as ne", "", *_write_training(result)]
    config = result.config
    if "model" in config:
        given = {name: config.get(name) for name in ("groupby", "query", "layer") if config.get(name) is not None}
        arguments = ["adata", repr(config["model"]), *(f"{name}={value!r}" for name, value in given.items())]
        return "\n".join([*lines, _format_call("ne.tl.apply", [*arguments, f"key_added={result.key!r}"])])
    defaults = {name: one.default for name, one in inspect.signature(FUNCTIONS[result.tool]).parameters.items()}
    arguments = ["adata"]
    for name, value in config.items():
        if name in KEYS_OF_RUN and value is not None:
            arguments.append(repr(value))
        elif name in defaults and name not in (*KEYS_OF_RUN, "edit_params") and not _is_default(value, defaults[name]):
            arguments.append(f"{name}={value!r}")
    arguments += [f"{name}={value!r}" for name, value in (config.get("edit_params") or {}).items() if value is not None]
    if result.tool is Tool.COMBINE and "before" in result.states:
        arguments.append("as_layers=True")
    if result.key != defaults.get("key_added"):
        arguments.append(f"key_added={result.key!r}")
    assigned = "predicted = " if result.tool is Tool.COMBINE and "before" not in result.states else ""
    assigned = "table = " if result.tool is Tool.COMPARE else assigned
    return "\n".join([*lines, _format_call(f"{assigned}{result.tool}", arguments)])


def _is_default(value: Any, default: Any) -> bool:
    value = value[0] if isinstance(value, list) and len(value) == 1 and isinstance(default, str) else value
    return value == default or (default is None and value in ({}, [], None))


def _write_training(result: Result) -> list[str]:
    """Return the call that trained the space."""
    if "config" not in result.space or "model" in result.config:
        return []
    config, name = json.loads(str(result.space["config"])), str(result.space["space"])
    lines, arguments = [], ["adata"]
    cofactors = result.scale.get("arcsinh") or []
    if config.get("layer") is not None and len(cofactors) == 1:
        lines = [f"ne.pp.arcsinh(adata, cofactor={cofactors[0]:g}, key_added={config['layer']!r})"]
    if name != inspect.signature(train).parameters["space"].default:
        arguments.append(f"space={name!r}")
    if config.get("layer") is not None:
        arguments.append(f"layer={config['layer']!r}")
    widths = config["parameters"].get("widths")
    if widths:
        arguments.append(f"widths={tuple(widths)!r}")
    training = config.get("training")
    if isinstance(training, Mapping) and widths:
        arguments.append(f"max_epochs={training['max_epochs']}")
        seed = _find_seed(training.get("rng"))
        arguments += [f"rng={seed}"] * bool(seed)
    return [*lines, _format_call("ne.tl.train", arguments)]


def _find_seed(drawn: Any) -> int | None:
    """Return the seed from which ne.tl.train has drawn its own, if it is a small one."""
    return next((seed for seed in range(N_SEEDS_TRIED) if np.random.default_rng(seed).integers(2**63) == drawn), None)


def _format_call(function: str, arguments: list[str]) -> str:
    """Return a call on one line, or with a line for each argument."""
    line = f"{function}({', '.join(arguments)})"
    if len(line) <= MAX_LETTERS_OF_LINE:
        return line
    return f"{function}(\n" + "".join(f"    {argument},\n" for argument in arguments) + ")"
