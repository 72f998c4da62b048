"""Two treatments, measured and predicted: which cells stand in which panel, in which place and colour."""

import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.colors import to_hex

import neuronedit as ne
from neuronedit.pl._combination import TREATMENTS
from neuronedit.pl._figure import ink

N = 60


@pytest.fixture(scope="module")
def _both():
    adata = ne.datasets.simulate_combination(n_cells=N, interaction=2.0)
    ne.tl.train(adata, space="identity")
    adata.obs["condition"] = adata.obs["condition"].astype(str)
    adata.obs.loc[adata.obs_names[::8], "condition"] = "C"  # 30 cells of all kinds
    arguments = {"control": "basal", "effects": ["A", "B", "C"], "edit": "percentile"}
    return adata, ne.tl.combine(adata, "condition", **arguments)


@pytest.fixture
def both(_both):
    return tuple(one.copy() for one in _both)


def draw(both, **arguments):
    return ne.pl.combination(*both, **{"x": "p4EBP1", "y": "pSTAT5"} | arguments)


def drawn(panel):
    """Sorted places of all points, by role."""
    (points,) = panel.collections
    colors = np.array([to_hex(color).upper() for color in points.get_facecolors()])
    return {
        role: np.sort(points.get_offsets().data[colors == color.upper()], axis=0) for role, color in TREATMENTS.items()
    }


def cells(adata, mask):
    return np.sort(adata[np.asarray(mask), ["p4EBP1", "pSTAT5"]].X, axis=0)


def legend(axes):
    return [text.get_text() for text in axes[-1].get_legend().get_texts()]


def test_every_population_in_its_place_and_colour(both):
    adata, predicted = both
    measured, made = (drawn(panel) for panel in draw(both, measured="A+B"))
    for role, name in {"control": "basal", "a": "A", "b": "B"}.items():
        for panel in (measured, made):
            np.testing.assert_allclose(panel[role], cells(adata, adata.obs["condition"] == name))
    np.testing.assert_allclose(measured["both"], cells(adata, adata.obs["condition"] == "A+B"))
    np.testing.assert_allclose(made["both"], cells(predicted, predicted.obs["condition"] == "A+B"))
    assert len(made["both"]) == len(made["a"]) + len(made["b"])  # both orders


def test_titles_labels_and_scales(both):
    axes = draw(both, measured="A+B")
    assert [panel.get_title() for panel in axes] == ["measured", "predicted"]
    assert axes[0].get_xlabel() == "p4EBP1 (arcsinh, cofactor 5)"
    assert axes[0].get_ylabel() == "pSTAT5 (arcsinh, cofactor 5)" and axes[1].get_ylabel() == ""
    assert axes[0].get_xlim() == axes[1].get_xlim() and axes[0].get_ylim() == axes[1].get_ylim()
    assert legend(axes) == ["basal (control)", "A", "B", "A+B"]


def test_without_a_measured_combination(both):
    axes = draw(both)
    assert len(drawn(axes[0])["both"]) == 0 and len(drawn(axes[1])["both"]) > 0
    assert legend(axes) == ["basal (control)", "A", "B", "A+B (predicted)"]


@pytest.mark.parametrize("effects", [["A", "C"], ("C", "A")])
def test_another_combination_in_either_order(both, effects):
    adata, predicted = both
    axes = draw(both, effects=effects)
    one, other = (drawn(axes[1])[role] for role in "ab")
    for found, name in zip((one, other), effects, strict=True):
        np.testing.assert_allclose(found, cells(adata, adata.obs["condition"] == name))
    np.testing.assert_allclose(drawn(axes[1])["both"], cells(predicted, predicted.obs["condition"] == "A+C"))


def test_another_layer_and_key():
    adata = ne.datasets.simulate_combination(n_cells=N)
    adata.layers["more"] = adata.X + 1
    ne.tl.train(adata, space="identity", layer="more")
    predicted = ne.tl.combine(
        adata, "condition", control="basal", effects=["A", "B"], edit="percentile", key_added="mine"
    )
    axes = draw((adata, predicted), key="mine")
    np.testing.assert_allclose(drawn(axes[0])["a"], cells(adata, adata.obs["condition"] == "A") + 1, rtol=1e-6)


def test_treatments_that_are_numbers():
    adata = ne.datasets.simulate_combination(n_cells=N)
    adata.obs["dose"] = adata.obs["condition"].map({"basal": 0, "A": 1, "B": 2, "A+B": 3}).astype(int)
    ne.tl.train(adata, space="identity")
    predicted = ne.tl.combine(adata, "dose", control=0, effects=[1, 2], edit="percentile")
    axes = draw((adata, predicted), measured=3)
    assert legend(axes) == ["0 (control)", "1", "2", "3"]
    assert {role: len(at) for role, at in drawn(axes[1]).items()} == {"control": N, "a": N, "b": N, "both": 2 * N}


def lines(panel):
    """The colour of each outline: of all others, of the panel's own group, and of the measured cells."""
    return [to_hex(drawn.get_edgecolor()[0]).upper() for drawn in panel.collections if not drawn.get_fill()]


