"""The comparison: its table, its honesty about failures and about what is not known, and that nothing else changes."""

from functools import partial

import numpy as np
import pandas as pd
import pytest
import torch
from anndata import AnnData
from scipy import sparse, stats

import neuronedit as ne
from neuronedit._metric_table import METRIC_TABLE, RATIO
from neuronedit.baselines import BASELINES, QUICK
from neuronedit.metrics import AGREEMENTS, CHANGES, CHECKS, METRICS
from neuronedit.spaces import Autoencoder
from neuronedit.tl._scores import SCORES, add_means, find_limits, keep_within

POPULATIONS = {"source": "control_1", "target": "control_2", "query": "sample_1"}
TRUTH = POPULATIONS | {"truth": "truth"}
FAST = ["identity", "mean_shift", "quantile"]


@pytest.fixture
def with_truth():
    """Simulated cells, with the truth of sample 1 as a group of its own."""
    cells = ne.datasets.simulate_batches(n_cells=400)
    sample = cells[cells.obs["group"] == "sample_1"]
    truth = AnnData(sample.layers["truth"].copy(), obs=sample.obs.assign(group="truth"), var=cells.var)
    truth.obs_names = [f"t{i}" for i in range(truth.n_obs)]
    both = AnnData(
        np.concatenate([cells.X, truth.X]), obs=pd.concat([cells.obs.astype(str), truth.obs.astype(str)]), var=cells.var
    )
    return both


def arrays(adata):
    return {role: adata.X[(adata.obs["group"] == name).to_numpy()] for role, name in TRUTH.items()}


def test_one_row_for_each_method_seed_and_metric(with_truth):
    table = ne.tl.compare(with_truth, "group", **TRUTH, methods=FAST, n_bootstrap=0)
    assert list(table) == ["method", "seed", "metric", "held_out", *SCORES, "seconds", "error"]
    assert (table["held_out"] == "").all()
    assert len(table) == 3 * 4 and not table.duplicated(["method", "seed", "metric"]).any()
    assert (
        table[["low", "high"]].isna().all(axis=None) and (table["error"] == "").all() and (table["seconds"] > 0).all()
    )
    wide = table.pivot_table("value", "method", "metric", observed=True)
    assert wide.index[-1] == "identity" and list(wide) == list(table["metric"].cat.categories)
    assert (1 - wide["energy_distance"]).abs().is_monotonic_increasing


@pytest.mark.parametrize("name", METRICS)
def test_a_distance_is_the_metric_s_and_its_value_the_gap_closed(with_truth, name):
    table = ne.tl.compare(with_truth, "group", **TRUTH, methods=FAST, metrics=[name], n_bootstrap=0).set_index("method")
    cells = arrays(with_truth)
    move = BASELINES["quantile"](*(torch.from_numpy(cells[role]) for role in ("source", "target")))
    predicted = move(torch.from_numpy(cells["query"])).numpy()
    assert table.loc["quantile", "distance"] == pytest.approx(METRICS[name](predicted, cells["truth"]))
    closed = ne.metrics.gap_closed(METRICS[name], cells["query"], cells["truth"], predicted)
    assert table.loc["quantile", "value"] == pytest.approx(closed)
    assert table.loc["identity", "value"] == 0


@pytest.mark.parametrize("name", [*AGREEMENTS, *CHANGES, *CHECKS])
def test_other_metrics_are_what_they_are_on_arrays(with_truth, name):
    table = ne.tl.compare(with_truth, "group", **TRUTH, methods=["mean_shift"], metrics=[name], n_bootstrap=0)
    c = arrays(with_truth)
    predicted = c["query"] + c["target"].mean(0) - c["source"].mean(0)
    if name in AGREEMENTS:
        expected = AGREEMENTS[name](predicted, c["truth"])
    elif name in CHANGES:
        expected = CHANGES[name](c["query"], c["truth"], predicted)
    else:
        expected = CHECKS[name](c["source"], c["target"], c["query"], predicted)
    assert table["value"].item() == pytest.approx(expected, abs=1e-4)
    assert np.isnan(table["distance"].item())


