"""Example data: public sets whose truth was measured, and simulations whose truth is known."""

from .._check import guard
from .._docs import share_docs
from ._celeba import celeba
from ._cmu import cmu_faces
from ._cytof import bodenmiller_4stim, cytonorm_volunteers, imubac_krieg
from ._fcs_study import simulate_fcs_study
from ._fetch import fetch
from ._images import simulate_images
from ._norman import norman_doubles
from ._r_packages import kang_counts, sachs_icam2_inhibitors
from ._simulate import simulate_batches, simulate_combination

__all__ = [
    "bodenmiller_4stim", "celeba", "cmu_faces", "cytonorm_volunteers", "fetch", "imubac_krieg", "kang_counts",
    "norman_doubles", "sachs_icam2_inhibitors", "simulate_batches", "simulate_combination", "simulate_fcs_study",
    "simulate_images",
]  # fmt: skip

share_docs(globals())
guard(globals())
