"""What was tried in cross-validation: rows and their order, dots and bars, weights, and the title."""

import json

import matplotlib.pyplot as plt
import numpy as np
import pytest
from anndata import read_h5ad
from matplotlib.colors import to_hex

import neuronedit as ne
from neuronedit._data.record import Record, Tool
from neuronedit.pl._figure import ink, vivid
from neuronedit.pl._rows import INTERVAL_ALPHA
from neuronedit.pl._scores import CANDIDATE_COLOR

CANDIDATES = ["identity", "mean_shift", "quantile", "transport", "neuron_editing"]
NAMES = ["cells left alone", "mean shift", "quantiles", "transport", "neuron editing"]
FOLDS = ["B", "NK", "T"]
SCORES = np.array([[0, 0, 0], [0.5, 0.7, 0.6], [-1, 0.2, 0.4], [-9, -2, 0.5], [0.8, 0.6, 0.9]])
WEIGHTS = np.array([0, 0.25, 0, 0.05, 0.7])
FOLD_WEIGHTS = np.array([0.5, 0.3, 0.2])
ENSEMBLE_SCORES = np.array([0.8, 0.7, 0.9])


@pytest.fixture
def adata():
    adata = ne.datasets.simulate_batches(n_cells=60)
    config = {"groupby": "group", "edit": "auto", "strata": "cell_type", "strength": 1.0}
    ensemble = {
        "candidates": np.array(CANDIDATES),
        "weights": WEIGHTS,
        "strength": 1.0,
        "folds": np.array(FOLDS),
        "fold_weights": FOLD_WEIGHTS,
        "scores": SCORES,
        "ensemble_scores": ENSEMBLE_SCORES,
        "fold_kind": "strata",
        "expected": 0.79,
        "expected_se": 0.06,
    }
    Record("edited", Tool.EDIT, config, {"ensemble": ensemble}).write(adata)
    return adata


def change_record(adata, **change):
    adata.uns["edited"]["ensemble"] |= change
    return adata


def without_folds(adata):
    nothing = {"folds": np.array([], dtype=str), "fold_weights": np.zeros(0), "ensemble_scores": np.zeros(0)}
    nothing |= {"expected": np.nan, "expected_se": np.nan, "scores": np.zeros((5, 0)), "fold_kind": "none"}
    return change_record(adata, **nothing)


def labels(ax):
    return {float(y): label.get_text() for y, label in zip(ax.get_yticks(), ax.get_yticklabels(), strict=True)}


def dots(ax, y):
    """Marker positions in a row, and those of single folds below it."""
    offsets = np.concatenate([cells.get_offsets() for cells in ax.collections])
    return offsets[offsets[:, 1] == y, 0], offsets[(offsets[:, 1] > y) & (offsets[:, 1] < y + 0.5), 0]


def intervals(ax):
    return {line.get_ydata()[0]: tuple(line.get_xdata()) for line in ax.lines if line.get_linewidth() == 5}


def bars(ax):
    return {bar.get_y() + bar.get_height() / 2: bar.get_width() for bar in ax.patches}


def test_the_ensemble_stands_apart_and_the_best_candidate_follows(adata):
    scores, weights = ne.pl.cross_validation(adata)
    expected = ["ensemble", "neuron editing", "mean shift", "cells left alone", "quantiles", "transport"]
    assert list(labels(scores).values()) == expected
    rows = list(labels(scores))
    assert rows[0] == 0 and rows[1] > 1 and set(np.diff(rows[1:])) == {1.0}
    assert scores.yaxis_inverted() and weights.get_ylim() == scores.get_ylim()
    assert (scores.get_xlabel(), weights.get_xlabel()) == (
        "share of the gap closed\n(0: cells left alone, 1: all of it)",
        "weight",
    )
    weights.figure.canvas.draw()
    assert not [label for label in weights.get_yticklabels() if label.get_visible()]


def test_folds_means_and_standard_errors(adata):
    scores, _ = ne.pl.cross_validation(adata)
    values = dict(zip(NAMES, SCORES, strict=True)) | {"ensemble": ENSEMBLE_SCORES}
    for y, name in labels(scores).items():
        mean = FOLD_WEIGHTS @ values[name]
        n_equal = 1 / (FOLD_WEIGHTS @ FOLD_WEIGHTS)
        error = np.sqrt(FOLD_WEIGHTS @ (values[name] - mean) ** 2 / (n_equal - 1))
        large, small = dots(scores, y)
        np.testing.assert_allclose(large, [np.clip(mean, -1, 1.2)])
        np.testing.assert_allclose(np.sort(small), np.sort(np.clip(values[name], -1, 1.2)))
        np.testing.assert_allclose(intervals(scores)[y], np.clip([mean - error, mean + error], -1, 1.2))


