"""The change of every marker: where its point is, what is named, and what the edit's record must hold."""

import json

import matplotlib.pyplot as plt
import numpy as np
import pytest
from scipy import sparse

import neuronedit as ne

POPULATIONS = {"source": "control_1", "target": "control_2", "query": "sample_1"}


@pytest.fixture
def adata(trained):
    ne.tl.edit(trained, "group", **POPULATIONS, edit="percentile")
    return trained


def changes(adata, statistic=np.median):
    x, group = adata.X, adata.obs["group"]
    center = {name: statistic(x[group == name], axis=0) for name in group.unique()}
    applied = statistic(adata.layers["edited"][group == "sample_1"], axis=0) - center["sample_1"]
    return np.stack([center["control_2"] - center["control_1"], applied], axis=1)


def points(ax):
    return ax.collections[0].get_offsets()


@pytest.mark.parametrize("statistic", [np.median, np.mean])
def test_a_point_for_each_marker_in_its_place(adata, statistic):
    ax = ne.pl.marker_shift(adata, statistic=statistic)
    np.testing.assert_allclose(points(ax), changes(adata, statistic), atol=1e-5)
    assert ax.get_xlabel() == f"observed change: target − source\n({statistic.__name__}; arcsinh, cofactor 5)"
    assert ax.get_ylabel() == f"applied change: edited − query\n({statistic.__name__}; arcsinh, cofactor 5)"


def test_where_most_values_are_zero_means_and_shares_are_drawn(adata):
    rng = np.random.default_rng(0)
    adata.X[rng.random(adata.shape) < 0.6] = 0
    means, shares = ne.pl.marker_shift(adata)
    np.testing.assert_allclose(points(means), changes(adata, np.mean), atol=1e-5)
    np.testing.assert_allclose(
        points(shares), changes(adata, lambda cells, axis: (cells > 0).mean(axis=axis)), atol=1e-5
    )
    assert "share of cells above 0" in shares.get_xlabel() and "(mean" in means.get_xlabel()
    one = plt.subplots()[1]
    assert ne.pl.marker_shift(adata, ax=one) is one
    assert "(median" in ne.pl.marker_shift(adata, statistic=np.median, above_zero=False).get_xlabel()


def test_a_batch_of_a_correction(adata):
    ne.tl.correct(adata, "batch", control_key="role", reference="batch_2", edit="percentile")
    adata.layers["edited"] = adata.layers["corrected"]
    ax = ne.pl.marker_shift(adata, key="corrected", batch="batch_1")
    np.testing.assert_allclose(points(ax), changes(adata), atol=1e-5)


def test_identity_line_equal_axes_and_r(adata):
    ax = ne.pl.marker_shift(adata)
    assert ax.get_xlim() == ax.get_ylim() and ax.get_aspect() == 1
    assert ax.lines[0].get_slope() == 1 and ax.lines[0].get_xy1() == (0, 0)
    r = ne.metrics.change_correlation(
        *(adata.X[(adata.obs["group"] == POPULATIONS[role]).to_numpy()] for role in ("source", "target", "query")),
        adata.layers["edited"][(adata.obs["group"] == "sample_1").to_numpy()],
    )
    assert ax.get_legend().get_title().get_text() == f"Pearson's r = {r:.2f}"


def test_names_do_not_overlap_and_belong_to_what_moved_most(adata):
    ax = ne.pl.marker_shift(adata)
    ax.figure.canvas.draw()
    boxes = [text.get_window_extent() for text in ax.texts]
    assert len(boxes) > 5
    for i, box in enumerate(boxes):
        assert not any(box.overlaps(other) for other in boxes[i + 1 :])
        assert not box.overlaps(ax.get_legend().get_window_extent())
        assert ax.get_window_extent().contains(*box.min) and ax.get_window_extent().contains(*box.max)
    size = np.abs(changes(adata)).max(axis=1)
    assert ax.texts[0].get_text() == adata.var_names[size.argmax()]
    for text in ax.texts:
        assert size[adata.var_names.get_loc(text.get_text())] > 0.1 * size.max()
        np.testing.assert_allclose(text.xy, changes(adata)[adata.var_names.get_loc(text.get_text())], atol=1e-5)


def test_number_of_names(adata):
    assert len(ne.pl.marker_shift(adata, n_labels=3).texts) <= 3
    assert not ne.pl.marker_shift(adata, n_labels=0).texts


def bars(ax):
    """The ends of the standard errors of all features, (n_features, 2)."""
    return np.array(ax.collections[1].get_segments())[:, :, 1]


def test_standard_errors_of_the_record_are_drawn_at_means(adata):
    def names(ax):
        return [text.get_text() for text in ax.get_legend().get_texts()]

    assert names(ne.pl.marker_shift(adata)) == ["applied = observed"]
    ne.tl.bootstrap(adata, n_bootstrap=3, progress_bar=False)
    ax, error = ne.pl.marker_shift(adata), adata.uns["edited"]["features"]["mean_error"].to_numpy()
    assert names(ax) == ["applied = observed", "± standard error"] and "(mean; " in ax.get_xlabel()
    np.testing.assert_allclose(points(ax), changes(adata, np.mean), atol=1e-5)
    np.testing.assert_allclose(bars(ax), points(ax)[:, 1:] + error[:, None] * [-1, 1], atol=1e-6)
    assert ax.get_ylim()[0] < bars(ax).min() and bars(ax).max() < ax.get_ylim()[1]
    of_medians = ne.pl.marker_shift(adata, statistic=np.median)
    assert names(of_medians) == ["applied = observed"] and len(of_medians.collections) == 1


