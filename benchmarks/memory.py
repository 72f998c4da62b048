"""Memory beyond the cells, and time, of training and of the default edit, in memory and into a store.

Run ``python benchmarks/memory.py``; ``--cells`` are a million by default, of 35 markers each. A small study is edited first, so that libraries are
loaded; the first edit of many cells still leaves buffers of libraries behind, so it is done twice, into layers of their own.
"""

import argparse
import contextlib
import logging
import tempfile
import threading
import time

import anndata
import numpy as np
import pandas as pd
import torch

import neuronedit as ne

ROLES = {"source": "s", "target": "t", "query": "q"}


def memory():
    """Return the memory of this process in MB; on Linux."""
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * 4096 / 1e6


@contextlib.contextmanager
def measured(what, rows):
    """Add a row: the highest memory above that at the start, what stays of it, and seconds."""
    before, is_over = memory(), threading.Event()
    highest = [before]  # what takes less than a few milliseconds is not seen

    def watch():
        while not is_over.wait(0.005):
            highest[0] = max(highest[0], memory())

    thread, start = threading.Thread(target=watch), time.perf_counter()
    thread.start()
    try:
        yield
    finally:
        is_over.set()
        thread.join()
    row = {"highest, MB": highest[0] - before, "stays, MB": memory() - before}
    rows[what] = row | {"seconds": time.perf_counter() - start}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cells", type=int, default=1_000_000)
    n = parser.parse_args().cells // 4 * 4
    logging.getLogger("neuronedit").setLevel(logging.ERROR)
    torch.set_num_threads(1)

    # cells: a quarter each of source, target and query
    groups = np.repeat([*ROLES.values(), "other"], n // 4)
    X = np.random.default_rng(0).normal(size=(n, 35)).astype(np.float32)
    X[groups == "t"] += 1
    obs = pd.DataFrame({"group": pd.Categorical(groups)}, index=np.arange(n).astype(str))
    adata = anndata.AnnData(X, obs=obs)
    few = adata[:: max(1, n // 4_000)].copy()
    ne.tl.train(few, max_epochs=1, progress_bar=False)
    ne.tl.edit(few, "group", **ROLES)

    # measure
    rows = {}
    with measured("train, an epoch", rows):
        ne.tl.train(adata, max_epochs=1, progress_bar=False)
    for name in ("first", "second"):
        with measured(f"{name} default edit", rows):
            ne.tl.edit(adata, "group", **ROLES, key_added=name)
    with tempfile.TemporaryDirectory() as folder, measured("into a store", rows):
        ne.tl.edit(adata, "group", **ROLES, key_added="stored", write_to=f"{folder}/edited.zarr")
    print(f"{n:,} cells, {X.nbytes / 1e6:.0f} MB; an edited layer is as large")
    print(pd.DataFrame(rows).T.round(1).to_string())


if __name__ == "__main__":
    main()