def test_a_fold_that_counts_more_has_a_larger_dot(adata):
    sizes = ne.pl.cross_validation(adata)[0].collections[0].get_sizes()
    np.testing.assert_allclose(sizes / sizes[0], FOLD_WEIGHTS / FOLD_WEIGHTS[0])


def test_lines_at_ideal_and_left_alone(adata):
    scores, _ = ne.pl.cross_validation(adata)
    vertical = [x[0] for x, y in (line.get_data() for line in scores.lines) if x[0] == x[1] and y[0] != y[1]]
    assert vertical == [1, 0]


def test_what_lies_beyond_is_a_triangle_and_a_mean_has_its_number(adata):
    scores, _ = ne.pl.cross_validation(adata)
    assert scores.get_xlim()[0] == pytest.approx(-1, abs=0.2) and 1 < scores.get_xlim()[1] < 1.3
    assert [text.get_text() for text in scores.texts] == ["−5"]
    assert labels(scores)[scores.texts[0].xy[1]] == "transport" and scores.texts[0].xy[0] == -1
    change_record(adata, scores=SCORES + 1)
    scores, _ = ne.pl.cross_validation(adata)
    assert scores.get_xlim()[1] == pytest.approx(1.2, abs=0.2)
    assert [text.get_text() for text in scores.texts] == ["1.76", "1.58", "−4"]
    change_record(adata, scores=np.clip(SCORES, 0, 1))
    assert ne.pl.cross_validation(adata)[0].get_xlim()[0] == pytest.approx(
        0, abs=0.2
    )  # no axis is wider than it must be


def markers(ax, y):
    """Where the marks of a row are, and whether each is a triangle."""
    found = []
    for points in ax.collections:
        is_triangle = len(points.get_paths()[0].vertices) == 4
        found += [(float(x), is_triangle) for x, row in points.get_offsets() if y <= row < y + 0.5]
    return found


def test_recorded_scores_at_the_lowest_are_triangles(adata):
    change_record(adata, scores=np.maximum(SCORES - 3 * (SCORES < 0), -1))  # as the ensemble records them
    change_record(adata, scores=np.vstack([adata.uns["edited"]["ensemble"]["scores"][:4], [-1, -1, -1]]))
    scores, _ = ne.pl.cross_validation(adata)
    rows = {name: y for y, name in labels(scores).items()}
    assert markers(scores, rows["neuron editing"]) == [(-1, True)] * 4
    assert markers(scores, rows["quantiles"])[0] == (-1, True)
    assert all(x > -1 and not is_triangle for x, is_triangle in markers(scores, rows["quantiles"])[1:])
    assert not any(is_triangle for _, is_triangle in markers(scores, rows["mean shift"]))
    assert [text.get_text() for text in scores.texts] == ["≤ −1"]


def test_colours_on_a_dark_ground(adata):
    with plt.style.context("dark_background"):
        scores, weights = ne.pl.cross_validation(adata)
        strong = vivid(CANDIDATE_COLOR)
    assert strong != CANDIDATE_COLOR.lower() and {to_hex(bar.get_facecolor()) for bar in weights.patches} == {strong}
    assert strong in {line.get_color() for line in scores.lines if line.get_alpha() == INTERVAL_ALPHA[True]}


@pytest.mark.parametrize("strength", [1.0, 0.5])
def test_weights_times_strength(adata, strength):
    scores, weights = ne.pl.cross_validation(change_record(adata, strength=strength))
    drawn = {labels(scores)[round(y, 6)]: width for y, width in bars(weights).items()}
    assert drawn == pytest.approx(
        {"neuron editing": 0.7 * strength, "mean shift": 0.25 * strength, "transport": 0.05 * strength}
    )
    assert weights.get_xlim()[1] > 0.7 * strength


def test_at_most_so_many_but_all_that_have_a_weight(adata):
    scores, weights = ne.pl.cross_validation(adata, most=1)
    assert list(labels(scores).values()) == ["ensemble", "neuron editing", "mean shift", "transport", "2 more"]
    assert scores.get_yticklabels()[-1].get_color() == ink(0.5)
    assert len(bars(weights)) == 3 and len(intervals(scores)) == 4
    assert "more" not in list(labels(ne.pl.cross_validation(adata, most=5)[0]).values())[-1]


