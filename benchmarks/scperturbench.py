"""The board of scPerturBench: a perturbation measured in some cell contexts, predicted in one that was left out.

``python benchmarks/scperturbench.py`` runs it on kang_counts, laid out as their files are, and writes ``scperturbench.csv``, of which the docs are made. ``--quick`` leaves out one context alone, with the
methods that take no training, and writes nothing.

On their own data: download a data set of the task "cellular context generalization" from https://bm2-lab.github.io/scPerturBench-reproducibility (figshare), and give its file,
whose ``obs`` has the contexts in ``condition1`` and the perturbations in ``condition2``, ``control`` among them::

    python benchmarks/scperturbench.py --data kangCrossCell/filter_hvg5000_logNor.h5ad --output kang.csv

Their results are ``Results/Cellular_context_ood/cellular_ood_distance5000.csv`` of https://github.com/bm2-lab/scPerturBench; ``--published`` prints them beside ours::

    python benchmarks/scperturbench.py --published cellular_ood_distance5000.csv --dataset kangCrossCell

Measures are theirs (Wei et al. 2025, Nature Methods): squared error of the means, correlation of the change of the means, energy distance with Euclidean distances (those of a cell to itself, which are 0, are counted), and log2 of 1 plus the
symmetric Kullback-Leibler divergence of normal distributions of each gene; on all genes, and on the 100 that differ most in truth by a t-test.
"""

import argparse
import logging
from functools import partial
from importlib.util import find_spec
from pathlib import Path

import anndata
import numpy as np
import pandas as pd
import scanpy as sc
import torch
from labels import name_method
from results import markdown_table, measure_time, read_results
from scipy.spatial.distance import cdist
from tasks import take_logarithms

import neuronedit as ne
from neuronedit.baselines import BASELINES

CSV = Path(__file__).parent / "scperturbench.csv"
CONTEXT, PERTURBATION, CONTROL = "condition1", "condition2", "control"
MAX_CELLS = 2_000  # of a population, for distances between all pairs
N_TOP_GENES = 100
SEED = 42

ALONE, MEAN = "leave alone (baseControl)", "mean of training (trainMean)"
EDITS = {
    "default": {"key": "auto", "strata": CONTEXT},
    "neuron editing": {"key": "autoencoder", "edit": "percentile"},
}
"""Edits of `ne.tl.edit`, and the space of each, which is trained without the cells to predict."""

ON_GENES = {"mean shift": "mean_shift", "quantiles": "quantile", "ComBat": "combat", "MNN": "mnn", "scGen": "scgen"}
"""Rows of `BASELINES`, fitted on all training cells alike."""

METHODS = [ALONE, MEAN, *EDITS, *ON_GENES]
MEASURES = {"correlation": 3, "edistance": 2, "mse": 4, "sym_kldiv": 2}
THEIR_NAMES = {"mse": "mse", "edistance": "edistance", "sym_kldiv": "sym_kldiv", "pearson_distance": "correlation"}
OURS = {"leave alone (baseControl)": "baseControl", "mean of training (trainMean)": "trainMean", "scGen": "scGen"}
"""Our rows that are rows of theirs, too."""


def lay_out_kang():
    """Return kang_counts as their files are: log1p of 10,000 counts a cell, contexts and perturbations in two columns."""
    adata = ne.datasets.kang_counts()
    take_logarithms(adata)
    adata.obs[CONTEXT] = adata.obs["cell_type"].astype(str)
    adata.obs[PERTURBATION] = adata.obs["condition"].astype(str).replace("IFN-beta", "stimulated")
    return adata


def densify(adata):
    """Return the matrix of cells as an array."""
    return np.asarray(adata.X.toarray() if hasattr(adata.X, "toarray") else adata.X, dtype=np.float32)


