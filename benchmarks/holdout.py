"""Does the ensemble that was cross-validated on source and target generalize? Every edit, and the ensemble, on held-out truths.

``python benchmarks/holdout.py`` runs what ``holdout.csv`` lacks; the docs are made of it. ``--quick`` is one task of each family,
and writes nothing. ``--blind`` asks whether it matters that the autoencoder was trained on the held-out cells, too.
``prior.py`` shows what its settings are worth on families that they were not set on.
"""

import argparse
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from labels import ASKED, name_family, name_method
from results import find_done, markdown_table, measure_time, read_results, run_jobs
from scipy.stats import spearmanr
from tasks import fit_single_candidates, get_strata, has_role, holdout_tasks, score, split_roles, take_cells

import neuronedit as ne
from neuronedit._data.space import SavedSpace
from neuronedit.baselines import BASELINES
from neuronedit.edits import affine, by_strata, gaussian_ot, local, on_all, percentile, shift, transport
from neuronedit.ensemble import CANDIDATES, Candidate, cross_validate

HERE = Path(__file__).parent
CSV = HERE / "holdout.csv"
FAMILIES = ["simulated", "cytonorm volunteers", "imubac patients", "sachs inhibitor", "sachs one pair"]
FAMILIES += ["bodenmiller PMA-ionomycin", "bodenmiller BCR-XL", "bodenmiller vanadate", "kang cell type", "kang donor"]
"""In the order in which they are shown."""

TUNED_ON = ("simulated", "bodenmiller BCR-XL", "bodenmiller vanadate")
"""The rules of the first ensembles were set on these. The weights that are expected were looked at on all nine families."""

UNTESTABLE = "sachs one pair"
"""Source and target are one condition each: no part of them differs from the rest as the query does."""

UNTRAINED, IN_AUTOENCODER = "auto, without training", "auto, autoencoder"
ENSEMBLES = ("auto", UNTRAINED, IN_AUTOENCODER, "auto, derived")
"""With the strata of the task; the same, where neurons are the features themselves, and those of an autoencoder, which differs
from the default with genes alone; and with strata that are derived."""

SPACES = {UNTRAINED: "identity", IN_AUTOENCODER: "autoencoder"}
"""Of ensembles that are not in the default space."""

NOT_CANDIDATES = {
    "gaussian_ot": Candidate("features", on_all(gaussian_ot)),
    "transport": Candidate("features", on_all(transport)),
    "affine_by_strata": Candidate("features", by_strata(affine)),
    "transport_by_strata": Candidate("features", by_strata(transport)),
    "pca_edit": Candidate("components", on_all(percentile)),
    "transport_neurons": Candidate("neurons", on_all(transport)),
    "constant_shift_by_strata": Candidate("neurons", by_strata(shift)),
    "local_neurons": Candidate("neurons", on_all(local)),
    "transport_neurons_by_strata": Candidate("neurons", by_strata(transport)),
}
"""Edits that users may take and the ensemble does not."""

OF_STRATA = [name for name in CANDIDATES if name.endswith(("by_strata", "balanced"))]
OF_NEURONS = [name for name, candidate in CANDIDATES.items() if candidate.space == "neurons"]
OF_FEATURES = [name for name, candidate in CANDIDATES.items() if candidate.space == "features"]
WITH_OFFSET = [name for name, candidate in CANDIDATES.items() if candidate.offset]

ABLATIONS = {
    "without neurons": [*OF_NEURONS],
    "without features": [name for name in OF_FEATURES if name not in ("identity", "mean_shift")],
    "without strata": OF_STRATA,
    "without offsets": WITH_OFFSET,
}
"""What the ensemble does without these candidates."""

SINGLE = CANDIDATES | NOT_CANDIDATES

KEPT_OF_ENSEMBLE = ("expected", "expected_se", "expected_low", "expected_high", "strength", "fold_kind")

COLORS = ["#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#000000", "#999999", "#F0E442", "#8B5A2B", "#D55E00"]
MARKERS = "osD^vP*X<d"
"""One of each for a family."""


