"""A report holds no more than was asked: no paths, no keywords, no other columns; and, anonymized, no names."""

import re

import numpy as np
import pandas as pd
import pytest

import neuronedit as ne

SECRETS = ["/home/jdoe", "jdoe", "OPERATOR-X", "Confidential", "cell-of-Miller", "diagnosis-q"]
SCRIPT = "</script><script>alert(1)</script>"


@pytest.fixture
def planted(batches):
    """Cells with all that must not be shown."""
    batches.obs_names = [f"cell-of-Miller-{i}" for i in range(batches.n_obs)]
    batches.obs["diagnosis"] = pd.Categorical(["diagnosis-q"] * batches.n_obs)
    files = pd.DataFrame({"file": ["a.fcs"], "path": ["/home/jdoe/study/a.fcs"], "$OP": ["OPERATOR-X"]}, index=["0"])
    batches.uns["fcs"] = {"files": files, "keywords": files}
    batches.uns["note"] = "Confidential"
    batches.obs["file"] = "/home/jdoe/study/" + batches.obs["sample"].astype(str) + ".fcs"
    return batches


def test_only_what_was_asked_is_shown(planted, make):
    ne.tl.correct(planted, "batch", control_key="role", sample_key="file", edit="percentile")
    page = make(planted)
    everything = page.read_everything()
    assert [secret for secret in SECRETS if secret in everything] == []
    assert "control_1-0.fcs" in page.text  # of a path its last part


def test_the_path_of_a_model_is_not_shown(planted, make, tmp_path):
    folder = tmp_path / "jdoe"
    folder.mkdir()
    ne.tl.correct(planted, "batch", control_key="role", edit="percentile")
    ne.io.save_model(planted, folder / "batch.safetensors", edit="corrected")
    new = planted.copy()
    del new.uns["corrected"], new.layers["corrected"]
    ne.tl.apply(new, folder / "batch.safetensors", query=new.obs_names, key_added="edited")
    page = make(new)
    assert "'batch.safetensors'" in page.text and str(tmp_path) not in page.read_everything()
    assert [secret for secret in SECRETS if secret in page.read_everything()] == []


def test_the_error_of_a_method_shows_no_path(batches, make):
    def fail(source, target):
        raise OSError("no such file: /home/jdoe/models/weights.pt")

    how = {"source": "control_1", "target": "control_2", "query": "sample_1"}
    table = ne.tl.compare(batches, "group", **how, methods={"mine": fail, "none": "identity"}, n_bootstrap=0)
    page = make(table)
    assert "mine failed" in page.text and "weights.pt" in page.text and "/home/jdoe" not in page.read_everything()


def rename(adata, column, names):
    adata.obs[column] = pd.Categorical(adata.obs[column].astype(str).replace(names))


def correct_named(adata):
    rename(adata, "batch", {"batch_1": "Harvard run", "batch_2": "Yale run"})
    rename(adata, "role", {"control": "Anna Weber", "sample": "Peter Braun"})
    adata.obs["sample"] = ["tube " + name.upper() for name in adata.obs["sample"]]
    adata.X[(adata.obs["batch"] == "Yale run") & (adata.obs["role"] == "Peter Braun")] += (
        4  # so that alarms name batches
    )
    how = {"held_out_controls": {"sample": ["tube CONTROL_1-0", "tube CONTROL_2-0"]}}
    ne.tl.correct(adata, "batch", control_key="role", control="Anna Weber", reference="Harvard run", sample_key="sample",
                  edit="percentile", **how)  # fmt: skip
    return adata, {}, ["Harvard", "Yale", "Weber", "tube"], ["batch 1", "batch 2", "sample 1", "role 1"]


def edit_named(adata):
    rename(adata, "group", {"control_1": "Anna Weber", "control_2": "Anna Weber, May", "sample_1": "Peter Braun"})
    rename(adata, "cell_type", {"NK": "Killers of Anna"})
    ne.tl.edit(adata, "group", source="Anna Weber", target="Anna Weber, May", query="Peter Braun", strata="cell_type")
    return adata, {}, ["Weber", "Braun", "Killers"], ["group 1", "group 2", "population 1"]


def edit_by_columns(adata):
    rename(adata, "batch", {"batch_1": "Harvard run", "batch_2": "Yale run"})
    rename(adata, "role", {"sample": "Peter Braun"})
    control, query = {"role": "control"}, {"role": "Peter Braun", "batch": "Harvard run"}
    ne.tl.edit(
        adata,
        source=control | {"batch": "Harvard run"},
        target=control | {"batch": "Yale run"},
        query=query,
        edit="shift",
    )
    return adata, {}, ["Harvard", "Yale", "Braun"], ["batch 1", "batch 2"]


