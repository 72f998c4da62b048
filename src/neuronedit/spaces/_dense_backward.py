"""The gradients of an autoencoder of dense layers, written out.

At 100 cells a step a quarter of autograd's time is bookkeeping; here every product lands in a buffer that is kept.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from .._networks import SLOPE


def dense_backward(stack: Sequence[nn.Module], batch_size: int) -> Callable[[Tensor], Tensor]:
    """Return the function that leaves the gradients of the mean squared reconstruction error in those of the parameters.

    Parameters
    ----------
    stack
        Linear layers with a LeakyReLU after each but the last.
    batch_size
        The most cells that it will be given.

    Returns
    -------
    ``(n_cells, n_features) -> loss``
    """
    layers = [layer for layer in stack if isinstance(layer, nn.Linear)]
    for layer in layers:
        for parameter in layer.parameters():
            parameter.grad = torch.zeros_like(parameter)
    outputs, gradients = (
        [layer.weight.new_empty(batch_size, layer.out_features, requires_grad=False) for layer in layers]
        for _ in range(2)
    )

    @torch.no_grad()
    def backward(x: Tensor) -> Tensor:
        weights, biases = [layer.weight for layer in layers], [layer.bias for layer in layers]
        inputs, out, grad = [x], [o[: len(x)] for o in outputs], [g[: len(x)] for g in gradients]
        for i, (weight, bias) in enumerate(zip(weights, biases, strict=True)):
            torch.addmm(bias, inputs[i], weight.T, out=out[i])
            if i < len(weights) - 1:
                nn.functional.leaky_relu_(out[i], SLOPE)
            inputs.append(out[i])
        torch.sub(out[-1], x, out=grad[-1])
        loss = grad[-1].square().mean()
        grad[-1].mul_(2 / x.numel())
        for i in reversed(range(len(weights))):
            torch.mm(grad[i].T, inputs[i], out=layers[i].weight.grad)
            torch.sum(grad[i], 0, out=layers[i].bias.grad)
            if i:
                torch.mm(grad[i], weights[i], out=grad[i - 1])
                torch.ops.aten.leaky_relu_backward.grad_input(
                    grad[i - 1], inputs[i], SLOPE, True, grad_input=grad[i - 1]
                )
        return loss

    return backward
