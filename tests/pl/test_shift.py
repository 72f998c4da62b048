"""Cells and arrows in an embedding: where they are, how many are drawn, and in which colours."""

import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.colors import to_hex
from scipy import sparse

import neuronedit as ne
from neuronedit.pl._figure import ROLES, ink

POPULATIONS = {"source": "control_1", "target": "control_2", "query": "sample_1"}
BASIS = ("X_own", "X_own_edited")


@pytest.fixture
def adata(trained):
    ne.tl.edit(trained, "group", **POPULATIONS, edit="percentile")
    trained.obsm["X_own"] = trained.X[:, :3].copy()
    trained.obsm["X_own_edited"] = trained.layers["edited"][:, :3].copy()
    return trained


def groups(adata, before, after):
    found = {role: before[(adata.obs["group"] == value).to_numpy()] for role, value in POPULATIONS.items()}
    return found | {"edited": after[(adata.obs["group"] == POPULATIONS["query"]).to_numpy()]}


def arrows(panel):
    return [np.array([text.xyann, text.xy]) for text in panel.texts]


def test_principal_components(adata):
    ax = ne.pl.shift(adata)
    cells = groups(adata, adata.X, adata.layers["edited"])
    pooled = np.concatenate([cells[role] for role in POPULATIONS]).astype(np.float64)
    center = pooled.mean(axis=0)
    _, sizes, axes = np.linalg.svd(pooled - center, full_matrices=False)
    means = {role: (x.mean(axis=0) - center) @ axes[:2].T for role, x in cells.items()}
    expected = np.array([[means["source"], means["target"]], [means["query"], means["edited"]]])
    np.testing.assert_allclose(np.abs(arrows(ax)), np.abs(expected), atol=1e-3)  # an axis may point either way
    shares = sizes[:2] ** 2 / (sizes**2).sum()
    assert [ax.get_xlabel(), ax.get_ylabel()] == [f"PC{i} ({s:.1%} of variance)" for i, s in enumerate(shares, 1)]


def test_the_means_are_enlarged(adata):
    ax = ne.pl.shift(adata)
    (zoom,) = ax.child_axes
    np.testing.assert_allclose(arrows(zoom), arrows(ax))
    assert np.diff(zoom.get_xlim()) < np.diff(ax.get_xlim())
    ends = np.array(arrows(ax)).reshape(-1, 2)
    np.testing.assert_allclose(zoom.collections[1].get_offsets(), ends)
    assert (ends > [zoom.get_xlim()[0], zoom.get_ylim()[0]]).all() and (
        ends < [zoom.get_xlim()[1], zoom.get_ylim()[1]]
    ).all()


def test_the_observed_arrow_is_paler_than_the_applied_one(adata):
    observed, applied = (to_hex(text.arrow_patch.get_facecolor()) for text in ne.pl.shift(adata).child_axes[0].texts)
    assert (observed, applied) == (ink(0.45), ink(0))


def test_means_far_apart_are_not_enlarged(adata):
    adata.X[adata.obs["group"] == "control_2"] += 20
    ax = ne.pl.shift(adata)
    assert not ax.child_axes and len(arrows(ax)) == 2
    np.testing.assert_allclose(ax.collections[1].get_offsets(), np.array(arrows(ax)).reshape(-1, 2))


def test_every_cell_is_a_point_in_its_place_and_colour(adata):
    ax = ne.pl.shift(adata, basis=BASIS)
    cells = ax.collections[0]
    assert cells.get_rasterized() and (ax.get_xlabel(), ax.get_ylabel()) == ("own 1", "own 2")
    colors = np.array([to_hex(color).upper() for color in cells.get_facecolors()])
    for role, xy in groups(adata, *(adata.obsm[name][:, :2] for name in BASIS)).items():
        drawn = cells.get_offsets()[colors == ROLES[role]]
        np.testing.assert_allclose(np.sort(drawn, axis=0), np.sort(xy, axis=0), atol=1e-6)


