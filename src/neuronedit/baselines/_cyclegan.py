"""Two generators that must undo each other, against two discriminators."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import l1_loss

from ._adversarial import TrainedMap, alternate, judge, maker, scaled, taken_for, told_apart


def cyclegan(
    source: Tensor,
    target: Tensor,
    /,
    *,
    image_shape: Sequence[int] | None = None,
    n_steps: int = 10_000,
    batch_size: int = 100,
    lr: float = 1e-3,
    cycle: float = 10.0,
    seed: int = 0,
) -> TrainedMap:
    """Train a generator in each direction, a discriminator at each end, and a penalty where they do not undo each other.

    Parameters
    ----------
    source, target
        ``(n_cells, n_features)``
    image_shape
        ``(rows, columns)`` or ``(rows, columns, channels)`` of images, one a row: networks are convolutional, generators as
        `spaces.Conv` and discriminators as its encoder. `None`: dense layers.
    n_steps
        Steps of the discriminators, and as many of the generators.
    batch_size, lr
        Cells a step, and learning rate of Adam, which falls to zero over the second half.
    cycle
        Weight of the cycle loss, the mean absolute difference after there and back. More keeps more of a cell.
    seed
        Of weights and order.

    Returns
    -------
    The generator from source to target; ``history`` has both losses.

    References
    ----------
    Zhu et al. 2017, Unpaired image-to-image translation using cycle-consistent adversarial networks, ICCV,
    arXiv:1703.10593.

    Examples
    --------
    >>> import torch, neuronedit as ne
    >>> source = torch.randn(200, 3)
    >>> ne.baselines.cyclegan(source, source + 1, n_steps=3)(source).shape
    torch.Size([200, 3])
    """
    generator = torch.Generator().manual_seed(seed)
    s, t, center, scale = scaled(source, target)
    d = s.shape[1]
    there, back = (maker(d, image_shape, generator).to(s.device) for _ in range(2))
    of_source, of_target = (judge(d, image_shape, generator).to(s.device) for _ in range(2))

    def judge_loss(s: Tensor, t: Tensor) -> Tensor:
        with torch.no_grad():
            made_t, made_s = there(s), back(t)
        return told_apart(of_target, t, made_t) + told_apart(of_source, s, made_s)

    def maker_loss(s: Tensor, t: Tensor) -> Tensor:
        made_t, made_s = there(s), back(t)
        cycles = l1_loss(back(made_t), s) + l1_loss(there(made_s), t)
        return taken_for(of_target(made_t), True) + taken_for(of_source(made_s), True) + cycle * cycles

    makers, judges = nn.ModuleList([there, back]), nn.ModuleList([of_source, of_target])
    history = alternate(
        makers, judges, maker_loss, judge_loss, s, t, n_steps=n_steps, batch_size=batch_size, lr=lr, generator=generator
    )
    return TrainedMap(there, center, scale, history)
