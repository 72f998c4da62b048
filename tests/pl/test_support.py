"""How far the query lies from the source: rows and their order, hills, medians, and what stands beside them."""

import anndata as ad
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_hex

import neuronedit as ne
from neuronedit._data.record import Record, Tool
from neuronedit.pl._figure import ink
from neuronedit.pl._support import OUTSIDE_COLOR, WITHIN_COLOR

OUTER = {"a": 0.1, "b": 0.5, "c": 0.0}


@pytest.fixture
def adata():
    """60 query cells of 3 types, of which 10, 50 and 0 % lie outside."""
    adata = ne.datasets.simulate_batches(n_cells=60)
    query = (adata.obs["group"] == "sample_1").to_numpy()
    adata.obs["type"] = pd.Categorical(np.resize(list("abc"), adata.n_obs), categories=list("abcd"))
    distance = np.full(adata.n_obs, np.nan, dtype=np.float32)
    for name, share in OUTER.items():
        mine = np.flatnonzero(query & (adata.obs["type"] == name).to_numpy())
        n = round(share * len(mine))
        distance[mine] = np.concatenate([np.linspace(0.3, 0.9, len(mine) - n), np.linspace(1.1, 3, n)])
    adata.obs["edited_distance"] = distance
    Record("edited", Tool.EDIT, {"edit": "percentile"}, {}).write(adata)
    return adata


def labels(ax):
    return [label.get_text() for label in ax.get_yticklabels()]


def beside(ax):
    """What stands beside each row: the share outside, and the number of cells; the heads of these columns are apart."""
    heads = [text for text in ax.texts if text.xycoords == "axes fraction"]
    assert [text.get_text() for text in heads] == ["outside", "cells"]
    rows = range(len(ax.get_yticks()))
    return [[text.get_text() for text in ax.texts if text not in heads and text.xy[1] == y] for y in rows]


def hills(ax, y):
    """Colours and corners of what is filled in a row."""
    found = [(hill.get_facecolor()[0][:3], hill.get_paths()[0].vertices) for hill in ax.collections]
    return [(to_hex(color).upper(), at) for color, at in found if at[:, 1].max() == y]


def test_one_row_for_all_query_cells(adata):
    ax = ne.pl.support(adata)
    assert labels(ax) == ["all query cells"] and beside(ax) == [["20 %", "60"]]
    assert (
        ax.get_xscale() == "log"
        and ax.get_xlabel() == "distance from the source\n(99 % of its own cells are nearer than 1)"
    )


def test_the_group_with_most_outside_is_on_top(adata):
    ax = ne.pl.support(adata, groupby="type")
    assert labels(ax) == ["b", "a", "c"] and ax.yaxis_inverted()  # d has no cells
    assert beside(ax) == [["50 %", "20"], ["10 %", "20"], ["0 %", "20"]]


def test_a_share_is_coloured_where_more_is_outside_than_chance_explains(adata):
    ax = ne.pl.support(adata, groupby="type")
    assert [to_hex(text.get_color()).upper() for text in ax.texts if text.get_text().endswith(" %")] == [
        OUTSIDE_COLOR,
        OUTSIDE_COLOR,
        ink(0),
    ]
    adata.obs["edited_distance"] = np.where(np.arange(adata.n_obs) == 0, 2.0, 0.5)  # one cell alone is chance
    ax = ne.pl.support(adata)
    assert to_hex(ax.texts[0].get_color()) == ink(0)


def test_hills_are_as_high_as_each_other_and_change_colour_at_the_edge(adata):
    ax = ne.pl.support(adata, groupby="type")
    for y, colors in enumerate([[WITHIN_COLOR, OUTSIDE_COLOR], [WITHIN_COLOR, OUTSIDE_COLOR], [WITHIN_COLOR]]):
        drawn = dict(hills(ax, y))
        assert list(drawn) == colors
        assert y - min(at[:, 1].min() for at in drawn.values()) == pytest.approx(0.8)
        assert drawn[WITHIN_COLOR][:, 0].max() <= 1 and 0.1 < drawn[WITHIN_COLOR][:, 0].min() < 0.3
        assert OUTSIDE_COLOR not in drawn or drawn[OUTSIDE_COLOR][:, 0].min() == 1


def test_a_hill_has_the_shape_of_its_distances(adata):
    adata.obs["edited_distance"] = np.exp(np.random.default_rng(0).normal(-1, 0.3, adata.n_obs))
    ((_, at),) = hills(ne.pl.support(adata), 0)
    assert at[at[:, 1].argmin(), 0] == pytest.approx(np.exp(-1), rel=0.2)


def test_medians_and_the_edge(adata):
    ax = ne.pl.support(adata, groupby="type")
    medians = adata.obs.groupby("type", observed=True)["edited_distance"].median()
    drawn = {max(line.get_ydata()): line.get_xdata()[0] for line in ax.lines if line.get_color() == ink(0)}
    assert drawn == pytest.approx({0: medians["b"], 1: medians["a"], 2: medians["c"]})
    assert [line.get_xdata()[0] for line in ax.lines if line.get_linestyle() == "--"] == [1]
    assert [text.get_text() for text in ax.get_legend().get_texts()] == [
        "inside the source",
        "outside",
        "edge of the source",
        "median",
    ]


