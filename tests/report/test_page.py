"""What a report of each tool shows: its parts, its numbers, and that it is whole and loads nothing."""

import re

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

import neuronedit as ne

RESULTS = ["edit", "ensemble", "path", "applied edit", "correction", "held out", "applied correction", "combination",
           "combination in layers", "predicted alone", "comparison", "table"]  # fmt: skip
MAX_BYTES = 8_000_000
SECTIONS = [
    "verdict",
    "given",
    "changes",
    "biaxial",
    "distributions",
    "composition",
    "validation",
    "next",
    "methods",
    "settings",
]

SHOWN = {  # by result: sentences that it must hold
    "edit": ["A change applied to a query", "Nothing was cross-validated", "percentile edit", "ne.tl.edit("],
    "ensemble": ["By cross-validation", "is expected to be closed", "ensemble of edits", "Folds that were held out"],
    "path": ["0.5", "strength=[0.5, 1.0]"],
    "applied edit": ["The change was fitted on other cells", "ne.tl.apply("],
    "correction": ["Both batches were corrected by their controls to the mean of the batches", "Energy distance of the controls"],
    "held out": ["Of the distance between held-out controls", "Held-out controls, which the correction has not seen"],
    "applied correction": ["A saved correction was applied to the cells of 1 batch."],
    "combination": ["1 combination was predicted in both orders", "B on A", "The two orders agree to"],
    "combination in layers": ["as_layers=True", "B on A"],
    "predicted alone": ["The cells before the change are not at hand", "Compare the two orders"],
    "comparison": ["2 methods were scored by 4 metrics against a known truth", "mean_shift", "Mean scores over seeds"],
    "table": ["The table of a comparison", "2 methods were scored", "A table does not hold the settings of its run"],
}  # fmt: skip


@pytest.mark.parametrize("name", RESULTS)
def test_every_tool_has_a_whole_report(results, make, name):
    adata, besides = results(name)
    page = make(adata, **besides)
    assert len(page.raw.encode()) < MAX_BYTES
    for text in [*SHOWN[name], "Amodio", "arXiv:1805.12198", "To cite", "What to do next"]:
        assert text in page.text, text

    # the verdict in three lines, each with its word
    lines = re.search(r'<ul class="statements lines">(.*?)</ul>', page.raw, re.DOTALL).group(1)
    words = re.findall(r"<li class=\"(\w+)\"><strong>(\w+)</strong>", lines)
    assert len(words) == 3 and all(css == word in ("Good", "Note", "Check", "Serious") for css, word in words)

    # sections in order; every link of the menu leads to one
    found = [one["id"] for one in page.all("h2")]
    wanted = [one for one in SECTIONS if one in found]
    assert [one for one in found if one != "scores"] == wanted and {"verdict", "next", "methods", "settings"} <= set(
        found
    )
    links = [one["href"] for one in page.all("a") if one["href"].startswith("#")]
    assert {link[1:] for link in links} == set(found)


@pytest.mark.parametrize("name", RESULTS)
def test_a_report_can_be_read_by_all(results, make, name):
    adata, besides = results(name)
    page = make(adata, **besides)
    assert page.all("html") == [{"lang": "en"}] and len(page.all("h1")) == 1 and page.all("title") == [{}]
    levels = [int(tag[1]) for tag, _ in page.tags if re.fullmatch(r"h[1-6]", tag)]
    assert all(after <= before + 1 for before, after in zip(levels, levels[1:], strict=False))
    images = [
        one for one in page.all("img") if one.get("class") != "printed"
    ]  # those are empty until the page is printed
    assert all(one["alt"].strip() for one in images)
    assert all(one.get("aria-label") for one in page.all("svg"))
    assert all(one.get("scope") in ("col", "row") for one in page.all("th"))
    identities = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(identities) == len(set(identities))


@pytest.mark.parametrize("name", RESULTS)
def test_a_report_loads_nothing(results, make, name):
    adata, besides = results(name)
    page = make(adata, **besides)
    for tag, attributes in page.tags:
        for attribute in ("src", "href", "data", "srcset", "action", "poster"):
            address = attributes.get(attribute)
            is_link = tag == "a" and address is not None
            assert address is None or is_link or address.startswith("data:"), (tag, address)
    style = re.search(r"<style>(.*?)</style>", page.raw, re.DOTALL).group(1)
    assert "url(" not in style and "@import" not in style


