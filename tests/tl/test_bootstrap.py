"""How much of an edit is the noise of its source and target."""

import json

import anndata
import numpy as np
import pytest

import neuronedit as ne

POPULATIONS = {"source": "control_1", "target": "control_2", "query": "sample_1"}
PERCENTILE = POPULATIONS | {"edit": "percentile"}


def is_query(adata):
    return (adata.obs["group"] == "sample_1").to_numpy()


@pytest.fixture
def edited(trained):
    ne.tl.edit(trained, "group", **PERCENTILE)
    return trained


def test_the_spread_shrinks_with_the_populations(trained):
    spread = {}
    for n in (40, 150):
        part = trained[np.r_[0:n, 150 : 150 + n, 300:600]].copy()
        ne.tl.edit(part, "group", **PERCENTILE)
        assert ne.tl.bootstrap(part, n_bootstrap=10) is None
        query = is_query(part)
        assert part.layers["edited_sd"].shape == part.shape
        assert (part.layers["edited_sd"][~query] == 0).all()
        spread[n] = part.layers["edited_sd"][query].mean()
        assert np.isfinite(part.uns["edited"]["features"]["mean_error"]).all()
    assert 0 < spread[150] < 0.8 * spread[40]


def test_slots(edited):
    before = edited.copy()
    ne.tl.bootstrap(edited, n_bootstrap=3)
    assert np.array_equal(edited.layers["edited"], before.layers["edited"]) and np.array_equal(edited.X, before.X)
    assert np.array_equal(edited.obsm["X_neurons_edited"], before.obsm["X_neurons_edited"])
    assert edited.obs.equals(before.obs)
    mine, theirs = edited.uns["edited"], before.uns["edited"]
    assert json.loads(mine["config"]) == json.loads(theirs["config"]) | {"n_bootstrap": 3}
    assert list(mine["layers"]) == ["edited", "edited_sd"]
    changed = [name for name in mine["features"] if not mine["features"][name].equals(theirs["features"][name])]
    assert changed == ["mean_error"] and list(mine["features"].index) == list(edited.var_names)
    assert mine["verdict"] == theirs["verdict"] and mine["fitted"]["digest"] == theirs["fitted"]["digest"]


def test_the_same_seed_gives_the_same_bits_and_another_edit_removes_the_layer(edited):
    same = [ne.tl.bootstrap(edited, n_bootstrap=4, rng=rng, copy=True) for rng in (0, 0, 1)]
    assert "edited_sd" not in edited.layers
    assert np.array_equal(same[0].layers["edited_sd"], same[1].layers["edited_sd"])
    assert not np.array_equal(same[0].layers["edited_sd"], same[2].layers["edited_sd"])
    ne.tl.edit(same[0], "group", **PERCENTILE)
    assert "edited_sd" not in same[0].layers  # it was another edit's


def test_a_bootstrap_of_auto_adds_to_the_held_out_error(trained):
    ne.tl.edit(trained, "group", **POPULATIONS, strata="cell_type")
    ne.tl.bootstrap(trained, n_bootstrap=2)
    features = trained.uns["edited"]["features"]
    assert (features["mean_error"] >= features["held_out_error"]).all()
    assert (features["mean_error"] > features["held_out_error"]).any()


def test_spaces_of_several_seeds_add_their_spread(trained):
    ne.tl.train(trained, widths=(24, 6), max_epochs=2, rng=1, key_added="other")
    spread = []
    for key in ("neuronedit", ["neuronedit", "other"]):
        ne.tl.edit(trained, "group", **PERCENTILE, key=key)
        ne.tl.bootstrap(trained, n_bootstrap=20)
        spread.append(trained.layers["edited_sd"][is_query(trained)].mean())
    assert spread[1] > 1.05 * spread[0]


def test_it_is_the_same_after_a_file(edited, tmp_path):
    expected = ne.tl.bootstrap(edited, n_bootstrap=3, copy=True)
    edited.write_h5ad(tmp_path / "cells.h5ad")
    stored = anndata.read_h5ad(tmp_path / "cells.h5ad")
    ne.tl.bootstrap(stored, n_bootstrap=3)
    assert np.array_equal(stored.layers["edited_sd"], expected.layers["edited_sd"])