def train(adata, space="auto"):
    """Train a space on these cells, the default one or an autoencoder."""
    ne.tl.train(adata, space=space, accelerator="cpu", progress_bar=False)
    return SavedSpace.read(adata, "neuronedit").space


def run(task, names):
    """Score these methods on one task; one row a method."""
    torch.set_num_threads(1)
    adata = take_cells(task)
    cells = split_roles(adata)
    compare = partial(score, cells["query"].numpy(), cells["truth"].numpy())
    rows = []

    # the ensembles, in the default space and in others
    ensembles = [name for name in names if name in (*ENSEMBLES, *ABLATIONS)]
    edits = {name: SINGLE[name] for name in names if name in SINGLE}
    if ensembles or edits:
        known = adata[~has_role(adata, "truth")].copy()
        for name in ensembles:
            own = known.copy()
            _, own_seconds = measure_time(train, own, SPACES.get(name, "auto"))
            strata = None if name == "auto, derived" else task.strata
            used = [candidate for candidate in CANDIDATES if candidate not in ABLATIONS.get(name, [])]
            row, seconds = measure_time(run_ensemble, own, strata, used, cells["truth"].numpy(), compare, task)
            rows.append({"method": name} | row | {"seconds": seconds, "train_seconds": own_seconds})
        space = train(known, "autoencoder") if edits else None
        with torch.no_grad():
            maps = fit_single_candidates(edits, space, cells, get_strata(known, task.strata)) if edits else {}
            for name, edit in maps.items():
                row, seconds = measure_time(lambda edit=edit: compare(edit(cells["query"]).numpy()))
                rows.append({"method": name} | row | {"seconds": seconds})

    # baselines; some names are those of edits, too, and were scored above
    for name in names:
        if name in ensembles or name in edits:
            continue
        try:
            row, seconds = measure_time(run_baseline, name, cells, compare)
        except Exception as error:  # noqa: BLE001 (a package of others may be missing, or fail on such data)
            print(f"skipped: {name} on {task.family}, {task.name}: {type(error).__name__}: {error}", flush=True)
            continue
        rows.append({"method": name} | row | {"seconds": seconds})
    return pd.DataFrame(rows).assign(family=task.family, task=task.name)


def run_ensemble(known, strata, candidates, truth, compare, task):
    """Edit the query by default; return the scores, what was expected, and how good the record's errors and distances are."""
    roles = {"source": "source", "target": "target", "query": "query"}
    settings = {"strata": strata, "candidates": candidates, "accelerator": "cpu"}
    _, seconds = measure_time(ne.tl.edit, known, "role", **roles, **settings)
    is_query, record = has_role(known, "query"), known.uns["edited"]
    predicted, distance = known.layers["edited"][is_query], known.obs["edited_distance"][is_query]
    row = compare(predicted) | {"edit_seconds": seconds}
    row |= {name: record["ensemble"][name] for name in KEPT_OF_ENSEMBLE}
    features = record["features"]
    z = np.abs(features["mean"] - truth.mean(axis=0)) / features["mean_error"]
    row["interval_coverage"] = float((z <= 1.645).mean())  # 90 % of a normal distribution
    row["share_outside"] = float((distance > 1).sum() / is_query.sum())
    if task.data == "simulated batches":  # each cell's own truth is known
        errors = np.abs(predicted - truth).mean(axis=1)
        row["distance_error_correlation"] = spearmanr(distance, errors).statistic
    return row


def run_baseline(name, cells, compare):
    """Fit a baseline, apply it to the query, and score it."""
    edit = BASELINES[name](cells["source"], cells["target"])
    return compare(edit(cells["query"]).numpy())


