"""The paper's Tables 2 and 3 with every method, on data that can be had: a CSV, of which the docs are made.

``python benchmarks/paper.py`` runs what is not in the CSV yet; ``--quick`` is a look at one task of each kind in minutes, with
short training, and is only printed. Nothing was tuned on the truths that are scored here.
"""

import argparse
import itertools
import os
from dataclasses import replace
from functools import cache, partial
from inspect import signature
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from labels import name_method
from results import find_done, format_mean, markdown_table, read_results, run_jobs
from tasks import DATA, load_data, paper_tasks

import neuronedit as ne
from neuronedit.baselines import BASELINES, QUICK
from neuronedit.spaces import Autoencoder
from neuronedit.spaces._choice import choose_space

CSV = Path(__file__).parent / "paper.csv"
STEPS, SLOW_STEPS = 10_000, 2_000
"""Of the autoencoders, and of the adversarial methods: more of these would take days."""

DISTANCES = ["energy_distance", "mean_wasserstein", "variance_ratio"]
METRICS = ["change_correlation", "mean_correlation", "variance_correlation", *DISTANCES]
PAPER_2 = {  # correlation of the change observed in the controls with the change applied to the samples
    "neuron_editing": 0.963, "gan": 0.511, "cyclegan": 0.431, "resnet_gan": 0.627, "mmd_autoencoder": -0.051,
    "constant_shift": 0.882, "cca": 0.603, "mnn": 0.534, "combat": 0.557, "limma": 0.543,
}  # fmt: skip
PAPER_3 = {  # correlation of predicted with true means / variances
    "neuron_editing": (0.997, 0.972), "gan": (0.870, 0.581), "cyclegan": (0.927, 0.854), "resnet_gan": (0.945, 0.930),
    "mmd_autoencoder": (0.920, 0.961), "constant_shift": (0.967, 0.969),
}  # fmt: skip


def fit(cells, training):
    """Train the autoencoder at the published rate."""
    return Autoencoder.fit(cells, replace(training, lr=1e-3))


def run(task, seed, names, steps, slow_steps):
    """Score methods on one task; one row a method."""
    torch.set_num_threads(1)
    # methods: one autoencoder is shared by those that need one
    methods, shared_fit = {}, cache(fit)
    n_features = load_data(task.data, seed).n_vars
    fit_space = shared_fit if choose_space(n_features) is Autoencoder else None  # its default
    for name in names:
        offered = {"n_steps": steps if name in QUICK else slow_steps, "fit": shared_fit, "fit_space": fit_space}
        accepted = signature(BASELINES[name]).parameters.keys() & offered
        methods[name] = partial(BASELINES[name], **{key: offered[key] for key in accepted})
    # compare
    scores = ne.tl.compare(
        load_data(task.data, seed), source=task.source, target=task.target, query=task.query, truth=task.truth,
        methods=methods, metrics=METRICS, n_bootstrap=0, rng=seed, progress_bar=False,
    )  # fmt: skip
    is_missing = scores["error"].str.startswith("ImportError")
    for reason in scores.loc[is_missing, "error"].unique():
        print(f"skipped: {reason}", flush=True)
    # one row a method
    scores = scores[~is_missing].astype({"method": str, "metric": str})
    wide = scores.pivot(index=["method", "seconds", "error"], columns="metric", values="value")
    wide = wide.reindex(columns=METRICS).reset_index().rename_axis(columns=None)
    about = {"table": task.table, "data": task.data, "task": task.name, "seed": seed}
    return wide.assign(**about)[[*about, *wide.columns]]


def summarize(results, table):
    """Mean over tasks of one table, with the spread of its mean over seeds, by data set and method."""
    rows = results[results["table"] == table]
    by_seed = rows.groupby(["data", "method", "seed"], sort=False)[METRICS].mean()
    return by_seed.groupby(["data", "method"], sort=False).agg(["mean", "std"])


def tabulate(results, table, columns, paper, order):
    """One table for each data set, the best by the metric ``order`` on top."""
    figures, lines = summarize(results, table), []
    for data in [name for name in DATA if name in figures.index.get_level_values(0)]:
        own = results[results["data"] == data]
        names, n_seeds = list(own["task"].unique()), own["seed"].nunique()
        n_tasks = f"{len(names)} task{'s' * (len(names) > 1)}"
        lines += ["", f"**{data}** ({n_tasks}: {'; '.join(names)}; {n_seeds} seed{'s' * (n_seeds > 1)})", ""]
        rows = []
        by_method = figures.loc[data].sort_values((order, "mean"), ascending=False, na_position="last")
        for name, row in by_method.iterrows():
            shown = [format_mean(row[column, "mean"], row[column, "std"], 3) for column in columns]
            published = " / ".join(f"{figure:.3f}" for figure in np.atleast_1d(paper.get(name, [])))
            rows.append([name_method(name), *shown, published])
        lines += markdown_table(["method", *(column.replace("_", " ") for column in columns), "paper"], rows)
    return lines


