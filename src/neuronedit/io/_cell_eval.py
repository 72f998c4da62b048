"""Write the scores of a comparison as cell-eval lays out its own."""

from pathlib import Path
from typing import Annotated

import numpy as np
import pandas as pd

from .._check import FilePath
from .._slots import ALL_STRATA
from ._atomic import check_folder, filling

NAMES_THERE = {
    "delta_correlation": "pearson_delta",
    "de_direction": "de_direction_match",
    "de_recall": "de_sig_genes_recall",
}
"""Metrics that cell-eval has, too, under other names; the others keep theirs."""

NEEDED = ("method", "seed", "metric", "held_out", "value", "distance")
STATISTICS = ("count", "null_count", "mean", "std", "min", "25%", "50%", "75%", "max")


def write_cell_eval(table: Annotated[pd.DataFrame, "what ne.tl.compare returned"], folder: FilePath) -> list[Path]:
    """Write the scores of each method in the files that cell-eval writes, so that its ``score`` compares them with others.

    Examples
    --------
    >>> import neuronedit as ne
    >>> adata = ne.datasets.simulate_batches(n_cells=200)
    >>> table = ne.tl.compare(
    ...     adata, "group", source="control_1", target="control_2", held_out="cell_type", methods=["mean_shift"], n_bootstrap=0
    ... )
    >>> [path.name for path in ne.io.write_cell_eval(table, "scores")]
    ['mean_shift_results.csv', 'mean_shift_agg_results.csv']

    Parameters
    ----------
    table
        What :func:`neuronedit.tl.compare` returned.
    folder
        Where to write. It is made if it does not exist; files of the same names are replaced.

    Returns
    -------
    The files, two for each method. ``<method>_results.csv`` has a row for each value that was held out (column ``perturbation``) and a column for each metric,
    as the mean over seeds; ``<method>_agg_results.csv`` has their count, mean, standard deviation and quantiles (column ``statistic``). Metrics are in their own
    units. ``delta_correlation``, ``de_direction`` and ``de_recall`` have the names that cell-eval has for them; it passes over those that it does not know. Its ``score`` needs
    an error, too: ``metrics={"mse": partial(ne.metrics.squared_error, subtract_noise=False), ...}`` of :func:`neuronedit.tl.compare`.

    Raises
    ------
    KeyError, ValueError
        A table that lacks columns or rows, or a method whose name cannot be that of a file.
    OSError
        When the folder cannot be written.
    """
    if missing := [name for name in NEEDED if name not in table]:
        raise KeyError(f"table has no column {', '.join(map(repr, missing))}; give what ne.tl.compare returned.")
    rows = table[table["held_out"].astype(object).fillna("") != ALL_STRATA]
    if rows.empty:
        raise ValueError("table has no rows; give what ne.tl.compare returned.")
    if elsewhere := [str(name) for name in rows["method"].unique() if Path(str(name)).name != str(name)]:
        raise ValueError(f"methods {', '.join(map(repr, elsewhere))} cannot be names of files; name them otherwise.")
    check_folder(Path(folder))
    paths: list[Path] = []
    with filling(Path(folder)) as temporary:
        for method, own in rows.groupby("method", sort=False, observed=True):
            scores = _tabulate(own)
            for name, content in {"results": scores.reset_index(), "agg_results": _aggregate(scores)}.items():
                content.to_csv(temporary / f"{method}_{name}.csv", index=False)
                paths.append(Path(folder) / f"{method}_{name}.csv")
    return paths


def _tabulate(rows: pd.DataFrame) -> pd.DataFrame:
    """Return one row for each value that was held out, and a column for each metric in its own units."""
    rows = rows.assign(
        perturbation=rows["held_out"].astype(str).replace("", "query"),
        score=np.where(rows["distance"].notna(), rows["distance"], rows["value"]),
        metric=rows["metric"].astype(str),
    )
    order = list(dict.fromkeys(rows["metric"]))
    wide = rows.pivot_table("score", "perturbation", "metric", dropna=False)[order]
    return wide.rename(columns=NAMES_THERE).rename_axis(columns=None)


def _aggregate(scores: pd.DataFrame) -> pd.DataFrame:
    """Return the statistics of each column."""
    found = scores.describe()
    found.loc["null_count"] = scores.isna().sum()
    return found.loc[list(STATISTICS)].rename_axis("statistic").reset_index()
