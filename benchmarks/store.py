"""Larger than memory: time and peak memory of one edit, in memory, from a store into a store, and on a cluster of two processes.

Run ``python benchmarks/store.py``; it needs 10 GB of disk for 5 million cells (``--cells``). Each way runs in a process of its own.
"""

import argparse
import json
import logging
import resource
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path

import anndata
import numpy as np
import pandas as pd
from anndata.experimental import read_lazy

import neuronedit as ne

PAIR = {"source": "control_1", "target": "control_2", "query": "sample_1", "edit": "percentile"}
WAYS = ("in memory", "store", "cluster")


def make(n, path):
    """Write so many cells: simulated ones over and over, with noise, and a space trained on them."""
    few = ne.datasets.simulate_batches(n_cells=5_000)
    ne.tl.train(few, max_epochs=3, progress_bar=False)
    repeats = n // few.n_obs
    X = np.tile(few.X, (repeats, 1)) + np.random.default_rng(0).normal(0, 0.02, (n, few.n_vars)).astype(np.float32)
    groups = pd.Categorical(np.tile(few.obs["group"].to_numpy(str), repeats))
    obs = pd.DataFrame({"group": groups}, index=pd.RangeIndex(n).astype(str))
    uns = {"neuronedit": few.uns["neuronedit"]}
    anndata.AnnData(X, obs=obs, var=few.var, uns=uns).write_zarr(path, chunks=(32_768, few.n_vars))


def peak():
    """Highest memory of this process so far, in GB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6


def run(way, path, out):
    """Edit the cells in one of the ways, and print what it took."""
    if way == "in memory":
        adata, before = anndata.read_zarr(path), peak()
        start = time.perf_counter()
        ne.tl.edit(adata, "group", **PAIR)
        results = (adata.layers["edited"].nbytes + adata.obsm["X_neurons_edited"].nbytes) / 1e9
        more = {"beyond cells and results, GB": peak() - before - results}
    elif way == "store":
        adata, start, more = read_lazy(path), time.perf_counter(), {}
        ne.tl.edit(adata, "group", **PAIR, write_to=out)
    else:
        from dask.distributed import Client, LocalCluster

        with (
            LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster,
            Client(cluster) as client,
        ):
            adata, start = read_lazy(path), time.perf_counter()
            ne.tl.edit(adata, "group", **PAIR, write_to=out)
            more = {"largest worker, GB": max(client.run(peak).values())}
    print("RESULT", json.dumps({"seconds": time.perf_counter() - start, "peak, GB": peak()} | more))


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cells", type=int, default=5_000_000, help="a multiple of 20,000")
    parser.add_argument("--way", choices=("make", *WAYS), help="only this one, after make (used by the program itself)")
    parser.add_argument("--folder", type=Path)
    options = parser.parse_args()
    logging.getLogger("neuronedit").setLevel(logging.ERROR)
    warnings.simplefilter("ignore")
    if options.way == "make":
        make(options.cells, options.folder / "cells.zarr")
        return
    if options.way:
        run(options.way, options.folder / "cells.zarr", options.folder / f"{options.way}.zarr")
        return
    with tempfile.TemporaryDirectory() as folder:
        rows = {}
        for way in ("make", *WAYS):  # cells are made in a process, too: a child's peak begins at that of its parent
            command = [sys.executable, __file__, "--way", way, "--folder", folder, "--cells", str(options.cells)]
            said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
            if way != "make":
                rows[way] = json.loads(said.partition("RESULT")[2])
    print(f"{options.cells:,} cells, 35 markers, a quarter of them edited")
    print(pd.DataFrame(rows).T.round(2).to_string(na_rep=""))


if __name__ == "__main__":
    main()
