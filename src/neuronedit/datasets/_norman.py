"""Pairs of genes activated alone and together in K562 cells (RNA): real combinations with a measured truth."""

from pathlib import Path

import numpy as np
import pandas as pd
from anndata import AnnData, read_h5ad
from scipy.sparse import csr_matrix

from ._fetch import annotate, fetch

STUDY = "norman19"
"""The file has cells of another study, too, under the same names of conditions."""

CONTROL = "control"


def norman_doubles() -> AnnData:
    """Load cells in which five pairs of genes were activated alone and together, by single-cell RNA sequencing.

    Real combinations with a known truth. To try: fit the change from control to A, apply it to the cells of B, and compare with
    the measured cells of A+B.

    Examples
    --------
    >>> import neuronedit as ne
    >>> adata = ne.datasets.norman_doubles()  # doctest: +SKIP
    >>> a, b = adata.uns["doubles"][0].split("+")  # doctest: +SKIP
    >>> ne.tl.train(adata)  # doctest: +SKIP
    >>> ne.tl.edit(adata, "condition", source="control", target=a, query=b)  # doctest: +SKIP

    Returns
    -------
    1,200 cells by 500 genes, a sparse CSR matrix: normalized to 10,000 counts a cell over all genes, then ``log1p``. Nothing
    is left to do. ``obs``: ``condition`` ("control", six genes, and five pairs such as "KLF1+MAP2K6"), 100 cells
    each. ``uns["doubles"]``: the five pairs: KLF1+MAP2K6, KLF1+TGFBR2, MAP2K3+MAP2K6, MAP2K3+SLC38A2, MAPK1+TGFBR2.

    Notes
    -----
    With 100 cells the truth is noisy. When the cells of a pair and of the control are split into halves, the two changes of the
    means correlate by 0.9 to 0.96 for KLF1+MAP2K6, KLF1+TGFBR2 and MAPK1+TGFBR2, and by about 0.5 for the two pairs with MAP2K3.

    References
    ----------
    Norman et al. 2019, Science 365:786-793, doi:10.1126/science.aax4438. File of the repository perturbench (BSD-3-Clause),
    which has a part of the cells and genes of the study. 1.1 MB are downloaded once.
    """
    (path,) = fetch("norman_doubles")
    cells, doubles = read_combinations(path)
    obs = pd.DataFrame({"condition": cells.obs["condition"].astype(str).to_numpy()})
    adata = annotate("norman_doubles", csr_matrix(cells.X, dtype=np.float32), obs, cells.var[[]].copy())
    adata.obs_names = cells.obs_names  # barcodes, by which the cells are found in the full data
    adata.uns["doubles"] = np.array(doubles, dtype=object)
    return adata


def read_combinations(path: Path) -> tuple[AnnData, list[str]]:
    """Read the cells of each combination "A+B" that has its single genes A and B in the file, of these, and of the control.

    Cells stay in the order of the file. The second value is the names of the combinations, sorted.
    """
    measured = read_h5ad(path)
    measured = measured[(measured.obs["dataset"] == STUDY).to_numpy()]
    conditions = set(measured.obs["condition"])
    doubles = sorted(name for name in conditions if "+" in name and conditions.issuperset(name.split("+")))
    singles = {gene for name in doubles for gene in name.split("+")}
    return measured[measured.obs["condition"].isin([CONTROL, *singles, *doubles]).to_numpy()], doubles
