"""What may be wrong is said first, at WARNING, and kept in a table: controls, composition, scale, support, roles."""

import logging
import re

import anndata as ad
import numpy as np
import pandas as pd
import pytest

import neuronedit as ne
from neuronedit.engine.controls import MAX_BATCHES_TO_COMPARE, BatchCells, _choose_others, find_failed, impute

HOW = {"control_key": "role", "reference": "batch_2", "edit": "percentile", "progress_bar": False}


def simulate(**changes):
    """Two batches, and what happened to the control of the first; a space of the features themselves."""
    adata = ne.datasets.simulate_batches(n_cells=600, rng=1)
    control = (adata.obs["group"] == "control_1").to_numpy()
    for name, change in changes.items():
        change(adata, control, name)
    ne.tl.train(adata, space="identity")
    return adata


def fail(adata, control, name):
    """A stain of which only noise is left."""
    values = np.abs(np.random.default_rng(0).normal(0, 0.05, control.sum()))
    adata.X[control, adata.var_names.get_loc(name)] = values


def swap_with(other):
    def swap(adata, control, name):
        i, j = adata.var_names.get_indexer([name, other])
        adata.X[np.ix_(control, [i, j])] = adata.X[np.ix_(control, [j, i])]

    return swap


def alarms(adata, key="corrected"):
    return adata.uns[key]["alarms"].set_index("alarm")["text"]


FAILURES = {
    "a failed stain": ({"CD8": fail}, ["CD8"]),
    "two failed stains": ({"CD8": fail, "CD3": fail}, ["CD3", "CD8"]),
    "swapped channels": ({"CD3": swap_with("CD19")}, ["CD3", "CD19"]),
}


@pytest.mark.parametrize("name", FAILURES)
def test_a_control_unlike_its_samples_is_said_first_and_not_used(name, caplog):
    changes, failed = FAILURES[name]
    adata = simulate(**changes)
    with caplog.at_level(logging.WARNING):
        ne.tl.correct(adata, "batch", **HOW)
    text = alarms(adata)["control"]
    first = adata.uns["corrected"]["verdict"].split(".")[0]
    assert all(marker in text for marker in failed) and text.startswith(first) and text in caplog.text
    # the failed markers follow the samples, and stay in the range that was measured
    rows = (adata.obs["group"] == "sample_1").to_numpy()
    corrected, truth = adata.layers["corrected"][rows], adata.layers["truth"][rows]
    columns = adata.var_names.get_indexer(failed)
    assert np.abs(corrected.mean(0) - truth.mean(0))[columns].max() < 0.5
    assert (corrected[:, columns] <= adata.X[:, columns].max(0)).all()
    assert np.abs(corrected - truth).mean() < np.abs(adata.X[rows] - truth).mean()


def test_controls_as_they_are_raise_no_alarm(caplog):
    for rng in (0, 1, 2):
        adata = ne.datasets.simulate_batches(n_cells=600, rng=rng)
        ne.tl.train(adata, space="identity")
        with caplog.at_level(logging.WARNING):
            ne.tl.correct(adata, "batch", **HOW)
        assert "control" not in alarms(adata)


def test_a_saved_correction_leaves_failed_markers_in_range_too(tmp_path):
    adata = simulate(CD8=fail)
    ne.tl.correct(adata, "batch", **HOW)
    ne.io.save_model(adata, tmp_path / "model.safetensors")
    again = adata.copy()
    del again.layers["corrected"]
    ne.tl.apply(again, tmp_path / "model.safetensors", query=again.obs_names, key_added="corrected")
    np.testing.assert_array_equal(again.layers["corrected"], adata.layers["corrected"])


def test_a_control_that_is_unlike_its_samples_in_most_features_is_left_alone():
    adata = ne.datasets.simulate_batches(n_cells=600, rng=1)
    adata = simulate(**dict.fromkeys(adata.var_names[:20], fail))
    adata.obs["batch"] = adata.obs["batch"].astype(str)
    ne.tl.correct(adata, "batch", **HOW)
    assert adata.uns["corrected"]["batches"].loc["batch_1", "status"] == "left alone"
    rows = (adata.obs["batch"] == "batch_1").to_numpy()
    np.testing.assert_array_equal(adata.layers["corrected"][rows], adata.X[rows])


