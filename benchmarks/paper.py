"""The paper's Tables 2 and 3 with every method, on data that can be had: a CSV, of which the docs are made.

``python benchmarks/paper.py`` runs what is not in the CSV yet; ``--quick`` is a look at one task of each kind in minutes, with
short training, and is only printed. Nothing was tuned on the truths that are scored here.
"""

import argparse
import itertools
import os
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, replace
from functools import cache, partial
from inspect import signature
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pandas as pd
import scanpy as sc
import torch

import neuronedit as ne
from neuronedit.baselines import BASELINES, QUICK
from neuronedit.spaces import Autoencoder

HERE = Path(__file__).parent
STEPS, SLOW_STEPS = 10_000, 2_000
"""Of the autoencoders, and of the adversarial methods."""

METRICS = ["change_correlation", "mean_correlation", "variance_correlation"]
METRICS += ["energy_distance", "mean_wasserstein", "variance_ratio"]
PAPER_2 = {  # correlation of the change observed in the controls with the change applied to the samples
    "neuron_editing": 0.963, "gan": 0.511, "cyclegan": 0.431, "resnet_gan": 0.627, "mmd_autoencoder": -0.051,
    "constant_shift": 0.882, "cca": 0.603, "mnn": 0.534, "combat": 0.557, "limma": 0.543,
}  # fmt: skip
PAPER_3 = {  # correlation of predicted with true means / variances
    "neuron_editing": (0.997, 0.972), "gan": (0.870, 0.581), "cyclegan": (0.927, 0.854), "resnet_gan": (0.945, 0.930),
    "mmd_autoencoder": (0.920, 0.961), "constant_shift": (0.967, 0.969),
}  # fmt: skip


@dataclass(frozen=True)
class Task:
    """One comparison: a data set, and which of its cells are source, target, query and truth."""

    table: int
    data: str
    name: str
    source: dict
    target: dict
    query: dict
    truth: dict


def arcsinh(load):
    adata = load()
    ne.pp.arcsinh(adata)
    return adata


def kang():
    """The 500 most variable genes, found on the untreated cells alone."""
    adata = ne.datasets.kang_counts()
    sc.pp.normalize_total(adata, target_sum=1e4)
    sc.pp.log1p(adata)
    control = adata[adata.obs["condition"] == "control"].copy()
    sc.pp.highly_variable_genes(control, n_top_genes=500)
    return adata[:, control.var["highly_variable"].to_numpy()].copy()


DATA = {
    "cytonorm_volunteers": lambda seed: arcsinh(ne.datasets.cytonorm_volunteers),
    "imubac_krieg": lambda seed: arcsinh(ne.datasets.imubac_krieg),
    "simulated combination": lambda seed: ne.datasets.simulate_combination(rng=seed),
    "sachs_icam2_inhibitors": lambda seed: arcsinh(ne.datasets.sachs_icam2_inhibitors),
    "bodenmiller_4stim": lambda seed: arcsinh(ne.datasets.bodenmiller_4stim),
    "kang_counts": lambda seed: kang(),
}


def replicates(a, b):
    one, other = {"individual": "Volunteer_1"}, {"individual": "Volunteer_2"}
    before, after = {"batch": a}, {"batch": b}
    return Task(2, "cytonorm_volunteers", f"{a} to {b}", one | before, one | after, other | before, other | after)


def patients():
    before, after, controls, samples = {"batch": "Data23"}, {"batch": "Data29"}, {"role": "control"}, {"role": "sample"}
    return Task(2, "imubac_krieg", "patients", controls | before, controls | after, samples | before, samples | after)


def combination():
    return Task(3, "simulated combination", "A on B", *({"condition": name} for name in ("basal", "A", "B", "A+B")))


def inhibitor(name):
    conditions = ("CD3CD28", f"CD3CD28+{name}", "CD3CD28+ICAM2", f"CD3CD28+ICAM2+{name}")
    return Task(3, "sachs_icam2_inhibitors", name, *({"condition": condition} for condition in conditions))


def held_out(data, types, kind, before, after):
    """Learn on all cell types but one, predict that one."""
    others, this = {"cell_type": [name for name in types if name != kind]}, {"cell_type": kind}
    before, after = {"condition": before}, {"condition": after}
    return Task(3, data, f"{kind}, {after['condition']}", others | before, others | after, this | before, this | after)


LINEAGES = ["cd8+", "igm+", "cd14+hladrmid"]
"""The largest type of T cells, B cells and monocytes."""