@pytest.mark.parametrize("name", ["ensemble", "correction", "combination", "comparison"])
def test_the_same_cells_give_the_same_bytes(results, make, name):
    adata, besides = results(name)
    first, second, other = make(adata, **besides), make(adata, **besides), make(adata, **besides, rng=1)
    assert first.raw == second.raw
    assert first.raw != other.raw


def test_cells_of_the_page_are_those_of_the_layers(results, make):
    adata, _ = results("correction")
    values, labels = make(adata).read_cells()
    assert set(labels) == {"batch", "role", "sample", "population"}
    for state, layer in (("before", adata.X), ("after", adata.layers["corrected"])):
        for name in ("IFNg", "CD3"):
            for batch in ("batch_1", "batch_2"):
                shown = np.sort(values[state][name][labels["batch"] == batch])
                cells = np.sort(layer[(adata.obs["batch"] == batch).to_numpy(), adata.var_names.get_loc(name)])
                assert len(shown) == len(cells)
                np.testing.assert_allclose(shown, cells, atol=2e-3)


def test_an_edit_shows_source_and_target_as_they_are(results, make):
    adata, _ = results("edit")
    values, labels = make(adata).read_cells()
    is_query = labels["role"] == "query"
    assert (values["before"]["IFNg"] == values["after"]["IFNg"])[~is_query].all()
    moved = adata.layers["edited"][(adata.obs["group"] == "sample_1").to_numpy(), adata.var_names.get_loc("IFNg")]
    np.testing.assert_allclose(np.sort(values["after"]["IFNg"][is_query]), np.sort(moved), atol=2e-3)


def test_a_combination_shows_predicted_cells_beside_measured_ones(results, make):
    predicted, besides = results("combination")
    values, labels = make(predicted, **besides).read_cells()
    treatments = labels["treatment"]
    assert set(treatments) == {
        "basal (control)",
        "A",
        "B",
        "A+B (measured)",
        "A on B (predicted)",
        "B on A (predicted)",
    }
    is_predicted = np.array(["predicted" in name for name in treatments])
    assert np.isnan(values["measured"]["CD38"][is_predicted]).all()
    assert np.isnan(values["predicted"]["CD38"][treatments == "A+B (measured)"]).all()
    assert not np.isnan(values["predicted"]["CD38"][is_predicted]).any()


def test_populations_are_those_that_are_named(results, make):
    adata, _ = results("correction")
    _, labels = make(adata, populations="cell_type").read_cells()
    assert set(labels["population"]) == set(adata.obs["cell_type"])
    _, labels = make(adata).read_cells()
    assert 2 <= len(set(labels["population"])) <= 8


def test_large_data_are_a_stated_sample_from_all_batches(make):
    adata = ne.datasets.simulate_batches(n_cells=1_500)
    few = np.flatnonzero((adata.obs["group"] == "sample_2").to_numpy())[200:]
    adata = adata[np.setdiff1d(np.arange(adata.n_obs), few)].copy()
    ne.tl.train(adata, space="identity")
    ne.tl.correct(adata, "batch", control_key="role", edit="shift")
    page = make(adata)
    values, labels = page.read_cells()
    n = len(labels["batch"])
    assert 4_500 <= n <= 5_000 and f"A sample of {n:,} of 4,700 cells" in page.text or n == 4_700
    assert ((labels["batch"] == "batch_2") & (labels["role"] == "sample")).sum() == 200


def test_of_many_features_those_that_change_most_are_shown(make):
    adata = ne.datasets.simulate_batches(n_cells=60, n_markers=120)
    ne.tl.train(adata, space="identity")
    ne.tl.edit(adata, "group", source="control_1", target="control_2", query="sample_1", edit="shift")
    page = make(adata)
    features = page.read_script("cells")["features"]
    largest = adata.uns["edited"]["features"]["change"].abs().sort_values(ascending=False).index[:40]
    assert set(features) == set(largest) and "120 features were used; the 40 that change most are shown" in page.text


def test_alarms_come_first_and_the_gravest_on_top(results, make):
    adata, _ = results("correction")
    adata = adata.copy()
    rows = [("outside", "", "Cells lie outside."), ("control", "batch_1", "The stain of CD3 failed."), ("no role", "", "Cells have no role.")]  # fmt: skip
    adata.uns["corrected"]["alarms"] = pd.DataFrame(rows, columns=["alarm", "batch", "text"], index=list("012"))
    page = make(adata)
    places = [page.text.index(row[2]) for row in rows]
    assert places[1] < places[0] < places[2] < page.text.index("What was given")
    assert "alarms were raised, 1 of them serious" in page.text or "1 of them serious" in page.text
    assert "Look at the control of that batch" in page.text


