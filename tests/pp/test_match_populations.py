"""Populations of planted types, compositions and changes are found in every group, whatever order cells and groups are in."""

import logging

import anndata
import numpy as np
import pandas as pd
import pytest
import torch
from scipy import sparse

import neuronedit as ne

pytestmark = [
    pytest.mark.filterwarnings(f"ignore:{text}") for text in ("Writing zarr v2 data", "Variable names are not")
]

CENTERS = 6 * np.eye(4, 6)  # of four types, in six markers
TYPES = np.array(["a", "b", "c", "d"])
SHARES = {"control": [0.4, 0.3, 0.2, 0.1], "drug": [0.1, 0.3, 0.2, 0.4], "other": [0.4, 0.3, 0.2, 0.1]}
CHANGES = {"control": 0, "drug": np.array([1, -1, 0.5, 0, 2, 0]), "other": np.array([0, 0, 0, 2, -1, 0])}
FOUR = {"reference": "control", "n_populations": 4}


def plant(shares=SHARES, n=600, scale=0.7, rng=0):
    """Return cells of planted types; every group has shares of its own and is moved as a whole."""
    generator = np.random.default_rng(rng)
    X, obs = [], []
    for group, own in shares.items():
        types = generator.choice(4, size=n, p=np.array(own) / sum(own))
        X.append(CENTERS[types] + generator.normal(scale=scale, size=(n, 6)) + CHANGES[group])
        obs.append(pd.DataFrame({"group": group, "type": TYPES[types]}))
    obs = pd.concat(obs, ignore_index=True)
    obs.index = [f"c{i}" for i in range(len(obs))]
    names = ["CD3", "CD4", "CD8", "CD19", "pS6", "CD45"]
    return anndata.AnnData(np.concatenate(X).astype(np.float32), obs=obs, var=pd.DataFrame(index=names))


@pytest.fixture(scope="module")
def _matched():
    adata = plant()
    ne.pp.match_populations(adata, "group", **FOUR)
    return adata


@pytest.fixture
def matched(_matched):
    return _matched.copy()


def labels(adata):
    return adata.obs["matched"].astype(str)


def assert_same_labels(one, other):
    pd.testing.assert_series_equal(labels(one), labels(other)[one.obs_names])
    certainty = other.obs["matched_certainty"][one.obs_names]
    pd.testing.assert_series_equal(one.obs["matched_certainty"], certainty)


def test_a_type_has_the_same_label_in_all_groups(matched):
    assert list(matched.obs["matched"].cat.categories) == [f"population {i}" for i in (1, 2, 3, 4)]
    table = pd.crosstab(matched.obs["matched"], matched.obs["type"])
    assert table.max(axis=1).sum() > 0.99 * matched.n_obs
    assert list(table.idxmax(axis=1)) == list(TYPES)  # in the order of their shares in the reference


def test_compositions(matched):
    record = matched.uns["matched"]
    true = pd.crosstab(matched.obs["group"], matched.obs["type"], normalize="index")
    np.testing.assert_allclose(record["shares"], true, atol=0.01)
    groups = record["groups"]
    variation = (true - true.loc["control"]).abs().sum(axis=1) / 2
    np.testing.assert_allclose(groups["total_variation"], variation, atol=0.05)
    assert groups["is_reference"].to_dict() == {"control": True, "drug": False, "other": False}
    assert groups["differs"]["drug"] > 0.5 and groups["differs"]["other"] < 0.1
    assert (groups["n_cells"] == 600).all() and (groups["unmatched"] == 0).all() and (groups["certainty"] > 0.95).all()
    np.testing.assert_allclose(record["populations"]["share"], true.loc["control"], atol=0.01)


def test_populations_are_described(matched):
    features = matched.uns["matched"]["populations"]["features"]
    first = [description.split()[0] for description in features]
    assert first[1:] == ["CD4+", "CD8+", "CD19+"] and "CD3+" in features.iloc[0] and "CD45" not in " ".join(features)


def test_verdict(caplog):
    alike = plant({"control": SHARES["control"], "other": SHARES["other"]})
    for adata, words, level in (
        (plant(), "beyond noise (total variation) in 'drug' (0.3", logging.WARNING),
        (alike, "nowhere", logging.INFO),
    ):
        caplog.clear()
        with caplog.at_level(logging.INFO, logger="neuronedit"):
            ne.pp.match_populations(adata, "group", **FOUR)
        assert (
            words in adata.uns["matched"]["verdict"]
            and "'other'" not in adata.uns["matched"]["verdict"].split("Mean")[0]
        )
        assert [(record.levelno, record.message) for record in caplog.records] == [
            (level, adata.uns["matched"]["verdict"])
        ]