def test_without_a_truth_it_says_what_can_be_known(cells, caplog):
    with caplog.at_level("INFO", logger="neuronedit"):
        table = ne.tl.compare(cells, "group", **POPULATIONS, methods=FAST)
    assert table["metric"].cat.categories.tolist() == list(CHECKS)
    assert "No truth is given" in caplog.text
    with pytest.raises(ValueError, match="metrics 'energy_distance' need a truth; without one there are 'change_corr"):
        ne.tl.compare(cells, "group", **POPULATIONS, metrics=["energy_distance", "unharmed"])


# between a baseline and a replicate


@pytest.mark.parametrize("baseline", ["identity", "mean_shift"])
@pytest.mark.parametrize(
    "name", ["energy_distance", "delta_correlation", "de_overlap", "variance_ratio", "change_correlation"]
)
def test_the_baseline_is_0_and_a_replicate_1(with_truth, baseline, name):
    c = arrays(with_truth)
    rows = np.random.default_rng(1).permutation(400)
    truth = torch.from_numpy(c["truth"][rows])

    def perfect(source, target, /):
        return lambda x: truth

    table = ne.tl.compare(with_truth, "group", **TRUTH, methods=["identity", "mean_shift", perfect], metrics=[name],
                          baseline=baseline, n_bootstrap=20).set_index("method")  # fmt: skip
    assert table["baseline"].nunique() == 1 == table["replicate"].nunique()
    row = table.loc["perfect"]
    if not row["replicate"] > row["baseline"]:
        assert table["scaled"].isna().all()
        return
    value = table.loc[baseline, "scaled"]
    assert value == pytest.approx(0, abs=1e-6) or np.isnan(table.loc[baseline, "value"])
    assert row["scaled"] > 0.75  # the truth is at least as good as half of it
    assert row["scaled_low"] <= row["scaled"] <= row["scaled_high"]


def test_scaled_distances_are_the_gap_closed_where_cells_left_alone_are_the_baseline(with_truth):
    table = ne.tl.compare(with_truth, "group", **TRUTH, methods=FAST, metrics=["energy_distance"], n_bootstrap=0)
    np.testing.assert_allclose(table["scaled"], table["value"])


# strata that are held out


def test_held_out_is_each_stratum_as_query_and_truth(cells):
    table = ne.tl.compare(
        cells, "group", source="control_1", target="control_2", held_out="cell_type", methods=FAST, n_bootstrap=3
    )
    types = sorted(cells.obs["cell_type"].unique())
    assert table["held_out"].cat.categories.tolist() == [*types, "all"]
    group, kind = cells.obs["group"], cells.obs["cell_type"]
    others = cells.obs.assign(role=np.where(kind == types[0], "q_" + group.astype(str), group.astype(str)))
    alone = AnnData(cells.X, obs=others)
    roles = {"source": "control_1", "target": "control_2", "query": "q_control_1", "truth": "q_control_2"}
    expected = ne.tl.compare(alone, "role", **roles, methods=FAST, n_bootstrap=3)
    found = table[table["held_out"] == types[0]].sort_values(
        ["method", "metric"], key=lambda column: column.astype(str)
    )
    expected = expected.sort_values(["method", "metric"], key=lambda column: column.astype(str))
    np.testing.assert_array_equal(found["value"], expected["value"])
    means = table[table["held_out"] == "all"].set_index(["method", "metric"])
    for key, rows in table[table["held_out"] != "all"].groupby(["method", "metric"], observed=True):
        values, row = rows["value"], means.loc[key]
        half = stats.t.ppf(0.975, len(types) - 1) * values.std() / np.sqrt(len(types))
        ends = np.clip([values.mean() - half, values.mean() + half], *METRIC_TABLE[key[1]][2:])
        np.testing.assert_allclose(row[["value", "low", "high"]].astype(float), [values.mean(), *ends])


def test_predictions_of_all_strata_are_kept(cells):
    ne.tl.compare(
        cells,
        "group",
        source="control_1",
        target="control_2",
        held_out="cell_type",
        methods=FAST,
        n_bootstrap=0,
        key_added="tried",
    )
    source = (cells.obs["group"] == "control_1").to_numpy()
    kept = cells.layers["tried_mean_shift"]
    assert np.array_equal(kept[~source], cells.X[~source]) and (kept[source] != cells.X[source]).all(axis=1).all()
    assert set(cells.uns["tried"]["scores"]["held_out"]) == {*cells.obs["cell_type"], "all"}


