"""The built site in a real browser, on a wide and on a narrow screen: nothing is broken, nothing sticks out, search finds.

``make docs-test`` runs it. Screenshots are written to ``docs/screenshots``.
"""

import functools
import http.server
import json
import os
import re
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[1]
HTML = Path(__file__).parent / "_build" / "html"
SCREENSHOTS = Path(__file__).parent / "screenshots"
TUTORIALS = sorted(path.stem for path in (HTML / "tutorials").glob("*.html") if path.stem != "index")
PAGES = {
    "front": "index.html",
    "tutorials": "tutorials/index.html",
    "api of edit": "generated/neuronedit.tl.edit.html",
    "api": "api.html",
    "api of building blocks": "api_building_blocks.html",
    "gallery": "gallery/index.html",
    "example": "gallery/tasks/b_edit.html",
    "method": "method.html",
    "comparison": "comparison.html",
    "comparison of batches": "comparison_batches.html",
    "comparison of perturbations": "comparison_perturbations.html",
    "cookbook": "guide/cookbook.html",
    "coming from ComBat": "guide/from_combat.html",
    "not found": "404.html",
} | ({"tutorial": f"tutorials/{TUTORIALS[0]}.html"} if TUTORIALS else {})

BROKEN_IMAGES = "() => [...document.images].filter(i => i.complete && !i.naturalWidth).map(i => i.src)"
WITHOUT_ALT_TEXT = "() => [...document.querySelectorAll('.bd-article img')].filter(i => !i.alt.trim()).map(i => i.src)"
LOAD_IMAGES = """async () => {
    for (const image of document.images) { image.loading = 'eager'; }
    await Promise.all([...document.images].map(i => i.decode().catch(() => {})));
}"""
TOO_WIDE = """() => {
    const width = document.documentElement.clientWidth;
    const scrolled = e => e && (['auto', 'scroll', 'hidden'].includes(getComputedStyle(e).overflowX) || scrolled(e.parentElement));
    if (document.documentElement.scrollWidth <= width) { return []; }
    return [...document.querySelectorAll('body *')]
        .filter(e => e.getBoundingClientRect().right > width + 1 && !scrolled(e.parentElement))
        .slice(0, 5).map(e => `${e.tagName}.${e.className}: ${(e.textContent || '').trim().slice(0, 40)}`);
}"""


class SilentHandler(http.server.SimpleHTTPRequestHandler):
    """Serve files without logging."""

    def log_message(self, *args):
        pass


@pytest.fixture(scope="session")
def site():
    """Serve the built site."""
    assert (HTML / "index.html").exists(), "There is no site: make docs."
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(SilentHandler, directory=HTML))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()


@pytest.fixture
def page(screen, browser, site):
    """Open a tab that reaches the site alone, and fails the test for whatever goes wrong in it."""
    width, scheme = screen
    context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
    context.add_init_script("localStorage.setItem('mode', 'auto')")
    page, errors, blocked = context.new_page(), [], []

    def route(route):
        if route.request.url.startswith((site, "data:", "blob:")):
            return route.continue_()
        blocked.append(route.request.url)
        return route.abort()

    def keep_error(message):
        if message.type == "error" and not any(url == message.location.get("url") for url in blocked):
            errors.append(f"console: {message.text} ({message.location.get('url')})")

    context.route("**/*", route)
    page.on("console", keep_error)
    page.on("pageerror", lambda error: errors.append(f"script: {error}"))
    page.on("response", lambda r: errors.append(f"{r.status}: {r.url}") if r.status >= 400 else None)
    page.on("requestfailed", lambda r: errors.append(f"{r.failure}: {r.url}") if r.url.startswith(site) else None)
    page.shot = lambda name: page.screenshot(path=SCREENSHOTS / f"{name.replace(' ', '_')}-{width}-{scheme}.png")
    SCREENSHOTS.mkdir(exist_ok=True)
    yield page
    context.close()
    assert not errors, errors


@pytest.mark.parametrize("name", PAGES)
def test_page_is_whole(page, site, name):
    page.goto(site + PAGES[name], wait_until="load")
    page.evaluate(LOAD_IMAGES)
    page.shot(name)
    assert page.locator("h1").count() >= 1
    assert page.evaluate(BROKEN_IMAGES) == []
    assert page.evaluate(WITHOUT_ALT_TEXT) == []
    assert page.evaluate(TOO_WIDE) == []
    assert page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth")


def test_search_finds(page, site):
    page.goto(site + "search.html?q=biaxial", wait_until="load")
    page.wait_for_selector("#search-results li", timeout=20_000)
    page.wait_for_function("document.querySelectorAll('#search-results li').length > 2", timeout=20_000)
    links = page.locator("#search-results li a").evaluate_all("all => all.map(a => a.getAttribute('href'))")
    page.shot("search")
    assert any("neuronedit.pl.biaxial" in link for link in links), links
    assert page.evaluate(TOO_WIDE) == []


def test_front_page_leads_everywhere(page, site):
    page.goto(site, wait_until="load")
    links = page.locator(".sd-card a").evaluate_all("all => all.map(a => a.href)")
    assert len(links) >= 6
    for link in links:
        assert page.goto(link, wait_until="load").status == 200