def test_a_type_that_a_group_lacks_has_no_partner(caplog):
    adata = plant(SHARES | {"other": [0.5, 0.3, 0, 0.2]})
    ne.pp.match_populations(adata, "group", **FOUR)
    record = adata.uns["matched"]
    missing = ~record["has_partner"]
    assert missing.to_numpy().sum() == 1 and missing.loc["other", "population 3"]
    assert list(record["populations"]["no_partner"]) == ["", "", "other", ""]
    assert record["groups"]["unmatched"].to_dict() == {"control": 0, "drug": 0, "other": 1}
    assert (
        "Without a partner: population 3 (CD8+" in record["verdict"] and caplog.records[-1].levelno == logging.WARNING
    )


def test_certainty_is_low_between_types(matched):
    adata = plant(scale=1.8)
    ne.pp.match_populations(adata, "group", **FOUR)
    certainty = adata.obs["matched_certainty"]
    assert certainty.between(0, 1).all() and certainty.mean() < matched.obs["matched_certainty"].mean()
    for group, change in CHANGES.items():
        own = adata.obs["group"] == group
        distances = ((adata.X[own][:, None] - change - CENTERS) ** 2).sum(axis=2)
        nearest, second = np.sort(distances, axis=1)[:, :2].T
        is_between = second - nearest < np.quantile(second - nearest, 0.1)
        assert certainty[own][is_between].mean() < 0.85 < 0.95 < certainty[own][~is_between].mean()


def test_labels_depend_on_the_reference_and_the_own_group_alone(matched):
    without = matched[matched.obs["group"] != "drug"].copy()
    failed = matched.copy()
    failed.X[failed.obs["group"] == "drug"] *= [0, 1, 1, 9, 1, 1]
    for adata in (without, failed):
        ne.pp.match_populations(adata, "group", **FOUR)
        same = adata[adata.obs["group"] != "drug"].copy()
        assert_same_labels(same, matched)
        columns = ["total_variation", "explained", "certainty"]
        pd.testing.assert_frame_equal(
            *(x.uns["matched"]["groups"].loc[["control", "other"], columns] for x in (adata, matched))
        )


def test_the_order_of_cells_does_not_matter():
    adata = plant()
    adata.X = np.round(adata.X)  # cells that are equal, and cells whose sums are
    other = adata[np.random.default_rng(0).permutation(adata.n_obs)].copy()
    for one in (adata, other):
        ne.pp.match_populations(one, "group", reference="control", n_populations=(3, 6))
    assert_same_labels(adata, other)


def as_dask(X):
    return pytest.importorskip("dask.array").from_array(X, chunks=(500, -1))


@pytest.mark.parametrize("kind", [sparse.csr_matrix, sparse.csc_matrix, as_dask, lambda X: X.astype(np.float64)])
def test_kinds_of_matrices(matched, kind):
    adata = matched.copy()
    adata.X = kind(adata.X)
    ne.pp.match_populations(adata, "group", **FOUR)
    assert_same_labels(adata, matched)


def test_backed_and_layers(matched, tmp_path):
    adata = matched.copy()
    adata.layers["arcsinh"] = adata.X
    adata.X = np.zeros_like(adata.X)
    ne.pp.match_populations(adata, "group", **FOUR, layer="arcsinh", key_added="mine")
    assert (adata.obs["mine"] == adata.obs["matched"]).all() and '"layer": "arcsinh"' in adata.uns["mine"]["config"]
    plant().write_h5ad(tmp_path / "cells.h5ad")
    backed = anndata.read_h5ad(tmp_path / "cells.h5ad", backed="r")
    ne.pp.match_populations(backed, "group", **FOUR)
    assert_same_labels(backed, matched)


