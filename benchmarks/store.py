"""Larger than memory: time and peak memory of one edit, in memory, from a store into a store, and on a cluster of two processes.

Run ``python benchmarks/store.py``; it needs 10 GB of disk for 5 million cells (``--cells``). ``--edit auto`` is the default edit. Each of the
three runs in a process of its own.
"""

import argparse
import json
import logging
import resource
import subprocess
import sys
import tempfile
import warnings
from pathlib import Path

import anndata
import numpy as np
import pandas as pd
from anndata.experimental import read_lazy
from results import measure_time

import neuronedit as ne

ROLES = {"source": "control_1", "target": "control_2", "query": "sample_1"}
SETUPS = ("in memory", "store", "cluster")
CELLS_PER_CHUNK = 32_768
"""Of the store: what ``write_to`` writes at a time."""


def write_cells(n, path):
    """Write so many cells: simulated ones over and over, with noise, and a space trained on them."""
    few = ne.datasets.simulate_batches(n_cells=5_000)
    ne.tl.train(few, max_epochs=3, progress_bar=False)
    repeats = n // few.n_obs
    X = np.tile(few.X, (repeats, 1)) + np.random.default_rng(0).normal(0, 0.02, (n, few.n_vars)).astype(np.float32)
    groups = pd.Categorical(np.tile(few.obs["group"].to_numpy(str), repeats))
    obs = pd.DataFrame({"group": groups}, index=pd.RangeIndex(n).astype(str))
    uns = {"neuronedit": few.uns["neuronedit"]}
    anndata.AnnData(X, obs=obs, var=few.var, uns=uns).write_zarr(path, chunks=(CELLS_PER_CHUNK, few.n_vars))


def peak_memory():
    """Return the highest memory of this process so far, in GB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6


def run(setup, path, out, edit):
    """Edit the cells in one of the setups, and print what it took."""
    more, how = {}, ROLES | {"edit": edit}
    if setup == "in memory":
        adata, reading = measure_time(anndata.read_zarr, path)
        before = peak_memory()
        _, seconds = measure_time(ne.tl.edit, adata, "group", **how)
        results = sum(array.nbytes for array in (adata.layers["edited"], *adata.obsm.values())) / 1e9
        more["beyond cells and results, GB"] = peak_memory() - before - results
        writing = measure_time(adata.write_zarr, out, chunks=(CELLS_PER_CHUNK, adata.n_vars))[1]
        more["with reading and writing, s"] = reading + seconds + writing  # as the others do
    elif setup == "store":
        _, seconds = measure_time(ne.tl.edit, read_lazy(path), "group", **how, write_to=out)
    else:
        from dask.distributed import Client, LocalCluster

        processes = LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None)
        with processes as cluster, Client(cluster) as client:
            _, seconds = measure_time(ne.tl.edit, read_lazy(path), "group", **how, write_to=out)
            more["largest worker, GB"] = max(client.run(peak_memory).values())
    print("RESULT", json.dumps({"seconds": seconds, "peak, GB": peak_memory()} | more))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cells", type=int, default=5_000_000, help="a multiple of 20,000")
    parser.add_argument("--edit", default="percentile", help="as in ne.tl.edit")
    parser.add_argument(
        "--way", choices=("make", *SETUPS), help="only this one, after make (used by the program itself)"
    )
    parser.add_argument("--folder", type=Path)
    options = parser.parse_args()
    logging.getLogger("neuronedit").setLevel(logging.ERROR)
    warnings.simplefilter("ignore")

    # in the process of one setup
    if options.way == "make":
        write_cells(options.cells, options.folder / "cells.zarr")
        return
    if options.way:
        run(options.way, options.folder / "cells.zarr", options.folder / f"{options.way}.zarr", options.edit)
        return

    # start a process for each; cells are made in one, too: a child's peak begins at that of its parent
    with tempfile.TemporaryDirectory() as folder:
        rows = {}
        for setup in ("make", *SETUPS):
            command = [sys.executable, __file__, "--way", setup, "--folder", folder]
            command += ["--cells", str(options.cells), "--edit", options.edit]
            printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
            if setup != "make":
                rows[setup] = json.loads(printed.partition("RESULT")[2])
    print(f"{options.cells:,} cells, 35 markers, a quarter of them edited")
    print(pd.DataFrame(rows).T.round(2).to_string(na_rep=""))


if __name__ == "__main__":
    main()
