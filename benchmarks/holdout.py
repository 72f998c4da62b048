"""Does the edit that was chosen on the observed pair carry over? Every candidate, and the choice, on held-out truths.

``python benchmarks/holdout.py`` runs what ``holdout.csv`` lacks; the docs are made of it. ``--quick`` is one task of each family,
and writes nothing. ``--blind`` asks whether it matters that the autoencoder saw what was left out.
The rules of the choice were set on the families in `CHOSEN_ON`; all others only report.
"""

import argparse
import itertools
import time
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from functools import cache, partial
from multiprocessing import get_context
from pathlib import Path

import anndata
import numpy as np
import pandas as pd
import torch
from paper import DATA
from scipy.stats import spearmanr

import neuronedit as ne
from neuronedit._adata import recall
from neuronedit.baselines import BASELINES
from neuronedit.edits import affine, by_strata, gaussian_ot, percentile, shift, transport
from neuronedit.ensemble import CANDIDATES, Candidate, select
from neuronedit.ensemble._candidates import learn
from neuronedit.ensemble._cross_validate import _encoded
from neuronedit.spaces import PCA, Identity

HERE = Path(__file__).parent
FAMILIES = (
    "simulated",
    "cytonorm volunteers",
    "imubac patients",
    "sachs inhibitor",
    "sachs one pair",
    "bodenmiller PMA-ionomycin",
    "bodenmiller BCR-XL",
    "bodenmiller vanadate",
    "kang cell type",
    "kang donor",
)
"""In the order in which they are shown."""

CHOSEN_ON = ("simulated", "bodenmiller BCR-XL", "bodenmiller vanadate")
UNTESTABLE = "sachs one pair"
"""A single pair of conditions: nothing that can be held out differs from the rest as the query does."""

CHOICES = ("auto", "auto, derived")
"""With the strata of the task, and with parts that are derived."""

NOT_CHOSEN_FROM = {
    "affine_by_strata": Candidate("features", by_strata(affine)),
    "gaussian_ot_by_strata": Candidate("features", by_strata(gaussian_ot)),
    "transport_by_strata": Candidate("features", by_strata(transport)),
    "pca_edit_by_strata": Candidate("components", by_strata(percentile)),
    "constant_shift_by_strata": Candidate("neurons", by_strata(shift)),
    "gaussian_ot_neurons_by_strata": Candidate("neurons", by_strata(gaussian_ot)),
    "transport_neurons_by_strata": Candidate("neurons", by_strata(transport)),
}
"""Single edits that users may take and the choice does not: with the first three and the shift it was no better on `CHOSEN_ON`."""

SINGLE = CANDIDATES | NOT_CHOSEN_FROM

MOST_PAIR, MOST_QUERY = 5_000, 2_000
SCORES = ["energy_distance", "mean_wasserstein", "variance_ratio", "mean_change"]


@dataclass(frozen=True)
class Task:
    """A pair, a query and its truth, each a dict of obs column -> values; ``strata`` is the column to leave parts out by."""

    family: str
    name: str
    data: str
    source: dict
    target: dict
    query: dict
    truth: dict
    strata: str | None = None


@cache
def load(data):
    """Read a data set; ``"simulated 3"`` is the simulator with seed 3."""
    if data.startswith("batches "):
        adata = ne.datasets.simulate_batches(3_000, rng=int(data.split()[1]))
        truth = adata[adata.obs["group"] == "sample_1"].copy()
        truth.X, truth.obs["group"] = truth.layers["truth"], "truth"
        return anndata.concat([adata, truth], index_unique="-")
    if data.startswith("combination "):
        return ne.datasets.simulate_combination(3_000, rng=int(data.split()[1]))
    adata = DATA[data](0)
    if data == "sachs_icam2_inhibitors":  # "CD3CD28+ICAM2+U0126": with ICAM2, inhibitor U0126
        parts = adata.obs["condition"].astype(str).str.removeprefix("CD3CD28").str.split("+")
        adata.obs["icam2"] = parts.map(lambda names: "yes" if "ICAM2" in names else "no")
        rest = parts.map(lambda names: "+".join(name for name in names if name not in ("", "ICAM2")) or "none")
        adata.obs["inhibitor"] = rest
        adata = adata[adata.obs["condition"].astype(str).str.startswith("CD3CD28")].copy()
    return adata


