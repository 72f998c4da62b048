"""Are matched populations the same types of cells in source and target, where there are few cells, or many features?

Run ``python benchmarks/matching.py``; ``--quick`` is one seed of small samples. Source and target are drawn as in `composition.py`,
so the true type of every cell, and how far compositions differ, is known. Other settings of the matching are tried, too.
"""

import argparse
from dataclasses import dataclass, replace
from itertools import product
from unittest import mock

import composition
import numpy as np
import pandas as pd
import torch
from composition import SETTINGS, TYPE, CompositionTask, draw_cells, measure_variation
from results import markdown_table
from tasks import has_role

from neuronedit.ensemble import _matching, match_populations

N_CELLS = {"bodenmiller_4stim": (300, 500, 1_000, 3_000), "kang_counts": (300, 500, 1_000)}
"""Of source and target each, about, by data set: the second has no more."""

VARIATIONS = (0.0, 0.15, 0.3)
SEEDS = (10, 11, 12)
"""Others than those of `composition.py`, on which the mixture was set."""

MIN_DRAWN = 5
"""Cells of each type, so that small samples keep their composition."""

COMPARED = {
    "as it is": {},
    "40 components": {"N_COMPONENTS": 40},
    "20 components": {"N_COMPONENTS": 20},
    "variances as they are": {"TYPICAL_CELLS": 0},
    "variances shrunk by 100 cells": {"TYPICAL_CELLS": 100},
    "with features that populations change differently": {"MAX_SPREAD_OF_CHANGES": np.inf},
    "40 components, variances as they are": {"N_COMPONENTS": 40, "TYPICAL_CELLS": 0},
}
"""Settings of the matching: names of constants, and other values."""


@dataclass(frozen=True)
class MatchingTask(CompositionTask):
    """A change in samples of so many cells."""

    n_cells: int


def matching_tasks(*, quick):
    """Yield all tasks, data set by data set."""
    few = slice(1 if quick else None)
    for data, sizes in N_CELLS.items():
        for n, change, variation, seed in product(sizes[few], SETTINGS[data].changes, VARIATIONS, SEEDS[few]):
            yield MatchingTask(data, change, variation, seed, n)


def run(task):
    """Match source and target under all settings; return a row for each."""
    smaller = replace(SETTINGS[task.data], n_cells=task.n_cells, min_drawn=MIN_DRAWN)
    with mock.patch.dict(composition.SETTINGS, {task.data: smaller}):
        adata = draw_cells(task)
    if adata is None:
        return []
    types = [adata.obs[TYPE].astype(str).to_numpy()[has_role(adata, role)] for role in ("source", "target")]
    source, target = (torch.from_numpy(adata.X[has_role(adata, role)]) for role in ("source", "target"))
    rows = []
    for name, settings in COMPARED.items():
        with mock.patch.dict(vars(_matching), settings):
            matching = match_populations(source, target)
        row = {"data": task.data, "n_cells": task.n_cells, "setting": name}
        row |= {"same type": measure_agreement(matching, *types)}
        row |= {"error": abs(matching.total_variation - measure_variation(adata))}
        rows.append(row)
    return rows


def measure_agreement(matching, source_types, target_types):
    """Return the share of target cells of the type that most source cells of their population have, the mean over labelings."""
    shares = []
    for source_labels, target_labels in zip(matching.source_labels.T, matching.target_labels.T, strict=True):
        most = pd.crosstab(source_labels, source_types).idxmax(axis=1)
        shares.append(np.mean(most.reindex(target_labels).to_numpy() == target_types))
    return np.mean(shares)


def page(results):
    """Return a table: target cells matched with their type, and the error of the total variation, by data and cells."""
    lines = []
    for column in ("same type", "error"):
        means = results.pivot_table(column, "setting", ["data", "n_cells"], sort=False)
        rows = [[name, *(f"{value:.2f}" for value in values)] for name, values in means.iterrows()]
        lines += markdown_table([column, *(f"{data}, {n:,} cells" for data, n in means.columns)], rows) + [""]
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(1)
    rows = [row for task in matching_tasks(quick=options.quick) for row in run(task)]
    print(page(pd.DataFrame(rows)))


if __name__ == "__main__":
    main()
