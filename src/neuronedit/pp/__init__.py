"""Preprocessing: bring cells onto a scale on which they can be edited, and label populations that several groups share."""

from .._check import guard
from .._device import fast_matmul
from .._docs import share_docs
from ._arcsinh import arcsinh, inverse_arcsinh
from ._logicle import inverse_logicle, logicle
from ._match_populations import match_populations

__all__ = ["arcsinh", "inverse_arcsinh", "inverse_logicle", "logicle", "match_populations"]

share_docs(globals())
guard(globals(), within=fast_matmul)
