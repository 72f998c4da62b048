"""Files in and out."""

from .._check import guard
from .._data.integrity import IntegrityError
from ._cell_eval import write_cell_eval
from ._fcs import read_fcs
from ._model import load_model, save_model
from ._write_fcs import write_fcs

__all__ = ["IntegrityError", "load_model", "read_fcs", "save_model", "write_cell_eval", "write_fcs"]

guard(globals())
