"""``neuronedit edit``: the change from source to target is applied to the query."""

import io
from pathlib import Path
from typing import Any

from ._design import check_edit, read_populations_of, save_fitted, train_space
from ._input import find_input, transform_cells
from ._options import (
    FILE,
    OUTPUT_HELP,
    SAVE_MODEL,
    edit_params,
    example,
    input_options,
    method_options,
    output_option,
    output_options,
    population_options,
    report_options,
    run_options,
)
from ._output import find_goal
from ._report import check_report, describe_edit, report_record, write_run_report
from ._screen import Outcome, Screen
from ._verb import Settings, Verb, refuse


def run_edit(screen: Screen, settings: Settings) -> Outcome:
    """Read, check, train, edit, write."""
    import neuronedit as ne

    from .._data.check import check_features, check_key
    from .._data.design import Design

    # check and read
    check_key(settings.key_added, "--key-added")
    files = find_input(settings)
    check_image(settings.biaxial)
    goal = find_goal(
        settings,
        files,
        [("--biaxial", settings.biaxial), ("--save-model", settings.save_model), *check_report(settings)],
    )
    adata = files.read(settings, screen)
    goal.check_cells(adata)
    check_features(adata, *filter(None, (settings.x, settings.y)))
    groups = read_populations_of(adata, settings, "source", "target", "query")
    params = edit_params(settings)
    Design.read(adata, settings.groupby, **groups, strata=settings.strata)
    layer = transform_cells(adata, files, settings, screen)
    check_edit(adata, params, layer, settings)

    # train and edit
    train_space(adata, settings, layer, screen)
    screen.step("Editing the query.")
    ne.tl.edit(adata, settings.groupby, **groups, **params, layer=layer, key_added=settings.key_added)

    # report and write
    record: Any = adata.uns[settings.key_added]
    expected = [record["ensemble"]["expected"]] if "ensemble" in record else []
    outcome = report_record(record, n_fitted=1, expected=expected)
    sentences, outcome.tables["features"] = describe_edit(adata, settings.key_added)
    for text in (outcome.verdict, *sentences):
        screen.say(text)
    image = [] if settings.biaxial is None else [draw_edit(adata, settings, groups, layer, outcome, screen)]
    model = save_fitted(adata, settings, screen)
    outcome.files = [*goal.write(adata, settings, screen), *image, *model]
    outcome.files += write_run_report(adata, settings, screen, key=settings.key_added)
    return outcome


def check_image(path: Path | None) -> None:
    """Refuse an image of a kind that cannot be drawn."""
    if path is None:
        return
    from matplotlib.backend_bases import FigureCanvasBase

    if (kind := path.suffix.lower().removeprefix(".")) not in (kinds := FigureCanvasBase.filetypes):
        refuse(f"--biaxial {path}: {kind!r} is no kind of image; choose {', '.join(sorted(kinds))}.")


def draw_edit(
    adata: Any, settings: Settings, groups: dict[str, Any], layer: str | None, outcome: Outcome, screen: Screen
) -> Path:
    """Draw the cells before and after, on the features that moved most unless others are named."""
    moved = [row["feature"] for row in outcome.tables["features"]]
    x, y = settings.x or moved[0], settings.y or moved[min(1, len(moved) - 1)]
    shown = {"x": x, "y": y, "layers": [layer, settings.key_added]}
    if settings.groupby is not None:
        named = list(dict.fromkeys([*groups["source"], *groups["target"], *groups["query"]]))
        shown |= {"groupby": settings.groupby, "groups": named}
    else:
        shown["groupby"] = next(iter(groups["source"]))
    screen.step(f"Drawing {settings.biaxial}.")
    draw_biaxial(adata, settings.biaxial, **shown)
    return settings.biaxial


def draw_biaxial(adata: Any, path: Path, **arguments: Any) -> None:
    """Write an image whole or not at all."""
    import matplotlib

    matplotlib.use("agg")
    import neuronedit as ne

    from ..io._atomic import replacing

    image = io.BytesIO()
    ne.pl.biaxial(adata, **arguments, return_fig=True).savefig(image, dpi=150, format=path.suffix.removeprefix("."))
    with replacing(path) as temporary:
        temporary.write_bytes(image.getbuffer())


edit_verb = Verb(
    "edit",
    run_edit,
    short_help="Apply the change from source to target to the query.",
    help="Learn what changes from the source to the target and change the query the same way. By default several edits are "
    "compared by cross-validation and combined; where no change generalizes, the cells are left alone."
    + example(
        "neuronedit edit cells.h5ad --groupby group --source control_1 --target control_2 \\\n"
        "    --query sample_1 --strata cell_type -o edited.h5ad"
    ),
    params=[
        *input_options(),
        *population_options(query="Cells to edit; may be given several times. Required: the error lists the values that are left."),
        *method_options("auto", "How the change is learned: auto (an ensemble weighted by cross-validation), paper, percentile, shift, affine, "
                        "gaussian_ot, local or transport.", "Column whose values are held out in turn, such as cell types or donors."),
        *output_options("edited", OUTPUT_HELP),
        SAVE_MODEL,
        output_option("--biaxial", type=FILE, metavar="PNG", help="Also draw the cells before and after."),
        output_option("--x", metavar="FEATURE", help="On the x axis of it.  [default: what the edit moves most]"),
        output_option("--y", metavar="FEATURE", help="On the y axis of it.  [default: what it moves second most]"),
        *report_options(),
        *run_options(),
    ],
)  # fmt: skip