def test_few_cells_are_not_rounded_away(adata):
    query = adata.obs["edited_distance"].notna().to_numpy()
    adata = ad.concat([adata[query]] * 17, uns_merge="same", index_unique="-")[:1000].copy()
    adata.obs["edited_distance"] = 0.5
    adata.obs.iloc[0, adata.obs.columns.get_loc("edited_distance")] = 2.0
    assert beside(ne.pl.support(adata)) == [["<1 %", "1,000"]]
    adata.obs["edited_distance"] = 2.5 - adata.obs["edited_distance"]
    assert beside(ne.pl.support(adata)) == [[">99 %", "1,000"]]


@pytest.fixture
def resampled(adata):
    """The same cells with a spread over resamples: of feature j, j + 1 % of its own in type a, twice that in b, three times in c."""
    query = adata.obs["edited_distance"].notna().to_numpy()
    edited = np.asarray(adata.X, dtype=float)
    edited[:, 3] = 1.0  # a feature that is the same in all cells has no spread to compare with
    of_features = (1 + np.arange(adata.n_vars)) / 100 * edited[query].std(axis=0)
    factor = adata.obs["type"].map({"a": 1, "b": 2, "c": 3}).astype(int).to_numpy()
    adata.layers["edited"] = edited
    adata.layers["edited_sd"] = np.where(query[:, None], of_features * factor[:, None], 0.0)
    Record("edited", Tool.EDIT, {"edit": "percentile"}, {"layers": np.array(["edited", "edited_sd"])}).write(adata)
    return adata


def test_features_with_the_largest_spread_are_drawn(resampled):
    names = [str(name) for name in resampled.var_names[::-1]]
    above, below = ne.pl.support(resampled, groupby="type")
    assert labels(above) == ["b", "a", "c"]
    assert labels(below) == [*names[:10], "24 more"] and below.yaxis_inverted()
    of_all, *_ = below.collections
    np.testing.assert_allclose(of_all.get_offsets(), [(2 * (35 - y) / 100, y) for y in range(10)], rtol=1e-6)
    groups = [line for line in below.lines if line.get_marker() == "o"]
    of_groups = [[factor * (35 - y) / 100 for y in range(10)] for factor in (2, 1, 3)]
    np.testing.assert_allclose([line.get_xdata() for line in groups], of_groups, rtol=1e-6)
    assert [text.get_text() for text in below.get_legend().get_texts()] == ["all query cells", "a group"]
    assert below.get_xlim()[0] == 0 and below.get_xlabel().startswith("spread over resamples")


def test_the_mean_spread_of_each_group_stands_beside_it(resampled):
    above, below = ne.pl.support(resampled, groupby="type")
    heads = [text.get_text() for text in above.texts if text.xycoords == "axes fraction"]
    assert heads == ["outside", "cells", "spread"]
    mean = np.delete(1 + np.arange(35), 3).mean()
    written = [text.get_text() for text in above.texts if text.get_text().endswith("%")][3:]
    assert written == [f"{factor * mean:.0f} %" for factor in (2, 1, 3)]
    above, below = ne.pl.support(resampled)
    assert below.get_legend() is None and len(below.collections) == 1  # no groups


def test_features_that_were_not_edited_have_no_spread(resampled):
    resampled.var["used"] = [True, True, *[False] * 33]
    _, below = ne.pl.support(resampled)
    assert labels(below) == [str(name) for name in resampled.var_names[1::-1]]


def test_one_cell_has_no_spread_to_compare_with(resampled):
    alone = resampled[np.flatnonzero(resampled.obs["edited_distance"].notna())[:1]].copy()
    assert beside(ne.pl.support(alone)) == [["0 %", "1"]]


def test_one_axes_is_for_the_distances(resampled):
    figure, ax = plt.subplots()
    assert ne.pl.support(resampled, ax=ax) is ax and figure.axes == [ax]
    with pytest.raises(ValueError, match="ax holds 3 axes; 2 panels"):
        ne.pl.support(resampled, ax=plt.subplots(3)[1])
    plt.close("all")


def test_a_layer_of_the_users_own_is_not_drawn(adata):
    adata.layers["edited"] = adata.layers["edited_sd"] = np.asarray(adata.X)
    assert beside(ne.pl.support(adata)) == [["20 %", "60"]]


