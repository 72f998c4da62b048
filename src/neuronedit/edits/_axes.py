"""The axes along which an edit moves neurons: the neurons themselves, or the principal axes of them."""

import torch

from .._types import Method, within
from ..spaces import PCA


def on_neurons(method: Method, /) -> Method:
    """Edit neuron by neuron, as published.

    Examples
    --------
    >>> import neuronedit as ne
    >>> ne.edits.on_neurons(ne.edits.shift) is ne.edits.shift
    True

    Parameters
    ----------
    method
        An edit.

    Returns
    -------
    The same edit.
    """
    return method


def on_principal_axes(method: Method, /) -> Method:
    """Edit along the principal axes of the source's and target's neurons, which are not correlated as neurons are.

    Examples
    --------
    >>> import torch, neuronedit as ne
    >>> source = torch.randn(500, 3)
    >>> move = ne.edits.on_principal_axes(ne.edits.percentile)(source, source + 1)
    >>> move(torch.zeros(1, 3)).round().tolist()
    [[1.0, 1.0, 1.0]]

    Parameters
    ----------
    method
        An edit.

    Returns
    -------
    The edit that moves neurons along these axes; of an edit that treats all directions alike (`shift`), the same.
    """
    return lambda source, target, /: within(PCA.of(torch.cat([source, target])), method)(source, target)
