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
from results import find_done, markdown_table, measure_time, read_results, run_jobs
from scipy.stats import spearmanr
from tasks import fit_single_candidates, get_strata, has_role, holdout_tasks, score, split_roles, take_cells

import neuronedit as ne
from neuronedit._data.space import SavedSpace
from neuronedit.baselines import BASELINES
from neuronedit.edits import affine, by_strata, gaussian_ot, local, on_all, percentile, transport
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

ENSEMBLES = ("auto", "auto, derived")
"""With the strata of the task, and with strata that are derived."""

NOT_CANDIDATES = {
    "gaussian_ot": Candidate("features", on_all(gaussian_ot)),
    "transport": Candidate("features", on_all(transport)),
    "affine_by_strata": Candidate("features", by_strata(affine)),
    "transport_by_strata": Candidate("features", by_strata(transport)),
    "pca_edit": Candidate("components", on_all(percentile)),
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


def train(adata):
    """Train an autoencoder on these cells, as it is by default."""
    ne.tl.train(adata, accelerator="cpu", progress_bar=False)
    return SavedSpace.read(adata, "neuronedit").space


def run(task, names):
    """Score these methods on one task; one row a method."""
    torch.set_num_threads(1)
    adata = take_cells(task)
    cells = split_roles(adata)
    compare = partial(score, cells["query"].numpy(), cells["truth"].numpy())
    rows = []

    # the ensembles and single edits, in one autoencoder
    ensembles = [name for name in names if name in (*ENSEMBLES, *ABLATIONS)]
    edits = {name: SINGLE[name] for name in names if name in SINGLE}
    if ensembles or edits:
        known = adata[~has_role(adata, "truth")].copy()
        space, train_seconds = measure_time(train, known)
        for name in ensembles:
            strata = None if name == "auto, derived" else task.strata
            used = [candidate for candidate in CANDIDATES if candidate not in ABLATIONS.get(name, [])]
            row, seconds = measure_time(run_ensemble, known, strata, used, cells["truth"].numpy(), compare, task)
            rows.append({"method": name} | row | {"seconds": seconds, "train_seconds": train_seconds})
        with torch.no_grad():
            maps = fit_single_candidates(edits, space, cells, get_strata(known, task.strata))
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
    ne.tl.edit(known, "role", **roles, strata=strata, candidates=candidates, accelerator="cpu")
    is_query, record = has_role(known, "query"), known.uns["edited"]
    predicted, distance = known.layers["edited"][is_query], known.obs["edited_distance"][is_query]
    row = compare(predicted)
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
        seen = cross_validate(train(known), *cells, strata, candidates=neurons)
        for i, fold in enumerate(seen.folds):
            rest = known[~(has_role(known, "target") & (labels == fold))].copy()
            unseen = cross_validate(train(rest), *cells, strata, candidates=neurons)
            scores = {"seen": seen.scores[:, i], "unseen": unseen.scores[:, i]}
            rows.append(pd.DataFrame({"task": task.name, "fold": fold, "candidate": list(neurons)} | scores))
    return pd.concat(rows)


def read(path=CSV):
    """Return the results so far, family by family."""
    results = read_results(path)
    seed = results["task"].str.extract(r" (\d)$", expand=False).fillna(0).astype(int)  # of a simulated task
    results = results.assign(place=results["family"].map(FAMILIES.index), seed=seed)
    return results.sort_values(["place", "seed", "task"]).drop(columns=["place", "seed"])


def page(results):
    """Return the tables as Markdown."""
    auto = results[results["method"] == "auto"]
    testable = auto[auto["family"] != UNTESTABLE]
    reported = testable[~testable["family"].isin(TUNED_ON)]
    coverage = auto.groupby("family", sort=False)["interval_coverage"].mean()
    ranks = auto["distance_error_correlation"].dropna()
    r = [rows["expected"].corr(rows["energy_distance"]) for rows in (testable, reported, auto)]
    time_share = auto["seconds"] / auto["train_seconds"]
    is_held = (auto["energy_distance"] >= auto["expected_low"]) & (auto["energy_distance"] <= auto["expected_high"])
    is_held = is_held[auto["family"] != UNTESTABLE]
    lines = [
        *tabulate_families(results[~results["method"].isin(ABLATIONS)]),
        "",
        "**What each kind of candidate buys.** The ensemble without some of its candidates:",
        "",
        *tabulate_families(results[results["method"].isin([*ABLATIONS, "auto"])]),
        "",
        f"**Expected and achieved.** Correlation of the share that was expected with the share that was closed: {r[0]:.2f}"
        f" over {len(testable)} tasks, {r[1]:.2f} over the {len(reported)} of them that no rule was set on. With"
        f" {UNTESTABLE}, where source and target are one condition each, {r[2]:.2f} over {len(auto)}.",
        "",
        f"**The 80 % interval** of the expected share holds the share that was closed in {is_held.mean():.0%} of {len(is_held)} tasks.",
        "",
        f"**Intervals.** 90 % intervals of the means (`mean` ± 1.645 `mean_error`) hold the true mean of {coverage.mean():.0%} of the"
        f" features: {', '.join(f'{name} {value:.0%}' for name, value in coverage.items())}.",
        "",
        "**Support.** Rank correlation of a cell's `edited_distance` with its error, where each cell's own truth is known"
        f" ({len(ranks)} simulated tasks): mean {ranks.mean():.2f}, from {ranks.min():.2f} to {ranks.max():.2f}.",
        "",
        f"**Time.** The ensemble took {time_share.median():.1f} times the time of the training (median; at most"
        f" {time_share.max():.1f}), scoring included.",
        "",
        *tabulate_tasks(auto),
    ]
    return "\n".join(lines) + "\n"


def tabulate_families(results):
    """One row a method: the share of the energy distance closed, family by family, and other scores over all of them."""
    # mean over families, of methods that were run on all of them
    closed = results.pivot_table("energy_distance", "method", "family", sort=False)
    testable = results[results["family"] != UNTESTABLE]
    by_family = closed.drop(columns=UNTESTABLE)
    is_complete = by_family.notna().all(axis=1)
    others = {
        "mean_wasserstein": "Wasserstein",
        "variance_ratio": "variance ratio",
        "mean_change_correlation": "change of means",
    }
    means = testable.groupby(["method", "family"])[list(others)].mean().groupby("method").mean()
    # columns
    n_tasks = results.groupby("family", sort=False)["task"].nunique()
    table = closed.rename(columns=lambda family: f"{family} ({n_tasks[family]})")
    table["mean"] = by_family.mean(axis=1).where(is_complete)
    table["worst task"] = testable.groupby("method")["energy_distance"].min()
    for column, head in others.items():
        table[head] = means[column].where(is_complete)
    # rows, the best first
    rows = []
    for name, values in table.sort_values("mean", ascending=False).iterrows():
        shown = ["–" if np.isnan(value) else f"{value:.2f}" for value in values]
        rows.append([f"**{name}**" if name in ENSEMBLES else name, *shown])
    return markdown_table(["method", *table.columns], rows)


def tabulate_tasks(auto):
    """One row a task: what the ensemble was expected to close, and what it closed."""
    rows = []
    for _, row in auto.iterrows():
        expected = f"{row['expected']:.2f} ± {row['expected_se']:.2f}"
        scores = [expected, f"{row['strength']:.2g}", f"{row['energy_distance']:.2f}"]
        rows.append([row["family"], row["task"], row["fold_kind"], *scores])
    return markdown_table(["family", "task", "strata", "expected", "strength", "closed"], rows)


def draw(results, path, lowest=-0.7):
    """Draw what was expected against what was closed, one point a task; what lies below the axis is a triangle at its edge."""
    import matplotlib.pyplot as plt

    figure, axis = plt.subplots(figsize=(6.8, 4.2), layout="constrained")
    axis.axline((0, 0), slope=1, color="0.6", linestyle="--", linewidth=1, zorder=0)
    axis.axhline(0, color="0.85", linewidth=1, zorder=0)
    auto = results[results["method"] == "auto"]
    for color, marker, (family, rows) in zip(COLORS, MARKERS, auto.groupby("family", sort=False), strict=False):
        style = {"color": color, "markeredgecolor": "white", "markeredgewidth": 0.5, "markersize": 6.5}
        is_below = rows["energy_distance"] < lowest
        shown, below = rows[~is_below], rows[is_below].sort_values("expected")
        bars = {"xerr": shown["expected_se"], "elinewidth": 0.8, "ecolor": color}
        axis.errorbar(shown["expected"], shown["energy_distance"], fmt=marker, label=family, **bars, **style)
        for side, offset, (_, row) in zip(("right", "left"), (-6, 6), below.iterrows(), strict=False):
            axis.plot(row["expected"], lowest, marker="v", clip_on=False, **style)
            text = f"{row['energy_distance']:.1f}".replace("-", "−")
            place = {"xytext": (offset, 6), "textcoords": "offset points", "ha": side}
            axis.annotate(text, (row["expected"], lowest), fontsize="small", **place)
    axis.set(xlabel="share of the gap expected from held-out strata", ylabel="share of the gap closed in truth")
    axis.set(xlim=(0, 1.1), ylim=(lowest, 1.1))
    axis.spines[["top", "right"]].set_visible(False)
    axis.legend(frameon=False, loc="upper left", bbox_to_anchor=(1.02, 1), fontsize="small")
    figure.savefig(path, dpi=150)
    plt.close(figure)  # the gallery would take it for one of its own


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
        ensembles = [*(ENSEMBLES if task.strata else ENSEMBLES[:1]), *ABLATIONS]
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
