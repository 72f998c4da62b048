"""Mass cytometry: stimuli and cell types, volunteers measured in three batches, and patients in two."""

import pandas as pd
from anndata import AnnData

from ..io import read_fcs
from ._fetch import assemble, fetch

STIMULUS_OF_WELL = {"H01": "vanadate", "H05": "unstimulated", "H08": "BCR-XL", "H12": "PMA-ionomycin"}
TYPE_MARKERS = ["CD45", "CD20", "IgM", "CD4", "CD33", "HLA-DR", "CD14", "CD7", "CD3", "CD123"]
STATE_MARKERS = ["pStat1", "pSlp76", "pBtk", "pPlcg2", "pErk", "pLat", "pS6"]
STATE_MARKERS += ["pNFkB", "pp38", "pStat5", "pAkt", "pSHP2", "pZap70", "pStat3"]
STATE_PROTEINS = {"CREB", "STAT5", "p38", "STAT1", "STAT3", "S6", "MAPKAPK2", "IkB", "NFkB", "ERK"}
NOT_MARKERS = {"DNA1", "DNA2", "beadDist"}
CONDITION_OF_GROUP = {"HD": "healthy_donor", "NR": "melanoma_nonresponder", "R": "melanoma_responder"}


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

    References
    ----------
    Bodenmiller et al. 2012, Nat Biotechnol 30:858-867. Files of the R package bodenmiller (CC0). 7 MB are downloaded once.
    """
    samples, rows = [], []
    for path in fetch("bodenmiller_4stim"):
        _, cell_type, well = path.stem.split("_")
        events = read_fcs(path)
        samples.append(events[:, TYPE_MARKERS + STATE_MARKERS].copy())
        rows.append((STIMULUS_OF_WELL[well], cell_type, well, well))
    obs = pd.DataFrame(rows, columns=["condition", "cell_type", "well", "sample"])
    marker_class = ["type"] * len(TYPE_MARKERS) + ["state"] * len(STATE_MARKERS)
    var = pd.DataFrame({"marker_class": marker_class}, index=TYPE_MARKERS + STATE_MARKERS)
    return assemble("bodenmiller_4stim", samples, obs, var)


def cytonorm_volunteers() -> AnnData:
    """Load the same two people measured in three mass cytometry batches: technical replicates with real batch effects.

    To try: fit the batch effect on Volunteer_1, correct Volunteer_2, and compare with Volunteer_2 as measured in the other
    batch. There are six ordered pairs of batches, each with a held-out truth.

    Examples
    --------
    >>> import neuronedit as ne
    >>> adata = ne.datasets.cytonorm_volunteers()  # doctest: +SKIP
    >>> ne.pp.arcsinh(adata, cofactor=5)  # doctest: +SKIP

    Returns
    -------
    6,000 cells by 37 markers, ion counts (apply :func:`neuronedit.pp.arcsinh` with cofactor 5).
    ``obs``: ``batch``, ``individual``, ``sample``, ``condition``, ``role`` ("control" for Volunteer_1, "validation").
    ``var``: ``channel``, ``marker_class`` ("type" or "state").

    References
    ----------
    Van Gassen et al. 2020, CytoNorm, Cytometry A 97:268-278. Files of the R package CytoNorm (GPL >= 2); the full data are
    FlowRepository FR-FCM-Z247. 1.3 MB are downloaded once.
    """
    samples, rows = [], []
    for path in fetch("cytonorm_volunteers"):
        batch, condition, individual = path.stem.removeprefix("Gates_").replace("_Control_", "_").split("_")
        samples.append(_keep_markers(read_fcs(path)))
        rows.append((batch, f"Volunteer_{individual}", f"{batch}_Control_{individual}", condition))
    obs = pd.DataFrame(rows, columns=["batch", "individual", "sample", "condition"])
    obs["role"] = obs["individual"].map({"Volunteer_1": "control", "Volunteer_2": "validation"})
    var = samples[0].var[["channel"]].copy()
    var["marker_class"] = ["state" if marker in STATE_PROTEINS else "type" for marker in samples[0].var_names]
    return assemble("cytonorm_volunteers", samples, obs, var)


def _keep_markers(events: AnnData) -> AnnData:
    """Keep the channels that measure a marker, under the marker's name."""
    marker = events.var["marker"]
    return events[:, (marker != "") & ~marker.isin(NOT_MARKERS) & ~marker.str.fullmatch(r"BC\d")].copy()


def imubac_krieg() -> AnnData:
    """Load blood of 30 donors, healthy or with melanoma, in two mass cytometry batches with a large batch effect.

    To try: fit the batch effect on the healthy donors, and correct the patients. The other batch has the same clinical groups,
    but other people, so the truth is known for groups only.

    Examples
    --------
    >>> import neuronedit as ne
    >>> adata = ne.datasets.imubac_krieg()  # doctest: +SKIP
    >>> ne.pp.arcsinh(adata, cofactor=5)  # doctest: +SKIP

    Returns
    -------
    129,712 cells by 25 markers, ion counts (apply :func:`neuronedit.pp.arcsinh` with cofactor 5).
    ``obs``: ``batch`` ("Data23", "Data29"), ``individual``, ``group`` ("HD", "NR", "R"), ``sample``, ``condition``,
    ``role`` ("control" for healthy donors, "sample"). ``var``: ``channel``.

    References
    ----------
    Krieg et al. 2018, Nat Med 24:144-153; Ogishi et al. 2021, iMUBAC, J Immunol 206:206-213. Files of the R package iMUBAC
    (MIT). 16 MB are downloaded once.
    """
    paths = {path.name: path for path in fetch("imubac_krieg")}
    metadata = pd.read_csv(paths["Metadata.csv"])
    panel = pd.read_csv(paths["PanelInfo_Data23_Panel3.csv"])
    antigens = panel.set_index("channel")["antigen"]
    samples = [read_fcs(paths[name], panel=panel)[:, antigens.to_list()].copy() for name in metadata["file_name"]]
    obs = metadata[["batch", "donor_id", "group"]].rename(columns={"donor_id": "individual"})
    obs["sample"] = metadata["file_name"].str.removesuffix(".fcs")
    obs["condition"] = metadata["group"].map(CONDITION_OF_GROUP)
    obs["role"] = metadata["group"].map(lambda group: "control" if group == "HD" else "sample")
    var = pd.DataFrame({"channel": antigens.index.to_list()}, index=antigens.to_list())
    return assemble("imubac_krieg", samples, obs, var)
