"""What tl.edit reads and writes, and that it applies the change that was planted."""

import json
import logging
import sys

import anndata
import numpy as np
import pandas as pd
import pytest
import torch
from scipy import sparse

import neuronedit as ne
from neuronedit._data.space import SavedSpace

POPULATIONS = {"source": "control_1", "target": "control_2", "query": "sample_1"}
PERCENTILE = POPULATIONS | {"edit": "percentile"}


def is_query(adata):
    return (adata.obs["group"] == "sample_1").to_numpy()


def test_slots(trained):
    before = trained.copy()
    assert ne.tl.edit(trained, "group", **PERCENTILE) is None
    query = is_query(trained)
    edited = trained.layers["edited"]
    assert edited.shape == trained.shape and edited.dtype == np.float32
    assert np.array_equal(edited[~query], trained.X[~query])
    assert (edited[query] != trained.X[query]).any(axis=1).all()
    assert np.array_equal(trained.X, before.X)
    assert trained.obsm["X_neurons_edited"].shape == (600, 6)
    np.testing.assert_allclose(trained.obsm["X_neurons_edited"][~query], trained.obsm["X_neurons"][~query], atol=1e-5)
    support = trained.obs["edited_support"]
    assert support[query].between(0, 1).all() and support[~query].isna().all()
    record = json.loads(trained.uns["edited"]["config"])
    assert record["source"] == "control_1" and record["edit"] == "percentile"
    assert record["query"] == "sample_1" and record["edit_params"] == {} and record["key"] == ["neuronedit"]
    assert trained.uns["edited"]["n_cells"] == {"source": 150, "target": 150, "query": 150}


def test_cells_are_edited_once_those_that_were_fitted_to_are_gone(trained, monkeypatch):
    """They would take memory beside the edited layer."""
    module, kept = "neuronedit.tl._edit", []
    write = sys.modules[module].write_edit

    def look(adata, space, fitted, *args, **how):
        kept.append(fitted)
        return write(adata, space, fitted, *args, **how)

    monkeypatch.setattr(f"{module}.write_edit", look)
    ne.tl.edit(trained, "group", **POPULATIONS)
    [fitted] = kept
    assert not fitted.fits and not len(fitted.ensemble.populations.source) and fitted.ensemble.matching is None


@pytest.mark.parametrize("space", ["identity", "pca"])
def test_planted_shift_is_applied_to_the_query(space):
    """Target = source + a vector; the query, elsewhere, must move by the same vector."""
    generator = np.random.default_rng(0)
    source, query = generator.normal(size=(400, 5)), generator.normal(3, 2, size=(100, 5))
    vector = np.array([1.0, -2.0, 0.0, 0.5, 3.0])
    X = np.concatenate([source, source + vector, query]).astype(np.float32)
    adata = anndata.AnnData(
        X, obs=pd.DataFrame({"g": ["s"] * 400 + ["t"] * 400 + ["q"] * 100}, index=map(str, range(900)))
    )
    ne.tl.train(adata, space=space)
    ne.tl.edit(adata, "g", source="s", target="t", query="q", edit="percentile")
    np.testing.assert_allclose(adata.layers["edited"][800:], query + vector, atol=0.05)


def test_identity_space_is_per_marker_quantile_matching():
    generator = np.random.default_rng(0)
    source, target = generator.normal(size=(150, 4)), generator.gamma(2.0, size=(150, 4))
    obs = pd.DataFrame({"g": ["s"] * 150 + ["t"] * 150}, index=map(str, range(300)))
    adata = anndata.AnnData(np.concatenate([source, target]).astype(np.float32), obs=obs)
    ne.tl.train(adata, space="identity")
    ne.tl.edit(adata, "g", source="s", target="t", query="s", edit="percentile", n_bins=149)
    np.testing.assert_allclose(np.sort(adata.layers["edited"][:150], axis=0), np.sort(target, axis=0), atol=1e-4)


def test_an_effect_is_target_minus_source(cells):
    ne.tl.train(cells, space="identity")
    ne.tl.edit(cells, "group", **POPULATIONS, edit="shift")
    means = {
        group: cells.X[(cells.obs["group"] == group).to_numpy()].mean(axis=0) for group in ("control_1", "control_2")
    }
    change = (cells.layers["edited"] - cells.X)[is_query(cells)]
    np.testing.assert_allclose(
        change, np.broadcast_to(means["control_2"] - means["control_1"], change.shape), atol=1e-4
    )


