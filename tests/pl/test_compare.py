"""A table of scores: rows, dots, bars, what lies beyond the axis, and what failed."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_hex

import neuronedit as ne
from neuronedit._metric_table import DISTANCE_AXIS, METRIC_TABLE
from neuronedit.pl._figure import ink
from neuronedit.pl._scores import METHOD_COLOR
from neuronedit.tl._scores import ALL_METRICS

METHODS = ["neuron_editing", "mean_shift", "identity", "gan", "mnn"]
NAMES = ["neuron editing", "mean shift", "cells left alone", "GAN", "MNN"]
VALUES = {
    "energy_distance": [0.8, 0.5, 0.0, -20.5, np.nan],
    "variance_ratio": [0.98, 1.1, 0.95, 3.5, np.nan],
    "change_correlation": [0.99, 0.98, np.nan, 0.5, np.nan],
}


@pytest.fixture
def table():
    rows = [
        {
            "method": method,
            "seed": seed,
            "metric": metric,
            "value": value + 0.01 * (seed - 1),
            "low": value - 0.05,
            "high": value + 0.04,
            "distance": 0.3 if metric == "energy_distance" and method != "mnn" else np.nan,
            "seconds": 1.0,
            "error": "ValueError: too few cells" if method == "mnn" else "",
        }
        for metric, values in VALUES.items()
        for method, value in zip(METHODS, values, strict=True)
        for seed in range(3 if method == "neuron_editing" else 2 if method == "gan" else 1)
    ]
    table = pd.DataFrame(rows)
    table["method"] = pd.Categorical(table["method"], categories=METHODS, ordered=True)
    table["metric"] = pd.Categorical(table["metric"], categories=list(VALUES), ordered=True)
    return table


def dots(ax, y):
    """Marker positions in a row, and those of single seeds below it."""
    offsets = np.concatenate([cells.get_offsets() for cells in ax.collections])
    return offsets[offsets[:, 1] == y, 0], offsets[(offsets[:, 1] > y) & (offsets[:, 1] < y + 0.5), 0]


def bars(ax):
    return {line.get_ydata()[0]: tuple(line.get_xdata()) for line in ax.lines if line.get_linewidth() == 5}


def lines_at(ax):
    return [line.get_xdata()[0] for line in ax.lines if line.get_linewidth() != 5]


def test_a_panel_for_each_metric_and_a_row_for_each_method(table):
    axes = ne.pl.compare(table)
    assert [ax.get_title() for ax in axes] == ["energy distance", "total variance", "applied and observed\nchange"]
    assert [ax.get_xlabel() for ax in axes] == ["share of the gap closed", "predicted / true", "correlation"]
    assert [label.get_text() for label in axes[0].get_yticklabels()] == NAMES
    assert all(ax.get_ylim() == axes[0].get_ylim() and ax.yaxis_inverted() for ax in axes)  # the best on top
    assert not [label for label in axes[1].get_yticklabels() if label.get_visible()]


def test_means_seeds_and_intervals(table):
    axes = ne.pl.compare(table)
    for ax, (metric, values) in zip(axes, VALUES.items(), strict=True):
        rows = table[table["metric"] == metric]
        for y, (method, value) in enumerate(zip(METHODS, values, strict=True)):
            own = rows.loc[rows["method"] == method, "value"]
            mean, seeds = dots(ax, y)
            if np.isnan(value):
                assert not len(mean) and y not in bars(ax)
                continue
            np.testing.assert_allclose(mean, [np.clip(own.mean(), -1, 2)])
            np.testing.assert_allclose(np.sort(seeds), np.sort(own) if len(own) > 1 else [])
            np.testing.assert_allclose(bars(ax)[y], (value - 0.05, value + 0.04))


def test_lines_at_ideal_and_left_alone(table):
    assert [lines_at(ax) for ax in ne.pl.compare(table)] == [[1, 0], [1], [1]]


def test_what_lies_beyond_is_a_triangle_with_its_number(table):
    harm, ratio, correlation = ne.pl.compare(table)
    assert harm.get_xlim()[0] == pytest.approx(-1, abs=0.2) and harm.get_xlim()[1] < 1.2
    assert ratio.get_xlim()[1] == pytest.approx(2, abs=0.2)
    assert [text.get_text() for text in harm.texts] == ["−20.5", "failed"]
    assert [text.get_text() for text in ratio.texts] == ["3.5", "failed"]
    assert harm.texts[0].xy == (-1.0, 3) and ratio.texts[0].xy == (2.0, 3)
    assert correlation.get_xlim()[0] > 0.3  # no axis is wider than it must be


def test_what_failed_is_grey(table):
    axes = ne.pl.compare(table)
    assert [text.get_text() for text in axes[2].texts] == ["undefined", "failed"]
    assert axes[0].texts[1].get_position()[1] == 4 and axes[0].texts[1].get_color() == ink(0.5)
    assert [label.get_color() for label in axes[0].get_yticklabels()][3:] == ["black", ink(0.5)]


def test_a_name_is_grey_only_where_no_metric_is_known(table):
    labels = ne.pl.compare(table, metrics=["change_correlation", "energy_distance"])[0].get_yticklabels()
    assert [label.get_color() for label in labels] == ["black"] * 4 + [ink(0.5)]
    labels = ne.pl.compare(table, metrics="change_correlation").get_yticklabels()
    assert [label.get_color() for label in labels] == ["black", "black", ink(0.5), "black", ink(0.5)]


def test_cells_left_alone_are_grey(table):
    ax = ne.pl.compare(table, metrics="energy_distance")
    colors = {points.get_offsets()[0, 1]: to_hex(points.get_facecolor()[0]) for points in ax.collections}
    assert colors[2] == ink(0.5) and {to_hex(METHOD_COLOR)} == {colors[y] for y in (0, 1, 3)}


def test_every_metric_has_a_title_and_metrics_of_your_own_keep_their_names(table):
    assert set(METRIC_TABLE) == set(ALL_METRICS)
    assert {name for name, row in METRIC_TABLE.items() if row.axis == DISTANCE_AXIS} == set(ne.metrics.METRICS)
    table["metric"] = table["metric"].cat.rename_categories({"variance_ratio": "my_own_metric_with_a_long_name"})
    ax = ne.pl.compare(table, metrics="my_own_metric_with_a_long_name")
    assert ax.get_title() == "my own metric with a\nlong name" and ax.get_xlabel() == "score"


def test_legend_says_what_is_there_and_stands_outside(table):
    def names(table):
        axes = ne.pl.compare(table, metrics=["energy_distance", "variance_ratio"])
        axes[0].figure.canvas.draw()
        legend = axes[-1].get_legend()
        assert legend.get_window_extent().x0 >= axes[-1].get_window_extent().x1
        assert legend.get_window_extent().x1 <= axes[0].figure.bbox.x1
        return [text.get_text() for text in legend.get_texts()]

    assert names(table) == ["mean over seeds", "one seed", "95 % interval", "ideal", "cells left alone"]
    table[["low", "high", "distance"]] = np.nan
    assert names(table[table["seed"] == 0]) == ["value", "ideal"]


def test_metrics_are_chosen_and_ordered(table):
    axes = ne.pl.compare(table, metrics=["variance_ratio", "energy_distance"])
    assert [ax.get_title() for ax in axes] == ["total variance", "energy distance"]
    assert ne.pl.compare(table, metrics="variance_ratio").get_title() == "total variance"


def test_a_table_read_from_a_file(table, tmp_path):
    table.to_csv(tmp_path / "table.csv", index=False)
    ax = ne.pl.compare(pd.read_csv(tmp_path / "table.csv"), metrics="energy_distance")
    assert [label.get_text() for label in ax.get_yticklabels()] == NAMES
    assert [text.get_text() for text in ax.texts] == ["−20.5", "failed"]


def test_fewer_methods(table):
    ax = ne.pl.compare(table[table["method"] != "gan"], metrics="energy_distance")
    assert [label.get_text() for label in ax.get_yticklabels()] == [name for name in NAMES if name != "GAN"]


def test_the_best_and_the_cells_left_alone_are_on_one_screen(table):
    ax = ne.pl.compare(table, metrics="energy_distance", most=1)
    assert [label.get_text() for label in ax.get_yticklabels()] == ["neuron editing", "cells left alone", "3 more"]


def test_scaled_scores_lie_between_baseline_and_replicate(table):
    table = table.assign(scaled=table["value"] / 2, scaled_low=table["low"] / 2, scaled_high=table["high"] / 2)
    axes = ne.pl.compare(table, scaled=True)
    assert {ax.get_xlabel() for ax in axes} == {"scaled score"} and all(lines_at(ax) == [1, 0] for ax in axes)
    np.testing.assert_allclose(dots(axes[0], 1)[0], [0.245])
    names = [text.get_text() for text in axes[-1].get_legend().get_texts()]
    assert names == ["mean over seeds", "one seed", "95 % interval", "replicate", "baseline"]
    with pytest.raises(KeyError, match="'scaled'"):
        ne.pl.compare(table.drop(columns="scaled"), scaled=True)


def test_strata_that_were_held_out_are_small_dots(table):
    table = table[table["seed"] == 0]
    strata = [
        table.assign(held_out=name, value=table["value"] + i / 10) for i, name in enumerate(["", "all", "B", "T"]) if i
    ]
    ax = ne.pl.compare(pd.concat(strata), metrics="energy_distance")
    mean, few = dots(ax, 1)
    np.testing.assert_allclose(mean, [0.59])
    np.testing.assert_allclose(np.sort(few), [0.69, 0.79])
    assert [text.get_text() for text in ax.get_legend().get_texts()][:2] == ["mean over strata", "one stratum"]


def test_all_failed(table):
    table["value"] = np.nan
    ne.pl.compare(table)[0].figure.canvas.draw()


def test_own_axes_figure_and_nothing_written(table):
    before = table.copy()
    figure, axes = plt.subplots(1, 3)
    assert ne.pl.compare(table, ax=axes) == list(axes)
    assert ne.pl.compare(table, ax=axes, return_fig=True) is figure
    with pytest.raises(ValueError, match="ax holds 1 axes; 3 panels are to be drawn"):
        ne.pl.compare(table, ax=axes[0])
    pd.testing.assert_frame_equal(table, before)


def test_what_tl_compare_returns(cells):
    groups = {"source": "control_1", "target": "control_2", "query": "sample_1", "truth": "sample_2"}

    def broken(source, target):
        raise ValueError("too few cells")

    methods = {"identity": "identity", "shift": "mean_shift", "broken": broken}
    table = ne.tl.compare(cells, "group", **groups, methods=methods, n_bootstrap=5)
    axes = ne.pl.compare(table)
    titles = [METRIC_TABLE[metric].title for metric in table["metric"].cat.categories]
    assert [ax.get_title().replace("\n", " ") for ax in axes] == titles
    assert {label.get_text() for label in axes[0].get_yticklabels()} == {"cells left alone", "shift", "broken"}
    assert "failed" in [text.get_text() for text in axes[0].texts]


BAD = {
    "not a table": (lambda table: {"table": None}, "table must be what ne.tl.compare returned; it is None"),
    "another table": (
        lambda table: {"table": table.drop(columns=["low", "error"])},
        "table has no column 'low', 'error'",
    ),
    "metric": (lambda table: {"metrics": ["mmd", "r2"]}, r"\['mmd', 'r2'\] are not in the table; it has 'energy_dist"),
    "no metric": (lambda table: {"metrics": []}, r"metrics=\[\] are not in the table"),
    "empty": (lambda table: {"table": table.iloc[:0]}, "it has none"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input(table, name):
    change, message = BAD[name]
    arguments = {"table": table} | change(table)
    with pytest.raises((TypeError, KeyError, ValueError), match=message):
        ne.pl.compare(arguments.pop("table"), **arguments)
    assert not plt.get_fignums()
