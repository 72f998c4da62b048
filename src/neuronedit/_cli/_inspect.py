"""``neuronedit inspect``: what is in the cells, and what a correction of them would lack, before any work."""

from collections.abc import Mapping
from typing import Any

from ._design import read_values
from ._input import FileKind, find_cofactors, find_input, list_used, transform_cells
from ._options import design_option, example, input_options, run_options
from ._screen import ExitCode, Outcome, Screen, join_words, to_records
from ._verb import Settings, Verb

MIN_RAW_VALUE = 20.0  # arcsinh and log1p end at about 12: what reaches this looks raw
MIN_CONTROL_CELLS = 200  # of the control of a batch, for its composition
MAX_CONTROL_CELLS = 2_000  # of each: enough for shares within some hundredths, in seconds
MAX_VALUES_LISTED = 8  # of a column of obs
MAX_VALUES = 500  # of a column that could name batches or controls


def run_inspect(screen: Screen, settings: Settings) -> Outcome:
    """Read, look, and say what was found and what is missing."""
    files = find_input(settings)
    adata = files.read(settings, screen)
    check_columns(adata, settings)
    outcome, problems = Outcome(), Problems()
    layer = _transform_if_known(adata, files, settings, screen, problems)
    screen.begin()

    # what is there
    screen.say(f"{adata.n_obs:,} cells, {adata.n_vars:,} features; layers: {', '.join(_list_layers(adata)) or 'none'}")
    if "file" in adata.obs:
        counts = adata.obs["file"].value_counts(sort=False)
        outcome.tables["files"] = [{"file": name, "n_cells": int(n)} for name, n in counts.items()]
        show_table(screen, "Files", outcome.tables["files"])
    panel = [name for name in ("channel", "marker", "class", "used", "cofactor") if name in adata.var]
    if panel:
        outcome.tables["panel"] = to_records(adata.var[panel], "feature")
        show_table(screen, "Panel", outcome.tables["panel"])
    outcome.tables["columns"], outcome.tables["values"] = _describe_columns(adata), _list_values(adata)
    outcome.tables["layers"], outcome.tables["size"] = _list_layers(adata), [adata.n_obs, adata.n_vars]
    if settings.batch_key is None:
        show_table(screen, "Columns of obs", outcome.tables["columns"])
    else:
        outcome.tables["batches"] = describe_batches(adata, settings, problems)
        show_table(screen, "Batches", outcome.tables["batches"])
        outcome.tables["composition"] = describe_composition(adata, settings, layer, problems, screen)
        show_table(screen, "Composition of the controls", outcome.tables["composition"])

    # what may be wrong
    look_at_values(adata, layer, problems)
    outcome.alarms = problems.rows
    outcome.exit_code = ExitCode.ALARMS if problems.rows else ExitCode.DONE
    texts = [row["text"] for row in problems.rows]
    outcome.verdict = " ".join(texts) if texts else "Nothing looks wrong."
    screen.say("")
    for text in texts or [outcome.verdict]:
        screen.say(text)
    return outcome


class Problems:
    """What may be wrong, as rows like those of the alarms of a correction."""

    def __init__(self) -> None:
        self.rows: list[dict[str, str]] = []

    def add(self, kind: str, text: str, batch: str = "") -> None:
        """Add one."""
        self.rows.append({"alarm": kind, "batch": batch, "text": text})


def check_columns(adata: Any, settings: Settings) -> None:
    """Refuse columns that do not exist, and options that need another."""
    from .._data.check import get_column, open_adata

    open_adata(adata)
    columns = {"--batch-key": settings.batch_key, "--control-key": settings.control_key, "--strata": settings.strata}
    for option, column in columns.items():
        if column is not None:
            get_column(adata, column, option)
    if settings.batch_key is None and settings.control_key is not None:
        raise ValueError("--control-key needs --batch-key: controls are counted in each batch.")


def _list_layers(adata: Any) -> list[str]:
    return [name for name in adata.layers if name is not None]  # anndata 0.13 lists X among the layers


