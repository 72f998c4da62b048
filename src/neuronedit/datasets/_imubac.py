"""Melanoma patients and healthy donors in two CyTOF batches."""

import pandas as pd
from anndata import AnnData

from ..io import read_fcs
from ._fetch import assemble, fetch

CONDITIONS = {"HD": "healthy_donor", "NR": "melanoma_nonresponder", "R": "melanoma_responder"}


def imubac_krieg() -> AnnData:
    """Load blood of 30 donors, healthy or with melanoma, in two mass cytometry batches with a large batch effect.

    Learn the batch effect on the healthy donors and correct the patients. The same clinical group in the other batch are
    other people, so the truth is a proxy at the level of the group.

    Returns
    -------
    129,712 cells by 25 markers, ion counts (apply :func:`neuronedit.pp.arcsinh` with cofactor 5).
    ``obs``: ``batch`` ("Data23", "Data29"), ``individual``, ``group`` ("HD", "NR", "R"), ``sample``, ``condition``,
    ``role`` ("control" for healthy donors, "sample"). ``var``: ``channel``.

    Raises
    ------
    ImportError
        When flowio is not installed: ``pip install 'neuronedit[fcs]'``.

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
            "condition": metadata["group"].map(CONDITIONS),
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