def test_at_most_so_many_cells_of_a_group_and_the_same_each_time(adata, monkeypatch):
    means = arrows(ne.pl.shift(adata))
    monkeypatch.setattr("neuronedit.pl._shift.MAX_CELLS_PER_GROUP", 20)
    first, second = ne.pl.shift(adata), ne.pl.shift(adata)
    assert len(first.collections[0].get_offsets()) == 80
    assert np.array_equal(first.collections[0].get_offsets(), second.collections[0].get_offsets())
    np.testing.assert_allclose(arrows(first), means)


def test_legend_is_outside(adata):
    ax = ne.pl.shift(adata)
    names = [text.get_text() for text in ax.get_legend().get_texts()]
    assert names[:4] == ["source: control_1", "target: control_2", "query: sample_1", "query, edited"]
    assert names[4:] == ["observed change of the mean", "applied change of the mean"]
    ax.figure.canvas.draw()
    assert ax.get_legend().get_window_extent().x0 >= ax.get_window_extent().x1
    assert ax.get_legend().get_window_extent().x1 <= ax.figure.bbox.x1


def test_legend_names_any_selection(trained):
    source, target = {"batch": "batch_1", "role": ["control"]}, {"batch": ["batch_2"], "role": ["control"]}
    ne.tl.edit(trained, source=source, target=target, query={"role": "sample"}, edit="percentile")
    names = [text.get_text() for text in ne.pl.shift(trained).get_legend().get_texts()]
    assert names[:4] == ["source: batch_1, control", "target: batch_2, control", "query: sample", "query, edited"]
    trained.obs["many"] = [f"sample_{i}" for i in np.arange(600) // 20]
    source = [f"sample_{i}" for i in range(15)]
    ne.tl.edit(trained, "many", source=source, target="sample_29", query="sample_28", edit="percentile")
    name = ne.pl.shift(trained).get_legend().get_texts()[0].get_text()
    assert name == "source: sample_0 + sample_1 + sample_2 + sample…"


def test_sparse_layers_and_views(adata):
    expected = arrows(ne.pl.shift(adata))
    adata.X = sparse.csr_matrix(adata.X)
    np.testing.assert_allclose(arrows(ne.pl.shift(adata)), expected, atol=1e-4)
    view = adata[adata.obs["group"] != "sample_2"]
    np.testing.assert_allclose(arrows(ne.pl.shift(view)), expected, atol=1e-4)
    assert view.is_view


def test_an_edit_that_does_nothing(adata):
    adata.layers["edited"] = adata.X.copy()
    ax = ne.pl.shift(adata)
    ax.figure.canvas.draw()
    start, end = arrows(ax)[1]
    np.testing.assert_allclose(start, end)


def test_nothing_moves_at_all(adata):
    adata.X[:] = adata.layers["edited"][:] = 0
    adata.X[0, 0] = 1e-3
    ne.pl.shift(adata).figure.canvas.draw()


def test_own_axes_figure_and_nothing_written(adata):
    before = adata.copy()
    figure, ax = plt.subplots()
    assert ne.pl.shift(adata, ax=ax) is ax
    assert ne.pl.shift(adata, ax=ax, return_fig=True) is figure
    for slot in ("obs", "var", "uns", "obsm", "layers"):
        assert list(getattr(adata, slot)) == list(getattr(before, slot))
    assert np.array_equal(adata.X, before.X)


BAD = {
    "one name": (
        "X_umap",
        "basis must be two names in obsm: the cells before the edit, and after it or None; it is 'X_umap'",
    ),
    "three names": (("a", "b", "c"), "must be two names in obsm"),
    "unknown": (("X_own", "X_umap"), "'X_umap' is not in adata.obsm; it has"),
    "one column": (("X_own", "X_line"), r"obsm\['X_line'\] has the shape \(600, 1\)"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input(adata, name):
    basis, message = BAD[name]
    adata.obsm["X_line"] = adata.X[:, :1].copy()
    with pytest.raises((KeyError, TypeError, ValueError), match=message):
        ne.pl.shift(adata, basis=basis)
    assert not plt.get_fignums()


def test_one_feature(adata):
    with pytest.raises(ValueError, match="one feature is used; principal components need at least 2"):
        ne.pl.shift(adata[:, ["IFNg"]])
