"""Layer stacks that spaces and baselines share."""

import math
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import Generator, Tensor, nn
from torch.nn.functional import pad

from ._blocks import ROWS_PER_PRODUCT, pad_rows
from ._memory import scratch

SLOPE = 0.2  # leak of LeakyReLU, as published
FILTERS = (64, 128, 256)  # of the encoder's convolutions, as published; the decoder mirrors them


def dense(widths: Sequence[int], *, rng: Generator, linear_output: bool = False) -> nn.Sequential:
    """Stack dense layers with LeakyReLU after each; with ``linear_output`` the last one stays linear.

    Weights and biases are uniform within ``1 / sqrt(fan_in)``, drawn from ``rng`` and from nothing global.
    """
    layers = (_empty_layer(nn.Linear, fan_in, fan_out) for fan_in, fan_out in pairwise(widths))
    return _stack_layers(layers, widths, rng, linear_output)


def apply_dense(stack: nn.Sequential, x: Tensor, *, n_rows: int = 1024) -> Tensor:
    """Apply a `dense` stack to many cells: on the CPU and without gradients, ``n_rows`` at a time in buffers that fit the cache."""
    if torch.is_grad_enabled() or x.device.type != "cpu":
        return stack(x)
    layers = [layer for layer in stack if isinstance(layer, nn.Linear)]
    out = x.new_empty(len(x), layers[-1].out_features)
    n_rows = min(n_rows, len(x) + -len(x) % ROWS_PER_PRODUCT)
    buffers = [scratch(f"layer {i}", x, n_rows, layer.out_features) for i, layer in enumerate(layers[:-1])]
    for rows, result in zip(x.split(n_rows), out.split(n_rows), strict=True):
        block = pad_rows(rows)
        last = result if len(block) == len(rows) else x.new_empty(len(block), out.shape[1])
        outputs = iter([*(buffer[: len(block)] for buffer in buffers), last])
        for layer in stack:
            if isinstance(layer, nn.Linear):
                block = torch.addmm(layer.bias, block, layer.weight.T, out=next(outputs))
            else:
                block = layer(block)  # in place
        if last is not result:
            result.copy_(last[: len(rows)])
    return out


def conv(filters: Sequence[int], *, rng: Generator, up: bool = False, linear_output: bool = False) -> nn.Sequential:
    """Stack convolutions as in `dense`, of size four and stride two: each halves rows and columns, or with ``up`` doubles them."""
    kind, n_pixels = (nn.ConvTranspose2d, 4) if up else (nn.Conv2d, 16)  # of the input that reach a pixel of the output
    layers = (_empty_layer(kind, n_in, n_out, 4, stride=2, padding=1) for n_in, n_out in pairwise(filters))
    return _stack_layers(layers, [n * n_pixels for n in filters], rng, linear_output)


def _empty_layer(kind: type[nn.Module], *args: Any, **kwargs: Any) -> nn.Module:
    """Return a layer whose weights are not set; it takes no memory inside ``torch.device("meta")``."""
    layer = kind(*args, **kwargs, device="meta")
    if torch.get_default_device().type != "meta":  # `nn.utils.skip_init` does it, too, and imports a computer algebra
        for name, parameter in list(layer.named_parameters()):
            setattr(layer, name, nn.Parameter(torch.empty(parameter.shape)))
    return layer


def _stack_layers(
    layers: Iterable[nn.Module], fans_in: Sequence[int], rng: Generator, linear_output: bool
) -> nn.Sequential:
    """Initialize the weights of layers, and put a LeakyReLU after each."""
    stack: list[nn.Module] = []
    for layer, fan_in in zip(layers, fans_in, strict=False):
        for parameter in layer.parameters():
            nn.init.uniform_(parameter, -(fan_in**-0.5), fan_in**-0.5, generator=rng)
        stack += [layer, nn.LeakyReLU(SLOPE, inplace=True)]
    return nn.Sequential(*(stack[:-1] if linear_output else stack))


class Images(nn.Module):
    """Turn rows of features into images, ``(n, channels, rows, columns)``, whose sides ``multiple`` divides.

    Features are in the order of ``numpy.ravel`` of an image ``(rows, columns, channels)``. Its last row and column are repeated.
    """

    def __init__(self, shape: Sequence[int], multiple: int) -> None:
        super().__init__()
        self.shape, self.multiple = shape, multiple

    def forward(self, x: Tensor) -> Tensor:
        n_rows, n_columns, _ = self.shape
        images = x.unflatten(1, self.shape).permute(0, 3, 1, 2)
        return pad(images, (0, -n_columns % self.multiple, 0, -n_rows % self.multiple), mode="replicate")


class ToRows(nn.Module):
    """Turn images back into rows of features, and cut off what `Images` padded."""

    def __init__(self, shape: Sequence[int]) -> None:
        super().__init__()
        self.shape = shape

    def forward(self, images: Tensor) -> Tensor:
        n_rows, n_columns, _ = self.shape
        return images[:, :, :n_rows, :n_columns].permute(0, 2, 3, 1).flatten(1)


def image_coder(shape: Sequence[int], filters: Sequence[int], *, rng: Generator) -> tuple[nn.Sequential, nn.Sequential]:
    """Return encoder and decoder of images, which are rows of features: convolutions, the last of which is linear."""
    n_rows, n_columns, n_channels = shape
    multiple = 2 ** len(filters)
    encoded_shape = (filters[-1], -(-n_rows // multiple), -(-n_columns // multiple))
    down = conv([n_channels, *filters], rng=rng)
    up = conv([*reversed(filters), n_channels], rng=rng, up=True, linear_output=True)
    encoder = nn.Sequential(Images(shape, multiple), *down, nn.Flatten())
    return encoder, nn.Sequential(nn.Unflatten(1, encoded_shape), *up, ToRows(shape))


def check_trained(module: nn.Module, lr: float) -> None:
    """Refuse weights that are not finite."""
    if not all(tensor.isfinite().all() for tensor in module.state_dict().values()):
        raise ValueError(f"training diverged: weights are NaN or infinite; {describe_divergence(lr)}")


def describe_divergence(lr: float) -> str:
    """Say what to do where training does not converge."""
    return f"give a lower lr than {lr:g}, or look for cells and features with extreme values."


def check_widths(widths: Sequence[int]) -> None:
    """Refuse a network without layers."""
    if not len(widths) or min(widths) < 1:
        raise ValueError(f"widths must hold at least one positive number; they are {tuple(widths)}.")


def check_image_shape(shape: Any, n_features: int) -> list[int]:
    """Return rows, columns and channels of images, whose product must be the number of features."""
    sides = [int(side) for side in ([] if shape is None else shape)]
    if len(sides) not in (2, 3) or min(sides) < 1:
        given = "missing" if shape is None else tuple(sides)
        raise ValueError(f"image_shape is {given}; it must be (rows, columns) or (rows, columns, channels), as in uns.")
    if math.prod(sides) != n_features:
        n_values = math.prod(sides)
        raise ValueError(f"image_shape {tuple(sides)} has {n_values} values; the images have {n_features} features.")
    return [*sides, 1][:3]
