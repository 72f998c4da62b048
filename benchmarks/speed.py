"""How fast: cells a second of training, encoding and editing; beside the arithmetic, a simple loop and other methods.

``python benchmarks/speed.py`` writes ``speed.csv``, of which the docs are made; ``--quick`` is a look at it, and writes nothing. What is
compared runs in turn, several times, on the same cells; only ratios within one run mean anything. The table of time and score
comes from ``holdout.csv``, where both were measured on the same tasks.
"""

import argparse
import json
import logging
import platform
import subprocess
import sys
from datetime import date
from functools import partial
from itertools import pairwise
from pathlib import Path

import anndata
import numpy as np
import pandas as pd
import torch
from memory import measured
from results import markdown_table, measure_time, read_results
from scipy import sparse
from training import WIDTHS, train_simply

import neuronedit as ne
from neuronedit._data.reader import CellReader
from neuronedit._device import fast_matmul
from neuronedit.baselines import BASELINES
from neuronedit.spaces import Autoencoder, Training

HERE = Path(__file__).parent
CSV = HERE / "speed.csv"
OTHERS = ("quantile", "mean_shift", "gaussian_ot", "ot", "combat", "mnn", "cca", "cytonorm", "harmony", "cytovi")
DEFAULT, DEFAULT_EDIT = "train and edit", "default edit"
SCALING = ("train", "encode", "edit", DEFAULT_EDIT)
RATES = (*SCALING, "plain loop", "arithmetic", "train, bfloat16")
POPULATIONS = {"source": "control_1", "target": "control_2", "query": "sample_1"}
MISSING = 3
"""Exit code of a process whose method needs a package that is not installed."""
N_CELLS_TO_LOAD = 2_000
MAX_GENE_CELLS = 100_000
"""Cells with 2,000 genes each: more, dense, would take more memory than a laptop has."""


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


class CellByCell(torch.utils.data.Dataset):
    """What is written first for a matrix: a cell at a time, made dense if it is sparse."""

    def __init__(self, X):
        self.X, self.shape = X, X.shape

    def __len__(self):
        return self.shape[0]

    def __getitem__(self, i):
        row = self.X[i]
        return (torch.from_numpy(row.toarray()[0] if sparse.issparse(row) else row),)


def flops_per_cell(n_features):
    """Of a training step: forward, and back to the weights and, but for the first layer, to the inputs."""
    products = [2 * a * b for a, b in pairwise([n_features, *WIDTHS, *reversed(WIDTHS[:-1]), n_features])]
    return 3 * sum(products) - products[0]


def measure_product_rate(size=2048):
    """Return the rate of the fastest of a few large products of this machine, in either library, in FLOP a second."""
    a, b = torch.randn(2, size, size)
    times = [measure_time(torch.matmul, a, b)[1] for _ in range(4)]
    with fast_matmul():
        times += [measure_time(torch.matmul, a, b)[1] for _ in range(4)]
    return 2 * size**3 / min(times)


def jobs(data, n):
    """Yield what is timed on one data set, in order: its name, and a function that returns seconds."""

    def timed(function, *args, **params):
        return lambda: measure_time(function, *args, **params)[1]

    adata = DATA[data](n)
    cells = CellReader(adata.X)
    ne.tl.train(adata, space="autoencoder", max_epochs=1, progress_bar=False)
    yield "arithmetic", lambda: n * flops_per_cell(adata.n_vars) / measure_product_rate()
    yield "plain loop", timed(train_simply, CellByCell(adata.X), 0, epochs=1)
    yield "train", timed(Autoencoder.fit, cells, Training(max_epochs=1))
    yield "train, bfloat16", timed(Autoencoder.fit, cells, Training(max_epochs=1, precision="bfloat16"))
    yield "encode", timed(ne.tl.embed, adata, model=adata, key_added="encoded")
    yield "edit", timed(ne.tl.edit, adata, "group", **POPULATIONS, edit="percentile")
    if data == "35 markers":
        yield DEFAULT_EDIT, timed(ne.tl.edit, adata, "group", **POPULATIONS)
    if data != "35 markers" or n > 100_000:
        return
    for name in (DEFAULT, *OTHERS):
        yield name, partial(run_alone, name, n)


def run_alone(name, n):
    """Run one method in a process of its own; return seconds, and the highest memory above that before, in MB."""
    command = [sys.executable, __file__, "--method", name, "--sizes", str(n)]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, check=False)
    if done.returncode == MISSING:
        raise ImportError(done.stdout.strip())
    done.check_returncode()
    return tuple(json.loads(done.stdout.partition("RESULT")[2]))


