"""Which space is taken by default."""

MAX_MARKERS = 60  # more features than a panel of proteins has are genes


def choose_space(n_features: int, *, is_image: bool = False) -> str:
    """Name the space for so many features: an autoencoder for markers and pixels, principal components for genes.

    `benchmarks/holdout.py` compares the two on genes.
    """
    return "pca" if n_features > MAX_MARKERS and not is_image else "autoencoder"
