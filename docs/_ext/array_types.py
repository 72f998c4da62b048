"""Which functions take cells in which form: each is tried on each."""

import tempfile
import warnings
from pathlib import Path

import anndata
import matplotlib.pyplot as plt
from scipy import sparse

import neuronedit as ne

EDIT = {"source": "control_1", "target": "control_2", "query": "sample_1", "edit": "percentile"}
DRUGS = {"control": "control_1", "effects": ["control_2", "sample_1"], "edit": "percentile"}
FORMS = ["numpy", "CSR", "CSC", "backed, dense", "backed, CSR", "backed, CSC", "dask"]
CALLS = {
    "pp.arcsinh": lambda adata: (adata.var.drop(columns="X_arcsinh_cofactor", inplace=True), ne.pp.arcsinh(adata)),
    "pp.match_populations": lambda adata: ne.pp.match_populations(adata, "batch", n_populations=6),
    "tl.train": lambda adata: ne.tl.train(adata, space="pca", n_components=4, key_added="other"),
    "tl.edit": lambda adata: ne.tl.edit(adata, "group", **EDIT),
    "tl.edit(write_to=...)": lambda adata: ne.tl.edit(adata, "group", **EDIT, write_to=fresh(".zarr")),
    "tl.apply": lambda adata: ne.tl.apply(adata, edited(), "group", query="sample_1"),
    "tl.bootstrap": lambda adata: (ne.tl.edit(adata, "group", **EDIT), ne.tl.bootstrap(adata, n_bootstrap=2)),
    "tl.correct": lambda adata: ne.tl.correct(adata, "batch", control_key="role", edit="percentile"),
    "tl.combine": lambda adata: ne.tl.combine(adata, "group", **DRUGS),
    "tl.rank_combinations": lambda adata: ne.tl.rank_combinations(adata, "group", **DRUGS, score="IFNg", n_bootstrap=2),
    "tl.synergy": lambda adata: ne.tl.synergy(adata, "group", **DRUGS, measured="sample_2", n_bootstrap=2),
    "tl.embed": lambda adata: ne.tl.embed(adata, trained()),
    "tl.rank_neurons": lambda adata: (ne.tl.edit(adata, "group", **EDIT), ne.tl.rank_neurons(adata)),
    "tl.compare": lambda adata: ne.tl.compare(
        adata, "group", source="control_1", target="control_2", query="sample_1", methods=["mean_shift"], n_bootstrap=0
    ),
    "report": lambda adata: (ne.tl.edit(adata, "group", **EDIT), ne.report(adata, fresh(".html"))),
    "pl.biaxial": lambda adata: ne.pl.biaxial(adata, x="IFNg", y="CCR6", groupby="group", layers=[None]),
}


def table():
    """Return the table as Markdown."""
    lines = ["| | " + " | ".join(FORMS) + " |", "|---" * (len(FORMS) + 1) + "|"]
    for name, call in CALLS.items():
        link = "{func}`ne." + f"{name} <neuronedit.{name.split('(')[0]}>`"
        lines.append(f"| {link} | " + " | ".join("yes" if takes(call, form) else "–" for form in FORMS) + " |")
    return "\n".join(lines) + "\n"


def takes(call, form):
    """Say whether a function works on cells in this form."""
    adata = cells(form)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            call(adata)
    except (AttributeError, NotImplementedError, TypeError, ValueError):
        if form == FORMS[0]:
            raise
        return False
    finally:
        plt.close("all")
    return True


def trained():
    """Return cells with a space."""
    adata = ne.datasets.simulate_batches(n_cells=120)
    ne.tl.train(adata, space="pca", n_components=4)
    return adata


def edited():
    """Return cells with a space and an edit."""
    adata = trained()
    ne.tl.edit(adata, "group", **EDIT)
    return adata


def fresh(suffix):
    """Name a file that is not there yet."""
    return Path(tempfile.mkdtemp()) / f"cells{suffix}"


def cells(form):
    """Return cells with a space, in this form."""
    adata = trained()
    kind, _, stored = form.partition(", ")
    if "CSC" in form:
        adata.X = sparse.csc_matrix(adata.X)
    if "CSR" in form:
        adata.X = sparse.csr_matrix(adata.X)
    if form == "dask":
        import dask.array

        adata.X = dask.array.from_array(adata.X, chunks=(100, -1))
    if kind == "backed":
        path = fresh(".h5ad")
        adata.write_h5ad(path)
        adata = anndata.read_h5ad(path, backed="r")
    return adata
