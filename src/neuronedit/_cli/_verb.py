"""What all verbs share: sections in their help, errors as one line, and exit codes."""

import difflib
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from types import FrameType, SimpleNamespace
from typing import Any, NoReturn

import click

from ._screen import EPILOG, ExitCode, Outcome, Screen, fail

ERRORS = (ImportError, KeyError, OSError, RuntimeError, TypeError, ValueError)  # RuntimeError: torch's and HDF5's
THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")

Settings = SimpleNamespace  # the values of all options of a verb, by their names


class Failure(click.ClickException):
    """What stopped a verb, as one line."""

    def __init__(self, message: Any, *, as_json: bool) -> None:
        super().__init__(str(message))
        self.as_json = as_json


class SectionOption(click.Option):
    """An option that stands in a section of the help."""

    def __init__(self, *names: Any, section: str = "", **settings: Any) -> None:
        super().__init__(*names, **settings)
        self.section = section


class Verb(click.Command):
    """A verb: its function is given a `Screen` and the settings, and returns an `Outcome`."""

    def __init__(self, name: str, run: Callable[[Screen, Settings], Outcome], **settings: Any) -> None:
        context = {"show_default": True, "max_content_width": 110, "help_option_names": ["-h", "--help"]}
        super().__init__(name, callback=run, epilog=EPILOG, context_settings=context, **settings)

    def invoke(self, ctx: click.Context) -> int:
        """Run the verb; every error that has a reason becomes a `Failure`."""
        from .._progress import showing_progress

        settings = Settings(**ctx.params, command=self)
        screen = Screen(*(ctx.params.get(name, False) for name in ("quiet", "json", "progress")))
        try:
            set_threads(ctx.params.get("threads"))
            with screen.showing_log(), showing_progress(screen.has_bars):
                assert self.callback is not None
                outcome = self.callback(screen, settings)
            screen.finish(outcome)
        except KeyboardInterrupt:
            raise click.Abort from None
        except MemoryError:
            raise Failure("there is not enough memory.", as_json=screen.as_json) from None
        except ERRORS as error:
            message = error.args[0] if isinstance(error, KeyError) and error.args else error
            raise Failure(message, as_json=screen.as_json) from None
        return int(outcome.exit_code)

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the options under the headings of their sections."""
        sections: dict[str, list[tuple[str, str]]] = {}
        for parameter in self.get_params(ctx):
            row = parameter.get_help_record(ctx)
            if row is not None:
                sections.setdefault(getattr(parameter, "section", "Run"), []).append(row)
        for heading, rows in sections.items():
            with formatter.section(heading):
                formatter.write_dl(rows)


class Commands(click.Group):
    """All verbs; `main` returns or exits with the code of `ExitCode`."""

    def __init__(self, name: str, commands: Sequence[click.Command]) -> None:
        context = {"max_content_width": 110, "help_option_names": ["-h", "--help"]}
        text = (
            "Apply a change that was measured in some cells to others.\n\nneuronedit VERB --help says more of a verb."
        )
        verbs = {command.name: command for command in commands if command.name}
        super().__init__(name, commands=verbs, help=text, epilog=EPILOG, context_settings=context,
                         subcommand_metavar="VERB [OPTIONS]", no_args_is_help=False)  # fmt: skip

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the verbs in the order in which they are needed."""
        return list(self.commands)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Read the arguments up to the verb."""
        if not args:
            ctx.fail(f"No verb is given; there are {', '.join(self.commands)}.")
        return super().parse_args(ctx, args)

    def resolve_command(self, ctx: click.Context, args: list[str]) -> Any:
        """Find a verb; of one that does not exist name the nearest."""
        if args and args[0] not in self.commands and not args[0].startswith("-"):
            near = difflib.get_close_matches(args[0], self.commands, n=1)
            hint = f" Did you mean {near[0]!r}?" if near else ""
            ctx.fail(f"There is no verb {args[0]!r}; there are {', '.join(self.commands)}.{hint}")
        return super().resolve_command(ctx, args)

    def main(  # type: ignore[override]
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        *,
        standalone_mode: bool = True,
        **extra: Any,
    ) -> int:
        """Run a command line."""
        args = list(sys.argv[1:] if args is None else args)
        code = self._run(args, **extra)
        if standalone_mode:
            sys.exit(code)
        return code

    def _run(self, args: list[str], **extra: Any) -> int:
        as_json = "--json" in args
        try:
            with terminated_as_interrupted():
                code = super().main(args, "neuronedit", standalone_mode=False, **extra)
        except click.Abort:
            text = "interrupted; no file was changed that is not named above."
            return fail(text, ExitCode.INTERRUPTED, as_json=as_json)
        except Failure as error:
            return fail(error.format_message(), ExitCode.BAD_INPUT, as_json=error.as_json)
        except click.UsageError as error:
            help_of = f" See {error.ctx.command_path} --help." if error.ctx else ""
            return fail(error.format_message() + help_of, ExitCode.BAD_INPUT, as_json=as_json)
        except click.ClickException as error:
            return fail(error.format_message(), ExitCode.BAD_INPUT, as_json=as_json)
        except OSError as error:  # of a help text
            return fail(error, ExitCode.BAD_INPUT)
        return int(code or 0)


def option(section: str, *names: str, **settings: Any) -> SectionOption:
    """Return an option for a section of the help."""
    return SectionOption(list(names), section=section, **settings)


run_option = partial(option, "Run")


def print_version(ctx: click.Context, parameter: click.Parameter, value: bool) -> None:
    """Print the version and end."""
    if value:
        from importlib.metadata import version

        click.echo(f"neuronedit {version('neuronedit')}")
        ctx.exit()


@contextmanager
def terminated_as_interrupted() -> Iterator[None]:
    """Take SIGTERM, which schedulers and containers send, for Ctrl-C; it works where SIGINT is ignored, as in jobs in the background."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def interrupt(number: int, frame: FrameType | None) -> None:
        handler = signal.getsignal(signal.SIGINT)
        if not callable(handler):
            raise KeyboardInterrupt
        handler(signal.SIGINT, frame)

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL if before is None else before)  # None: not set by Python


def set_threads(threads: int | None) -> None:
    """Compute with so many threads."""
    if threads is None:
        return
    if "numpy" not in sys.modules:  # these are read once, when it is loaded
        os.environ.update(dict.fromkeys(THREAD_VARIABLES, str(threads)))
    import torch

    torch.set_num_threads(threads)


def refuse(text: str) -> NoReturn:
    """Refuse arguments."""
    raise ValueError(text)