GATED = [
    "cd14+hladr-",
    "cd14+hladrhigh",
    "cd14+hladrmid",
    "cd14+surf-",
    "cd14-hladr-",
    "cd14-hladrhigh",
    "cd14-hladrmid",
]
GATED += ["cd14-surf-", "cd4+", "cd8+", "dendritic", "igm+", "igm-", "nk"]
PBMC = ["B cells", "CD14+ Monocytes", "CD4 T cells", "CD8 T cells", "FCGR3A+ Monocytes"]

TASKS = [
    *(replicates(a, b) for a, b in (("PTLG021", "PTLG028"), ("PTLG028", "PTLG034"), ("PTLG034", "PTLG021"))),
    patients(),
    combination(),
    *(inhibitor(name) for name in ("AKT-inhibitor", "U0126")),
    *(held_out("bodenmiller_4stim", GATED, kind, "unstimulated", "PMA-ionomycin") for kind in LINEAGES),
    *(held_out("kang_counts", PBMC, kind, "control", "IFN-beta") for kind in ("B cells", "CD14+ Monocytes")),
]


@cache
def load(data, seed):
    return DATA[data](seed)


def fit(cells, training):
    """Train the autoencoder at the published rate."""
    return Autoencoder.fit(cells, replace(training, lr=1e-3))


def run(task, seed, names, steps, slow_steps):
    """Score methods on one task; one row a method."""
    torch.set_num_threads(1)
    methods, shared = {}, cache(fit)
    for name in names:
        how = {"n_steps": steps if name in QUICK else slow_steps, "fit": shared}
        methods[name] = partial(
            BASELINES[name], **{k: how[k] for k in signature(BASELINES[name]).parameters.keys() & how}
        )
    scores = ne.tl.compare(
        load(task.data, seed), source=task.source, target=task.target, query=task.query, truth=task.truth,
        methods=methods, metrics=METRICS, n_bootstrap=0, rng=seed, progress_bar=False,
    )  # fmt: skip
    missing = scores["error"].str.startswith("ImportError")
    for reason in scores.loc[missing, "error"].unique():
        print(f"skipped: {reason}", flush=True)
    scores = scores[~missing].astype({"method": str, "metric": str})
    wide = scores.pivot(index=["method", "seconds", "error"], columns="metric", values="value")
    wide = wide.reindex(columns=METRICS).reset_index()
    known = {"table": task.table, "data": task.data, "task": task.name, "seed": seed}
    return wide.rename_axis(columns=None).assign(**known)[[*known, *wide.columns]]


def summary(results, table):
    """Mean over tasks of one table, with the spread of its mean over seeds, by data set and method."""
    rows = results[results["table"] == table]
    by_seed = rows.groupby(["data", "method", "seed"], sort=False)[METRICS].mean()
    return by_seed.groupby(["data", "method"], sort=False).agg(["mean", "std"])


def markdown(results, table, columns, paper, order):
    """One Markdown table for each data set, the best by the first of the columns on top."""
    title = {name: name.replace("_", " ") for name in columns}
    figures, lines = summary(results, table), []
    for data in dict.fromkeys(task.data for task in TASKS if task.table == table):
        if data not in figures.index.get_level_values(0):
            continue
        these = figures.loc[data]
        rows = results[results["data"] == data]
        names, n_seeds = list(rows["task"].unique()), rows["seed"].nunique()
        plural = "s" * (len(names) > 1), "s" * (n_seeds > 1)
        lines += ["", f"**{data}** ({len(names)} task{plural[0]}: {'; '.join(names)}; {n_seeds} seed{plural[1]})", ""]
        lines += ["| method | " + " | ".join(title.values()) + " | paper |", "|---" * (len(columns) + 2) + "|"]
        for name, row in these.sort_values((order, "mean"), ascending=False, na_position="last").iterrows():
            cells = [show(row[column]) for column in columns]
            lines.append(f"| {name} | " + " | ".join([*cells, said(paper.get(name))]) + " |")
    return lines


def show(value):
    mean, spread = value["mean"], value["std"]
    return "–" if np.isnan(mean) else f"{mean:.3f} ± {spread:.3f}" if spread >= 0.0005 else f"{mean:.3f}"


def said(figure):
    return "" if figure is None else " / ".join(f"{x:.3f}" for x in np.atleast_1d(figure))


