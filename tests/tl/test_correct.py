"""What tl.correct does to every batch, and what it says of it."""

import json
import logging

import anndata
import numpy as np
import pandas as pd
import pytest

import neuronedit as ne
from neuronedit._data.batches import read_batches

SHIFTS = {"b1": [2.0, 0, 0, 0], "b2": [0, -3.0, 0, 0], "b3": [0, 0, 1.0, 0], "b4": [0, 0, 0, 2.0]}
HOW = {"control_key": "role", "edit": "shift"}


def batches(n=120, rng=0):
    """Four batches, each shifted in its own feature. b3 has no control; donor 7 is in b3 and b4, and is not like the control."""
    generator = np.random.default_rng(rng)
    where = {"control": 0.0, "patient": 3.0, "donor 7": -3.0}
    parts, frames = [], []
    for batch, shift in SHIFTS.items():
        people = {"b3": ["patient", "donor 7"], "b4": ["control", "patient", "donor 7"]}.get(
            batch, ["control", "patient"]
        )
        for person in people:
            parts.append(generator.normal(where[person], 0.5, size=(n, 4)) + shift)
            role = "control" if person == "control" else "sample"
            frames.append(pd.DataFrame({"batch": batch, "person": person, "role": role}, index=range(n)))
    obs = pd.concat(frames)
    obs.index = [f"c{i}" for i in range(len(obs))]
    adata = anndata.AnnData(np.concatenate(parts).astype(np.float32), obs=obs)
    ne.tl.train(adata, space="identity")
    return adata


def batch_effect(adata, layer="corrected", **which):
    """Mean of some cells less what it would be without a batch effect."""
    where = {"control": 0.0, "patient": 3.0, "donor 7": -3.0}
    rows = np.logical_and.reduce([adata.obs[column] == value for column, value in which.items()])
    return adata[rows].layers[layer].mean(axis=0) - where[which["person"]]


def test_planted_shifts_are_removed_and_what_is_different_stays():
    adata = batches()
    before = adata.X.copy()
    ne.tl.correct(adata, "batch", **HOW, reference="b1")
    for batch in ("b2", "b4"):
        for person in ("control", "patient"):
            np.testing.assert_allclose(batch_effect(adata, batch=batch, person=person), SHIFTS["b1"], atol=0.3)
    assert np.array_equal(adata.X, before)
    for batch in ("b1", "b3"):  # the reference, and a batch without a control
        rows = (adata.obs["batch"] == batch).to_numpy()
        assert np.array_equal(adata.layers["corrected"][rows], before[rows])
    table = adata.uns["corrected"]["batches"]
    assert table["how"].to_dict() == {
        "b1": "reference",
        "b2": "control to b1",
        "b3": "left alone: no control",
        "b4": "control to b1",
    }
    assert table["status"].to_dict() == {"b1": "reference", "b2": "corrected", "b3": "left alone", "b4": "corrected"}
    assert table["n_controls"].to_dict() == {"b1": 120, "b2": 120, "b3": 0, "b4": 120}
    assert table["n_samples"].to_dict() == {"b1": 120, "b2": 120, "b3": 240, "b4": 240}


def test_a_batch_that_is_left_alone_is_a_warning(caplog):
    adata = batches()
    with caplog.at_level(logging.WARNING):
        ne.tl.correct(adata, "batch", **HOW, reference="b1")
    assert "b3 was left alone: no control." in caplog.text and "2 of 4 batches corrected." in caplog.text
    alarms = adata.uns["corrected"]["alarms"]
    assert alarms.loc[alarms["alarm"] == "left alone", "batch"].tolist() == ["b3"]
    assert adata.uns["corrected"]["verdict"] in caplog.text


def test_pooled_reference_brings_all_to_the_mean_of_the_controls():
    adata = batches()
    ne.tl.correct(adata, "batch", **HOW)
    goal = np.mean([SHIFTS[batch] for batch in ("b1", "b2", "b4")], axis=0)
    for batch in ("b1", "b2", "b4"):
        np.testing.assert_allclose(batch_effect(adata, batch=batch, person="patient"), goal, atol=0.3)
    assert (adata.uns["corrected"]["batches"]["how"].drop("b3") == "control to the mean of the batches").all()


BRIDGES = {
    "other cells": ({"b3": {"person": "donor 7"}}, "bridged", "bridged through person='donor 7'", [2.0, 0, 0, 0]),
    "another batch": (
        {"b3": "b2"},
        "like another batch",
        "as b2",
        [2.0, 3.0, 1.0, 0],
    ),  # wrongly so: its shift is another one
}


