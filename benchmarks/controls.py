"""Batch correction from controls, on held-out controls: does it hold, and is it flagged beforehand where it does not?

``python benchmarks/controls.py`` leaves two healthy donors of each batch of imubac_krieg out of the controls, in all 100 ways, corrects
Data23 to Data29, and compares the held-out donors of Data23 with those of Data29, who are other people. It writes ``controls.csv``,
of which the docs are made. ``--quick`` takes every tenth split, and writes nothing.
"""

import argparse
import itertools
import logging
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from labels import name_method
from results import find_done, markdown_table, measure_time, read_results
from sklearn.cluster import KMeans
from tasks import N_SPLITS, load_data, subsample

import neuronedit as ne

CSV = Path(__file__).parent / "controls.csv"
MAX_CELLS_PER_DONOR = 2_500
"""So that a split takes seconds for most methods."""

LINEAGE_MARKERS = ["CD33", "CD11c", "CD14", "CD7"]
"""Three of myeloid cells, and one of T and NK cells."""

MIN_CELLS_PER_LINEAGE = 10
"""A lineage with fewer cells in the truth is not drawn from: its cells would be drawn over and over."""

GOOD_SHARE = 0.7
"""Share of the energy distance to the truth in the query's composition from which a correction is said to hold."""

METHODS = {
    "mean shift": {"key": "identity", "edit": "shift"},
    "quantiles per marker": {"key": "identity", "edit": "percentile"},
    "Gaussian OT": {"key": "identity", "edit": "gaussian_ot"},
    "optimal transport": {"key": "identity", "edit": "transport"},
    "neuron editing": {"edit": "percentile"},
    "neuron editing, within strata": {"edit": "percentile", "strata": "lineage"},
    "auto": {"edit": "auto"},
    "auto, with strata": {"edit": "auto", "strata": "lineage"},
}


def cells():
    """Return the healthy donors, at most so many cells each, with one space for all splits: training knows no batches."""
    adata = load_data("imubac_krieg").copy()
    ne.tl.train(adata, max_epochs=8, lr=1e-3, accelerator="cpu")
    healthy = np.flatnonzero((adata.obs["group"] == "HD").to_numpy())
    donors, generator = adata.obs["individual"].astype(str).to_numpy()[healthy], np.random.default_rng(0)
    kept = [subsample(healthy[donors == donor], MAX_CELLS_PER_DONOR, generator) for donor in np.unique(donors)]
    adata = adata[np.sort(np.concatenate(kept))].copy()
    ne.tl.train(adata, space="identity", key_added="identity")
    adata.obs["lineage"] = find_lineages(adata)
    return adata


def find_lineages(adata):
    """Myeloid or lymphoid: two clusters of four markers, standardized in each batch by itself, so that no batch effect is in them.

    Clusters of all markers put NK cells with the myeloid in one batch, and with the lymphoid in the other.
    """
    batches, labels = adata.obs["batch"].astype(str).to_numpy(), np.empty(adata.n_obs, dtype=object)
    for batch in np.unique(batches):
        x = adata[batches == batch, LINEAGE_MARKERS].X
        cluster = KMeans(2, n_init=10, random_state=0).fit_predict((x - x.mean(0)) / x.std(0))
        cd33 = [x[cluster == k, LINEAGE_MARKERS.index("CD33")].mean() for k in range(2)]
        labels[batches == batch] = np.where(cluster == np.argmax(cd33), "myeloid", "lymphoid")
    return pd.Categorical(labels)


def match_composition(adata, query, truth):
    """Return rows of the truth, drawn so that lineages have the same shares as in the query."""
    labels, generator = adata.obs["lineage"].astype(str).to_numpy(), np.random.default_rng(0)
    drawn = []
    for label, share in pd.Series(labels[query]).value_counts(normalize=True).items():
        own = truth[labels[truth] == label]
        if len(own) >= MIN_CELLS_PER_LINEAGE:
            drawn.append(generator.choice(own, round(len(truth) * share)))
    return np.concatenate(drawn)


def splits():
    """Return two donors of each batch, in all ways."""
    batches = [f"HD{i}" for i in range(1, 6)], [f"HD{i}" for i in range(6, 11)]
    return list(itertools.product(*(itertools.combinations(donors, 2) for donors in batches)))


