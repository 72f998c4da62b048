"""Tools: read cells, compute, write the result next to them."""

from ._compare import compare
from ._edit import edit
from ._embed import embed
from ._train import train

__all__ = ["compare", "edit", "embed", "train"]
