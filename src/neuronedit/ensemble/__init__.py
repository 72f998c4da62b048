"""Which edits generalize: K-fold cross-validation over strata, and stacking.

Stacking finds the weights with which candidates predict strata best from the others. A new one is a row in `CANDIDATES`.
"""

from .._check import guard
from .._device import fast_matmul
from .._docs import share_docs
from ._candidates import CANDIDATES, Candidate, Prior
from ._cross_validate import Composition, Ensemble, cross_validate
from ._folds import FoldKind
from ._matching import Matching, match_populations

__all__ = [
    "CANDIDATES",
    "Candidate",
    "Composition",
    "Ensemble",
    "FoldKind",
    "Matching",
    "Prior",
    "cross_validate",
    "match_populations",
]

share_docs(globals())
guard(globals(), within=fast_matmul)
