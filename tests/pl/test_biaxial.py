"""What is drawn: panels, titles, labels, limits, counts of points, colours, order."""

import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.colors import to_hex
from matplotlib.path import Path
from scipy import sparse

import neuronedit as ne


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
    (contour,) = ax.collections
    x, y = adata[adata.obs["group"] == "control_2", ["IFNg", "CCR6"]].X.T
    for path, mass in zip(contour.get_paths(), (0.9, 0.6, 0.3), strict=True):
        rings = path.to_polygons()
        n_rings_around = sum(Path(ring).contains_points(np.c_[x, y]).astype(int) for ring in rings)
        assert np.mean(n_rings_around % 2) == pytest.approx(mass, abs=0.06)


def test_auto_draws_contours_for_many_cells(adata, monkeypatch):
    monkeypatch.setattr("neuronedit.pl._biaxial.MAX_CELLS_AS_POINTS", 100)
    assert len(draw(adata, layers=[None]).collections) == 4


@pytest.mark.parametrize("kind", ["points", "contours"])
def test_tiny_groups_and_constant_markers(adata, kind):
    adata.obs["few"] = ["a"] * 3 + ["b"] * (adata.n_obs - 3)
    adata.X[:, adata.var_names.get_loc("IFNg")] = 0
    adata.layers["edited"][:] = 0
    draw(adata, groupby="few", kind=kind)


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


def test_sparse(adata):
    expected = draw(adata, layers=[None]).collections[0].get_offsets()
    adata.X = sparse.csr_matrix(adata.X)
    assert np.array_equal(draw(adata, layers=[None]).collections[0].get_offsets(), expected)


def test_own_axes_and_figure(adata):
    figure, axes = plt.subplots(1, 2)
    assert draw(adata, ax=axes) == list(axes)
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
    "palette": ({"palette": ["red"]}, "palette has 1 colours for 4 groups"),
    "palette dict": ({"palette": {"control_1": "red"}}, "palette has no colour for"),
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