@pytest.mark.parametrize("suffix", ["h5ad", "zarr"])
def test_files_keep_it_whatever_groups_are_called(tmp_path, suffix):
    adata = plant()
    adata.obs["group"] = adata.obs["group"].replace({"drug": "a/b", "other": ""})
    adata.var_names = ["CD16/32", "", *adata.var_names[2:]]
    ne.pp.match_populations(adata, "group", **FOUR)
    path = tmp_path / f"cells.{suffix}"
    getattr(adata, f"write_{suffix}")(path)
    stored = getattr(anndata, f"read_{suffix}")(path)
    pd.testing.assert_frame_equal(stored.obs, adata.obs, check_dtype=False, check_categorical=False)
    assert list(stored.obs["matched"].cat.categories) == list(adata.obs["matched"].cat.categories)
    for name in ("groups", "populations", "shares", "has_partner"):
        options = {"check_dtype": False, "check_index_type": False, "check_column_type": False}
        pd.testing.assert_frame_equal(stored.uns["matched"][name], adata.uns["matched"][name], **options)
    assert str(stored.uns["matched"]["verdict"]) == adata.uns["matched"]["verdict"]
    ne.pp.match_populations(stored, "group", **FOUR)  # what it wrote before is its own
    assert_same_labels(stored, adata)


def test_copy_and_view(matched):
    adata = plant()
    new = ne.pp.match_populations(adata, "group", **FOUR, copy=True)
    assert list(adata.obs) == ["group", "type"] and not adata.uns
    assert_same_labels(new, matched)
    view = adata[adata.obs["group"] != "other"]
    assert ne.pp.match_populations(view, "group", **FOUR) is None
    assert "matched" in view.obs and "matched" not in adata.obs


def test_the_largest_group_is_the_reference_and_the_middle_number_is_written():
    adata = plant()
    adata = adata[~((adata.obs["group"] == "control") & (np.arange(adata.n_obs) % 2 == 0))].copy()
    ne.pp.match_populations(adata, "group", n_populations=[6, 2, 4])
    groups = adata.uns["matched"]["groups"]
    assert list(groups.index[groups["is_reference"]]) == ["drug"]  # as large as "other", and before it
    assert len(adata.uns["matched"]["populations"]) == 4


def test_a_constant_feature_changes_nothing(matched):
    adata = anndata.concat([plant(), anndata.AnnData(np.full((1800, 1), 3.0), obs=plant().obs)], axis=1, merge="same")
    assert adata.n_vars == 7
    ne.pp.match_populations(adata, "group", **FOUR)
    assert_same_labels(adata, matched)


def test_more_features_than_are_compared():
    """Components are compared then: each of 100 features follows several of six, as genes do, and varies besides."""
    adata, generator = plant(), np.random.default_rng(0)
    X = adata.X @ generator.normal(size=(6, 100)) + generator.normal(size=(adata.n_obs, 100))
    adata = anndata.AnnData(X.astype(np.float32), obs=adata.obs)
    ne.pp.match_populations(adata, "group", **FOUR)
    assert pd.crosstab(adata.obs["matched"], adata.obs["type"]).max(axis=1).sum() > 0.9 * adata.n_obs


def test_numbers_as_groups():
    adata = plant()
    adata.obs["group"] = adata.obs["group"].map({"control": 1, "drug": 2, "other": 3})
    ne.pp.match_populations(adata, "group", reference=1, n_populations=4)
    assert list(adata.uns["matched"]["groups"].index) == ["1", "2", "3"]


def test_the_core_is_the_same_for_a_source_alone_whatever_the_target_is():
    adata = plant()
    source, *targets = (torch.from_numpy(adata.X[adata.obs["group"] == group]) for group in SHARES)
    one, other = (ne.ensemble.match_populations(source, x * x, source_alone=True) for x in targets)
    np.testing.assert_array_equal(one.source_labels, other.source_labels)
    np.testing.assert_array_equal(one.source_certainty, other.source_certainty)


def test_known_types_under_a_strong_stimulus(data_dir):
    adata = anndata.read_h5ad(f"{data_dir}/bodenmiller_4stim.h5ad")
    is_used = adata.obs["condition"].isin(["unstimulated", "PMA-ionomycin"])
    adata = adata[is_used, adata.var["marker_class"] == "type"].copy()
    ne.pp.arcsinh(adata, cofactor=5)
    ne.pp.match_populations(adata, "condition", reference="unstimulated")
    before, after = (adata.obs[adata.obs["condition"] == name] for name in ("unstimulated", "PMA-ionomycin"))
    most_common = pd.crosstab(before["matched"], before["cell_type"]).idxmax(axis=1)
    assert (
        after["matched"].astype(str).map(most_common) == after["cell_type"]
    ).mean() > 0.8  # the largest type has 0.35
    composition = [pd.Series(x["cell_type"]).value_counts(normalize=True, sort=False) for x in (before, after)]
    true = (composition[0] - composition[1]).abs().sum() / 2
    assert abs(adata.uns["matched"]["groups"].loc["PMA-ionomycin", "total_variation"] - true) < 0.05


