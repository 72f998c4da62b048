"""Measures of perturbations: laws, oracles, what exposes a constant, and the figures of cell-eval on the same cells."""

import anndata
import numpy as np
import pandas as pd
import pytest
from scipy import stats

from neuronedit import metrics
from neuronedit.metrics import CHANGES

PERTURBATIONS = ("A", "B", "C", "D")
GENES = [f"g{i}" for i in range(36)] + list(PERTURBATIONS)


def simulate(n=120):
    """Draw log1p counts of control cells, and true and predicted cells of four perturbations that share a change and have one of their own."""
    rng = np.random.default_rng(0)
    base = rng.gamma(2.0, 2.0, size=40)
    shared, own = rng.normal(0, 0.3, 40), rng.normal(0, 0.4, (4, 40))

    def draw(change):
        return np.log1p(rng.poisson(base * np.exp(change), size=(n, 40))).astype(np.float32)

    control = draw(0.0)
    truth = {name: draw(shared + own[i]) for i, name in enumerate(PERTURBATIONS)}
    guess = 0.4 * own[[0, 1, 2, 0]] + 0.1 * own[[3, 2, 1, 0]]  # D is taken for A
    predicted = {name: draw(shared + guess[i]) for i, name in enumerate(PERTURBATIONS)}
    return control, truth, predicted


@pytest.fixture(scope="module")
def cells():
    return simulate()


def bulk(cells):
    return np.stack([cells[name].astype(float).mean(axis=0) for name in PERTURBATIONS])


def score(control, truth, predicted):
    """Return our scores under the names of cell-eval, one for each perturbation."""
    how = {"fold_change": "log1p"}
    agreements = [metrics.de_agreement(control, truth[p], predicted[p], **how) for p in PERTURBATIONS]
    few = [metrics.de_agreement(control, truth[p], predicted[p], k=5, **how) for p in PERTURBATIONS]
    targets = [GENES.index(name) for name in PERTURBATIONS]
    bulks = {"origin": control.astype(float).mean(axis=0), "targets": targets}
    names = {"direction": "de_direction_match", "overlap": "overlap_at_N", "recall": "de_sig_genes_recall",
             "fold_change": "de_spearman_lfc_sig"}  # fmt: skip
    return {
        "pearson_delta": [metrics.delta_correlation(control, truth[p], predicted[p]) for p in PERTURBATIONS],
        "mse": [metrics.squared_error(predicted[p], truth[p], subtract_noise=False) for p in PERTURBATIONS],
        **{f"discrimination_score_{d}": metrics.discrimination_score(bulk(truth), bulk(predicted), distance=d, **bulks) for d in ("l1", "l2", "cosine")},
        **{name: [found[own] for found in agreements] for own, name in names.items()},
        "overlap_at_5": [found["overlap"] for found in few],
    }  # fmt: skip


FROZEN = {
    "pearson_delta": [0.927890956401825, 0.8843123316764832, 0.8390985131263733, 0.5261620283126831],
    "mse": [0.023845279589295387, 0.026324469596147537, 0.06082994490861893, 0.12131581455469131],
    "discrimination_score_l1": [1.0, 1.0, 1.0, 0.75],
    "discrimination_score_l2": [1.0, 1.0, 1.0, 0.5],
    "discrimination_score_cosine": [1.0, 1.0, 1.0, 0.75],
    "de_direction_match": [0.9333333333333333, 0.9259259259259259, 0.8076923076923077, 0.7037037037037037],
    "overlap_at_N": [0.6666666666666666, 0.7037037037037037, 0.7307692307692307, 0.5555555555555556],
    "overlap_at_5": [0.6, 0.6, 0.6, 0.6],
    "de_sig_genes_recall": [0.6666666666666666, 0.7037037037037037, 0.7307692307692307, 0.5555555555555556],
    "de_spearman_lfc_sig": [0.9305895439377085, 0.8821733821733821, 0.8276923076923077, 0.5201465201465202],
}
"""What cell-eval 0.8.2 with pdex 0.3.0 returned for A, B, C and D."""


@pytest.mark.parametrize("name", FROZEN)
def test_it_is_what_cell_eval_returned(cells, name):
    np.testing.assert_allclose(score(*cells)[name], FROZEN[name], rtol=0, atol=1e-6)


