"""What is drawn: panels, titles, labels, limits, counts of points, colours, order."""

import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.colors import to_hex
from matplotlib.path import Path
from scipy import sparse

import neuronedit as ne
from neuronedit.pl._figure import ink


@pytest.fixture
def adata(cells):
    cells.layers["edited"] = cells.X + 1
    return cells


def draw(adata, **arguments):
    return ne.pl.biaxial(adata, **{"x": "IFNg", "y": "CCR6", "groupby": "group"} | arguments)


def test_one_panel_a_layer_with_shared_scales(adata):
    axes = draw(adata)
    assert [ax.get_title() for ax in axes] == ["measured", "edited"]
    assert axes[0].get_xlim() == axes[1].get_xlim() and axes[0].get_ylim() == axes[1].get_ylim()
    assert axes[0].get_xlabel() == "IFNg (arcsinh, cofactor 5)"
    assert axes[1].get_xlabel() == "IFNg"  # this layer was written by hand: its units are unknown
    assert axes[0].get_ylabel() == "CCR6 (arcsinh, cofactor 5)"
    low, high = axes[0].get_xlim()
    assert low < adata[:, "IFNg"].X.min() and high > adata[:, "IFNg"].layers["edited"].max()


def test_every_cell_is_a_point_in_its_place_and_colour(adata):
    ax = draw(adata, layers=[None])
    (points,) = ax.collections
    assert len(points.get_offsets()) == adata.n_obs
    assert points.get_rasterized()
    colors = dict(zip(adata.obs["group"].cat.categories, ne.pl._figure.OKABE_ITO, strict=False))
    wanted = [
        (*xy, colors[group].lower()) for xy, group in zip(adata[:, ["IFNg", "CCR6"]].X, adata.obs["group"], strict=True)
    ]
    drawn = [(*xy, to_hex(c)) for xy, c in zip(points.get_offsets(), points.get_facecolors(), strict=True)]
    assert sorted((round(float(x), 4), round(float(y), 4), c) for x, y, c in drawn) == sorted(
        (round(float(x), 4), round(float(y), 4), c) for x, y, c in wanted
    )


def test_the_order_is_the_same_each_time_and_hides_no_group(adata):
    first, second = (draw(adata, layers=[None]).collections[0] for _ in range(2))
    assert np.array_equal(first.get_offsets(), second.get_offsets())
    colors = np.array([to_hex(c) for c in first.get_facecolors()])
    for color in np.unique(colors):
        where = np.flatnonzero(colors == color) / len(colors)
        assert 0.4 < where.mean() < 0.6 and where.min() < 0.05 and where.max() > 0.95


def test_groups_are_chosen_and_ordered(adata):
    ax = draw(adata, layers=[None], groups=["sample_1", "control_2"])
    assert len(ax.collections[0].get_offsets()) == 300
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["sample_1", "control_2"]
    assert ax.get_legend().get_title().get_text() == "group"


def test_legend_is_outside(adata):
    axes = draw(adata)
    axes[0].figure.canvas.draw()
    legend = axes[-1].get_legend().get_window_extent()
    assert legend.x0 >= axes[-1].get_window_extent().x1
    assert legend.x1 <= axes[0].figure.bbox.x1


def test_contours_enclose_their_share_of_the_cells():
    adata = ne.datasets.simulate_batches(n_cells=4000)
    ax = draw(adata, layers=[None], groups=["control_2"], kind="contours")
    filled, outline = ax.collections
    x, y = adata[adata.obs["group"] == "control_2", ["IFNg", "CCR6"]].X.T
    enclosed = 0.0
    for path, between in zip(filled.get_paths()[::-1], (0.25, 0.25, 0.25, 0.2), strict=True):  # from the inside
        assert count_within(path, x, y) == pytest.approx(between, abs=0.06)
        enclosed += count_within(path, x, y)
    assert enclosed == pytest.approx(0.95, abs=0.04)
    assert count_within(outline.get_paths()[0], x, y) == pytest.approx(0.95, abs=0.04)
    opacities = filled.get_facecolors()[:, 3]
    assert (np.diff(opacities) > 0).all() and opacities[-1] == pytest.approx(0.6)  # darker towards the middle
    assert {to_hex(c) for c in filled.get_facecolors()} == {to_hex(outline.get_edgecolors()[0])}


def count_within(path, x, y):
    """Return the share of points in an odd number of the rings of a path."""
    n_rings_around = sum(Path(ring).contains_points(np.c_[x, y]).astype(int) for ring in path.to_polygons())
    return np.mean(n_rings_around % 2)