def rank_methods(results, table, metric, paper):
    """Say how the paper's methods rank here, and how that agrees with the paper."""
    ours = results[(results["table"] == table) & results["method"].isin(paper)]
    means = ours.groupby(["data", "task", "method"])[metric].mean().groupby(["data", "method"]).mean().unstack("data")
    theirs = pd.Series({name: np.atleast_1d(value)[0] for name, value in paper.items()})
    lines = []
    for data, column in means.items():
        ranked = column.sort_values(ascending=False)
        if "neuron_editing" not in ranked:
            continue
        place = list(ranked.index).index("neuron_editing") + 1
        agreement = ranked.corr(theirs, method="spearman")
        lines.append(
            f"- {data}: {' > '.join(name_method(name) for name in ranked.index)}. Neuron editing is number {place} of {len(ranked)}; rank correlation with"
            f" the paper's order {agreement:.2f}."
        )
    return lines


read = partial(read_results, CSV)


def page(results, steps=STEPS, slow_steps=SLOW_STEPS):
    """Return the tables as Markdown."""
    return "\n".join(make_tables(results, steps, slow_steps).values())


def make_tables(results, steps=STEPS, slow_steps=SLOW_STEPS):
    """Return the tables as Markdown, by the names of the files that the pages include."""
    intro = (
        "Mean over tasks ± standard deviation over seeds (none where a method has no seed; – where"
        " it failed or the value is not defined). Autoencoders were"
        f" trained for {steps:,} steps at a rate of 1e-3, GANs and the regularized autoencoder for {slow_steps:,}."
        " Energy distance and mean Wasserstein distance are shares of the gap closed: 0 is leaving the cells alone, 1 is as"
        " close as two halves of the truth. The last column has the figures that the paper reports on its own data, which are"
        " not public."
    )
    batches = [
        intro,
        "",
        "The change correlation is the paper's measure; it needs no truth. The distances are to cells that were measured: the same"
        " person in the other batch (cytonorm_volunteers), other patients of the same groups (imubac_krieg, a proxy).",
        *tabulate(results, 2, ["change_correlation", *DISTANCES], PAPER_2, "change_correlation"),
        *["", "The paper's methods by its measure:", ""],
        *rank_methods(results, 2, "change_correlation", PAPER_2),
    ]
    predictions = [
        intro,
        "",
        "The correlations of means and of variances are the paper's measures. They are high wherever bright features stay"
        " bright: the cells left alone show how high.",
        *tabulate(results, 3, ["mean_correlation", "variance_correlation", *DISTANCES], PAPER_3, "energy_distance"),
        *["", "The paper's methods by correlation of means:", ""],
        *rank_methods(results, 3, "mean_correlation", PAPER_3),
    ]
    return {"batches": "\n".join(batches) + "\n", "predictions": "\n".join(predictions) + "\n"}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one task of each kind, one seed, short training")
    parser.add_argument("--methods", nargs="+", choices=BASELINES, default=list(BASELINES))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=STEPS, help="of the autoencoders")
    parser.add_argument("--slow-steps", type=int, default=SLOW_STEPS, help="of the adversarial methods")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="tasks at a time, one thread each")
    parser.add_argument("--csv", type=Path, default=CSV, help="results, kept and added to")
    options = parser.parse_args()
    tasks, seeds, steps, slow_steps = paper_tasks(), options.seeds, options.steps, options.slow_steps
    if options.quick:
        tasks = list({task.data: task for task in reversed(tasks) if task.data != "imubac_krieg"}.values())
        seeds, steps, slow_steps, options.csv = 1, 1_000, 200, None

    # run what is missing
    results = read_results(options.csv)
    done = find_done(results, ["data", "task", "seed", "method"])
    jobs = []
    for task, seed in itertools.product(tasks, range(seeds)):
        names = [name for name in options.methods if (task.data, task.name, seed, name) not in done]
        jobs += [(task, seed, names, steps, slow_steps)] if names else []
    for (task, seed, *_), rows in run_jobs(run, jobs, options.jobs):
        results = pd.concat([results, rows], ignore_index=True)
        print(f"{task.data}, {task.name}, seed {seed}", flush=True)
        if options.csv:
            results.round(4).to_csv(options.csv, index=False)
    if results.empty:
        raise SystemExit("Nothing was run.")
    print(page(results, steps, slow_steps))


if __name__ == "__main__":
    main()
