"""Train the space in which cells are edited."""

import logging
from inspect import signature
from typing import Any

import numpy as np
from anndata import AnnData

from .. import _slots
from .._adata import check_finite, modality, neurons_of, remember, rows_of
from .._check import check_parameters, lookup
from .._device import find_device
from ..spaces import SCHEDULES, SPACES, FittedSpace, Training
from ._progress import shown

logger = logging.getLogger(__name__)


def train(
    adata: AnnData,
    *,
    space: str | type[FittedSpace] = "autoencoder",
    layer: str | None = None,
    max_epochs: int | None = None,
    batch_size: int | None = None,
    lr: float | None = None,
    schedule: Any = "onecycle",
    validation_size: float = 0.0,
    early_stopping: int | None = None,
    rng: int | np.random.Generator | None = 0,
    accelerator: str = "auto",
    precision: str = "float32",
    key_added: str = _slots.MODEL,
    progress_bar: bool | None = None,
    mod: str | None = None,
    copy: bool = False,
    **space_params: Any,
) -> AnnData | None:
    """Train the space in which cells are edited, on all cells of ``adata``: source, target and query together.

    Features should be on a scale on which equal differences matter equally: transform cytometry data with
    :func:`neuronedit.pp.arcsinh`, counts with :func:`scanpy.pp.normalize_total` and :func:`scanpy.pp.log1p`.
    Input is centred per feature and divided by one global scale, which is kept with the model.

    Parameters
    ----------
    adata
        Cells by features: in memory, backed, or with dask arrays. What is not in memory is read in shuffled blocks, and
        its neurons are not kept: they may be more than fit.
    space
        ``"autoencoder"`` (as published), ``"conv"`` (as published for images, whose shape is in ``uns["image_shape"]``: rows
        and columns, or rows, columns and channels, the order in which they are flattened in X), ``"pca"``, ``"identity"``
        (edit the features themselves), or a class like those in ``ne.spaces``.
    layer
        Train on this layer instead of X. It is edited later, too.
    max_epochs
        Passes over all cells. `None`: as many as make 5,000 steps (``"conv"``: 1,000), and at least two. More lowers the
        reconstruction error; see :func:`neuronedit.pl.history`.
    batch_size
        Cells a step. Larger ones need more epochs for the same error. `None`: 100 (``"conv"``: 16).
    lr
        Learning rate of Adam, the highest where the schedule changes it. `None`: 3e-3 with ``"onecycle"`` (``"conv"``: 1e-3),
        else 1e-3, as published.
    schedule
        ``"onecycle"``: rises and anneals, with a several times lower error after the same time; ``"constant"``: as
        published; or a function of the share of training that is done, returning the share of ``lr``.
    validation_size
        Share of the cells kept aside, to record their loss.
    early_stopping
        Stop after so many epochs without a lower validation loss and keep the best weights. It needs ``validation_size``.
    rng
        Seed or generator. The same seed gives the same bits on the same machine's CPU.
    accelerator
        ``"auto"``, ``"cpu"``, ``"cuda"``, ``"mps"``.
    precision
        Of the matrix products of the training: ``"float32"`` or ``"bfloat16"``, which is faster on GPUs and on some CPUs, above
        all with thousands of features. Weights stay float32, and so is everything that is done with the trained space.
    key_added
        Where the model is kept in ``uns``.
    progress_bar
        `None`: in terminals and notebooks.
    mod
        The modality to train on, if ``adata`` is a MuData.
    copy
        Return a new AnnData and leave this one as it is.
    **space_params
        ``widths=(500, 250, 50)`` of the autoencoder's layers, the last being the neurons; ``widths=(64, 128, 256)``, the
        filters of ``"conv"``; ``n_components=50`` of PCA.

    Returns
    -------
    `None`, or the new AnnData with ``copy=True``. Written are

    ``obsm["X_neurons"]``
        Neurons of every cell, ``(n_obs, n_neurons)`` float32, if cells are in memory and their neurons take at most 1 GiB (of
        images of 64 x 64 pixels: 16,384). With another ``key_added``: ``obsm["X_neurons_<key_added>"]``.
    ``uns["neuronedit"]``
        The model: space, settings, weights, feature names, loss history, shape and SHA-256 of the training data (of at most
        10,000 cells, evenly spaced), versions. It is saved by ``write_h5ad`` and ``write_zarr``, weights of any size as plain
        arrays: as published, those of ``"conv"`` take 5 MB, whatever the size of the images.

    Raises
    ------
    ValueError, TypeError, KeyError
        Before any work, and with ``adata`` unchanged, when the data cannot be used: no such layer, NaN or infinite
        values, duplicated ``var_names``, an unknown space or parameter.

    Notes
    -----
    Ctrl-C ends training early and keeps the weights so far.

    References
    ----------
    Amodio et al. 2018, Out-of-sample extrapolation with neuron editing, arXiv:1805.12198.

    Examples
    --------
    >>> import neuronedit as ne
    >>> adata = ne.datasets.simulate_batches(n_cells=200)
    >>> ne.tl.train(adata, widths=(32, 8), max_epochs=2)
    >>> adata.obsm["X_neurons"].shape
    (800, 8)
    """
    adata = modality(adata, mod, copy=copy)
    rows = rows_of(adata, layer)
    fitted = lookup(SPACES, space, "space")
    check_parameters(fitted.fit, space_params, f"the space {space!r}")
    if _slots.IMAGE_SHAPE in adata.uns and _slots.IMAGE_SHAPE in signature(fitted.fit).parameters:
        space_params = {_slots.IMAGE_SHAPE: adata.uns[_slots.IMAGE_SHAPE]} | space_params
    given: dict[str, Any] = {"batch_size": batch_size, "lr": lr}
    given = {name: value for name, value in given.items() if value is not None} | {
        "max_epochs": max_epochs,
        "schedule": lookup(SCHEDULES, schedule, "schedule"),
        "validation_size": validation_size,
        "early_stopping": early_stopping,
        "seed": int(np.random.default_rng(rng).integers(2**63)),
        "device": find_device(accelerator),
        "progress_bar": shown(progress_bar),
        "precision": precision,
    }
    training = Training(**getattr(fitted, "usual", {}) | given)
    check_finite(adata, rows, layer)
    _warn_of_raw_values(rows)

    trained = fitted.fit(rows, training, **space_params)
    neurons = neurons_of(trained, rows, training.device)

    adata = adata.copy() if copy else adata
    name = next((name for name, row in SPACES.items() if row is fitted), fitted.__name__)
    SPACES[name] = fitted  # a class of the caller's own is found again by tl.edit
    settings = {
        "max_epochs": training.epochs(adata.n_obs),
        "batch_size": training.batch_size,
        "precision": precision,
        "lr": training.peak,
        "schedule": schedule if isinstance(schedule, str) else getattr(schedule, "__name__", repr(schedule)),
        "validation_size": validation_size,
        "early_stopping": early_stopping,
        "seed": training.seed,
        "device": str(training.device),
    }
    remember(adata, key_added, name, trained, layer, settings, rows)
    if neurons is not None:
        adata.obsm[_slots.neurons(key_added)] = neurons
    return adata if copy else None


def _warn_of_raw_values(rows: Any, limit: float = 100.0) -> None:
    """Warn of values that no usual transformation gives."""
    highest = float(rows.matrix.max() if rows.in_memory else rows[: rows.span].max())
    if highest > limit:
        logger.warning(
            "The largest value is %.4g: are these raw counts or intensities? Transform them first, for example with"
            " ne.pp.arcsinh (cytometry) or scanpy.pp.log1p (counts).",
            highest,
        )