def run_method(name, n):
    """Run one method on few cells, so that what it imports is loaded; then measure it on the cells."""
    edit = OF_ANNDATA.get(name, partial(run_baseline, name))
    try:
        edit(markers(N_CELLS_TO_LOAD))
    except ImportError as error:
        print(error)
        sys.exit(MISSING)
    rows, adata = {}, markers(n)
    with measured(name, rows):
        edit(adata)
    print("RESULT", json.dumps([rows[name]["seconds"], rows[name]["highest, MB"]]))


def train_and_edit(adata):
    """Do what a user does, with the defaults."""
    ne.tl.train(adata, progress_bar=False)
    ne.tl.edit(adata, "group", **POPULATIONS)


def run_harmony(adata):
    """Move all cells: harmony has no query."""
    import harmonypy

    harmonypy.run_harmony(adata.X, adata.obs, "group", random_state=0)


def run_baseline(name, adata):
    """Fit a baseline to source and target, and edit the query."""
    groups = adata.obs["group"].to_numpy()
    source, target, query = (torch.from_numpy(adata.X[groups == group]) for group in POPULATIONS.values())
    BASELINES[name](source, target)(query)


OF_ANNDATA = {DEFAULT: train_and_edit, "harmony": run_harmony}
"""Methods that take the AnnData; all others are baselines."""


def measure(data, n, repeats, wanted=None):
    """Return a row for each job, or for those wanted: all of them in turn, so many times."""
    # measure
    functions = {name: job for name, job in jobs(data, n) if not wanted or name in wanted}
    times = {name: [] for name in functions}
    for _ in range(repeats):
        for name, job in functions.items():
            if name not in times:
                continue
            try:
                times[name].append(job())  # seconds, or seconds and MB
            except ImportError as error:
                print(f"{name}: left out, {error}")
                del times[name]
    # one row a job
    device = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else "cpu"
    about = {"date": date.today().isoformat(), "device": str(device), "cpu": name_cpu()}
    about |= {"threads": torch.get_num_threads(), "torch": torch.__version__}
    rows = []
    for name, each in times.items():
        seconds = [one[0] if isinstance(one, tuple) else one for one in each]
        row = {"data": data, "n_cells": n, "what": name, "seconds": np.median(seconds)}
        row["memory"] = max(one[1] for one in each) if isinstance(each[0], tuple) else np.nan
        rows.append(row | {"lowest": min(seconds), "highest": max(seconds), "repeats": len(seconds)} | about)
    return rows


def name_cpu():
    """Return what the machine calls its processor."""
    info = Path("/proc/cpuinfo")
    names = [line for line in info.read_text().splitlines() if line.startswith("model name")] if info.exists() else []
    return names[0].partition(":")[2].strip() if names else platform.processor()


def fit_exponent(results, what):
    """Fit seconds = a * cells ** exponent."""
    own = results[(results["data"] == "35 markers") & (results["what"] == what)]
    return np.polyfit(np.log(own["n_cells"]), np.log(own["seconds"]), 1)[0] if len(own) > 1 else np.nan


read = partial(read_results, CSV)


def page(results):
    """Return the tables as Markdown."""
    first = results.iloc[0]
    exponents = ", ".join(f"{what} {fit_exponent(results, what):.2f}" for what in SCALING)
    lines = [
        f"{first['cpu']}, {first['threads']} threads, torch {first['torch']}, {first['date']}; device: {first['device']}.",
        "",
        *tabulate_rates(results),
        "",
        f"Exponent of the time over the number of cells (35 markers, {describe_range(results)} cells; an epoch of training): {exponents}.",
        "",
        f"{describe_run(results)} Seconds to fit and apply, and the highest memory above that before, each method in a process of its own. 35 markers, a quarter"
        " of the cells each in source, target and query; harmony moves all cells:",
        "",
        *tabulate_methods(results),
        "",
        "Seconds and share of the energy distance closed, medians over the held-out tasks that a method was run on, and `auto`'s"
        " on the same:",
        "",
        *tabulate_time_and_score(),
    ]
    return "\n".join(lines) + "\n"


def describe_range(results):
    """Return the smallest and the largest number of cells."""
    return f"{results['n_cells'].min():,} to {results['n_cells'].max():,}"


