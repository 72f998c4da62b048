"""What samples hold that their controls do not: shares by feature, dots of samples, and what stands where it is not known."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from matplotlib.colors import to_hex

import neuronedit as ne
from neuronedit._data.record import Record, Tool
from neuronedit.pl._figure import ink
from neuronedit.pl._support import FLAGGED_IN_WORDS, FLAGGED_STYLE, OUTSIDE_COLOR, SAMPLE_STYLE


def make_correction(n_batches=2, n_features=25, n_samples=4):
    """What tl.correct writes, made up: the features' largest shares fall from the last to the first."""
    generator = np.random.default_rng(0)
    batches = [f"batch_{i}" for i in range(n_batches)]
    shares = np.linspace(0.01, 0.3, n_features) * generator.uniform(0.9, 1, (n_batches, 1))
    names = [f"marker {j}" for j in range(n_features)]
    features = pd.DataFrame({"batch": np.repeat(batches, n_features), "feature": names * n_batches})
    features = features.astype("category").assign(outside_control=shares.ravel())
    rows = [{"batch": batch, "sample": f"donor {i}"} for batch in batches for i in range(n_samples)]
    samples = pd.DataFrame(rows).assign(n_cells=9, outside=generator.uniform(0, 0.2, len(rows)), lacking="")
    samples["composition"] = np.linspace(0.5, 2, len(rows))
    samples["flagged"] = samples["composition"] > 1
    samples.index = samples["batch"] + ": " + samples["sample"]
    adata = AnnData(np.zeros((2, 2), dtype=np.float32))
    Record("corrected", Tool.CORRECT, {}, {"features": features, "samples": samples}).write(adata)
    return adata


@pytest.fixture
def adata():
    return make_correction()


def labels(ticks):
    return [label.get_text() for label in ticks]


def legend(ax):
    return [text.get_text() for text in ax.get_legend().get_texts()]


def dots(ax):
    """Places of the dots by colour."""
    return {
        to_hex(points.get_facecolors()[0]).upper(): points.get_offsets().data.tolist()
        for points in ax.collections
        if len(points.get_offsets())
    }


def test_features_fall_by_their_largest_share(adata):
    features, samples = ne.pl.coverage(adata)
    shares = adata.uns["corrected"]["features"]["outside_control"].to_numpy().reshape(2, 25)
    assert labels(features.get_xticklabels()) == [f"marker {j}" for j in reversed(range(25))]
    (mesh,) = features.collections
    np.testing.assert_allclose(np.asarray(mesh.get_array()).reshape(2, 25), shares[:, ::-1])
    assert mesh.get_clim() == (0, shares.max())
    assert labels(features.get_yticklabels()) == ["batch_0", "batch_1"] and features.yaxis_inverted()
    assert samples.get_ylim() == features.get_ylim()


def test_only_so_many_features():
    features, _ = ne.pl.coverage(make_correction(20, 60))
    assert len(labels(features.get_xticklabels())) == 31
    assert labels(features.get_xticklabels())[::30] == ["marker 59", "30 more"]
    assert len(np.ravel(features.collections[0].get_array())) == 20 * 30
    features, _ = ne.pl.coverage(make_correction(2, 60), most=3)
    assert labels(features.get_xticklabels()) == ["marker 59", "marker 58", "marker 57", "57 more"]


def test_batches_and_features_are_matched_by_name(adata):
    wanted = ne.pl.coverage(adata)[0]
    table = adata.uns["corrected"]["features"]
    not_compared = table[:25].assign(batch="batch_2", outside_control=np.nan)
    table = pd.concat([table.astype({"batch": str}), not_compared]).sample(frac=1, random_state=0)
    adata.uns["corrected"]["features"] = table.astype({"batch": "category"})
    del adata.uns["corrected"]["digest"]
    features = ne.pl.coverage(adata)[0]
    assert labels(features.get_xticklabels()) == labels(wanted.get_xticklabels())
    np.testing.assert_array_equal(features.collections[0].get_array(), wanted.collections[0].get_array())


