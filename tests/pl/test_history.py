import numpy as np
import pytest

import neuronedit as ne


def test_curves(cells):
    ne.tl.train(cells, widths=(8, 3), max_epochs=4, validation_size=0.2)
    ax = ne.pl.history(cells)
    history = cells.uns["neuronedit"]["history"]
    for line, name in zip(ax.lines, ("train_loss", "validation_loss"), strict=True):
        np.testing.assert_array_equal(line.get_xdata(), [1, 2, 3, 4])
        np.testing.assert_array_equal(line.get_ydata(), history[name])
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["training", "validation"]
    assert ax.get_xlabel() == "epoch" and "error" in ax.get_ylabel() and ax.get_yscale() == "log"


def test_without_validation(trained):
    assert len(ne.pl.history(trained).lines) == 1


def test_bad_input(cells):
    with pytest.raises(KeyError, match="holds no trained space"):
        ne.pl.history(cells)
    ne.tl.train(cells, space="pca")
    with pytest.raises(ValueError, match="the space 'pca' was not trained in epochs"):
        ne.pl.history(cells)
