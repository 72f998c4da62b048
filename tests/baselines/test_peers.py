"""Methods of other packages: a planted shift, the error without the package, and a process that stays unchanged."""

import logging
import os
import random
import sys
import warnings

import numpy as np
import pytest
import torch

from neuronedit.baselines._cytonorm import cytonorm
from neuronedit.baselines._cytovi import cytovi, remove_rows
from neuronedit.baselines._scgen import scgen

PEERS = {  # the method, the module it is found in, and a short training
    "cytonorm": (cytonorm, "cytonormpy", {}),
    "cytovi": (cytovi, "scvi.external", {"n_steps": 3}),
    "scgen": (scgen, "pertpy.tools", {"n_steps": 3}),
}
WITH_TYPES = {  # error of the mean change relative to the shift, and the training that it takes
    "cytonorm": (0.15, {}),
    "cytovi": (0.6, {"n_steps": 2000}),
    "scgen": (0.5, {"n_steps": 1000}),
}


def fit_or_skip(name, *populations, **parameters):
    try:
        return PEERS[name][0](*populations, **parameters)
    except ImportError as error:
        pytest.skip(str(error))


def simulate(seed, n=120, d=4):
    return torch.from_numpy(np.random.default_rng(seed).normal(size=(n, d)).astype(np.float32))


@pytest.mark.parametrize("name", PEERS)
def test_planted_shift_of_populations_with_types(name):
    """Five types, further apart than the shift is long; other proportions of them in the query."""
    centers = np.random.default_rng(0).normal(scale=6, size=(5, 8))
    vector = torch.tensor([1.0, -1.0, 0.5, 0, 0, 0, 0.5, -0.5])

    def population(counts, seed):
        noise = np.random.default_rng(seed).normal(scale=0.5, size=(sum(counts), 8))
        return torch.from_numpy((np.repeat(centers, counts, axis=0) + noise).astype(np.float32))

    source, query = population([80] * 5, 1), population([200, 80, 40, 40, 40], 2)
    tolerance, training = WITH_TYPES[name]
    change = fit_or_skip(name, source, population([80] * 5, 3) + vector, **training)(query) - query
    assert (change.mean(0) - vector).norm() < tolerance * vector.norm()


@pytest.mark.parametrize("name", PEERS)
def test_without_the_package_the_error_names_the_extra(name, monkeypatch):
    method, module, _ = PEERS[name]
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ImportError, match=r"pip install 'neuronedit\[bench\]'"):
        method(simulate(1), simulate(2))


def read_state():
    """Everything of the process that a package is known to touch."""
    return {
        "torch": torch.get_rng_state().tolist(),
        "numpy": [str(part) for part in np.random.get_state()],  # noqa: NPY002
        "python": random.getstate(),
        "threads": torch.get_num_threads(),
        "precision": torch.get_float32_matmul_precision(),
        "cudnn": (torch.backends.cudnn.benchmark, torch.backends.cudnn.deterministic),
        "gradients": torch.is_grad_enabled(),
        "filters": list(warnings.filters),
        "logging": (logging.root.level, list(logging.root.handlers), logging.root.manager.disable),
        "environment": dict(os.environ),
        "files": os.listdir(),
    }


@pytest.mark.parametrize("name", PEERS)
def test_the_process_stays_unchanged(name, monkeypatch, tmp_path, capfd):
    monkeypatch.chdir(tmp_path)
    source, target = simulate(1), simulate(2) + 1
    before = read_state()
    moved = fit_or_skip(name, source, target, **PEERS[name][2])(source)
    after = read_state()
    assert {key for key in before if before[key] != after[key]} == set()
    assert "".join(capfd.readouterr()) == ""
    with torch.no_grad():
        torch.rand(1), np.random.rand()  # noqa: NPY002
        assert torch.equal(fit_or_skip(name, source, target, **PEERS[name][2])(source), moved)
        assert not torch.is_grad_enabled()


def test_numba_s_random_state_stays_unchanged():
    numba = pytest.importorskip("numba")

    @numba.njit
    def seed():
        np.random.seed(5)  # noqa: NPY002

    @numba.njit
    def number():
        return np.random.random()  # noqa: NPY002

    seed()
    expected = number()
    seed()
    fit_or_skip("cytonorm", simulate(1), simulate(2))
    assert number() == expected


def test_cytonorm_keeps_limits_and_what_is_constant():
    source = simulate(1, n=1000).abs()
    source[:, 0] = 3
    target = source * 2
    target[:, 0] = 3
    assert (fit_or_skip("cytonorm", source, target)(source)[:, 0] == 3).all()
    limits = torch.tensor([[3.0, 0, 0, 0], [3.0, 9, 9, 9]])
    torch.testing.assert_close(
        fit_or_skip("cytonorm", source, target, limits=(0, 9))(limits), limits, rtol=0, atol=1e-5
    )


@pytest.mark.parametrize("name", ["cytovi", "scgen"])
def test_cells_are_what_is_trained_on(name):
    source, target, query = simulate(1), simulate(2) + 1, simulate(3) + 2
    training = PEERS[name][2]
    alone = fit_or_skip(name, source, target, **training)(query)
    both = fit_or_skip(name, source, target, cells=torch.cat([source, target]), **training)(query)
    all_three = fit_or_skip(name, source, target, cells=torch.cat([source, target, query]), **training)(query)
    assert torch.equal(alone, both)
    assert not torch.equal(alone, all_three)


def test_rows_of_the_target_are_found_wherever_they_are():
    source, target, query = simulate(1), simulate(2), simulate(3)
    shuffled = torch.cat([query, target, source])[torch.randperm(360, generator=torch.Generator().manual_seed(0))]
    others = remove_rows(shuffled, target)
    assert sorted(map(tuple, others.tolist())) == sorted(map(tuple, torch.cat([source, query]).tolist()))
