"""scGen: arithmetic with the latent vectors of a variational autoencoder, from pertpy."""

import numpy as np
import torch
from torch import Tensor

from .._docs import shared_docs
from .._types import Map
from ._peer import INSTALL_BENCH, isolated, seeded_scvi


@shared_docs
def scgen(
    source: Tensor,
    target: Tensor,
    /,
    *,
    cells: Tensor | None = None,
    n_steps: int = 10_000,
    batch_size: int = 32,
    rng: int = 0,
) -> Map:
    """Add the difference of the mean latent vectors of target and source to a cell's, and decode.

    With the encoder's mean E and the decoder D a cell x becomes D(E(x) + d), d = mean E(target) - mean E(source). It is
    a reconstructed cell: what the model does not explain is lost. With labels of types, scGen first samples equally many
    cells of each from source and target. Here there are no labels, so the means are those of all cells.

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
    n_steps
        Minibatches.
    batch_size
        Cells in a minibatch. A smaller one at the end of an epoch is dropped.
    %(rng)s

    Returns
    -------
    A map of each cell by itself.

    Raises
    ------
    %(bench_errors)s

    Notes
    -----
    It is trained on the CPU, with the architecture and the learning rate that pertpy gives it.

    References
    ----------
    Lotfollahi et al. 2019, scGen predicts single-cell perturbation responses, Nat Methods 16:715-721,
    doi:10.1038/s41592-019-0494-8; Heumos et al. 2024, Pertpy: an end-to-end framework for perturbation analysis, bioRxiv,
    doi:10.1101/2024.08.04.606516.
    """
    with isolated():
        try:
            from pertpy.tools import Scgen
        except ImportError as error:
            raise ImportError(f"scGen needs pertpy, with JAX and scvi-tools: {INSTALL_BENCH}.") from error
        from anndata import AnnData

        # fit
        adata = AnnData((torch.cat([source, target]) if cells is None else cells).detach().cpu().numpy())
        Scgen.setup_anndata(adata)
        with seeded_scvi(rng):
            model = Scgen(adata)
            model.train(
                max_epochs=-1,
                max_steps=n_steps,
                batch_size=min(batch_size, len(adata)),
                train_size=1.0,
                datasplitter_kwargs={"drop_last": True},
                accelerator="cpu",
                devices=1,
                enable_progress_bar=False,
            )
    # find the difference of the mean latent vectors
    module = model.module.as_bound()

    def encode(x: Tensor) -> np.ndarray:
        return np.asarray(module.encoder(x.detach().cpu().numpy())[0])

    delta = encode(target).mean(0) - encode(source).mean(0)

    def move(x: Tensor) -> Tensor:
        return torch.from_numpy(np.array(module.decoder(encode(x) + delta))).to(x)

    return move