def match(**changes):
    return lambda adata: ne.pp.match_populations(adata, **{"groupby": "group"} | changes)


def nothing(adata):
    pass


def not_a_number(adata):
    adata.X[3, 4] = np.nan


def relabel(adata, value, n):
    adata.obs["group"] = adata.obs["group"].where(np.arange(adata.n_obs) >= n, value)


CASES = {
    "column": (nothing, match(groupby="batch"), "'batch' is not in adata.obs; it has 'group', 'type'"),
    "columns": (nothing, match(groupby=["group"]), "groupby must be a string; it is"),
    "NaN label": (lambda adata: relabel(adata, None, 7), match(), r"obs\['group'\] is missing \(NaN\) for 7 cells"),
    "one group": (lambda adata: relabel(adata, "a", 1800), match(), r"two or more groups; obs\['group'\] has 'a'"),
    "small group": (
        lambda adata: relabel(adata, "few", 199),
        match(),
        r"groups of obs\['group'\] with fewer than 200 cells cannot be matched: 'few' \(199 cells\); drop or merge",
    ),
    "reference": (
        nothing,
        match(reference="ctrl"),
        r"reference: 'ctrl' is not in obs\['group'\]; it has 'control', 'drug', 'other'",
    ),
    "no number": (nothing, match(n_populations=()), "n_populations is empty"),
    "one population": (nothing, match(n_populations=(6, 1)), "n_populations must be at least 2; it is 1"),
    "half a population": (
        nothing,
        match(n_populations=2.5),
        "n_populations must be a whole number or a list of whole numbers; it is 2.5",
    ),
    "seed": (nothing, match(rng=None), "rng must be a whole number; it is None"),
    "layer": (nothing, match(layer="counts"), "'counts' is not in adata.layers"),
    "NaN": (not_a_number, match(), "X has NaN or infinite values, the first in cell 'c3', feature 'pS6'"),
    "nothing varies": (
        lambda adata: setattr(adata, "X", np.ones_like(adata.X)),
        match(),
        "no feature varies in the reference, 'control'",
    ),
    "name": (nothing, match(key_added="a/b"), "key_added='a/b' cannot be kept in h5ad and zarr files"),
    "the column itself": (nothing, match(key_added="group"), "key_added='group' is the column of the groups"),
    "taken column": (nothing, match(key_added="type"), r"obs\['type'\] exists and was not written by neuronedit"),
    "lost record": (
        lambda adata: adata.obs.insert(0, "matched_certainty", 1.0),
        match(),
        r"obs\['matched_certainty'\] exists .* or delete it first",
    ),
    "taken record": (
        lambda adata: adata.uns.update(matched=1),
        match(),
        r"uns\['matched'\] exists and was not written",
    ),
    "trained space": (
        lambda adata: ne.tl.train(adata, space="identity"),
        match(key_added="neuronedit"),
        r"uns\['neuronedit'\] was written by ne.tl.train; choose another key_added",
    ),
    "twice": (lambda adata: setattr(adata, "var_names", ["CD3"] * 6), match(), "var_names are not unique: 'CD3'"),
}


@pytest.mark.parametrize("name", CASES)
def test_one_clear_error_and_adata_unchanged(name):
    change, call, message = CASES[name]
    adata = plant()
    change(adata)
    before = adata.copy()
    with pytest.raises((KeyError, TypeError, ValueError), match=message):
        call(adata)
    pd.testing.assert_frame_equal(adata.obs, before.obs)
    np.testing.assert_array_equal(adata.X, before.X)
    assert set(adata.uns) == set(before.uns)


def test_not_an_anndata():
    with pytest.raises(TypeError, match="adata must be an AnnData; it is a DataFrame"):
        ne.pp.match_populations(pd.DataFrame(), "group")


def test_labels_serve_as_strata(matched):
    ne.tl.train(matched, space="identity")
    ne.tl.edit(matched, "group", source="control", target="drug", query="other", edit="shift", strata="matched")
    moved = (matched.layers["edited"] - matched.X)[matched.obs["group"] == "other"].mean(axis=0)
    np.testing.assert_allclose(moved, CHANGES["drug"], atol=0.2)  # and not what the other composition adds to it
