"""What users call to compute: read, compute, write."""

from .._check import guard
from .._device import fast_matmul
from .._docs import share_docs
from ._apply import apply
from ._bootstrap import bootstrap
from ._combine import combine
from ._compare import compare
from ._correct import correct
from ._edit import edit
from ._embed import embed
from ._rank_combinations import rank_combinations
from ._rank_neurons import rank_neurons
from ._synergy import synergy
from ._train import train

__all__ = [
    "apply", "bootstrap", "combine", "compare", "correct", "edit", "embed", "rank_combinations", "rank_neurons",
    "synergy", "train",
]  # fmt: skip

share_docs(globals())
guard(globals(), within=fast_matmul)
