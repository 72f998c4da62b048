"""Curves of training, the epoch that was kept, and what the axis says."""

import json

import numpy as np
import pytest
import torch
from matplotlib.colors import to_hex

import neuronedit as ne
from neuronedit.pl._figure import OKABE_ITO


def set_history(adata, early_stopping=None, **curves):
    """Replace what was written about the training of adata."""
    space = adata.uns["neuronedit"]
    space["history"] = {name: np.array(values, dtype=float) for name, values in curves.items()}
    config = json.loads(space["config"])
    config["training"]["early_stopping"] = early_stopping
    space["config"] = json.dumps(config)
    return adata


def legend(ax):
    return [text.get_text() for text in ax.get_legend().get_texts()]


def dots(ax):
    return {to_hex(dot.get_facecolor()[0]).upper(): tuple(dot.get_offsets()[0]) for dot in ax.collections}


def test_curves(cells):
    ne.tl.train(cells, widths=(8, 3), max_epochs=4, validation_size=0.2)
    ax = ne.pl.history(cells)
    history = cells.uns["neuronedit"]["history"]
    for line, name in zip(ax.lines, ("train_loss", "validation_loss"), strict=True):
        np.testing.assert_array_equal(line.get_xdata(), [1, 2, 3, 4])
        np.testing.assert_array_equal(line.get_ydata(), history[name])
    assert ax.get_xlabel() == "epoch" and ax.get_ylabel() == "variance not reconstructed" and ax.get_yscale() == "log"


@pytest.mark.parametrize("factor", [1, 1000])  # of one feature, which then rules and has a scale of its own
def test_an_error_of_one_is_the_whole_variance(cells, factor):
    x = torch.from_numpy(cells.X.copy())
    x[:, 0] *= factor
    space = ne.spaces.Autoencoder.fit(x, ne.spaces.Training(max_epochs=1), widths=(8, 3))
    assert float(space.standardize(x).square().mean()) == pytest.approx(1, rel=0.01)


def test_the_last_epoch_has_a_dot_and_its_numbers(trained):
    ax = ne.pl.history(set_history(trained, train_loss=[0.5, 0.25, 0.0204], validation_loss=[0.5, 0.2, 0.25]))
    assert dots(ax) == {OKABE_ITO[0]: (3, 0.0204), OKABE_ITO[1]: (3, 0.25)}
    assert (
        legend(ax) == ["cells of training: 2 %", "cells kept aside: 25 %"]
        and not ax.get_legend().get_title().get_text()
    )


def test_with_early_stopping_the_epoch_that_was_kept(trained):
    ax = ne.pl.history(set_history(trained, 5, train_loss=[0.5, 0.3, 0.1], validation_loss=[0.5, 0.2, 0.25]))
    assert dots(ax) == {OKABE_ITO[0]: (2, 0.3), OKABE_ITO[1]: (2, 0.2)}
    assert legend(ax) == ["cells of training: 30 %", "cells kept aside: 20 %"]
    assert ax.get_legend().get_title().get_text() == "epoch 2 was kept"


@pytest.mark.parametrize("curve", [[0.4], [0.5, 0.45, 0.41], [0.9, 0.1, 0.012], [0.5, np.nan, 0.4]])
def test_axes_have_plain_numbers_and_enough(trained, curve):
    ax = ne.pl.history(set_history(trained, train_loss=curve))
    ax.figure.canvas.draw()
    low, high = ax.get_ylim()
    ticks = zip(ax.get_yticks(), ax.get_yticklabels(), strict=True)
    shown = [label.get_text() for at, label in ticks if low <= at <= high]
    assert len(shown) >= 2 - (len(curve) == 1) and all(label.endswith(" %") for label in shown)
    assert all(float(label.get_text()).is_integer() for label in ax.get_xticklabels())


def test_the_loss_of_another_space_may_be_anything(trained):
    set_history(trained, train_loss=[2, 1, -1]).uns["neuronedit"]["space"] = "mine.Space"
    ax = ne.pl.history(trained)
    assert ax.get_ylabel() == "loss" and ax.get_yscale() == "linear" and legend(ax) == ["cells of training: −1"]


def test_without_validation(trained):
    assert len(ne.pl.history(trained).lines) == 1


def test_bad_input(cells):
    with pytest.raises(KeyError, match="holds no trained space"):
        ne.pl.history(cells)
    ne.tl.train(cells, space="pca")
    with pytest.raises(ValueError, match="the space 'pca' was not trained in epochs"):
        ne.pl.history(cells)
