"""ComBat: location and scale of each batch, shrunk towards what they have in common over features."""

from dataclasses import dataclass

import torch
from torch import Tensor

from .._types import Map


@dataclass(frozen=True)
class Fit:
    """What ComBat estimates: the pooled mean and standard deviation, and each batch's location and scale.

    ``pooled_mean``, ``pooled_sd``: ``(n_features,)``; ``location``, ``scale`` (variances): ``(n_batches, n_features)``.
    """

    pooled_mean: Tensor
    pooled_sd: Tensor
    location: Tensor
    scale: Tensor

    def remove(self, x: Tensor, batch: int) -> Tensor:
        """Take a batch's location and scale away, as ComBat does."""
        z = (x - self.pooled_mean) / self.pooled_sd
        return (z - self.location[batch]) / self.scale[batch].sqrt() * self.pooled_sd + self.pooled_mean

    def add(self, x: Tensor, batch: int) -> Tensor:
        """Give cells a batch's location and scale."""
        z = (x - self.pooled_mean) / self.pooled_sd
        return (z * self.scale[batch].sqrt() + self.location[batch]) * self.pooled_sd + self.pooled_mean


def combat(source: Tensor, target: Tensor, /) -> Map:
    """Take the source batch's location and scale away and put the target's in their place, both by empirical Bayes.

    Fitted on the pair alone and then applied to new cells. ComBat as it is usually run pools all cells of a batch, and so
    takes true differences between the populations for batch effects.

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

    Examples
    --------
    >>> import torch, neuronedit as ne
    >>> source = torch.randn(500, 5)
    >>> ne.baselines.combat(source, source + 3)(torch.zeros(1, 5)).round().tolist()
    [[3.0, 3.0, 3.0, 3.0, 3.0]]
    """
    fitted = fit([source.cpu().double(), target.cpu().double()])
    return lambda x: fitted.add(fitted.remove(x.cpu().double(), 0), 1).to(x)


def fit(batches: list[Tensor]) -> Fit:
    """Estimate ComBat's parametric model without covariates."""
    n = torch.tensor([len(batch) for batch in batches], dtype=torch.float64)
    means = torch.stack([batch.mean(0) for batch in batches])
    pooled_mean = (n / n.sum()) @ means
    residual = sum((batch - mean).square().sum(0) for batch, mean in zip(batches, means, strict=True))
    pooled_sd = torch.as_tensor(residual / n.sum()).sqrt()
    pooled_sd = torch.where(pooled_sd > 0, pooled_sd, 1.0)
    standard = [(batch - pooled_mean) / pooled_sd for batch in batches]
    shrunk = [_shrink(z) for z in standard]
    return Fit(pooled_mean, pooled_sd, torch.stack([g for g, _ in shrunk]), torch.stack([d for _, d in shrunk]))


def _shrink(z: Tensor, tolerance: float = 1e-4, max_iter: int = 1000) -> tuple[Tensor, Tensor]:
    """Posterior location and variance of one batch's features, with priors estimated over the features."""
    n = len(z)
    location, variance = z.mean(0), z.var(0)
    prior_location, prior_spread = location.mean(), location.var(correction=0)
    mean, spread = variance.mean(), variance.var()
    if not (spread > 0 and prior_spread > 0):  # one feature, or all alike: nothing to shrink towards
        return location, torch.where(variance > 0, variance, 1.0)
    shape, rate = (2 * spread + mean**2) / spread, (mean * spread + mean**3) / spread
    g, d = location, variance
    for _ in range(max_iter):
        g_next = (prior_spread * n * location + d * prior_location) / (prior_spread * n + d)
        d_next = (rate + 0.5 * (z - g_next).square().sum(0)) / (n / 2 + shape - 1)
        change = max(((g_next - g).abs() / g.abs()).max().item(), ((d_next - d).abs() / d).max().item())
        g, d = g_next, d_next
        if change <= tolerance:
            break
    return g, d
