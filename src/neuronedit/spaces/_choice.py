"""Which space is taken by default."""

from ._autoencoder import Autoencoder
from ._pca import PCA

MAX_MARKERS = 60  # a panel of proteins has no more features; genes are more


def choose_space(n_features: int, *, is_image: bool = False) -> type[PCA] | type[Autoencoder]:
    """Return the space for so many features: an autoencoder for markers and pixels, principal components for genes.

    `benchmarks/holdout.py` compares the two on genes.
    """
    return PCA if n_features > MAX_MARKERS and not is_image else Autoencoder
