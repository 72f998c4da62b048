"""Tools: read cells, compute, write the result next to them."""

from ._compare import compare
from ._edit import edit
from ._train import train

__all__ = ["compare", "edit", "train"]
