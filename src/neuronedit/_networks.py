"""Layer stacks that spaces and baselines share."""

import math
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import Generator, Tensor, nn
from torch.nn.functional import pad

SLOPE = 0.2
"""Leak of LeakyReLU, as published."""

FILTERS = (64, 128, 256)
"""Of the convolutional layers down to the internal one, as published; those up again mirror them."""


def dense(widths: Sequence[int], *, generator: Generator, last: bool = False) -> nn.Sequential:
    """Stack dense layers with LeakyReLU after each; ``last`` leaves the output of the last one linear.

    Weights and biases are uniform within ``1 / sqrt(fan_in)``, drawn from ``generator`` and from nothing global.
    """
    layers = (nn.utils.skip_init(nn.Linear, fan_in, fan_out) for fan_in, fan_out in pairwise(widths))
    return _stacked(layers, widths, generator, last)


def through(stack: nn.Sequential, x: Tensor, *, n_rows: int = 1024) -> Tensor:
    """Return what a `dense` stack makes of many cells.

    Where no gradients are wanted, a processor does so many at a time, in buffers that are kept and that its cache holds.
    """
    if torch.is_grad_enabled() or x.device.type != "cpu":
        return stack(x)
    layers = [layer for layer in stack if isinstance(layer, nn.Linear)]
    out = x.new_empty(len(x), layers[-1].out_features)
    buffers = [x.new_empty(min(n_rows, len(x)), layer.out_features) for layer in layers[:-1]]
    for part, to in zip(x.split(n_rows), out.split(n_rows), strict=True):
        room = iter([*(buffer[: len(part)] for buffer in buffers), to])
        for layer in stack:
            if isinstance(layer, nn.Linear):
                part = torch.addmm(layer.bias, part, layer.weight.T, out=next(room))
            else:
                part = layer(part)  # in place
    return out


def conv(filters: Sequence[int], *, generator: Generator, up: bool = False, last: bool = False) -> nn.Sequential:
    """Stack convolutions of size four and stride two: each halves rows and columns, with ``up`` each doubles them.

    LeakyReLU, ``last`` and the weights are as in `dense`.
    """
    kind, reach = (nn.ConvTranspose2d, 4) if up else (nn.Conv2d, 16)  # pixels of the input that a pixel is made of
    layers = (nn.utils.skip_init(kind, n_in, n_out, 4, stride=2, padding=1) for n_in, n_out in pairwise(filters))
    return _stacked(layers, [n * reach for n in filters], generator, last)


def _stacked(layers: Iterable[nn.Module], fans_in: Sequence[int], generator: Generator, last: bool) -> nn.Sequential:
    """Draw the weights of layers, and put LeakyReLU between them."""
    stack: list[nn.Module] = []
    for layer, fan_in in zip(layers, fans_in, strict=False):
        for parameter in layer.parameters():
            nn.init.uniform_(parameter, -(fan_in**-0.5), fan_in**-0.5, generator=generator)
        stack += [layer, nn.LeakyReLU(SLOPE, inplace=True)]
    return nn.Sequential(*(stack[:-1] if last else stack))


class Images(nn.Module):
    """Turn rows of features into images, ``(n, channels, rows, columns)``, whose sides ``multiple`` divides.

    A feature's place is that of ``numpy.ravel`` of an image ``(rows, columns, channels)``. What is missing to the multiple
    repeats the last row and the last column.
    """

    def __init__(self, shape: Sequence[int], multiple: int) -> None:
        super().__init__()
        self.shape, self.multiple = shape, multiple

    def forward(self, x: Tensor) -> Tensor:
        """Return images."""
        n_rows, n_columns, _ = self.shape
        images = x.unflatten(1, self.shape).permute(0, 3, 1, 2)
        return pad(images, (0, -n_columns % self.multiple, 0, -n_rows % self.multiple), mode="replicate")


class ToRows(nn.Module):
    """Turn images into rows of features again, without what `Images` added to them."""

    def __init__(self, shape: Sequence[int]) -> None:
        super().__init__()
        self.shape = shape

    def forward(self, images: Tensor) -> Tensor:
        """Return rows of features."""
        n_rows, n_columns, _ = self.shape
        return images[:, :, :n_rows, :n_columns].permute(0, 2, 3, 1).flatten(1)


def image_coder(
    shape: Sequence[int], filters: Sequence[int], *, generator: Generator
) -> tuple[nn.Sequential, nn.Sequential]:
    """Return stacks of convolutions from images, as rows of features, to their neurons, and back; the last layer is linear."""
    n_rows, n_columns, n_channels = shape
    multiple = 2 ** len(filters)
    inside = (filters[-1], -(-n_rows // multiple), -(-n_columns // multiple))
    down = conv([n_channels, *filters], generator=generator)
    up = conv([*reversed(filters), n_channels], generator=generator, up=True, last=True)
    encoder = nn.Sequential(Images(shape, multiple), *down, nn.Flatten())
    return encoder, nn.Sequential(nn.Unflatten(1, inside), *up, ToRows(shape))


def check_image_shape(shape: Any, n_features: int) -> list[int]:
    """Return rows, columns and channels of images, if they are those of so many features."""
    sides = [int(side) for side in ([] if shape is None else shape)]
    if len(sides) not in (2, 3) or min(sides) < 1:
        given = "missing" if shape is None else tuple(sides)
        raise ValueError(
            f"image_shape is {given}; it must be (rows, columns) or (rows, columns, channels), as in uns['image_shape']."
        )
    if math.prod(sides) != n_features:
        raise ValueError(
            f"image_shape {tuple(sides)} has {math.prod(sides)} values; the images have {n_features} features."
        )
    return [*sides, 1][:3]
