"""The axes along which an edit moves neurons: the neurons themselves, or the principal axes of them."""

import torch
from torch import Tensor

from .._types import Map, Method, within
from ..spaces import PCA


def on_neurons(method: Method) -> Method:
    """Edit neuron by neuron, as published."""
    return method


def on_principal_axes(method: Method) -> Method:
    """Edit along the principal axes of the source's and target's neurons.

    Neurons are correlated; their principal axes are not, so a shift along one drags the others less. An edit that treats
    all directions alike (`shift`) is unchanged.
    """

    def learn(source: Tensor, target: Tensor, /) -> Map:
        axes = PCA.of(torch.cat([source, target]))
        return within(axes, method, residual=True)(source, target)

    return learn
