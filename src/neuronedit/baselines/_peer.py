"""Call another package and leave the process unchanged: such packages set seeds and flags, log and print."""

import contextlib
import io
import logging
import os
import random
import warnings
from collections.abc import Iterator

import numpy as np
import torch


@contextlib.contextmanager
def isolated(needs: str) -> Iterator[None]:
    """Run a block with gradients, without output, and with random states of its own; then restore the process.

    Where a package is missing the error says what the block ``needs``, and the extra to install.
    """
    environment, disabled = dict(os.environ), logging.root.manager.disable
    python_state, numpy_state = random.getstate(), np.random.get_state()  # noqa: NPY002
    threads, cudnn = torch.get_num_threads(), torch.backends.cudnn
    flags = cudnn.benchmark, cudnn.deterministic
    try:
        logging.disable(logging.CRITICAL)
        with (
            torch.random.fork_rng(devices=[]),
            torch.enable_grad(),
            warnings.catch_warnings(),
            contextlib.redirect_stdout(io.StringIO()),
        ):
            warnings.simplefilter("ignore")
            yield
    except ImportError as error:
        raise ImportError(f"{needs}: pip install 'neuronedit[bench]'.") from error
    finally:
        logging.disable(disabled)
        random.setstate(python_state)
        np.random.set_state(numpy_state)  # noqa: NPY002
        cudnn.benchmark, cudnn.deterministic = flags
        if torch.get_num_threads() != threads:
            torch.set_num_threads(threads)
        if dict(os.environ) != environment:
            os.environ.clear()
            os.environ.update(environment)


@contextlib.contextmanager
def seeded_scvi(rng: int) -> Iterator[None]:
    """Seed scvi-tools for a block inside `isolated`: it has a global setting for that, and no argument."""
    from scvi import settings

    before = settings.seed
    try:
        settings.seed = rng
        yield
    finally:
        settings.seed = before
