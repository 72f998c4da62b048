"""The axes along which an edit moves neurons: the neurons themselves, or the principal axes of them."""

import torch
from torch import Tensor

from .._types import Map, Method, within
from ..spaces import PCA


def on_neurons(method: Method, /) -> Method:
    """Edit neuron by neuron, as published.

    Parameters
    ----------
    method
        An edit.

    Returns
    -------
    The same edit.

    Examples
    --------
    >>> import neuronedit as ne
    >>> ne.edits.on_neurons(ne.edits.shift) is ne.edits.shift
    True
    """
    return method


def on_principal_axes(method: Method, /) -> Method:
    """Edit along the principal axes of the source's and target's neurons.

    Neurons are correlated; their principal axes are not, so a shift along one drags the others less. An edit that treats
    all directions alike (`shift`) is unchanged.

    Parameters
    ----------
    method
        An edit.

    Returns
    -------
    The edit that rotates neurons onto those axes, moves them there, and adds the change to the neurons.

    Examples
    --------
    >>> import torch, neuronedit as ne
    >>> along = ne.edits.on_principal_axes(ne.edits.percentile)
    >>> source = torch.randn(500, 3)
    >>> along(source, source + 1)(torch.zeros(1, 3)).round().tolist()
    [[1.0, 1.0, 1.0]]
    """

    def learn(source: Tensor, target: Tensor, /) -> Map:
        axes = PCA.of(torch.cat([source, target]))
        return within(axes, method, residual=True)(source, target)

    return learn
