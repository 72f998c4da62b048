"""Four stimuli by fourteen cell types, CyTOF."""

import pandas as pd
from anndata import AnnData

from .._docs import shared_docs
from ..io import read_fcs
from ._fetch import assemble, fetch

STIMULUS_OF_WELL = {"H01": "vanadate", "H05": "unstimulated", "H08": "BCR-XL", "H12": "PMA-ionomycin"}
TYPE_MARKERS = ["CD45", "CD20", "IgM", "CD4", "CD33", "HLA-DR", "CD14", "CD7", "CD3", "CD123"]
STATE_MARKERS = ["pStat1", "pSlp76", "pBtk", "pPlcg2", "pErk", "pLat", "pS6"]
STATE_MARKERS += ["pNFkB", "pp38", "pStat5", "pAkt", "pSHP2", "pZap70", "pStat3"]


@shared_docs
def bodenmiller_4stim() -> AnnData:
    """Load blood cells of fourteen gated types, unstimulated and under three stimuli, by mass cytometry.

    To try: hold a cell type out, fit the response of the others, predict that of the held-out type, and compare with its
    measured cells.

    Examples
    --------
    >>> import neuronedit as ne
    >>> adata = ne.datasets.bodenmiller_4stim()  # doctest: +SKIP
    >>> ne.pp.arcsinh(adata, cofactor=5)  # doctest: +SKIP

    Returns
    -------
    51,936 cells by 24 markers, ion counts, slightly negative in places (apply :func:`neuronedit.pp.arcsinh`, cofactor 5).
    ``obs``: ``condition`` ("unstimulated", "BCR-XL", "PMA-ionomycin", "vanadate"), ``cell_type``, ``well``, ``sample``.
    ``var``: ``marker_class`` ("type" or "state").

    Raises
    ------
    %(fcs_errors)s

    References
    ----------
    Bodenmiller et al. 2012, Nat Biotechnol 30:858-867. Files of the R package bodenmiller (CC0). 7 MB are downloaded once.
    """
    samples, rows = [], []
    for path in fetch("bodenmiller_4stim"):
        _, cell_type, well = path.stem.split("_")
        events = read_fcs(path)
        events.var_names = events.var["marker"].to_list()
        samples.append(events[:, TYPE_MARKERS + STATE_MARKERS].copy())
        rows.append((STIMULUS_OF_WELL[well], cell_type, well, well))
    obs = pd.DataFrame(rows, columns=["condition", "cell_type", "well", "sample"])
    marker_class = ["type"] * len(TYPE_MARKERS) + ["state"] * len(STATE_MARKERS)
    var = pd.DataFrame({"marker_class": marker_class}, index=TYPE_MARKERS + STATE_MARKERS)
    return assemble("bodenmiller_4stim", samples, obs, var, "Bodenmiller et al. 2012, Nat Biotechnol 30:858-867")