def combine_named(_):
    adata = ne.datasets.simulate_combination(n_cells=120)
    rename(adata, "condition", {"basal": "Secretol free", "A": "Secretol", "B": "Hushamab", "A+B": "Secretol+Hushamab"})
    ne.tl.train(adata, space="identity")
    how = {"control": "Secretol free", "effects": ["Secretol", "Hushamab"], "edit": "percentile"}
    both = ne.tl.combine(adata, "condition", **how)
    return (
        both,
        {"measured": adata},
        ["Secretol", "Hushamab"],
        ["condition 1", "condition 2", "condition 3", "(predicted)"],
    )


def compare_named(adata):
    rename(adata, "group", {"control_1": "Anna Weber", "control_2": "Anna Weber, May", "sample_1": "Peter Braun"})
    how = {"source": "Anna Weber", "target": "Anna Weber, May", "query": "Peter Braun", "key_added": "compared"}
    ne.tl.compare(adata, "group", **how, methods=["mean_shift"], n_bootstrap=0)
    return adata, {}, ["Weber", "Braun"], ["group 1", "group 2"]


def test_strata_that_were_held_out_are_means_without_names(batches, make):
    rename(batches, "cell_type", {"NK": "Killers of Anna"})

    def fail(source, target):
        raise ValueError("too few")

    how = {"source": "control_1", "target": "control_2", "held_out": "cell_type", "n_bootstrap": 0}
    ne.tl.compare(batches, "group", **how, methods={"mine": fail, "mean_shift": "mean_shift"}, key_added="compared")
    page = make(batches, anonymize=True)
    assert "each value was held out in turn" in page.text and "in 6 of 6 strata: ValueError: too few" in page.text
    assert "Killers" not in page.read_everything()


NAMED = [correct_named, edit_named, edit_by_columns, combine_named, compare_named]


@pytest.mark.parametrize("prepare", NAMED, ids=lambda one: one.__name__)
def test_anonymized_reports_hold_no_name(batches, make, prepare):
    adata, besides, names, numbers = prepare(batches)
    plain, page = make(adata, **besides), make(adata, **besides, anonymize=True)
    assert all(name in plain.read_everything() for name in names)
    everything = page.read_everything().lower()
    assert [name for name in names if name.lower() in everything] == []
    assert [number for number in numbers if number not in page.text] == []


def test_numbers_mean_the_same_everywhere(batches, make):
    adata, *_ = correct_named(batches)
    page = make(adata, anonymize=True)
    values, labels = page.read_cells()
    number = re.search(r"1 batch was corrected by its control to (batch \d), the reference", page.text).group(1)
    own = np.sort(adata.layers["corrected"][(adata.obs["batch"] == "Harvard run").to_numpy(), 0])
    np.testing.assert_allclose(np.sort(values["after"][adata.var_names[0]][labels["batch"] == number]), own, atol=3e-3)
    assert f"reference='{number}'" in page.text
    others = [make(adata, anonymize=True, rng=seed).text.count(f"reference='{number}'") for seed in range(1, 6)]
    assert set(others) == {0, 1}  # which batch has which number is drawn


@pytest.mark.filterwarnings("ignore:constrained_layout")  # of names that are longer than the figure
def test_names_are_text_and_never_code(batches, make):
    """Names may hold anything; the page shows them, and runs none of them."""
    rename(batches, "batch", {"batch_1": f"<b>1{SCRIPT}", "batch_2": '"><img src=x onerror=alert(1)>'})
    batches.obs["sample"] = batches.obs["sample"].astype(str) + SCRIPT
    batches.var_names = [f"{SCRIPT}{name}" if i < 3 else name for i, name in enumerate(batches.var_names)]
    ne.tl.train(batches, space="pca")
    ne.tl.correct(batches, "batch", control_key="role", sample_key="sample", edit="percentile")
    page = make(batches)
    plain = make(correct_plain(batches))
    assert SCRIPT not in page.raw and "<img src=x" not in page.raw
    assert page.raw.count("<script") == plain.raw.count("<script")  # as many as without such names
    assert not [attributes for _, attributes in page.tags if any(name.startswith("on") for name in attributes)]
    assert SCRIPT in page.text and "onerror" in page.text  # they are shown as text
    assert any(SCRIPT in name for name in page.read_cells()[1]["sample"])


def correct_plain(adata):
    adata = ne.datasets.simulate_batches(n_cells=150)
    ne.tl.train(adata, space="pca")
    ne.tl.correct(adata, "batch", control_key="role", edit="percentile")
    return adata
