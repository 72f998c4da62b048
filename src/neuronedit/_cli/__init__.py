"""The command line, one file a verb. To say what it can do, nothing heavy is imported."""

from collections.abc import Sequence

from ._app import app_verb
from ._apply import apply_verb
from ._combine import combine_verb
from ._compare import compare_verb
from ._correct import correct_verb
from ._demo import demo_verb
from ._edit import edit_verb
from ._inspect import inspect_verb
from ._verb import Commands, print_version, run_option

VERBS = (correct_verb, edit_verb, combine_verb, apply_verb, compare_verb, inspect_verb, app_verb, demo_verb)

cli = Commands("neuronedit", commands=VERBS)
cli.params.append(run_option("--version", is_flag=True, is_eager=True, expose_value=False, callback=print_version,
                             help="Print the version and exit."))  # fmt: skip


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; what goes wrong is one line on stderr, and an exit code that is not 0."""
    return cli.main(arguments, standalone_mode=False)