@pytest.mark.parametrize(("arguments", "message"), [
    ({"query": "sample_1"}, "held_out takes query from source and target: leave 'query' out"),
    ({"held_out": "tissue"}, "'tissue' is not in adata.obs"),
    ({"held_out": "group"}, "has 0 values of 4 cells or more in both source and target; held_out needs two"),
    ({"held_out": "lane"}, "has the value 'all', which stands for something else in the table; rename it"),
    ({"baseline": "magic"}, "baseline='magic' is not known; choose 'identity'"),
])  # fmt: skip
def test_bad_strata(cells, arguments, message):
    cells.obs["lane"] = np.where(np.arange(cells.n_obs) % 2, "all", "one")
    how = {"source": "control_1", "target": "control_2", "held_out": "cell_type", "methods": FAST} | arguments
    with pytest.raises((ValueError, KeyError), match=message):
        ne.tl.compare(cells, "group", **how)


# models of others


class Shift:
    """What a user would write around a model of another package."""

    def fit(self, source, target, *, rng=None):
        assert isinstance(source, np.ndarray) and not hasattr(self, "change")
        self.change, self.rng = target.mean(axis=0) - source.mean(axis=0), rng

    def predict(self, query):
        self.n = len(query)
        return query + self.change


def test_objects_with_fit_and_predict_are_methods(with_truth):
    model = Shift()
    table = ne.tl.compare(
        with_truth,
        "group",
        **TRUTH,
        methods=["mean_shift", model],
        metrics=["energy_distance"],
        n_seeds=2,
        n_bootstrap=0,
    )
    values = table.groupby("method", observed=True)["value"].unique()
    np.testing.assert_allclose(values["Shift"], values["mean_shift"], rtol=1e-5)
    assert table[table["method"] == "Shift"]["seed"].tolist() == [0, 1] and not hasattr(model, "change")
    with pytest.raises(TypeError, match=r"Shift is a class; give an object of it, Shift\(...\)"):
        ne.tl.compare(with_truth, "group", **TRUTH, methods=[Shift])


def test_a_failure_is_a_row_with_its_reason_and_the_others_go_on(with_truth, caplog):
    def broken(source, target, /):
        raise RuntimeError("singular matrix")

    def exploding(source, target, /):
        return lambda x: x * torch.inf

    def shortened(source, target, /):
        return lambda x: x[:, :2]

    table = ne.tl.compare(with_truth, "group", **TRUTH, methods=[broken, "identity", exploding, shortened])
    reasons = table.groupby("method", observed=True)["error"].first()
    assert reasons["broken"] == "RuntimeError: singular matrix"
    assert "NaN or infinite" in reasons["exploding"] and "(400, 2)" in reasons["shortened"]
    assert table[table["error"] != ""]["value"].isna().all()
    assert table["method"].cat.categories[0] == "identity" and reasons["identity"] == ""
    assert "broken failed: RuntimeError: singular matrix" in caplog.text


def test_seeds_are_given_to_the_methods_that_have_one(cells):
    given = []

    def random(source, target, /, *, rng=0):
        given.append(rng)
        offset = torch.rand(source.shape[1], generator=torch.Generator().manual_seed(rng))
        return lambda x: x + offset

    table = ne.tl.compare(
        cells, "group", **POPULATIONS, methods={"random": random, "mean": "mean_shift"}, n_seeds=3, rng=5
    )
    assert given == [5, 6, 7]
    assert table.groupby("method", observed=True)["seed"].unique().map(list).to_dict() == {
        "mean": [5],
        "random": [5, 6, 7],
    }
    assert table[(table["method"] == "random") & (table["metric"] == "unharmed")]["value"].nunique() > 1


def test_a_space_is_trained_on_source_target_and_query_and_never_on_the_truth(with_truth):
    given = []

    def spy(source, target, /, *, cells=None):
        given.append(cells)
        return lambda x: x

    ne.tl.compare(with_truth, "group", **TRUTH, methods=[spy], metrics=["energy_distance"], n_bootstrap=0)
    c = arrays(with_truth)
    expected = np.concatenate([c["source"], c["target"], c["query"]])
    assert np.array_equal(np.sort(given[0].numpy(), axis=0), np.sort(expected, axis=0))


