"""One panel a marker: which, which curves, and that they are densities of the right cells."""

import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.colors import to_hex
from scipy import sparse

import neuronedit as ne
from neuronedit.pl._curves import CURVE_STYLES, estimate_density
from neuronedit.pl._figure import ROLES, ink

POPULATIONS = {"source": "control_1", "target": "control_2", "query": "sample_1"}


@pytest.fixture
def adata(trained):
    ne.tl.edit(trained, "group", **POPULATIONS, edit="percentile")
    return trained


def query(adata, layer=None):
    cells = adata[adata.obs["group"] == "sample_1"]
    return cells.X if layer is None else cells.layers[layer]


def curves(ax):
    return [line.get_xydata() for line in ax.lines]


def test_a_density_has_an_area_of_1_and_stays_within_the_values():
    values = np.random.default_rng(0).gamma(2, size=2000) * (np.arange(2000) % 3 > 0)  # a third are zero
    x, y = estimate_density(values)
    assert np.trapezoid(y, x) == pytest.approx(1)
    assert x[0] == values.min() and x[-1] == values.max() and (np.diff(x) >= 0).all()
    assert y[0] == y[-1] == 0 and (y >= 0).all()
    assert x[y.argmax()] < 0.05  # the pile of zeros is at zero
    is_between = (values > 1) & (values < 2)
    assert np.trapezoid(y[(x > 1) & (x < 2)], x[(x > 1) & (x < 2)]) == pytest.approx(is_between.mean(), abs=0.03)


@pytest.mark.parametrize("values", [np.zeros(50), np.ones(1), np.array([1.0, 2.0])])
def test_a_density_of_few_or_equal_values(values):
    x, y = estimate_density(values)
    assert np.isfinite(x).all() and np.isfinite(y).all() and np.trapezoid(y, x) == pytest.approx(1)


def test_what_the_edit_moved_most_is_drawn(adata):
    axes = ne.pl.densities(adata)
    moved = np.abs(query(adata, "edited") - query(adata)).mean(axis=0)
    assert [ax.get_title().split("\n")[0] for ax in axes] == adata.var_names[np.argsort(-moved)[:12]].tolist()
    assert len(axes[0].figure.axes) == 12


def test_the_curves_are_those_of_the_named_cells(adata):
    ax = ne.pl.densities(adata, ["IFNg"], truth="sample_2", source_and_target=True)
    i = adata.var_names.get_loc("IFNg")
    group = adata.obs["group"]
    cells = [adata.X[group == name, i] for name in ("control_1", "control_2", "sample_2", "sample_1")]
    cells.append(query(adata, "edited")[:, i])
    assert len(ax.lines) == 5
    for line, values, role in zip(ax.lines, cells, CURVE_STYLES, strict=True):
        np.testing.assert_allclose(line.get_xydata().T, estimate_density(values), atol=1e-4)
        assert line.get_color() == ROLES.get(role, ink(0))
    names = [text.get_text() for text in ax.get_legend().get_texts()]
    assert names == [
        "source: control_1",
        "target: control_2",
        "truth: sample_2",
        "query: sample_1",
        "query, edited",
    ] + ["mean"]


def test_truth(adata):
    def third_curve(**truth):
        ax = ne.pl.densities(adata, ["IFNg"], **truth)
        assert len(ax.lines) == 3
        return curves(ax)[0]

    i = adata.var_names.get_loc("IFNg")
    simulated = np.stack(estimate_density(query(adata, "truth")[:, i]), axis=1)
    np.testing.assert_allclose(third_curve(truth_layer="truth"), simulated, atol=1e-4)
    by_name = third_curve(truth="sample_2")
    np.testing.assert_allclose(third_curve(truth={"batch": "batch_2", "role": "sample"}), by_name)
    assert len(ne.pl.densities(adata, ["IFNg"]).lines) == 2