def run_blind(task):
    """Score the neurons' candidates in an autoencoder trained on the held-out stratum's target, too, and in one that was not."""
    torch.set_num_threads(1)
    adata = take_cells(task)
    known = adata[~has_role(adata, "truth")].copy()
    cells = [torch.from_numpy(known.X[has_role(known, role)]) for role in ("source", "target", "query")]
    strata, labels = get_strata(known, task.strata), known.obs[task.strata].astype(str).to_numpy()
    neurons = {name: candidate for name, candidate in CANDIDATES.items() if candidate.space == "neurons"}
    rows = []
    with torch.no_grad():
        seen = cross_validate(train(known, "autoencoder"), *cells, strata, candidates=neurons)
        for i, fold in enumerate(seen.folds):
            rest = known[~(has_role(known, "target") & (labels == fold))].copy()
            unseen = cross_validate(train(rest, "autoencoder"), *cells, strata, candidates=neurons)
            scores = {"seen": seen.scores[:, i], "unseen": unseen.scores[:, i]}
            rows.append(pd.DataFrame({"task": task.name, "fold": fold, "candidate": list(neurons)} | scores))
    return pd.concat(rows)


def read(path=CSV):
    """Return the results so far, family by family."""
    results = read_results(path)
    seed = results["task"].str.extract(r" (\d)$", expand=False).fillna(0).astype(int)  # of a simulated task
    results = results.assign(place=results["family"].map(FAMILIES.index), seed=seed)
    return results.sort_values(["place", "seed", "task"]).drop(columns=["place", "seed"])


SHOWN = ["auto", "quantile_by_strata", "neurons_by_strata", "cca", "neuron_editing", "quantile", "combat", "mean_shift"]
SHOWN += ["mnn", "identity"]
"""Methods of the overview, of its picture and of its table: at most ten."""

QUESTIONS = {
    "batches, same people": ["cytonorm volunteers"],
    "batches, other people": ["imubac patients"],
    "new cell type": ["bodenmiller PMA-ionomycin", "bodenmiller BCR-XL", "bodenmiller vanadate", "kang cell type"],
    "new donor": ["kang donor"],
    "new inhibitor": ["sachs inhibitor"],
    "simulated": ["simulated"],
    "one inhibitor only": [UNTESTABLE],
}
"""The families, by what is asked; the last is not in the mean."""


def page(results):
    """Return all tables as Markdown."""
    return "\n".join(make_tables(results).values())


def make_tables(results):
    """Return the tables as Markdown, by the names of the files that the pages include."""
    auto = results[results["method"] == "auto"]
    tables = {
        "overview": tabulate_overview(results),
        "families": tabulate_questions(results),
        "methods": tabulate_families(results[~results["method"].isin(ABLATIONS)]),
        "others": tabulate_other_scores(results[~results["method"].isin(ABLATIONS)]),
        "ablations": tabulate_families(results[results["method"].isin([*ABLATIONS, "auto"])]),
        "expected": describe_expectation(auto, results[results["method"] == IN_AUTOENCODER]),
        "training": tabulate_training(results),
        "tasks": tabulate_tasks(auto),
    }
    return {name: "\n".join(lines) + "\n" for name, lines in tables.items()}


def describe_expectation(auto, trained):
    """Return a table of how good the expectation, its interval, the standard errors, the distances are, and of the time.

    The time is that of ``trained`` rows: principal components take next to none.
    """
    testable = auto[auto["family"] != UNTESTABLE]
    reported = testable[~testable["family"].isin(TUNED_ON)]
    r = [rows["expected"].corr(rows["energy_distance"]) for rows in (testable, reported, auto)]
    low, high = testable["expected_low"], testable["expected_high"]
    is_held = testable["energy_distance"].clip(upper=1).between(low, high.clip(upper=1))
    coverage = auto.groupby("family", sort=False)["interval_coverage"].mean()
    ranks = auto["distance_error_correlation"].dropna()
    time_share = trained["edit_seconds"] / trained["train_seconds"]
    what = "correlation of the share expected with the share closed"
    rows = [
        [f"{what}, {len(testable)} tasks", f"{r[0]:.2f}"],
        [f"{what}, {len(reported)} tasks that no rule was set on", f"{r[1]:.2f}"],
        [f"{what}, all {len(auto)} tasks, with {name_family(UNTESTABLE)}", f"{r[2]:.2f}"],
        [f"tasks of {len(testable)} whose share lies in the 80 % interval", f"{is_held.mean():.0%}"],
        ["features whose true mean lies in the 90 % interval", f"{coverage.mean():.0%}"],
        *([f"– {name_family(name)}", f"{value:.0%}"] for name, value in coverage.items()),
        [
            f"rank correlation of `edited_distance` with a cell's error, {len(ranks)} simulated tasks",
            f"{ranks.mean():.2f} ({ranks.min():.2f} to {ranks.max():.2f})",
        ],
        [
            "time of the default edit, in times of the training of an autoencoder: median (most)",
            f"{time_share.median():.2f} ({time_share.max():.2f})",
        ],
    ]
    return markdown_table(["what", "value"], rows)