def test_rows_stay_with_their_names_under_shuffling(trained):
    order = np.random.default_rng(0).permutation(trained.n_obs)
    shuffled = trained[order].copy()
    for adata in (trained, shuffled):
        ne.tl.edit(adata, "group", **PERCENTILE)
    np.testing.assert_allclose(shuffled[trained.obs_names].layers["edited"], trained.layers["edited"], atol=1e-5)
    assert list(shuffled.obs_names) == list(trained.obs_names[order])


def test_chunks_do_not_matter(trained, monkeypatch):
    whole = ne.tl.edit(trained, "group", **PERCENTILE, copy=True).layers["edited"]
    monkeypatch.setattr("neuronedit._data.reader.CHUNK", 37)
    np.testing.assert_allclose(ne.tl.edit(trained, "group", **PERCENTILE, copy=True).layers["edited"], whole, atol=1e-5)


SELECTIONS = {
    "value": ("group", "control_1", "control_2", "sample_1"),
    "list": ("group", ["control_1"], ["control_2"], ("sample_1",)),
    "dict": (
        None,
        {"batch": "batch_1", "role": "control"},
        {"batch": "batch_2", "role": ["control"]},
        {"batch": ["batch_1"], "role": "sample"},
    ),
    "mixed": ("group", "control_1", {"batch": "batch_2", "role": "control"}, np.array(["sample_1"])),
}


@pytest.mark.parametrize("name", SELECTIONS)
def test_selections(trained, name):
    groupby, source, target, query = SELECTIONS[name]
    expected = ne.tl.edit(trained, "group", **PERCENTILE, copy=True)
    ne.tl.edit(trained, groupby, source=source, target=target, query=query, edit="percentile")
    assert np.array_equal(trained.layers["edited"], expected.layers["edited"])
    json.loads(trained.uns["edited"]["config"])


def test_a_query_is_required_and_the_error_says_what_is_left(trained):
    message = r"query is required: the cells to edit. obs\['group'\] has besides source, target 'sample_1', 'sample_2'"
    with pytest.raises(ValueError, match=message):
        ne.tl.edit(trained, "group", source="control_1", target="control_2", edit="percentile")
    with pytest.raises(ValueError, match="query is required: the cells to edit. Give a dict of obs column"):
        ne.tl.edit(trained, source={"group": "control_1"}, target={"group": "control_2"}, edit="percentile")
    assert "edited" not in trained.layers


@pytest.mark.parametrize("labels", [[1, 2, 3], [True, False, True], [0.5, 1.5, 2.5]])
def test_values_that_are_not_words(trained, labels):
    trained.obs["g"] = np.array(labels)[np.repeat([0, 1, 2, 2], 150)]
    ne.tl.edit(trained, "g", source=labels[0], target=labels[1], query=labels[2], edit="percentile")
    assert json.loads(trained.uns["edited"]["config"])["source"] == labels[0]


def test_strength(trained):
    layers = {
        s: ne.tl.edit(trained, "group", **PERCENTILE, strength=s, copy=True).layers["edited"] for s in (0.0, 0.5, 1.0)
    }
    np.testing.assert_allclose(layers[0.0], trained.X, atol=1e-6)
    query = is_query(trained)
    moved = {s: np.abs(layer - trained.X)[query].mean() for s, layer in layers.items()}
    assert 0.2 * moved[1.0] < moved[0.5] < 0.8 * moved[1.0]


def test_without_residual_it_is_the_decoded_cell(trained):
    ne.tl.edit(trained, "group", **PERCENTILE, residual=False, strength=0)
    space = SavedSpace.read(trained, "neuronedit").space
    query = torch.from_numpy(trained.X[is_query(trained)])
    np.testing.assert_allclose(
        trained.layers["edited"][is_query(trained)], space.decode(space.encode(query)), atol=1e-5
    )


@pytest.mark.parametrize("edit", ["local", "shift"])
@pytest.mark.parametrize("axes", ["neurons", "principal"])
def test_edits_and_axes_give_different_results(trained, edit, axes):
    default = ne.tl.edit(trained, "group", **PERCENTILE, copy=True)
    ne.tl.edit(trained, "group", **POPULATIONS, edit=edit, axes=axes)
    assert not np.allclose(trained.layers["edited"], default.layers["edited"], atol=1e-3)
    assert json.loads(trained.uns["edited"]["config"])["edit_params"]["axes"] == axes


