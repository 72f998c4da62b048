"""Real combinations: the change from control to A, applied to cells of B, against the measured cells of A+B.

``python benchmarks/combinations.py`` runs the five pairs of genes of norman_doubles in both orders, with every method. It writes
``combinations.csv``, of which the docs are made. ``--quick`` takes one pair, in both orders, and writes nothing.
"""

import argparse
import logging
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from labels import name_method
from results import find_done, markdown_table, read_results

import neuronedit as ne
from neuronedit.baselines import BASELINES

CSV = Path(__file__).parent / "combinations.csv"
CONTROL, PAPER = "control", "paper"  # a condition, and the name of the space of the paper's edit
N_SPLITS = 100
"""Splits of the truth into halves. With 50 cells a half, one split alone scores several hundredths off in the energy distance."""


NOISE = 0.014
"""Standard deviation of the energy distance between two samples of one population, with 100 cells each.

It is 0.026 to 0.032 between halves of the truth, with 50 cells each, and falls as the number of cells grows.
"""

FITTED_ON_GENES = {
    "leave alone": "identity",
    "mean shift": "mean_shift",
    "quantiles per gene": "quantile",
    "ComBat": "combat",
}
"""Rows of `BASELINES`. The mean of the mean shift is the additive prediction: B, plus A, less the control."""

EDITS = {"neuron editing": {"edit": "percentile", "key": PAPER}, "default": {}}
"""Edits of ``ne.tl.edit``: the paper's in an autoencoder that was trained on the cells of control, A and B; the default in its own space."""

BETTER_SINGLE = "better single"
"""The cells of A or of B, whichever have the mean closer to that of A+B. The truth chooses, so this is no prediction."""

CEILING = "two halves of the truth"
"""One half is scored against the other: what a perfect prediction would reach with half as many cells."""

METHODS = [*FITTED_ON_GENES, BETTER_SINGLE, *EDITS, CEILING]


@dataclass(frozen=True)
class Task:
    """Learn the change from control to the target, and apply it to the query; all three are conditions."""

    target: str
    query: str
    truth: str


def list_tasks(doubles):
    """Return the tasks of each pair of genes: either gene may be the one that is added."""
    genes = {truth: truth.split("+") for truth in doubles}
    return {truth: [Task(a, b, truth), Task(b, a, truth)] for truth, (a, b) in genes.items()}


def get_cells(adata, condition):
    """Return the cells of a condition, ``(n_cells, n_genes)``."""
    return adata[(adata.obs["condition"] == condition).to_numpy()].X.toarray()


def train(adata, truth):
    """Return the cells that are known before a combination is measured, with the default space and an autoencoder trained on them."""
    known = adata[adata.obs["condition"].isin([CONTROL, *truth.split("+")]).to_numpy()].copy()
    ne.tl.train(known, accelerator="cpu", progress_bar=False)
    ne.tl.train(known, space="autoencoder", key_added=PAPER, accelerator="cpu", progress_bar=False)
    return known


def run(adata, truth, jobs):
    """Run the jobs ``(task, method)`` of one combination; yield their scores."""
    control, truth_cells = get_cells(adata, CONTROL), get_cells(adata, truth)
    known = train(adata, truth) if any(name in EDITS for _, name in jobs) else None
    for task, name in jobs:
        singles = [get_cells(adata, task.target), get_cells(adata, task.query)]
        if name == CEILING:
            scores = score_halves(truth_cells, control)
        elif name == BETTER_SINGLE:
            closer = min(singles, key=lambda cells: np.linalg.norm(cells.mean(0) - truth_cells.mean(0)))
            scores = score(closer, truth_cells, control)
        elif name in EDITS:
            scores = score(apply_edit(EDITS[name], known, task), truth_cells, control)
        else:
            scores = score(apply_baseline(FITTED_ON_GENES[name], control, *singles), truth_cells, control)
        yield vars(task) | {"method": name} | scores