@pytest.mark.parametrize("name", BRIDGES)
def test_bridges(name):
    bridge, status, how, expected = BRIDGES[name]
    adata = batches()
    ne.tl.correct(adata, "batch", **HOW, reference="b1", bridge=bridge)
    np.testing.assert_allclose(batch_effect(adata, batch="b3", person="patient"), expected, atol=0.3)
    assert list(adata.uns["corrected"]["batches"].loc["b3", ["status", "how"]]) == [status, how]
    assert json.loads(adata.uns["corrected"]["config"])["bridge"] == bridge


def test_held_out_controls_are_not_used_and_are_scored():
    adata = batches(400)
    half = np.where(np.arange(adata.n_obs) % 2, "one", "two")
    adata.obs["tube"] = half
    held = {"role": "control", "tube": "two"}
    ne.tl.correct(adata, "batch", **HOW, reference="b1", held_out_controls=held)
    scores = adata.uns["corrected"]["held_out"]
    assert list(scores.index) == ["b2", "b4"] and (scores["n_cells"] == 200).all()
    assert (scores["closed"] > 0.9).all() and (scores["after"] < 0.1 * scores["before"]).all()
    without = adata[~((adata.obs["role"] == "control") & (adata.obs["tube"] == "two")).to_numpy()].copy()
    ne.tl.correct(without, "batch", **HOW, reference="b1")
    assert np.array_equal(without.layers["corrected"], adata[without.obs_names].layers["corrected"])
    ne.tl.correct(adata, "batch", **HOW, reference="b1")
    assert "held_out" not in adata.uns["corrected"]


def composed(share, n=1500, rng=0):
    """Two populations; four controls hold about a third of the second one, the sample holds ``share`` of it."""
    generator = np.random.default_rng(rng)
    parts, frames = [], []
    shares = {"c1": 0.30, "c2": 0.33, "c3": 0.36, "c4": 0.32, "s": share}
    for batch in ("x", "y"):
        for name, own in shares.items():
            kind = generator.random(n) < own
            parts.append(generator.normal(0, 0.4, size=(n, 3)) + np.outer(kind, [4.0, 0, 0]) + 0.5 * (batch == "y"))
            role = "sample" if name == "s" else "control"
            frames.append(pd.DataFrame({"batch": batch, "tube": name, "role": role}, index=range(n)))
    obs = pd.concat(frames)
    obs.index = [f"c{i}" for i in range(len(obs))]
    adata = anndata.AnnData(
        np.concatenate(parts).astype(np.float32), obs=obs, var=pd.DataFrame(index=["CD3", "CD4", "CD8"])
    )
    ne.tl.train(adata, space="identity")
    return adata


@pytest.mark.parametrize(("share", "flagged"), [(0.33, False), (0.8, True)])
def test_a_sample_that_differs_in_composition_is_flagged_and_named(share, flagged):
    adata = composed(share)
    ne.tl.correct(adata, "batch", **HOW, reference="y", sample_key="tube")
    row = adata.uns["corrected"]["samples"].loc["x: s"]
    assert row["flagged"] == flagged and (row["composition"] > 1) == flagged
    assert ("more CD3+" in row["lacking"]) is flagged
    assert ("differ in composition from the controls" in adata.uns["corrected"]["verdict"]) is flagged


def test_cells_beyond_the_control_are_counted_by_feature_and_by_cell():
    adata = composed(0.33)
    sample = np.flatnonzero((adata.obs["tube"] == "s").to_numpy() & (adata.obs["batch"] == "x").to_numpy())
    adata.X[sample[:300], 1] += 20
    ne.tl.correct(adata, "batch", **HOW, reference="y")
    record = adata.uns["corrected"]
    outside = record["features"].set_index(["batch", "feature"])["outside_control"]
    assert outside["x", "CD4"] == pytest.approx(0.2 + 0.8 * 0.01, abs=0.03) and outside["x", "CD3"] < 0.05
    assert record["batches"].loc["x", "outside"] == pytest.approx(0.2, abs=0.05)
    assert np.isnan(record["samples"]["composition"]).all() and "is not known" in record["verdict"]


@pytest.mark.parametrize("suffix", ["h5ad", "zarr"])
def test_it_survives_a_file(tmp_path, suffix):
    adata = composed(0.8, n=300)
    ne.tl.correct(adata, "batch", **HOW, sample_key="tube", held_out_controls={"tube": "c1"}, copy=False)
    getattr(adata, f"write_{suffix}")(tmp_path / f"cells.{suffix}")
    read = getattr(anndata, f"read_{suffix}")(tmp_path / f"cells.{suffix}")
    assert np.array_equal(read.layers["corrected"], adata.layers["corrected"])
    for name in ("batches", "samples", "features", "held_out"):
        pd.testing.assert_frame_equal(
            read.uns["corrected"][name], adata.uns["corrected"][name], check_names=False, check_dtype=False
        )
    ne.tl.apply(adata, read, query=adata.obs_names, key_added="applied")
    assert np.array_equal(adata.layers["applied"], adata.layers["corrected"])
    ne.tl.correct(read, "batch", **HOW)  # what a file says is ours may be written over


