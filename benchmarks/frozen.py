"""Frozen results: show that a change of the code changes no result, to the bit.

``python benchmarks/frozen.py write DIR`` with the code before, then ``check DIR`` with the code after, on the same machine: other
processors and libraries round otherwise. It takes a minute or two on one core. ``check`` names what differs and by how much.
"""

import os
import sys

os.environ["OMP_NUM_THREADS"] = "1"  # before numpy and torch are imported

import argparse
import itertools
import logging
import tempfile
from inspect import signature
from pathlib import Path

import numpy as np
import pandas as pd
import torch

import neuronedit as ne
from neuronedit.baselines import QUICK
from neuronedit.edits import AXES, EDITS

POPULATIONS = {"source": "control_1", "target": "control_2", "query": "sample_1"}
TREATMENTS = {"control": "basal", "effects": ["A", "B"], "progress_bar": False}
NETWORK = {"widths": (24, 6), "max_epochs": 3, "progress_bar": False}
"""Small, as no figure here says how good an edit is."""

TO_REPEAT = ("percentile, principal", "local, strata", "transport, neurons", "paired", "two spaces", "auto, strata")
"""Edits that are bootstrapped, and applied to new cells: one of each kind of map."""


def train_batches():
    """Simulate three donors in two batches, and train two spaces."""
    adata = ne.datasets.simulate_batches(n_cells=300)
    adata.obs["donor"] = np.tile(["a", "b", "c"], adata.n_obs // 3)
    adata.obs["sample"] = adata.obs["group"].astype(str) + adata.obs["donor"]
    ne.tl.train(adata, **NETWORK)
    ne.tl.train(adata, **NETWORK, rng=1, key_added="other")
    return adata


def written(adata, key):
    """Return what an edit or a correction has written: cells, neurons, columns of obs, and the tables of its record."""
    record, tables = adata.uns[key], ("features", "batches", "samples", "held_out", "ensemble")
    layers = {name: adata.layers[name] for name in (key, f"{key}_sd") if name in adata.layers}
    others = {"neurons": adata.obsm[f"X_neurons_{key}"], "obs": adata.obs.filter(like=f"{key}_")}
    return layers | others | {name: record[name] for name in tables if name in record}


def trainings():
    """Train every space, with validation, in another precision, and on images."""
    adata, images = ne.datasets.simulate_batches(n_cells=200), ne.datasets.simulate_images(40)
    stopped = {"validation_size": 0.2, "early_stopping": 1, "schedule": "constant", "lr": 1e-3}
    cases = {"default": NETWORK, "stopped": NETWORK | stopped, "bfloat16": NETWORK | {"precision": "bfloat16"}}
    cases |= {"pca": {"space": "pca"}, "identity": {"space": "identity"}}
    cases |= {"conv": {"space": "conv", "widths": (4, 8, 8), "max_epochs": 1, "progress_bar": False}}
    for name, params in cases.items():
        cells = images if name == "conv" else adata
        ne.tl.train(cells, **params)
        yield name, {"neurons": cells.obsm["X_neurons"], "history": cells.uns["neuronedit"]["history"]}


def edits():
    """Make every edit, with and without strata and axes; the ensemble; and apply some of them to new cells."""
    spaces, strata = ["neuronedit", "other"], {"strata": "cell_type"}
    cases = {f"{edit}, {axes}": {"edit": edit, "axes": axes} for edit, axes in itertools.product(EDITS, AXES)}
    cases |= {f"{edit}, strata": {"edit": edit} | strata for edit in EDITS}
    cases |= {"paper": {"edit": "paper"}, "auto": {}, "auto, strata": strata, "auto, rng": {"rng": 5}}
    cases |= {"two spaces": {"edit": "percentile", "key": spaces}, "auto, two spaces": {"key": spaces}}
    percentile = {"paired": {"paired_by": "donor"}, "neurons": {"neurons": [0, 3]}, "decoded": {"residual": False}}
    percentile |= {"bins": {"n_bins": 20}, "scaled": {"strength": 0.5, "bounds": (0, None)}}
    cases |= {name: {"edit": "percentile"} | params for name, params in percentile.items()}
    adata = train_batches()
    for name, params in cases.items():
        edited = ne.tl.edit(adata, "group", **POPULATIONS, **params, copy=True)
        if name in TO_REPEAT:
            ne.tl.bootstrap(edited, n_bootstrap=3)
            yield f"{name}, applied", apply(edited)
        yield name, written(edited, "edited")


def apply(model):
    """Apply an edit to new cells, from memory and from a file."""
    new = ne.datasets.simulate_batches(n_cells=120, rng=1)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.safetensors"
        ne.io.save_model(model, path)
        applied = [ne.tl.apply(new, holder, "group", query="sample_1", copy=True) for holder in (model, path)]
    return {name: written(adata, "edited") for name, adata in zip(("memory", "file"), applied, strict=True)}


def baselines():
    """Fit the baselines that take seconds; those with an autoencoder are trained briefly."""
    rng = torch.Generator().manual_seed(0)
    source, target, query = (torch.randn(n, 6, generator=rng) + shift for n, shift in ((300, 0), (280, 1), (90, -1)))
    for name, baseline in QUICK.items():
        params = {"n_steps": 30} if "n_steps" in signature(baseline).parameters else {}
        yield name, baseline(source, target, **params)(query)


def corrections():
    """Correct batches, to a reference and to all controls, with strata, by cross-validation, and with held-out controls."""
    cases = {"reference": {"reference": "batch_2", "edit": "percentile"}, "strata": {"strata": "cell_type"}, "auto": {}}
    cases["held out"] = {"held_out_controls": {"donor": "a"}, "edit": "shift", "strength": 0.8, "bounds": (0, None)}
    adata, roles = train_batches(), {"control_key": "role", "sample_key": "sample", "progress_bar": False}
    for name, params in cases.items():
        yield name, written(ne.tl.correct(adata, "batch", **roles, **params, copy=True), "corrected")


def combinations():
    """Predict combinations, rank them, and find where a measured one departs."""
    adata = ne.datasets.simulate_combination(n_cells=250, interaction=1.5)
    ne.tl.train(adata, **NETWORK)
    for name, params in {"percentile": {"edit": "percentile"}, "auto": {"strata": "cell_type"}}.items():
        combined = ne.tl.combine(adata, "condition", **TREATMENTS, **params)
        yield name, {"cells": combined.X} | {t: combined.uns["combined"][t] for t in ("combinations", "orders")}
    yield "ranked", ne.tl.rank_combinations(adata, "condition", **TREATMENTS, score="pS6", n_bootstrap=5)
    ne.tl.synergy(adata, "condition", **TREATMENTS, measured="A+B", n_bootstrap=8)
    yield "synergy", {table: adata.uns["synergy"][table] for table in ("features", "generalizes")}


def flatten(results, name):
    """Yield all arrays, and columns of numbers, in nested dicts and tables, with their paths."""
    if isinstance(results, pd.DataFrame):
        results = dict(results.select_dtypes(["number", "bool"]))
    if not isinstance(results, dict):
        yield name, np.asarray(results)
        return
    for key, value in results.items():
        yield from flatten(value, f"{name}/{key}")


def describe_difference(before, after):
    """Say how two arrays differ; nothing where they are the same to the bit."""
    if before is None or after is None or (before.shape, before.dtype) != (after.shape, after.dtype):
        return "missing, new, or of another shape or type"
    if before.tobytes() == after.tobytes():
        return ""
    return f"at most {np.nanmax(np.abs(after - before)):.3g} apart" if before.dtype.kind in "fiu" else "other values"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("action", choices=["write", "check"])
    parser.add_argument("folder", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    logging.getLogger("neuronedit").setLevel(logging.ERROR)

    # compute
    results = {}
    for part in (trainings, edits, baselines, corrections, combinations):
        for name, values in part():
            results |= flatten(values, f"{part.__name__}/{name}")
        print(f"{part.__name__}: {len(results)} arrays so far", flush=True)

    # write or check
    path = options.folder / "frozen.npz"
    if options.action == "write":
        options.folder.mkdir(parents=True, exist_ok=True)
        np.savez_compressed(path, **results)
        return
    with np.load(path) as frozen:
        names = sorted({*frozen, *results})
        differences = {name: describe_difference(frozen.get(name), results.get(name)) for name in names}
    lines = [f"{name}: {text}" for name, text in differences.items() if text]
    sys.exit("\n".join([*lines, f"{len(lines)} of {len(names)} arrays differ."]) if lines else None)


if __name__ == "__main__":
    main()
