"""Combinations of gene activations by the field's measures: does a prediction know its own combination from the others?

``python benchmarks/norman.py`` predicts the five combinations of norman_doubles from cells of the control and of single activations, in both orders, and writes
``norman.csv``, of which the docs are made. ``--quick`` takes the methods that take no training, and writes nothing. No method sees a combination.

Means of the prediction are compared with means of all 100 measured cells of a combination: the correlation of the change from the control, and from the mean of all perturbations; the squared error
with the noise of the truth taken off; whether the prediction is nearer to its own truth than to the four others; and whether the same genes would be reported.
"""

import argparse
import logging
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from combinations import CONTROL, EDITS, apply_baseline, apply_edit, get_cells, list_tasks, train
from labels import name_method
from results import markdown_table, measure_time, read_results

import neuronedit as ne

CSV = Path(__file__).parent / "norman.csv"
N_SPLITS = 5
"""Splits of the truth into halves. One half is the prediction and the other the truth, so with 50 cells each it is a low bar."""

ON_GENES = {"mean shift (additive)": "mean_shift", "quantiles per gene": "quantile", "ComBat": "combat"}
"""Rows of `BASELINES`, fitted on the control and one single activation, and applied to the other."""

ALONE, MEAN, REPLICATE = "leave alone", "mean of the singles", "a half of the truth"
METHODS = [ALONE, MEAN, *ON_GENES, *EDITS, REPLICATE]
MEASURES = {
    "delta": ("change, from control", 2),
    "delta_from_mean": ("change, from the mean", 2),
    "squared_error": ("squared error x 1,000", 2),
    "discrimination_l1": ("discrimination, L1", 2),
    "discrimination_l2": ("L2", 2),
    "discrimination_cosine": ("cosine", 2),
    "direction": ("direction", 2),
    "overlap": ("overlap", 2),
    "recall": ("recall", 2),
    "precision": ("precision", 2),
}
"""Columns of the CSV: how they are named in the docs, and their digits."""


def predict(name, adata, known, task):
    """Return the cells that a method predicts for a combination."""
    control, added, query = (get_cells(adata, one) for one in (CONTROL, task.target, task.query))
    if name == ALONE:
        return query
    if name == MEAN:  # of all single activations, with the spread of the query
        singles = [one for one in adata.obs["condition"].unique() if one != CONTROL and "+" not in one]
        mean = np.mean([get_cells(adata, one).mean(axis=0) for one in singles], axis=0)
        return query - query.mean(axis=0) + mean
    if name in EDITS:
        return apply_edit(EDITS[name], known, task)
    return apply_baseline(ON_GENES[name], control, added, query)


def predict_all(name, adata, known, tasks):
    """Return the predictions of a method for several combinations."""
    return [predict(name, adata, known.get(task.truth), task) for task in tasks]


def score(control, truth, predicted, origin):
    """Return the measures of one prediction alone."""
    found = ne.metrics.de_agreement(control, truth, predicted)
    return {
        "delta": ne.metrics.delta_correlation(control, truth, predicted),
        "delta_from_mean": ne.metrics.delta_correlation(control, truth, predicted, origin=origin),
        "squared_error": 1_000 * ne.metrics.squared_error(predicted, truth),
    } | {name: found[name] for name in ("direction", "overlap", "recall", "precision")}


def discriminate(means, predicted, control):
    """Return the discrimination scores of predictions of all combinations."""
    how = {"origin": control.mean(axis=0)}
    return {
        f"discrimination_{distance}": ne.metrics.discrimination_score(means, predicted, distance=distance, **how)
        for distance in ("l1", "l2", "cosine")
    }


def run(adata, names):
    """Yield the scores of each method for each combination and order."""
    control = get_cells(adata, CONTROL)
    truths = {truth: get_cells(adata, truth) for truth in adata.uns["doubles"]}
    perturbed = [one for one in adata.obs["condition"].unique() if one != CONTROL]
    origin = np.mean([get_cells(adata, one).mean(axis=0) for one in perturbed], axis=0)
    orders = list(zip(*list_tasks(truths).values(), strict=True))  # of all combinations, either gene added
    known = {truth: train(adata, truth) for truth in truths} if set(names) & set(EDITS) else {}
    for name in names:
        for order, tasks in enumerate(orders if name != REPLICATE else [orders[0]] * N_SPLITS):
            if name == REPLICATE:
                generator = np.random.default_rng(order)
                halves = {one: np.array_split(generator.permutation(x), 2) for one, x in truths.items()}
                cells, true, seconds = [one[0] for one in halves.values()], [one[1] for one in halves.values()], np.nan
            else:
                cells, seconds = measure_time(predict_all, name, adata, known, tasks)
                true = list(truths.values())
            means = [np.stack([one.mean(axis=0) for one in several]) for several in (true, cells)]
            told = discriminate(*means, control)
            for i, (task, predicted) in enumerate(zip(tasks, cells, strict=True)):
                row = {"method": name, "combination": task.truth, "order": order, "seconds": seconds / len(tasks)}
                yield row | score(control, true[i], predicted, origin) | {key: value[i] for key, value in told.items()}


read = partial(read_results, CSV)


def page(results):
    """Return the table as Markdown: means over combinations and orders, the best correlation from the mean on top."""
    means = results.groupby("method")[list(MEASURES)].mean().sort_values("delta_from_mean", ascending=False)
    rows = []
    for name, own in means.iterrows():
        shown = f"**{name_method(name)}**" if name == "default" else name_method(name)
        rows.append(
            [shown, *("–" if np.isnan(own[key]) else f"{own[key]:.{digits}f}" for key, (_, digits) in MEASURES.items())]
        )
    return "\n".join(markdown_table(["method", *(name for name, _ in MEASURES.values())], rows)) + "\n"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(1)
    logging.getLogger("neuronedit").setLevel(logging.ERROR)
    names = [name for name in METHODS if not (options.quick and name in EDITS)]
    results = pd.DataFrame(run(ne.datasets.norman_doubles(), names))
    if not options.quick:
        results.to_csv(CSV, index=False, float_format="%.4g")
    print(page(results))


if __name__ == "__main__":
    main()