def test_it_is_what_cell_eval_returns(cells, tmp_path):
    cell_eval = pytest.importorskip("cell_eval")
    control, truth, predicted = cells

    def stack(treated):
        obs = pd.DataFrame({"target": np.repeat(["non-targeting", *PERTURBATIONS], len(control))})
        x = np.concatenate([control, *(treated[name] for name in PERTURBATIONS)])
        return anndata.AnnData(x, obs.set_axis(obs.index.astype(str)), pd.DataFrame(index=GENES))

    evaluator = cell_eval.MetricsEvaluator(stack(predicted), stack(truth), num_threads=1, outdir=str(tmp_path))
    configs = {"overlap_at_50": {"k": 5}}
    table, _ = evaluator.compute(metric_configs=configs, write_csv=False)
    found = table.to_pandas().set_index("perturbation").loc[list(PERTURBATIONS)]
    for name, values in score(*cells).items():
        there = found["overlap_at_50" if name == "overlap_at_5" else name]
        np.testing.assert_allclose(values, there, rtol=0, atol=1e-6, err_msg=name)


# laws


@pytest.mark.parametrize("name", CHANGES)
def test_the_truth_is_best_a_permutation_of_features_is_not(cells, name):
    control, truth, _ = cells
    assert CHANGES[name](control, truth["A"], truth["A"]) == pytest.approx(1)
    shuffled = truth["A"][:, np.random.default_rng(1).permutation(40)]
    assert CHANGES[name](control, truth["A"], shuffled) < 0.9


@pytest.mark.parametrize("name", CHANGES)
def test_cells_left_alone_have_no_score_to_boast_of(cells, name):
    control, truth, _ = cells
    value = CHANGES[name](control, truth["A"], control)
    assert np.isnan(value) or value == 0


def test_the_mean_of_all_perturbations_is_exposed_by_its_origin(cells):
    """The same prediction for all, the common change, scores high from the control, and nothing from the mean of all."""
    control, truth, _ = cells
    mean = bulk(truth).mean(axis=0)
    constant = mean + np.random.default_rng(0).normal(0, 1e-3, size=(5, 40))
    from_control = [metrics.delta_correlation(control, truth[p], constant) for p in PERTURBATIONS]
    from_mean = [metrics.delta_correlation(control, truth[p], constant, origin=mean) for p in PERTURBATIONS]
    assert np.mean(from_control) > 0.5 > 0.25 > abs(np.mean(from_mean))
    for distance in ("l1", "l2", "cosine"):
        values = metrics.discrimination_score(
            bulk(truth), np.tile(mean, (4, 1)), distance=distance, origin=control.mean(axis=0)
        )
        assert values.mean() == pytest.approx(5 / 8)  # (n + 1) / 2n: each rank once


def test_a_discrimination_score_counts_the_truths_that_are_nearer():
    truths = np.array([[0.0, 0.0], [1.0, 0.0], [3.0, 0.0]])
    assert metrics.discrimination_score(truths, truths).tolist() == [1, 1, 1]
    assert metrics.discrimination_score(truths, truths[[2, 0, 1]]) == pytest.approx([1 / 3, 2 / 3, 1 / 3])
    assert metrics.discrimination_score(truths[[0, 0, 2]], truths[[0, 0, 2]]) == pytest.approx(
        [5 / 6, 5 / 6, 1]
    )  # ties
    told = np.array([[9.0, 0.0], [0.0, 0.0], [0.0, 0.0]])  # the target gene alone is right
    assert metrics.discrimination_score(told, told)[0] == 1
    assert metrics.discrimination_score(told, told, targets=[0, -1, -1])[0] == pytest.approx(2 / 3)


def test_the_noise_of_the_truth_is_taken_off():
    """A prediction that is the population's mean has an error of 0 on average, however few true cells there are."""
    rng = np.random.default_rng(0)
    perfect = np.zeros((1, 30))
    errors = [metrics.squared_error(perfect, rng.normal(size=(8, 30))) for _ in range(300)]
    assert abs(np.mean(errors)) < 3 * np.std(errors) / np.sqrt(300)
    y = rng.normal(size=(8, 30))
    assert metrics.squared_error(perfect, y, subtract_noise=False) == pytest.approx(np.square(y.mean(axis=0)).mean())