def test_it_is_tl_edit_batch_by_batch(trained):
    ne.tl.correct(trained, "batch", control_key="role", reference="batch_2", edit="percentile", strata="cell_type")
    edited = {"source": "control_1", "target": "control_2", "query": ["control_1", "sample_1"], "edit": "percentile"}
    ne.tl.edit(trained, "group", **edited, strata="cell_type")
    np.testing.assert_allclose(trained.layers["corrected"], trained.layers["edited"], atol=1e-5)
    assert np.array_equal(trained.obs["corrected_distance"], trained.obs["edited_distance"], equal_nan=True)
    assert trained.var["corrected_arcsinh_cofactor"].eq(5).all()
    ne.pl.support(trained, key="corrected")
    with pytest.raises(ValueError, match="corrected batch by batch"):
        ne.pl.shift(trained, key="corrected")


def test_auto_expects_something_of_each_batch(trained):
    ne.tl.correct(trained, "batch", control_key="role", reference="batch_2", strata="cell_type", edit="auto")
    row = trained.uns["corrected"]["batches"].loc["batch_1"]
    assert 0 < row["expected"] <= 1 and "strata of 'cell_type'" in row["verdict"]


def test_by_default_it_is_fitted_within_strata_if_they_are_named(trained):
    for strata, edit in ((None, "auto"), ("cell_type", "percentile")):
        ne.tl.correct(trained, "batch", control_key="role", reference="batch_2", strata=strata)
        assert json.loads(trained.uns["corrected"]["config"])["edit"] == edit


def test_memory_does_not_grow_with_batches_times_controls(trained):
    """Each batch's edit aims at the controls of all: their rows and labels are there once."""
    asked = {"control": None, "bridge": {}, "held_out_controls": None, "strata": "cell_type"}
    corrections, _ = read_batches(trained, "batch", control_key="role", reference=None, **asked)
    first, *others = [one.design for one in corrections]
    assert others and all(one.target is first.target for one in others)
    assert all(one.strata_labels[1] is first.strata_labels[1] for one in others)


def test_order_of_rows_and_categories_does_not_matter():
    adata = batches()
    ne.tl.correct(adata, "batch", **HOW, reference="b1", bridge={"b3": {"person": "donor 7"}})
    other = adata.copy()
    for column in ("batch", "role", "person"):
        values = other.obs[column].astype("category")
        other.obs[column] = values.cat.reorder_categories(values.cat.categories[::-1]).cat.add_categories(["never"])
    other = other[np.random.default_rng(0).permutation(other.n_obs)].copy()
    ne.tl.correct(other, "batch", **HOW, reference="b1", bridge={"b3": {"person": "donor 7"}})
    np.testing.assert_allclose(other[adata.obs_names].layers["corrected"], adata.layers["corrected"], atol=1e-5)
    assert list(other.uns["corrected"]["batches"].index) == list(adata.uns["corrected"]["batches"].index)


@pytest.mark.parametrize("how", [{"edit": "shift"}, {}], ids=["shift", "default"])
def test_a_batch_that_has_nothing_to_do_with_them_changes_nothing(how):
    adata = batches(300)
    without = adata[adata.obs["batch"] != "b4"].copy()
    for cells in (adata, without):
        ne.tl.correct(cells, "batch", control_key="role", reference="b1", **how)
    np.testing.assert_array_equal(adata[without.obs_names].layers["corrected"], without.layers["corrected"])


def test_controls_as_truth_values_and_a_path_on_top():
    adata = batches()
    adata.obs["is_control"] = (adata.obs["role"] == "control").to_numpy()
    ne.tl.correct(adata, "batch", control_key="is_control", reference="b1", edit="shift")
    expected = adata.layers["corrected"].copy()
    ne.tl.correct(adata, "batch", control_key="person", control="control", reference="b1", edit="shift")
    assert np.array_equal(adata.layers["corrected"], expected)
    ne.tl.edit(adata, "person", source="control", target="donor 7", query="patient", edit="shift", layer="corrected")
    assert list(adata.uns["edited"]["order"]) == ["corrected", "edited"]