def average(results):
    """Return the share closed by family, ``(n_methods, n_families)``, and its mean over the families that can be tested."""
    closed = results.pivot_table("energy_distance", "method", "family", sort=False)
    by_family = closed.drop(columns=UNTESTABLE)
    return closed, by_family.mean(axis=1).where(by_family.notna().all(axis=1))


def tabulate_overview(results):
    """One row for each of ten methods: the mean, the worst task, and what is closed by question; the best is bold."""
    closed, means = average(results)
    testable = results[results["family"] != UNTESTABLE]
    table = pd.DataFrame({"mean": means, "worst task": testable.groupby("method")["energy_distance"].min()})
    for question, families in QUESTIONS.items():
        table[question] = closed[families].mean(axis=1)
    table = table.loc[SHOWN].sort_values("mean", ascending=False)
    best = table.drop(index="identity").round(2).max()
    best[["worst task", "one inhibitor only"]] = table[["worst task", "one inhibitor only"]].round(2).max()
    rows = []
    for name, values in table.iterrows():
        shown = [
            f"**{value:.2f}**" if round(value, 2) == best[column] else f"{value:.2f}"
            for column, value in values.items()
        ]
        shown = [text.replace("-0.00", "0.00") for text in shown]
        rows.append(["**the default**" if name == "auto" else name_method(name), *shown])
    return markdown_table(["method", *table.columns], rows)


def tabulate_questions(results):
    """One row a family: its data, what is asked, and how many tasks it has."""
    n_tasks = results.groupby("family")["task"].nunique()
    rows = [[name_family(family), *ASKED[family], f"{n_tasks[family]}"] for family in FAMILIES]
    return markdown_table(["family", "data", "what is predicted", "tasks"], rows)


def tabulate_families(results):
    """One row a method: the mean, the worst task, and the share of the energy distance closed, family by family."""
    closed, means = average(results)
    testable = results[results["family"] != UNTESTABLE]
    n_tasks = results.groupby("family", sort=False)["task"].nunique()
    table = closed.rename(columns=lambda family: f"{name_family(family)} ({n_tasks[family]})")
    table.insert(0, "mean", means)
    table.insert(1, "worst task", testable.groupby("method")["energy_distance"].min())
    return show_methods(table)


def tabulate_other_scores(results):
    """One row a method: other scores, means over the families that can be tested, of methods that were run on all of them."""
    names = {
        "energy_distance": "energy distance",
        "mean_wasserstein": "Wasserstein distance of each marker",
        "variance_ratio": "variance ratio",
        "mean_change_correlation": "correlation of the change of means",
    }
    _, complete = average(results)
    testable = results[results["family"] != UNTESTABLE]
    means = testable.groupby(["method", "family"])[list(names)].mean().groupby("method").mean()
    means = means.loc[complete.index[complete.notna()]].assign(mean=complete).drop(columns="energy_distance")
    return show_methods(means[["mean", *list(names)[1:]]].rename(columns=names | {"mean": "energy distance"}))


