"""Put a report together, and write it whole or not at all."""

from collections.abc import Mapping
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from anndata import AnnData

from .._check import FilePath, Seed
from .._data.record import Tool
from ..engine.alarms import AlarmKind
from ..io._atomic import check_goal, replacing
from ._advice import FAILED, Level, Statement, list_advice, list_alarms, list_levels, write_lines
from ._biaxial import SIDES, make_plots, read_library
from ._cells import CellSample, draw_cells, list_columns, order_roles, pack_cells, to_script
from ._changes import (
    MAX_ROWS_OF_CHANGES,
    N_ROWS_FIRST,
    WORDS_OF_SIDES,
    format_signed,
    make_heat_map,
    measure_controls,
    tabulate_changes,
    tabulate_composition,
)
from ._densities import HEIGHT, N_FIRST, WIDTH, estimate_densities
from ._figures import draw_coverage, draw_cross_validation, draw_marker_shift, draw_scores, draw_support
from ._methods import ARTICLE_LINK, write_call, write_citation, write_methods
from ._result import SCORE_COLUMNS, Result, keep_whole, make_result_of_scores, read_result

TITLES = {
    Tool.EDIT: "A change applied to a query",
    Tool.CORRECT: "Batches corrected by their controls",
    Tool.COMBINE: "Combinations predicted from single treatments",
    Tool.COMPARE: "Methods compared on the same cells",
}
MAX_BYTES = 8_000_000


def report(
    adata: AnnData | pd.DataFrame,
    path: FilePath,
    *,
    key: str | None = None,
    measured: AnnData | None = None,
    populations: str | None = None,
    anonymize: bool = False,
    overwrite: bool = False,
    rng: Seed = 0,
) -> None:
    """Write a report of what a tool did, as one HTML file that needs no network.

    It begins with the verdict in three lines and its alarms. Then come the input, the change in each batch and
    marker, and the share of it that the controls show. Biaxial plots before and after have menus for markers, batches and
    populations. Distributions, compositions and the cross-validation follow. The last parts are advice, a text for the methods
    of a paper, and the settings that repeat the run. It needs bokeh and jinja2 (extra ``report``).

    Examples
    --------
    >>> import tempfile
    >>> import neuronedit as ne
    >>> adata = ne.datasets.simulate_batches(n_cells=200)
    >>> ne.tl.train(adata, widths=(32, 8), max_epochs=2)
    >>> ne.tl.correct(adata, "batch", control_key="role", edit="percentile")
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     ne.report(adata, f"{folder}/report.html")

    Parameters
    ----------
    adata
        After :func:`neuronedit.tl.edit`, :func:`neuronedit.tl.correct`, :func:`neuronedit.tl.apply`, or
        :func:`neuronedit.tl.compare` with ``key_added``; what :func:`neuronedit.tl.combine` returned; or the table that
        :func:`neuronedit.tl.compare` returned, without its cells.
    path
        The file to write, such as ``"report.html"``.
    key
        ``key_added`` of what is reported. `None`: the only result in ``uns``.
    measured
        For predicted combinations, the cells that they were predicted from: they are shown beside the predicted ones.
    populations
        Column of ``obs`` with populations, such as cell types. `None`: ``strata`` of the tool, else matched populations, else clusters
        of the cells that are shown.
    anonymize
        Call all values of the columns of the design (batches, samples, donors, files, treatments, strata) by numbers, "sample 1", in
        tables, sentences, figures and settings. Which has which number is drawn with ``rng``. Names of columns and of markers
        stay, and values such as "control".
    overwrite
        Replace the file if it exists.
    %(rng)s

    Returns
    -------
    `None`. The file holds at most 5,000 cells, without their names, and at most 40 features, those that changed most. Of paths it
    holds none, and of ``obs`` the columns of the design alone.

    Raises
    ------
    ImportError
        When bokeh or jinja2 is not installed.
    ValueError, TypeError, KeyError, OSError
        Before any work: no result, or several and no ``key``; a file that exists or may not be written; cells that are not there.
    """
    write_report(
        adata,
        path,
        key=key,
        measured=measured,
        populations=populations,
        anonymize=anonymize,
        overwrite=overwrite,
        rng=rng,
    )


def write_report(
    adata: AnnData | pd.DataFrame,
    path: FilePath,
    *,
    key: str | None = None,
    measured: AnnData | None = None,
    populations: str | None = None,
    scores: pd.DataFrame | None = None,
    command: Mapping[str, Any] | None = None,
    anonymize: bool = False,
    overwrite: bool = False,
    rng: int = 0,
) -> None:
    """Write a report, as `report` does; ``command`` has the arguments of the command line, ``scores`` the table of a comparison."""
    # read: whatever can be refused is refused here
    check_packages()
    goal = Path(path)
    check_goal(goal)
    if goal.exists() and not overwrite:
        raise FileExistsError(f"{goal} exists; give another name, or overwrite=True.")
    if isinstance(adata, pd.DataFrame):
        result = read_table(adata, key, measured, populations)
    else:
        result = read_result(adata, key, measured, populations, number_by=rng if anonymize else None)
    sample = draw_cells(result, rng) if result.parts else None

    # write
    text = render(result, sample, command, rng)
    with replacing(goal) as temporary:
        temporary.write_bytes(text.encode("utf-8"))