def test_matplotlib_is_left_as_it_was(results, make):
    adata, _ = results("ensemble")
    own = plt.figure()
    with plt.style.context("dark_background"), plt.ion():
        before = dict(matplotlib.rcParams)
        page = make(adata)
        assert dict(matplotlib.rcParams) == before and plt.isinteractive()
    assert plt.get_fignums() == [own.number] and plt.gcf() is own
    assert page.raw == make(adata).raw  # drawn alike in any style


def test_a_report_changes_no_cell(results, make):
    adata, _ = results("correction")
    before = adata.copy()
    make(adata, anonymize=True)
    assert (before.X == adata.X).all() and before.obs.equals(adata.obs) and set(before.uns) == set(adata.uns)
    assert before.uns["corrected"]["batches"].equals(adata.uns["corrected"]["batches"])


def test_a_report_of_a_file_is_that_of_the_cells(results, make, tmp_path):
    import anndata

    adata, _ = results("correction")
    adata.write_h5ad(tmp_path / "cells.h5ad")
    assert make(anndata.read_h5ad(tmp_path / "cells.h5ad")).raw == make(adata).raw


@pytest.mark.parametrize(
    ("how", "error", "text"),
    [
        ({"key": "no"}, KeyError, "uns\\['no'\\] holds no edit or batch correction"),
        ({"populations": "no"}, KeyError, "'no' is not in adata.obs"),
        ({"measured": True}, TypeError, "measured must be an AnnData"),
        ({"anonymize": "yes"}, TypeError, "anonymize must be True or False"),
        ({"rng": -1}, ValueError, "rng must be at least 0"),
    ],
)
def test_bad_arguments_are_refused(results, tmp_path, how, error, text):
    adata, _ = results("correction")
    with pytest.raises(error, match=text):
        ne.report(adata, tmp_path / "report.html", **how)
    assert list(tmp_path.iterdir()) == []


def test_what_cannot_be_reported_is_refused(results, batches, tmp_path):
    path = tmp_path / "report.html"
    with pytest.raises(KeyError, match="uns holds nothing to report"):
        ne.report(batches, path)
    ne.tl.correct(batches, "batch", control_key="role", edit="shift")
    ne.tl.correct(batches, "batch", control_key="role", edit="shift", key_added="other")
    with pytest.raises(ValueError, match="uns has several results, 'corrected', 'other': name one by key"):
        ne.report(batches, path)
    with pytest.raises(ValueError, match="measured is for predicted cells"):
        ne.report(batches, path, key="other", measured=batches)
    with pytest.raises(ValueError, match="the table lacks seed, metric"):
        ne.report(pd.DataFrame({"method": ["a"]}), path)
    with pytest.raises(ValueError, match="are of cells; a table has none"):
        ne.report(results("table")[0], path, key="compared")
    with pytest.raises(TypeError, match="adata must be an AnnData or a DataFrame"):
        ne.report("cells.h5ad", path)
    assert not path.exists()


def test_a_store_that_holds_the_edited_cells_alone_needs_those_before(results, tmp_path, make):
    adata, _ = results("edit")
    alone = adata.copy()
    alone.X = None  # as in a store that write_to= wrote
    with pytest.raises(ValueError, match="X is empty, and a report shows the cells before and after: set adata.X"):
        ne.report(alone, tmp_path / "report.html")
    alone.X = adata.X
    assert make(alone).raw == make(adata).raw


def test_files_are_not_replaced_unasked(results, tmp_path):
    adata, _ = results("edit")
    path = tmp_path / "report.html"
    path.write_text("mine")
    with pytest.raises(FileExistsError, match="report.html exists; give another name, or overwrite=True"):
        ne.report(adata, path)
    assert path.read_text() == "mine"
    with pytest.raises(FileNotFoundError, match="The folder .* does not exist"):
        ne.report(adata, tmp_path / "no" / "report.html")
    ne.report(adata, path, overwrite=True)
    assert path.read_text().startswith("<!DOCTYPE html>") and list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("package", ["bokeh", "jinja2"])
def test_a_missing_package_is_named(results, tmp_path, monkeypatch, package):
    import sys

    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ImportError, match=rf"a report needs {package}: pip install 'neuronedit\[report\]'"):
        ne.report(results("edit")[0], tmp_path / "report.html")
