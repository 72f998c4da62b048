"""Whole methods to compare with. Each looks at the cells of a source and a target and returns the map between them.

A new one is one file and one row in `QUICK` or `SLOW`, which together are `BASELINES`. What else a method needs it asks for
by the name of a parameter: ``cells`` to train on (source, target and query together), ``query``, ``image_shape``, or ``rng``.
"""

from collections.abc import Callable

from .._check import guard
from .._device import fast_matmul
from .._docs import share_docs
from .._types import Map
from ..edits import affine, gaussian_ot, percentile, shift
from ._autoencoder import auto_edit, constant_shift, neuron_editing, pca_edit
from ._cca import cca
from ._combat import combat
from ._cytonorm import cytonorm
from ._cytovi import cytovi
from ._gan import cyclegan, gan, resnet_gan
from ._mmd_autoencoder import mmd_autoencoder
from ._mnn import mnn
from ._ot import ot
from ._scgen import scgen
from ._simple import identity, limma

QUICK: dict[str, Callable[..., Map]] = {
    "identity": identity,
    "mean_shift": shift,
    "quantile": percentile,
    "affine": affine,
    "gaussian_ot": gaussian_ot,
    "ot": ot,
    "combat": combat,
    "limma": limma,
    "mnn": mnn,
    "cca": cca,
    "pca_edit": pca_edit,
    "constant_shift": constant_shift,
    "neuron_editing": neuron_editing,
    "auto_edit": auto_edit,
}
"""Seconds to half a minute on a laptop."""

SLOW: dict[str, Callable[..., Map]] = {
    "mmd_autoencoder": mmd_autoencoder,
    "gan": gan,
    "resnet_gan": resnet_gan,
    "cyclegan": cyclegan,
    "cytonorm": cytonorm,
    "cytovi": cytovi,
    "scgen": scgen,
}
"""Minutes, or in need of packages of others (extra ``bench``)."""

BASELINES = QUICK | SLOW

__all__ = [
    "BASELINES", "QUICK", "SLOW", "affine", "auto_edit", "cca", "combat", "constant_shift", "cyclegan", "cytonorm",
    "cytovi", "gan", "gaussian_ot", "identity", "limma", "mmd_autoencoder", "mnn", "neuron_editing", "ot", "pca_edit",
    "resnet_gan", "scgen",
]  # fmt: skip

share_docs(globals())
guard(globals(), within=fast_matmul)