def test_a_function_of_the_user_s_own(trained):
    def swap(source, target, /, *, sign=1):
        return lambda z: sign * z.flip(1)

    ne.tl.edit(trained, "group", **POPULATIONS, edit=swap, sign=-1)
    query = is_query(trained)
    np.testing.assert_allclose(
        trained.obsm["X_neurons_edited"][query], -trained.obsm["X_neurons"][query][:, ::-1], atol=1e-5
    )
    assert json.loads(trained.uns["edited"]["config"])["edit"] == "swap"


def test_several_edits_side_by_side_and_again(trained):
    ne.tl.edit(trained, "group", **PERCENTILE)
    first = trained.layers["edited"].copy()
    ne.tl.edit(trained, "group", **POPULATIONS, edit="shift", key_added="shifted")
    ne.tl.edit(trained, "group", **PERCENTILE)
    assert np.array_equal(trained.layers["edited"], first)
    assert {"edited", "shifted"} <= set(trained.layers)


@pytest.mark.parametrize("suffix", ["h5ad", "zarr"])
def test_a_saved_model_edits_to_the_same_bits(trained, tmp_path, suffix):
    ne.tl.edit(trained, "group", **PERCENTILE)
    path = tmp_path / f"cells.{suffix}"
    getattr(trained, f"write_{suffix}")(path)
    again = getattr(anndata, f"read_{suffix}")(path)
    assert np.array_equal(again.layers["edited"], trained.layers["edited"])
    assert json.loads(str(again.uns["edited"]["config"])) == json.loads(trained.uns["edited"]["config"])
    ne.tl.edit(again, "group", **PERCENTILE, key_added="again")
    assert np.array_equal(again.layers["again"], trained.layers["edited"])
    ne.tl.edit(again, "group", **PERCENTILE)  # what a file says is ours may be written over


@pytest.mark.parametrize("kind", [sparse.csr_matrix, sparse.csc_matrix, sparse.csr_array])
def test_sparse_gives_the_same_dense_layer(trained, kind):
    expected = ne.tl.edit(trained, "group", **PERCENTILE, copy=True).layers["edited"]
    trained.X = kind(trained.X)
    ne.tl.edit(trained, "group", **PERCENTILE)
    assert isinstance(trained.layers["edited"], np.ndarray)
    np.testing.assert_allclose(trained.layers["edited"], expected, atol=1e-5)
    assert sparse.issparse(trained.X)


@pytest.mark.parametrize(
    ("dtype", "expected"), [("float64", "float64"), ("int16", "float32"), ("int64", "float64"), ("float16", "float32")]
)
def test_unedited_cells_keep_their_values_in_every_type(cells, dtype, expected):
    cells.X = (1000 * cells.X).astype(dtype)
    ne.tl.train(cells, space="identity")
    ne.tl.edit(cells, "group", **PERCENTILE)
    assert cells.layers["edited"].dtype == expected
    assert np.array_equal(cells.layers["edited"][~is_query(cells)], cells.X[~is_query(cells)])


def test_a_view(trained):
    view = trained[trained.obs["group"] != "sample_2"]
    expected = ne.tl.edit(view.copy(), "group", **PERCENTILE, copy=True)
    with pytest.warns(anndata.ImplicitModificationWarning):
        ne.tl.edit(view, "group", **PERCENTILE)
    assert np.array_equal(view.layers["edited"], expected.layers["edited"])
    assert "edited" not in trained.layers


def test_support_is_low_where_the_source_never_was(cells):
    query = is_query(cells)
    cells.X[query.nonzero()[0][:20]] += 50
    ne.tl.train(cells, space="identity")
    ne.tl.edit(cells, "group", **PERCENTILE)
    support = cells.obs["edited_support"].to_numpy()[query]
    assert (support[:20] == 0).all() and (support[20:] > 0.7).all()


