"""Which edits generalize: K-fold cross-validation over strata, and stacking.

Each stratum is left out in turn, and every candidate predicts it from the others. Stacking finds the weights with which the
candidates predict best together. A new candidate is one row in `CANDIDATES`.
"""

from ._candidates import CANDIDATES, Candidate
from ._cross_validate import Ensemble, cross_validate
from ._folds import FoldKind

__all__ = ["CANDIDATES", "Candidate", "Ensemble", "FoldKind", "cross_validate"]
