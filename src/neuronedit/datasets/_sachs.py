"""T cells under a stimulus, with or without a second one, by five inhibitors or none, flow cytometry."""

import pandas as pd
from anndata import AnnData

from .._docs import shared_docs
from ._fetch import assemble, fetch
from ._rda import read_rda

STIMULI = {"cd3cd28": "CD3CD28", "cd3cd28icam2": "CD3CD28+ICAM2", "pma": "PMA", "b2camp": "beta2cAMP"}
INHIBITORS = {"": "none", "aktinhib": "AKT-inhibitor", "g0076": "G06976", "u0126": "U0126", "ly": "LY294002"}
INHIBITORS |= {"psitect": "Psitectorigenin", "psit": "Psitectorigenin"}


@shared_docs
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

    Raises
    ------
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
    return assemble(
        "sachs_icam2_inhibitors",
        samples,
        obs,
        var,
        "Sachs et al. 2005, Science 308:523-529",
        "X holds fluorescence on a linear scale: ne.pp.arcsinh(adata, cofactor=5)",
    )