def test_bounds_clip_and_count(trained):
    free = ne.tl.edit(trained, "group", **PERCENTILE, copy=True)
    query = is_query(trained)
    below = (free.layers["edited"][query] < 0).sum()
    assert below > 0 and free.uns["edited"]["n_clipped"] == 0
    ne.tl.edit(trained, "group", **PERCENTILE, bounds=(0, None))
    assert trained.uns["edited"]["n_clipped"] == below
    np.testing.assert_array_equal(trained.layers["edited"][query], np.maximum(free.layers["edited"][query], 0))


def test_a_small_source_is_pointed_out(trained, caplog):
    few = trained[np.r_[0:20, 150:600]].copy()
    with caplog.at_level(logging.WARNING):
        ne.tl.edit(few, "group", **PERCENTILE)
    assert "source has only 20 cells" in caplog.text


def test_the_edit_inherits_the_cofactor(trained):
    ne.tl.edit(trained, "group", **PERCENTILE)
    assert trained.var["edited_arcsinh_cofactor"].eq(5).all()
    ne.pp.inverse_arcsinh(trained, layer="edited", key_added="counts")
    np.testing.assert_allclose(trained.layers["counts"], 5 * np.sinh(trained.layers["edited"]), rtol=1e-4, atol=1e-4)


def test_copy(trained):
    new = ne.tl.edit(trained, "group", **PERCENTILE, copy=True)
    assert "edited" in new.layers
    assert "edited" not in trained.layers and "edited" not in trained.uns and "edited_support" not in trained.obs


def test_simulated_effect_is_applied_better_than_doing_nothing():
    adata = ne.datasets.simulate_batches(n_cells=1000)
    ne.tl.train(adata, widths=(64, 16), max_epochs=40)
    ne.tl.edit(adata, "group", **PERCENTILE)
    query = is_query(adata)
    x, truth, edited = adata.X[query], adata.layers["truth"][query], adata.layers["edited"][query]
    assert ne.metrics.gap_closed(ne.metrics.energy_distance, x, truth, edited) > 0.8
    ifng, ccr6 = adata.var_names.get_loc("IFNg"), adata.var_names.get_loc("CCR6")
    assert abs((edited - truth)[:, ifng].mean()) < 0.4 * abs((x - truth)[:, ifng].mean())
    assert abs((edited - x)[:, ccr6].mean()) < 0.25  # the true difference between sample and control stays


STRATA = {"strata": "cell_type"}


def test_auto_is_the_default_and_says_what_it_did(trained, caplog):
    with caplog.at_level(logging.INFO):
        ne.tl.edit(trained, "group", **POPULATIONS, **STRATA)
    record, query = trained.uns["edited"], is_query(trained)
    assert json.loads(record["config"])["edit"] == "auto" and json.loads(record["config"])["strata"] == "cell_type"
    ensemble = record["ensemble"]
    n_candidates, n_folds = len(ne.ensemble.CANDIDATES), len(ensemble["folds"])
    assert set(ensemble["folds"]) <= set(trained.obs["cell_type"]) and n_folds >= 2
    assert ensemble["scores"].shape == (n_candidates, n_folds)
    assert len(ensemble["weights"]) == n_candidates
    assert len(ensemble["ensemble_scores"]) == len(ensemble["fold_weights"]) == n_folds
    assert ensemble["weights"].sum() == pytest.approx(1) and 0 <= ensemble["strength"] <= 1
    assert ensemble["fold_kind"] == "strata"
    assert record["verdict"] in caplog.text and "strata of 'cell_type'" in record["verdict"]
    assert list(record["features"].index) == list(trained.var_names)
    assert np.isfinite(record["features"]["mean_error"]).all()
    np.testing.assert_allclose(record["features"]["mean"], trained.layers["edited"][query].mean(axis=0), atol=1e-4)
    assert np.array_equal(trained.layers["edited"][~query], trained.X[~query])
    assert (trained.obs["edited_distance"].notna().to_numpy() == query).all()


def test_auto_is_better_than_doing_nothing_and_survives_a_file(tmp_path):
    adata = ne.datasets.simulate_batches(n_cells=300)
    ne.tl.train(adata, space="pca", n_components=10)
    ne.tl.edit(adata, "group", **POPULATIONS)
    query = is_query(adata)
    closed = ne.metrics.gap_closed(
        ne.metrics.energy_distance, adata.X[query], adata.layers["truth"][query], adata.layers["edited"][query]
    )
    assert closed > 0.8 and adata.uns["edited"]["ensemble"]["fold_kind"] == "derived"
    again = ne.tl.edit(adata, "group", **POPULATIONS, copy=True)
    assert np.array_equal(again.layers["edited"], adata.layers["edited"])
    adata.write_h5ad(tmp_path / "cells.h5ad")
    record = anndata.read_h5ad(tmp_path / "cells.h5ad").uns["edited"]
    assert record["verdict"] == adata.uns["edited"]["verdict"]
    pd.testing.assert_frame_equal(record["features"], adata.uns["edited"]["features"], check_names=False)
    np.testing.assert_array_equal(record["ensemble"]["scores"], adata.uns["edited"]["ensemble"]["scores"])