def test_controls_alone(tmp_path):
    adata = batches()
    adata = adata[adata.obs["role"] == "control"].copy()
    ne.tl.correct(adata, "batch", **HOW, reference="b1")
    np.testing.assert_allclose(batch_effect(adata, batch="b2", person="control"), SHIFTS["b1"], atol=0.2)
    assert adata.uns["corrected"]["batches"]["n_samples"].eq(0).all() and not len(adata.uns["corrected"]["samples"])
    adata.write_h5ad(tmp_path / "cells.h5ad")


def strip(adata):
    """Return the cells alone: nothing of a correction or of its space."""
    return anndata.AnnData(adata.X.copy(), obs=adata.obs[["batch", "person", "role"]].copy(), var=adata.var[[]].copy())


@pytest.fixture
def corrected(tmp_path):
    """Four corrected batches and the one file that keeps their corrections: b1 is the reference, b3 is bridged."""
    adata = batches()
    ne.tl.correct(adata, "batch", **HOW, reference="b1", bridge={"b3": {"person": "donor 7"}})
    ne.io.save_model(adata, tmp_path / "batches.safetensors")
    return adata, tmp_path / "batches.safetensors"


def test_one_file_corrects_the_same_cells_to_the_same_bits(corrected):
    adata, path = corrected
    for model in (adata, path):
        cells = strip(adata)
        ne.tl.apply(cells, model, query=cells.obs_names, key_added="corrected")
        assert np.array_equal(cells.layers["corrected"], adata.layers["corrected"])
        assert np.array_equal(cells.obsm["X_neurons_corrected"], adata.obsm["X_neurons_corrected"])
        for column in ("corrected_support", "corrected_distance"):
            assert np.array_equal(cells.obs[column], adata.obs[column], equal_nan=True)
    record, before = cells.uns["corrected"], adata.uns["corrected"]
    columns = ["batch", "feature", "observed_change", "change", "mean"]
    pd.testing.assert_frame_equal(
        record["features"][columns].sort_values(["batch", "feature"], ignore_index=True),
        before["features"][columns].sort_values(["batch", "feature"], ignore_index=True),
    )
    assert "b1: the reference, which stays as it is." in record["verdict"] and "fitted" not in record
    assert f"b3: Fitted before, on other cells ({path})." in record["verdict"]
    assert json.loads(record["config"])["groupby"] == "batch"


def test_one_file_corrects_new_cells_of_these_batches(corrected):
    _, path = corrected
    new = strip(batches(rng=1))
    new.obs["run"] = new.obs.pop("batch")
    ne.tl.apply(new, path, "run", query=["b1", "b2", "b3"])
    for batch in ("b2", "b3"):
        np.testing.assert_allclose(batch_effect(new, "edited", run=batch, person="patient"), SHIFTS["b1"], atol=0.3)
    stays = new.obs["run"].isin(["b1", "b4"]).to_numpy()  # the reference, and a batch that was not asked for
    assert np.array_equal(new.layers["edited"][stays], new.X[stays])
    assert new.obs["edited_support"].notna().to_numpy().tolist() == (~stays).tolist()
    assert set(new.uns["edited"]["features"]["batch"]) == {"b2", "b3"}


def rename_batch(adata):
    adata.obs["batch"] = adata.obs["batch"].replace({"b2": "b9"})


APPLY_BAD = {
    "left alone": (None, {}, r"the batches 'b3' of obs\['batch'\], .* or has left alone; it has 'b1', 'b2', 'b4'"),
    "not known": (rename_batch, {}, r"query has cells of the batches 'b3', 'b9' of obs\['batch'\]"),
    "another column": (None, {"groupby": "person", "query": ["control"]}, "the batches 'control' of obs"),
    "no column": (lambda adata: adata.obs.pop("batch"), {}, "'batch' is not in adata.obs; it has 'person', 'role'"),
    "several strengths": (None, {"strength": [0.5, 1]}, "several strengths are for edits"),
    "query": (None, {"query": None}, "query is required: the cells to edit"),
    "neither a batch nor a cell": (
        None,
        {"query": ["b9"]},
        "query: 'b9' are not in adata.obs_names. Values of a column need groupby",
    ),
}


@pytest.mark.parametrize("name", APPLY_BAD)
def test_what_no_correction_is_known_of_is_an_error(name):
    change, arguments, message = APPLY_BAD[name]
    model = batches(20)
    ne.tl.correct(model, "batch", **HOW, reference="b1")
    new = strip(model)
    if change:
        change(new)
    before = new.copy()
    with pytest.raises((KeyError, ValueError), match=message):
        ne.tl.apply(new, model, **{"query": new.obs_names} | arguments)
    assert not new.layers and not new.uns and not new.obsm and new.obs.equals(before.obs)


