"""The axes along which an edit moves neurons: the neurons themselves, or the principal axes of them."""

import torch
from torch import Tensor

from .._docs import shared_docs
from .._types import Map, Method, within
from ..spaces import PCA


@shared_docs
def on_neurons(method: Method, /) -> Method:
    """Edit neuron by neuron, as published.

    Examples
    --------
    >>> import neuronedit as ne
    >>> ne.edits.on_neurons(ne.edits.shift) is ne.edits.shift
    True

    Parameters
    ----------
    %(method)s

    Returns
    -------
    The same edit.
    """
    return method


@shared_docs
def on_principal_axes(method: Method, /) -> Method:
    """Edit along the principal axes of the source's and target's neurons, which are not correlated as neurons are.

    An edit that treats all directions alike (`shift`) is unchanged.

    Examples
    --------
    >>> import torch, neuronedit as ne
    >>> source = torch.randn(500, 3)
    >>> move = ne.edits.on_principal_axes(ne.edits.percentile)(source, source + 1)
    >>> move(torch.zeros(1, 3)).round().tolist()
    [[1.0, 1.0, 1.0]]

    Parameters
    ----------
    %(method)s

    Returns
    -------
    The edit that rotates neurons onto those axes, moves them there, and adds the change to the neurons.
    """

    def fit(source: Tensor, target: Tensor, /) -> Map:
        axes = PCA.of(torch.cat([source, target]))
        return within(axes, method)(source, target)

    return fit