def test_differential_expression_is_scipy_s_and_statsmodels_rule(cells):
    control, truth, _ = cells
    found = metrics.differential_expression(control, truth["A"])
    both = truth["A"].astype(float), control.astype(float)
    p = np.array([stats.mannwhitneyu(*(x[:, j] for x in both), method="asymptotic").pvalue for j in range(40)])
    np.testing.assert_allclose(found.p_value, p, rtol=1e-12)
    order = np.argsort(p)
    q = np.minimum.accumulate((p[order] * 40 / np.arange(1, 41))[::-1])[::-1]  # Benjamini and Hochberg's step-up rule
    np.testing.assert_allclose(found.q_value[order], np.minimum(q, 1), rtol=1e-12)
    np.testing.assert_allclose(found.change, truth["A"].mean(axis=0, dtype=float) - control.mean(axis=0, dtype=float))
    same = metrics.differential_expression(np.ones((5, 2)), np.ones((5, 2)))
    assert same.p_value.tolist() == [1, 1] and same.change.tolist() == [0, 0]


def test_a_prediction_without_noise_wins_recall_and_loses_precision(cells):
    control, truth, _ = cells
    denoised = np.tile(truth["A"].mean(axis=0), (120, 1)) + np.random.default_rng(0).normal(0, 1e-4, (120, 40))
    found = metrics.de_agreement(control, truth["A"], denoised.astype(np.float32))
    assert found["recall"] > 0.95 and found["precision"] < 0.8 and found["n_predicted"] > found["n_true"]


def test_the_e_test_has_the_energy_distance_and_uniform_p_values():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(60, 3)), rng.normal(size=(40, 3)) + 0.4
    found = metrics.e_test(x, y, n_permutations=199)
    assert found.distance == pytest.approx(metrics.energy_distance(x, y))
    pooled, values = np.concatenate([x, y]), []
    for _ in range(300):
        order = rng.permutation(100)
        values.append(metrics.energy_distance(pooled[order[:60]], pooled[order[60:]]))
    assert found.p_value == pytest.approx((1 + (np.array(values) >= found.distance).sum()) / 301, abs=0.05)
    null = [
        metrics.e_test(rng.normal(size=(20, 2)), rng.normal(size=(15, 2)), n_permutations=99).p_value
        for _ in range(200)
    ]
    assert stats.kstest(null, "uniform").pvalue > 0.01
    assert metrics.e_test(x, x, n_permutations=99).p_value > 0.5  # it finds nothing between a population and itself
    assert metrics.e_test(x, y, rng=1) == metrics.e_test(x, y, rng=1)


X = np.random.default_rng(0).normal(size=(5, 3))
BAD = {
    "other features": (lambda: metrics.delta_correlation(X, X, X[:, :2]), "features"),
    "origin of other features": (lambda: metrics.delta_correlation(X, X, X, origin=np.zeros(2)), "control has 3 features, origin has 2"),
    "NaN": (lambda: metrics.squared_error(np.full((5, 3), np.nan), X), "NaN"),
    "one true cell": (lambda: metrics.squared_error(X, X[:1]), "at least 2"),
    "other perturbations": (lambda: metrics.discrimination_score(X, X[:4]), r"truths have the shape \(5, 3\), predicted \(4, 3\)"),
    "no such distance": (lambda: metrics.discrimination_score(X, X, distance="l3"), "distance"),
    "no such target": (lambda: metrics.discrimination_score(X, X, targets=[0, 1, 2, 3, 0]), "targets must be 5 columns from 0 to 2"),
    "not log1p": (lambda: metrics.de_agreement(X, X, X, fold_change="log1p"), "needs values of 0 and more"),
    "no rate": (lambda: metrics.de_agreement(X, X, X, false_discovery_rate=0.0), "false_discovery_rate"),
    "no permutations": (lambda: metrics.e_test(X, X, n_permutations=0), "n_permutations"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_bad_input(case):
    call, message = BAD[case]
    with pytest.raises(ValueError, match=message):
        call()
