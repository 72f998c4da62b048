"""CytoVI: a variational autoencoder of cytometry that is given the batch, from scvi-tools."""

import torch
from torch import Tensor

from .._check import Count, Seed
from .._types import CellTensor, Map
from ._peer import isolated, seeded_scvi

KL_WARM_UP_SHARE = (
    0.4  # of the steps, while the weight of the Kullback-Leibler term rises: CytoVI's 400 of 1,000 epochs
)


def cytovi(
    source: CellTensor, target: CellTensor, /, *, cells: CellTensor | None = None, n_steps: Count = 10_000, batch_size: Count = 128,
    rng: Seed = 0,
) -> Map:  # fmt: skip
    """Train CytoVI on two batches, without labels, and decode a cell as if it had been measured in the target's.

    The target is one batch; the other is every row of ``cells`` that is not a row of the target. The batch is given to the
    decoder alone, which therefore has to model what differs between batches. A cell is decoded from the mean of its
    posterior, so the result is always the same (CytoVI's own ``get_normalized_expression`` samples). It is a denoised cell:
    what the model does not explain is lost. Training is on the CPU, with the architecture and learning rate of scvi-tools.

    Examples
    --------
    >>> import torch, neuronedit as ne
    >>> source = torch.randn(200, 3)
    >>> ne.baselines.cytovi(source, source + 1, n_steps=4)(source).shape  # doctest: +SKIP
    torch.Size([200, 3])

    Parameters
    ----------
    source, target
        ``(n_cells, n_features)``, variance-stabilized (`arcsinh`).
    %(cells_to_train_on)s
    n_steps
        Minibatches. CytoVI's own early stopping, after 30 epochs without improvement, is off: with thousands of cells 30
        epochs are a few hundred steps, and training ended while the weight of the Kullback-Leibler term still rose.
    batch_size
        Cells in a minibatch. A few fewer where a minibatch of one cell would remain, which batch normalization cannot do.
    %(rng)s

    Returns
    -------
    A map of each cell by itself. The model has features scaled to 0-1 over the training cells. A feature that is constant
    in all of them is left unchanged.

    %(bench_errors)s

    References
    ----------
    Ingelfinger et al. 2025, Deep generative modeling of antibody-based single cell technologies, doi:10.1101/2025.09.07.674699.
    """
    with isolated("CytoVI needs scvi-tools"):
        from anndata import AnnData
        from scvi.external import CYTOVI

        # scale
        others = source if cells is None else remove_rows(cells, target)
        x = torch.cat([others, target]).detach().cpu()
        low, width = x.amin(0), x.amax(0) - x.amin(0)
        varies = width > 0
        low, width = low[varies], width[varies]
        # fit
        obs = {"batch": ["source"] * len(others) + ["target"] * len(target)}
        adata = AnnData(((x[:, varies] - low) / width).numpy(), obs=obs)
        CYTOVI.setup_anndata(adata, batch_key="batch")
        with seeded_scvi(rng):
            model = CYTOVI(adata)
            warm_up = max(1, round(KL_WARM_UP_SHARE * n_steps))
            batch_size = next(size for size in range(batch_size, 0, -1) if len(adata) % size != 1)
            model.train(
                max_epochs=-1, max_steps=n_steps, n_epochs_kl_warmup=None, n_steps_kl_warmup=warm_up, batch_size=batch_size,
                train_size=1.0, accelerator="cpu", devices=1, early_stopping=False, enable_progress_bar=False,
            )  # fmt: skip
    module = model.module.requires_grad_(False)

    def move(x: Tensor) -> Tensor:
        scaled = ((x.detach().cpu()[:, varies] - low) / width).float()
        as_target = torch.ones(len(x), 1, dtype=torch.long)
        with torch.random.fork_rng(devices=[]):  # the encoder also samples
            z = module.inference(scaled, as_target)["qz"].loc
        moved = x.detach().cpu().clone()
        moved[:, varies] = module.generative(z, as_target)["px"].mean * width + low
        return moved.to(x)

    return move


def remove_rows(cells: Tensor, others: Tensor) -> Tensor:
    """Return the rows of ``cells`` that are not rows of ``others``."""
    removed = {row.tobytes() for row in others.detach().cpu().numpy()}
    return cells[[row.tobytes() not in removed for row in cells.detach().cpu().numpy()]]