MAX_HEIGHT = 12_000
HARD_TO_READ = """MAX_HEIGHT => {
    const article = document.querySelector('.bd-article') || document.body;
    const name = e => `${e.tagName.toLowerCase()}: ${(e.textContent || '').trim().replace(/\\s+/g, ' ').slice(0, 50)}`;
    const tables = [...article.querySelectorAll('table')].filter(t => t.offsetWidth);
    const column = article.getBoundingClientRect().right;
    const scrolls = e => e && e !== article && (['auto', 'scroll'].includes(getComputedStyle(e).overflowX) || scrolls(e.parentElement));
    const wide = tables.filter(t => t.getBoundingClientRect().right > column + 1 && !scrolls(t.parentElement)).map(t => `wide ${name(t)}`);
    const cells = tables.flatMap(t => [...t.querySelectorAll('td')]);
    const lines = e => e.getBoundingClientRect().height / parseFloat(getComputedStyle(e).lineHeight);
    const slivers = cells.filter(c => c.offsetWidth < 110 && c.textContent.trim().length > 60 && lines(c) > 10).map(c => `sliver ${name(c)}`);
    const cut = cells.filter(c => c.textContent.trim().length > 35 && c.getBoundingClientRect().right > column + 1).map(c => `cut off ${name(c)}`);
    const returns = [...article.querySelectorAll('.field-list > dt')].filter(t => t.textContent.startsWith('Returns'));
    const listed = returns.flatMap(t => [...t.nextElementSibling.querySelectorAll('li, dl > dt')]);
    const names = /^[\\w."[\\]]+(, [\\w."[\\]]+)*( \\(.*\\))?(:|$)/;  // slots, columns or keys, not a part of a sentence
    const split = listed.filter(e => !names.test(e.textContent.trim())).map(e => `split ${name(e)}`);
    const height = document.documentElement.scrollHeight;
    return [...wide, ...slivers.slice(0, 3), ...cut.slice(0, 3), ...split.slice(0, 3), ...(height > MAX_HEIGHT ? [`${height} px tall`] : [])];
}"""


def test_every_page_can_be_read(page, site, screen):
    if screen[1] != "light":
        pytest.skip("the layout is the same")
    paths = sorted(
        path.relative_to(HTML) for path in HTML.rglob("*.html") if not {"_modules", "_static"} & {*path.parts}
    )
    faults = {}
    for path in paths:
        page.goto(f"{site}{path}", wait_until="load")
        page.evaluate(LOAD_IMAGES)
        highest = 10**6 if path.stem == "changelog" else MAX_HEIGHT  # a record, which grows
        if found := page.evaluate(HARD_TO_READ, highest) + page.evaluate(TOO_WIDE):
            faults[str(path)] = found
    assert len(paths) > 100
    assert faults == {}, "\n".join(f"{path}: {found}" for path, found in faults.items())


def test_long_lists_of_parameters_are_in_groups(page, site):
    page.goto(f"{site}generated/neuronedit.tl.correct.html", wait_until="load")
    assert page.locator(".parameter-group").all_text_contents() == ["Input", "Method", "Output", "Computation"]
    first = page.locator(".parameter-group + ul > li:first-child > p > strong:first-child").all_text_contents()
    assert first == ["adata", "bridge", "key_added", "accelerator"]
    page.goto(f"{site}generated/neuronedit.tl.embed.html", wait_until="load")
    assert page.locator(".parameter-group").count() == 0


def test_tutorials_can_be_downloaded():
    notebooks = {path.stem: json.loads(path.read_text()) for path in HTML.rglob("_downloads/**/*.ipynb")}
    assert set(notebooks) == set(TUTORIALS)
    for name, notebook in notebooks.items():
        text = "\n".join("".join(cell["source"]) for cell in notebook["cells"])
        assert notebook["nbformat"] == 4 and "import neuronedit as ne" in text and "**On your own data**" in text
        assert not re.search(r"\{\w+\}`|^:::", text, re.MULTILINE), name


def test_a_release_puts_the_notebooks_into_a_branch(tmp_path):
    workflow = yaml.safe_load((ROOT / ".github" / "workflows" / "release.yaml").read_text())
    script = workflow["jobs"]["notebooks"]["steps"][-1]["run"].replace("python ", f"{sys.executable} ", 1)
    remote = tmp_path / "remote"
    subprocess.run(["git", "init", "--quiet", "--bare", remote], check=True)
    about = {"GITHUB_ACTOR": "someone", "GITHUB_REF_NAME": "v0.1.0"}
    environment = os.environ | about | {"RUNNER_TEMP": str(tmp_path), "REMOTE": str(remote)}
    subprocess.run(["bash", "-e", "-c", script], cwd=ROOT, env=environment, check=True, capture_output=True)
    show = ["git", "-C", remote, "show"]
    listed = subprocess.run(
        [*show, "--name-only", "--format=%s", "notebooks"], check=True, capture_output=True, text=True
    )
    assert listed.stdout.split("\n\n")[0] == "Notebooks of v0.1.0"
    assert {line.removesuffix(".ipynb") for line in listed.stdout.split() if line.endswith(".ipynb")} == set(TUTORIALS)
    one = json.loads(subprocess.run([*show, f"notebooks:{TUTORIALS[0]}.ipynb"], check=True, capture_output=True).stdout)
    assert "".join(one["cells"][0]["source"]).startswith("%pip install")