def apply_edit(how, known, task):
    """Return the query as an edit changes it."""
    roles = {"source": CONTROL, "target": task.target, "query": task.query}
    ne.tl.edit(known, "condition", **roles, **how, accelerator="cpu")
    return known.layers["edited"][(known.obs["condition"] == task.query).to_numpy()]


def apply_baseline(name, *cells):
    """Fit a baseline on source and target; return the query as it changes it."""
    source, target, query = (torch.from_numpy(own) for own in cells)
    return BASELINES[name](source, target)(query).numpy()


def score(predicted, truth, control):
    """Return the distance that is left, and how predicted and true changes of the means correlate over the genes.

    Both changes are measured from one mean of the control. Its noise is in both, and raises all correlations a little.
    """
    applied, true = predicted.mean(0) - control.mean(0), truth.mean(0) - control.mean(0)
    return {
        "energy_distance": ne.metrics.energy_distance(predicted, truth),
        "correlation": float(np.corrcoef(applied, true)[0, 1]),
    }


def score_halves(truth, control):
    """Return the same scores for a half of the truth and the other half, averaged over random splits."""
    generator, scores = np.random.default_rng(0), []
    for _ in range(N_SPLITS):
        half, other_half = np.array_split(generator.permutation(truth), 2)
        scores.append(score(half, other_half, control))
    return pd.DataFrame(scores).mean().to_dict()


read = partial(read_results, CSV)


def page(results):
    """Return the tables as Markdown: means over the tasks, and the default beside mean shift and neuron editing on each task."""
    return "\n".join([*tabulate_methods(results), "", *tabulate_tasks(results)]) + "\n"


def tabulate_methods(results):
    """One row a method, the best first."""
    means = results.groupby("method")[["energy_distance", "correlation"]].mean().sort_values("energy_distance")
    n_tasks = results.groupby("method").size()
    rows = []
    for name, own in means.iterrows():
        shown = f"**{name_method(name)}**" if name == "default" else name_method(name)
        rows.append([shown, f"{n_tasks[name]}", f"{own['energy_distance']:.3f}", f"{own['correlation']:.2f}"])
    return markdown_table(["method", "tasks", "energy distance left", "correlation of the change"], rows)


def tabulate_tasks(results):
    """One row a task: the energy distance left, and that of the default as a multiple of the mean shift's."""
    names = ["default", "mean shift", "neuron editing"]
    named = results.assign(task=results["target"] + " on " + results["query"])
    left = named.pivot_table("energy_distance", "task", "method", sort=False).reindex(columns=names)
    left.loc["**mean**"] = left.mean()
    rows = []
    for task, own in left.iterrows():
        # to divide by noise says nothing
        ratio = f"{own['default'] / own['mean shift']:.1f}" if own["mean shift"] > NOISE else "–"
        rows.append([task, *(f"{own[name]:.3f}" for name in names), ratio])
    return markdown_table(["task", *names, "default / mean shift"], rows)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--methods", nargs="*", default=METHODS, choices=METHODS)
    options = parser.parse_args()
    torch.set_num_threads(1)
    logging.getLogger("neuronedit").setLevel(logging.ERROR)
    adata = ne.datasets.norman_doubles()
    doubles = adata.uns["doubles"][: 1 if options.quick else None]

    # run what is missing
    results = pd.DataFrame() if options.quick else read_results(CSV)
    done = find_done(results, ["target", "query", "method"])
    for truth, tasks in list_tasks(doubles).items():
        jobs = [(task, name) for task in tasks for name in options.methods]
        missing = [(task, name) for task, name in jobs if (task.target, task.query, name) not in done]
        results = pd.concat([results, pd.DataFrame(run(adata, truth, missing))])
        if missing and not options.quick:
            results.to_csv(CSV, index=False, float_format="%.4g")
    print(page(results))


if __name__ == "__main__":
    main()
