"""The names of what is written into AnnData, and nothing else."""

MODEL = "neuronedit"  # default key of a trained space in uns
EDITED = "edited"  # default key of an edit: its layer, and its record in uns
CORRECTED = "corrected"  # default key of a batch correction
COMBINED = "combined"  # default key of predicted combinations
SYNERGY = "synergy"  # default key of what measured combinations depart by from predicted ones
MATCHED = "matched"  # default key of matched populations: their column in obs, and their record in uns
FCS = "fcs"  # in uns: what an FCS file holds besides its events
IMAGE_SHAPE = "image_shape"  # in uns: (rows, columns) or (rows, columns, channels) of the images, which are rows of X
USED = "used"  # in var: which features are trained on and edited; all where there is no such column
VERSION = "neuronedit_version"  # marks a record in uns as ours, with the version that wrote it


def neurons(key: str) -> str:
    """Name in ``obsm`` of the neurons of a trained space."""
    return "X_neurons" if key == MODEL else f"X_neurons_{key}"


def neurons_edited(key: str) -> str:
    """Name in ``obsm`` of the neurons after an edit."""
    return f"X_neurons_{key}"


def support(key: str) -> str:
    """Name in ``obs`` of the share of a cell's neurons that lie within the source's range."""
    return f"{key}_support"


def distance(key: str) -> str:
    """Name in ``obs`` of a cell's distance from the source cells that resemble it most."""
    return f"{key}_distance"


def certainty(key: str) -> str:
    """Name in ``obs`` of how sure it is that a cell belongs to its matched population."""
    return f"{key}_certainty"


def sd(key: str) -> str:
    """Name in ``layers`` of the standard deviation of the edited values over resamples."""
    return f"{key}_sd"


def cofactor(layer: str | None) -> str:
    """Name in ``var`` of the arcsinh cofactor that a layer (None: X) was transformed with."""
    return f"{layer or 'X'}_arcsinh_cofactor"


def logicle_parameters(layer: str | None) -> dict[str, str]:
    """Names in ``var`` of the logicle parameters T, M, W and A that a layer (None: X) was transformed with."""
    return {name: f"{layer or 'X'}_logicle_{name}" for name in ("T", "M", "W", "A")}


def scale(layer: str | None) -> list[str]:
    """Names in ``var`` of all that may say how a layer (None: X) was transformed."""
    return [cofactor(layer), *logicle_parameters(layer).values()]


ALL_STRATA = "all"  # in the column held_out of a comparison: the mean over the strata that were held out
WHOLE = ("", ALL_STRATA)  # in that column: rows that are not of one stratum
