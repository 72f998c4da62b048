"""Bring cells into a space that was trained on others."""

from os import PathLike

from anndata import AnnData

from .. import _slots
from .._adata import (
    check_adata,
    check_finite,
    check_free,
    check_same_features,
    copied,
    features_of,
    modality,
    neurons_of,
    recall,
    rows_of,
)
from .._device import find_device
from ._later import check_cofactor, read_model


def embed(
    adata: AnnData,
    *,
    model: AnnData | str | PathLike[str],
    layer: str | None = None,
    key: str = _slots.MODEL,
    key_added: str = _slots.MODEL,
    accelerator: str = "auto",
    mod: str | None = None,
    copy: bool = False,
) -> AnnData | None:
    """Bring cells into a space that was trained on others: no training, and any edit can be learnt here in that space.

    Parameters
    ----------
    adata
        Cells with the features that the space was trained on, in any order, and on the same scale.
    model
        The AnnData that holds the space, or a file of :func:`neuronedit.io.save_model`.
    layer
        Read this layer. `None`: the one that the space was trained on.
    key
        Where the model is in ``uns`` of ``model``.
    key_added
        Where it is kept in ``uns`` of ``adata``.
    accelerator
        ``"auto"``, ``"cpu"``, ``"cuda"``, ``"mps"``.
    mod
        The modality, if ``adata`` is a MuData.
    copy
        Return a new AnnData and leave this one as it is.

    Returns
    -------
    `None`, or the new AnnData with ``copy=True``. Written are ``obsm["X_neurons"]`` (of cells in memory, up to 1 GiB) and ``uns["neuronedit"]``, as by
    :func:`neuronedit.tl.train`, except that the space keeps the history and the settings of its training.

    Raises
    ------
    ValueError, TypeError, KeyError
        Before any work, and with ``adata`` unchanged: features that are missing, or others; another arcsinh cofactor; NaN; no
        such space.

    Examples
    --------
    >>> import neuronedit as ne
    >>> old, new = (ne.datasets.simulate_batches(n_cells=200, rng=rng) for rng in (0, 1))
    >>> ne.tl.train(old, widths=(32, 8), max_epochs=2)
    >>> ne.tl.embed(new, model=old)
    >>> new.obsm["X_neurons"].shape
    (800, 8)
    """
    adata = modality(adata, mod, copy=copy)
    check_adata(adata)
    trained, name = read_model(model)
    space, trained_on = recall(trained, key)
    layer = trained_on if layer is None else layer
    names = features_of(trained, key)
    check_same_features(adata, names, f"the model ({name})")
    check_cofactor(trained, trained_on, adata, layer)
    rows = rows_of(adata, layer, names)
    check_finite(adata, rows, layer)
    check_free(adata, key_added, layers=[])
    device = find_device(accelerator)

    neurons = neurons_of(space.to(device), rows, device)

    adata = adata.copy() if copy else adata
    adata.uns[key_added] = copied(trained.uns[key])
    if neurons is not None:
        adata.obsm[_slots.neurons(key_added)] = neurons
    return adata if copy else None
