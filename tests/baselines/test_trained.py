"""Adversarial maps and the regularized autoencoder: what they can do, and the defects shown in the paper."""

import pickle
from inspect import signature

import numpy as np
import pytest
import torch

import neuronedit as ne
from neuronedit import baselines, metrics
from neuronedit.baselines import BASELINES, _adversarial

ADVERSARIAL = ["gan", "resnet_gan", "cyclegan"]


@pytest.fixture(autouse=True)
def narrow(monkeypatch):
    """A fifth of the published widths: these laws hold as well, in less time."""
    monkeypatch.setattr(_adversarial, "HIDDEN_WIDTHS", (100, 50, 10, 50, 100))


def cells(seed, n=1000, center=(0.0, 0.0, 0.0), spread=1.0):
    return torch.from_numpy((np.random.default_rng(seed).normal(size=(n, 3)) * spread + center).astype(np.float32))


@pytest.mark.parametrize("name", ADVERSARIAL)
def test_the_source_is_mapped_towards_the_target(name):
    """A planted shift of three standard deviations: more than half of the energy distance is closed after 1,000 steps."""
    source = cells(0)
    target = cells(1, center=(3.0, 0.0, 0.0))
    moved = BASELINES[name](source, target, n_steps=1_000)(source)
    before, after = (metrics.energy_distance(x.numpy(), target.numpy()) for x in (source, moved))
    assert after < 0.5 * before


@pytest.mark.parametrize("name", ADVERSARIAL)
def test_history(name):
    history = BASELINES[name](cells(0), cells(1), n_steps=200).history
    assert set(history) == {"step", "discriminator_loss", "generator_loss"}
    assert len(history["step"]) == len(history["generator_loss"]) == 100
    assert np.isfinite([history["discriminator_loss"], history["generator_loss"]]).all()


@pytest.mark.parametrize("name", [*ADVERSARIAL, "mmd_autoencoder", "constant_shift", "neuron_editing"])
def test_another_seed_gives_another_map(name):
    source, target = cells(0, n=200), cells(1, n=200, center=(1.0, 0.0, 0.0))
    first, other = (BASELINES[name](source, target, n_steps=10, rng=rng)(source) for rng in (0, 1))
    assert not torch.equal(first, other)


def test_the_regularized_autoencoder_needs_a_layer():
    with pytest.raises(ValueError, match=r"widths must hold at least one positive number; they are \(\)"):
        baselines.mmd_autoencoder(cells(0, n=20), cells(1, n=20), widths=[])


def test_the_regularized_autoencoder_reproduces_its_input():
    source, target = cells(0), cells(1, center=(3.0, 0.0, 0.0))
    move = baselines.mmd_autoencoder(source, target, n_steps=600)
    applied = (move(source) - source).mean(0).norm()
    assert applied < 0.1 * (target.mean(0) - source.mean(0)).norm()
    assert move.history["reconstruction_loss"][-1] < 0.05 * move.history["reconstruction_loss"][0]


@pytest.mark.parametrize("name", ["gan", "cyclegan"])
def test_a_generator_does_not_keep_what_is_different_about_the_query(name):
    """The query differs from the source in the second feature; the target shows nothing of the kind.

    The error depends on the seed and on the machine, so it is the average of four runs.
    """
    source, target = cells(0), cells(1, center=(3.0, 0.0, 0.0))
    query = cells(2, center=(0.0, 6.0, 0.0))
    truth = (query + torch.tensor([3.0, 0.0, 0.0])).numpy()
    generated = [BASELINES[name](source, target, n_steps=400, rng=rng)(query).numpy() for rng in range(4)]
    shifted = BASELINES["mean_shift"](source, target)(query).numpy()
    off, off_shifted = ([np.abs(x.mean(0) - truth.mean(0)).max() for x in made] for made in (generated, [shifted]))
    assert np.mean(off) > 1 > off_shifted[0]
    distance = np.mean([metrics.energy_distance(x, truth) for x in generated])
    assert distance > 5 * metrics.energy_distance(shifted, truth)


