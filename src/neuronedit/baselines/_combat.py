"""ComBat: location and scale of each batch, shrunk towards what they have in common over features."""

from dataclasses import dataclass

import torch
from torch import Tensor

from .._types import Map, TwoCellTensor


@dataclass(frozen=True)
class ComBatFit:
    """What ComBat estimates."""

    pooled_mean: Tensor  # (n_features,)
    pooled_sd: Tensor
    location: Tensor  # of each batch, (n_batches, n_features)
    scale: Tensor  # variances

    def remove(self, x: Tensor, batch: int) -> Tensor:
        """Remove a batch's location and scale, as ComBat does."""
        z = (x - self.pooled_mean) / self.pooled_sd
        return (z - self.location[batch]) / self.scale[batch].sqrt() * self.pooled_sd + self.pooled_mean

    def add(self, x: Tensor, batch: int) -> Tensor:
        """Give cells a batch's location and scale."""
        z = (x - self.pooled_mean) / self.pooled_sd
        return (z * self.scale[batch].sqrt() + self.location[batch]) * self.pooled_sd + self.pooled_mean


def combat(source: TwoCellTensor, target: TwoCellTensor, /) -> Map:
    """Replace the source's location and scale by the target's, both estimated by empirical Bayes.

    It is fitted to source and target alone and then applied to new cells. Usually ComBat pools all cells of a batch, which
    mistakes true differences between populations for batch effects.

    Examples
    --------
    >>> import torch, neuronedit as ne
    >>> source = torch.randn(500, 5)
    >>> ne.baselines.combat(source, source + 3)(torch.zeros(1, 5)).round().tolist()
    [[3.0, 3.0, 3.0, 3.0, 3.0]]

    Parameters
    ----------
    source, target
        ``(n_cells, n_features)``, at least two cells each.

    Returns
    -------
    A map that shifts and stretches every feature. A feature that is constant in both is left alone.

    References
    ----------
    Johnson et al. 2007, Adjusting batch effects in microarray expression data using empirical Bayes methods,
    Biostatistics 8:118-127, doi:10.1093/biostatistics/kxj037.
    """
    fitted = fit_combat([source.cpu().double(), target.cpu().double()])
    return lambda x: fitted.add(fitted.remove(x.cpu().double(), 0), 1).to(x)


def fit_combat(batches: list[Tensor]) -> ComBatFit:
    """Estimate ComBat's parametric model without covariates."""
    n = torch.tensor([len(batch) for batch in batches], dtype=torch.float64)
    means = torch.stack([batch.mean(0) for batch in batches])
    pooled_mean = (n / n.sum()) @ means
    residual = sum((batch - mean).square().sum(0) for batch, mean in zip(batches, means, strict=True))
    pooled_sd = torch.as_tensor(residual / n.sum()).sqrt()
    pooled_sd = torch.where(pooled_sd > 0, pooled_sd, 1.0)
    shrunk = [_shrink((batch - pooled_mean) / pooled_sd) for batch in batches]
    location, scale = (torch.stack(values) for values in zip(*shrunk, strict=True))  # each (n_batches, n_features)
    return ComBatFit(pooled_mean, pooled_sd, location, scale)


def _shrink(z: Tensor, tolerance: float = 1e-4, max_iter: int = 1000) -> tuple[Tensor, Tensor]:
    """Return the posterior location and variance of one batch's features, with priors estimated over the features."""
    n = len(z)
    location, variance = z.mean(0), z.var(0)
    prior_location, prior_spread = location.mean(), location.var(correction=0)
    mean, spread = variance.mean(), variance.var()
    if not (spread > 0 and prior_spread > 0):  # one feature, or all alike: nothing to shrink towards
        return location, torch.where(variance > 0, variance, 1.0)
    shape = (2 * spread + mean**2) / spread
    rate = (mean * spread + mean**3) / spread
    g, d = location, variance
    for _ in range(max_iter):
        g_next = (prior_spread * n * location + d * prior_location) / (prior_spread * n + d)
        d_next = (rate + 0.5 * (z - g_next).square().sum(0)) / (n / 2 + shape - 1)
        change_of_location = ((g_next - g).abs() / g.abs()).max().item()
        change_of_variance = ((d_next - d).abs() / d).max().item()
        g, d = g_next, d_next
        if max(change_of_location, change_of_variance) <= tolerance:
            break
    return g, d