def test_populations_too_small_for_cross_validation_get_a_fixed_average_and_say_so(trained):
    few = trained[np.r_[0:15, 150:165, 300:600]].copy()
    ne.tl.edit(few, "group", **POPULATIONS)
    assert few.uns["edited"]["ensemble"]["fold_kind"] == "none"
    assert "too small for cross-validation" in few.uns["edited"]["verdict"]
    assert np.isnan(few.uns["edited"]["features"]["mean_error"]).all()


def test_the_paper_s_method_to_the_letter(trained):
    expected = ne.tl.edit(trained, "group", **PERCENTILE, residual=False, copy=True)
    ne.tl.edit(trained, "group", **POPULATIONS, edit="paper")
    assert np.array_equal(trained.layers["edited"], expected.layers["edited"])


def test_an_edit_within_strata_is_not_misled_by_their_shares():
    """Most cells of one kind are gone: the mean shifts although no cell changed."""
    cells = ne.datasets.simulate_batches(n_cells=600)
    kind, source = (cells.obs["cell_type"] == "monocyte").to_numpy(), (cells.obs["group"] == "control_1").to_numpy()
    target = cells[source & ~(kind & (np.arange(cells.n_obs) % 5 > 0))].copy()
    target.obs["group"] = "again"
    both = anndata.concat([cells[source | is_query(cells)], target], index_unique="-")
    ne.tl.train(both, space="identity")
    moved = {}
    for name, strata in (("all", None), ("strata", "cell_type")):
        ne.tl.edit(both, "group", source="control_1", target="again", query="sample_1", edit="shift", strata=strata)
        moved[name] = np.abs(both.layers["edited"] - both.X)[is_query(both)].mean()
    assert moved["strata"] < 0.6 * moved["all"]


def test_what_goes_beyond_the_observed_change_is_named(cells):
    def too_far(source, target, /):
        return lambda z: z + 3 * (target.mean(0) - source.mean(0))

    ne.tl.train(cells, space="identity")
    ne.tl.edit(cells, "group", **POPULATIONS, edit="shift")
    assert not cells.uns["edited"]["features"]["beyond_observed"].any()
    ne.tl.edit(cells, "group", **POPULATIONS, edit=too_far)
    assert cells.uns["edited"]["features"]["beyond_observed"].any()
    assert "moved further than source and target show, or in the opposite direction" in cells.uns["edited"]["verdict"]


def test_cells_outside_the_source_are_counted_and_warned_of(cells, caplog):
    query = is_query(cells)
    cells.X[query.nonzero()[0][:100]] += 50
    ne.tl.train(cells, space="identity")
    with caplog.at_level(logging.WARNING):
        ne.tl.edit(cells, "group", **PERCENTILE)
    far = cells.obs["edited_distance"].to_numpy()[query]
    assert (far[:100] > 1).all() and (far[100:] <= 1).mean() > 0.8
    assert "query cells lie outside the source" in caplog.text


def test_spaces_of_several_seeds_are_averaged(trained):
    ne.tl.train(trained, widths=(24, 6), max_epochs=2, rng=1, key_added="other")
    alone = [ne.tl.edit(trained, "group", **PERCENTILE, key=key, copy=True) for key in ("neuronedit", "other")]
    ne.tl.edit(trained, "group", **PERCENTILE, key=["neuronedit", "other"])
    mean = (alone[0].layers["edited"] + alone[1].layers["edited"]) / 2
    np.testing.assert_allclose(trained.layers["edited"], mean, atol=1e-5)
    assert np.array_equal(trained.obsm["X_neurons_edited"], alone[0].obsm["X_neurons_edited"])
    assert json.loads(trained.uns["edited"]["config"])["key"] == ["neuronedit", "other"]
