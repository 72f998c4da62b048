"""Scores in the files of cell-eval: what is in them, and that cell-eval reads them."""

from functools import partial

import pandas as pd
import pytest

import neuronedit as ne

HOW = {"source": "control_1", "target": "control_2", "held_out": "cell_type", "n_bootstrap": 0}
METRICS = ["energy_distance", "delta_correlation", "de_direction"]


@pytest.fixture
def table(cells):
    return ne.tl.compare(cells, "group", **HOW, methods=["identity", "mean_shift"], metrics=METRICS)


def test_each_method_has_a_row_a_stratum_and_its_statistics(table, tmp_path):
    paths = ne.io.write_cell_eval(table, tmp_path / "scores")
    assert sorted(tmp_path.glob("scores/*")) == sorted(paths) and len(paths) == 4
    strata = [name for name in table["held_out"].cat.categories if name != "all"]
    rows = pd.read_csv(tmp_path / "scores/mean_shift_results.csv", index_col="perturbation")
    assert list(rows.index) == strata and list(rows) == ["energy_distance", "pearson_delta", "de_direction_match"]
    own = table[table["method"] == "mean_shift"].pivot_table("distance", "held_out", "metric", observed=True)
    pd.testing.assert_series_equal(
        rows["energy_distance"], own.loc[strata, "energy_distance"], check_names=False, check_index=False
    )
    found = pd.read_csv(tmp_path / "scores/mean_shift_agg_results.csv", index_col="statistic")
    assert found.index.tolist() == ["count", "null_count", "mean", "std", "min", "25%", "50%", "75%", "max"]
    assert found.loc["mean", "pearson_delta"] == pytest.approx(rows["pearson_delta"].mean())
    alone = pd.read_csv(tmp_path / "scores/identity_agg_results.csv", index_col="statistic")
    assert alone.loc["null_count", "pearson_delta"] == len(strata)  # no change has no correlation


def test_cell_eval_reads_them(cells, tmp_path):
    cell_eval = pytest.importorskip("cell_eval")
    mse = {"mse": partial(ne.metrics.squared_error, subtract_noise=False)}
    table = ne.tl.compare(
        cells,
        "group",
        **HOW,
        methods=["identity", "mean_shift"],
        metrics=dict(zip(METRICS, METRICS, strict=True)) | mse,
    )
    ne.io.write_cell_eval(table, tmp_path)
    files = [str(tmp_path / f"{method}_agg_results.csv") for method in ("mean_shift", "identity")]
    scores = cell_eval.score_agg_metrics(*files).to_pandas().set_index("metric")
    assert 0 < scores.loc["de_direction_match", "from_baseline"] <= 1


@pytest.mark.parametrize(("change", "message"), [
    (lambda table: table.drop(columns="held_out"), "table has no column 'held_out'"),
    (lambda table: table.iloc[:0], "table has no rows"),
    (lambda table: table.assign(method="../mine"), "methods '../mine' cannot be names of files"),
])  # fmt: skip
def test_bad_input(table, tmp_path, change, message):
    with pytest.raises((KeyError, ValueError), match=message):
        ne.io.write_cell_eval(change(table), tmp_path / "scores")
    assert not (tmp_path / "scores").exists()


def test_folders_that_cannot_be_written(table, tmp_path):
    (tmp_path / "file").write_text("")
    for folder, error in {"no/scores": FileNotFoundError, "file": NotADirectoryError}.items():
        with pytest.raises(error, match="does not exist|is no folder"):
            ne.io.write_cell_eval(table, tmp_path / folder)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