def test_standard_errors_of_a_batch(adata):
    ne.tl.correct(adata, "batch", control_key="role", reference="batch_2", edit="percentile", progress_bar=False)
    table = adata.uns["corrected"]["features"]
    table["mean_error"] = np.arange(1.0, len(table) + 1)
    adata.uns["corrected"].pop("digest", None)
    ax = ne.pl.marker_shift(adata, key="corrected", batch="batch_1")
    error = table[table["batch"] == "batch_1"].set_index("feature").loc[adata.var_names, "mean_error"]
    np.testing.assert_allclose(np.ptp(bars(ax), axis=1), 2 * error, rtol=1e-6)


def test_what_moved_little_is_grey(adata):
    colors = ne.pl.marker_shift(adata).collections[0].get_facecolors()
    is_grey = np.ptp(colors[:, :3], axis=1) == 0
    size = np.abs(changes(adata)).max(axis=1)
    assert 0 < is_grey.sum() < len(size) and np.array_equal(is_grey, size <= 0.1 * size.max())


def test_no_change_at_all(adata):
    adata.X[:] = adata.layers["edited"][:] = 1
    ax = ne.pl.marker_shift(adata)
    assert ax.get_legend().get_title().get_text() == "r undefined" and not ax.texts


SELECTIONS = {
    "dict": (None, {role: {"group": value} for role, value in POPULATIONS.items()}),
    "dict of lists": (
        None,
        {role: {"group": [value], "role": ["control", "sample"]} for role, value in POPULATIONS.items()},
    ),
    "list": ("group", {role: [value] for role, value in POPULATIONS.items()}),
}


@pytest.mark.parametrize("name", SELECTIONS)
def test_the_record_may_hold_any_selection(trained, name):
    groupby, populations = SELECTIONS[name]
    trained.obs["group"] = trained.obs["group"].astype(str)
    ne.tl.edit(trained, groupby, **populations, edit="percentile")
    np.testing.assert_allclose(points(ne.pl.marker_shift(trained)), changes(trained), atol=1e-5)


def test_the_query_may_be_all_others(trained):
    query = ["control_1", "sample_1", "sample_2"]
    edit = {"source": "control_1", "target": "control_2", "query": query, "edit": "percentile", "key_added": "all"}
    ne.tl.edit(trained, "group", **edit)
    others = (trained.obs["group"] != "control_2").to_numpy()
    applied = np.median(trained.layers["all"][others], axis=0) - np.median(trained.X[others], axis=0)
    np.testing.assert_allclose(points(ne.pl.marker_shift(trained, key="all"))[:, 1], applied, atol=1e-5)


def test_sparse_layers_and_views(adata):
    expected = points(ne.pl.marker_shift(adata))
    adata.X = sparse.csr_matrix(adata.X)
    np.testing.assert_allclose(points(ne.pl.marker_shift(adata)), expected, atol=1e-5)
    view = adata[adata.obs["group"] != "sample_2"]
    np.testing.assert_allclose(points(ne.pl.marker_shift(view)), expected, atol=1e-5)
    assert view.is_view


def test_the_layer_of_the_edit_is_read(cells):
    cells.layers["mine"], cells.X = cells.X.copy(), np.zeros_like(cells.X)
    ne.tl.train(cells, layer="mine", widths=(24, 6), max_epochs=1)
    ne.tl.edit(cells, "group", **POPULATIONS, edit="percentile")
    ax = ne.pl.marker_shift(cells)
    assert np.abs(points(ax)[:, 0]).max() > 0.1
    assert ax.get_xlabel().endswith("(median)")  # how this layer was transformed is not known


def test_own_axes_figure_and_nothing_written(adata):
    before = adata.copy()
    figure, ax = plt.subplots()
    assert ne.pl.marker_shift(adata, ax=ax) is ax
    assert ne.pl.marker_shift(adata, ax=ax, return_fig=True) is figure
    for slot in ("obs", "var", "uns", "obsm", "layers"):
        assert list(getattr(adata, slot)) == list(getattr(before, slot))
    assert np.array_equal(adata.X, before.X)


def without(slot, name):
    def change(adata):
        del getattr(adata, slot)[name]

    return change


def other_source(adata):
    config = json.loads(adata.uns["edited"]["config"]) | {"source": "control_9"}
    adata.uns["edited"]["config"] = json.dumps(config)
    adata.uns["edited"].pop("digest", None)


def none_edited(adata):
    adata.obs["edited_support"] = np.nan


BAD = {
    "record": (without("uns", "edited"), r"uns\['edited'\] holds no edit or batch correction; call ne.tl.edit first"),
    "support": (without("obs", "edited_support"), "'edited_support' is not in adata.obs; it has 'group'"),
    "layer": (without("layers", "edited"), "'edited' is not in adata.layers; it has 'truth'"),
    "value": (other_source, r"source: 'control_9' is not in obs\['group'\]; it has 'control_1'"),
    "query": (none_edited, "none of these cells was edited"),
}


@pytest.mark.parametrize("plot", [ne.pl.marker_shift, ne.pl.shift, ne.pl.densities])
@pytest.mark.parametrize("name", BAD)
def test_bad_input(adata, plot, name):
    change, message = BAD[name]
    change(adata)
    with pytest.raises((KeyError, ValueError), match=message):
        plot(adata)
    assert not plt.get_fignums()


def test_another_record_is_no_edit(adata):
    with pytest.raises(KeyError, match=r"uns\['neuronedit'\] holds no edit"):
        ne.pl.marker_shift(adata, key="neuronedit")
