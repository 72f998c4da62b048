"""Large cohorts: time and memory of a correction of many batches, from a store into a store.

Run ``python benchmarks/cohort.py``; the largest, 200 batches of 50,000 cells, needs 8 GB of disk. A tenth of the cells of every
batch are controls. Each cohort runs in a process of its own. Seconds are of the processor, which other work disturbs least.
"""

import argparse
import json
import logging
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path

import anndata
import numpy as np
import pandas as pd
import zarr
from anndata.experimental import read_lazy
from store import CELLS_PER_CHUNK, peak_memory

import neuronedit as ne

N_MARKERS = 35
CONTROLS = 0.1
"""Share of every batch."""


def write_cells(n_batches, cells_per_batch, path):
    """Write batches, one after the other: simulated cells over and over, each batch shifted, and a space trained on them."""
    few = ne.datasets.simulate_batches(n_cells=5_000)
    few = few[few.obs["group"] == "control_1"].copy()
    rng = np.random.default_rng(0)
    n = n_batches * cells_per_batch
    X = np.resize(few.X, (n, few.n_vars))
    for batch in range(n_batches):
        rows = slice(batch * cells_per_batch, (batch + 1) * cells_per_batch)
        X[rows] += rng.normal(0, 0.5, few.n_vars) + rng.normal(0, 0.02, X[rows].shape)
    is_control = np.arange(cells_per_batch) < CONTROLS * cells_per_batch
    obs = pd.DataFrame(
        {
            "batch": pd.Categorical(np.repeat([f"batch {i:03d}" for i in range(n_batches)], cells_per_batch)),
            "role": pd.Categorical(np.tile(np.where(is_control, "control", "sample"), n_batches)),
        },
        index=pd.RangeIndex(n).astype(str),
    )
    cells = anndata.AnnData(X, obs=obs, var=few.var)
    sample = cells[rng.choice(n, min(n, 20_000), replace=False)].copy()
    ne.tl.train(sample, progress_bar=False)
    cells.uns["neuronedit"] = sample.uns["neuronedit"]
    cells.write_zarr(path, chunks=(CELLS_PER_CHUNK, few.n_vars))


def run(edit, folder):
    """Correct the cells, and print what it took."""
    cells = read_lazy(folder / "cells.zarr")
    before, cpu, wall = peak_memory(), time.process_time(), time.perf_counter()
    ne.tl.correct(cells, "batch", control_key="role", edit=edit, write_to=folder / "corrected.zarr", progress_bar=False)
    took = {"seconds of CPU": time.process_time() - cpu, "seconds": time.perf_counter() - wall}
    record = anndata.io.read_elem(zarr.open_group(folder / "corrected.zarr", mode="r")["uns/corrected/fitted/arrays"])
    took["edits, MB"] = sum(array.nbytes for array in record.values()) / 1e6
    print("RESULT", json.dumps(took | {"before, GB": before, "peak, GB": peak_memory()}))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batches", type=int, nargs="+", default=[25, 50, 100, 200])
    parser.add_argument("--cells", type=int, nargs="+", default=[50_000], help="of a batch")
    parser.add_argument("--edit", default="percentile")
    parser.add_argument("--step", choices=("make", "correct"), help="used by the program itself")
    parser.add_argument("--folder", type=Path)
    options = parser.parse_args()
    logging.getLogger("neuronedit").setLevel(logging.ERROR)
    warnings.simplefilter("ignore")

    # in the process of one cohort
    if options.step == "make":
        write_cells(options.batches[0], options.cells[0], options.folder / "cells.zarr")
        return
    if options.step == "correct":
        run(options.edit, options.folder)
        return

    # start two for each: one makes the cells, as a child's peak begins at that of its parent
    rows = []
    for n_batches in options.batches:
        for n_cells in options.cells:
            with tempfile.TemporaryDirectory() as folder:
                shared = [
                    "--folder",
                    folder,
                    "--edit",
                    options.edit,
                    "--batches",
                    str(n_batches),
                    "--cells",
                    str(n_cells),
                ]
                for step in ("make", "correct"):
                    command = [sys.executable, __file__, "--step", step, *shared]
                    printed = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout
            rows.append({"batches": n_batches, "cells": n_cells} | json.loads(printed.partition("RESULT")[2]))
            print(rows[-1], flush=True)
    table = pd.DataFrame(rows)
    print(f"{N_MARKERS} markers, edit {options.edit}")
    print(table.round(2).to_string(index=False))
    if len(table) > 1:
        total = np.log(table["batches"] * table["cells"])
        print(f"exponent in all cells: {np.polyfit(total, np.log(table['seconds of CPU']), 1)[0]:.2f}")


if __name__ == "__main__":
    main()