def show_methods(table):
    """Return a table of methods, sorted by its first column."""
    rows = []
    for name, values in table.sort_values(table.columns[0], ascending=False).iterrows():
        shown = ["–" if np.isnan(value) else f"{value:.2f}".replace("-0.00", "0.00") for value in values]
        rows.append([f"**{name_method(name)}**" if name in ENSEMBLES else name_method(name), *shown])
    return markdown_table(["method", *table.columns], rows)


def tabulate_training(results):
    """One column for the default without training, in an autoencoder, and as it is: shares closed, by family, too, and seconds."""
    columns = {UNTRAINED: "without training", IN_AUTOENCODER: "in an autoencoder", "auto": "the default"}
    own = results[results["method"].isin(columns)]
    seconds = (own["edit_seconds"] + own["train_seconds"]).groupby(own["method"]).median()
    own = own[own["family"] != UNTESTABLE]
    by_family = own.pivot_table(["energy_distance", "mean_wasserstein"], "family", "method", sort=False)
    rows = {
        "energy distance, mean": by_family["energy_distance"].mean(),
        "energy distance, worst task": own.groupby("method")["energy_distance"].min(),
        "Wasserstein distance of single markers, mean": by_family["mean_wasserstein"].mean(),
        "seconds to train and edit, median": seconds,
        **{f"– {name_family(name)}": values for name, values in by_family["energy_distance"].iterrows()},
    }
    cells = [[what, *(f"{values[name]:.2f}" for name in columns)] for what, values in rows.items()]
    return markdown_table(["share closed", *columns.values()], cells)


def tabulate_tasks(auto):
    """One row a task: what the ensemble was expected to close, and what it closed."""
    rows = []
    for _, row in auto.iterrows():
        expected = f"{row['expected']:.2f} ± {row['expected_se']:.2f}"
        scores = [expected, f"{row['strength']:.2g}", f"{row['energy_distance']:.2f}"]
        kind = "given" if row["fold_kind"] == "strata" else "matched"
        rows.append([name_family(row["family"]), row["task"], kind, *scores])
    return markdown_table(["family", "task", "strata", "expected", "strength", "closed"], rows)


def draw(results, path, lowest=-0.55):
    """Draw the share closed by ten methods: a small dot for each family, a large one for their mean, with its value."""
    import matplotlib.pyplot as plt

    closed, means = average(results)
    by_family = closed.drop(columns=UNTESTABLE)
    names = list(means[SHOWN].sort_values().index)
    figure, axis = plt.subplots(figsize=(6.6, 5.8), layout="constrained")
    axis.axvline(0, color="0.6", linewidth=1, zorder=0)
    for y, name in enumerate(names):
        color = "#D55E00" if name == "auto" else "#0072B2"
        axis.plot([lowest, 1.02], [y, y], color="0.93", linewidth=1, zorder=0)
        axis.plot(by_family.loc[name], [y] * by_family.shape[1], "o", color="0.65", markersize=4.5, zorder=1)
        axis.plot(means[name], y, "o", color=color, markersize=13, markeredgecolor="white", zorder=2)
        weight = "bold" if name == "auto" else "normal"
        axis.text(1.08, y, f"{means[name]:.2f}", va="center", fontsize=12, weight=weight, color=color)
    axis.text(1.08, len(names) - 0.25, "mean", va="center", fontsize=12, color="0.3")
    labels = [name_method(name).replace(" (", "\n(").replace(" within", "\nwithin") for name in names]
    axis.set_yticks(range(len(names)), labels, fontsize=12, linespacing=1.1)
    axis.set(xlim=(lowest, 1.04), ylim=(-0.6, len(names) - 0.4), xticks=[-0.5, 0, 0.5, 1])
    axis.set_xticklabels(["−0.5\nharm", "0\nnothing", "0.5", "1\nall of it"], fontsize=12)
    axis.set_xlabel("share of the distance to the truth that is closed", fontsize=12)
    axis.tick_params(axis="y", length=0)
    axis.spines[["top", "right", "left"]].set_visible(False)
    figure.savefig(path, dpi=170)
    plt.close(figure)  # the gallery would take it for one of its own


