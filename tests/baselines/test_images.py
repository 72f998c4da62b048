"""Baselines of images: convolutional networks, from images to images."""

import numpy as np
import pytest
import torch
from torch import nn

import neuronedit as ne
from neuronedit.baselines import BASELINES

ADVERSARIAL = ["gan", "resnet_gan", "cyclegan"]
SHAPE = (18, 16)


@pytest.fixture(scope="module")
def images():
    adata = ne.datasets.simulate_images(n_images=20, image_shape=SHAPE)
    masks = {
        name: ((adata.obs["shape"] == "square") & (adata.obs["bar"] == name)).to_numpy() for name in ("without", "with")
    }
    return [torch.from_numpy(adata.X[mask]) for mask in masks.values()]


@pytest.mark.parametrize("name", [*ADVERSARIAL, "mmd_autoencoder"])
def test_networks_are_convolutional_and_keep_the_contract(images, name):
    source, target = images
    fit = BASELINES[name]
    state = torch.get_rng_state()
    first, second = (fit(source, target, image_shape=SHAPE, n_steps=2, batch_size=8) for _ in range(2))
    moved = first(source)
    assert moved.shape == source.shape and torch.isfinite(moved).all() and not moved.requires_grad
    assert torch.equal(moved, second(source)) and torch.equal(state, torch.get_rng_state())
    kinds = [
        type(layer) for layer in first.net.modules() if isinstance(layer, nn.Linear | nn.Conv2d | nn.ConvTranspose2d)
    ]
    assert kinds == [nn.Conv2d] * 3 + [nn.ConvTranspose2d] * 3
    with pytest.raises(ValueError, match=r"image_shape \(18, 17\) has 306 values; the images have 288 features"):
        fit(source, target, image_shape=(18, 17), n_steps=1)


def test_a_discriminator_is_the_encoder_and_one_number():
    from neuronedit.baselines._adversarial import build_discriminator

    net = build_discriminator(288, SHAPE, torch.Generator().manual_seed(0))
    assert net(torch.zeros(3, 288)).shape == (3, 1)
    kinds = [type(layer) for layer in net.modules() if isinstance(layer, nn.Linear | nn.Conv2d)]
    assert kinds == [nn.Conv2d] * 3 + [nn.Linear]


def test_the_regularized_autoencoder_returns_its_input(images):
    source, target = images
    move = BASELINES["mmd_autoencoder"](source, target, image_shape=SHAPE, widths=(16, 32), n_steps=150, batch_size=16)
    assert (move(source) - source).square().mean() < 0.3 * (source - source.mean(0)).square().mean()


def test_discrepancy_is_that_of_all_pairs():
    from neuronedit.baselines._mmd_autoencoder import squared_mmd

    x, y = (torch.from_numpy(np.random.default_rng(seed).normal(size=(6, 4))) for seed in (0, 1))
    cells = torch.cat([x, y])
    squares = torch.cdist(cells, cells) ** 2
    kernel = torch.exp(-squares / squares.mean())
    expected = kernel[:6, :6].mean() + kernel[6:, 6:].mean() - 2 * kernel[:6, 6:].mean()
    torch.testing.assert_close(squared_mmd(x, y), expected)
