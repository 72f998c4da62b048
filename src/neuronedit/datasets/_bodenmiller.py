"""Four stimuli by fourteen cell types, CyTOF."""

import pandas as pd
from anndata import AnnData

from ..io import read_fcs
from ._fetch import assemble, fetch

CONDITIONS = {"H01": "vanadate", "H05": "unstimulated", "H08": "BCR-XL", "H12": "PMA-ionomycin"}
TYPE = ["CD45", "CD20", "IgM", "CD4", "CD33", "HLA-DR", "CD14", "CD7", "CD3", "CD123"]
STATE = ["pStat1", "pSlp76", "pBtk", "pPlcg2", "pErk", "pLat", "pS6"]
STATE += ["pNFkB", "pp38", "pStat5", "pAkt", "pSHP2", "pZap70", "pStat3"]


def bodenmiller_4stim() -> AnnData:
    """Load blood cells of fourteen gated types, unstimulated and under three stimuli, by mass cytometry.

    Hold a cell type out: learn the response on the others, predict the held-out type's, and compare with what was measured.

    Returns
    -------
    51,936 cells by 24 markers, ion counts, slightly negative in places (apply :func:`neuronedit.pp.arcsinh`, cofactor 5).
    ``obs``: ``condition`` ("unstimulated", "BCR-XL", "PMA-ionomycin", "vanadate"), ``cell_type``, ``well``, ``sample``.
    ``var``: ``marker_class`` ("type" or "state").

    Raises
    ------
    ImportError
        When flowio is not installed: ``pip install 'neuronedit[fcs]'``.

    References
    ----------
    Bodenmiller et al. 2012, Nat Biotechnol 30:858-867. Files of the R package bodenmiller (CC0). 7 MB are downloaded once.
    """
    samples, rows = [], []
    for path in fetch("bodenmiller_4stim"):
        _, cell_type, well = path.stem.split("_")
        events = read_fcs(path)
        events.var_names = events.var["marker"].to_list()
        samples.append(events[:, TYPE + STATE].copy())
        rows.append((CONDITIONS[well], cell_type, well, well))
    obs = pd.DataFrame(rows, columns=["condition", "cell_type", "well", "sample"])
    var = pd.DataFrame({"marker_class": ["type"] * len(TYPE) + ["state"] * len(STATE)}, index=TYPE + STATE)
    return assemble("bodenmiller_4stim", samples, obs, var, "Bodenmiller et al. 2012, Nat Biotechnol 30:858-867")
