"""scGen: arithmetic with the latent vectors of a variational autoencoder, from pertpy."""

import numpy as np
import torch
from torch import Tensor

from .._types import Map
from ._peer import EXTRA, as_it_was, scvi_seed


def scgen(
    source: Tensor,
    target: Tensor,
    /,
    *,
    cells: Tensor | None = None,
    n_steps: int = 10_000,
    batch_size: int = 32,
    seed: int = 0,
) -> Map:
    """Add the difference of the mean latent vectors of target and source to a cell's, and decode.

    With the encoder's mean E and the decoder D a cell x becomes D(E(x) + d), d = mean E(target) - mean E(source). It is
    a reconstructed cell: what the model does not explain is lost. scGen itself first draws as many cells of every type
    from source and target; here there are no types, so d is the difference of the plain means, as without labels there.

    Parameters
    ----------
    source, target
        ``(n_cells, n_features)``, for counts the logarithm of normalized ones.
    cells
        What the model is trained on: source, target and query together. `None`: source and target.
    n_steps
        Minibatches.
    batch_size
        Cells in a minibatch. A last minibatch of fewer is left out of its epoch.
    seed
        Of the weights and of the training.

    Returns
    -------
    A map that treats each cell alone.

    Raises
    ------
    ImportError
        When pertpy, or JAX or scvi-tools that it needs for scGen, is not installed: ``pip install 'neuronedit[bench]'``.

    Notes
    -----
    It is trained on the CPU, with the architecture and the learning rate that pertpy gives it.

    References
    ----------
    Lotfollahi et al. 2019, scGen predicts single-cell perturbation responses, Nat Methods 16:715-721,
    doi:10.1038/s41592-019-0494-8; Heumos et al. 2024, Pertpy: an end-to-end framework for perturbation analysis, bioRxiv,
    doi:10.1101/2024.08.04.606516.

    Examples
    --------
    >>> import torch, neuronedit as ne
    >>> source = torch.randn(200, 3)
    >>> ne.baselines.scgen(source, source + 1, n_steps=4)(source).shape  # doctest: +SKIP
    torch.Size([200, 3])
    """
    with as_it_was():
        try:
            from pertpy.tools import Scgen
        except ImportError as error:
            raise ImportError(f"scGen needs pertpy, with JAX and scvi-tools: {EXTRA}.") from error
        from anndata import AnnData

        adata = AnnData((torch.cat([source, target]) if cells is None else cells).detach().cpu().numpy())
        Scgen.setup_anndata(adata)
        with scvi_seed(seed):
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
    module = model.module.as_bound()

    def encode(x: Tensor) -> np.ndarray:
        return np.asarray(module.encoder(x.detach().cpu().numpy())[0])

    delta = encode(target).mean(0) - encode(source).mean(0)

    def move(x: Tensor) -> Tensor:
        return torch.from_numpy(np.array(module.decoder(encode(x) + delta))).to(x)

    return move