def one_control(adata):
    adata.obs["role"] = np.where(adata.obs["batch"] == "b1", adata.obs["role"], "sample")


def nan_batch(adata):
    adata.obs["batch"] = adata.obs["batch"].where(np.arange(adata.n_obs) > 2)


def few_references(adata):
    keep = (adata.obs["batch"] == "b1") & (adata.obs["role"] == "control")
    adata.obs.loc[keep.index[keep][1:], "role"] = "sample"


BAD = {
    "batch column": (None, {"batch_key": "run"}, "'run' is not in adata.obs; it has 'batch', 'person', 'role'"),
    "NaN batch": (nan_batch, {}, r"obs\['batch'\] is missing \(NaN\) for 3 cells"),
    "control column": (None, {"control_key": "is_control"}, "'is_control' is not in adata.obs"),
    "control value": (
        None,
        {"control": "ctrl"},
        r"control: 'ctrl' is not in obs\['role'\]; it has 'control', 'sample'",
    ),
    "no usual control": (None, {"control_key": "batch"}, r"control: 'control' is not in obs\['batch'\]"),
    "reference": (
        None,
        {"reference": "b9"},
        r"reference: 'b9' is not in obs\['batch'\]; it has 'b1', 'b2', 'b3', 'b4'",
    ),
    "reference without control": (None, {"reference": "b3"}, "the reference 'b3' has 0 control cells"),
    "reference of one cell": (few_references, {"reference": "b1"}, "the reference 'b1' has 1 control cells"),
    "one batch with controls": (one_control, {"reference": "b1"}, "fewer than two batches of obs"),
    "bridge of nobody": (None, {"bridge": {"b9": "b1"}}, "bridge: 'b9' is not in"),
    "bridge to nowhere": (None, {"bridge": {"b3": "b9"}}, "bridge: 'b9' cannot stand in for 'b3'"),
    "bridge to itself": (None, {"bridge": {"b3": "b3"}}, "because it has no control"),
    "bridge of cells elsewhere": (None, {"bridge": {"b3": {"person": "control"}}}, "has fewer than 2 cells in 'b3'"),
    "held out": (None, {"held_out_controls": {"person": "patient"}}, "held_out_controls names no control"),
    "sample column": (None, {"sample_key": "tube"}, "'tube' is not in adata.obs"),
    "strata": (None, {"strata": "kind"}, "strata: 'kind' is not in adata.obs"),
    "edit": (None, {"edit": "combat"}, "edit='combat' is not known"),
    "bounds": (None, {"bounds": (1, 0)}, "bounds must be the lowest and the highest value"),
    "strength": (None, {"strength": np.nan}, "strength must be a finite number"),
    "key_added": (None, {"key_added": "neuronedit"}, "is the key of the trained space"),
    "name of a layer": (None, {"key_added": ".."}, "key_added='..' cannot be kept in h5ad and zarr files"),
    "parameter": (None, {"bins": 3}, "'bins' is not a parameter of the edit 'shift'"),
    "paired_by": (None, {"paired_by": "person"}, "'paired_by' is not a parameter of ne.tl.correct"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input(name):
    change, arguments, message = BAD[name]
    adata = batches(20)
    if change:
        change(adata)
    before = adata.copy()
    with pytest.raises((KeyError, TypeError, ValueError), match=message):
        ne.tl.correct(adata, **{"batch_key": "batch"} | HOW | arguments)
    assert set(adata.layers) == set(before.layers) and set(adata.uns) == set(before.uns)


def test_files_of_fcs_are_samples():
    adata = ne.datasets.simulate_batches(n_cells=120)
    ne.tl.train(adata, space="identity")
    adata.obs["file"] = pd.Categorical([f"{group}_{i % 4}.fcs" for i, group in enumerate(adata.obs["group"])])
    options = {"control_key": "role", "reference": "batch_2", "edit": "percentile"}
    ne.tl.correct(adata, "batch", **options)
    assert list(adata.uns["corrected"]["samples"]["sample"]) == ["all samples"]
    adata.uns["fcs"] = {}
    ne.tl.correct(adata, "batch", **options)
    samples = adata.uns["corrected"]["samples"]
    assert list(samples["sample"]) == [f"sample_1_{i}.fcs" for i in range(4)]
    assert samples["composition"].notna().all()


def test_an_edit_that_is_empty_is_no_default(trained):
    for empty in ({}, "", 0):
        with pytest.raises((TypeError, ValueError), match="edit"):
            ne.tl.correct(trained, "batch", control_key="role", edit=empty)
