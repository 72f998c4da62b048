import os

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch

import neuronedit as ne

matplotlib.use("agg")
os.environ["NEURONEDIT_FULL_TRACEBACK"] = "1"
torch.set_num_threads(1)

SMALL = {"widths": (24, 6), "max_epochs": 2}


@pytest.fixture(scope="session")
def _trained():
    adata = ne.datasets.simulate_batches(n_cells=150)
    ne.tl.train(adata, **SMALL)
    return adata


@pytest.fixture
def trained(_trained):
    """600 cells by 35 markers with a small trained autoencoder."""
    return _trained.copy()


@pytest.fixture
def cells():
    """The same cells without a model."""
    return ne.datasets.simulate_batches(n_cells=150)


@pytest.fixture(scope="session")
def data_dir():
    if "NEURONEDIT_DATA_DIR" not in os.environ:
        pytest.skip("NEURONEDIT_DATA_DIR is not set")
    return os.environ["NEURONEDIT_DATA_DIR"]


@pytest.fixture(autouse=True)
def _as_if_alone():
    """A test sees the same random numbers whichever ran before it, and leaves no figures."""
    torch.manual_seed(0)
    np.random.seed(0)  # noqa: NPY002
    yield
    plt.close("all")
