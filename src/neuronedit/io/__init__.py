"""Files in and out."""

from ._fcs import read_fcs

__all__ = ["read_fcs"]