def test_methods_share_an_autoencoder_and_do_what_they_do_alone(with_truth, monkeypatch):
    c = arrays(with_truth)
    methods = {name: partial(BASELINES[name], n_steps=20) for name in ("constant_shift", "neuron_editing")}
    cells = torch.from_numpy(with_truth.X[(with_truth.obs["group"].isin(list(POPULATIONS.values()))).to_numpy()])
    both = [torch.from_numpy(c[role]) for role in ("source", "target")]
    alone = {name: learn(*both, cells=cells)(torch.from_numpy(c["query"])).numpy() for name, learn in methods.items()}
    trained, fit = [], Autoencoder.fit
    monkeypatch.setattr(Autoencoder, "fit", lambda *arguments: trained.append(1) or fit(*arguments))
    ne.tl.compare(
        with_truth, "group", **TRUTH, methods=methods, metrics=["energy_distance"], n_bootstrap=0, key_added="a"
    )
    assert len(trained) == 1
    query = (with_truth.obs["group"] == "sample_1").to_numpy()
    for name, expected in alone.items():
        assert np.array_equal(with_truth.layers[f"a_{name}"][query], expected)


def test_the_default_of_genes_is_compared_in_principal_components(monkeypatch):
    """Of more than 60 features `auto_edit` is what `ne.tl.edit` does, and no autoencoder is trained."""
    monkeypatch.setattr(Autoencoder, "fit", lambda *args, **params: pytest.fail("an autoencoder was trained"))
    x = np.random.default_rng(0).normal(size=(360, 61)).astype(np.float32)
    genes = AnnData(x + np.repeat([[0.0], [1.0], [0.3]], 120, axis=0).astype(np.float32))
    genes.obs["group"] = np.repeat(["source", "target", "query"], 120)
    roles = {"source": "source", "target": "target", "query": "query"}
    ne.tl.edit(genes, "group", **roles)
    ne.tl.compare(
        genes, "group", **roles, methods=["auto_edit"], n_bootstrap=0, key_added="compared", progress_bar=False
    )
    assert np.allclose(genes.layers["compared_auto_edit"], genes.layers["edited"], atol=1e-5)


def test_the_same_seed_gives_the_same_table_and_nothing_is_written(with_truth):
    methods = {name: BASELINES[name] for name in FAST} | {"neurons": partial(BASELINES["neuron_editing"], n_steps=20)}
    before = with_truth.copy()
    first, second = (
        ne.tl.compare(with_truth, "group", **TRUTH, methods=methods, n_bootstrap=20).drop(columns="seconds")
        for _ in range(2)
    )
    pd.testing.assert_frame_equal(first, second)
    assert np.array_equal(with_truth.X, before.X) and with_truth.obs.equals(before.obs)
    assert not (with_truth.layers or with_truth.uns or with_truth.obsm)


def test_predictions_are_kept_as_layers(with_truth):
    ne.tl.compare(with_truth, "group", **TRUTH, methods=FAST, key_added="tried", n_bootstrap=0)
    query = (with_truth.obs["group"] == "sample_1").to_numpy()
    c = arrays(with_truth)
    shifted = with_truth.layers["tried_mean_shift"]
    np.testing.assert_allclose(shifted[query], c["query"] + c["target"].mean(0) - c["source"].mean(0), atol=1e-5)
    assert np.array_equal(shifted[~query], with_truth.X[~query])
    assert with_truth.var["tried_mean_shift_arcsinh_cofactor"].eq(5).all()
    ne.tl.compare(with_truth, "group", **TRUTH, methods=FAST, key_added="tried", n_bootstrap=0)
    with_truth.layers["mine_identity"] = with_truth.X
    with pytest.raises(ValueError, match=r"layers\['mine_identity'\] exists"):
        ne.tl.compare(with_truth, "group", **TRUTH, methods=FAST, key_added="mine")