def test_means_stand_above_each_other_over_the_curves(adata):
    ax = ne.pl.densities(adata, ["IFNg"], truth="sample_2", source_and_target=True)
    x, y = np.concatenate([dot.get_offsets() for dot in ax.collections]).T
    i, group = adata.var_names.get_loc("IFNg"), adata.obs["group"]
    means = [adata.X[group == name, i].mean() for name in ("control_1", "control_2", "sample_2", "sample_1")]
    np.testing.assert_allclose(x, [*means, query(adata, "edited")[:, i].mean()], atol=1e-5)
    tops = max(line.get_ydata().max() for line in ax.lines) / ax.get_ylim()[1]
    assert (np.diff(y) < 0).all() and y[0] < 1 and y[-1] > tops
    assert [to_hex(dot.get_facecolor()[0]).upper() for dot in ax.collections][3:] == [ROLES["query"], ROLES["edited"]]


def test_the_standard_error_of_the_edited_mean(adata):
    assert len(ne.pl.densities(adata, ["IFNg"]).lines) == 2
    ne.tl.bootstrap(adata, n_bootstrap=3, progress_bar=False)
    ax, error = ne.pl.densities(adata, ["IFNg"]), adata.uns["edited"]["features"].loc["IFNg", "mean_error"]
    bar, mean = ax.lines[2], query(adata, "edited")[:, adata.var_names.get_loc("IFNg")].mean()
    np.testing.assert_allclose(bar.get_xdata(), [mean - error, mean + error], atol=1e-5)
    assert bar.get_color() == ROLES["edited"] and bar.get_ydata()[0] == ax.collections[1].get_offsets()[0, 1]
    assert [text.get_text() for text in ax.get_legend().get_texts()][2:] == ["mean", "± standard error"]


def test_long_names_have_several_lines(adata):
    adata.var_names = [f"{name}_phosphorylated_and_acetylated" for name in adata.var_names]
    first, second = ne.pl.densities(adata, list(adata.var_names[:2]))
    first.figure.canvas.draw()
    assert first.get_title().replace("\n", "") == adata.var_names[0]
    assert not first.title.get_window_extent().overlaps(second.title.get_window_extent())


def test_a_pile_of_zeros_stands_beside_the_curves(adata):
    i, is_query = adata.var_names.get_loc("IFNg"), (adata.obs["group"] == "sample_1").to_numpy()
    adata.X[np.flatnonzero(is_query)[:90], i] = 0
    values = query(adata)[:, i]
    ax = ne.pl.densities(adata, ["IFNg"])
    (pile,) = ax.child_axes
    bars = [bar.get_height() for bar in pile.patches]
    assert bars == pytest.approx([(values == 0).mean(), (query(adata, "edited")[:, i] == 0).mean()])
    x, y = curves(ax)[0].T
    assert np.trapezoid(y, x) == pytest.approx((values != 0).mean()) and x.min() > 0
    before, after = ((cells[:, i] > 0).mean() for cells in (query(adata), query(adata, "edited")))
    assert ax.get_title() == f"IFNg\n{100 * before:.0f} → {100 * after:.0f} % above 0"
    means = [float(points.get_offsets()[0, 0]) for points in ax.collections]
    np.testing.assert_allclose(means, [values.mean(), query(adata, "edited")[:, i].mean()], atol=1e-4)


def test_a_marker_that_is_zero_in_all_cells(adata):
    adata.X[:, 0] = adata.layers["edited"][:, 0] = 0
    ax = ne.pl.densities(adata, list(adata.var_names[:1]))
    assert not [line for line in ax.lines if len(line.get_xdata()) > 1]
    assert [bar.get_height() for bar in ax.child_axes[0].patches] == [1, 1]


def test_a_batch_of_a_correction(adata):
    ne.tl.correct(adata, "batch", control_key="role", reference="batch_2", edit="percentile")
    ax = ne.pl.densities(adata, ["IFNg"], key="corrected", batch="batch_1", source_and_target=True)
    names = [text.get_text() for text in ax.get_legend().get_texts()[:4]]
    assert names == [
        "control of batch_1", "control of batch_2", "samples of batch_1", "samples of batch_1, corrected"
    ]  # fmt: skip
    i, group = adata.var_names.get_loc("IFNg"), adata.obs["group"]
    np.testing.assert_allclose(curves(ax)[0].T, estimate_density(adata.X[group == "control_1", i]), atol=1e-4)
    corrected = adata.layers["corrected"][group == "sample_1", i]
    np.testing.assert_allclose(curves(ax)[3].T, estimate_density(corrected), atol=1e-4)
    with pytest.raises(ValueError, match="corrected batch by batch.*Name one with batch=.*'batch_1'"):
        ne.pl.densities(adata, key="corrected")
    with pytest.raises(ValueError, match="has no 'batch_2' with a control and samples"):
        ne.pl.densities(adata, key="corrected", batch="batch_2")
    with pytest.raises(ValueError, match="holds one edit and no batches"):
        ne.pl.densities(adata, batch="batch_1")


