"""Which edit carries over: leave parts of the observed pair out, predict them, and combine what predicts best.

A new candidate is one row in `CANDIDATES`.
"""

from ._candidates import CANDIDATES, Candidate
from ._cross_validate import Ensemble, select

__all__ = ["CANDIDATES", "Candidate", "Ensemble", "select"]