def _transform_if_known(adata: Any, files: Any, settings: Settings, screen: Screen, problems: Problems) -> str | None:
    """Transform as a correction would; where nothing says how, say so and look at the values as they are."""
    if files.kind is FileKind.FCS:
        try:
            find_cofactors(adata, settings.cofactor)
        except ValueError as error:
            problems.add("cofactor", f"{str(error)[0].upper()}{str(error)[1:]}")
            return None
    return transform_cells(adata, files, settings, screen)


def _list_values(adata: Any) -> dict[str, list[str]]:
    """Return the values of the columns of obs that could name batches or controls."""
    columns = {str(name): adata.obs[name].dropna().unique() for name in adata.obs}
    return {name: [str(value) for value in values] for name, values in columns.items() if len(values) <= MAX_VALUES}


def _describe_columns(adata: Any) -> list[dict[str, Any]]:
    """Return the columns of obs that could name batches or controls, with their first values."""
    rows = []
    for name in adata.obs:
        values = adata.obs[name].dropna().unique()
        if len(values) <= max(MAX_VALUES_LISTED, adata.n_obs // 20):
            shown = ", ".join(map(str, values[:MAX_VALUES_LISTED])) + (
                ", ..." if len(values) > MAX_VALUES_LISTED else ""
            )
            rows.append({"column": name, "n_values": len(values), "values": shown})
    return rows


def describe_batches(adata: Any, settings: Settings, problems: Problems) -> list[dict[str, Any]]:
    """Return the cells and controls of each batch, and note batches and controls that are missing."""
    labels = adata.obs[settings.batch_key]
    if n := int(labels.isna().sum()):
        problems.add("batch", f"{n:,} cells have no batch: obs[{settings.batch_key!r}] is missing.")
    is_control = find_controls(adata, settings)
    rows = []
    for batch in labels.dropna().unique():
        of_batch = (labels == batch).to_numpy(dtype=bool)
        row: dict[str, Any] = {"batch": str(batch), "n_cells": int(of_batch.sum())}
        if is_control is not None:
            n_controls = int((of_batch & is_control).sum())
            row |= {"n_controls": n_controls, "n_samples": row["n_cells"] - n_controls}
            if n_controls < 2:
                problems.add(
                    "left alone",
                    f"{batch} has no control: it would be left alone, unless --bridge names one.",
                    str(batch),
                )
            elif n_controls < MIN_CONTROL_CELLS:
                problems.add(
                    "control", f"The control of {batch} has {n_controls} cells: its correction is noise.", str(batch)
                )
            if row["n_samples"] == 0:
                problems.add("sample", f"{batch} has controls alone: nothing is corrected by them.", str(batch))
        rows.append(row)
    if is_control is None:
        problems.add("control", "--control-key names no column: controls were not looked for.")
    elif sum(row["n_controls"] >= 2 for row in rows) < 2:
        problems.add("design", "Fewer than two batches have controls: there is nothing to learn from.")
    return rows


def find_controls(adata: Any, settings: Settings) -> Any:
    """Return which cells are controls, as `neuronedit correct` takes them; `None` where no column is named."""
    from .._data.batches import DEFAULT_CONTROL

    if settings.control_key is None:
        return None
    labels = adata.obs[settings.control_key]
    default = [True] if labels.dtype == bool else [DEFAULT_CONTROL]
    return labels.isin(read_values(adata, settings.control_key, settings.control) or default).to_numpy(dtype=bool)


def describe_composition(
    adata: Any, settings: Settings, layer: str | None, problems: Problems, screen: Screen
) -> list[dict[str, Any]]:
    """Return how the controls' compositions differ: shares of named strata, or of populations that are matched."""
    is_control = find_controls(adata, settings)
    if is_control is None:
        return []
    labels = adata.obs[settings.batch_key]
    if settings.strata is not None:
        import pandas as pd

        strata = adata.obs[settings.strata]
        shares = pd.crosstab(labels[is_control].astype(str), strata[is_control].astype(str), normalize="index")
        for batch, row in shares.iterrows():
            if lacking := [str(name) for name in row.index[row == 0]]:
                problems.add(
                    "composition", f"The control of {batch} has no cells of {join_words(lacking)}.", str(batch)
                )
        return to_records(shares.round(3), "batch")
    counts = labels[is_control].astype(str).value_counts()
    large = counts.index[counts >= MIN_CONTROL_CELLS]
    if len(large) < 2:
        return []
    screen.step("Matching the populations of the controls.")
    groups = _match_controls(adata, labels.astype(str), is_control, large, settings, layer)
    for batch, row in groups.iterrows():
        if row["differs"] >= 0.75:  # from which the tools raise an alarm
            text = f"The control of {batch} holds other cells than that of {groups.index[groups['is_reference']][0]}"
            problems.add("composition", f"{text}: compositions differ by {row['total_variation']:.0%}.", str(batch))
    columns = ["is_reference", "n_cells", "total_variation", "chance_variation", "unmatched"]
    return to_records(groups[columns], "batch")


def _match_controls(
    adata: Any, labels: Any, is_control: Any, batches: Any, settings: Settings, layer: str | None
) -> Any:
    """Return the table of groups of populations that were matched in a sample of each control."""
    import numpy as np

    import neuronedit as ne

    rows = [np.flatnonzero(is_control & (labels == batch).to_numpy(dtype=bool)) for batch in batches]
    spaced = [own[np.linspace(0, len(own) - 1, min(len(own), MAX_CONTROL_CELLS)).astype(int)] for own in rows]
    few = adata[np.sort(np.concatenate(spaced)), list_used(adata)].copy()
    few.obs["neuronedit_batch"] = labels.loc[few.obs_names].to_numpy()
    few.uns = {}
    reference = settings.reference if settings.reference in list(batches) else None
    ne.pp.match_populations(
        few, "neuronedit_batch", reference=reference, layer=layer, key_added="neuronedit_matched", rng=settings.rng
    )
    return few.uns["neuronedit_matched"]["groups"]


def look_at_values(adata: Any, layer: str | None, problems: Problems) -> None:
    """Note features whose values look raw, are missing, or dominate the scale of all."""
    import numpy as np

    from .._data.check import format_choices
    from .._data.reader import read_cells
    from .._data.space import Scale

    used = list_used(adata)
    cells = read_cells(adata[:, used], layer)
    sample = cells.sample().numpy()
    if missing := [name for name, bad in zip(used, ~np.isfinite(sample).all(0), strict=True) if bad]:
        problems.add("values", f"{format_choices(missing)} have values that are NaN or infinite.")
        return
    raw = [name for name, highest in zip(used, sample.max(0, initial=0), strict=True) if highest >= MIN_RAW_VALUE]
    if raw:
        problems.add(
            "raw",
            f"{len(raw)} of {len(used)} features look raw, not transformed: {format_choices(raw)}. Give --cofactor.",
        )
    if ruling := Scale.measure(layer, None, cells).find_ruling(used):
        text = (
            f"{format_choices(ruling)} varies far more than most features and dominates their scale: is that a marker?"
        )
        problems.add("scale", text)


def show_table(screen: Screen, title: str, rows: list[Mapping[str, Any]] | list[dict[str, Any]]) -> None:
    """Print rows under a title; nothing where there are none."""
    if not rows:
        return
    import pandas as pd

    screen.say(f"\n{title}")
    screen.say(pd.DataFrame(rows).to_string(index=False, float_format="{:.3g}".format, na_rep=""))


inspect_verb = Verb(
    "inspect",
    run_inspect,
    short_help="Say what is in the cells, and what a correction would lack.",
    help="Say, before any work, what is in the cells: files, panel, batches, controls of each batch and their composition; which "
    "features look raw or dominate the scale; what is missing for a correction. Nothing is written."
    + example("neuronedit inspect fcs --metadata samples.csv --panel panel.csv --batch-key batch --control-key role"),
    params=[
        *input_options(),
        design_option("--batch-key", metavar="COLUMN", help="Column of obs, or of the metadata, with the batches.  [default: list the columns]"),
        design_option("--control-key", metavar="COLUMN", help="Column that says which cells are controls."),
        design_option("--control", multiple=True, metavar="VALUE", help="Value that marks controls.  [default: control, or True in a column of truth values]"),
        design_option("--reference", metavar="BATCH", help="The batch whose control the others are compared with.  [default: the largest]"),
        design_option("--strata", metavar="COLUMN", help="Column with cell types: their shares are shown.  [default: populations are matched]"),
        *run_options(has_accelerator=False),
    ],
)  # fmt: skip
