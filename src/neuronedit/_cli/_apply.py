"""``neuronedit apply``: a change that was saved is applied to other cells."""

from typing import Any

from ._design import read_selector
from ._input import find_input, transform_cells
from ._options import (
    FILE,
    OUTPUT_HELP,
    design_option,
    example,
    input_options,
    method_option,
    output_options,
    report_options,
    run_options,
)
from ._output import find_goal
from ._report import check_report, describe_edit, report_record, write_run_report
from ._screen import Outcome, Screen
from ._verb import Settings, Verb, refuse


def run_apply(screen: Screen, settings: Settings) -> Outcome:
    """Read the model and the cells, apply, write."""
    import neuronedit as ne

    from .._data.check import check_key
    from .._data.record import Tool, find_tool

    # check and read
    check_key(settings.key_added, "--key-added")
    files = find_input(settings)
    goal = find_goal(settings, files, check_report(settings))
    model: Any = ne.io.load_model(settings.model)
    is_correction = any(find_tool(record) is Tool.CORRECT for record in model.uns.values())
    if not settings.query and not is_correction and not settings.all_cells:
        refuse(
            "--query is required: the cells to edit. --all-cells takes all, those that have changed already among them."
        )
    adata = files.read(settings, screen)
    goal.check_cells(adata)
    takes_all = settings.all_cells or not settings.query
    query = adata.obs_names if takes_all else read_selector(adata, settings.groupby, settings.query, "--query")
    groupby = None if takes_all and not is_correction else settings.groupby
    layer = transform_cells(adata, files, settings, screen, model)

    # apply
    screen.step(f"Applying {settings.model}.")
    how = {"strength": settings.strength, "bounds": settings.bounds or None, "accelerator": settings.accelerator}
    if is_correction and takes_all and groupby is not None:
        query = list(adata.obs[groupby].unique()) if groupby in adata.obs else []
    ne.tl.apply(adata, settings.model, groupby, query=query, layer=layer, key_added=settings.key_added, **how)
    screen.begin()

    # report and write
    record = adata.uns[settings.key_added]
    outcome = report_record(record, n_fitted=1)
    sentences: list[str] = []
    if not is_correction:
        sentences, outcome.tables["features"] = describe_edit(adata, settings.key_added)
    for text in (outcome.verdict, *sentences):
        screen.say(text)
    outcome.files = [*goal.write(adata, settings, screen)]
    outcome.files += write_run_report(adata, settings, screen, key=settings.key_added)
    return outcome


apply_verb = Verb(
    "apply",
    run_apply,
    short_help="Apply a saved change to other cells.",
    help="Apply what neuronedit edit or correct has kept with --save-model to other cells: nothing is trained. A batch correction "
    "corrects every cell as its batch was; FCS files are transformed as those of the model were."
    + example("neuronedit apply new.h5ad --model batch.safetensors -o corrected.h5ad"),
    params=[
        *input_options(),
        design_option("--model", required=True, type=FILE, metavar="PATH", help="What --save-model has written."),
        design_option("--groupby", metavar="COLUMN", help="Column that the values of --query are in; of a batch correction, the batches.  [default: as the model was made]"),
        design_option("--query", multiple=True, metavar="VALUE", help="Cells to change; may be given several times. Without --groupby they are COLUMN=VALUE. A batch correction needs none: all cells."),
        design_option("--all-cells", is_flag=True, help="Change all cells."),
        method_option("--strength", type=float, metavar="X", default=1.0, help="Share of the change that is applied: 0 leaves the cells alone."),
        method_option("--bounds", type=float, nargs=2, metavar="LOW HIGH", help="Clip the changed values to this range."),
        *output_options("edited", OUTPUT_HELP),
        *report_options(),
        *run_options(has_rng=False),
    ],
)  # fmt: skip