def draw_expected(results, path, lowest=-0.7):
    """Draw what was expected against what was closed, one point a task; what lies below the axis is a triangle at its edge."""
    import matplotlib.pyplot as plt

    figure, axis = plt.subplots(figsize=(6.8, 6.4), layout="constrained")
    axis.axline((0, 0), slope=1, color="0.6", linestyle="--", linewidth=1, zorder=0)
    axis.axhline(0, color="0.85", linewidth=1, zorder=0)
    auto = results[results["method"] == "auto"]
    for color, marker, (family, rows) in zip(COLORS, MARKERS, auto.groupby("family", sort=False), strict=False):
        style = {"color": color, "markeredgecolor": "white", "markeredgewidth": 0.5, "markersize": 8}
        is_below = rows["energy_distance"] < lowest
        shown, below = rows[~is_below], rows[is_below].sort_values("expected")
        axis.plot(shown["expected"], shown["energy_distance"], marker, label=name_family(family), **style)
        for side, offset, (_, row) in zip(("right", "left"), (-6, 6), below.iterrows(), strict=False):
            axis.plot(row["expected"], lowest, marker="v", clip_on=False, **style)
            text = f"{row['energy_distance']:.1f}".replace("-", "−")
            place = {"xytext": (offset, 6), "textcoords": "offset points", "ha": side}
            axis.annotate(text, (row["expected"], lowest), fontsize=11, **place)
    axis.set_xlabel("share expected from held-out strata", fontsize=12)
    axis.set_ylabel("share closed in truth", fontsize=12)
    axis.set(xlim=(0, 1.1), ylim=(lowest, 1.1))
    axis.tick_params(labelsize=11)
    axis.spines[["top", "right"]].set_visible(False)
    figure.legend(frameon=False, loc="outside lower center", ncols=2, fontsize=11)
    figure.savefig(path, dpi=150)
    plt.close(figure)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--families", nargs="*", default=[""], help="only families whose name contains one of these")
    parser.add_argument("--tasks", nargs="*", default=[""], help="only tasks whose name contains one of these")
    parser.add_argument("--methods", nargs="*", help="only these methods")
    parser.add_argument("--blind", action="store_true", help="compare autoencoders with and without held-out cells")
    parser.add_argument("--baselines", nargs="*", default=["combat", "mnn", "cca"])
    options = parser.parse_args()

    # which tasks
    tasks = [task for task in holdout_tasks() if any(part in task.family for part in options.families)]
    tasks = [task for task in tasks if any(part in task.name for part in options.tasks)]
    if options.blind:
        rows = pd.concat([run_blind(task) for task in tasks if task.strata])
        print(rows.groupby(["task", "candidate"])[["seen", "unseen"]].mean().round(3).to_string())
        difference, correlation = (rows["seen"] - rows["unseen"]).mean(), rows["seen"].corr(rows["unseen"])
        print(f"mean difference {difference:.3f}, r {correlation:.3f}")
        return
    if options.quick:
        tasks = list({task.family: task for task in tasks}.values())

    # run what is missing
    results = pd.DataFrame() if options.quick else read_results(CSV)
    done = find_done(results, ["family", "task", "method"])
    jobs = []
    for task in tasks:
        ensembles = [name for name in ENSEMBLES if task.strata or name != "auto, derived"] + [*ABLATIONS]
        names = options.methods or [*ensembles, *SINGLE, *options.baselines]
        missing = [name for name in names if (task.family, task.name, name) not in done]
        jobs += [(task, missing)] if missing else []
    for (task, _), rows in run_jobs(run, jobs, options.jobs):
        results = pd.concat([results, rows])
        if len(rows):
            closed = rows.set_index("method")["energy_distance"].sort_values(ascending=False)
            shown = closed[closed.index.isin(["auto", closed.index[0]])].round(2).to_dict()
            print(f"{task.family}, {task.name}: {shown}", flush=True)
        if not options.quick:
            results.to_csv(CSV, index=False, float_format="%.4g")
    if not options.quick:
        print(page(read()))


if __name__ == "__main__":
    main()