def test_auto_draws_contours_for_many_cells(adata, monkeypatch):
    monkeypatch.setattr("neuronedit.pl._biaxial.MAX_CELLS_AS_POINTS", 100)
    ax = draw(adata, layers=[None], groups=["control_1", "sample_1"])
    assert len(ax.collections) == 4  # filled, and an outline, of each
    names = [text.get_text() for text in ax.get_legend().get_texts()]
    assert names == ["control_1", "sample_1", *(f"{share} % of the cells" for share in (25, 50, 75, 95))]


def test_more_than_three_groups_have_panels_of_their_own(adata):
    groups = list(adata.obs["group"].cat.categories)
    axes = draw(adata, kind="contours")
    assert [ax.get_title() for ax in axes] == [
        f"{group}\n{layer}" for layer in ("measured", "edited") for group in groups
    ]
    assert len({ax.get_xlim() for ax in axes}) == len({ax.get_ylim() for ax in axes}) == 1
    for ax, color in zip(axes, [*ne.pl._figure.OKABE_ITO[:4]] * 2, strict=True):
        others, _, _, own = ax.collections
        assert to_hex(own.get_edgecolors()[0]) == color.lower()
        assert to_hex(others.get_facecolors()[0]) == ink(0.7)
    assert axes[0].get_ylabel() and not axes[1].get_ylabel() and not axes[0].get_xlabel() and axes[-1].get_xlabel()
    assert axes[3].get_legend().get_texts()[0].get_text() == "all other groups"
    assert len(draw(adata, kind="contours", by_group=False)) == 2
    assert len(draw(adata, kind="contours", ax=plt.subplots(1, 2)[1])) == 2  # as many as were given


def test_many_groups_stand_one_after_the_other(adata):
    adata.obs["many"] = [f"g{i % 6}" for i in range(adata.n_obs)]
    axes = draw(adata, groupby="many", by_group=True)
    assert [ax.get_title() for ax in axes[:3]] == ["g0\nmeasured", "g0\nedited", "g1\nmeasured"]
    assert len(axes) == 12 and axes[0].get_subplotspec().get_gridspec().ncols == 4
    grey, own = axes[0].collections
    assert len(grey.get_offsets()) == 500 and len(own.get_offsets()) == 100
    axes = draw(adata, groupby="many", by_group=True, layers=[None])  # 4 + 2
    assert [bool(ax.get_xlabel()) for ax in axes] == [False, False, True, True, True, True]


def test_arrows_join_the_means_before_and_after(adata):
    adata.layers["edited"][adata.obs["group"] != "sample_1"] = adata.X[adata.obs["group"] != "sample_1"]
    measured, edited = draw(adata)
    assert not measured.texts
    [arrow] = edited.texts  # only sample_1 moved
    before = adata[adata.obs["group"] == "sample_1", ["IFNg", "CCR6"]].X.mean(axis=0)
    np.testing.assert_allclose(arrow.xyann, before, atol=1e-4)
    np.testing.assert_allclose(arrow.xy, before + 1, atol=1e-4)
    assert edited.get_legend().get_texts()[-1].get_text() == "mean, measured → here"
    assert not draw(adata, arrows=False)[1].texts


def get_sign(ax, x, y):
    """Return whether the difference at a place is drawn as positive, negative or none."""
    filled = ax.collections[0]
    for level, path in zip(filled.levels, filled.get_paths(), strict=False):
        if path.vertices.size and count_within(path, [x], [y]):
            return (
                int(np.sign(level + 1e-9)) if level < 0 <= level + np.diff(filled.levels).max() else int(np.sign(level))
            )
    return 0


def test_difference_of_groups(adata):
    groups = ["control_1", "control_2", "sample_1"]
    axes = draw(adata, layers=[None], groups=groups, difference="groups")
    assert [ax.get_title() for ax in axes] == ["control_2 − control_1", "sample_1 − control_1"]
    place = [adata[adata.obs["group"] == group, ["IFNg", "CCR6"]].X.mean(axis=0) for group in groups]
    assert get_sign(axes[0], *place[0]) < 0 < get_sign(axes[0], *place[1])
    levels = axes[0].collections[0].levels
    np.testing.assert_allclose(levels, -levels[::-1])
    assert np.array_equal(levels, axes[1].collections[0].levels)
    assert axes[0].figure.axes[-1].get_ylabel() == "density minus that of control_1"