SUMMARIES = {
    "strata": ({}, {}, "expected to close 0.79 ± 0.06 of the gap\nstrength 1, folds: 3 strata of 'cell_type'"),
    "interval": (
        {"expected_low": 0.62, "expected_high": 0.96},
        {},
        "expected to close 0.79 (0.62 to 0.96 in 4 of 5 cases) of the gap\nstrength 1, folds: 3 strata of 'cell_type'",
    ),
    "derived": (
        {"fold_kind": "derived"},
        {},
        "expected to close 0.79 ± 0.06 of the gap\nstrength 1, folds: 3 matched populations and halves",
    ),
    "not all the way": (
        {"strength": 0.75},
        {"strength": 0.5},
        "expected to close 0.79 ± 0.06 of the gap\nstrength 0.75, of which 0.5 was applied, folds: 3 strata of 'cell_type'",
    ),
    "a path": (
        {},
        {"strength": [0.5, 1]},
        "expected to close 0.79 ± 0.06 of the gap\nstrength 1, folds: 3 strata of 'cell_type'",
    ),
    "left alone": ({"strength": 0.0}, {}, "nothing generalizes: cells left alone\nfolds: 3 strata of 'cell_type'"),
}


@pytest.mark.parametrize("name", SUMMARIES)
def test_what_to_expect_is_the_title(adata, name):
    change, arguments, title = SUMMARIES[name]
    config = json.loads(adata.uns["edited"]["config"]) | arguments
    adata.uns["edited"]["config"] = json.dumps(config)
    adata.uns["edited"].pop("digest", None)
    assert ne.pl.cross_validation(change_record(adata, **change))[0].get_title(loc="left") == title


def test_nothing_generalizes(adata):
    scores, weights = ne.pl.cross_validation(change_record(adata, strength=0.0, ensemble_scores=np.zeros(3)))
    assert not bars(weights) and dots(scores, 0)[0] == 0
    scores.figure.canvas.draw()


def test_too_small_for_folds(adata):
    scores, weights = ne.pl.cross_validation(without_folds(adata))
    assert list(labels(scores).values()) == ["neuron editing", "mean shift", "transport"]
    assert list(bars(weights).values()) == pytest.approx([0.7, 0.25, 0.05])
    assert "too small for\ncross-validation" in scores.texts[0].get_text() and not scores.collections
    assert scores.get_title(loc="left") == "a fixed average of edits" and not weights.get_legend()


def test_legend_stands_outside(adata):
    scores, weights = ne.pl.cross_validation(adata)
    weights.figure.canvas.draw()
    legend = weights.get_legend()
    assert legend.get_window_extent().x0 >= weights.get_window_extent().x1
    assert legend.get_window_extent().x1 <= weights.figure.bbox.x1
    names = [text.get_text() for text in legend.get_texts()]
    assert names == ["weighted mean", "fold (size: weight)", "± standard error", "ideal", "cells left alone"]


@pytest.mark.parametrize("of", [lambda adata: adata, without_folds])
def test_a_record_read_from_a_file(adata, tmp_path, of):
    of(adata).write_h5ad(tmp_path / "cells.h5ad")
    drawn, from_file = ne.pl.cross_validation(adata), ne.pl.cross_validation(read_h5ad(tmp_path / "cells.h5ad"))
    assert labels(drawn[0]) == labels(from_file[0]) and bars(drawn[1]) == bars(from_file[1])
    assert drawn[0].get_title(loc="left") == from_file[0].get_title(loc="left")


def test_another_key_and_a_part_of_the_cells(adata):
    adata.uns["mine"] = adata.uns.pop("edited")
    scores, _ = ne.pl.cross_validation(adata[:10], key="mine")
    assert labels(scores)[0] == "ensemble"


def test_own_axes_figure_and_nothing_written(adata):
    figure, axes = plt.subplots(1, 2)
    before = json.dumps(adata.uns["edited"], default=lambda values: values.tolist())
    assert ne.pl.cross_validation(adata, ax=axes) == list(axes)
    assert ne.pl.cross_validation(adata, ax=axes, return_fig=True) is figure
    with pytest.raises(TypeError, match="ax must be a list of Axes objects or None; it is a Axes"):
        ne.pl.cross_validation(adata, ax=axes[0])
    assert before == json.dumps(adata.uns["edited"], default=lambda values: values.tolist())
    assert list(adata.uns) == ["edited"]


def percentile(adata):
    Record("edited", Tool.EDIT, {"edit": "percentile", "strength": 1.0}, {}).write(adata)


BAD = {
    "no edit": (lambda adata: adata.uns.clear(), {}, r"uns\['edited'\] holds no edit; call ne.tl.edit first"),
    "another key": (lambda adata: None, {"key": "mine"}, r"uns\['mine'\] holds no edit"),
    "not a record": (lambda adata: adata.uns.update(edited=3), {}, r"uns\['edited'\] holds no edit"),
    "no cross-validation": (percentile, {}, "was edited with edit='percentile'; only edit='auto' cross-validates"),
    "none": (lambda adata: None, {"most": 0}, "most must be at least 1; it is 0"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input(adata, name):
    change, arguments, message = BAD[name]
    change(adata)
    with pytest.raises((KeyError, ValueError), match=message):
        ne.pl.cross_validation(adata, **arguments)
    assert not plt.get_fignums()