def kinds(data, column, before, after, least=100):
    """Values of a column with so many cells before and after the change."""
    obs = load(data).obs
    counts = [
        obs.loc[np.logical_and.reduce([obs[c] == v for c, v in of.items()]), column].value_counts()
        for of in (before, after)
    ]
    both = pd.concat(counts, axis=1).fillna(0).min(axis=1)
    return sorted(both.index.astype(str)), sorted(both[both >= least].index.astype(str))


def left_out(family, data, column, before, after):
    """One task for each value of a column: learn on the others, predict this one."""
    every, enough = kinds(data, column, before, after)
    for this in enough:
        others, own = {column: [name for name in every if name != this]}, {column: this}
        yield Task(family, this, data, others | before, others | after, own | before, own | after, column)


def tasks():
    """All tasks, family by family."""
    for seed in range(3):
        roles = [{"group": name} for name in ("control_1", "control_2", "sample_1", "truth")]
        yield Task("simulated", f"batches {seed}", f"batches {seed}", *roles, "cell_type")
        roles = [{"condition": name} for name in ("basal", "A", "B", "A+B")]
        yield Task("simulated", f"combination {seed}", f"combination {seed}", *roles, "cell_type")
        for this in ("B", "CD4 T"):
            kinds_of = sorted(load(f"batches {seed}").obs["cell_type"].unique())
            others, own = {"cell_type": [name for name in kinds_of if name != this]}, {"cell_type": this}
            pair = others | {"group": "control_1"}, others | {"group": "control_2"}
            query = own | {"group": "sample_1"}, own | {"group": "truth"}
            yield Task("simulated", f"{this} {seed}", f"batches {seed}", *pair, *query, "cell_type")
    batches = ("PTLG021", "PTLG028", "PTLG034")
    for a, b in itertools.permutations(batches, 2):
        one, other = {"individual": "Volunteer_1"}, {"individual": "Volunteer_2"}
        roles = [one | {"batch": a}, one | {"batch": b}, other | {"batch": a}, other | {"batch": b}]
        yield Task("cytonorm volunteers", f"{a} to {b}", "cytonorm_volunteers", *roles)
    for a, b in itertools.permutations(("Data23", "Data29")):
        roles = [{"role": role, "batch": batch} for role in ("control", "sample") for batch in (a, b)]
        yield Task("imubac patients", f"{a} to {b}", "imubac_krieg", *roles)
    yield from left_out("sachs inhibitor", "sachs_icam2_inhibitors", "inhibitor", {"icam2": "no"}, {"icam2": "yes"})
    for inhibitor in kinds("sachs_icam2_inhibitors", "inhibitor", {"icam2": "no"}, {"icam2": "yes"})[1]:
        if inhibitor != "none":  # learnt on one pair, with nothing else to say whether it carries over
            who = ({"inhibitor": "none"}, {"inhibitor": inhibitor})
            roles = [one | {"icam2": icam2} for icam2 in ("no", "yes") for one in who]
            yield Task(UNTESTABLE, inhibitor, "sachs_icam2_inhibitors", *roles)
    for stimulus in ("PMA-ionomycin", "BCR-XL", "vanadate"):
        before, after = {"condition": "unstimulated"}, {"condition": stimulus}
        yield from left_out(f"bodenmiller {stimulus}", "bodenmiller_4stim", "cell_type", before, after)
    before, after = {"condition": "control"}, {"condition": "IFN-beta"}
    yield from left_out("kang cell type", "kang_counts", "cell_type", before, after)
    for one, other in itertools.permutations(kinds("kang_counts", "individual", before, after)[1]):
        roles = [{"individual": who} | when for who in (one, other) for when in (before, after)]
        yield Task("kang donor", f"{one} to {other}", "kang_counts", *roles)


