"""The page of ``neuronedit app`` in a real browser: from a folder of six FCS files to corrected ones, and what must lose nothing.

``make docs-test`` runs it, without the network. ``CHROMIUM`` names the browser. Screenshots are written to ``docs/screenshots``.
"""

import importlib.util
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import expect

import neuronedit as ne

SCREENSHOTS = Path(__file__).parent / "screenshots"
FCS_HELPERS = Path(__file__).parents[1] / "tests" / "io" / "conftest.py"
SECONDS = 1_000  # milliseconds
FOR_A_LOOK, FOR_A_RUN = 120 * SECONDS, 400 * SECONDS
expect.set_options(timeout=FOR_A_LOOK)
BATCHES = ("P21", "P28", "P34")
SHEET = "file,batch,role\n" + "".join(f"{b}_{r}.fcs,{b},{r}\n" for b in BATCHES for r in ("control", "sample"))
ONE_CONTROL = SHEET.replace("P28,control", "P28,sample").replace("P34,control", "P34,sample")


def write_files(folder, n_cells=300):
    """Write six simulated FCS files: a control and a sample in each of three batches."""
    spec = importlib.util.spec_from_file_location("fcs_helpers", FCS_HELPERS)
    helpers = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(helpers)
    adata = ne.datasets.simulate_batches(n_cells=n_cells)
    channels = ["Time", *(f"Nd{101 + i}Di" for i in range(adata.n_vars))]
    folder.mkdir()
    for i, batch in enumerate(BATCHES):
        for role in ("control", "sample"):
            x = adata[adata.obs["group"] == f"{role}_{1 + i % 2}"].X + 0.2 * (i == 2)
            events = np.column_stack([np.arange(len(x)), 5 * np.sinh(x)])
            helpers.write_file(folder / f"{batch}_{role}.fcs", events, channels, ["", *adata.var_names])
    return folder


@pytest.fixture
def study(tmp_path):
    """The folder that is opened, with the six files in a folder of it."""
    write_files(tmp_path / "fcs")
    return tmp_path


def start_server(folder):
    """Start ``neuronedit app``; return its process and its address."""
    command = [sys.executable, "-m", "neuronedit._cli", "app", "--root", str(folder), "--no-browser"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    return process, process.stdout.readline().strip()


@pytest.fixture
def server(study):
    process, address = start_server(study)
    yield address
    process.terminate()
    assert process.wait(20) == 0


@pytest.fixture
def open_page(browser):
    """Open tabs that reach the page alone, and fail the test for whatever goes wrong in them but refusals (400)."""
    errors, contexts = [], []

    def open_page(address, width=1280):
        context = browser.new_context(viewport={"width": width, "height": 900})
        contexts.append(context)
        start = address.partition("?")[0]
        elsewhere = re.compile(rf"^(?!{re.escape(start)}|data:|blob:)")
        context.route(elsewhere, lambda route: (errors.append(f"asked for {route.request.url}"), route.abort()))
        page = context.new_page()
        page.on("pageerror", lambda error: errors.append(f"script: {error}"))
        page.on(
            "response", lambda r: errors.append(f"{r.status}: {r.url}") if r.status >= 400 and r.status != 400 else None
        )
        page.on("console", lambda m: errors.append(m.text) if m.type == "error" and "400" not in m.text else None)
        page.goto(address)
        return page

    SCREENSHOTS.mkdir(exist_ok=True)
    yield open_page
    for context in contexts:
        context.close()
    assert errors == []


def shoot(page, name):
    """Take a screenshot on a wide and on a narrow screen; nothing sticks out of the narrow one."""
    for width in (390, 1280):
        page.set_viewport_size({"width": width, "height": 900})
        assert page.evaluate("document.documentElement.scrollWidth") <= width, name
        page.screenshot(path=SCREENSHOTS / f"app_{name}-{width}.png", full_page=True)


def choose(page, name="fcs"):
    """Choose a folder of FCS files."""
    page.get_by_role("button", name=re.compile(rf"^{name}\b")).click()
    page.get_by_role("button", name="Take this folder").click()


def wait_for_check(page):
    """Wait until the controls were checked."""
    expect(page.locator("#batches table")).to_be_visible(timeout=FOR_A_LOOK)
    expect(page.locator("#looking")).to_be_hidden(timeout=FOR_A_LOOK)


def make_short(page):
    """Ask for a training of few passes."""
    page.locator("#more summary").click()
    page.get_by_label("Passes over the cells").fill("2")
    page.get_by_label("Passes over the cells").blur()


def run(page):
    page.get_by_role("button", name="Correct", exact=True).click()


def list_files(folder):
    """Return all that is in a folder, but for the records of runs."""
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if ".neuronedit-app" not in path.parts}


