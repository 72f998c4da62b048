"""Interferon-beta in five cell types of two people, single-cell RNA."""

import numpy as np
import pandas as pd
from anndata import AnnData
from scipy.sparse import csr_matrix

from .._docs import shared_docs
from ._fetch import annotate, fetch
from ._rda import read_rda

CONDITION_NAMES = {"ctrl": "control", "stim": "IFN-beta"}


@shared_docs
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

    Raises
    ------
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
    obs = pd.DataFrame(
        {
            "condition": pd.Series(cells["group_id"]).astype(str).map(CONDITION_NAMES),
            "cell_type": pd.Series(cells["cluster_id"]).astype(str),
            "individual": sample.str[-3:],
            "sample": sample,
        }
    )
    return annotate(
        "kang_counts",
        X,
        obs,
        pd.DataFrame(index=genes.astype(object)),
        "Kang et al. 2018, Nat Biotechnol 36:89-94; Crowell et al. 2020, Nat Commun 11:6077",
        "X holds raw UMI counts: sc.pp.normalize_total(adata, target_sum=1e4), then sc.pp.log1p(adata)",
    )