def test_legend_and_columns_do_not_meet(resampled):
    figure = ne.pl.support(resampled, groupby="type", return_fig=True)
    figure.canvas.draw()
    above, below = figure.axes
    named = [text.get_window_extent() for text in above.get_legend().get_texts()]
    heads = [text.get_window_extent() for text in above.texts if text.xycoords == "axes fraction"]
    assert not any(name.overlaps(head) for name in named for head in heads)
    assert below.get_legend().get_window_extent().y1 < above.xaxis.label.get_window_extent().y0
    for ax in figure.axes:
        for artist in (*ax.texts, *ax.get_yticklabels(), ax.get_legend(), ax.xaxis.label):
            box = artist.get_window_extent()
            assert box.x0 >= 0 and box.y0 >= 0 and box.x1 <= figure.bbox.x1 and box.y1 <= figure.bbox.y1


@pytest.mark.parametrize("distances", [0.0, 1.0, 0.2, 50.0])
def test_all_at_one_distance(adata, distances):
    adata.obs["edited_distance"] = distances
    ax = ne.pl.support(adata)
    assert ax.get_xlim()[0] < max(distances, 0.01) < ax.get_xlim()[1] and ax.get_xlim()[0] < 1 < ax.get_xlim()[1]
    ax.figure.canvas.draw()


def test_a_few_cells_far_away_are_on_the_axis(adata):
    mine = np.flatnonzero(adata.obs["edited_distance"].notna())[0]
    adata.obs["type"] = adata.obs["type"].astype(str)
    adata.obs.iloc[mine, adata.obs.columns.get_loc("type")] = "far"
    adata.obs.iloc[mine, adata.obs.columns.get_loc("edited_distance")] = 40.0
    ax = ne.pl.support(adata, groupby="type")
    assert labels(ax)[0] == "far" and beside(ax)[0] == ["100 %", "1"] and ax.get_xlim()[1] > 40


@pytest.mark.parametrize("factor", [1, 10, 1000])
def test_labels_of_the_axis_are_plain_numbers_and_enough(adata, factor):
    adata.obs["edited_distance"] *= factor
    ax = ne.pl.support(adata)
    ax.figure.canvas.draw()
    low, high = ax.get_xlim()
    shown = [
        label.get_text() for at, label in zip(ax.get_xticks(), ax.get_xticklabels(), strict=True) if low < at < high
    ]
    assert len(shown) >= 3 and "1" in shown and not [label for label in shown if "$" in label]


def test_nothing_leaves_the_figure(adata):
    adata.obs["type"] = adata.obs["type"].cat.rename_categories({"a": "a type of cells with a long name"})
    figure = ne.pl.support(adata, groupby="type", return_fig=True)
    figure.canvas.draw()
    (ax,) = figure.axes
    for artist in (*ax.texts, *ax.get_yticklabels(), ax.get_legend(), ax.xaxis.label):
        box = artist.get_window_extent()
        assert box.x0 >= 0 and box.y0 >= 0 and box.x1 <= figure.bbox.x1 and box.y1 <= figure.bbox.y1


def test_another_key_strings_and_query_cells_alone(adata):
    adata.uns["mine"], adata.obs["mine_distance"] = adata.uns.pop("edited"), adata.obs.pop("edited_distance")
    adata.obs["type"] = adata.obs["type"].astype(str)
    alone = adata[adata.obs["group"] == "sample_1"]
    assert labels(ne.pl.support(alone, groupby="type", key="mine")) == ["b", "a", "c"]
    assert alone.is_view


def test_what_is_missing_elsewhere_does_not_matter(adata):
    adata.obs.loc[adata.obs["edited_distance"].isna(), "type"] = np.nan
    assert labels(ne.pl.support(adata, groupby="type")) == ["b", "a", "c"]


def test_own_axes_figure_and_nothing_written(adata):
    before = adata.copy()
    figure, ax = plt.subplots()
    assert ne.pl.support(adata, ax=ax) is ax
    assert ne.pl.support(adata, ax=ax, return_fig=True) is figure
    pd.testing.assert_frame_equal(adata.obs, before.obs)
    assert list(adata.uns) == list(before.uns)


def unlabelled(adata):
    adata.obs.loc[adata.obs_names[np.flatnonzero(adata.obs["edited_distance"].notna())[:3]], "type"] = np.nan


def none_edited(adata):
    adata.obs["edited_distance"] = np.nan


BAD = {
    "no edit": (
        lambda adata: adata.uns.clear(),
        {},
        r"uns\['edited'\] holds no edit or batch correction; call ne.tl.edit first",
    ),
    "another key": (lambda adata: None, {"key": "mine"}, r"uns\['mine'\] holds no edit"),
    "no distance": (
        lambda adata: adata.obs.pop("edited_distance"),
        {},
        "'edited_distance' is not in adata.obs; it has 'group'",
    ),
    "column": (lambda adata: None, {"groupby": "donor"}, "'donor' is not in adata.obs; it has 'group'"),
    "missing": (unlabelled, {"groupby": "type"}, r"obs\['type'\] is missing \(NaN\) for 3 cells; label or drop"),
    "none edited": (none_edited, {}, "none of these cells was edited"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input(adata, name):
    change, arguments, message = BAD[name]
    change(adata)
    with pytest.raises((KeyError, ValueError), match=message):
        ne.pl.support(adata, **arguments)
    assert not plt.get_fignums()
