"""Composition is not a change: what do methods make of a target with other proportions of cell types?

``python benchmarks/composition.py`` runs what ``composition.csv`` lacks; the docs are made of it. ``--quick`` is one task of each data
set, and writes nothing. The source is drawn from cells before the change. The target is drawn from cells after it, in other
proportions of cell types. The source is also the query. Its truth are other cells after the change in the proportions of the source;
simulated cells have a truth of their own. Whatever takes the other proportions for a change scores lower.
"""

import argparse
import logging
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import anndata
import holdout
import numpy as np
import pandas as pd
import torch
from labels import name_method
from results import find_done, markdown_table, measure_time, read_results, run_jobs
from tasks import INTERFERON, N_SPLITS, STIMULI, find_rows, has_role, load_data, subsample

import neuronedit as ne
from neuronedit.baselines import BASELINES

CSV = Path(__file__).parent / "composition.csv"
TYPE = "cell_type"
"""Column of obs with the cell types."""

VARIATIONS = (0.0, 0.15, 0.3, 0.45)
"""Total variations between the proportions of source and target: the share of cells that would have to be of another type."""

SEEDS = (0, 1, 2)
"""Of the proportions and of the cells."""

QUICK_VARIATION = 0.3
MAX_CELLS_TO_SCORE = 2_000
"""Of query, prediction and truth: all pairs of them take a second."""

MAX_DRAWS = 10_000
"""Proportions that are drawn in search of some that are far enough; without a limit two types could keep it busy forever."""

EDITS = {
    "default": {},
    "default, types given": {"strata": TYPE},
    "neuron editing": {"edit": "percentile", "key": "autoencoder"},
}
"""Edits of `ne.tl.edit`: the default ones in the default space, neuron editing in an autoencoder."""

OTHERS = {
    "quantiles": "quantile",
    "mean shift": "mean_shift",
    "combat": "combat",
    "mnn": "mnn",
    "cca": "cca",
    "cytonorm": "cytonorm",
}
"""Rows of ``ne.baselines.BASELINES``."""

METHODS = [*EDITS, *OTHERS]
ONLY_CYTOMETRY = ("cytonorm",)
LOWEST = -0.5
"""Lower edge of the figure."""

COLORS = [color for color in holdout.COLORS if color != "#F0E442"]  # a yellow line is hard to see on white
MARKERS = holdout.MARKERS.replace("v", "")  # this one is for values below the edge
STYLES = dict(zip(METHODS, zip(COLORS, MARKERS, strict=True), strict=True))
"""Color and marker of each method."""


@dataclass(frozen=True)
class Setting:
    """How the cells of a data set are drawn."""

    changes: dict  # name -> column of obs, its value before and its value after
    n_cells: int  # about so many of source, target and truth each
    min_cells: int  # a type with fewer cells before or after the change is left out
    min_drawn: int  # of each type, so that all types are in all populations
    is_cytometry: bool = True
    is_simulated: bool = False


SETTINGS = {
    "simulated batches": Setting({"batch": ("group", "control_1", "control_2")}, 3_000, 100, 20, is_simulated=True),
    "bodenmiller_4stim": Setting(STIMULI, 3_000, 150, 20),
    "kang_counts": Setting({"IFN-beta": INTERFERON}, 600, 60, 15, is_cytometry=False),
}
"""In the order in which they are shown."""


@dataclass(frozen=True)
class CompositionTask:
    """A change in a data set, how far the proportions of the target are moved, and the seed."""

    data: str
    change: str
    variation: float
    seed: int

    @property
    def name(self):
        """Return the name of the change and the seed."""
        return f"{self.change} {self.seed}"


def composition_tasks():
    """Yield all tasks, data set by data set."""
    for data, setting in SETTINGS.items():
        for variation in VARIATIONS:
            for change in setting.changes:
                yield from (CompositionTask(data, change, variation, seed) for seed in SEEDS)


# Cells of a task