ENDS = {
    "a correlation": ("mean_correlation", False, 0.98, (0.9, 1.03), (0.9, 1.0)),
    "an opposite correlation": ("delta_correlation", False, -0.9, (-1.2, -0.6), (-1.0, -0.6)),
    "a rank correlation": ("de_fold_change", False, 0.0, (-1.5, 1.5), (-1.0, 1.0)),
    "a share of features": ("de_recall", False, 0.95, (-0.1, 1.05), (0.0, 1.0)),
    "features not harmed": ("unharmed", False, 1.0, (0.97, 1.02), (0.97, 1.0)),
    "explained variance": ("r2", False, 0.9, (-3.0, 1.1), (-3.0, 1.0)),
    "a ratio": ("variance_ratio", False, 0.1, (-0.1, 7.0), (0.0, 7.0)),
    "rounding": ("mean_correlation", False, 1 + 1e-12, (0.9, 1.1), (0.9, 1 + 1e-12)),
    "a distance": ("energy_distance", True, 0.9, (-2.0, 1.1), (-2.0, 1.1)),
    "the caller's distance": ("mean_correlation", True, 0.9, (-2.0, 1.1), (-2.0, 1.1)),
}


@pytest.mark.parametrize("case", ENDS)
def test_intervals_end_where_no_score_can_be(case):
    metric, is_distance, value, ends, expected = ENDS[case]
    np.testing.assert_array_equal(keep_within(ends, value, find_limits(metric, is_distance)), expected)


BOUNDS = {name: row[2:] for name, row in METRIC_TABLE.items() if row[2:] != (-np.inf, np.inf)}


def test_every_metric_that_is_no_distance_has_bounds():
    assert set(BOUNDS) == {*AGREEMENTS, *CHANGES, *CHECKS}
    assert all(low < 1 <= high for low, high in BOUNDS.values())


@pytest.mark.parametrize("n_cells", [6, 20])
def test_no_interval_of_few_cells_leaves_the_bounds(with_truth, n_cells):
    rng = np.random.default_rng(0)
    rows = [rng.choice(np.flatnonzero(with_truth.obs["group"] == name), n_cells) for name in TRUTH.values()]
    few = with_truth[np.concatenate(rows)].copy()
    few.obs_names_make_unique()
    table = ne.tl.compare(few, "group", **TRUTH, methods=FAST, metrics=list(BOUNDS), n_bootstrap=30)
    known = table.dropna(subset=["low", "high"])
    bounds = np.array([BOUNDS[metric] for metric in known["metric"]])
    assert (known["low"] >= bounds[:, 0] - 1e-9).all() and (known["high"] <= bounds[:, 1] + 1e-9).all()
    assert (known["low"] <= known["value"]).all() and (known["value"] <= known["high"]).all()
    at_end = known[np.isclose(known["high"], bounds[:, 1]) | np.isclose(known["low"], bounds[:, 0])]
    assert len(at_end)  # or the test would not test
    scaled = known.dropna(subset=["scaled_high"])
    best = (1 - scaled["baseline"]) / (scaled["replicate"] - scaled["baseline"])
    assert len(scaled) and (scaled["scaled_high"] <= best + 1e-9).all()


def test_intervals_over_strata_stay_within_the_bounds():
    rows = {"method": "a", "seed": 0, "baseline": 0.0, "distance": np.nan, "seconds": 1.0, "error": ""}
    scores = {"mean_correlation": [0.2, 0.99, 0.98], "variance_ratio": [0.0, 0.1, 3.0], "mine": [0.2, 0.99, 0.98]}
    table = pd.DataFrame(
        [
            rows | {"metric": name, "value": value, "replicate": 0.8}
            for name, values in scores.items()
            for value in values
        ]
    )
    table.loc[table["metric"] == "mine", "distance"] = 0.5  # a function of the caller's is a distance
    means = add_means(table).dropna(subset=["low"]).set_index("metric")
    assert means.loc["mean_correlation", ["high", "scaled_high"]].tolist() == pytest.approx([1, 1 / 0.8])
    assert means.loc["variance_ratio", "low"] == RATIO[0] and means.loc["variance_ratio", "high"] > 1
    assert means.loc["mine", "high"] > 1 and means.loc["mine", "scaled_high"] > 1 / 0.8


