"""Cells of one kind, corrected by a control of all kinds: does the correction hold for them?

``python benchmarks/sorted_cells.py`` takes one person of cytonorm_volunteers as the control of two batches, with all cells. Of the other
person it corrects all cells, the T cells, the monocytes or the granulocytes, and compares them with the same cells in the other batch. It
writes ``sorted_cells.csv``, of which the docs are made. ``--quick`` takes one pair of batches of six, and writes nothing.
"""

import argparse
import logging
from functools import cache, partial
from itertools import permutations
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from labels import name_method
from results import find_done, markdown_table, read_results
from sklearn.mixture import GaussianMixture
from tasks import N_SPLITS, load_data

import neuronedit as ne

CSV = Path(__file__).parent / "sorted_cells.csv"
CONTROL, SAMPLE = "Volunteer_1", "Volunteer_2"
KINDS = {
    "all cells": {},
    "T cells": {"CD3": True, "CD14": False},
    "monocytes": {"CD3": False, "CD14": True, "HLADR": True},
    "granulocytes": {"CD3": False, "HLADR": False, "CD7": False},
}
"""The markers that cells of a kind have, and do not have. CD19 does not separate B cells in this study."""

METHODS = {
    "mean shift": {"space": "identity", "edit": "shift"},
    "quantiles per marker": {"space": "identity", "edit": "percentile"},
    "Gaussian OT": {"space": "identity", "edit": "gaussian_ot"},
    "optimal transport": {"space": "identity", "edit": "transport"},
    "combat": None,
    "neuron editing": {"space": "autoencoder", "edit": "percentile"},
    "default": {"space": "autoencoder", "edit": "auto"},
    "auto, without training": {"space": "identity", "edit": "auto"},
}
"""Spaces and edits of `ne.tl.correct`; ComBat is fitted to the two controls."""


@cache
def is_positive(marker):
    """Return which cells have a marker: the higher of two normal distributions, in each batch by itself."""
    adata = load_data("cytonorm_volunteers")
    x, positive = adata[:, marker].X, np.zeros(adata.n_obs, dtype=bool)
    for batch in adata.obs["batch"].unique():
        own = (adata.obs["batch"] == batch).to_numpy()
        mixture = GaussianMixture(2, random_state=0).fit(x[own])
        positive[own] = mixture.predict(x[own]) == mixture.means_.argmax()
    return positive


def select(kind):
    """Return which cells are of a kind."""
    kept = [is_positive(marker) == has for marker, has in KINDS[kind].items()]
    return np.logical_and.reduce(kept) if kept else np.ones(load_data("cytonorm_volunteers").n_obs, dtype=bool)


def run(kind, source, target, names):
    """Correct the cells of one kind from one batch to another with each method; yield a row for each."""
    adata = load_data("cytonorm_volunteers")
    person, batch = (adata.obs[column].astype(str).to_numpy() for column in ("individual", "batch"))
    is_sample = (person == SAMPLE) & select(kind)
    is_control = (person == CONTROL) & np.isin(batch, [source, target])
    query, truth = adata[is_sample & (batch == source)].X, adata[is_sample & (batch == target)].X
    known = adata[is_control | (is_sample & (batch == source))].copy()
    trained = set()
    for name in names:
        if METHODS[name] is None:
            before, after = (torch.as_tensor(adata[is_control & (batch == one)].X) for one in (source, target))
            corrected = ne.baselines.combat(before, after)(torch.as_tensor(query)).numpy()
        else:
            space, edit = METHODS[name]["space"], METHODS[name]["edit"]
            if space not in trained:
                ne.tl.train(known, space=space, key_added=space, progress_bar=False)
                trained.add(space)
            roles = {"control_key": "role", "reference": target, "sample_key": "individual"}
            ne.tl.correct(known, "batch", **roles, key=space, edit=edit, progress_bar=False)
            corrected = known.layers["corrected"][(known.obs["individual"] == SAMPLE).to_numpy()]
        closed = ne.metrics.gap_closed(ne.metrics.energy_distance, query, truth, corrected, n_splits=N_SPLITS)
        about = {"kind": kind, "task": f"{source} to {target}", "method": name}
        yield about | {"n_cells": len(query), "n_true_cells": len(truth), "closed": closed}


read = partial(read_results, CSV)


def page(results):
    """Return the table as Markdown: one row a method, the best first."""
    by_kind = results.groupby(["method", "kind"])["closed"].mean().unstack()[list(KINDS)]
    sorted_out = results[results["kind"] != "all cells"].groupby("method")["closed"]
    means, worst, harm = sorted_out.mean(), sorted_out.min(), sorted_out.apply(lambda closed: (closed < 0).sum())
    rows = [
        [
            name_method(name),
            f"{means[name]:.2f}",
            f"{worst[name]:.2f}",
            f"{harm[name]}",
            *by_kind.loc[name].map("{:.2f}".format),
        ]
        for name in means.sort_values(ascending=False).index
    ]
    heads = [
        "method",
        "mean of the three kinds",
        "worst",
        f"harm, of {len(results[results['kind'] != 'all cells']) // len(means)}",
    ]
    return "\n".join(markdown_table([*heads, *KINDS], rows)) + "\n"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--methods", nargs="*", default=list(METHODS), choices=METHODS)
    options = parser.parse_args()
    torch.set_num_threads(1)
    logging.getLogger("neuronedit").setLevel(logging.ERROR)

    # run what is missing
    results = pd.DataFrame() if options.quick else read_results(CSV)
    done = find_done(results, ["kind", "task", "method"])
    pairs = list(permutations(sorted(load_data("cytonorm_volunteers").obs["batch"].astype(str).unique()), 2))
    for source, target in pairs[: 1 if options.quick else None]:
        for kind in KINDS:
            missing = [name for name in options.methods if (kind, f"{source} to {target}", name) not in done]
            results = pd.concat([results, pd.DataFrame(run(kind, source, target, missing))], ignore_index=True)
            if missing and not options.quick:
                results.to_csv(CSV, index=False, float_format="%.4g")
    print(page(results))


if __name__ == "__main__":
    main()