def test_difference_of_layers(adata):
    adata.layers["edited"] = adata.X + 2 * (adata.obs["group"] == "sample_1").to_numpy()[:, None]
    axes = draw(adata, groups=["control_1", "sample_1"], difference="layers")
    assert [ax.get_title() for ax in axes] == ["control_1\nedited − measured", "sample_1\nedited − measured"]
    before = adata[adata.obs["group"] == "sample_1", ["IFNg", "CCR6"]].X.mean(axis=0)
    assert get_sign(axes[1], *before) < 0 < get_sign(axes[1], *(before + 2))
    assert [text.get_text() for text in axes[0].texts] == ["no difference"]


@pytest.mark.parametrize("kind", ["points", "contours"])
def test_tiny_groups_and_constant_markers(adata, kind):
    adata.obs["few"] = ["a"] * 3 + ["b"] * (adata.n_obs - 3)
    adata.X[:, adata.var_names.get_loc("IFNg")] = 0
    adata.layers["edited"][:] = 0
    draw(adata, groupby="few", kind=kind)
    draw(adata, groupby="few", difference="groups")


def test_colors(adata):
    from matplotlib.colors import to_rgba

    adata.uns["group_colors"] = ["#111111", "#222222", "#333333", "#444444"]
    drawn = {to_hex(c) for c in draw(adata, layers=[None]).collections[0].get_facecolors()}
    assert drawn == set(adata.uns["group_colors"])
    ax = draw(adata, layers=[None], groups=["sample_1"], palette={"sample_1": "red"})
    assert {tuple(c[:3]) for c in ax.collections[0].get_facecolors()} == {to_rgba("red")[:3]}
    del adata.uns["group_colors"]
    adata.obs["many"] = np.arange(adata.n_obs) % 30
    assert len({to_hex(c) for c in draw(adata, layers=[None], groupby="many").collections[0].get_facecolors()}) == 30


@pytest.mark.parametrize("palette", ["tab10", "viridis", [(0.2, i / 4, 0.1) for i in range(4)]])
def test_a_palette_of_another_kind(adata, palette):
    drawn = {to_hex(color) for color in draw(adata, layers=[None], palette=palette).collections[0].get_facecolors()}
    assert len(drawn) == 4
    if isinstance(palette, str) and palette == "tab10":
        assert drawn == {to_hex(f"C{i}") for i in range(4)}


def test_sparse(adata):
    expected = draw(adata, layers=[None]).collections[0].get_offsets()
    adata.X = sparse.csr_matrix(adata.X)
    assert np.array_equal(draw(adata, layers=[None]).collections[0].get_offsets(), expected)


def test_own_axes_and_figure(adata):
    figure, axes = plt.subplots(1, 2)
    assert draw(adata, ax=axes) == list(axes)
    assert draw(adata, ax=axes).figure is figure
    assert draw(adata, layers=[None], ax=axes[0]) is axes[0]
    assert draw(adata, layers=[None], ax=axes[0], return_fig=True) is figure
    with pytest.raises(ValueError, match="ax holds 1 axes; 2 panels are to be drawn"):
        draw(adata, ax=axes[0])


BAD = {
    "marker": ({"x": "IFN"}, "'IFN' is not in adata.var_names; it has 'CD3'"),
    "column": ({"groupby": "grp"}, "'grp' is not in adata.obs; it has 'group'"),
    "group": ({"groups": ["control"]}, r"'control' is not in obs\['group'\]; it has 'control_1'"),
    "layer": ({"layers": [None, "edit"]}, "'edit' is not in adata.layers; it has 'truth', 'edited'"),
    "kind": ({"kind": "hexbin"}, "kind must be one of 'points', 'contours'; it is 'hexbin'"),
    "one group": ({"groups": ["sample_1"], "difference": "groups"}, "difference='groups' needs at least two groups"),
    "one layer": ({"layers": [None], "difference": "layers"}, "difference='layers' needs at least two layers"),
    "palette": ({"palette": ["red"]}, "palette has 1 colours for 4 groups"),
    "palette dict": ({"palette": {"control_1": "red"}}, "palette has no colour for"),
    "palette of no colours": ({"palette": ["red", "blau", "green", "black"]}, "palette has 'blau', which is no colour"),
    "palette name": ({"palette": "tab11"}, "palette='tab11' is no colour map of matplotlib, such as 'tab10'"),
    "no layers": ({"layers": []}, "layers is empty; name at least one"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input(adata, name):
    arguments, message = BAD[name]
    with pytest.raises((KeyError, ValueError), match=message):
        draw(adata, **arguments)
    assert not plt.get_fignums()


@pytest.mark.parametrize("empty", [lambda adata: adata[:0], lambda adata: adata[:0].copy()], ids=["a view", "a copy"])
def test_no_cells(adata, empty):
    with pytest.raises(ValueError, match="no cell has a value|has no values"):
        draw(empty(adata))
    assert not plt.get_fignums()
