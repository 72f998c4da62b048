"""The designs people have: donors before and after, paths of strengths, source and target swapped, one edit on top of another, a few neurons, MuData."""

import json

import anndata
import numpy as np
import pandas as pd
import pytest

import neuronedit as ne

POPULATIONS = {"source": "control_1", "target": "control_2", "query": "sample_1"}
PERCENTILE = POPULATIONS | {"edit": "percentile"}


def is_query(adata):
    return (adata.obs["group"] == "sample_1").to_numpy()


def donors(n=300, seed=0):
    """Three donors, each with its own effect on one marker; the query is like donor b. Source and target mix them differently."""
    generator = np.random.default_rng(seed)
    where = {"a": 0.0, "b": 4.0, "c": 8.0}
    effect = {"a": 1.0, "b": 2.0, "c": 3.0}
    parts, frames = [], []
    for condition, shares in {"before": (3, 1, 1), "after": (1, 1, 3)}.items():
        for (donor, place), share in zip(where.items(), shares, strict=True):
            cells = generator.normal(place, 0.5, size=(share * n // 3, 3))
            cells[:, 0] += effect[donor] * (condition == "after")
            parts.append(cells)
            frames.append(pd.DataFrame({"condition": condition, "donor": donor}, index=range(len(cells))))
    parts.append(generator.normal(4.0, 0.5, size=(n, 3)))
    frames.append(pd.DataFrame({"condition": "query", "donor": "d"}, index=range(n)))
    obs = pd.concat(frames)
    obs.index = [f"c{i}" for i in range(len(obs))]
    return anndata.AnnData(np.concatenate(parts).astype(np.float32), obs=obs)


def test_paired_by_sees_the_change_within_donors_and_trusts_the_one_who_resembles_the_query():
    adata = donors()
    ne.tl.train(adata, space="identity")
    moved = {}
    for paired_by in (None, "donor"):
        how = {"source": "before", "target": "after", "query": "query", "edit": "shift", "paired_by": paired_by}
        ne.tl.edit(adata, "condition", **how)
        moved[paired_by] = (adata.layers["edited"] - adata.X)[adata.obs["condition"] == "query"].mean(axis=0)
    np.testing.assert_allclose(moved["donor"], [2, 0, 0], atol=0.35)
    assert moved[None][1] > 2  # the donors' shares were taken for a change
    assert json.loads(adata.uns["edited"]["config"])["edit_params"] == {"paired_by": "donor"}


def test_paired_by_with_strata_and_bootstrap():
    adata = donors()
    adata.obs["half"] = np.where(np.arange(adata.n_obs) % 2, "x", "y")
    ne.tl.train(adata, space="identity")
    how = {"source": "before", "target": "after", "query": "query", "edit": "shift", "paired_by": "donor"}
    ne.tl.edit(adata, "condition", **how, strata="half")
    ne.tl.bootstrap(adata, n_bootstrap=5)
    change = (adata.layers["edited"] - adata.X)[adata.obs["condition"] == "query"].mean(axis=0)
    np.testing.assert_allclose(change, [2, 0, 0], atol=0.5)
    assert adata.layers["edited_sd"][adata.obs["condition"] == "query"].max() < 0.5


def test_a_small_stratum_is_shrunk_towards_the_edit_of_all():
    """With 40 cells a stratum's own shift counts four ninths, with 400 eight."""
    moved = {}
    for n in (40, 400):
        generator = np.random.default_rng(0)
        before = generator.normal(size=(4000 + n, 2)).astype(np.float32)
        before[4000:] += 10
        after = before + np.where(np.arange(len(before)) < 4000, 0, 3)[:, None].astype(np.float32)
        obs = pd.DataFrame(
            {
                "when": np.repeat(["before", "after", "query"], [len(before), len(before), n]),
                "kind": np.r_[np.tile(np.r_[np.repeat("big", 4000), np.repeat("small", n)], 2), np.repeat("small", n)],
            }
        )
        obs.index = obs.index.astype(str)
        adata = anndata.AnnData(np.concatenate([before, after, before[4000:]]), obs=obs)
        ne.tl.train(adata, space="identity")
        ne.tl.edit(adata, "when", source="before", target="after", query="query", edit="shift", strata="kind")
        moved[n] = (adata.layers["edited"] - adata.X)[-n:].mean()
    assert moved[40] == pytest.approx(3 * 40 / 90, abs=0.1) and moved[400] == pytest.approx(3 * 400 / 450, abs=0.1)


def test_a_path_of_strengths(trained):
    ne.tl.edit(trained, "group", **PERCENTILE, strength=[0.0, 0.5, 1.5, 1.0])
    query = is_query(trained)
    whole = trained.layers["edited"].copy()
    np.testing.assert_allclose(trained.layers["edited_0"], trained.X, atol=1e-6)
    lengths = [np.abs(trained.layers[f"edited{s}"] - trained.X)[query].mean() for s in ("_0", "_0.5", "", "_1.5")]
    assert (np.diff(lengths) > 0).all()
    for strength, name in ((0.5, "edited_0.5"), (1.5, "edited_1.5"), (1.0, "edited")):
        alone = ne.tl.edit(trained, "group", **PERCENTILE, strength=strength, key_added="alone", copy=True)
        assert np.array_equal(alone.layers["alone"], trained.layers[name])
    assert list(trained.uns["edited"]["layers"]) == ["edited_0", "edited_0.5", "edited_1.5", "edited"]
    ne.tl.edit(trained, "group", **PERCENTILE)
    assert np.array_equal(trained.layers["edited"], whole) and "edited_0.5" not in trained.layers


def test_a_shift_is_linear_in_its_strength(cells):
    ne.tl.train(cells, space="identity")
    ne.tl.edit(cells, "group", **POPULATIONS, edit="shift", strength=[-1.0, 2.0, 1.0])
    once = cells.layers["edited"] - cells.X
    np.testing.assert_allclose(cells.layers["edited_2"] - cells.X, 2 * once, atol=1e-5)
    np.testing.assert_allclose(cells.layers["edited_-1"] - cells.X, -once, atol=1e-5)


@pytest.mark.parametrize("edit", ["percentile", "shift", "affine"])
def test_source_and_target_swapped_take_the_edit_back(cells, edit):
    params = {"n_bins": 149} if edit == "percentile" else {}
    there = {"source": "control_1", "target": "control_2", "edit": edit} | params
    back = there | {"source": "control_2", "target": "control_1"}
    ne.tl.train(cells, space="identity")
    ne.tl.edit(cells, "group", **there, query="control_1")
    source = (cells.obs["group"] == "control_1").to_numpy()
    moved = anndata.AnnData(
        cells.layers["edited"][source],
        var=cells.var,
        obs=pd.DataFrame({"group": "moved"}, index=cells.obs_names[source]),
    )
    both = anndata.concat([anndata.AnnData(cells.X, obs=cells.obs, var=cells.var), moved], index_unique="-")
    ne.tl.train(both, space="identity")
    ne.tl.edit(both, "group", **back, query="moved")
    returned = both.layers["edited"][both.obs["group"] == "moved"]
    varies = cells.X[source].std(axis=0) > 0
    assert np.abs(returned - cells.X[source])[:, varies].mean() < 0.02


def test_one_edit_on_top_of_another():
    """A batch effect is taken away, then a drug's effect is added: both planted shifts are there, and the order is recorded."""
    generator = np.random.default_rng(0)
    batch, drug = np.array([3.0, 0, 0]), np.array([0, 2.0, 0])
    names = {"control_1": 0 * batch, "control_2": batch, "patient_1": np.array([1.0, 1, 1]), "treated_2": batch + drug}
    obs = pd.DataFrame({"group": np.repeat(list(names), 200)})
    obs.index = obs.index.astype(str)
    X = generator.normal(size=(800, 3)) * 0.5 + np.repeat(list(names.values()), 200, axis=0)
    adata = anndata.AnnData(X.astype(np.float32), obs=obs)
    ne.tl.train(adata, space="identity")
    ne.tl.edit(adata, "group", source="control_1", target="control_2", query="patient_1", edit="shift")
    both = {"source": "control_2", "target": "treated_2", "query": "patient_1", "edit": "shift", "layer": "edited"}
    ne.tl.edit(adata, "group", **both, key_added="treated")
    patient = (adata.obs["group"] == "patient_1").to_numpy()
    change = (adata.layers["treated"] - adata.X)[patient].mean(axis=0)
    np.testing.assert_allclose(change, batch + drug, atol=0.2)
    assert list(adata.uns["treated"]["order"]) == ["edited", "treated"] and list(adata.uns["edited"]["order"]) == [
        "edited"
    ]
    assert np.array_equal(adata.layers["treated"][~patient], adata.X[~patient])
    with pytest.raises(ValueError, match="key_added='edited' is the layer that is edited"):
        ne.tl.edit(adata, "group", **both)


def test_only_a_few_neurons(trained):
    ne.tl.edit(trained, "group", **PERCENTILE, neurons=[1, 4])
    query = is_query(trained)
    moved = np.abs(trained.obsm["X_neurons_edited"] - trained.obsm["X_neurons"])[query].max(axis=0)
    assert (moved[[1, 4]] > 1e-3).all() and (np.delete(moved, [1, 4]) < 1e-5).all()
    whole = ne.tl.edit(trained, "group", **PERCENTILE, neurons=range(6), copy=True)
    ne.tl.edit(trained, "group", **PERCENTILE)
    assert np.array_equal(whole.layers["edited"], trained.layers["edited"])


@pytest.mark.parametrize("how", [{"edit": "percentile"}, {"edit": "auto"}, {"edit": "shift", "paired_by": "donor"}])
def test_order_of_rows_and_categories_and_unused_categories_do_not_matter(how):
    adata = ne.datasets.simulate_batches(n_cells=200)
    adata.obs["donor"] = pd.Categorical(np.tile(["a", "b"], 400))
    ne.tl.train(adata, space="pca", n_components=8)
    strata = {} if "paired_by" in how else {"strata": "cell_type"}
    ne.tl.edit(adata, "group", **POPULATIONS, **strata, **how)
    other = adata.copy()
    for column in ("group", "cell_type", "donor"):
        order = list(other.obs[column].cat.categories)[::-1]
        other.obs[column] = other.obs[column].cat.reorder_categories(order).cat.add_categories(["never"])
    ne.tl.edit(other, "group", **POPULATIONS, **strata, **how)
    assert np.array_equal(other.layers["edited"], adata.layers["edited"])


def test_a_mudata_is_refused_and_its_modality_taken():
    mudata = pytest.importorskip("mudata")
    cells = ne.datasets.simulate_batches(n_cells=150)
    rna = anndata.AnnData(np.zeros((600, 3), dtype=np.float32), obs=cells.obs[[]])
    both = mudata.MuData({"protein": cells.copy(), "rna": rna})
    ne.tl.train(cells, space="identity")
    message = r"adata must be an AnnData; it is a MuData; pass one of its modalities, mdata.mod\['protein'\]: it has 'protein', 'rna'"
    calls = [
        lambda: ne.pp.arcsinh(both),
        lambda: ne.pp.inverse_arcsinh(both),
        lambda: ne.tl.train(both, space="identity"),
        lambda: ne.tl.edit(both, "group", **PERCENTILE),
        lambda: ne.tl.bootstrap(both),
        lambda: ne.tl.apply(both, cells, query=cells.obs_names),
        lambda: ne.tl.correct(both, "batch", control_key="role"),
        lambda: ne.tl.compare(both, "group", **POPULATIONS),
        lambda: ne.tl.embed(both, cells),
        lambda: ne.tl.rank_neurons(both),
    ]
    for call in calls:
        with pytest.raises(TypeError, match=message):
            call()
    protein = both.mod["protein"]
    for adata in (protein, cells):
        ne.tl.train(adata, space="identity")
        ne.tl.edit(adata, "group", **PERCENTILE)
    assert np.array_equal(both["protein"].layers["edited"], cells.layers["edited"])


def test_labels_on_the_mudata_alone_reach_its_modality_by_push_obs():
    mudata = pytest.importorskip("mudata")
    cells = ne.datasets.simulate_batches(n_cells=50)
    protein = cells.copy()
    protein.obs = protein.obs[[]]
    both = mudata.MuData({"protein": protein})
    both.obs["group"] = cells.obs["group"].to_numpy()
    ne.tl.train(both.mod["protein"], space="identity")
    with pytest.raises(KeyError, match="'group' is not in adata.obs; it has none; columns of a MuData's own obs reach"):
        ne.tl.edit(both.mod["protein"], "group", **PERCENTILE)
    both.push_obs()
    ne.tl.edit(both.mod["protein"], "group", **PERCENTILE)


AUTO = {"edit": "auto"}
BAD = {
    "strength": ({"strength": [1, np.nan]}, "strength must be a finite number; it is nan"),
    "no strength": ({"strength": []}, "strength must be a finite number"),
    "twice": ({"strength": [1, 1.0]}, "several different ones"),
    "neuron": ({"neurons": [0, 6]}, r"neurons must be numbers from 0 to 5, each once; they are \[0, 6\]"),
    "no neurons": ({"neurons": []}, "neurons must be numbers from 0 to 5"),
    "neurons of auto": (AUTO | {"neurons": [0]}, "'neurons' needs an edit of its own, such as edit='percentile'"),
    "axes of auto": (AUTO | {"axes": "principal"}, "'axes' needs an edit of its own"),
    "donors of auto": (AUTO | {"paired_by": "donor"}, "'paired_by' needs an edit of its own"),
    "residual of paper": ({"edit": "paper", "residual": True}, "'residual' is not a parameter of the edit 'paper'"),
    "axes": ({"axes": "diagonal"}, "axes='diagonal' is not known; choose 'neurons', 'principal'"),
    "unknown": (
        {"n_binz": 3},
        "'n_binz' is not a parameter of the edit 'percentile'; it has 'n_bins', 'axes', 'neurons'",
    ),
    "unknown of auto": (AUTO | {"n_bins": 3}, "'n_bins' is not a parameter of the edit 'auto'; it has"),
    "no column": ({"paired_by": "person"}, "paired_by: 'person' is not in adata.obs"),
    "one side": ({"paired_by": "batch"}, r"no value of obs\['batch'\] is in both source and target \(paired_by\)"),
    "layer": ({"layer": "corrected"}, "'corrected' is not in adata.layers; it has 'truth'"),
    "overlap": ({"query": "control_2"}, "150 cells are in both target and query"),
    "gone: inverse": ({"inverse": True}, "'inverse' is not a parameter of the edit 'percentile'"),
    "gone: pairs": ({"pairs": "donor"}, "'pairs' is not a parameter of the edit 'percentile'"),
    "gone: n_resamples": ({"n_resamples": 3}, "'n_resamples' is not a parameter of the edit 'percentile'"),
    "gone: seed": ({"edit": "transport", "seed": 3}, "'seed' is not a parameter of the edit 'transport'"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input(trained, name):
    arguments, message = BAD[name]
    trained.obs["donor"] = np.tile(["a", "b"], 300)
    before = trained.copy()
    with pytest.raises((KeyError, TypeError, ValueError), match=message):
        ne.tl.edit(trained, "group", **PERCENTILE | arguments)
    assert set(trained.uns) == set(before.uns) and set(trained.layers) == set(before.layers)
