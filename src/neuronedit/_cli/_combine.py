"""``neuronedit combine``: cells under two treatments from cells under one."""

from typing import Any

from ._design import check_edit, read_value, read_values, train_space
from ._input import find_input, transform_cells
from ._options import (
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
from ._report import check_report, report_record, write_run_report
from ._screen import Outcome, Screen, to_records
from ._verb import Settings, Verb


def run_combine(screen: Screen, settings: Settings) -> Outcome:
    """Read, check, train, predict, write."""
    import neuronedit as ne

    from .._data.check import check_key
    from .._data.design import read_treatments
    from ..tl._combine import read_orders

    # check and read
    check_key(settings.key_added, "--key-added")
    files = find_input(settings)
    goal = find_goal(settings, files, [("--save-model", settings.save_model), *check_report(settings)], fcs=False)
    adata = files.read(settings, screen)
    control = read_value(adata, settings.groupby, settings.control)
    effects = read_values(adata, settings.groupby, settings.effect)
    rows = read_treatments(adata, settings.groupby, control, effects)
    read_orders(adata, rows, control, effects, strata=settings.strata)
    layer = transform_cells(adata, files, settings, screen)
    params = edit_params(settings)
    check_edit(adata, params, layer, settings)

    # train and predict
    train_space(adata, settings, layer, screen)
    screen.step(f"Predicting every combination of {len(effects)} treatments.")
    named: dict[str, Any] = {"control": control, "effects": effects, "layer": layer, "key_added": settings.key_added}
    predicted: Any = ne.tl.combine(adata, settings.groupby, **named, **params, progress_bar=screen.has_bars)

    # report and write
    record = predicted.uns[settings.key_added]
    orders, combinations = record["orders"], record["combinations"]
    outcome = report_record(record, n_fitted=len(orders), expected=orders["expected"])
    outcome.tables["combinations"] = to_records(combinations, "combination")
    outcome.tables["orders"] = to_records(orders[["from", "effect", "n_cells", "outside", "expected"]])
    screen.say(outcome.verdict)
    screen.say(f"Predicted {predicted.n_obs:,} cells of {len(combinations)} combinations.")
    model = []
    if settings.save_model is not None:
        ne.io.save_model(adata, settings.save_model, key="neuronedit")
        model = [settings.save_model]
    outcome.files = [*goal.write(predicted, settings, screen), *model]
    outcome.files += write_run_report(predicted, settings, screen, key=settings.key_added, measured=adata)
    return outcome


combine_verb = Verb(
    "combine",
    run_combine,
    short_help="Predict cells under two treatments from cells under one.",
    help="Predict cells under every combination of two treatments from cells under one of them, in both orders. Where the two "
    "orders disagree, trust neither: the effects do not add up, or the edit hardly reproduces them. The output holds the predicted cells alone."
    + example("neuronedit combine drugs.h5ad --groupby drug --control none --effect A --effect B -o both.h5ad"),
    params=[
        *input_options(),
        design_option("--groupby", required=True, metavar="COLUMN", help="Column of obs with the treatments."),
        design_option("--control", required=True, metavar="VALUE", help="The cells without treatment."),
        design_option("--effect", required=True, multiple=True, metavar="VALUE", help="A treatment; give two or more."),
        *method_options("auto", "How an effect is learned, as in neuronedit edit.", "Column whose values are held out in turn, such as cell types or donors."),
        *output_options("combined", "A name that ends in .h5ad or .zarr; else what the input is."),
        SAVE_MODEL,
        *report_options(),
        *run_options(),
    ],
)  # fmt: skip