def check_packages() -> None:
    """Refuse to begin where a package is missing."""
    if missing := [name for name in ("bokeh", "jinja2") if find_spec(name) is None]:
        raise ImportError(f"a report needs {' and '.join(missing)}: pip install 'neuronedit[report]'.")


def read_table(table: pd.DataFrame, key: Any, measured: Any, populations: Any) -> Result:
    """Return what a report shows of the table of a comparison."""
    if missing := [column for column in SCORE_COLUMNS if column not in table]:
        raise ValueError(f"the table lacks {', '.join(missing)}; give what ne.tl.compare returned.")
    if table.empty:
        raise ValueError("the table has no rows; give what ne.tl.compare returned.")
    if any(given is not None for given in (key, measured, populations)):
        raise ValueError("key, measured and populations are of cells; a table has none.")
    return make_result_of_scores(table)


def render(result: Result, sample: CellSample | None, command: Mapping[str, Any] | None, rng: int) -> str:
    """Return the page."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("neuronedit", "_report"), autoescape=True, undefined=StrictUndefined, trim_blocks=True,
        lstrip_blocks=True,
    )  # fmt: skip
    environment.filters["percent"] = lambda share: f"{share:.0%}" if share == 0 or share >= 0.095 else f"{share:.1%}"
    environment.filters |= {"signed": format_signed, "number": format_two_digits}
    environment.filters["list_with"] = lambda value, more: (value, more)
    here = files("neuronedit") / "_report"
    alarms = list_alarms(result)
    content: dict[str, Any] = {
        "title": TITLES[result.tool],
        "result": result,
        "sample": sample,
        "style": (here / "report.css").read_text(encoding="utf-8"),
        "lines": write_lines(result, alarms),
        "alarms": alarms,
        "verdict": result.content.get("verdict", ""),
        "figures": key_figures(result, sample, alarms),
        "advice": list_advice(result, alarms),
        "methods": write_methods(result, sample),
        "citation": write_citation(result),
        "article_link": ARTICLE_LINK,
        "call": write_call(result),
        "command": format_command(result, command),
        "scores": tabulate_scores(result),
        "score_figures": draw_scores(result),
        "cross_validation": draw_cross_validation(result),
        "folds": list_folds(result),
        "given": describe_given(result),
        "features": result.features,
        "Tool": {tool.name: tool for tool in Tool},
    }
    if sample is not None:
        content |= describe_cells(result, sample, alarms, rng)
        script = (here / "report.js").read_text(encoding="utf-8")
        content |= {"library": read_library(), "script": script, "cells": pack_cells(result, sample, rng),
                    "plots": to_script(make_plots(min(2, len(result.states))))}  # fmt: skip
    return environment.get_template("report.html").render(content)


def describe_cells(result: Result, sample: CellSample, alarms: list[Statement], rng: int) -> dict[str, Any]:
    """Return what the page shows of the cells that were drawn."""
    changes = tabulate_changes(result, sample)
    content: dict[str, Any] = {"changes": [], "heat": None, "sides": WORDS_OF_SIDES[result.tool]}
    if len(changes):
        order = changes["change"].abs().sort_values(ascending=False, kind="stable").index
        content["changes"] = changes.loc[order[:MAX_ROWS_OF_CHANGES]].to_dict("records")
        content["n_changes"] = len(changes)
        content["heat"] = make_heat_map(changes, sample.ranked)
        content["has_outside"] = bool(changes.get("outside_control", pd.Series([np.nan])).notna().any())
    groups, populations = tabulate_composition(result, sample)
    return content | {
        "differs": any(alarm.kind == AlarmKind.COMPOSITION for alarm in alarms),
        "densities": estimate_densities(result, sample),
        "density_size": (WIDTH, HEIGHT),
        "n_first": N_FIRST,
        "n_rows_first": N_ROWS_FIRST,
        "groups": groups,
        "populations": populations,
        "largest_share": max(max(shares) for _, shares in populations),
        "controls": measure_controls(result, sample, rng),
        "coverage": [*draw_coverage(result), *draw_support(result, sample)],
        "shift": draw_marker_shift(result),
        "columns": [title for _, title in list_columns(result, sample)],
        "sides_of_plot": SIDES[: min(2, len(result.states))],
    }


def describe_given(result: Result) -> dict[str, Any]:
    """Return the tables of what was given: cells by batch and role, batches, samples."""
    labels = result.labels
    given: dict[str, Any] = {"roles": [], "counts": [], "batches": [], "samples": [], "held_out": [], "orders": []}
    if len(labels):
        given["roles"] = sorted(labels["role"].unique(), key=order_roles)
        names = labels["batch"] if "batch" in labels else pd.Series("all cells", index=labels.index)
        table = pd.crosstab(names, labels["role"])
        given["counts"] = [
            (str(name), [int(row.get(role, 0)) for role in given["roles"]]) for name, row in table.iterrows()
        ]
        given["counts"] = sorted(given["counts"], key=lambda row: order_roles(row[0]))
    if "sample" in labels:
        table = labels.groupby(["batch", "sample", "role"], observed=True).size().reset_index(name="n_cells")
        known = result.content.get("samples")
        more = {} if known is None else {(row["batch"], row["sample"]): row for row in known.to_dict("records")}
        given["samples"] = [
            row | {"known": more.get((row["batch"], row["sample"]))} for row in table.to_dict("records")
        ]
    for name in ("batches", "held_out", "orders"):
        table = result.content.get(name)
        if table is not None:
            rows = [(str(index), row) for index, row in zip(table.index, table.to_dict("records"), strict=True)]
            given[name] = sorted(rows, key=lambda row: order_roles(row[0]))
    return given


def format_two_digits(value: float) -> str:
    """Write a number; a dash where there is none."""
    return "–" if value != value else f"{value:.2f}".replace("-0.00", "0.00").replace("-", "−")


def list_folds(result: Result) -> list[tuple[str, float, float]]:
    """Return the folds of an ensemble: their names, their weights, and what the ensemble closed in each."""
    ensemble = result.content.get("ensemble")
    if ensemble is None or not len(ensemble["ensemble_scores"]):
        return []
    columns = (ensemble[name] for name in ("folds", "fold_weights", "ensemble_scores"))
    return [(str(name), float(weight), float(closed)) for name, weight, closed in zip(*columns, strict=True)]


def key_figures(result: Result, sample: CellSample | None, alarms: list[Statement]) -> list[tuple[str, str]]:
    """Return a few numbers with what they are."""
    numbers: list[tuple[str, str]] = []
    if sample is not None:
        numbers += [(f"{sample.n_cells:,}", "cells"), (f"{sample.n_features:,}", "features")]
    if result.tool is Tool.CORRECT:
        numbers.append((str(result.labels["batch"].nunique()), "batches"))
        if "sample" in result.labels:
            numbers.append((str(result.labels["sample"].nunique()), "samples and controls"))
        batches = result.content.get("batches")
        if batches is not None and batches["outside"].notna().any():
            numbers.append(
                (f"{batches['outside'].max():.1%}", "of a batch's sample cells outside its control, at most")
            )
    if result.tool is Tool.EDIT and "ensemble" in result.content:
        numbers.append(
            (f"{float(result.content['ensemble']['expected']):.2f}", "of the distance expected to be closed")
        )
    if result.tool is Tool.COMBINE:
        numbers.append(
            (f"{result.content['combinations']['agreement'].min():.2f}", "agreement of the two orders, at least")
        )
    if result.scores is not None:
        numbers.append((str(result.scores["method"].nunique()), "methods"))
        numbers.append((str(result.scores["metric"].nunique()), "metrics"))
    n_alarms = sum(alarm.level is not Level.NOTE for alarm in alarms)
    return [*numbers, (str(n_alarms), "alarm" if n_alarms == 1 else "alarms")]


def tabulate_scores(result: Result) -> dict[str, Any]:
    """Return the table of the scores of a comparison: a row for each method, mean, interval over seeds and seconds."""
    if result.scores is None:
        return {"metrics": [], "rows": []}
    table = keep_whole(result.scores)
    metrics = list_levels(table["metric"])
    columns = ["value", "low", "high"]
    means = table.groupby(["method", "metric"], observed=True)[columns].mean()
    seconds = table.groupby("method", observed=True)["seconds"].mean()
    rows = []
    for method in list_levels(table["method"]):
        rows.append((method, [means.loc[(method, metric)].to_dict() for metric in metrics], float(seconds[method])))
    return {"metrics": [metric.replace("_", " ") for metric in metrics], "rows": rows, "failed": FAILED}


def format_command(result: Result, command: Mapping[str, Any] | None) -> str:
    """Return the YAML of the command line under the names that are shown; it holds names of files, and no folders."""
    if command is None:
        return ""
    import yaml

    content = {name: result.names.rename_words(value) for name, value in command.items()}
    return str(yaml.safe_dump(content, sort_keys=False, allow_unicode=True, width=100))
