"""Batch correction from controls, on controls that were left out: does it hold, and is it said beforehand where it does not?

``python benchmarks/controls.py`` leaves two healthy donors of each batch of imubac_krieg out of the controls, in all 100 ways, corrects
Data23 to Data29, and holds the left-out donors of Data23 against those of Data29, who are other people. It writes ``controls.csv``,
of which the docs are made. ``--quick`` takes every tenth split, and writes nothing.
"""

import argparse
import itertools
import logging
import time
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from sklearn.cluster import KMeans

import neuronedit as ne

HERE = Path(__file__).parent
MOST = 2_500
"""Cells of a donor."""

ENOUGH = 0.7
"""Share of the energy distance that is asked for."""

SPACES = {"neurons": "neuronedit", "features": "identity"}
METHODS = {
    "mean shift": ("features", {"edit": "shift"}),
    "quantiles per marker": ("features", {"edit": "percentile"}),
    "Gaussian OT": ("features", {"edit": "gaussian_ot"}),
    "optimal transport": ("features", {"edit": "transport"}),
    "neuron editing": ("neurons", {"edit": "percentile"}),
    "neuron editing, within strata": ("neurons", {"edit": "percentile", "strata": "lineage"}),
    "auto": ("neurons", {"edit": "auto"}),
    "auto, with strata": ("neurons", {"edit": "auto", "strata": "lineage"}),
}


def cells():
    """The healthy donors, at most so many cells each, with one space for all splits: training knows no batches."""
    adata = ne.datasets.imubac_krieg()
    ne.pp.arcsinh(adata, cofactor=5)
    ne.tl.train(adata, max_epochs=8, lr=1e-3, accelerator="cpu")
    healthy = np.flatnonzero((adata.obs["group"] == "HD").to_numpy())
    generator = np.random.default_rng(0)
    donors = adata.obs["individual"].astype(str).to_numpy()[healthy]
    kept = [generator.permutation(healthy[donors == donor])[:MOST] for donor in np.unique(donors)]
    adata = adata[np.sort(np.concatenate(kept))].copy()
    ne.tl.train(adata, space="identity", key_added="identity")
    adata.obs["lineage"] = lineage(adata)
    return adata


def lineage(adata):
    """Myeloid or lymphoid: two clusters of the standardized markers, in each batch by itself, so that no batch effect is in them."""
    names, labels = adata.obs["batch"].astype(str).to_numpy(), np.empty(adata.n_obs, dtype=object)
    for batch in np.unique(names):
        x = adata.X[names == batch]
        two = KMeans(2, n_init=10, random_state=0).fit_predict((x - x.mean(0)) / x.std(0))
        cd33 = [x[two == k, adata.var_names.get_loc("CD33")].mean() for k in range(2)]
        labels[names == batch] = np.where(two == np.argmax(cd33), "myeloid", "lymphoid")
    return pd.Categorical(labels)


def matched(adata, query, truth):
    """Row numbers of the truth, drawn so that it is as myeloid as the query."""
    labels, generator = adata.obs["lineage"].astype(str).to_numpy(), np.random.default_rng(0)
    shares = pd.Series(labels[query]).value_counts(normalize=True)
    drawn = [
        generator.choice(own, round(len(truth) * share))
        for label, share in shares.items()
        if len(own := truth[labels[truth] == label]) >= 10
    ]
    return np.concatenate(drawn)


def splits():
    """Two donors of each batch, in all ways."""
    batches = [f"HD{i}" for i in range(1, 6)], [f"HD{i}" for i in range(6, 11)]
    return list(itertools.product(*(itertools.combinations(donors, 2) for donors in batches)))