def check_result(study, before):
    """The corrected files are there, and the report; what was there is the same to the bit."""
    assert {path: (study / path).read_bytes() for path in before} == before
    written = sorted(path.name for path in (study / "fcs_corrected").iterdir())
    assert written == sorted([*(path.name for path in (study / "fcs").glob("*.fcs")), "neuronedit.yaml"])
    old, new = ne.io.read_fcs(study / "fcs"), ne.io.read_fcs(study / "fcs_corrected")
    assert old.shape == new.shape and np.abs(old.X - new.X).max() > 1
    np.testing.assert_array_equal(old[:, "Time"].X, new[:, "Time"].X)
    assert (study / "fcs_report.html").read_text(encoding="utf-8").lstrip().lower().startswith("<!doctype html>")
    assert not [path for path in study.rglob("*") if "unfinished" in path.name]


def read_all(folder):
    return {path: (folder / path).read_bytes() for path in list_files(folder) if (folder / path).is_file()}


def test_from_a_folder_to_corrected_files(study, server, open_page):
    before = read_all(study)
    page = open_page(server)
    assert "token" not in page.url
    shoot(page, "1_choose")
    choose(page)
    # there is no sample sheet: make one
    expect(page.locator("#rows tr")).to_have_count(6)
    shoot(page, "1_sheet")
    page.get_by_role("button", name="Write the sample sheet").click()
    expect(page.get_by_label("Sample sheet", exact=True)).to_have_value("fcs/samples.csv")
    assert (study / "fcs/samples.csv").read_text() == SHEET
    # look, and see what was proposed
    wait_for_check(page)
    for label, value in {
        "Batches are in": "batch",
        "Controls are marked": "role",
        "Controls have the value": "control",
        "Cofactor": "5",
    }.items():
        expect(page.get_by_label(label)).to_have_value(value)
    assert page.locator("#batches tbody tr").all_inner_texts() == [f"{batch}\t600\t300\t300" for batch in BATCHES]
    shoot(page, "3_checked")
    # run
    page.get_by_label("Correct to").select_option("P21")
    run(page)
    expect(page.locator("#step-name")).to_contain_text("Training", timeout=FOR_A_LOOK)
    expect(page.locator("#time")).to_have_text(re.compile(r"^\d+%, \d+ s$"))
    shoot(page, "4_running")
    expect(page.locator("#step-result")).to_be_visible(timeout=FOR_A_RUN)
    expect(page.locator("#ended")).to_contain_text("Done")
    expect(page.locator("#lines li")).to_have_count(3)
    assert page.locator("#written li").all_inner_texts() == [
        "fcs_corrected",
        "fcs_corrected/neuronedit.yaml",
        "fcs_report.html",
    ]
    # the report, in the page and in a tab of its own
    expect(page.frame_locator("iframe").locator("h1")).to_be_visible()
    expect(page.frame_locator("iframe").locator("canvas, svg").first).to_be_attached(timeout=FOR_A_LOOK)
    shoot(page, "5_result")
    with page.context.expect_page() as opened:
        page.get_by_role("link", name="Open the report").click()
    expect(opened.value.locator("h1")).to_be_visible()
    check_result(study, before)
    # page and command write the same files, to the bit
    command = [
        sys.executable,
        "-m",
        "neuronedit._cli",
        "correct",
        "--config",
        "fcs_corrected/neuronedit.yaml",
        "-o",
        "again",
        "--report",
        "again.html",
    ]
    assert subprocess.run(command, cwd=study, capture_output=True).returncode in (0, 3, 4)
    for path in (study / "fcs_corrected").glob("*.fcs"):
        assert path.read_bytes() == (study / "again" / path.name).read_bytes()


