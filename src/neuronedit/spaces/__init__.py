"""Spaces: each turns cells into neurons and neurons back into cells.

A new space is one file and one row in `SPACES`: a `FittedSpace` with ``encode``, ``decode``, and a class method
``fit(cells, training, **parameters)`` that returns it ready to use. Its constructor takes what ``config`` holds, so that
``SPACES[name](**config)`` and the saved weights make the same space again. If ``fit`` has a parameter ``image_shape``, it
gets the value of ``uns["image_shape"]``.
"""

from typing import Any

from .._check import guard
from .._device import fast_matmul
from .._docs import share_docs
from ._autoencoder import Autoencoder
from ._base import FittedSpace
from ._conv import Conv
from ._identity import Identity
from ._pca import PCA
from ._train import SCHEDULES, History, Training, train

SPACES: dict[str, Any] = {"autoencoder": Autoencoder, "conv": Conv, "pca": PCA, "identity": Identity}

__all__ = [
    "PCA", "SCHEDULES", "SPACES", "Autoencoder", "Conv", "FittedSpace", "History", "Identity", "Training", "train",
]  # fmt: skip

share_docs(globals())
guard(globals(), within=fast_matmul)
