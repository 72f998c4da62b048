"""Melanoma patients and healthy donors in two CyTOF batches."""

import pandas as pd
from anndata import AnnData

from .._docs import shared_docs
from ..io import read_fcs
from ._fetch import assemble, fetch

CONDITION_OF_GROUP = {"HD": "healthy_donor", "NR": "melanoma_nonresponder", "R": "melanoma_responder"}


@shared_docs
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

    Raises
    ------
    %(fcs_errors)s

    References
    ----------
    Krieg et al. 2018, Nat Med 24:144-153; Ogishi et al. 2021, iMUBAC, J Immunol 206:206-213. Files of the R package iMUBAC
    (MIT). 16 MB are downloaded once.
    """
    paths = {path.name: path for path in fetch("imubac_krieg")}
    metadata = pd.read_csv(paths["Metadata.csv"])
    antigens = pd.read_csv(paths["PanelInfo_Data23_Panel3.csv"]).set_index("channel")["antigen"]
    samples = [read_fcs(paths[name])[:, antigens.index].copy() for name in metadata["file_name"]]
    for sample in samples:
        sample.var_names = antigens.to_list()
    obs = pd.DataFrame(
        {
            "batch": metadata["batch"],
            "individual": metadata["donor_id"],
            "group": metadata["group"],
            "sample": metadata["file_name"].str.removesuffix(".fcs"),
            "condition": metadata["group"].map(CONDITION_OF_GROUP),
            "role": metadata["group"].map(lambda group: "control" if group == "HD" else "sample"),
        }
    )
    var = pd.DataFrame({"channel": antigens.index.to_list()}, index=antigens.to_list())
    return assemble(
        "imubac_krieg",
        samples,
        obs,
        var,
        "Krieg et al. 2018, Nat Med 24:144-153; Ogishi et al. 2021, J Immunol 206:206-213",
    )
