"""One panel a neuron: which, and that the curves are the percentiles of the right cells."""

import matplotlib.pyplot as plt
import numpy as np
import pytest

import neuronedit as ne
from neuronedit.pl._curves import ALPHA_OF_WIDE
from neuronedit.pl._figure import ROLES

POPULATIONS = {"source": "control_1", "target": "control_2", "query": "sample_1"}


@pytest.fixture
def adata(trained):
    ne.tl.edit(trained, "group", **POPULATIONS, edit="percentile")
    return trained


def percentiles(adata, slot, group, neuron):
    return np.percentile(adata.obsm[slot][(adata.obs["group"] == group).to_numpy(), neuron], np.arange(101))


def labels(ax):
    return [text.get_text() for text in ax.get_legend().get_texts()]


def test_the_curves_are_percentiles_of_the_named_cells(adata):
    for neuron, ax in zip((4, 0), ne.pl.neurons(adata, neurons=[4, 0]), strict=True):
        assert ax.get_title() == f"neuron {neuron}"
        expected = [percentiles(adata, "X_neurons", group, neuron) for group in POPULATIONS.values()]
        expected.append(percentiles(adata, "X_neurons_edited", "sample_1", neuron))
        for line, y, color in zip(ax.lines, expected, ROLES.values(), strict=True):
            np.testing.assert_allclose(line.get_xdata(), np.arange(101))
            np.testing.assert_allclose(line.get_ydata(), y, atol=1e-5)
            assert line.get_color() == color


@pytest.mark.parametrize("style", ["default", "dark_background"])
def test_source_and_target_are_paler_than_the_query(adata, style):
    with plt.style.context(style):
        lines = ne.pl.neurons(adata, neurons=[0]).lines
    expected = ALPHA_OF_WIDE[style == "dark_background"]
    assert [line.get_alpha() for line in lines] == [expected, expected, None, None]


def test_those_that_moved_most_are_drawn(adata):
    ranked = ne.tl.rank_neurons(adata)["neuron"].unique()
    axes = ne.pl.neurons(adata, n=4)
    assert [ax.get_title() for ax in axes] == [f"neuron {j}" for j in ranked[:4]]
    assert len(axes[0].figure.axes) == 4
    assert len(ne.pl.neurons(adata, n=100)) == 6


def test_silent_neurons_come_last(cells):
    cells.X[:, 0], cells.X[:, 1] = 0.1, 0
    ne.tl.train(cells, space="identity")
    ne.tl.edit(cells, "group", **POPULATIONS, edit="percentile")
    titles = [ax.get_title() for ax in ne.pl.neurons(cells, n=35)]
    assert titles == [f"neuron {j}" for j in ne.tl.rank_neurons(cells)["neuron"].unique()]
    assert titles[-2:] == ["neuron 0", "neuron 1"]


def test_labels_and_the_legend(adata):
    axes = ne.pl.neurons(adata, n=5)
    assert labels(axes[2]) == ["source: control_1", "target: control_2", "query: sample_1", "query, edited"]
    assert [ax.get_legend() is None for ax in axes] == [True, True, False, True, True]
    assert [ax.get_xlabel() for ax in axes] == ["", "", *["percentile"] * 3]  # nothing stands below the third
    assert [ax.get_ylabel() != "" for ax in axes] == [True, False, False, True, False]
    source, target, query, edited = (line.get_linewidth() for line in axes[0].lines)
    assert source == target > 2 * query == 2 * edited  # a curve below another one is seen
    axes[0].figure.canvas.draw()
    legend = axes[2].get_legend().get_window_extent()
    assert legend.x0 >= max(ax.get_window_extent().x1 for ax in axes) and legend.x1 <= axes[0].figure.bbox.x1