class Task:
    """One context whose perturbed cells are left out: the cells that are known, and those to predict."""

    def __init__(self, adata, context, perturbation):
        column, wanted = adata.obs[PERTURBATION], [CONTROL, perturbation]
        is_truth = (adata.obs[CONTEXT] == context) & (column == perturbation)
        self.known = adata[column.isin(wanted) & ~is_truth].copy()
        self.known.X = densify(self.known)
        self.context, self.perturbation = context, perturbation
        self.truth = densify(adata[is_truth])
        here = (self.known.obs[CONTEXT] == context).to_numpy()
        control = (self.known.obs[PERTURBATION] == CONTROL).to_numpy()
        self.query, self.source, self.target = (
            self.known.X[rows] for rows in (here, ~here & control, ~here & ~control)
        )
        self.is_query = here
        self.top_genes = self.find_top_genes(adata[(adata.obs[CONTEXT] == context) & column.isin(wanted)].copy())

    def find_top_genes(self, cells):
        """Return the genes that differ most in truth, by the t-test of scanpy."""
        sc.tl.rank_genes_groups(cells, PERTURBATION, groups=[self.perturbation], reference=CONTROL, method="t-test")
        table = sc.get.rank_genes_groups_df(cells, self.perturbation).set_index("names")["scores"].abs()
        return cells.var_names.get_indexer(table.nlargest(N_TOP_GENES).index)

    def apply_edit(self, how):
        """Return the query as an edit changes it."""
        space = how["key"]
        if space not in self.known.uns:
            ne.tl.train(self.known, space=space, key_added=space, accelerator="cpu", progress_bar=False)
        others = sorted(set(self.known.obs[CONTEXT]) - {self.context})
        roles = {
            "source": {PERTURBATION: CONTROL, CONTEXT: others},
            "target": {PERTURBATION: self.perturbation, CONTEXT: others},
            "query": {PERTURBATION: CONTROL, CONTEXT: self.context},
        }
        ne.tl.edit(self.known, **roles, **how, accelerator="cpu")
        return self.known.layers["edited"][self.is_query]

    def predict(self, name):
        """Return the cells that a method predicts."""
        if name == ALONE:
            return self.query
        if name == MEAN:  # as theirs: normal noise with the spread of the control
            noise = np.random.default_rng(SEED).normal(size=self.query.shape)
            return self.target.mean(axis=0) + self.query.std(axis=0) * noise
        if name in EDITS:
            return self.apply_edit(EDITS[name])
        source, target, query = (torch.from_numpy(cells) for cells in (self.source, self.target, self.query))
        return np.asarray(BASELINES[ON_GENES[name]](source, target)(query))


def score(control, truth, predicted):
    """Return the four measures on some genes."""
    generator = np.random.default_rng(SEED)
    few = [x[generator.permutation(len(x))[:MAX_CELLS]].astype(float) for x in (truth, predicted)]
    within = sum(cdist(x, x).mean() for x in few)
    return {
        "correlation": ne.metrics.delta_correlation(control, truth, predicted),
        "mse": ne.metrics.squared_error(predicted, truth, subtract_noise=False),
        "edistance": 2 * cdist(*few).mean() - within,
        "sym_kldiv": float(np.log2(1 + diverge(*few))),
    }


def diverge(x, y):
    """Return the mean over genes of the symmetric Kullback-Leibler divergence of two normal distributions."""
    means, spreads = (
        np.stack([function(axis=0) for function in (x_or_y)]) for x_or_y in ((x.mean, y.mean), (x.std, y.std))
    )
    spreads = spreads + 1e-8
    square = np.square(means[0] - means[1])
    one, other = (np.square(spreads[i]) + square for i in (0, 1))
    return float(np.mean(one / (2 * np.square(spreads[1])) + other / (2 * np.square(spreads[0])) - 1))


def run(adata, names, dataset, *, quick):
    """Yield the scores of all methods in all tasks."""
    contexts = sorted(adata.obs[CONTEXT].astype(str).unique())
    for context in contexts[: 1 if quick else None]:
        here = adata.obs.loc[adata.obs[CONTEXT] == context, PERTURBATION].astype(str)
        for perturbation in sorted(set(here) - {CONTROL}):
            if CONTROL not in set(here):
                continue
            task = Task(adata, context, perturbation)
            for name in names:
                try:
                    predicted, seconds = measure_time(task.predict, name)
                except Exception as error:  # noqa: BLE001 (a package of a peer that cannot do it)
                    print(f"{name} failed in {context}: {error}", flush=True)
                    continue
                for genes, columns in {"all": slice(None), f"top {N_TOP_GENES}": task.top_genes}.items():
                    found = score(*(x[:, columns] for x in (task.query, task.truth, predicted)))
                    row = {"dataset": dataset, "context": context, "perturbation": perturbation, "method": name}
                    yield row | {"genes": genes, "n_truth": len(task.truth)} | found | {"seconds": seconds}
                print(f"{context}, {perturbation}, {name}: {seconds:.0f} s", flush=True)


