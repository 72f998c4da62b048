"""Train the space in which cells are edited."""

import logging
from collections.abc import Callable, Mapping
from inspect import isclass, signature
from typing import Any, Literal

import numpy as np
from anndata import AnnData

from .. import _slots
from .._check import Count, Positive, Seed
from .._data.check import check_parameters, describe_choice, find_used, format_choices, lookup, open_adata
from .._data.reader import check_finite, encode_all, read_cells
from .._data.record import Tool, check_free
from .._data.space import Scale, name_space_class, write_space
from .._data.undo import writing
from .._device import find_device
from .._memory import give_back
from .._progress import is_shown, shows_progress
from ..spaces import SCHEDULES, SPACES, FittedSpace, Training
from ..spaces._base import ScaledSpace, check_space
from ..spaces._choice import MAX_MARKERS, choose_space

logger = logging.getLogger(__name__)

DEFAULT_SPACE = "auto"  # the name of the space that depends on the features
MAX_USUAL_VALUE = 100.0  # no usual transformation gives larger values: arcsinh and log1p of a million are 14


@shows_progress
def train(
    adata: AnnData,
    *,
    space: Literal["auto", "autoencoder", "conv", "pca", "identity"] | type[FittedSpace] = "auto",
    layer: str | None = None,
    max_epochs: Count | None = None,
    batch_size: Count | None = None,
    lr: Positive | None = None,
    schedule: Literal["onecycle", "constant"] | Callable[[float], float] = "onecycle",
    validation_size: float = 0.0,
    early_stopping: Count | None = None,
    rng: Seed | np.random.Generator | None = 0,
    accelerator: str = "auto",
    precision: Literal["float32", "bfloat16"] = "float32",
    cuda_graph: bool = False,
    key_added: str = _slots.MODEL,
    progress_bar: bool | None = None,
    copy: bool = False,
    **space_params: Any,
) -> AnnData | None:
    """Train the space in which cells are edited, on all cells of ``adata``: source, target and query together.

    Features should be on a scale on which equal differences matter equally: transform cytometry data with
    :func:`neuronedit.pp.arcsinh`, counts with :func:`scanpy.pp.normalize_total` and :func:`scanpy.pp.log1p`.
    Input is centred per feature and divided by one global scale, which is kept with the model. A feature that varies more than
    20 times as much as most, such as time, is named in a warning and has a scale of its own.

    Examples
    --------
    >>> import neuronedit as ne
    >>> adata = ne.datasets.simulate_batches(n_cells=200)
    >>> ne.tl.train(adata, widths=(32, 8), max_epochs=2)
    >>> adata.obsm["X_neurons"].shape
    (800, 8)

    Parameters
    ----------
    adata
        Cells by features: in memory, backed, or with dask arrays. What is not in memory is read in shuffled blocks. Features with
        `False` in ``var["used"]`` are left out here and in all that follows; in layers they stay as they were measured.
    space
        ``"autoencoder"`` (as published by Amodio et al. 2018, arXiv:1805.12198), ``"conv"`` (as published for images), ``"pca"``,
        ``"identity"``, or a class of your own, derived from ``ne.spaces.FittedSpace``. With ``"identity"`` features are edited
        themselves. It takes no time, and the default edit of panels is as good (see the FAQ). ``"pca"`` finds the components of
        very many cells from some that are drawn, such as 33,000 cells of 2,000 genes (see :class:`neuronedit.spaces.PCA`). The
        shape of images is in ``uns["image_shape"]``: rows, columns and any channels, the order in which they are flattened in X.
        ``"auto"``: ``"pca"`` for more than 60 features, which are genes, as the default edit of genes is better there and
        nothing has to be trained; ``"autoencoder"`` for up to 60 features and for images. For one edit of genes, such as
        ``edit="percentile"`` without strata, ``"autoencoder"`` is better.
    layer
        Train on this layer instead of X. It is edited later, too.
    max_epochs
        Passes over all cells; Ctrl-C ends training early and keeps the weights so far. `None`: as many as make 2,500 steps
        (``"conv"``: 1,000), at least two. More lowers the reconstruction error; see :func:`neuronedit.pl.history`. For ``"pca"``
        and ``"identity"``, which are not trained, this and the other settings of training are refused.
    batch_size
        Cells a step. Larger ones need more epochs for the same error. `None`: 100 (``"conv"``: 16).
    lr
        Learning rate of Adam, the highest where the schedule changes it. `None`: 3e-3 with ``"onecycle"`` (``"conv"``: 1e-3),
        else 1e-3, as published.
    schedule
        ``"onecycle"``: rises and anneals, with a several times lower error after the same time; ``"constant"``: as
        published; or a function of the share of training that is done, returning the share of ``lr``.
    validation_size, early_stopping
        Share of the cells kept aside, to record their loss; and after how many epochs without a lower one training stops and
        keeps the best weights.
    rng
        Seed or generator. The same seed gives the same bits on the same machine's CPU.
    %(accelerator)s
    precision
        Of matrix products in training: ``"float32"`` or ``"bfloat16"``, which is faster on GPUs and some CPUs, above all with
        thousands of features. Weights, and all that is done with the trained space, are float32.
    cuda_graph
        On a CUDA device, record a step of training once and replay it, which saves the launch of each operation. It gives the
        same weights but for rounding. It was never run on a GPU; without one it is an error.
    key_added
        Where the model is kept in ``uns``.
    %(progress_bar)s
    %(copy)s
    **space_params
        ``widths=(500, 250, 50)`` of the autoencoder's layers, the last being the neurons; ``widths=(64, 128, 256)``, the
        filters of ``"conv"``; ``n_components=50`` of PCA.

    Returns
    -------
    `None`, or the new AnnData with ``copy=True``. Written are

    ``obsm["X_neurons"]``
        Neurons of every cell, ``(n_obs, n_neurons)`` float32, if cells are in memory and their neurons take at most 128 MiB (of
        images of 64 x 64 pixels: 16,384). With another ``key_added``: ``obsm["X_neurons_<key_added>"]``.
    ``uns["neuronedit"]``
        The trained space: settings, weights, feature names, quantiles and arcsinh cofactor of each feature, its ``id`` (the
        digest of all these), loss history, shape and SHA-256 of the training data (of at most 10,000 cells), versions.

    Raises
    ------
    ValueError, TypeError, KeyError
        Before any work, and with ``adata`` unchanged: no such layer, values that are NaN, infinite, or too large or small for
        squares in float32, duplicated ``var_names``, an unknown space or parameter, a setting of training for a space without. Also unchanged after a training that
        diverged, and where a space of your own returns NaN or another shape.
    """
    # read: whatever can be refused is refused here, and adata is still untouched
    adata = open_adata(adata, copy=copy)
    features = find_used(adata)
    cells = read_cells(adata, layer, features)
    kind, what = find_space_class(space, len(features), is_image=_slots.IMAGE_SHAPE in adata.uns)
    check_parameters(kind.fit, space_params, what)
    if not kind.is_trained:
        how = {"max_epochs": max_epochs, "batch_size": batch_size, "lr": lr, "schedule": schedule}
        how |= {"validation_size": validation_size, "early_stopping": early_stopping}
        _refuse_settings(how | {"precision": precision, "cuda_graph": cuda_graph}, what)
    check_free(adata, key_added, Tool.TRAIN, obsm=[_slots.neurons(key_added)])
    if _slots.IMAGE_SHAPE in adata.uns and _slots.IMAGE_SHAPE in signature(kind.fit).parameters:
        space_params = {_slots.IMAGE_SHAPE: adata.uns[_slots.IMAGE_SHAPE]} | space_params
    asked = {name: value for name, value in (("batch_size", batch_size), ("lr", lr)) if value is not None}
    training = Training(
        **kind.training_defaults | asked,
        max_epochs=max_epochs,
        schedule=lookup(SCHEDULES, schedule, "schedule"),
        validation_size=validation_size,
        early_stopping=early_stopping,
        rng=int(np.random.default_rng(rng).integers(2**63)),
        device=find_device(accelerator),
        progress_bar=is_shown(),
        precision=precision,
        cuda_graph=cuda_graph,
    )
    check_finite(cells, layer, adata.obs_names, features)
    highest = float(cells.sample().max())
    if highest > MAX_USUAL_VALUE:
        text = "The largest value is %.4g: are these raw counts or intensities? Transform them first, for example with"
        logger.warning(text + " ne.pp.arcsinh (cytometry) or scanpy.pp.log1p (counts).", highest)
    if ruling := Scale.measure(layer, None, cells).find_ruling(features):
        how_scaled = (
            "would dominate their scale, so it is scaled by itself"
            if issubclass(kind, ScaledSpace)
            else "dominates all distances"
        )
        text = f"%s varies more than 20 times as much as most features and {how_scaled}. %s"
        logger.warning(
            text, format_choices(ruling), "Time, scatter and DNA are no markers: set var['used'] to False for them."
        )

    # compute
    trained = kind.fit(cells, training, **space_params)
    check_space(trained, cells.sample().to(training.device), repr(name_space_class(kind)))
    neurons = encode_all(trained, cells, training.device)

    # write
    settings: dict[str, Any] = {"max_epochs": training.epochs(adata.n_obs), "batch_size": training.batch_size}
    settings |= {"precision": precision, "lr": training.peak, "schedule": describe_choice(schedule)}
    settings |= {"validation_size": validation_size, "early_stopping": early_stopping}
    settings |= {"rng": training.rng, "device": str(training.device)}
    with writing(adata, copy) as adata:
        write_space(adata, key_added, name_space_class(kind), trained, layer, settings, cells, features)
        adata.obsm.pop(_slots.neurons(key_added), None)  # of a space that this one takes the place of
        if neurons is not None:
            adata.obsm[_slots.neurons(key_added)] = neurons
    give_back()
    return adata if copy else None


def find_space_class(space: Any, n_features: int, *, is_image: bool) -> tuple[Any, str]:
    """Return the class of the space, by its name or by default, and what it is called in errors."""
    if isinstance(space, str) and space == DEFAULT_SPACE:
        kind = choose_space(n_features, is_image=is_image)
        remark = "" if kind.is_trained else f", the default with more than {MAX_MARKERS} features"
        return kind, f"the space {name_space_class(kind)!r}{remark}"
    kind = lookup({DEFAULT_SPACE: None} | SPACES, space, "space")
    if not (isclass(kind) and issubclass(kind, FittedSpace)):
        what = "is no class derived from ne.spaces.FittedSpace"
        raise TypeError(f"space={space!r} {what}; there are {format_choices(SPACES)}.")
    return kind, f"the space {space!r}"


def _refuse_settings(settings: Mapping[str, Any], what: str) -> None:
    """Refuse settings of training that differ from the defaults, for a space that is not trained."""
    defaults = signature(train).parameters
    asked = [f"{name}={value!r}" for name, value in settings.items() if value != defaults[name].default]
    if asked:
        raise ValueError(
            f"{', '.join(asked)} is for spaces that are trained, not for {what}. Choose space='autoencoder', or leave it out."
        )