def cells_of(task):
    """The cells of a task, as one AnnData with a column ``role``; every population at most so large."""
    adata, rows, roles = load(task.data), [], []
    most = {"source": MOST_PAIR, "target": MOST_PAIR, "query": MOST_QUERY, "truth": MOST_QUERY}
    for role, n in most.items():
        mask = np.logical_and.reduce(
            [adata.obs[c].isin(np.atleast_1d(v)).to_numpy() for c, v in getattr(task, role).items()]
        )
        drawn = np.sort(np.random.default_rng(0).permutation(mask.nonzero()[0])[:n])
        rows.append(drawn)
        roles += [role] * len(drawn)
    taken = adata[np.concatenate(rows)].copy()
    dense = taken.X.toarray() if hasattr(taken.X, "toarray") else taken.X
    taken = anndata.AnnData(
        np.asarray(dense, dtype=np.float32), obs=taken.obs.reset_index(drop=True), var=taken.var[[]]
    )
    taken.obs.index, taken.obs["role"] = taken.obs.index.astype(str), pd.Categorical(roles)
    return taken


def trained(adata):
    """Train an autoencoder on these cells, as it is by default."""
    ne.tl.train(adata, accelerator="cpu", progress_bar=False)
    return recall(adata, "neuronedit")[0]


def run(task, names):
    """Score these methods on one task; one row a method."""
    torch.set_num_threads(1)
    adata = cells_of(task)
    X = {
        role: torch.from_numpy(adata.X[(adata.obs["role"] == role).to_numpy()])
        for role in ("source", "target", "query", "truth")
    }
    score = partial(scored, X["query"].numpy(), X["truth"].numpy())
    own = [name for name in names if name in CHOICES or name in SINGLE]  # some of them are baselines' names, too
    table = own_methods(task, adata, X, score, own) if own else []
    for name in (name for name in names if name not in own):
        start = time.perf_counter()
        try:
            predicted = BASELINES[name](X["source"], X["target"])(X["query"]).numpy()
        except Exception as error:  # noqa: BLE001 (a package of others may be missing, or fail on such data)
            print(f"skipped: {name} on {task.family}, {task.name}: {type(error).__name__}: {error}", flush=True)
            continue
        table.append({"method": name} | score(predicted) | {"seconds": time.perf_counter() - start})
    return pd.DataFrame(table).assign(family=task.family, task=task.name)


def own_methods(task, adata, X, score, names):
    """Score the choice, with the task's strata and with derived ones, and single edits."""
    known = adata[adata.obs["role"] != "truth"].copy()
    start = time.perf_counter()
    space = trained(known)
    train_seconds = time.perf_counter() - start
    roles, table = {"groupby": "role", "source": "source", "target": "target", "query": "query"}, []

    for name in (name for name in names if name in CHOICES):
        strata = task.strata if name == "auto" else None
        start = time.perf_counter()
        ne.tl.edit(known, **roles, edit="auto", strata=strata, accelerator="cpu")
        row = score(known.layers["edited"][(known.obs["role"] == "query").to_numpy()])
        record, features = known.uns["edited"]["selection"], known.uns["edited"]["features"]
        missed = np.abs(features["mean"] - X["truth"].numpy().mean(axis=0)) / features["mean_error"]
        row |= {"expected": record["expected"], "expected_se": record["expected_se"], "strength": record["strength"]}
        row |= {"how": record["how"], "covered": float((missed <= 1.645).mean())}
        row |= {"outside": float((known.obs["edited_distance"] > 1).sum() / len(X["query"]))}
        if "batches" in task.data:  # each cell's own truth is known
            at = (known.obs["role"] == "query").to_numpy()
            errors = np.abs(known.layers["edited"][at] - X["truth"].numpy()).mean(axis=1)
            row |= {"support_and_error": spearmanr(known.obs["edited_distance"][at], errors).statistic}
        table.append({"method": name} | row | {"seconds": time.perf_counter() - start, "train_seconds": train_seconds})

    with torch.no_grad():
        labels = known.obs[task.strata].astype(str).to_numpy() if task.strata else None
        of = {role: (known.obs["role"] == role).to_numpy() for role in ("source", "target")}
        strata = None if labels is None else (labels[of["source"]], labels[of["target"]])
        chosen = select(
            space, X["source"], X["target"], X["query"], strata, candidates={"identity": CANDIDATES["identity"]}
        )
        everything = torch.cat([X["source"], X["target"], X["query"]])
        spaces = {"features": Identity(n_features=adata.n_vars), "neurons": space}
        spaces["components"] = PCA.of(everything, n_components=50)
        singles = {name: SINGLE[name] for name in names if name in SINGLE}
        maps = learn(singles, spaces, _encoded(spaces, chosen.pair), X["source"].mean(0) - X["query"].mean(0))
        for name, move in maps.items():
            start = time.perf_counter()
            table.append({"method": name} | score(move(X["query"]).numpy()) | {"seconds": time.perf_counter() - start})
    return table


