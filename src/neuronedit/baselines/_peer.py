"""Call a peer's package and leave the process as it was: such packages seed, log, print and set flags for all."""

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

EXTRA = "pip install 'neuronedit[bench]'"
"""What an error names when a peer's package is missing."""


@contextlib.contextmanager
def as_it_was() -> Iterator[None]:
    """Give a block gradients, silence and generators of its own; afterwards put everything back."""
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
def scvi_seed(seed: int) -> Iterator[None]:
    """Seed scvi-tools, which takes no generator as an argument, for a block inside `as_it_was`."""
    from scvi import settings

    before = settings.seed
    try:
        settings.seed = seed
        yield
    finally:
        settings.seed = before


def in_own_thread(work: Callable[[], None]) -> None:
    """Do some work in a thread of its own: numba's generator, which FlowSOM seeds, belongs to the thread."""
    with ThreadPoolExecutor(1) as pool:
        pool.submit(work).result()
