"""Which edit carries over: leave parts of the observed pair out, predict them, and combine what predicts best.

A new candidate is one row in `CANDIDATES`.
"""

from ._candidates import CANDIDATES, Candidate
from ._select import Selected, select

__all__ = ["CANDIDATES", "Candidate", "Selected", "select"]