read = partial(read_results, CSV)


def page(results):
    """Return the tables as Markdown: means over contexts, the best correlation on top."""
    lines = []
    for genes, rows in results.groupby("genes", sort=False):
        lines += [f"On {genes} genes:", "", *tabulate(rows), ""]
    return "\n".join(lines)


def tabulate(rows):
    """Return a row for each method: means, and in how many tasks the energy distance is lower than that of the cells left alone."""
    means = rows.groupby("method")[list(MEASURES)].mean().sort_values("edistance")
    left = rows.pivot_table("edistance", ["context", "perturbation"], "method")
    lower = left.lt(left[ALONE], axis=0)
    table = []
    for name, own in means.iterrows():
        cells = ["–" if np.isnan(own[key]) else f"{own[key]:.{digits}f}" for key, digits in MEASURES.items()]
        shown = f"**{name_method(name)}**" if name == "default" else name_method(name)
        table.append([shown, *cells, f"{int(lower[name].sum())} of {len(left)}"])
    heads = [
        "method",
        "correlation of the change",
        "energy distance",
        "squared error",
        "divergence",
        "energy distance lower than alone",
    ]
    return markdown_table(heads, table)


def print_published(path, dataset, results):
    """Print their means over contexts beside ours."""
    theirs = pd.read_csv(path, index_col=0)
    theirs = theirs[(theirs["DataSet"] == dataset) & theirs["metric"].isin(list(THEIR_NAMES))]
    if theirs.empty:
        raise SystemExit(f"{path} has no data set {dataset!r}.")
    theirs["performance"] = pd.to_numeric(theirs["performance"], errors="coerce")
    wide = theirs.pivot_table("performance", "method", "metric").rename(columns=THEIR_NAMES)
    print(f"\nPublished for {dataset}, 5,000 genes:\n\n{wide.sort_values('edistance').round(3).to_string()}")
    ours = results[results["genes"] == "all"].groupby("method")[list(MEASURES)].mean().rename(index=OURS)
    print(
        f"\nHere ({results['dataset'].iloc[0]}, {results['context'].nunique()} contexts), all genes:\n\n{ours.round(3).to_string()}"
    )
    if dataset != results["dataset"].iloc[0]:
        print("\nThese are other cells and other genes: compare orders and differences from baseControl, not values.")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--data", type=Path, help="a filter_hvg5000_logNor.h5ad of theirs")
    parser.add_argument("--output", type=Path, help="where the scores of --data are written")
    parser.add_argument("--methods", nargs="*", choices=METHODS)
    parser.add_argument("--published", type=Path, help="their cellular_ood_distance5000.csv")
    parser.add_argument("--dataset", default="kangCrossCell", help="the data set in it")
    options = parser.parse_args()
    torch.set_num_threads(1)
    logging.getLogger("neuronedit").setLevel(logging.ERROR)
    sc.settings.verbosity = 0
    if options.published is not None and options.data is None and CSV.exists() and not options.quick:
        return print_published(options.published, options.dataset, read())
    names = options.methods or [name for name in METHODS if not (options.quick and name in EDITS)]
    names = list(dict.fromkeys([ALONE, *names]))  # the cells left alone are what all others are compared with
    if find_spec("pertpy") is None and "scGen" in names:
        names.remove("scGen")
        print("scGen is skipped: pertpy is not installed.")
    adata = lay_out_kang() if options.data is None else anndata.read_h5ad(options.data)
    dataset = "kang_counts" if options.data is None else options.data.resolve().parent.name
    results = pd.DataFrame(run(adata, names, dataset, quick=options.quick))
    output = CSV if options.data is None and not options.quick else options.output
    if output is not None:
        if output.exists():  # methods that were not run now keep their rows
            before = read_results(output)
            results = pd.concat([before[~before["method"].isin(names)], results], ignore_index=True)
        results.to_csv(output, index=False, float_format="%.4g")
    print(page(results))
    if options.published is not None:
        print_published(options.published, options.dataset, results)


if __name__ == "__main__":
    main()