def order_of(results, table, metric, paper):
    """Say how the paper's methods rank here, and how that agrees with the paper."""
    ours = results[(results["table"] == table) & results["method"].isin(paper)]
    means = ours.groupby(["data", "task", "method"])[metric].mean().groupby(["data", "method"]).mean().unstack("data")
    theirs = pd.Series({name: np.atleast_1d(value)[0] for name, value in paper.items()})
    lines = []
    for data, column in means.items():
        ranked = column.sort_values(ascending=False)
        place = list(ranked.index).index("neuron_editing") + 1
        agreement = ranked.corr(theirs, method="spearman")
        lines.append(
            f"- {data}: {' > '.join(ranked.index)}. Neuron editing is number {place} of {len(ranked)}; rank correlation with"
            f" the paper's order {agreement:.2f}."
        )
    return lines


def read(path=HERE / "paper.csv"):
    """Return the results so far."""
    return pd.read_csv(path, keep_default_na=False, na_values=[""])


def page(results, steps=STEPS, slow_steps=SLOW_STEPS):
    """Return the tables as Markdown."""
    lines = [
        "Mean over tasks ± standard deviation over seeds (none where a method has no seed; – where"
        " it failed or the value is not defined). Autoencoders were"
        f" trained for {steps:,} steps at a rate of 1e-3, GANs and the regularized autoencoder (`mmd_autoencoder`) for {slow_steps:,}."
        " Energy distance and mean Wasserstein distance are shares of the gap closed: 0 is leaving the cells alone, 1 is as"
        " close as two halves of the truth. The last column has the figures that the paper reports on its own data, which are"
        " not public.",
        "",
        "## Table 2: change in the controls against change in the samples",
        "",
        "`change correlation` is the paper's measure; it needs no truth. The distances are to cells that were measured: the same"
        " person in the other batch (cytonorm_volunteers), other patients of the same groups (imubac_krieg, a proxy).",
    ]
    distances = ["energy_distance", "mean_wasserstein", "variance_ratio"]
    lines += markdown(results, 2, ["change_correlation", *distances], PAPER_2, "change_correlation")
    lines += ["", "The paper's methods by its measure:", "", *order_of(results, 2, "change_correlation", PAPER_2)]
    lines += [
        "",
        "## Table 3: predicted against true means and variances",
        "",
        "`mean correlation` and `variance correlation` are the paper's measures. They are high wherever bright features stay"
        " bright: `identity`, the cells left alone, shows how high.",
    ]
    lines += markdown(results, 3, ["mean_correlation", "variance_correlation", *distances], PAPER_3, "energy_distance")
    lines += [
        "",
        "The paper's methods by mean correlation:",
        "",
        *order_of(results, 3, "mean_correlation", PAPER_3),
        "",
    ]
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one task of each kind, one seed, short training")
    parser.add_argument("--methods", nargs="+", choices=BASELINES, default=list(BASELINES))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=STEPS, help="of the autoencoders")
    parser.add_argument("--slow-steps", type=int, default=SLOW_STEPS, help="of the adversarial methods")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="tasks at a time, one thread each")
    parser.add_argument("--csv", type=Path, default=HERE / "paper.csv", help="results, kept and added to")
    options = parser.parse_args()
    tasks, seeds, steps, slow_steps = TASKS, options.seeds, options.steps, options.slow_steps
    if options.quick:
        tasks = list({task.data: task for task in reversed(TASKS) if task.data != "imubac_krieg"}.values())
        seeds, steps, slow_steps, options.csv = 1, 1_000, 200, None

    results = read(options.csv) if options.csv and options.csv.exists() else pd.DataFrame()
    done = (
        set() if results.empty else set(results[["data", "task", "seed", "method"]].itertuples(index=False, name=None))
    )
    jobs = []
    for task, seed in itertools.product(tasks, range(seeds)):
        names = [name for name in options.methods if (task.data, task.name, seed, name) not in done]
        jobs += [(task, seed, names)] if names else []
    with ProcessPoolExecutor(options.jobs, mp_context=get_context("spawn")) as pool:
        futures = {pool.submit(run, *job, steps, slow_steps): job for job in jobs}
        for future in as_completed(futures):
            task, seed, _ = futures[future]
            if error := future.exception():  # mostly data that could not be downloaded; the next run tries again
                print(f"{task.data}, {task.name}, seed {seed} was not run: {error}", flush=True)
                continue
            results = pd.concat([results, future.result()], ignore_index=True)
            print(f"{task.data}, {task.name}, seed {seed}", flush=True)
            if options.csv:
                results.round(4).to_csv(options.csv, index=False)
    if results.empty:
        raise SystemExit("Nothing was run.")
    print(page(results, steps, slow_steps))


if __name__ == "__main__":
    main()