def test_contours_have_a_panel_for_each_population(both):
    axes = draw(both, measured="A+B", kind="contours")
    titles = ["basal (control)", "A", "B", "A+B, measured", "A+B, predicted"]
    assert [panel.get_title() for panel in axes] == titles
    assert all(hasattr(drawn, "levels") for panel in axes for drawn in panel.collections)
    own = [ink(0.3), TREATMENTS["a"], TREATMENTS["b"], TREATMENTS["both"], TREATMENTS["both"]]
    assert [lines(panel)[1] for panel in axes] == [color.upper() for color in own]
    assert {panel.get_xlim() for panel in axes} == {axes[0].get_xlim()}
    names = [text.get_text() for text in axes[2].get_legend().get_texts()]
    assert (names[0], names[-1]) == ("all other groups", "95 % of the cells, measured")


def test_the_measured_outline_stands_over_the_predicted_cells(both):
    axes = draw(both, measured="A+B", kind="contours")
    measured, predicted = (panel.collections[-1].get_paths() for panel in axes[3:])
    assert lines(axes[-1])[2] == "#000000" and [len(lines(panel)) for panel in axes[:4]] == [2] * 4
    np.testing.assert_allclose(predicted[0].vertices, measured[0].vertices)


def test_contours_without_a_measured_combination(both):
    axes = draw(both, kind="contours")
    assert [panel.get_title() for panel in axes] == ["basal (control)", "A", "B", "A+B, predicted"]
    assert len(lines(axes[-1])) == 2
    names = [text.get_text() for text in axes[1].get_legend().get_texts()]
    assert names == ["all other groups", *(f"{share} % of the cells" for share in (25, 50, 75, 95))]


def test_contours_over_each_other_in_two_panels_of_the_callers_own(both):
    axes = draw(both, measured="A+B", kind="contours", ax=plt.subplots(1, 2)[1])
    assert [panel.get_title() for panel in axes] == ["measured", "predicted"]
    assert [len(panel.collections) for panel in axes] == [8, 8]  # filled, and an outline, of each
    five = plt.subplots(1, 5)[1]
    assert draw(both, measured="A+B", kind="contours", ax=five) == list(five)
    with pytest.raises(ValueError, match="ax holds 4 axes; 5 panels are to be drawn"):
        draw(both, measured="A+B", kind="contours", ax=five[:4])


def test_many_cells_are_drawn_as_contours(both, monkeypatch):
    monkeypatch.setattr("neuronedit.pl._biaxial.MAX_CELLS_AS_POINTS", 100)
    assert len(draw(both, measured="A+B")) == 5


def test_kind_size_and_opacity(both):
    for panel in draw(both, kind="points", point_size=7, alpha=0.3):
        assert panel.collections[0].get_sizes().tolist() == [7] and panel.collections[0].get_alpha() == 0.3


def test_the_legend_is_beside_and_inside_the_figure(both):
    axes = draw(both, measured="A+B")
    axes[0].figure.canvas.draw()
    box = axes[-1].get_legend().get_window_extent()
    assert box.x0 >= axes[-1].get_window_extent().x1 and box.x1 <= axes[0].figure.bbox.x1


def test_own_axes_figure_and_nothing_written(both):
    before = [one.copy() for one in both]
    figure, axes = plt.subplots(1, 2)
    assert draw(both, ax=axes) == list(axes)
    assert draw(both, ax=axes, return_fig=True) is figure
    for one, old in zip(both, before, strict=True):
        assert one.obs.equals(old.obs) and list(one.uns) == list(old.uns) and np.array_equal(one.X, old.X)


def forget(column):
    return lambda adata, predicted: predicted.obs.pop(column)


def drop(adata, predicted):
    predicted._inplace_subset_obs((predicted.obs["condition"] != "A+B").to_numpy())


BAD = {
    "nothing": (
        lambda adata, predicted: predicted.uns.clear(),
        {},
        r"uns\['combined'\] holds no predicted combinations; call ne.tl.combine first",
    ),
    "key": (None, {"key": "mine"}, r"uns\['mine'\] holds no predicted combinations"),
    "layers": (forget("combined_from"), {}, "predicted: 'combined_from' is not in adata.obs; it has 'condition'"),
    "marker": (None, {"x": "p4EBP"}, "'p4EBP' is not in adata.var_names; it has"),
    "effects": (None, {"effects": ["A", "D"]}, r"effects must be two of 'A', 'B', 'C'; they are \['A', 'D'\]"),
    "one": (None, {"effects": ["A"]}, "effects must be two of"),
    "twice": (None, {"effects": ["A", "A"]}, "effects must be two of"),
    "text": (None, {"effects": "AB"}, "effects must be a list of values"),
    "measured": (
        None,
        {"measured": "A and B"},
        r"measured: 'A and B' is not in obs\['condition'\]; it has 'C', 'basal'",
    ),
    "alone": (None, {"measured": "A"}, "measured='A' is the control or one of the effects"),
    "other cells": (drop, {}, "predicted holds no cell under 'A' and 'B' together"),
    "kind": (None, {"kind": "hexbin"}, "kind must be one of 'points', 'contours'; it is 'hexbin'"),
    "axes": (None, {"ax": []}, "ax holds 0 axes; 2 panels are to be drawn"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input(both, name):
    change, arguments, message = BAD[name]
    if change:
        change(*both)
    with pytest.raises((KeyError, TypeError, ValueError), match=message):
        draw(both, **arguments)
    assert not plt.get_fignums()