def scored(query, truth, predicted):
    """Shares of the gap that are closed, variance ratio, and the correlation of predicted and true changes of the means."""
    closed = {
        name: ne.metrics.gap_closed(ne.metrics.METRICS[name], query, truth, predicted, n_splits=10)
        for name in SCORES[:2]
    }
    moved, needed = predicted.mean(0) - query.mean(0), truth.mean(0) - query.mean(0)
    change = float(np.corrcoef(moved, needed)[0, 1]) if moved.std() > 0 else 0.0
    return closed | {"variance_ratio": ne.metrics.variance_ratio(predicted, truth), "mean_change": change}


def blind(task):
    """Score the neurons' candidates with an autoencoder that saw the left-out stratum's target, and with one that did not."""
    torch.set_num_threads(1)
    adata = cells_of(task)
    known = adata[adata.obs["role"] != "truth"].copy()
    labels, rows = known.obs[task.strata].astype(str).to_numpy(), []
    X = {
        role: torch.from_numpy(known.X[(known.obs["role"] == role).to_numpy()])
        for role in ("source", "target", "query")
    }
    strata = tuple(labels[(known.obs["role"] == role).to_numpy()] for role in ("source", "target"))
    neurons = {name: candidate for name, candidate in CANDIDATES.items() if candidate.space == "neurons"}
    with torch.no_grad():
        seen = select(trained(known), *X.values(), strata, candidates=neurons)
        for i, part in enumerate(seen.parts):
            unseen = known[~((known.obs["role"] == "target").to_numpy() & (labels == part))].copy()
            again = select(trained(unseen), *X.values(), strata, candidates=neurons)
            for name, with_it, without in zip(neurons, seen.scores[:, i], again.scores[:, i], strict=True):
                rows.append({"task": task.name, "part": part, "candidate": name, "seen": with_it, "unseen": without})
    return pd.DataFrame(rows)


def label(name):
    """A method's name in the tables."""
    return f"**{name}**" if name.startswith("auto") else name


def read(path=HERE / "holdout.csv"):
    """Return the results so far, family by family."""
    results = pd.read_csv(path)
    keys = [
        (FAMILIES.index(family), seed_of(task), task)
        for family, task in zip(results["family"], results["task"], strict=True)
    ]
    return results.iloc[sorted(range(len(keys)), key=keys.__getitem__)]


def seed_of(task):
    """Return the seed of a simulated task, else 0."""
    last = task.split()[-1]
    return int(last) if len(last) == 1 and last.isdigit() else 0


def chosen(results):
    """Return the results of the choice, one row a task."""
    return results[results["method"] == "auto"]


