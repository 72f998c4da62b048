"""Two volunteers measured in three CyTOF batches."""

import pandas as pd
from anndata import AnnData

from .._docs import shared_docs
from ..io import read_fcs
from ._fetch import assemble, fetch

STATE_PROTEINS = {"CREB", "STAT5", "p38", "STAT1", "STAT3", "S6", "MAPKAPK2", "IkB", "NFkB", "ERK"}
NOT_MARKERS = {"DNA1", "DNA2", "beadDist"}


@shared_docs
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

    Raises
    ------
    %(fcs_errors)s

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
    return assemble(
        "cytonorm_volunteers", samples, obs, var, "Van Gassen et al. 2020, CytoNorm, Cytometry A 97:268-278"
    )


def _keep_markers(events: AnnData) -> AnnData:
    """Keep the channels that measure a marker, under the marker's name."""
    marker = events.var["marker"]
    events = events[:, (marker != "") & ~marker.isin(NOT_MARKERS) & ~marker.str.fullmatch(r"BC\d")].copy()
    events.var["channel"] = events.var_names
    events.var_names = events.var["marker"].to_list()
    return events