def run(adata, held_out, methods):
    """Correct with each method; return the scores of the held-out donors, and what was reported without them."""
    donors = adata.obs["individual"].astype(str).to_numpy()
    query, truth = (np.flatnonzero(np.isin(donors, names)) for names in held_out)
    matched = match_composition(adata, query, truth)
    roles = {"control_key": "role", "reference": "Data29", "sample_key": "individual"}
    roles["held_out_controls"] = {"individual": [*held_out[0], *held_out[1]]}
    for name in methods:
        # correct
        params = METHODS[name] | {"accelerator": "cpu", "progress_bar": False}
        _, seconds = measure_time(ne.tl.correct, adata, "batch", **roles, **params)
        # score
        record, corrected = adata.uns["corrected"], adata.layers["corrected"][query]
        metric, samples = ne.metrics.energy_distance, record["samples"]
        closed = ne.metrics.gap_closed(metric, adata.X[query], adata.X[matched], corrected, n_splits=N_SPLITS)
        yield {
            "method": name,
            "query": "+".join(held_out[0]),
            "truth": "+".join(held_out[1]),
            "closed": record["held_out"].loc["Data23", "closed"],
            "closed_matched": closed,
            "flagged": int(samples["flagged"].sum()),
            "composition": samples["composition"].max(),
            "lacking": " | ".join(samples["lacking"][samples["flagged"]]),
            "expected": record["batches"].loc["Data23", "expected"],
            "seconds": seconds,
        }


read = partial(read_results, CSV)


def page(results):
    """Return the tables as Markdown: scores over all splits that were run, over those that all methods were run on, and the flags."""
    # scores
    split = results["query"] + results["truth"]
    is_common = split.map(split.value_counts()) == results["method"].nunique()
    lines = tabulate_scores(results)
    if 0 < is_common.sum() < len(results):
        lines += ["", "On the splits that all of them were run on:", "", *tabulate_scores(results[is_common])]
    # flags
    rows = []
    for name, own in results.groupby("method", sort=False):
        failed, flagged = own["closed_matched"] < GOOD_SHARE, own["flagged"] > 0
        outcomes = [failed & flagged, ~failed & flagged, failed & ~flagged, ~failed & ~flagged]
        rows.append([name_method(name), *(str(outcome.sum()) for outcome in outcomes)])
    heads = ["flagged and failed", "flagged, but held", "not flagged, but failed", "not flagged, and held"]
    return "\n".join([*lines, "", *markdown_table(["method", *heads], rows)]) + "\n"


def tabulate_scores(results):
    """One row a method, the best first."""
    good = f"at least {GOOD_SHARE}"
    rows = []
    for name, own in sorted(results.groupby("method"), key=lambda item: -item[1]["closed_matched"].mean()):
        closed, matched = own["closed"], own["closed_matched"]
        shown = [
            f"{len(own)}",
            f"{matched.mean():.2f}",
            f"{matched.min():.2f}",
            f"{(matched >= GOOD_SHARE).mean():.0%}",
        ]
        shown += [f"{closed.mean():.2f}", f"{(closed >= GOOD_SHARE).mean():.0%}", f"{own['seconds'].median():.0f}"]
        rows.append([name_method(name), *shown])
    heads = ["method", "splits", "matched: mean", "worst", good, "not matched: mean", good, "seconds"]
    return markdown_table(heads, rows)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--every", type=int, default=1, help="only every n-th split")
    parser.add_argument("--methods", nargs="*", default=list(METHODS), choices=METHODS)
    options = parser.parse_args()
    torch.set_num_threads(1)
    logging.getLogger("neuronedit").setLevel(logging.ERROR)

    # run what is missing
    results = pd.DataFrame() if options.quick else read_results(CSV)
    done = find_done(results, ["method", "query", "truth"])
    adata = cells()
    for held_out in splits()[:: 10 if options.quick else options.every]:
        query, truth = ("+".join(names) for names in held_out)
        missing = [name for name in options.methods if (name, query, truth) not in done]
        results = pd.concat([results, pd.DataFrame(run(adata, held_out, missing))])
        if missing and not options.quick:
            results.to_csv(CSV, index=False, float_format="%.4g")
    print(page(results))


if __name__ == "__main__":
    main()
