"""Predicted combinations, ranked by a score of the caller's."""

import numpy as np
import pandas as pd
import pytest

import neuronedit as ne

TREATMENTS = {"control": "basal", "effects": ["A", "B", "C"]}
COLUMNS = ["predicted", "low", "high", "score_a", "score_b", "control", "agreement"]


@pytest.fixture(scope="module")
def _treated():
    """Cells under three treatments; the third one is what A and B do together."""
    adata = ne.datasets.simulate_combination(n_cells=200, interaction=0.0)
    adata.obs["drug"] = adata.obs["condition"].astype(str).replace({"A+B": "C"})
    ne.tl.train(adata, space="identity")
    return adata


@pytest.fixture
def treated(_treated):
    return _treated.copy()


@pytest.fixture(scope="module")
def predicted(_treated):
    return ne.tl.combine(_treated, "drug", **TREATMENTS, edit="percentile")


def in_gate(cells):
    table = cells.to_df()
    return float(((table["CD38"] >= 1.0) & (table["p4EBP1"] <= 2.0)).mean())


SCORES = {  # what is given, and the same as a function of cells
    "marker": ("p4EBP1", lambda cells: cells.to_df()["p4EBP1"].mean()),
    "gate": ({"CD38": (1.0, None), "p4EBP1": (None, 2.0)}, in_gate),
    "function": (lambda cells: cells[:, ["CD38"]].X.mean() - cells[:, ["p4EBP1"]].X.mean(),) * 2,
}


@pytest.mark.parametrize("name", SCORES)
def test_combinations_are_ranked_by_a_score(treated, predicted, name):
    score, measure = SCORES[name]
    table = ne.tl.rank_combinations(treated, "drug", **TREATMENTS, score=score, n_bootstrap=10)
    assert list(table) == COLUMNS and set(table.index) == {"A+B", "A+C", "B+C"}
    assert table["predicted"].is_monotonic_decreasing
    assert (table["low"] <= table["predicted"]).all() and (table["predicted"] <= table["high"]).all()
    assert table["agreement"].to_dict() == predicted.uns["combined"]["combinations"]["agreement"].to_dict()
    for combination in table.index:
        a, b = combination.split("+")
        cells = predicted[predicted.obs["drug"] == combination]
        orders = [measure(cells[cells.obs["combined_from"] == given]) for given in (a, b)]
        assert table.loc[combination, "predicted"] == pytest.approx(np.mean(orders), abs=1e-4)
        alone = {"score_a": a, "score_b": b, "control": "basal"}
        for column, treatment in alone.items():
            expected = measure(treated[treated.obs["drug"] == treatment])
            assert table.loc[combination, column] == pytest.approx(expected, abs=1e-4)


def test_nothing_is_written_and_the_same_seed_gives_the_same_table(treated):
    before = treated.copy()
    arguments = TREATMENTS | {"score": "CD38", "n_bootstrap": 5}
    first, second = (ne.tl.rank_combinations(treated, "drug", **arguments) for _ in range(2))
    pd.testing.assert_frame_equal(first, second)
    other = ne.tl.rank_combinations(treated, "drug", **arguments, rng=1)
    assert first["predicted"].equals(other["predicted"]) and not first["low"].equals(other["low"])
    assert set(treated.uns) == set(before.uns) and set(treated.layers) == set(before.layers)
    assert treated.obs.equals(before.obs) and np.array_equal(treated.X, before.X)


def test_edit_strata_and_layer_are_those_of_combine(treated):
    treated.layers["scaled"] = 2 * treated.X
    how = {"edit": "shift", "strata": "cell_type", "layer": "scaled"}
    table = ne.tl.rank_combinations(treated, "drug", **TREATMENTS, score="CD38", n_bootstrap=2, **how)
    both = ne.tl.combine(treated, "drug", **TREATMENTS, **how)
    expected = both.to_df()["CD38"].groupby([both.obs["drug"], both.obs["combined_from"]], observed=True).mean()
    for combination in table.index:
        assert table.loc[combination, "predicted"] == pytest.approx(expected[combination].mean(), abs=1e-4)
    expected = 2 * treated[treated.obs["drug"] == "basal"].to_df()["CD38"].mean()
    assert table["control"].iloc[0] == pytest.approx(expected, abs=1e-4)


def test_features_in_another_order_give_the_same(treated):
    arguments = TREATMENTS | {"score": {"CD38": (1.0, None)}, "n_bootstrap": 5}
    table = ne.tl.rank_combinations(treated, "drug", **arguments)
    reordered = ne.tl.rank_combinations(treated[:, ::-1].copy(), "drug", **arguments)
    pd.testing.assert_frame_equal(reordered, table, atol=1e-6)


BAD = {
    "marker": ({"score": "CD1000"}, "'CD1000' is not in adata.var_names; it has"),
    "gate": ({"score": {"CD1000": (0, 1)}}, "'CD1000' is not in adata.var_names"),
    "empty gate": ({"score": {}}, "score must be a feature, a gate such as .* or a function; it is {}"),
    "gate of no cell": (
        {"score": {"CD38": (3, 1)}},
        "score must be a feature, a gate such as .* with the low limit first",
    ),
    "gate of words": (
        {"score": {"CD38": ("low", None)}},
        "score must be a string, a dict of strings to 2 values .each a number or None. or a function",
    ),
    "bootstrap": ({"n_bootstrap": 1}, "n_bootstrap must be at least 2; it is 1"),
    "column": ({"groupby": "drugs"}, "'drugs' is not in adata.obs; it has 'condition', 'cell_type', 'drug'"),
    "control": ({"control": "none"}, r"control: 'none' is not in obs\['drug'\]; it has 'basal', 'A', 'B', 'C'"),
    "effect": ({"effects": ["A", "das"]}, r"effects: 'das' is not in obs\['drug'\]"),
    "one effect": ({"effects": ["A"]}, "effects must be two or more values"),
    "twice": ({"effects": ["A", "A"]}, "'A' is named twice among control and effects"),
    "edit": ({"edit": "percentiles"}, "edit='percentiles' is not known"),
    "parameter": ({"bins": 3}, "'bins' is not a parameter of the edit 'percentile'"),
    "strata": ({"strata": "donor"}, "strata: 'donor' is not in adata.obs"),
    "layer": ({"layer": "counts"}, "'counts' is not in adata.layers"),
    "key": ({"key": "other"}, r"uns\['other'\] holds no trained space"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input(treated, name):
    arguments, message = BAD[name]
    with pytest.raises((KeyError, TypeError, ValueError), match=message):
        ne.tl.rank_combinations(treated, **{"groupby": "drug"} | TREATMENTS | {"score": "CD38"} | arguments)
    assert set(treated.uns) == {"neuronedit"}


def test_a_score_is_required(treated):
    with pytest.raises(TypeError, match="score"):
        ne.tl.rank_combinations(treated, "drug", **TREATMENTS)
