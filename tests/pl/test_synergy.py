"""Departures: rows and their order, where the dots are, the title and what is not drawn."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from anndata import read_h5ad
from matplotlib.colors import to_hex

import neuronedit as ne
from neuronedit.pl._combination import ASIDE, DEPARTING_COLOR, TREATMENT_STYLES
from neuronedit.pl._figure import vivid

DESIGN = {"control": "basal", "effects": ["A", "B"]}


@pytest.fixture(scope="module")
def _measured():
    adata = ne.datasets.simulate_combination(n_cells=300, interaction=2.0)
    ne.tl.train(adata, space="identity")
    ne.tl.synergy(adata, "condition", **DESIGN, measured="A+B", n_bootstrap=10)
    return adata


@pytest.fixture
def adata(_measured):
    """With a measured combination that departs in pERK and p4EBP1."""
    return _measured.copy()


def labels(ax):
    return [label.get_text() for label in ax.get_yticklabels()]


def legend(ax):
    return [text.get_text() for text in ax.get_legend().get_texts()]


def dots(ax):
    """Places of all dots by the colour of their edge."""
    found = {}
    for points in ax.collections:
        if len(points.get_offsets()) and not hasattr(points, "get_segments"):
            edge = points.get_edgecolors() if len(points.get_edgecolors()) else points.get_facecolors()
            found[to_hex(edge[0]).upper()] = points.get_offsets().data
    return found


def bars(ax):
    """Ends of all intervals by row."""
    segments = [s for lines in ax.collections if hasattr(lines, "get_segments") for s in lines.get_segments()]
    return {float(s[0][1]): s[:, 0].tolist() for s in segments}


def test_what_departs_comes_first_then_what_differs_most(adata):
    differences, effects = ne.pl.synergy(adata)
    table = adata.uns["synergy"]["features"]
    table["size"] = (table["difference"] / table["sd"]).abs()
    wanted = table.sort_values(["departs", "size"], ascending=False).index[:20]
    assert labels(differences) == [*wanted, "15 more"] and set(wanted[:2]) == {"pERK", "p4EBP1"}
    assert differences.yaxis_inverted() and effects.get_ylim() == differences.get_ylim()
    assert labels(effects) == []  # they stand beside the same rows


def test_differences_and_intervals_are_in_standard_deviations(adata):
    differences, _ = ne.pl.synergy(adata, most=6)
    table = adata.uns["synergy"]["features"].loc[labels(differences)[:6]]
    scaled = table[["difference", "low", "high"]].div(table["sd"], axis=0)
    drawn = np.concatenate(list(dots(differences).values()))
    np.testing.assert_allclose(drawn[np.argsort(drawn[:, 1]), 0], scaled["difference"])
    np.testing.assert_allclose([bars(differences)[y] for y in range(6)], scaled[["low", "high"]])
    assert differences.get_xlabel() == "measured − predicted\n(standard deviations)"
    (band,) = differences.patches
    assert sorted({*band.get_extents().transformed(differences.transData.inverted()).get_points()[:, 0].round(6)}) == [
        -0.1,
        0.1,
    ]


def test_what_departs_is_filled_in_a_strong_colour(adata):
    differences, _ = ne.pl.synergy(adata, most=6)
    found = dots(differences)
    assert len(found[DEPARTING_COLOR]) == 2 and len(found) == 2 and found[DEPARTING_COLOR][:, 1].tolist() == [0, 1]
    filled = {to_hex(points.get_facecolors()[0]).upper() for points in differences.collections[1::2]}
    assert filled == {DEPARTING_COLOR, "#FFFFFF"}


def test_effects_of_the_same_features(adata):
    differences, effects = ne.pl.synergy(adata, most=6)
    table = adata.uns["synergy"]["features"].loc[labels(differences)[:6]]
    for role, style in TREATMENT_STYLES.items():
        places = dots(effects)[style["color"].upper()][:, 1]
        np.testing.assert_allclose(places, np.arange(6) + ASIDE[role])
        np.testing.assert_allclose(dots(effects)[style["color"].upper()][:, 0], table[f"effect_{role}"] / table["sd"])
    assert effects.get_xlabel() == "effect alone\n(standard deviations)"
    groups = ["departs (FDR 5 %)", "does not depart"]
    others = ["95 % interval", "margin: ± 0.1\nstandard deviations", "A alone", "B alone"]
    assert legend(effects) == groups + others
    assert legend(ne.pl.synergy(adata, most=2)[1]) == groups[:1] + others  # what is not drawn is not explained
    adata.uns["synergy"]["features"]["departs"] = False
    assert legend(ne.pl.synergy(adata)[1]) == groups[1:] + others


def test_colours_on_a_dark_ground(adata):
    with plt.style.context("dark_background"):
        differences, _ = ne.pl.synergy(adata, most=6)
        strong = vivid(DEPARTING_COLOR)
    assert strong != DEPARTING_COLOR and len(dots(differences)[strong.upper()]) == 2


def test_all_features_fit_and_nothing_is_hidden(adata):
    assert len(labels(ne.pl.synergy(adata, most=35)[0])) == len(labels(ne.pl.synergy(adata, most=99)[0])) == 35


def test_what_does_not_generalize_is_the_title(adata):
    assert ne.pl.synergy(adata)[0].get_title(loc="left") == ""
    table = adata.uns["synergy"]["generalizes"]
    table.loc["B on A", ["recurs", "verdict"]] = [-0.07, "does not generalize"]
    title = ne.pl.synergy(adata)[0].get_title(loc="left")
    assert title == "B does not generalize to cells of A: −7 % recurs"
    adata.uns["synergy"]["generalizes"] = table.assign(effect="B" * 50, given="A" * 50)
    figure = ne.pl.synergy(adata, return_fig=True)
    figure.canvas.draw()
    box = figure.axes[0]._left_title.get_window_extent()
    assert "\n" in figure.axes[0].get_title(loc="left")
    assert box.x1 <= figure.bbox.x1 and box.y1 <= figure.bbox.y1


def test_a_feature_that_does_not_vary(adata):
    adata.uns["synergy"]["features"].loc["CD3", ["difference", "low", "high", "sd"]] = 0.0
    differences, _ = ne.pl.synergy(adata, most=99)
    assert labels(differences)[-1] == "CD3"
    differences.figure.canvas.draw()


def test_a_result_read_from_a_file(adata, tmp_path):
    adata.write_h5ad(tmp_path / "a.h5ad")
    from_file = read_h5ad(tmp_path / "a.h5ad")
    assert labels(ne.pl.synergy(adata)[0]) == labels(ne.pl.synergy(from_file)[0])


@pytest.mark.parametrize("most", [1, 20])
def test_nothing_leaves_the_figure(adata, most):
    figure = ne.pl.synergy(adata, most=most, return_fig=True)
    figure.canvas.draw()
    last = figure.axes[-1]
    assert last.get_legend().get_window_extent().x0 >= last.get_window_extent().x1
    for artist in (*figure.axes[0].get_yticklabels(), last.get_legend(), last.xaxis.label):
        box = artist.get_window_extent()
        assert box.x0 >= 0 and box.y0 >= 0 and box.x1 <= figure.bbox.x1 and box.y1 <= figure.bbox.y1


def test_own_axes_figure_and_nothing_written(adata):
    before = adata.uns["synergy"]["features"].copy()
    figure, axes = plt.subplots(1, 2)
    assert ne.pl.synergy(adata, ax=axes) == list(axes)
    assert ne.pl.synergy(adata, ax=axes, return_fig=True) is figure
    pd.testing.assert_frame_equal(adata.uns["synergy"]["features"], before)


BAD = {
    "nothing": (lambda adata: adata.uns.clear(), {}, r"uns\['synergy'\] holds no synergy; call ne.tl.synergy first"),
    "another key": (lambda adata: None, {"key": "neuronedit"}, r"uns\['neuronedit'\] holds no synergy"),
    "most": (lambda adata: None, {"most": 0}, "most must be at least 1; it is 0"),
    "axes": (lambda adata: None, {"ax": []}, "ax holds 0 axes; 2 panels are to be drawn"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input(adata, name):
    change, arguments, message = BAD[name]
    change(adata)
    with pytest.raises((KeyError, ValueError), match=message):
        ne.pl.synergy(adata, **arguments)
    assert not plt.get_fignums()
