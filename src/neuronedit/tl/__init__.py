"""Tools: read cells, compute, write the result next to them."""

from ._combine import combine
from ._compare import compare
from ._correct import correct
from ._edit import edit
from ._embed import embed
from ._rank_neurons import rank_neurons
from ._synergy import synergy
from ._train import train

__all__ = ["combine", "compare", "correct", "edit", "embed", "rank_neurons", "synergy", "train"]
