"""Preprocessing: bring cells onto a scale on which they can be edited."""

from .._docs import share_docs
from ._arcsinh import arcsinh, inverse_arcsinh

__all__ = ["arcsinh", "inverse_arcsinh"]

share_docs(globals())