def page(results):
    """Return the tables as Markdown."""
    auto = chosen(results)
    testable = auto[auto["family"] != UNTESTABLE]
    reported = testable[~testable["family"].isin(CHOSEN_ON)]
    covered = auto.groupby("family", sort=False)["covered"].mean()
    ranks = auto["support_and_error"].dropna()
    lines = [*by_family(results), ""]
    lines += [
        f"**Expected and achieved.** Correlation of the share that was expected with the share that was closed: {r(testable):.2f} over"
        f" {len(testable)} tasks, {r(reported):.2f} over the {len(reported)} of them that no rule was set on. With {UNTESTABLE},"
        f" where one pair is all that there is, {r(auto):.2f} over {len(auto)}.",
        "",
        f"**Intervals.** 90 % intervals of the means (`mean` ± 1.645 `mean_error`) hold the true mean of {covered.mean():.0%} of the"
        f" features: {', '.join(f'{name} {value:.0%}' for name, value in covered.items())}.",
        "",
        "**Support.** Rank correlation of a cell's `edited_distance` with its error, where each cell's own truth is known"
        f" ({len(ranks)} simulated tasks): mean {ranks.mean():.2f}, from {ranks.min():.2f} to {ranks.max():.2f}.",
        "",
        f"**Time.** The choice took {(auto['seconds'] / auto['train_seconds']).median():.1f} times the time of the"
        f" training (median; at most {(auto['seconds'] / auto['train_seconds']).max():.1f}), scoring included.",
        "",
        "| family | task | parts | expected | strength | closed |",
        "|---" * 6 + "|",
    ]
    for _, row in auto.iterrows():
        expected = f"{row['expected']:.2f} ± {row['expected_se']:.2f}"
        cells = [
            row["family"],
            row["task"],
            row["how"],
            expected,
            f"{row['strength']:.2g}",
            f"{row['energy_distance']:.2f}",
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def r(rows):
    """Correlation of what was expected with what was achieved."""
    return np.corrcoef(rows["expected"], rows["energy_distance"])[0, 1]


def by_family(results):
    """One row a method: the share of the energy distance closed, family by family, and other scores over all of them."""
    closed = results.pivot_table("energy_distance", "method", "family", sort=False)
    known = closed.drop(columns=UNTESTABLE)
    every = known.notna().all(axis=1)
    of_families = results[results["family"] != UNTESTABLE].groupby(["method", "family"])
    means = of_families[["mean_wasserstein", "variance_ratio", "mean_change"]].mean().groupby("method").mean()
    table = closed.assign(
        mean=known.mean(axis=1).where(every),
        worst=results[results["family"] != UNTESTABLE].groupby("method")["energy_distance"].min(),
        wasserstein=means["mean_wasserstein"].where(every),
        variance=means["variance_ratio"].where(every),
        change=means["mean_change"].where(every),
    )
    counts = results.groupby("family", sort=False)["task"].nunique()
    heads = [f"{name} ({counts[name]})" for name in closed.columns]
    heads += ["mean", "worst task", "Wasserstein", "variance ratio", "change of means"]
    lines = ["| method | " + " | ".join(heads) + " |", "|---" * (len(heads) + 1) + "|"]
    for name, row in table.sort_values("mean", ascending=False).iterrows():
        shown = f"**{name}**" if name.startswith("auto") else name
        lines.append(f"| {shown} | " + " | ".join("–" if np.isnan(x) else f"{x:.2f}" for x in row) + " |")
    return lines


def draw(auto, path, lowest=-0.7):
    """Expected against achieved, one point a task; what lies below the axis is a triangle at its edge."""
    import matplotlib.pyplot as plt

    colors = [
        "#0072B2",
        "#E69F00",
        "#009E73",
        "#CC79A7",
        "#56B4E9",
        "#000000",
        "#999999",
        "#F0E442",
        "#8B5A2B",
        "#D55E00",
    ]
    markers = "osD^vP*X<d"
    figure, axis = plt.subplots(figsize=(6.8, 4.2), layout="constrained")
    axis.axline((0, 0), slope=1, color="0.6", linestyle="--", linewidth=1, zorder=0)
    axis.axhline(0, color="0.85", linewidth=1, zorder=0)
    for i, (family, rows) in enumerate(auto.groupby("family", sort=False)):
        style = {"color": colors[i], "markeredgecolor": "white", "markeredgewidth": 0.5, "markersize": 6.5}
        shown, below = rows[rows["energy_distance"] >= lowest], rows[rows["energy_distance"] < lowest]
        axis.errorbar(
            shown["expected"], shown["energy_distance"], xerr=shown["expected_se"], fmt=markers[i], elinewidth=0.8,
            ecolor=colors[i], label=family, **style,
        )  # fmt: skip
        for side, (_, row) in zip(("right", "left"), below.sort_values("expected").iterrows(), strict=False):
            axis.plot(row["expected"], lowest, marker="v", clip_on=False, **style)
            offset = (-6 if side == "right" else 6, 6)
            axis.annotate(
                f"{row['energy_distance']:.1f}".replace("-", "−"),
                (row["expected"], lowest),
                offset,
                textcoords="offset points",
                ha=side,
                fontsize="small",
            )
    axis.set(xlabel="share of the gap expected from held-out parts", ylabel="share of the gap closed in truth")
    axis.set(xlim=(0, 1.1), ylim=(lowest, 1.1))
    axis.spines[["top", "right"]].set_visible(False)
    axis.legend(frameon=False, loc="upper left", bbox_to_anchor=(1.02, 1), fontsize="small")
    figure.savefig(path, dpi=150)
    plt.close(figure)  # the gallery would take it for one of its own


def main():
    """Run what is missing and write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--families", nargs="*", help="only families whose name contains one of these")
    parser.add_argument("--tasks", nargs="*", help="only tasks whose name contains one of these")
    parser.add_argument("--blind", action="store_true", help="only compare scores with and without what was left out")
    parser.add_argument("--baselines", nargs="*", default=["combat", "mnn", "cca"])
    options = parser.parse_args()
    path = HERE / "holdout.csv"
    wanted = [
        task
        for task in tasks()
        if any(name in task.family for name in options.families or [""])
        and any(name in task.name for name in options.tasks or [""])
    ]
    if options.blind:
        rows = pd.concat([blind(task) for task in wanted if task.strata])
        print(rows.groupby(["task", "candidate"])[["seen", "unseen"]].mean().round(3).to_string())
        print(
            f"mean difference {(rows['seen'] - rows['unseen']).mean():.3f}, r {rows['seen'].corr(rows['unseen']):.3f}"
        )
        return
    if options.quick:
        wanted = list({task.family: task for task in wanted}.values())
    old = (
        pd.read_csv(path) if path.exists() and not options.quick else pd.DataFrame(columns=["family", "task", "method"])
    )
    done = set(zip(old["family"], old["task"], old["method"], strict=True))
    results, jobs = [old], {}
    with ProcessPoolExecutor(options.jobs, mp_context=get_context("spawn")) as pool:
        for task in wanted:
            methods = [*CHOICES[: 2 if task.strata else 1], *SINGLE, *options.baselines]
            if missing := [name for name in methods if (task.family, task.name, name) not in done]:
                jobs[pool.submit(run, task, missing)] = task
        for job in as_completed(jobs):
            task, rows = jobs[job], job.result()
            results.append(rows)
            if len(rows):
                best = rows.set_index("method")["energy_distance"].sort_values(ascending=False)
                shown = best[best.index.isin(["auto", best.index[0]])].round(2).to_dict()
                print(f"{task.family}, {task.name}: {shown}", flush=True)
            if not options.quick:
                pd.concat([x for x in results if len(x)]).to_csv(path, index=False, float_format="%.4g")
    if not options.quick:
        print(page(read(path)))


if __name__ == "__main__":
    main()