def describe_run(results):
    """Say when and where methods were timed beside each other."""
    run = results[results["what"] == DEFAULT].iloc[-1]
    return f"{run['cpu']}, {run['threads']} threads, {run['date']}."


def tabulate_rates(results):
    """One row for each data set and number of cells."""
    rows = []
    for (data, n), own in results.groupby(["data", "n_cells"], sort=False):
        seconds = own.set_index("what")["seconds"].reindex(RATES)
        train = seconds["train"]
        ratios = [train / seconds["plain loop"], train / seconds["arithmetic"], seconds["train, bfloat16"] / train]
        rates = [f"{n / seconds[what]:,.0f}" for what in SCALING]
        row = [data, f"{n:,}", rates[0], *(f"{ratio:.2f}" for ratio in ratios), *rates[1:]]
        rows.append(["" if cell == "nan" else cell for cell in row])
    heads = ["data", "cells", "train, cells/s", "of the plain loop's time", "times the arithmetic"]
    heads += ["in bfloat16, of float32's time", "encode, cells/s", "percentile edit, cells/s", "default edit, cells/s"]
    return markdown_table(heads, rows)


def tabulate_methods(results):
    """One row a method: seconds and memory by the number of cells."""
    own = results[results["what"].isin([DEFAULT, *OTHERS])]
    tables = {
        f"{n:,} cells, {unit}": own[own["n_cells"] == n].set_index("what")[column].map(shown.format)
        for column, unit, shown in (("seconds", "s", "{:.2f}"), ("memory", "MB", "{:,.0f}"))
        for n in own["n_cells"].unique()
        if column in own
    }
    table = pd.DataFrame(tables).reindex([name for name in (*OTHERS, DEFAULT) if name in set(own["what"])]).fillna("")
    return markdown_table(["method", *table], [[name, *cells] for name, cells in table.iterrows()])


def tabulate_time_and_score():
    """One row a method: what the held-out tasks took and scored, from ``holdout.csv``."""
    results = read_results(HERE / "holdout.csv")
    train_seconds = results.groupby(["family", "task"])["train_seconds"].transform("max")  # stands in auto's rows alone
    is_trained = results["method"].isin(["auto", "neuron_editing"])
    results["total"] = results["seconds"] + train_seconds.where(is_trained, 0)
    by_method = {name: own.set_index(["family", "task"]) for name, own in results.groupby("method")}
    auto, rows = by_method["auto"], []
    for name in (
        "auto",
        "auto, without training",
        "neuron_editing",
        "combat",
        "mnn",
        "cca",
        "transport",
        "quantile",
        "mean_shift",
    ):
        own = by_method[name]
        same = auto.loc[own.index.intersection(auto.index)]
        seconds = [f"{table['total'].median():.1f}" for table in (own, same)]
        closed = [f"{table['energy_distance'].median():.2f}" for table in (own, same)]
        rows.append([name, str(len(own)), *seconds, *closed])
    return markdown_table(["method", "tasks", "seconds", "auto's seconds", "closed", "auto closed"], rows)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--method", help="only this one, on the cells of --sizes (used by the program itself)")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--data", nargs="*", default=list(DATA), help="only these; the results of others are kept")
    parser.add_argument("--what", nargs="*", help="only these jobs; the results of others are kept")
    parser.add_argument("--sizes", type=int, nargs="*", default=[10_000, 100_000, 1_000_000])
    options = parser.parse_args()
    if options.quick:
        options.sizes, options.repeats = [4_000, 8_000], 1
    logging.getLogger("neuronedit").setLevel(logging.ERROR)
    if options.method:
        run_method(options.method, options.sizes[0])
        return

    # measure
    rows = []
    for data in options.data:
        for n in options.sizes:
            if data == "35 markers" or n <= MAX_GENE_CELLS:
                new = measure(data, n, options.repeats, options.what)
                print(pd.DataFrame(new)[["data", "n_cells", "what", "seconds"]].to_string(index=False), flush=True)
                rows += new
    results = pd.DataFrame(rows)

    # keep the results of other jobs
    if (options.what or set(options.data) < set(DATA)) and not options.quick:
        keys = ["data", "n_cells", "what"]
        results = pd.concat([read(), results]).drop_duplicates(keys, keep="last")
        place = results["data"].map(list(DATA).index)
        results = results.assign(place=place).sort_values(["place", "n_cells"]).drop(columns="place")
    print(page(results))
    if not options.quick:
        results.to_csv(CSV, index=False, float_format="%.4g")


if __name__ == "__main__":
    main()
