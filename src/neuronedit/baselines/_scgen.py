"""scGen: arithmetic with the latent vectors of a variational autoencoder, from pertpy."""

import numpy as np
import torch
from torch import Tensor

from .._check import Count, Seed
from .._types import CellTensor, Map
from ._peer import isolated, seeded_scvi


def scgen(
    source: CellTensor, target: CellTensor, /, *, cells: CellTensor | None = None, n_steps: Count = 10_000, batch_size: Count = 32,
    rng: Seed = 0,
) -> Map:  # fmt: skip
    """Add the difference of the mean latent vectors of target and source to a cell's, and decode.

    With the encoder's mean E and the decoder D a cell x becomes D(E(x) + d), d = mean E(target) - mean E(source). It is
    a reconstructed cell: what the model does not explain is lost. Without labels of types the means are those of all cells.
    Training is on the CPU, with the architecture and learning rate of pertpy.

    Examples
    --------
    >>> import torch, neuronedit as ne
    >>> source = torch.randn(200, 3)
    >>> ne.baselines.scgen(source, source + 1, n_steps=4)(source).shape  # doctest: +SKIP
    torch.Size([200, 3])

    Parameters
    ----------
    source, target
        ``(n_cells, n_features)``, for counts the logarithm of normalized ones.
    %(cells_to_train_on)s
    n_steps, batch_size
        Minibatches, and cells in each. A smaller one at the end of an epoch is dropped.
    %(rng)s

    Returns
    -------
    A map of each cell by itself.

    %(bench_errors)s

    References
    ----------
    Lotfollahi et al. 2019, scGen predicts single-cell perturbation responses, doi:10.1038/s41592-019-0494-8;
    Heumos et al. 2024, Pertpy: an end-to-end framework for perturbation analysis, doi:10.1101/2024.08.04.606516.
    """
    with isolated("scGen needs pertpy, with JAX and scvi-tools"):
        from anndata import AnnData
        from pertpy.tools import Scgen

        # fit
        adata = AnnData((torch.cat([source, target]) if cells is None else cells).detach().cpu().numpy())
        Scgen.setup_anndata(adata)
        with seeded_scvi(rng):
            model = Scgen(adata)
            model.train(
                max_epochs=-1, max_steps=n_steps, batch_size=min(batch_size, len(adata)), train_size=1.0, accelerator="cpu",
                datasplitter_kwargs={"drop_last": True}, devices=1, enable_progress_bar=False,
            )  # fmt: skip
    # find the difference of the mean latent vectors
    module = model.module.as_bound()

    def encode(x: Tensor) -> np.ndarray:
        return np.asarray(module.encoder(x.detach().cpu().numpy())[0])

    delta = encode(target).mean(0) - encode(source).mean(0)

    def move(x: Tensor) -> Tensor:
        return torch.from_numpy(np.array(module.decoder(encode(x) + delta))).to(x)

    return move
