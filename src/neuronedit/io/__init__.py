"""Files in and out."""

from .._check import guard
from ._fcs import read_fcs
from ._model import load_model, save_model

__all__ = ["load_model", "read_fcs", "save_model"]

guard(globals())