def draw_composition(shares, variation, generator):
    """Draw proportions, and go from ``shares`` towards them until the total variation is as asked; `None` if it is out of reach."""
    for _ in range(MAX_DRAWS):
        drawn = generator.dirichlet(0.5 * len(shares) * shares + 1e-3)
        largest = 0.5 * np.abs(shares - drawn).sum()
        if largest >= variation:
            return shares + variation / largest * (drawn - shares)
    return None


def draw_rows(obs, task):
    """Return the rows of source, target and truth, with replacement; `None` if the total variation is out of reach."""
    setting, generator = SETTINGS[task.data], np.random.default_rng(task.seed)
    changing, before, after = setting.changes[task.change]

    # types with enough cells on both sides
    rows_of_types = []
    for kind in np.unique(obs[TYPE].astype(str)):
        both = [find_rows(obs, {TYPE: kind, changing: value}) for value in (before, after)]
        if min(map(len, both)) >= setting.min_cells:
            rows_of_types.append(both)

    # proportions: a few large types would hide all others
    sizes = np.array([len(rows_before) for rows_before, _ in rows_of_types], dtype=float)
    sizes = np.minimum(sizes, np.quantile(sizes, 0.8))
    source_shares = sizes / sizes.sum()
    target_shares = draw_composition(source_shares, task.variation, generator)
    if target_shares is None:
        return None

    # the cells of each type
    drawn = {"source": [], "target": [], "truth": []}
    for (rows_before, rows_after), *shares in zip(rows_of_types, source_shares, target_shares, strict=True):
        n_source, n_target = (max(int(share * setting.n_cells), setting.min_drawn) for share in shares)
        if setting.is_simulated:  # each cell has its own truth
            source = generator.choice(rows_before, n_source)
            target, truth = generator.choice(rows_after, n_target), source
        else:  # no cell is in both target and truth
            half, other_half = np.split(generator.permutation(rows_after), [len(rows_after) // 2])
            source = generator.choice(rows_before, n_source)
            target, truth = generator.choice(half, n_target), generator.choice(other_half, n_source)
        for role, rows in zip(drawn, (source, target, truth), strict=True):
            drawn[role].append(rows)
    return {role: np.concatenate(rows) for role, rows in drawn.items()}


def draw_cells(task):
    """Return the cells of a task, dense, with their roles in ``obs["role"]``; `None` if the total variation is out of reach."""
    setting = SETTINGS[task.data]
    adata = load_data(task.data, task.seed) if setting.is_simulated else load_data(task.data)
    rows = draw_rows(adata.obs, task)
    if rows is None:
        return None
    X = adata.X.toarray() if hasattr(adata.X, "toarray") else adata.X
    truth = adata.layers["truth"] if setting.is_simulated else X
    cells = np.concatenate([X[rows["source"]], X[rows["target"]], truth[rows["truth"]]]).astype(np.float32)
    roles = np.repeat(list(rows), [len(own) for own in rows.values()])
    types = adata.obs[TYPE].astype(str).to_numpy()[np.concatenate(list(rows.values()))]
    obs = pd.DataFrame({"role": roles, TYPE: types}, index=[f"c{i}" for i in range(len(roles))], dtype="category")
    return anndata.AnnData(cells, obs=obs, var=adata.var[[]])


def measure_variation(adata):
    """Return the total variation between the proportions of source and target as drawn: rare types have more cells than asked."""
    shares = [adata.obs[TYPE][has_role(adata, role)].value_counts(normalize=True) for role in ("source", "target")]
    return 0.5 * shares[0].sub(shares[1], fill_value=0).abs().sum()


# Scores


def run(task, names):
    """Score these methods on one task; one row a method."""
    torch.set_num_threads(1)
    logging.getLogger("neuronedit").setLevel(logging.ERROR)
    adata = draw_cells(task)
    if adata is None:
        print(f"skipped: {task.data}, {task.name}: no proportions reach {task.variation}", flush=True)
        return pd.DataFrame()
    known = adata[~has_role(adata, "truth")].copy()
    source, target, truth = (adata.X[has_role(adata, role)] for role in ("source", "target", "truth"))
    compare = partial(score, source, truth)
    rows = []

    # edits: the paper's in an autoencoder, the others in the default space
    edits, train_seconds = [name for name in names if name in EDITS], {}
    for name in edits:
        space = EDITS[name].get("key", "auto")
        if space not in train_seconds:
            how = {"space": space, "key_added": space, "accelerator": "cpu", "progress_bar": False}
            _, train_seconds[space] = measure_time(ne.tl.train, known, **how)
        roles = {"source": "source", "target": "target", "query": "source"}
        _, seconds = measure_time(ne.tl.edit, known, "role", **roles, **{"key": space} | EDITS[name], accelerator="cpu")
        closed = compare(known.layers["edited"][has_role(known, "source")])
        rows.append({"method": name, "closed": closed, "seconds": seconds, "train_seconds": train_seconds[space]})

    # baselines
    for name in names:
        if name in edits:
            continue
        try:
            predicted, seconds = measure_time(apply_baseline, name, source, target)
        except Exception as error:  # noqa: BLE001 (a package of others may be missing, or fail on such data)
            print(f"skipped: {name} on {task.data}, {task.name}: {type(error).__name__}: {error}", flush=True)
            continue
        rows.append({"method": name, "closed": compare(predicted), "seconds": seconds})
    about = {"data": task.data, "task": task.name, "variation": task.variation, "drawn": measure_variation(adata)}
    return pd.DataFrame([about | row for row in rows])


def apply_baseline(name, source, target):
    """Fit a baseline, and apply it to the source."""
    source, target = torch.from_numpy(source), torch.from_numpy(target)
    with torch.no_grad():
        return BASELINES[OTHERS[name]](source, target)(source).numpy()


def score(query, truth, predicted):
    """Return the share of the energy distance that is closed."""
    cells = [x[subsample(np.arange(len(x)), MAX_CELLS_TO_SCORE)] for x in (query, truth, predicted)]
    return ne.metrics.gap_closed(ne.metrics.energy_distance, *cells, n_splits=N_SPLITS)


# What is shown


read = partial(read_results, CSV)


def summarize(results):
    """Yield each data set with its rows, and the means of its methods, ``(n_methods, n_variations)``, the best at the end on top."""
    for data in SETTINGS:
        own = results[results["data"] == data]
        if len(own):
            means = own.pivot_table("closed", "method", "variation")
            yield data, own, means.sort_values(means.columns[-1], ascending=False)


def page(results):
    """Return the tables as Markdown."""
    lines = [
        "Mean share of the energy distance closed, with the worst task in brackets. Columns are total variations between the"
        " proportions of cell types in source and target; the best method at the largest one is on top.",
    ]
    for data, own, means in summarize(results):
        n_tasks = own["task"].nunique()
        lines += ["", f"**{data}** ({n_tasks} task{'s' * (n_tasks > 1)} at each total variation)", ""]
        worst = own.pivot_table("closed", "method", "variation", aggfunc="min").loc[means.index]
        rows = []
        for name, values in means.iterrows():
            shown = [format_scores(*both) for both in zip(values, worst.loc[name], strict=True)]
            label = name_method(name)
            rows.append([f"**{label}**" if name.startswith("default") else label, *shown])
        lines += markdown_table(["method", *(f"{variation:g}" for variation in means)], rows)
    return "\n".join(lines) + "\n"


def format_scores(mean, worst):
    """Show a mean and the worst task; – where a method was not run."""
    return "–" if np.isnan(mean) else f"{mean:.2f} ({worst:.2f})"


def draw(results, path):
    """Draw the mean share closed against the total variation, one line a method; what lies below the axis is a triangle at its edge."""
    import matplotlib.pyplot as plt
    from matplotlib.lines import Line2D

    summaries = list(summarize(results))
    size = (2.7 * len(summaries), 5.2)
    figure, axes = plt.subplots(1, len(summaries), sharex=True, sharey=True, squeeze=False, figsize=size)
    figure.subplots_adjust(left=0.1, right=0.98, bottom=0.36, top=0.93, wspace=0.12)  # the legend is below
    for axis, (data, _, means) in zip(axes[0], summaries, strict=True):
        axis.axhline(0, color="0.85", linewidth=1, zorder=0)
        for name in reversed(means.index):  # the best on top
            values, (color, marker) = means.loc[name].dropna(), STYLES[name]
            line = {"color": color, "linewidth": 2.4 if name.startswith("default") else 1.3}
            edge = {"markeredgecolor": "white", "markeredgewidth": 0.5, "linestyle": "none", "color": color}
            is_below = values < LOWEST
            axis.plot(values.index, values.clip(lower=LOWEST), **line)
            axis.plot(values.index[~is_below], values[~is_below], marker=marker, markersize=6.5, **edge)
            below = values.index[is_below].to_numpy()
            axis.plot(below, np.full(len(below), LOWEST), marker="v", clip_on=False, zorder=3, **edge)
        axis.set_title(data, fontsize=12)
        axis.set_xlabel("total variation", fontsize=12)
        axis.tick_params(labelsize=11)
        axis.set_xticks(VARIATIONS, [f"{variation:g}" for variation in VARIATIONS])
        axis.set_ylim(LOWEST, 1.05)
        axis.spines[["top", "right"]].set_visible(False)
    axes[0, 0].set_ylabel("share of the gap closed", fontsize=12)
    handles = []
    for name in [name for name in METHODS if name in set(results["method"])]:
        color, marker = STYLES[name]
        handles.append(Line2D([], [], color=color, marker=marker, markeredgecolor="white", label=name_method(name)))
    label = f"below {LOWEST}".replace("-", "−")
    handles.append(Line2D([], [], color="0.4", marker="v", linestyle="none", markeredgecolor="white", label=label))
    figure.legend(handles=handles, loc="lower center", frameon=False, fontsize=11, ncols=3)
    figure.savefig(path, dpi=150)
    plt.close(figure)  # the gallery would take it for one of its own


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--data", nargs="*", default=[""], help="only data sets whose name contains one of these")
    parser.add_argument("--tasks", nargs="*", default=[""], help="only tasks whose name contains one of these")
    parser.add_argument("--methods", nargs="*", default=METHODS, choices=METHODS)
    options = parser.parse_args()

    # which tasks
    tasks = [task for task in composition_tasks() if any(part in task.data for part in options.data)]
    tasks = [task for task in tasks if any(part in task.name for part in options.tasks)]
    if options.quick:
        tasks = [task for task in tasks if task.variation == QUICK_VARIATION]
        tasks = list({task.data: task for task in reversed(tasks)}.values())

    # run what is missing
    results = pd.DataFrame() if options.quick else read()
    done = find_done(results, ["data", "task", "variation", "method"])
    jobs = []
    for task in tasks:
        is_cytometry = SETTINGS[task.data].is_cytometry
        names = [name for name in options.methods if is_cytometry or name not in ONLY_CYTOMETRY]
        missing = [name for name in names if (task.data, task.name, task.variation, name) not in done]
        jobs += [(task, missing)] if missing else []
    for (task, _), rows in run_jobs(run, jobs, options.jobs):
        results = pd.concat([results, rows])
        if len(rows):
            closed = rows.set_index("method")["closed"].sort_values(ascending=False).round(2).to_dict()
            print(f"{task.data}, {task.name}, {task.variation}: {closed}", flush=True)
        if not options.quick:
            results.to_csv(CSV, index=False, float_format="%.4g")
    if len(results):
        print(page(results))


if __name__ == "__main__":
    main()