def test_imputed_values_are_those_of_the_most_similar_cells():
    samples = np.array([[0.0, 0, 7], [9, 0, 8], [0, 9, 9]], dtype=np.float32)
    control = np.array([[8.0, 1, 0], [1, 8, 0], [1, 0, 0]], dtype=np.float32)
    assert impute(control, samples, np.array([2]))[:, 2].tolist() == [8, 9, 7]
    np.testing.assert_array_equal(impute(control, samples, np.array([2]))[:, :2], control[:, :2])


def test_samples_that_differ_in_every_batch_are_no_failure():
    generator = np.random.default_rng(0)
    batches = {
        name: BatchCells(*(generator.normal(shift + own, 1, (500, 8)) for own in (0.0, 6.0)))
        for name, shift in {"a": 0.0, "b": 0.5, "c": -0.5}.items()
    }
    assert all(len(features) == 0 for features in find_failed(batches).values())
    few = {"a": batches["a"], "b": BatchCells(batches["b"].control, np.zeros((0, 8)))}
    assert all(len(features) == 0 for features in find_failed(few).values())


def test_a_stain_that_failed_is_found_among_many_batches():
    generator = np.random.default_rng(0)
    batches = {f"b{i:02d}": BatchCells(*generator.normal(i / 50, 1, (2, 200, 8))) for i in range(60)}
    batches["b33"].control[:, 5] = generator.normal(-6, 1, 200)
    found = {name: features.tolist() for name, features in find_failed(batches).items() if len(features)}
    assert found == {"b33": [5]}


def test_a_control_is_compared_with_a_few_of_many_batches():
    names = [f"b{i}" for i in range(300)]
    for own in ("b0", "b150", "b299"):
        others = _choose_others(names, own)
        assert own not in others and len(set(others)) == len(others) == MAX_BATCHES_TO_COMPARE
        assert np.diff([names.index(other) for other in others]).max() < 20  # from the first to the last batch
    assert _choose_others(names[:4], "b1") == ["b0", "b2", "b3"] and _choose_others(["b1"], "b1") == []


def compose(shares, n=900, shift=0.0, rng=0):
    """Three kinds of cells in these shares, in six markers."""
    generator = np.random.default_rng(rng)
    kinds = generator.choice(3, n, p=shares)
    return (generator.normal(0, 0.4, (n, 6)) + np.eye(3, 6)[kinds] * 5 + shift).astype(np.float32)


def composed(shares):
    """A control in two batches, of these shares in the second one, and a sample in the first."""
    parts = [compose([0.6, 0.2, 0.2], rng=0), compose([0.6, 0.2, 0.2], rng=1), compose(shares, shift=0.5, rng=2)]
    obs = pd.DataFrame({"batch": ["a", "a", "b"], "role": ["control", "sample", "control"], "person": ["p", "q", "r"]})
    obs = obs.loc[np.repeat([0, 1, 2], 900)].reset_index(drop=True)
    obs.index = obs.index.astype(str)
    adata = ad.AnnData(np.concatenate(parts), obs=obs, var=pd.DataFrame(index=[f"m{j}" for j in range(6)]))
    ne.tl.train(adata, space="identity")
    return adata


@pytest.mark.parametrize("edit", ["auto", "percentile"])
def test_controls_of_other_composition_are_said_first(edit, caplog):
    adata = composed([0.2, 0.6, 0.2])
    how = HOW | {"reference": "b", "edit": edit}
    with caplog.at_level(logging.WARNING):
        ne.tl.correct(adata, "batch", **how)
    text = alarms(adata)["composition"]
    assert adata.uns["corrected"]["verdict"].startswith(text) and text in caplog.text
    assert re.search("[cC]ompositions differ by (3[5-9]|4[0-5])%", text) and "m0+" in text and "m1+" in text
    assert ("within matched populations" in text) == (edit == "auto")
    if edit == "auto":  # every kind of cell moves by the shift of half a unit
        rows = (adata.obs["person"] == "q").to_numpy()
        np.testing.assert_allclose((adata.layers["corrected"] - adata.X)[rows].mean(0), 0.5, atol=0.2)


def test_the_same_composition_raises_no_alarm():
    adata = composed([0.6, 0.2, 0.2])
    ne.tl.correct(adata, "batch", **HOW | {"reference": "b"})
    assert "composition" not in alarms(adata)