def run(adata, held, methods):
    """Correct with each method; score the held-out donors, and say what the report said before."""
    donors = adata.obs["individual"].astype(str).to_numpy()
    out = [np.flatnonzero(np.isin(donors, names)) for names in held]
    others = matched(adata, *out)
    for name in methods:
        space, how = METHODS[name]
        start = time.perf_counter()
        ne.tl.correct(
            adata,
            "batch",
            control_key="role",
            reference="Data29",
            sample_key="individual",
            held_out_controls={"individual": [*held[0], *held[1]]},
            key=SPACES[space],
            accelerator="cpu",
            progress_bar=False,
            **how,
        )
        seconds = time.perf_counter() - start
        record = adata.uns["corrected"]
        after, before = adata.layers["corrected"][out[0]], adata.X[out[0]]
        closed = ne.metrics.gap_closed(ne.metrics.energy_distance, before, adata.X[others], after, n_splits=10)
        yield {
            "method": name,
            "query": "+".join(held[0]),
            "truth": "+".join(held[1]),
            "closed": record["held_out"].loc["Data23", "closed"],
            "closed_matched": closed,
            "flagged": int(record["samples"]["flagged"].sum()),
            "composition": record["samples"]["composition"].max(),
            "lacking": " | ".join(record["samples"]["lacking"][record["samples"]["flagged"]]),
            "expected": record["batches"].loc["Data23", "expected"],
            "seconds": seconds,
        }


def read(path=HERE / "controls.csv"):
    """Return the results so far."""
    return pd.read_csv(path)


def page(results):
    """Return the tables as Markdown: scores over all splits that were run, over those that all methods were run on, and the flags."""
    split = results["query"] + results["truth"]
    common = split.map(split.value_counts()) == results["method"].nunique()
    lines = scores(results)
    if 0 < common.sum() < len(results):
        lines += ["", "On the splits that all of them were run on:", "", *scores(results[common])]
    heads = ["flagged and failed", "flagged, but held", "not flagged, but failed", "not flagged, and held"]
    lines += ["", f"| method | {' | '.join(heads)} |", "|---" * 5 + "|"]
    for name, rows in results.groupby("method", sort=False):
        failed, flagged = rows["closed"] < ENOUGH, rows["flagged"] > 0
        counts = [failed & flagged, ~failed & flagged, failed & ~flagged, ~failed & ~flagged]
        lines.append(f"| {name} | " + " | ".join(str(which.sum()) for which in counts) + " |")
    return "\n".join(lines) + "\n"


def scores(results):
    """One row a method, the best first."""
    heads = ["splits", "mean", "worst", f"at least {ENOUGH}", "matched: mean", f"matched: at least {ENOUGH}", "seconds"]
    lines = [f"| method | {' | '.join(heads)} |", "|---" * 8 + "|"]
    for name, rows in sorted(results.groupby("method"), key=lambda item: -item[1]["closed"].mean()):
        shown = [
            f"{len(rows)}",
            f"{rows['closed'].mean():.2f}",
            f"{rows['closed'].min():.2f}",
            f"{(rows['closed'] >= ENOUGH).mean():.0%}",
            f"{rows['closed_matched'].mean():.2f}",
            f"{(rows['closed_matched'] >= ENOUGH).mean():.0%}",
            f"{rows['seconds'].median():.0f}",
        ]
        lines.append(f"| {name} | " + " | ".join(shown) + " |")
    return lines


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--every", type=int, default=1, help="only every n-th split")
    parser.add_argument("--methods", nargs="*", default=list(METHODS))
    options = parser.parse_args()
    torch.set_num_threads(1)
    logging.getLogger("neuronedit").setLevel(logging.ERROR)
    path, rows = HERE / "controls.csv", []
    if path.exists() and not options.quick:
        rows = read(path).to_dict("records")
    done = {(row["method"], row["query"], row["truth"]) for row in rows}
    adata = cells()
    for held in splits()[:: 10 if options.quick else options.every]:
        missing = [name for name in options.methods if (name, "+".join(held[0]), "+".join(held[1])) not in done]
        rows += run(adata, held, missing)
        if missing and not options.quick:
            pd.DataFrame(rows).to_csv(path, index=False, float_format="%.4g")
    print(page(pd.DataFrame(rows)))


if __name__ == "__main__":
    main()
