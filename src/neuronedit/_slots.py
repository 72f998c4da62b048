"""The names of what is written into AnnData, and nothing else."""

MODEL = "neuronedit"
"""Default key of a trained space in ``uns``."""

EDITED = "edited"
"""Default key of an edit: its layer, and its record in ``uns``."""

VERSION = "neuronedit_version"
"""Marks a record in ``uns`` as ours, with the version that wrote it."""


def neurons(key: str) -> str:
    """Name in ``obsm`` of the neurons of a trained space."""
    return "X_neurons" if key == MODEL else f"X_neurons_{key}"


def neurons_edited(key: str) -> str:
    """Name in ``obsm`` of the neurons after an edit."""
    return f"X_neurons_{key}"


def support(key: str) -> str:
    """Name in ``obs`` of the share of a cell's neurons that lie within the source's range."""
    return f"{key}_support"


def cofactor(layer: str | None) -> str:
    """Name in ``var`` of the arcsinh cofactor that a layer (None: X) was transformed with."""
    return f"{layer or 'X'}_arcsinh_cofactor"
