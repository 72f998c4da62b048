"""Reports in a real browser, from disk: nothing is broken, nothing sticks out, menus change the plots, paper is light.

``make docs-test`` runs it. Screenshots are written to ``docs/screenshots``.
"""

from pathlib import Path

import pytest

import neuronedit as ne

SCREENSHOTS = Path(__file__).parent / "screenshots"
POPULATIONS = {"source": "control_1", "target": "control_2", "query": "sample_1"}
REPORTS = ["correction", "edit", "combination", "comparison", "table"]
WITH_CELLS = REPORTS[:-1]

READY = "() => !document.getElementById('cells') || document.documentElement.dataset.ready === 'yes'"
WITHOUT_TEXT = """() => [...document.images].filter(i => i.className !== 'printed' && !i.alt.trim()).map(i => i.src.slice(0, 60))
    .concat([...document.querySelectorAll('svg:not(.bk-root svg)')].filter(s => s.closest('main') && !s.getAttribute('aria-label')).map(s => s.outerHTML.slice(0, 60)))"""
BROKEN_IMAGES = (
    "() => [...document.images].filter(i => i.getAttribute('src') && i.complete && !i.naturalWidth).map(i => i.alt)"
)
IS_NARROW_ENOUGH = "() => document.documentElement.scrollWidth <= document.documentElement.clientWidth"
BRIGHTNESS = "() => getComputedStyle(document.body).backgroundColor.match(/\\d+/g).slice(0, 3).reduce((sum, x) => sum + Number(x), 0) / 3"


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    """Make a report of each tool."""
    folder = tmp_path_factory.mktemp("reports")
    adata = ne.datasets.simulate_batches(n_cells=400)
    adata.obs["sample"] = [f"{group}, tube {i % 3}" for i, group in enumerate(adata.obs["group"])]
    ne.tl.train(adata, space="pca")
    ne.tl.correct(adata, "batch", control_key="role", sample_key="sample", edit="percentile")
    ne.tl.edit(adata, "group", **POPULATIONS, strata="cell_type")
    ne.report(adata, folder / "correction.html", key="corrected")
    ne.report(adata, folder / "edit.html", key="edited")
    how = {"truth": "sample_2", "methods": ["mean_shift", "quantile", "identity"], "n_bootstrap": 10}
    table = ne.tl.compare(adata, "group", **POPULATIONS, **how, key_added="compared")
    ne.report(adata, folder / "comparison.html", key="compared")
    ne.report(table, folder / "table.html")
    drugs = ne.datasets.simulate_combination(n_cells=400)
    ne.tl.train(drugs, space="identity")
    both = ne.tl.combine(drugs, "condition", control="basal", effects=["A", "B"], edit="percentile")
    ne.report(both, folder / "combination.html", measured=drugs)
    return folder


@pytest.fixture
def open_report(screen, browser, folder):
    """Return what opens a report; whatever goes wrong in it, and whatever it asks for besides itself, fails the test."""
    width, scheme = screen
    context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
    page, errors = context.new_page(), []
    page.on("console", lambda message: errors.append(message.text) if message.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: errors.append(f"script: {error}"))
    page.on(
        "request", lambda r: errors.append(r.url) if not r.url.startswith((folder.as_uri(), "data:", "blob:")) else None
    )

    def open_one(name):
        page.goto((folder / f"{name}.html").as_uri(), wait_until="load")
        page.wait_for_function(READY, timeout=20_000)
        return page

    yield open_one
    context.close()
    assert not errors, errors


@pytest.mark.parametrize("name", REPORTS)
def test_report_is_whole(open_report, screen, name):
    page = open_report(name)
    SCREENSHOTS.mkdir(exist_ok=True)
    page.screenshot(path=SCREENSHOTS / f"report_{name}-{screen[0]}-{screen[1]}.png", full_page=True)
    for closed in page.locator("details").all():
        closed.evaluate("one => { one.open = true; }")
    assert page.evaluate(IS_NARROW_ENOUGH)
    assert page.evaluate(WITHOUT_TEXT) == []
    assert page.evaluate(BROKEN_IMAGES) == []
    assert (page.evaluate(BRIGHTNESS) > 128) == (screen[1] == "light")


@pytest.mark.parametrize("name", WITH_CELLS)
def test_menus_change_the_plots(open_report, name):
    page = open_report(name)
    plots = page.locator(".plot")
    assert plots.count() == 2

    def look():
        page.wait_for_timeout(150)
        pictures = [plot.screenshot() for plot in plots.all()]
        return [*pictures, page.text_content("#legend")], plots.first.get_attribute("aria-label")

    before, words = look()
    assert before[0] != before[1]
    page.select_option("#x", index=7)
    after, new_words = look()
    assert before[0] != after[0] and before[1] != after[1] and words != new_words
    feature = page.locator("#x option").nth(7).text_content()
    assert f"{feature} on the x axis" in new_words
    for menu in page.locator("#menus select").all():
        before, _ = look()
        n_options = menu.locator("option").count()
        chosen = menu.evaluate("menu => menu.selectedIndex")
        menu.select_option(index=(chosen + 1) % n_options)
        after, _ = look()
        assert before != after, menu.get_attribute("id") or menu.evaluate("menu => menu.parentElement.textContent")
        menu.select_option(index=chosen)


def test_a_filter_leaves_fewer_cells(open_report):
    page = open_report("correction")
    everything = page.text_content("#shown")
    page.select_option("select[data-column='0']", label="batch_1")
    assert page.text_content("#shown") != everything
    assert "batch_2" not in page.text_content("#legend")


def test_choices_of_tables_and_curves(open_report):
    page = open_report("correction")
    cell = page.locator(".heat td").first
    shown = [cell.inner_text()]
    for view in ("share", "outside"):
        page.check(f"input[name=view][value={view}]")
        shown.append(cell.inner_text())
    assert len(set(shown)) == 3
    curves = page.locator("#densities path[data-role=sample]").first
    assert curves.evaluate("one => getComputedStyle(one).display") == "none"
    page.check("input[name=density-role][value=sample]")
    assert curves.evaluate("one => getComputedStyle(one).display") != "none"


def test_the_methods_text_is_copied(open_report):
    page = open_report("edit")
    page.click("button[data-copy=methods-text]")
    assert page.evaluate("getSelection().toString()").startswith("The data comprise")


@pytest.mark.parametrize("name", WITH_CELLS)
def test_paper_is_light_and_has_the_plots(open_report, name):
    page = open_report(name)
    assert len(page.pdf(format="A4")) > 20_000
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    page.emulate_media(media="print")
    assert page.evaluate(BRIGHTNESS) > 250
    page.wait_for_function(
        "[...document.querySelectorAll('.printed')].every(i => i.complete && i.naturalWidth > 100 && i.alt)"
    )
    corner = """() => [...document.querySelectorAll('.printed')].map(image => {
        const canvas = document.createElement('canvas');
        canvas.width = canvas.height = 1;
        canvas.getContext('2d').drawImage(image, 5, 5, 1, 1, 0, 0, 1, 1);
        return canvas.getContext('2d').getImageData(0, 0, 1, 1).data[0];
    })"""
    assert all(value > 250 for value in page.evaluate(corner))
    page.evaluate("dispatchEvent(new Event('afterprint'))")