@pytest.mark.parametrize("how", [{"strength": [0.5, 2.0]}, {"neurons": [0, 3]}, {"axes": "principal"}], ids=str)
def test_parameters_of_the_edit_are_taken_from_the_record(trained, how):
    ne.tl.edit(trained, "group", **PERCENTILE)
    ne.tl.bootstrap(trained, n_bootstrap=5)
    plain = trained.layers["edited_sd"].copy()
    ne.tl.edit(trained, "group", **PERCENTILE, **how)
    ne.tl.bootstrap(trained, n_bootstrap=5)
    assert not np.allclose(trained.layers["edited_sd"], plain, atol=1e-4)
    if "strength" in how:
        assert list(trained.uns["edited"]["layers"]) == ["edited_0.5", "edited", "edited_sd"]
        assert trained.layers["edited_sd"][is_query(trained)].mean() > plain[is_query(trained)].mean()


def test_another_key(trained):
    ne.tl.edit(trained, "group", **PERCENTILE, key_added="moved")
    ne.tl.bootstrap(trained, "moved", n_bootstrap=2)
    assert "moved_sd" in trained.layers and "edited_sd" not in trained.layers


def test_a_function_of_the_user_s_own_is_given_again(trained):
    def own(source, target, /, *, share=1.0):
        move = share * (target.mean(0) - source.mean(0))
        return lambda z: z + move

    ne.tl.edit(trained, "group", **POPULATIONS, edit=own, share=0.5)
    with pytest.raises(
        ValueError, match=r"uns\['edited'\] was made by a function of your own, 'own': give it as edit="
    ):
        ne.tl.bootstrap(trained, n_bootstrap=2)
    ne.tl.bootstrap(trained, n_bootstrap=2, edit=own)
    assert trained.layers["edited_sd"][is_query(trained)].max() > 0


def test_candidates_that_were_named_are_fitted_again(trained):
    candidates = {name: ne.ensemble.CANDIDATES[name] for name in ("mean_shift", "affine")}
    ne.tl.edit(trained, "group", **POPULATIONS, strata="cell_type", candidates=candidates)
    assert list(trained.uns["edited"]["ensemble"]["candidates"]) == ["mean_shift", "affine"]
    given = ne.tl.bootstrap(trained, n_bootstrap=2, candidates=candidates, copy=True)
    ne.tl.bootstrap(trained, n_bootstrap=2)
    assert np.array_equal(trained.layers["edited_sd"], given.layers["edited_sd"])


def other_cells(adata):
    adata.X[:150] += 1


def other_labels(adata):
    adata.obs["group"] = adata.obs["group"].cat.rename_categories({"control_2": "sample_2", "sample_2": "control_2"})


def no_layer(adata):
    del adata.layers["edited"]


def applied(adata):
    ne.tl.apply(adata, adata.copy(), query=adata.obs_names)


BAD = {
    "too few": (None, {"n_bootstrap": 1}, ValueError, "n_bootstrap must be at least 2; it is 1"),
    "no edit": (None, {"key": "other"}, KeyError, r"uns\['other'\] holds no edit; call ne.tl.edit first"),
    "other cells": (other_cells, {}, ValueError, r"the change from source to target is not the one in uns\['edited'\]"),
    "other labels": (other_labels, {}, ValueError, "the change from source to target is not the one"),
    "no layer": (no_layer, {}, KeyError, "'edited' is not in adata.layers"),
    "applied": (applied, {}, ValueError, "was fitted on other cells"),
    "parameter": (None, {"n_binz": 3}, TypeError, "'n_binz' is not a parameter of the edit 'percentile'"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input(edited, name):
    change, arguments, kind, message = BAD[name]
    if change:
        change(edited)
    before = edited.copy()
    with pytest.raises(kind, match=message):
        ne.tl.bootstrap(edited, **{"n_bootstrap": 2} | arguments)
    assert set(edited.layers) == set(before.layers) and edited.obs.equals(before.obs)
    assert edited.uns["edited"]["features"].equals(before.uns["edited"]["features"])