def test_labels_and_limits(adata):
    adata.var.loc["CCR6", "X_arcsinh_cofactor"] = np.nan
    first, second = ne.pl.densities(adata, ["IFNg", "CCR6"])
    assert (first.get_title(), first.get_xlabel(), first.get_ylabel()) == ("IFNg", "arcsinh, cofactor 5", "density")
    assert (second.get_title(), second.get_xlabel(), second.get_ylabel()) == ("CCR6", "", "")
    assert not len(first.get_yticks()) and first.get_ylim()[0] == 0
    assert second.get_legend() and not first.get_legend()
    low, high = first.get_xlim()
    assert low < np.quantile(query(adata)[:, adata.var_names.get_loc("IFNg")], 0.01) < high


def test_legend_is_outside(adata):
    axes = ne.pl.densities(adata, adata.var_names[:6])
    axes[0].figure.canvas.draw()
    legend = axes[3].get_legend().get_window_extent()
    assert legend.x0 >= max(ax.get_window_extent().x1 for ax in axes) and legend.x1 <= axes[0].figure.bbox.x1


def test_sparse_layers_strings_and_views(adata):
    expected = curves(ne.pl.densities(adata, "IFNg"))
    adata.X = sparse.csr_matrix(adata.X)
    adata.obs["group"] = adata.obs["group"].astype(str)
    view = adata[adata.obs["group"] != "sample_2"]
    for cells in (adata, view):
        np.testing.assert_allclose(curves(ne.pl.densities(cells, "IFNg")), expected, atol=1e-4)
    assert view.is_view


def test_own_axes_figure_and_nothing_written(adata):
    before = adata.copy()
    figure, grid = plt.subplots(2, 2)
    assert ne.pl.densities(adata, adata.var_names[:4], ax=grid) == list(grid.flat)
    assert ne.pl.densities(adata, "IFNg", ax=grid[0, 0]) is grid[0, 0]
    assert ne.pl.densities(adata, "IFNg", ax=grid[0, 0], return_fig=True) is figure
    with pytest.raises(ValueError, match="ax holds 4 axes; 1 panels are to be drawn"):
        ne.pl.densities(adata, "IFNg", ax=grid)
    for slot in ("obs", "var", "uns", "obsm", "layers"):
        assert list(getattr(adata, slot)) == list(getattr(before, slot))


BAD = {
    "feature": ({"features": ["IFN"]}, "'IFN' is not in adata.var_names; it has 'CD3'"),
    "no feature": ({"features": []}, "features is empty"),
    "truth": ({"truth": "sample_9"}, r"truth: 'sample_9' is not in obs\['group'\]; it has 'control_1'"),
    "column": ({"truth": {"donor": "a"}}, "'donor' is not in adata.obs; it has 'group'"),
    "no such cells": (
        {"truth": {"batch": "batch_1", "group": "sample_2"}},
        "truth: no cell has batch='batch_1' and group",
    ),
    "layer": ({"truth_layer": "true"}, "'true' is not in adata.layers; it has 'truth', 'edited'"),
    "two truths": ({"truth": "sample_2", "truth_layer": "truth"}, "give one of the two"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input(adata, name):
    arguments, message = BAD[name]
    with pytest.raises((KeyError, ValueError), match=message):
        ne.pl.densities(adata, **arguments)
    assert not plt.get_fignums()


def test_a_value_needs_a_column(trained):
    ne.tl.edit(trained, **{role: {"group": value} for role, value in POPULATIONS.items()}, edit="percentile")
    with pytest.raises(ValueError, match="truth='sample_2' is a value of a column: give groupby, or a dict"):
        ne.pl.densities(trained, truth="sample_2")
