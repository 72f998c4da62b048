"""Grids of images: which are drawn, where, and how bright."""

import matplotlib.pyplot as plt
import numpy as np
import pytest

import neuronedit as ne

ROLES = {
    "source": {"shape": "square", "bar": "without"},
    "target": {"shape": "square", "bar": "with"},
    "query": {"shape": "disc", "bar": "without"},
}


@pytest.fixture(scope="module")
def _edited():
    adata = ne.datasets.simulate_images(n_images=12, image_shape=(20, 16))
    ne.tl.train(adata, space="pca")
    ne.tl.edit(adata, **ROLES, edit="shift", strength=[0.25, 0.5, 1])
    return adata


@pytest.fixture
def adata(_edited):
    return _edited.copy()


def drawn(ax):
    """The images of a strip, from left to right."""
    return [image.get_array() for image in sorted(ax.images, key=lambda image: image.get_extent()[0])]


def test_a_row_a_layer_and_the_truth(adata):
    names, others = ["image24", "image30", "image35"], ["image36", "image37", "image38"]
    layers = {"original": None, "shift": "edited"}
    axes = ne.pl.images(adata, layers=layers, cells=names, truth=others)
    assert [ax.get_ylabel() for ax in axes] == ["original", "shift", "true"]
    expected = [adata[names].X, adata[names].layers["edited"].clip(0, 1), adata[others].X]
    for ax, values in zip(axes, expected, strict=True):
        np.testing.assert_allclose(np.array(drawn(ax)), values.reshape(3, 20, 16), atol=1e-6)
        assert not len(ax.get_xticks()) and all(image.get_cmap().name == "gray" for image in ax.images)
    edges = [image.get_extent() for image in axes[0].images]
    assert all(right[0] > left[1] for left, right in zip(edges, edges[1:], strict=False))
    assert axes[0].get_ylim() == (20, 0)  # the first row of pixels is on top


def test_edited_images_are_drawn_when_none_are_named(adata):
    axes = ne.pl.images(adata, n=4)
    assert [ax.get_ylabel() for ax in axes] == ["original", "edited"]
    query = np.flatnonzero(adata.obs["edited_support"].notna())
    np.testing.assert_allclose(drawn(axes[0])[0].ravel(), adata.X[query[0]], atol=1e-6)
    np.testing.assert_allclose(drawn(axes[0])[3].ravel(), adata.X[query[-1]], atol=1e-6)
    assert len(drawn(ne.pl.images(adata, n=99)[0])) == 12


def test_path_goes_from_none_to_all(adata):
    axes = ne.pl.image_path(adata, cells=["image25", "image26"])
    assert [label.get_text() for label in axes[-1].get_xticklabels()] == ["0", "0.25", "0.5", "1"]
    assert [ax.get_ylabel() for ax in axes] == ["image25", "image26"]
    for name, ax in zip(["image25", "image26"], axes, strict=True):
        cell = adata[name]
        steps = [cell.X, cell.layers["edited_0.25"], cell.layers["edited_0.5"], cell.layers["edited"]]
        np.testing.assert_allclose(np.array(drawn(ax)), np.array(steps).clip(0, 1).reshape(4, 20, 16), atol=1e-6)
    middles = [np.mean(image.get_extent()[:2]) for image in axes[-1].images]
    np.testing.assert_allclose(axes[-1].get_xticks(), middles, rtol=0.01)


def test_colour_and_limits():
    adata = ne.datasets.simulate_images(n_images=2, image_shape=(16, 16, 3))
    image = drawn(ne.pl.images(adata, layers=[None], cells=["image0"]))[0]
    np.testing.assert_allclose(image, adata.X[0].reshape(16, 16, 3), atol=1e-6)
    adata.X *= 255
    image = drawn(ne.pl.images(adata, layers=[None], cells=["image0"]))[0]
    assert image.min() == 0 and image.max() == pytest.approx(1)
    image = drawn(ne.pl.images(adata, layers=[None], cells=["image0"], limits=(0, 510)))[0]
    np.testing.assert_allclose(image.ravel(), adata.X[0] / 510, atol=1e-6)


def test_own_axes_figure_and_nothing_written(adata):
    before = str(adata)
    figure, grid = plt.subplots(2)
    assert ne.pl.images(adata, n=3, ax=grid) == list(grid)
    assert ne.pl.image_path(adata, n=2, ax=grid, return_fig=True) is figure
    assert ne.pl.images(adata, layers=[None], n=3, ax=grid[0]) is grid[0]
    with pytest.raises(ValueError, match="ax holds 2 axes; 3 panels are to be drawn"):
        ne.pl.images(adata, layers=[None, "edited", "truth"], n=1, ax=grid)
    assert str(adata) == before


def no_shape(adata):
    del adata.uns["image_shape"]


BAD = {
    "no shape": (no_shape, ne.pl.images, {}, r"uns\['image_shape'\] is missing"),
    "wrong shape": (None, ne.pl.images, {"image_shape": (20, 17)}, r"image_shape \(20, 17\) must be .* of 320 values"),
    "two channels": (None, ne.pl.images, {"image_shape": (20, 8, 2)}, "with 1 or 3 channels"),
    "no layer": (None, ne.pl.images, {"layers": ["shifted"]}, "'shifted' is not in adata.layers"),
    "no rows": (None, ne.pl.images, {"layers": []}, "layers is empty"),
    "no such image": (None, ne.pl.images, {"cells": ["image0", "face"]}, "cells: 'face' is not in adata.obs_names"),
    "too few truths": (None, ne.pl.images, {"n": 3, "truth": ["image0"]}, "truth names 1 images; there are 3 cells"),
    "n": (None, ne.pl.images, {"n": 0}, "n must be at least 1; it is 0"),
    "no edit": (None, ne.pl.images, {"key": "other"}, "'other_support' is not in adata.obs"),
    "no path": (None, ne.pl.image_path, {"key": "other"}, r"uns\['other'\] holds no edit"),
    "path without a layer": (lambda a: a.layers.pop("edited_0.5"), ne.pl.image_path, {}, "'edited_0.5' is not in"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input(adata, name):
    change, draw, arguments, message = BAD[name]
    if change:
        change(adata)
    with pytest.raises((KeyError, ValueError), match=message):
        draw(adata, **arguments)
    assert not plt.get_fignums()