def test_intervals_cover_the_truth_about_as_often_as_they_say():
    """A fixed map, scored on 60 draws of the populations: intervals hold the value of a large sample most of the time."""

    def simulate(rng, n):
        generator = np.random.default_rng(rng)
        roles = {"source": 0.0, "target": 1.0, "query": 0.0, "truth": 1.5}
        x = np.concatenate([generator.normal(center, size=(n, 3)) for center in roles.values()]).astype(np.float32)
        return AnnData(x, obs=pd.DataFrame({"role": np.repeat(list(roles), n)}, index=map(str, range(4 * n))))

    def by_one(source, target, /):
        return lambda x: x + 1

    def score(rng, n, n_bootstrap):
        groups = {role: role for role in ("source", "target", "query", "truth")}
        arguments = {"methods": [by_one], "metrics": ["energy_distance"], "n_bootstrap": n_bootstrap}
        return ne.tl.compare(simulate(rng, n), "role", **groups, **arguments).iloc[0]

    true = score(999, 4000, 0)["value"]
    rows = [score(rng, 150, 60) for rng in range(60)]
    assert 0.85 <= np.mean([r["low"] <= true <= r["high"] for r in rows]) <= 0.995
    large = score(7, 1500, 60)  # more cells than a bootstrap sample holds
    assert 0.5 < (large["high"] - large["low"]) / np.mean([r["high"] - r["low"] for r in rows]) / 10**-0.5 < 2


def test_sparse_and_layers_give_the_same(with_truth):
    expected = ne.tl.compare(with_truth, "group", **TRUTH, methods=FAST, n_bootstrap=5).drop(columns="seconds")
    with_truth.layers["sparse"], with_truth.X = sparse.csr_matrix(with_truth.X), np.zeros_like(with_truth.X)
    found = ne.tl.compare(with_truth, "group", **TRUTH, methods=FAST, n_bootstrap=5, layer="sparse")
    pd.testing.assert_frame_equal(found.drop(columns="seconds"), expected)


def test_a_query_is_required(with_truth):
    with pytest.raises(ValueError, match="query is required: .* besides source, target, truth 'sample_1', 'sample_2'"):
        ne.tl.compare(with_truth, "group", source="control_1", target="control_2", truth="truth", methods=["identity"])


def test_the_default_is_every_quick_method(cells, monkeypatch):
    few = {name: QUICK[name] for name in FAST}
    monkeypatch.setattr("neuronedit.tl._compare.QUICK", few)
    assert set(ne.tl.compare(cells, "group", **POPULATIONS, n_bootstrap=0)["method"]) == set(few)


BAD = {
    "no such method": ({"methods": ["magic"]}, "methods='magic' is not known; choose 'identity', 'mean_shift'"),
    "no such metric": ({"metrics": ["fid"]}, "metrics='fid' is not known; choose 'energy_distance'"),
    "no methods": ({"methods": []}, "methods is empty; choose from 'identity'"),
    "two of one name": ({"methods": [lambda s, t: s, lambda s, t: s]}, "methods has two of one name"),
    "no seeds": ({"n_seeds": 0}, "n_seeds must be at least 1; it is 0"),
    "negative bootstrap": ({"n_bootstrap": -1}, "n_bootstrap must be at least 0; it is -1"),
    "unwith_truth truth": ({"truth": "sample_9"}, "truth: 'sample_9' is not in obs"),
    "truth is the target": ({"truth": "control_2"}, "400 cells are in both target and truth"),
    "truth is the query": ({"truth": "sample_1"}, "400 cells are in both truth and query"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input(with_truth, case):
    arguments, message = BAD[case]
    with pytest.raises(ValueError, match=message):
        ne.tl.compare(with_truth, "group", **(TRUTH | arguments))
    assert not with_truth.layers and not with_truth.uns


@pytest.mark.parametrize("role", POPULATIONS | {"truth": ""})
def test_too_few_cells_are_refused(with_truth, role):
    few = (with_truth.obs["group"] == TRUTH[role]).to_numpy() & (np.cumsum(with_truth.obs["group"] == TRUTH[role]) > 3)
    with pytest.raises(ValueError, match=f"{role} has 3 cells; scores need at least 4"):
        ne.tl.compare(with_truth[~few], "group", **TRUTH, methods=FAST)


def test_nan_is_refused_before_any_work(with_truth):
    with_truth.X[3, 4] = np.nan
    with pytest.raises(ValueError, match="X has NaN or infinite values, the first in cell"):
        ne.tl.compare(with_truth, "group", **TRUTH)
