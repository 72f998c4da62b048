"""Call another package and leave the process unchanged: such packages set seeds and flags, log and print."""

import contextlib
import io
import logging
import os
import random
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch

INSTALL_BENCH = "pip install 'neuronedit[bench]'"
"""Named by the error where a package is missing."""


@contextlib.contextmanager
def isolated() -> Iterator[None]:
    """Run a block with gradients, without output, and with random states of its own; then restore the process."""
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


def run_in_thread(work: Callable[[], None]) -> None:
    """Run a function in a thread of its own: numba's random state, which FlowSOM sets, is one for each thread."""
    with ThreadPoolExecutor(1) as pool:
        pool.submit(work).result()
