"""The gradients of an autoencoder of dense layers, written out.

At 100 cells a step a quarter of autograd's time is bookkeeping; here every product lands in a buffer that is kept.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from .._networks import SLOPE


def dense_backward(stack: Sequence[nn.Module], batch_size: int) -> Callable[[Tensor], Tensor]:
    """Return the function that computes the mean squared reconstruction error, and its gradients into ``parameter.grad``.

    ``stack`` is linear layers with a LeakyReLU after each but the last; ``batch_size`` is how many cells there are at most.
    """
    leaky_relu_backward = torch.ops.aten.leaky_relu_backward.grad_input
    layers = [layer for layer in stack if isinstance(layer, nn.Linear)]
    for parameter in nn.ModuleList(layers).parameters():
        parameter.grad = torch.zeros_like(parameter)
    sizes = [(batch_size, layer.out_features) for layer in layers]
    outputs = [torch.empty(size, dtype=layers[0].weight.dtype, device=layers[0].weight.device) for size in sizes]
    gradients = [torch.empty_like(output) for output in outputs]

    @torch.no_grad()
    def backward(x: Tensor) -> Tensor:
        out, grad = [output[: len(x)] for output in outputs], [gradient[: len(x)] for gradient in gradients]
        inputs = [x, *out[:-1]]
        # forwards
        for i, layer in enumerate(layers):
            torch.addmm(layer.bias, inputs[i], layer.weight.T, out=out[i])
            if i < len(layers) - 1:
                nn.functional.leaky_relu_(out[i], SLOPE)
        torch.sub(out[-1], x, out=grad[-1])
        loss = grad[-1].square().mean()
        grad[-1].mul_(2 / x.numel())
        # backwards
        for i in reversed(range(len(layers))):
            torch.mm(grad[i].T, inputs[i], out=layers[i].weight.grad)
            torch.sum(grad[i], 0, out=layers[i].bias.grad)
            if i:
                torch.mm(grad[i], layers[i].weight, out=grad[i - 1])
                leaky_relu_backward(grad[i - 1], inputs[i], SLOPE, True, grad_input=grad[i - 1])
        return loss

    return backward