def test_a_wrong_folder_loses_nothing(study, server, open_page):
    (study / "fcs/samples.csv").write_text(SHEET)
    (study / "damaged").mkdir()
    (study / "damaged/a.fcs").write_text("no FCS file")
    write_files(study / "gone", n_cells=5)
    before = list_files(study)
    page = open_page(server)
    choose(page, "damaged")
    expect(page.locator("[data-error=input]")).to_contain_text("a.fcs", timeout=FOR_A_LOOK)
    shoot(page, "1_error")
    page.get_by_role("button", name="Choose others").click()
    choose(page)
    wait_for_check(page)
    expect(page.locator("[data-error=input]")).to_be_empty()
    page.get_by_label("Correct to").select_option("P28")
    # a folder that is gone when it is taken: what was chosen stays
    page.get_by_role("button", name="Choose others").click()
    page.get_by_role("button", name=re.compile("^gone")).click()
    expect(page.get_by_role("button", name="Take this folder")).to_be_visible()
    shutil.rmtree(study / "gone")
    page.get_by_role("button", name="Take this folder").click()
    expect(page.locator("[data-error=input]")).to_have_text("gone does not exist.")
    expect(page.get_by_label("Correct to")).to_have_value("P28")
    expect(page.get_by_label("Sample sheet", exact=True)).to_have_value("fcs/samples.csv")
    assert list_files(study) == {name for name in before if not name.startswith("gone")}


def test_a_missing_control_loses_nothing(study, server, open_page):
    (study / "fcs/samples.csv").write_text(ONE_CONTROL)
    (study / "right.csv").write_text(SHEET)
    before = read_all(study)
    page = open_page(server)
    choose(page)
    wait_for_check(page)
    expect(page.locator("#problems")).to_contain_text("P28 has no control")
    make_short(page)
    run(page)
    expect(page.locator("[data-error=control]")).to_contain_text(
        "fewer than two batches", ignore_case=True, timeout=FOR_A_LOOK
    )
    expect(page.get_by_label("Controls have the value")).to_have_attribute("aria-invalid", "true")
    shoot(page, "3_error")
    assert read_all(study) == before
    # with the right sheet what was given stays, and the run is done
    page.get_by_label("Sample sheet", exact=True).select_option("right.csv")
    wait_for_check(page)
    expect(page.get_by_label("Passes over the cells")).to_have_value("2")
    expect(page.locator("#problems")).not_to_contain_text("no control")
    run(page)
    expect(page.locator("#ended")).to_contain_text("Done", timeout=FOR_A_RUN)
    check_result(study, before)


def test_a_closed_tab_loses_nothing(study, server, open_page):
    (study / "samples.csv").write_text(SHEET)
    before = read_all(study)
    page = open_page(server)
    choose(page)
    wait_for_check(page)
    run(page)
    expect(page.locator("#progress")).to_be_visible()
    page.close()
    # two others see the same run
    tabs = [open_page(server), open_page(server, width=390)]
    for tab in tabs:
        expect(tab.locator("#progress")).to_be_visible()
        expect(tab.locator("#chosen-name")).to_have_text("fcs")
        expect(tab.get_by_role("button", name="Correct", exact=True)).to_be_disabled()
    for tab in tabs:
        expect(tab.locator("#ended")).to_contain_text("Done", timeout=FOR_A_RUN)
        assert tab.locator("#lines li").all_inner_texts() == tabs[0].locator("#lines li").all_inner_texts()
    check_result(study, before)


@pytest.mark.skipif(os.name != "posix", reason="SIGKILL")
def test_a_killed_server_loses_nothing(study, open_page):
    (study / "samples.csv").write_text(SHEET)
    before = read_all(study)
    process, address = start_server(study)
    page = open_page(address)
    choose(page)
    wait_for_check(page)
    make_short(page)
    run(page)
    expect(page.locator("#progress")).to_be_visible()
    page.close()
    process.kill()
    process.wait()
    process, address = start_server(study)
    page = open_page(address)
    expect(page.locator("#ended")).to_contain_text("Done", timeout=FOR_A_RUN)
    check_result(study, before)
    process.terminate()
    assert process.wait(20) == 0


def test_a_run_is_stopped(study, server, open_page):
    (study / "samples.csv").write_text(SHEET)
    before = read_all(study)
    page = open_page(server)
    choose(page)
    wait_for_check(page)
    run(page)
    expect(page.locator("#step-name")).to_contain_text("Training", timeout=FOR_A_LOOK)
    page.get_by_role("button", name="Stop").click()
    expect(page.locator("#ended")).to_contain_text("was stopped. Nothing was written.", timeout=FOR_A_LOOK)
    assert read_all(study) == before
