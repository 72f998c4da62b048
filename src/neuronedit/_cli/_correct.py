"""``neuronedit correct``: every batch is corrected by its control."""

from typing import Any

from ._design import check_edit, read_bridge, read_selector, read_value, read_values, save_fitted, train_space
from ._input import find_input, transform_cells
from ._options import (
    OUTPUT_HELP,
    SAVE_MODEL,
    design_option,
    edit_params,
    example,
    input_options,
    method_options,
    output_options,
    report_options,
    run_options,
)
from ._output import find_goal
from ._report import check_report, report_record, write_run_report, write_verdict_lines
from ._screen import Outcome, Screen, to_records
from ._verb import Settings, Verb

BATCH_COLUMNS_SHOWN = [
    "status",
    "how",
    "n_controls",
    "n_samples",
    "outside",
    "flagged",
    "expected",
]  # of the table of batches


def run_correct(screen: Screen, settings: Settings) -> Outcome:
    """Read, check, train, correct, write."""
    import neuronedit as ne

    from .._data.check import check_key

    # check and read
    check_key(settings.key_added, "--key-added")
    files = find_input(settings)
    goal = find_goal(settings, files, [("--save-model", settings.save_model), *check_report(settings)])
    adata = files.read(settings, screen)
    goal.check_cells(adata)
    asked = read_correction(adata, settings)
    check_correction(adata, asked, settings.strata)
    layer = transform_cells(adata, files, settings, screen)
    params = edit_params(settings)
    check_edit(adata, params, layer, settings)

    # train and correct
    train_space(adata, settings, layer, screen)
    screen.step("Correcting the batches.")
    ne.tl.correct(adata, **asked, **params, layer=layer, key_added=settings.key_added, progress_bar=screen.has_bars)

    # report and write
    record: Any = adata.uns[settings.key_added]
    batches = record["batches"]
    is_fitted = batches["status"].isin(["corrected", "bridged"])
    outcome = report_record(record, n_fitted=int(is_fitted.sum()), expected=batches.loc[is_fitted, "expected"])
    outcome.tables["batches"] = to_records(batches[BATCH_COLUMNS_SHOWN], "batch")
    outcome.lines = write_verdict_lines(adata, settings.key_added) if screen.as_json else []
    if "held_out" in record:
        outcome.tables["held_out"] = to_records(record["held_out"], "batch")
    screen.say(outcome.verdict)
    for batch, how in batches["how"].items():
        screen.say(f"  {batch}: {how}")
    model = save_fitted(adata, settings, screen)
    outcome.files = [*goal.write(adata, settings, screen), *model]
    outcome.files += write_run_report(adata, settings, screen, key=settings.key_added)
    return outcome


def read_correction(adata: Any, settings: Settings) -> dict[str, Any]:
    """Return the design of a correction as the tool takes it."""
    controls = read_values(adata, settings.control_key, settings.control)
    return {
        "batch_key": settings.batch_key,
        "control_key": settings.control_key,
        "control": controls[0] if len(controls) == 1 else tuple(controls) or None,
        "reference": read_value(adata, settings.batch_key, settings.reference),
        "sample_key": settings.sample_key,
        "bridge": read_bridge(adata, settings.batch_key, settings.bridge) or None,
        "held_out_controls": read_selector(adata, None, settings.held_out_control, "--held-out-control"),
    }


def check_correction(adata: Any, asked: dict[str, Any], strata: str | None) -> None:
    """Refuse, before the training, columns and batches that do not exist, and controls that are too few."""
    from .._data.batches import read_batches
    from .._data.check import get_labels

    if asked["sample_key"] is not None:
        get_labels(adata, asked["sample_key"])
    design: dict[str, Any] = {name: value for name, value in asked.items() if name not in ("batch_key", "sample_key")}
    design |= {"bridge": asked["bridge"] or {}, "strata": strata}
    read_batches(adata, asked["batch_key"], **design, samples=None)


DESIGN = [
    design_option("--batch-key", required=True, metavar="COLUMN", help="Column of obs, or of the metadata, with the batches."),
    design_option("--control-key", required=True, metavar="COLUMN", help="Column that says which cells are controls: the same material in every batch."),
    design_option("--control", multiple=True, metavar="VALUE", help="Value that marks controls; may be given several times.  [default: control, or True in a column of truth values]"),
    design_option("--reference", metavar="BATCH", help="The batch to which all others are corrected.  [default: the mean of all batches]"),
    design_option("--sample-key", metavar="COLUMN", help="Column with the samples: says which controls are the same samples, and whose composition to compare.  [default: the file, of FCS files]"),
    design_option("--bridge", multiple=True, metavar="BATCH=OTHER", help="For a batch without a control: another batch that it moves like, or BATCH=COLUMN=VALUE for cells that other batches have as well."),
    design_option("--held-out-control", multiple=True, metavar="COLUMN=VALUE", help="Controls that are not used but scored."),
]  # fmt: skip

correct_verb = Verb(
    "correct",
    run_correct,
    short_help="Correct every batch by its control.",
    help="Correct every batch by its control: what changes from its control to the reference's is applied to its samples. "
    "What a sample differs in from the control stays."
    + example(
        "neuronedit correct fcs --metadata samples.csv --panel panel.csv --batch-key batch \\\n"
        "    --control-key role --reference B1 --cofactor 5 -o corrected"
    ),
    params=[
        *input_options(),
        *DESIGN,
        *method_options("", "How each batch's change is learned.  [default: percentile if strata are named, else auto]",
                        "Column with cell types that controls and samples share."),
        *output_options("corrected", OUTPUT_HELP),
        SAVE_MODEL,
        *report_options(),
        *run_options(),
    ],
)  # fmt: skip