def test_source_cells_that_are_in_the_query_are_drawn_as_they_were(adata):
    ne.tl.edit(
        adata, "group", source="control_1", target="control_2", query=["control_1", "sample_1"], edit="percentile"
    )
    ax = ne.pl.neurons(adata, neurons=[2])
    np.testing.assert_allclose(ax.lines[0].get_ydata(), percentiles(adata, "X_neurons", "control_1", 2), atol=1e-5)


def test_another_layer_than_was_trained_on(adata):
    adata.layers["more"] = adata.X + 0.5
    ne.tl.edit(adata, "group", **POPULATIONS, edit="percentile", layer="more", key_added="second")
    ax = ne.pl.neurons(adata, key="second", neurons=[1])
    for line, group in zip(ax.lines[:2], ("control_1", "control_2"), strict=True):
        np.testing.assert_allclose(line.get_ydata(), percentiles(adata, "X_neurons_second", group, 1), atol=1e-5)
        assert not np.allclose(line.get_ydata(), percentiles(adata, "X_neurons", group, 1), atol=1e-2)
    assert labels(ax)[2] == "query: sample_1, in X"
    populations = POPULATIONS | {"query": ["control_1", "sample_1"]}
    ne.tl.edit(adata, "group", **populations, edit="shift", layer="more", key_added="second")
    with pytest.raises(ValueError, match=r"source cells are in the query, .* of X, not of layers\['more'\]"):
        ne.pl.neurons(adata, key="second")


def test_own_axes_figure_and_nothing_written(adata):
    before = adata.copy()
    figure, grid = plt.subplots(2, 2)
    assert ne.pl.neurons(adata, n=4, ax=grid) == list(grid.flat)
    assert all(ax.get_xlabel() and ax.get_ylabel() for ax in grid.flat)
    assert ne.pl.neurons(adata, n=1, ax=grid[0, 0]) is grid[0, 0]
    assert ne.pl.neurons(adata, n=1, ax=grid[0, 0], return_fig=True) is figure
    with pytest.raises(ValueError, match="ax holds 4 axes; 1 panels are to be drawn"):
        ne.pl.neurons(adata, n=1, ax=grid)
    assert str(adata) == str(before)


def retrained(adata):
    ne.tl.train(adata, widths=(24, 6), max_epochs=2, rng=7)


def applied_elsewhere(adata):
    ne.tl.apply(adata, adata.copy(), query={"group": "sample_2"}, key_added="edited")


def another_space(adata):
    """As `retrained`, where nothing says in which space the edit was fitted."""
    del adata.uns["edited"]["fitted"]
    retrained(adata)


def drop(slot, name):
    return lambda adata: getattr(adata, slot).__delitem__(name)


BAD = {
    "no edit": (drop("uns", "edited"), {}, r"uns\['edited'\] holds no edit or batch correction; call ne.tl.edit first"),
    "other cells": (applied_elsewhere, {}, "was fitted on other cells"),
    "before": (drop("obsm", "X_neurons"), {}, "'X_neurons' is not in adata.obsm; it has 'X_neurons_edited'"),
    "after": (drop("obsm", "X_neurons_edited"), {}, "it has 'X_neurons'.*Neurons of more than 128 MiB are left out"),
    "no space": (drop("uns", "neuronedit"), {}, r"uns\['neuronedit'\] holds no trained space"),
    "trained again": (
        retrained,
        {},
        r"uns\['edited'\] was fitted in another space than uns\['neuronedit'\] holds now: it was trained again",
    ),
    "another space": (another_space, {}, "are neurons of different spaces"),
    "too high": ({}, {"neurons": [6]}, r"neurons must be numbers from 0 to 5; they are \[6\]"),
    "none": ({}, {"neurons": []}, r"neurons must be numbers from 0 to 5; they are \[\]"),
    "n": ({}, {"n": 0}, "n must be at least 1; it is 0"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input(adata, name):
    change, arguments, message = BAD[name]
    if change:
        change(adata)
    with pytest.raises((KeyError, ValueError), match=message):
        ne.pl.neurons(adata, **arguments)
    assert not plt.get_fignums()