def test_small_shares_are_not_made_to_look_large(adata):
    adata.uns["corrected"]["features"]["outside_control"] /= 30
    features, _ = ne.pl.coverage(adata)
    assert features.collections[0].get_clim() == (0, 0.05)


def test_what_is_usual_is_grey_and_what_is_not_has_the_colour_of_outside(adata):
    (mesh,) = ne.pl.coverage(adata)[0].collections
    end = mesh.get_clim()[1]
    colors = [to_hex(mesh.to_rgba(share)) for share in (0, 0.01, end)]
    assert colors[0] == ink(0.88) and colors[2].upper() == OUTSIDE_COLOR
    np.testing.assert_allclose(mesh.to_rgba(0.01), mesh.to_rgba(0), atol=0.02)


def test_batches_stand_in_the_order_of_their_numbers():
    features, _ = ne.pl.coverage(make_correction(12, 3))
    assert labels(features.get_yticklabels()) == [f"batch_{i}" for i in range(12)]


def test_long_names_have_room():
    adata = make_correction(3, 5)
    table = adata.uns["corrected"]["features"]
    table["feature"] = table["feature"].cat.rename_categories(lambda name: f"a very long name of {name}")
    del adata.uns["corrected"]["digest"]
    figure = ne.pl.coverage(adata, return_fig=True)
    figure.canvas.draw()
    assert min(label.get_window_extent().y0 for label in figure.axes[0].get_xticklabels()) >= 0
    assert figure.axes[0].get_window_extent().height > 3 * 0.2 * figure.dpi


def test_a_scale_of_colours_in_per_cent(adata):
    figure = ne.pl.coverage(adata, return_fig=True)
    figure.canvas.draw()
    (bar,) = figure.axes[2:]
    assert bar.get_xlabel().startswith("share of the samples' cells beyond")
    assert {"0 %", "10 %", "20 %"} <= set(labels(bar.get_xticklabels()))


def test_samples_stand_where_their_composition_is(adata):
    _, samples = ne.pl.coverage(adata)
    table = adata.uns["corrected"]["samples"]
    y = (table["batch"] == "batch_1").astype(float)
    for flagged, style in ((False, SAMPLE_STYLE), (True, FLAGGED_STYLE)):
        own = table["flagged"] == flagged
        np.testing.assert_allclose(dots(samples)[style["color"]], np.c_[table["composition"][own], y[own]])
    assert [line.get_xdata()[0] for line in samples.lines] == [1]
    assert samples.get_xlabel() == "distance of composition\nfrom the controls'"
    assert legend(samples) == ["sample", FLAGGED_IN_WORDS, "farthest control"]
    low, high = samples.get_xlim()
    assert low < 0 and high > 2


def test_none_flagged_and_all_near(adata):
    table = adata.uns["corrected"]["samples"]
    table["composition"], table["flagged"] = table["composition"] / 10, False
    _, samples = ne.pl.coverage(adata)
    assert legend(samples) == ["sample", "farthest control"] and samples.get_xlim()[1] > 1


def test_a_batch_with_too_few_controls_is_named(adata):
    table = adata.uns["corrected"]["samples"]
    table.loc[table["batch"] == "batch_1", ["composition", "flagged"]] = [np.nan, False]
    _, samples = ne.pl.coverage(adata)
    assert [(text.get_text(), text.xy[1]) for text in samples.texts] == [("fewer than 3 controls", 1)]


def test_where_no_composition_is_known_the_share_outside(adata):
    table = adata.uns["corrected"]["samples"].assign(composition=np.nan, flagged=False)
    adata.uns["corrected"]["samples"] = table
    _, samples = ne.pl.coverage(adata)
    ((_, places),) = dots(samples).items()
    np.testing.assert_allclose(np.array(places)[:, 0], table["outside"])
    assert samples.get_xlabel() == "share of cells outside\nthe controls" and not samples.texts
    assert [line.get_xdata()[0] for line in samples.lines] == [0.01] and legend(samples) == ["sample", "usual, 1 %"]
    samples.figure.canvas.draw()
    assert all(label.endswith(" %") for label in labels(samples.get_xticklabels()))


