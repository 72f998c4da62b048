"""Options that several verbs share, written once, in the order in which a user needs them."""

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from ._config import load_config
from ._verb import SectionOption, option, run_option

FILE = click.Path(path_type=Path)

cells_option = partial(option, "Cells")
design_option = partial(option, "Design")
method_option = partial(option, "Method")
output_option = partial(option, "Output")


INPUT_HELP = "One .h5ad file, one .zarr store, one folder of FCS files, or several FCS files."


class InputArgument(click.Argument):
    """What is read; it stands first in the help."""

    section = "Cells"

    def consume_value(self, ctx: click.Context, opts: Mapping[str, Any]) -> Any:
        """Return the value; before click 8.2 an argument of several values was not looked up in the defaults."""
        value, source = super().consume_value(ctx, opts)
        if not value and (ctx.default_map or {}).get(self.name):
            return (ctx.default_map or {})[self.name], ParameterSource.DEFAULT_MAP
        return value, source

    def get_help_record(self, ctx: click.Context) -> tuple[str, str]:
        """Return its row of the help."""
        return "INPUT...", f"{INPUT_HELP}  [required]"


def input_options() -> list[click.Parameter]:
    """Return what says which cells are read, and how they are transformed."""
    return [
        InputArgument(["input"], nargs=-1, required=True, type=FILE, metavar="INPUT..."),
        cells_option("--metadata", type=FILE, metavar="CSV", help="Of FCS files: a table with one row a file; its columns become columns of obs."),
        cells_option("--panel", type=FILE, metavar="CSV", help="Of FCS files: a table with one row a channel: its marker, its class, its cofactor."),
        cells_option("--compensate", is_flag=True, help="Of FCS files: apply the spillover matrix that they hold."),
        cells_option("--spillover", type=FILE, metavar="CSV", help="Of FCS files: apply this spillover matrix instead of theirs."),
        cells_option("--cofactor", type=click.FloatRange(min=0, min_open=True), metavar="X", help=(
            "First apply arcsinh(x / cofactor): 5 is usual for mass cytometry, 150 for flow cytometry. Of FCS files only to the channels "
            "that the panel uses; without it, the panel's column cofactor is taken.")),
        cells_option("--layer", metavar="NAME", help="Read this layer of an .h5ad or .zarr file instead of X."),
    ]  # fmt: skip


def population_options(*, query: str, is_required: bool = True) -> list[SectionOption]:
    """Return what says which cells are source, target and query."""
    several = {"multiple": True, "metavar": "VALUE"}
    return [
        design_option("--groupby", metavar="COLUMN", help=(
            "Column of obs that the values of the options below are in. Without it they are COLUMN=VALUE, all of which must hold.")),
        design_option("--source", required=is_required, help="Cells before the change; may be given several times.", **several),
        design_option("--target", required=is_required, help="Cells after the change; may be given several times.", **several),
        design_option("--query", help=query, **several),
    ]  # fmt: skip


def method_options(edit: str, edit_help: str, strata_help: str) -> list[SectionOption]:
    """Return how a change is learnt and how much of it is applied."""
    return [
        method_option("--edit", default=edit or None, metavar="NAME", help=edit_help),
        method_option("--strata", metavar="COLUMN", help=strata_help),
        method_option("--strength", type=float, metavar="X", default=1.0, help="Share of the change that is applied: 0 leaves the cells alone."),
        method_option("--bounds", type=float, nargs=2, metavar="LOW HIGH", help="Clip the changed values to this range."),
        method_option("--axes", metavar="NAME", help="For an edit of neurons, what it edits along: neurons or principal."),
        method_option("--space", default="auto", metavar="NAME", help="Space to edit in: autoencoder, conv, pca, identity, or auto: pca for more than 60 features, else autoencoder."),
        method_option("--max-epochs", type=click.IntRange(min=1), metavar="N", help="Passes over the cells in the training.  [default: enough for 2,500 steps]"),
    ]  # fmt: skip


def output_options(key_added: str, output_help: str) -> list[SectionOption]:
    """Return what is written."""
    return [
        output_option("--output", "-o", required=True, type=click.Path(path_type=str), metavar="PATH", help=output_help),
        output_option("--overwrite", is_flag=True, help="Replace files that exist, the input among them. FCS files are never replaced by their own correction."),
        output_option("--key-added", default=key_added, metavar="NAME", help="Name of the layer, and of the record in uns."),
    ]  # fmt: skip


def report_options() -> list[SectionOption]:
    """Return what says whether a report is written, and under which names."""
    return [
        output_option("--report", type=FILE, metavar="HTML", help="Also write a report of the run: one HTML file, to read and to show."),
        output_option("--anonymize", is_flag=True, help="In the report, call samples, batches, donors, files and treatments by numbers."),
    ]  # fmt: skip


OUTPUT_HELP = "A name that ends in .h5ad or .zarr; else what the input is, for FCS files a folder. A folder for FCS files may end in '/'."

SAVE_MODEL = output_option(
    "--save-model", type=FILE, metavar="PATH", help="Also keep the trained space and the change, for neuronedit apply."
)


def run_options(*, has_rng: bool = True, has_accelerator: bool = True) -> list[SectionOption]:
    """Return how a verb runs."""
    rng = run_option(
        "--rng", "--seed", type=click.IntRange(min=0), metavar="N", default=0, help="Seed of what is drawn at random."
    )
    accelerator = run_option(
        "--accelerator", default="auto", metavar="NAME", help="Where to compute: auto, cpu, cuda, mps, cuda:1."
    )
    return [
        run_option("--config", type=FILE, is_eager=True, expose_value=False, callback=load_config, metavar="YAML",
                   help="Take arguments from this file; those of the command line win. Its paths are relative to its folder."),
        *([rng] if has_rng else []),
        *([accelerator] if has_accelerator else []),
        run_option("--threads", type=click.IntRange(min=1), metavar="N", help="Compute with so many threads.  [default: as many as there are cores]"),
        run_option("--quiet", is_flag=True, help="No progress on stderr; warnings, errors and the verdict stay."),
        run_option("--progress", is_flag=True, help="Progress bars on stderr where it is no terminal, too: for programs that read them."),
        run_option("--json", is_flag=True, help="Print one JSON object: exit_code, verdict, alarms, tables, files; or exit_code and error."),
    ]  # fmt: skip


def example(text: str) -> str:
    """Return an example call for a help text, whose lines are kept."""
    lines = "\n".join(f"  {line}" for line in text.strip().splitlines())
    return f"\n\n\b\nExample:\n{lines}"


def edit_params(settings: Any) -> dict[str, Any]:
    """Return the parameters of an edit, as the tools take them."""
    how = {"edit": settings.edit, "strata": settings.strata, "strength": settings.strength}
    how |= {"bounds": settings.bounds or None, "accelerator": settings.accelerator, "rng": settings.rng}
    return how | ({} if settings.axes is None else {"axes": settings.axes})
