import numpy as np
import pandas as pd
import pytest

import neuronedit as ne


def mean(adata, group, marker, layer=None, key="group"):
    cells = adata[adata.obs[key] == group, marker]
    return float((cells.X if layer is None else cells.layers[layer]).mean())


def test_batches():
    adata = ne.datasets.simulate_batches(n_cells=3000)
    assert adata.shape == (12_000, 35)
    assert adata.X.dtype == np.float32 and (adata.X >= 0).all()
    assert 0.1 < (adata.X == 0).mean() < 0.6
    second = (adata.obs["batch"] == "batch_2").to_numpy()
    assert np.array_equal(adata.X[second], adata.layers["truth"][second])
    # batch 1 reads IFNg too low, in both people alike, and CCR6 right
    loss = {
        group: mean(adata, group, "IFNg", "truth") - mean(adata, group, "IFNg") for group in ("control_1", "sample_1")
    }
    assert all(value > 0.6 for value in loss.values())
    assert mean(adata, "control_1", "IFNg", "truth") == pytest.approx(mean(adata, "control_2", "IFNg"), abs=0.1)
    first = adata[~second]
    assert np.array_equal(first[:, "CCR6"].X, first[:, "CCR6"].layers["truth"])
    # the true difference between people
    assert mean(adata, "sample_1", "CCR6") - mean(adata, "control_1", "CCR6") > 0.8
    shares = [
        adata.obs.loc[adata.obs["group"] == g, "cell_type"].value_counts(normalize=True)
        for g in ("control_1", "sample_1")
    ]
    assert (shares[0] - shares[1]).abs().max() > 0.08


def test_batch_effect_is_not_a_function_of_the_marker_alone():
    """Two cells with one reading of a marker can have lost differently much of it."""
    adata = ne.datasets.simulate_batches(n_cells=4000)
    cells = adata[adata.obs["group"] == "control_1", "IFNg"]
    reading, truth = cells.X[:, 0], cells.layers["truth"][:, 0]
    alike = (reading > 1.0) & (reading < 1.1)
    assert truth[alike].std() > 0.1


def test_no_batch_effect():
    adata = ne.datasets.simulate_batches(n_cells=100, batch_effect=0)
    np.testing.assert_allclose(adata.X, adata.layers["truth"], atol=1e-5)
    assert not adata.var["batch_effect"].any()


def test_combination():
    adata = ne.datasets.simulate_combination(n_cells=4000)
    for marker in ("p4EBP1", "pSTAT5", "CD38", "CD3"):
        predicted = mean(adata, "B", marker, "truth", "condition")
        assert predicted == pytest.approx(mean(adata, "A+B", marker, key="condition"), abs=0.08)
    assert mean(adata, "A", "p4EBP1", key="condition") < mean(adata, "basal", "p4EBP1", key="condition") - 0.5
    assert mean(adata, "A", "pSTAT5", key="condition") == pytest.approx(
        mean(adata, "basal", "pSTAT5", key="condition"), abs=0.1
    )


@pytest.mark.parametrize(("interaction", "sign"), [(0.0, 0), (0.8, -1), (-0.8, 1)])
def test_interaction_is_the_departure_from_additivity(interaction, sign):
    adata = ne.datasets.simulate_combination(n_cells=4000, interaction=interaction)
    level = {c: mean(adata, c, "pERK", key="condition") for c in ("basal", "A", "B", "A+B")}
    departure = level["A+B"] - level["A"] - level["B"] + level["basal"]
    assert departure == pytest.approx(sign * 0.8, abs=0.15)


@pytest.mark.parametrize("simulate", [ne.datasets.simulate_batches, ne.datasets.simulate_combination])
def test_seed_and_size(simulate):
    first, same, other = (simulate(n_cells=50, rng=rng) for rng in (0, 0, 1))
    assert np.array_equal(first.X, same.X) and not np.array_equal(first.X, other.X)
    assert simulate(n_cells=20, n_markers=40).var_names[-1] == "marker_39"
    with pytest.raises(ValueError, match="n_markers must be at least"):
        simulate(n_markers=3)


def test_a_folder_of_fcs_files(tmp_path):
    study = ne.datasets.simulate_fcs_study(tmp_path / "study", n_cells=200)
    assert study == tmp_path / "study" and sorted(tmp_path.iterdir()) == [study]
    samples = pd.read_csv(study / "samples.csv")
    assert sorted(samples["file"]) == sorted(path.name for path in (study / "fcs").iterdir()) and len(samples) == 30
    counts = samples.groupby(["batch", "role"]).size().to_dict()
    assert counts == {
        (batch, role): n for batch in ("Data23", "Data29") for role, n in (("control", 5), ("sample", 10))
    }
    assert samples["donor"].is_unique and set(samples.loc[samples["role"] == "control", "group"]) == {"HD"}
    adata = ne.io.read_fcs(study / "fcs", metadata=study / "samples.csv", panel=study / "panel.csv", cofactor=5)
    assert adata.shape == (6_000, 36) and adata.var_names[~adata.var["used"]].tolist() == ["Time"]
    assert (adata.obs["file"].value_counts() == 200).all()
    # the same cells as without files
    cells = ne.datasets.simulate_batches(2_000)
    healthy = adata[(adata.obs["batch"] == "Data23") & (adata.obs["role"] == "control"), cells.var_names]
    np.testing.assert_allclose(healthy.X, cells[cells.obs["group"] == "control_1"].X[:1_000], atol=1e-4)


def test_a_folder_of_fcs_files_replaces_nothing(tmp_path):
    with pytest.raises(FileExistsError, match="choose another folder"):
        ne.datasets.simulate_fcs_study(tmp_path)
    with pytest.raises(FileNotFoundError, match="does not exist"):
        ne.datasets.simulate_fcs_study(tmp_path / "no" / "study")
    with pytest.raises(ValueError, match="n_cells"):
        ne.datasets.simulate_fcs_study(tmp_path / "study", n_cells=0)
    assert list(tmp_path.iterdir()) == []
