"""Rankings: rows and their order, where the dots are, what the score is called and what is not drawn."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_hex

import neuronedit as ne
from neuronedit.pl._combination import TREATMENTS
from neuronedit.pl._figure import vivid
from neuronedit.pl._rows import INTERVAL_ALPHA


@pytest.fixture
def table():
    """Made-up scores of three combinations."""
    table = pd.DataFrame({"predicted": [0.9, 0.5, 0.2], "score_a": [0.6, 0.6, 0.3], "score_b": [0.5, 0.4, 0.1]})
    table = table.assign(low=table["predicted"] - 0.1, high=table["predicted"] + 0.2, control=0.35, agreement=1.0)
    table.index = ["A+B", "A+C", "B+C"]
    return table


def labels(ax):
    return [label.get_text() for label in ax.get_yticklabels()]


def legend(ax):
    return [text.get_text() for text in ax.get_legend().get_texts()]


def dots(ax):
    """Places of all dots by the colour of their edge."""
    found = {}
    for points in ax.collections:
        edge = points.get_edgecolors() if len(points.get_edgecolors()) else points.get_facecolors()
        found.setdefault(to_hex(edge[0]).upper(), []).extend(points.get_offsets().data.tolist())
    return {color: np.array(places) for color, places in found.items()}


def test_combinations_stand_in_their_order_with_what_they_are_made_of(table):
    ax = ne.pl.rank_combinations(table)
    assert labels(ax) == ["A+B", "A+C", "B+C"] and ax.yaxis_inverted()
    np.testing.assert_allclose(dots(ax)[TREATMENTS["both"]], np.c_[table["predicted"], range(3)])
    for role in "ab":
        expected = np.c_[table[f"score_{role}"], np.arange(3) + 0.3]
        np.testing.assert_allclose(dots(ax)[TREATMENTS[role].upper()], expected)
    control, *intervals = (line.get_xdata() for line in ax.lines)
    assert control[0] == 0.35
    np.testing.assert_allclose(intervals, table[["low", "high"]])
    assert legend(ax) == ["predicted", "95 % interval", "first in name, alone", "second in name, alone", "control"]
    assert labels(ne.pl.rank_combinations(table, most=2)) == ["A+B", "A+C", "1 more"]


def test_colours_on_a_dark_ground(table):
    with plt.style.context("dark_background"):
        ax = ne.pl.rank_combinations(table)
        strong = vivid(TREATMENTS["both"])
    assert strong != TREATMENTS["both"] and len(dots(ax)[strong.upper()]) == 3
    _, *intervals = ax.lines
    assert {(line.get_color(), line.get_alpha()) for line in intervals} == {(strong, INTERVAL_ALPHA[True])}


def kill(cells):
    return 1.0


SCORES = {
    "none": (None, "score"),
    "marker": ("pERK", "mean pERK"),
    "gate": (
        {"CD38": (1.5, None), "CD3": (None, 1), "CD4": (-1, 2)},
        "share of cells with CD38 ≥ 1.5, CD3 ≤ 1, −1 ≤ CD4 ≤ 2",
    ),
    "names with a hyphen": ({"HLA-DR": (1.5, None)}, "share of cells with HLA-DR ≥ 1.5"),
    "function": (kill, "kill"),
}


@pytest.mark.parametrize("name", SCORES)
def test_the_score_is_named(table, name):
    score, label = SCORES[name]
    assert ne.pl.rank_combinations(table, score=score).get_xlabel().replace("\n", " ") == label


def test_what_tl_rank_combinations_returns():
    adata = ne.datasets.simulate_combination(n_cells=100)
    ne.tl.train(adata, space="identity")
    table = ne.tl.rank_combinations(
        adata, "condition", control="basal", effects=["A", "B", "A+B"], score={"CD38": (1.5, None)}, n_bootstrap=3
    )
    assert labels(ne.pl.rank_combinations(table)) == list(table.index)


@pytest.mark.parametrize("most", [1, 20])
def test_nothing_leaves_the_figure(table, most):
    figure = ne.pl.rank_combinations(table, most=most, score={"CD38": (1.5, 2.5)}, return_fig=True)
    figure.canvas.draw()
    (ax,) = figure.axes
    assert ax.get_legend().get_window_extent().x0 >= ax.get_window_extent().x1
    for artist in (*ax.get_yticklabels(), ax.get_legend(), ax.xaxis.label):
        box = artist.get_window_extent()
        assert box.x0 >= 0 and box.y0 >= 0 and box.x1 <= figure.bbox.x1 and box.y1 <= figure.bbox.y1


def test_own_axes_figure_and_nothing_written(table):
    before = table.copy()
    figure, ax = plt.subplots()
    assert ne.pl.rank_combinations(table, ax=ax) is ax
    assert ne.pl.rank_combinations(table, ax=ax, return_fig=True) is figure
    pd.testing.assert_frame_equal(table, before)


BAD = {
    "not a table": (lambda table: None, {}, "table must be what ne.tl.rank_combinations returned; it is None"),
    "another table": (lambda table: table.drop(columns="score_a"), {}, "table has no column 'score_a'; it has"),
    "most": (lambda table: table, {"most": 0}, "most must be at least 1; it is 0"),
    "empty gate": (lambda table: table, {"score": {}}, "score must be a feature, a gate such as"),
    "score": (lambda table: table, {"score": {"CD38": 1.5}}, "score must be a string, a dict of strings to 2 values"),
    "axes": (lambda table: table, {"ax": []}, "ax must be an Axes or None; it is \\[\\]"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input(table, name):
    change, arguments, message = BAD[name]
    with pytest.raises((TypeError, KeyError, ValueError), match=message):
        ne.pl.rank_combinations(change(table), **arguments)
    assert not plt.get_fignums()