def test_cells_are_what_the_space_is_trained_on():
    source, target, query = cells(0, n=200), cells(1, n=200), cells(2, n=200, center=(9.0, 0.0, 0.0))
    for name in ("pca_edit", "constant_shift", "neuron_editing"):
        parameters = {} if name == "pca_edit" else {"n_steps": 20}
        without = BASELINES[name](source, target, **parameters)(query)
        with_query = BASELINES[name](source, target, cells=torch.cat([source, target, query]), **parameters)(query)
        assert not torch.equal(without, with_query)


@pytest.mark.parametrize("name", ["constant_shift", "neuron_editing", "auto_edit"])
def test_what_edits_of_neurons_ask_for_can_be_read(name):
    """Who runs a method finds out by its signature what it can be given; pickle finds it by its name."""
    method = BASELINES[name]
    asked = (
        ["cells", "query", "n_steps", "rng", "fit_space"] if name == "auto_edit" else ["cells", "n_steps", "rng", "fit"]
    )
    assert list(signature(method).parameters)[2:] == asked
    assert method.__name__ == name and pickle.loads(pickle.dumps(method)) is method


@pytest.fixture(scope="module")
def combination():
    """Basal, A and B cells as tensors, and what B's cells would be under both."""
    adata = ne.datasets.simulate_combination(n_cells=600)
    masks = {name: (adata.obs["condition"] == name).to_numpy() for name in ("basal", "A", "B")}
    return [torch.from_numpy(adata.X[mask]) for mask in masks.values()], adata.layers["truth"][masks["B"]]


@pytest.mark.parametrize("rng", [0, 1])
def test_a_gan_loses_variance_when_it_extrapolates(combination, rng):
    """The defect of Table 3: which markers vary is lost, and the cells lie in fewer directions."""
    (source, target, query), truth = combination
    generated = baselines.gan(source, target, n_steps=300, rng=rng)(query).numpy()
    shifted = BASELINES["mean_shift"](source, target)(query).numpy()
    assert metrics.variance_correlation(generated, truth) < 0.9 < metrics.variance_correlation(shifted, truth)
    assert directions(generated) < 0.6 * directions(truth) < directions(shifted)


def directions(cells):
    """Effective number of directions in which cells vary: the exponential of the entropy of the covariance's eigenvalues."""
    shares = np.linalg.eigvalsh(np.cov(cells.T)).clip(1e-12)
    shares /= shares.sum()
    return np.exp(-(shares * np.log(shares)).sum())


def test_the_regularized_autoencoder_does_not_apply_the_change(combination):
    (source, target, query), truth = combination
    closed = {
        name: metrics.gap_closed(
            metrics.energy_distance, query.numpy(), truth, BASELINES[name](source, target, **steps)(query).numpy()
        )
        for name, steps in {"mmd_autoencoder": {"n_steps": 300}, "mean_shift": {}}.items()
    }
    assert closed["mmd_autoencoder"] < 0.3 and closed["mean_shift"] > 0.9


PEERS = ["cytonorm", "cytovi", "scgen"]  # of the extra bench


@pytest.mark.parametrize("name", [name for name in BASELINES if name not in PEERS])
def test_cells_of_double_precision_are_mapped_alike_and_left_as_they_are(name):
    source, query = cells(0, n=200), cells(1, n=80, center=(0.3, 0, 0))
    parameters = {"n_steps": 20} if "n_steps" in signature(BASELINES[name]).parameters else {}
    single = BASELINES[name](source, source * 1.5 + 1, **parameters)(query)
    given = source.double(), source.double() * 1.5 + 1, query.double()
    before = [x.clone() for x in given]
    double = BASELINES[name](*given[:2], **parameters)(given[2])
    assert double.dtype == torch.float64
    torch.testing.assert_close(double.float(), single, rtol=0, atol=0.02)  # steps of adversaries drift apart
    for x, own in zip(given, before, strict=True):
        assert torch.equal(x, own)
