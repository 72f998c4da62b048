"""How fast: cells a second of training, encoding and editing; against the arithmetic, the plain loop and other methods.

``python benchmarks/speed.py`` writes ``speed.csv``, of which the docs are made; ``--quick`` is a look at it, and writes nothing. What is
compared runs in turn, several times, on the same cells; only ratios within one run mean anything. The table of time and score
comes from ``holdout.csv``, where both were measured on the same tasks.
"""

import argparse
import logging
import platform
import time
from datetime import date
from functools import partial
from pathlib import Path

import anndata
import numpy as np
import pandas as pd
import torch
from scipy import sparse
from training import plain

import neuronedit as ne
from neuronedit._adata import Rows
from neuronedit._device import fast_matmul
from neuronedit.baselines import BASELINES
from neuronedit.spaces import Autoencoder, Training

HERE = Path(__file__).parent
WIDTHS = (500, 250, 50)
OTHERS = ("quantile", "mean_shift", "gaussian_ot", "ot", "combat", "mnn", "cca", "cytonorm")
PAIR = {"source": "control_1", "target": "control_2", "query": "sample_1"}


def markers(n, rng=0):
    """Simulated cytometry: 35 markers, two batches of a control and a sample."""
    adata = ne.datasets.simulate_batches(n_cells=n // 4, rng=rng)
    del adata.layers["truth"]
    return adata


def genes(n, *, dense, n_genes=2_000, density=0.08, rng=0):
    """Counts as log1p of a scRNA-seq matrix has them: 8 % of the values are not zero."""
    generator = np.random.default_rng(rng)
    n_values = int(n_genes * density)
    columns = generator.integers(n_genes, size=(n, n_values), dtype=np.int32)
    values = np.log1p(generator.poisson(1.5, size=columns.shape).astype(np.float32) + 1)
    X = sparse.csr_matrix((values.ravel(), columns.ravel(), np.arange(n + 1) * n_values), shape=(n, n_genes))
    X.sum_duplicates()
    adata = anndata.AnnData(X.toarray() if dense else X)
    adata.obs["group"] = np.repeat(["control_1", "sample_1", "control_2", "sample_2"], -(-n // 4))[:n]
    return adata


DATA = {
    "35 markers": markers,
    "2,000 genes, dense": partial(genes, dense=True),
    "2,000 genes, sparse": partial(genes, dense=False),
}


class Densified(torch.utils.data.Dataset):
    """What is written first for a matrix: a cell at a time, densified if it has to be."""

    def __init__(self, X):
        self.X, self.shape = X, X.shape

    def __len__(self):
        return self.shape[0]

    def __getitem__(self, i):
        row = self.X[i]
        return (torch.from_numpy(row.toarray()[0] if sparse.issparse(row) else row),)


def timed(f):
    start = time.perf_counter()
    f()
    return time.perf_counter() - start


def flops_per_cell(n_features):
    """Of a training step: forward, and back to the weights and, but for the first layer, to the inputs."""
    widths = [n_features, *WIDTHS, *reversed(WIDTHS[:-1]), n_features]
    products = [2 * a * b for a, b in zip(widths, widths[1:], strict=False)]
    return 3 * sum(products) - products[0]


def floor(n, n_features, rate):
    """Seconds that the arithmetic of an epoch takes, at the rate of large products."""
    return n * flops_per_cell(n_features) / rate


def product_rate(size=2048):
    """The fastest of a few large products of this machine, in either library, in FLOP a second."""
    a, b = torch.randn(2, size, size)
    times = [timed(lambda: a @ b) for _ in range(4)]
    with fast_matmul():
        times += [timed(lambda: a @ b) for _ in range(4)]
    return 2 * size**3 / min(times)


def jobs(data, n):
    """What is timed on one data set, in order, by name."""
    adata = DATA[data](n)
    cells = Rows(adata.X)
    ne.tl.train(adata, max_epochs=1, progress_bar=False)
    yield "arithmetic", lambda: floor(n, adata.n_vars, product_rate())
    yield "plain loop", lambda: plain(Densified(adata.X), 0, epochs=1)
    yield "train", lambda: timed(lambda: Autoencoder.fit(cells, Training(max_epochs=1)))
    yield "train, bfloat16", lambda: timed(lambda: Autoencoder.fit(cells, Training(max_epochs=1, precision="bfloat16")))
    yield "encode", lambda: timed(lambda: ne.tl.embed(adata, model=adata, key_added="again"))
    yield "edit", lambda: timed(lambda: ne.tl.edit(adata, "group", **PAIR, edit="percentile"))
    if data != "35 markers" or n > 100_000:
        return
    yield "train and edit", lambda: timed(lambda: train_and_edit(DATA[data](n)))
    groups = [torch.from_numpy(adata.X[(adata.obs["group"] == group).to_numpy()]) for group in PAIR.values()]
    for name in OTHERS:
        yield name, lambda name=name: timed(lambda: BASELINES[name](*groups[:2])(groups[2]))


def train_and_edit(adata):
    """What a user does, with the defaults, on cells that were not seen before; making the cells is not counted."""
    ne.tl.train(adata, progress_bar=False)
    ne.tl.edit(adata, "group", **PAIR)


def measure(data, n, repeats, wanted=None):
    """Return a row for each job, or for those wanted: all of them in turn, so many times."""
    every = {name: job for name, job in jobs(data, n) if not wanted or name in wanted}
    times = {name: [] for name in every}
    for _ in range(repeats):
        for name, job in every.items():
            if times[name] is None:
                continue
            try:
                times[name].append(job())
            except ImportError as error:
                print(f"{name}: left out, {error}")
                times[name] = None
    device = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else "cpu"
    known = {"date": date.today().isoformat(), "device": str(device), "cpu": cpu(), "threads": torch.get_num_threads()}
    known |= {"torch": torch.__version__}
    for name, seconds in times.items():
        if seconds:
            row = {"data": data, "n_cells": n, "what": name, "seconds": np.median(seconds)}
            yield row | {"lowest": min(seconds), "highest": max(seconds), "repeats": len(seconds)} | known


def cpu():
    """Return what the machine calls its processor."""
    info = Path("/proc/cpuinfo")
    names = [line for line in info.read_text().splitlines() if line.startswith("model name")] if info.exists() else []
    return names[0].partition(":")[2].strip() if names else platform.processor()


def exponent(rows, what):
    """Fit seconds = a * cells ** exponent."""
    own = rows[(rows["data"] == "35 markers") & (rows["what"] == what)]
    return np.polyfit(np.log(own["n_cells"]), np.log(own["seconds"]), 1)[0] if len(own) > 1 else np.nan


def read(path=HERE / "speed.csv"):
    """Return the results."""
    return pd.read_csv(path)


def page(rows):
    """Return the tables as Markdown."""
    first = rows.iloc[0]
    text = f"{first['cpu']}, {first['threads']} threads, torch {first['torch']}, {first['date']}; device: {first['device']}.\n\n"
    heads = [
        "data",
        "cells",
        "train, cells/s",
        "of the plain loop's time",
        "times the arithmetic",
        "in bfloat16, of float32's time",
    ]
    heads += ["encode, cells/s", "edit, cells/s"]
    text += f"| {' | '.join(heads)} |\n|{'---|' * len(heads)}\n"
    for (data, n), own in rows.groupby(["data", "n_cells"], sort=False):
        seconds = own.set_index("what")["seconds"]
        train = seconds["train"]
        ratios = [train / seconds["plain loop"], train / seconds["arithmetic"], seconds["train, bfloat16"] / train]
        shown = [data, f"{n:,}", f"{n / train:,.0f}", *(f"{ratio:.2f}" for ratio in ratios)]
        text += f"| {' | '.join([*shown, *(f'{n / seconds[what]:,.0f}' for what in ('encode', 'edit'))])} |\n"
    grown = ", ".join(f"{what} {exponent(rows, what):.2f}" for what in ("train", "encode", "edit"))
    text += f"\nExponent of the time over the number of cells (35 markers; an epoch of training): {grown}.\n\n"
    own = rows[rows["what"].isin(["train and edit", *OTHERS])]
    table = own.pivot_table(index="what", columns="n_cells", values="seconds", sort=False)
    text += "Seconds to fit and apply, 35 markers, a quarter of the cells each in source, target and query:\n\n"
    text += f"| method | {' | '.join(f'{n:,} cells' for n in table)} |\n|---|{'---|' * table.shape[1]}\n"
    for name, seconds in table.iterrows():
        text += f"| {name} | {' | '.join('' if np.isnan(s) else f'{s:.2f}' for s in seconds)} |\n"
    return text + "\n" + time_and_score()


def time_and_score():
    """Return the table of what the held-out tasks took and scored, from ``holdout.csv``."""
    rows = pd.read_csv(HERE / "holdout.csv")
    ours = {"auto", "neuron_editing"}
    trained = rows.groupby(["family", "task"])["train_seconds"].transform("max")  # told once a task
    rows["total"] = rows["seconds"] + trained.where(rows["method"].isin(ours), 0)
    shown = [
        "auto",
        "neuron_editing",
        "cytonorm",
        "combat",
        "mnn",
        "cca",
        "transport",
        "scgen",
        "cytovi",
        "quantile",
        "mean_shift",
    ]
    text = "Seconds and share of the energy distance closed, medians over the held-out tasks that a method was run on, and `auto`'s on the same:\n\n"
    text += "| method | tasks | seconds | auto's seconds | closed | auto closed |\n|---|---|---|---|---|---|\n"
    auto = rows[rows["method"] == "auto"].set_index(["family", "task"])
    for name in shown:
        own = rows[rows["method"] == name].set_index(["family", "task"])
        same = auto.loc[own.index.intersection(auto.index)]
        text += f"| {name} | {len(own)} | {own['total'].median():.1f} | {same['total'].median():.1f} |"
        text += f" {own['energy_distance'].median():.2f} | {same['energy_distance'].median():.2f} |\n"
    return text


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--data", nargs="*", default=list(DATA), help="only these; the results of others are kept")
    parser.add_argument("--what", nargs="*", help="only these jobs; the results of others are kept")
    parser.add_argument("--sizes", type=int, nargs="*", default=[10_000, 100_000, 1_000_000])
    options = parser.parse_args()
    logging.getLogger("neuronedit").setLevel(logging.ERROR)
    rows = []
    for data in options.data:
        largest = max(options.sizes) if data == "35 markers" else 100_000
        for n in [4_000, 8_000] if options.quick else [n for n in options.sizes if n <= largest]:
            rows += measure(data, n, 1 if options.quick else options.repeats, options.what)
            print(
                pd.DataFrame(rows[-20:])[["data", "n_cells", "what", "seconds"]].tail(14).to_string(index=False),
                flush=True,
            )
    rows = pd.DataFrame(rows)
    if (options.what or set(options.data) < set(DATA)) and not options.quick:
        keys = ["data", "n_cells", "what"]
        rows = pd.concat([read(), rows]).drop_duplicates(keys, keep="last")
        rows = rows.sort_values(
            keys[:2], key=lambda own: own if own.name == "n_cells" else own.map(list(DATA).index), kind="stable"
        )
    print(page(rows))
    if not options.quick:
        rows.to_csv(HERE / "speed.csv", index=False, float_format="%.4g")


if __name__ == "__main__":
    main()