def test_what_correct_writes_is_read_also_from_a_file(tmp_path):
    import anndata as ad

    adata = ne.datasets.simulate_batches(n_cells=120)
    adata.obs["donor"] = adata.obs["role"].astype(str) + (np.arange(adata.n_obs) % 4).astype(str)
    ne.tl.train(adata, space="identity")
    ne.tl.correct(
        adata, "batch", control_key="role", sample_key="donor", reference="batch_2", edit="percentile", key_added="mine"
    )
    adata.write_h5ad(tmp_path / "a.h5ad")
    for one in (adata, ad.read_h5ad(tmp_path / "a.h5ad")):
        features, samples = ne.pl.coverage(one, key="mine", most=5)
        assert labels(features.get_yticklabels()) == ["batch_1"]  # the reference stays as it is
        table = one.uns["mine"]["features"]
        wanted = np.sort(table["outside_control"][table["batch"] == "batch_1"])[::-1][:5]
        np.testing.assert_allclose(np.ravel(features.collections[0].get_array()), wanted)
        drawn = np.concatenate(list(dots(samples).values()))[:, 0]
        np.testing.assert_allclose(np.sort(drawn), np.sort(one.uns["mine"]["samples"]["composition"]))


@pytest.mark.parametrize(("n_batches", "n_features"), [(1, 6), (2, 25), (20, 60)])
def test_nothing_overlaps_or_leaves_the_figure(n_batches, n_features):
    figure = ne.pl.coverage(make_correction(n_batches, n_features), return_fig=True)
    figure.canvas.draw()
    left, right, bar = figure.axes
    names = [label.get_window_extent() for label in left.get_xticklabels()]
    assert all(one.x1 <= other.x0 + 0.5 for one, other in zip(names, names[1:], strict=False))
    rows = [label.get_window_extent() for label in left.get_yticklabels()]
    assert all(one.y0 >= other.y1 for one, other in zip(rows, rows[1:], strict=False))
    assert right.get_legend().get_window_extent().x0 > right.get_window_extent().x1
    assert bar.get_tightbbox().y0 > left.get_window_extent().y1
    for artist in (*left.get_xticklabels(), *left.get_yticklabels(), right.get_legend(), right.xaxis.label, bar):
        box = artist.get_tightbbox() if artist is bar else artist.get_window_extent()
        assert box.x0 >= 0 and box.y0 >= 0 and box.x1 <= figure.bbox.x1 and box.y1 <= figure.bbox.y1


def test_own_axes_figure_and_nothing_written(adata):
    before = {name: adata.uns["corrected"][name].copy() for name in ("features", "samples")}
    figure, axes = plt.subplots(1, 2)
    assert ne.pl.coverage(adata, ax=axes) == list(axes)
    assert ne.pl.coverage(adata, ax=axes, return_fig=True) is figure
    for name, table in before.items():
        pd.testing.assert_frame_equal(adata.uns["corrected"][name], table)


def nothing_compared(adata):
    adata.uns["corrected"]["features"]["outside_control"] = np.nan


def applied_elsewhere(adata):
    adata.uns["corrected"]["config"] = '{"model": "correction.h5ad"}'
    for name in ("digest", "fitted"):
        adata.uns["corrected"].pop(name, None)


BAD = {
    "nothing": (
        lambda adata: adata.uns.clear(),
        {},
        r"uns\['corrected'\] holds no batch correction; call ne.tl.correct first",
    ),
    "another key": (lambda adata: None, {"key": "mine"}, r"uns\['mine'\] holds no batch correction"),
    "an edit": (
        lambda adata: adata.uns["corrected"].update(tool="ne.tl.edit"),
        {},
        r"uns\['corrected'\] holds no batch correction",
    ),
    "other cells": (applied_elsewhere, {}, r"was fitted on other cells \(correction.h5ad\)"),
    "none compared": (nothing_compared, {}, "has no batch with both controls and samples"),
    "most": (lambda adata: None, {"most": 0}, "most must be at least 1; it is 0"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input(adata, name):
    change, arguments, message = BAD[name]
    change(adata)
    with pytest.raises((KeyError, ValueError), match=message):
        ne.pl.coverage(adata, **arguments)
    assert not plt.get_fignums()