def test_the_same_samples_have_the_same_composition():
    """By their names: a difference is then not looked for, and all cells are alike."""
    adata = composed([0.2, 0.6, 0.2])
    adata.obs["person"] = adata.obs["person"].replace("r", "p")
    ne.tl.correct(adata, "batch", **HOW | {"reference": "b", "edit": "auto"}, sample_key="person")
    assert "composition" not in alarms(adata)


def test_a_feature_that_rules_the_scale_is_named_at_train_and_after(caplog):
    adata = ne.datasets.simulate_batches(n_cells=600)
    time = np.tile(np.arange(adata.n_obs // 4) * 300.0, 4)
    with_time = ad.AnnData(
        np.column_stack([time, adata.X]).astype(np.float32),
        obs=adata.obs,
        var=pd.DataFrame(index=["Time", *adata.var_names]),
    )
    with caplog.at_level(logging.WARNING):
        ne.tl.train(with_time, widths=(32, 8), max_epochs=2, progress_bar=False)
    assert "'Time' varies more than 20 times as much" in caplog.text and "it is scaled by itself" in caplog.text
    caplog.clear()
    with caplog.at_level(logging.WARNING):
        ne.tl.train(with_time, space="pca", key_added="components", progress_bar=False)
    assert "'Time' varies more than 20 times as much as most features and dominates all distances" in caplog.text
    assert "scaled by itself" not in caplog.text
    caplog.clear()
    with caplog.at_level(logging.WARNING):
        ne.tl.correct(with_time, "batch", **HOW)
        ne.tl.edit(with_time, "group", source="control_1", target="control_2", query="sample_1", edit="percentile")
    for key in ("corrected", "edited"):
        assert with_time.uns[key]["verdict"].startswith("'Time' varies") and "Time" in alarms(with_time, key)["scale"]
    # nothing leaves the range that was measured
    corrected = with_time.layers["corrected"]
    assert (corrected <= with_time.X.max(0)).all() and (corrected >= with_time.X.min(0)).all()


def test_cells_outside_and_cells_without_a_role(caplog):
    adata = ne.datasets.simulate_batches(n_cells=400)
    adata.X[(adata.obs["group"] == "sample_1").to_numpy(), :5] += 8
    ne.tl.train(adata, space="identity")
    with caplog.at_level(logging.WARNING):
        ne.tl.edit(adata, "group", source="control_1", target="control_2", query="sample_1", edit="shift")
    found = alarms(adata, "edited")
    assert found["outside"].startswith("100% of 400 query cells lie outside the source")
    assert found["no role"].startswith("400 of 1,600 cells are neither source nor target nor query")
    assert adata.uns["edited"]["verdict"].startswith(found["outside"]) and found["outside"] in caplog.text


def test_alarms_survive_a_file(tmp_path):
    adata = simulate(CD8=fail)
    ne.tl.correct(adata, "batch", **HOW)
    adata.write_h5ad(tmp_path / "cells.h5ad")
    read = ad.read_h5ad(tmp_path / "cells.h5ad")
    pd.testing.assert_frame_equal(read.uns["corrected"]["alarms"], adata.uns["corrected"]["alarms"])


@pytest.mark.parametrize("sizes", [(400, 400, 400), (4_000, 400, 400), (400, 4_000, 400)])
def test_without_a_reference_each_batch_counts_alike(sizes):
    generator = np.random.default_rng(0)
    parts, obs = [], []
    for i, (n, shift) in enumerate(zip(sizes, (-1.0, 0.0, 1.0), strict=True)):
        for role, m in (("control", n), ("sample", 300)):
            parts.append(generator.normal(3, 0.5, (m, 6)) + np.eye(6)[0] * shift)
            obs += [(f"b{i}", role)] * m
    frame = pd.DataFrame(obs, columns=["batch", "role"], index=[f"c{i}" for i in range(len(obs))])
    adata = ad.AnnData(np.concatenate(parts).astype(np.float32), obs=frame)
    ne.tl.train(adata, space="identity")
    ne.tl.correct(adata, "batch", control_key="role", edit="percentile", progress_bar=False)
    samples = (adata.obs["role"] == "sample").to_numpy()
    means = pd.Series(adata.layers["corrected"][samples, 0]).groupby(adata.obs["batch"][samples].to_numpy()).mean()
    np.testing.assert_allclose(means, 3, atol=0.15)
    assert set(adata.uns["corrected"]["batches"]["status"]) == {"corrected"}
