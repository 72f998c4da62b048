"""Tools: read cells, compute, write the result next to them."""

from ._edit import edit
from ._train import train

__all__ = ["edit", "train"]
