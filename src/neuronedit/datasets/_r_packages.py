"""Data of R packages: interferon in two people's cells (RNA), and stimuli with inhibitors in T cells (flow cytometry)."""

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from anndata import AnnData
from scipy.sparse import csr_matrix

from ._fetch import annotate, assemble, fetch

CONDITION_NAMES = {"ctrl": "control", "stim": "IFN-beta"}
STIMULI = {"cd3cd28": "CD3CD28", "cd3cd28icam2": "CD3CD28+ICAM2", "pma": "PMA", "b2camp": "beta2cAMP"}
INHIBITORS = {"": "none", "aktinhib": "AKT-inhibitor", "g0076": "G06976", "u0126": "U0126", "ly": "LY294002"}
INHIBITORS |= {"psitect": "Psitectorigenin", "psit": "Psitectorigenin"}


def kang_counts() -> AnnData:
    """Load blood cells of five types and two people, with and without interferon-beta, by single-cell RNA sequencing.

    To try: hold a cell type out, fit the response of the others, predict that of the held-out type, and compare with its
    measured cells.

    Examples
    --------
    >>> import neuronedit as ne
    >>> import scanpy as sc
    >>> adata = ne.datasets.kang_counts()  # doctest: +SKIP
    >>> sc.pp.normalize_total(adata, target_sum=1e4)  # doctest: +SKIP
    >>> sc.pp.log1p(adata)  # doctest: +SKIP

    Returns
    -------
    1,556 cells by 1,267 genes, UMI counts, a sparse CSR matrix: normalize to 10,000 counts a cell and take ``log1p`` first.
    ``obs``: ``condition`` ("control", "IFN-beta"), ``cell_type``, ``individual`` ("101", "107"), ``sample``.

    %(rdata_errors)s

    References
    ----------
    Kang et al. 2018, Nat Biotechnol 36:89-94 (GEO GSE96583); the subset is of the R package muscat (GPL-3), Crowell et al.
    2020, Nat Commun 11:6077. 1 MB is downloaded once.
    """
    (path,) = fetch("kang_counts")
    experiment = read_rda(path)["example_sce"]
    counts, cells = experiment.assays.data.listData["counts"], experiment.colData.listData
    genes = experiment.rowRanges.elementMetadata.listData["SYMBOL"]
    # R's matrix is genes by cells, compressed by column: the same three arrays are cells by genes, compressed by row
    X = csr_matrix((counts.x.astype(np.float32), counts.i, counts.p), shape=tuple(counts.Dim[::-1]))
    sample = pd.Series(cells["sample_id"]).astype(str)
    condition = pd.Series(cells["group_id"]).astype(str).map(CONDITION_NAMES)
    cell_type = pd.Series(cells["cluster_id"]).astype(str)
    obs = pd.DataFrame(
        {"condition": condition, "cell_type": cell_type, "individual": sample.str[-3:], "sample": sample}
    )
    return annotate("kang_counts", X, obs, pd.DataFrame(index=genes.astype(object)))


def sachs_icam2_inhibitors() -> AnnData:
    """Load T cells stimulated with or without ICAM-2, under each of five inhibitors or none, by flow cytometry.

    A combination with known truth: fit an inhibitor's effect under CD3CD28, predict it under CD3CD28+ICAM2, and compare with
    the measured cells. The case is hard and mostly negative: leaving the cells alone is difficult to beat.

    Examples
    --------
    >>> import neuronedit as ne
    >>> adata = ne.datasets.sachs_icam2_inhibitors()  # doctest: +SKIP
    >>> ne.pp.arcsinh(adata, cofactor=5)  # doctest: +SKIP

    Returns
    -------
    11,672 cells by 11 signalling molecules, fluorescence on a linear scale, at least 1 (apply
    :func:`neuronedit.pp.arcsinh` with cofactor 5). ``obs``: ``condition`` (stimulus and inhibitor), ``stimulus``
    ("CD3CD28", "CD3CD28+ICAM2", and "PMA", "beta2cAMP" without inhibitor), ``inhibitor`` ("none" or one of five),
    ``sample``, ``cell_type``. ``var``: ``marker_class`` ("state").

    %(rdata_errors)s

    Notes
    -----
    SEMgraph calls samples 10 to 14, those with ICAM-2 and an inhibitor, simulated. Their values suggest that they were measured:
    for each molecule at least 96 % of them also occur in samples 1 to 9, on the discrete scale of the instrument.

    References
    ----------
    Sachs et al. 2005, Science 308:523-529, supplement. File of the R package SEMgraph (GPL-3). 0.2 MB are downloaded once.
    """
    (path,) = fetch("sachs_icam2_inhibitors")
    samples, rows = [], []
    for number, (name, frame) in enumerate(read_rda(path)["sachs"]["rawdata"].items(), start=1):
        stimulus, _, inhibitor = name.replace("_icam2", "icam2").partition("_")
        stimulus, inhibitor = STIMULI[stimulus], INHIBITORS[inhibitor]
        condition = stimulus if inhibitor == "none" else f"{stimulus}+{inhibitor}"
        samples.append(AnnData(frame.to_numpy("float32")))
        rows.append((condition, stimulus, inhibitor, f"{number:02d}_{name}", "CD4_T"))
    obs = pd.DataFrame(rows, columns=["condition", "stimulus", "inhibitor", "sample", "cell_type"])
    var = pd.DataFrame({"marker_class": "state"}, index=[str(marker) for marker in frame])
    return assemble("sachs_icam2_inhibitors", samples, obs, var)


def read_rda(path: Path) -> dict[str, Any]:
    """Read the objects of an .rda or .RData file by name: lists as dicts, data frames as pandas', S4 slots as attributes."""
    try:
        import rdata
    except ImportError as error:
        raise ImportError("Reading R data needs rdata: pip install 'neuronedit[rdata]'.") from error
    with warnings.catch_warnings():
        # rdata returns the slots of classes that it does not know, which is enough here
        warnings.filterwarnings("ignore", message="Missing constructor for R class")
        return rdata.read_rda(path)
