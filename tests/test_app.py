"""`neuronedit app`: paths, token, guesses and states, without a browser; `docs/test_app.py` has the page itself."""

import asyncio
import contextlib
import http.client
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from urllib.parse import quote

import anndata
import numpy as np
import pytest

pytest.importorskip("tornado")
pytest.importorskip("bokeh")

from neuronedit._app import _fields, _guess, _job
from neuronedit._app._job import Job, JobState
from neuronedit._app._root import FieldError, Root, list_folder
from neuronedit._app._server import Server
from neuronedit._app._session import Session, write_new
from neuronedit._app._show import show_session
from neuronedit._cli import main

needs_links = pytest.mark.skipif(os.name != "posix", reason="links")


@pytest.fixture
def study(tmp_path):
    """A folder that is opened, beside one that is not; links lead from the first to the second."""
    for name in ("open/fcs", "open/empty", "outside", "open-too"):
        (tmp_path / name).mkdir(parents=True)
    for name in (
        "open/fcs/b.fcs",
        "open/fcs/a.FCS",
        "open/cells.h5ad",
        "outside/secret.csv",
        "outside/c.fcs",
        "open-too/secret.csv",
    ):
        (tmp_path / name).write_text("file,batch,role\n")
    (tmp_path / "open/samples.csv").write_text("file,batch,role\n")
    (tmp_path / "open/.hidden").mkdir()
    if os.name == "posix":
        (tmp_path / "open/out").symlink_to(tmp_path / "outside")
        (tmp_path / "open/out.csv").symlink_to(tmp_path / "outside/secret.csv")
        (tmp_path / "open/in").symlink_to(tmp_path / "open/fcs")
    return tmp_path / "open"


OUTSIDE = ["", "..", "../outside", "../outside/secret.csv", "fcs/../../outside", "../open-too/secret.csv", "/etc/passwd", "//host/share",
           "C:\\Windows", "C:secret", "\\\\host\\share", "fcs\0", "out", "out/secret.csv", "out.csv", "in/../../outside/secret.csv"]  # fmt: skip


# paths


@needs_links
@pytest.mark.parametrize("name", OUTSIDE)
def test_paths_that_lead_out(study, name):
    with pytest.raises(FieldError, match="opened"):
        Root.open(study).find(name, "input")


@needs_links
def test_paths_inside(study):
    root = Root.open(study)
    names = {".": ".", "fcs": "fcs", "fcs/../fcs/b.fcs": "fcs/b.fcs", "in": "fcs", "new/file.h5ad": "new/file.h5ad"}
    assert {name: root.name(root.find(name, "input")) for name in names} == names


@needs_links
def test_a_folder_shows_what_can_be_chosen(study):
    root = Root.open(study)
    shown = list_folder(root, ".")
    assert [(entry["name"], entry["holds"]) for entry in shown["entries"]] == [
        ("cells.h5ad", ".h5ad file"), ("empty", ""), ("fcs", "2 FCS files"), ("in", "2 FCS files")]  # fmt: skip
    assert shown["parent"] is None and list_folder(root, "fcs")["parent"] == "."
    (study / "fcs/c.fcs").symlink_to(study.parent / "outside/c.fcs")
    with pytest.raises(FieldError, match="c.fcs leads out"):
        root.check_links(study / "fcs", "input")


@pytest.mark.parametrize(
    ("name", "words"),
    [("none", "does not exist"), ("empty", "a folder without FCS files"), ("samples.csv", "no .h5ad file")],
)
def test_a_wrong_choice_loses_nothing(study, name, words):
    session = Session(Root.open(study))
    session.input, session.holds, session.fields["batch_key"] = "fcs", "2 FCS files", "batch"
    with pytest.raises(FieldError, match=words):
        session.choose(name)
    assert (session.input, session.fields["batch_key"], session.look) == ("fcs", "batch", None)


# guesses


@pytest.mark.parametrize(("names", "sheet", "panel"), [
    (["fcs/samples.csv", "fcs/panel.csv"], "fcs/samples.csv", "fcs/panel.csv"),
    (["My_Metadata.xlsx", "Panel v2.xlsx"], "My_Metadata.xlsx", "Panel v2.xlsx"),
    (["panel_of_samples.csv", "files.tsv"], "files.tsv", "panel_of_samples.csv"),
    (["a.csv"], "", ""),
    ([], "", ""),
])  # fmt: skip
def test_sheets(names, sheet, panel):
    assert _guess.guess_sheets(names) == {"metadata": sheet, "panel": panel}


@pytest.mark.parametrize(("values", "design"), [
    ({"file": ["a", "b"], "batch": ["B1", "B2"], "role": ["sample", "control"]}, ("batch", "role", "control")),
    ({"Plate": ["1", "2"], "is_control": ["False", "True"]}, ("Plate", "is_control", "True")),
    ({"batch_id": ["1", "2"], "donor": ["d1", "Anchor"]}, ("batch_id", "donor", "Anchor")),
    ({"batch": ["B1"], "role": ["control"]}, ("", "", "")),
    ({"day": ["1", "2"], "cell_type": ["T", "B"]}, ("day", "", "")),
    ({}, ("", "", "")),
])  # fmt: skip
def test_design(values, design):
    assert tuple(_guess.guess_design(values).values()) == design


@pytest.mark.parametrize(("channels", "cofactor"), [
    ([{"channel": "Time"}, {"channel": "Nd142Di"}], "5"),
    ([{"channel": "FSC-A"}, {"channel": "PE-A"}], "150"),
    ([{"channel": "Nd142Di", "cofactor": 3.0}], ""),
    ([{"channel": "x"}], ""),
    ([], ""),
])  # fmt: skip
def test_cofactor(channels, cofactor):
    assert _guess.guess_cofactor(channels) == cofactor


@pytest.mark.parametrize(("names", "rows"), [
    (["B1_control.fcs", "B1_p1.fcs", "B2_control.fcs", "B2_p2.fcs"], [("B1", "control"), ("B1", "sample"), ("B2", "control"), ("B2", "sample")]),
    (["G_P21_Control_1.fcs", "G_P21_Control_2.fcs", "G_P28_Control_1.fcs", "G_P28_Control_2.fcs"], [("P21", ""), ("P21", ""), ("P28", ""), ("P28", "")]),
    (["a.fcs", "b.fcs"], [("", ""), ("", "")]),
])  # fmt: skip
def test_rows_of_a_sheet(tmp_path, names, rows):
    for name in names:
        (tmp_path / name).touch()
    assert [(row["batch"], row["role"]) for row in _guess.guess_rows(tmp_path)] == rows


def test_free_names(study):
    root = Root.open(study)
    assert [_guess.find_free_name(root, name) for name in ("new.h5ad", "cells.h5ad", "fcs")] == [
        "new.h5ad",
        "cells_2.h5ad",
        "fcs_2",
    ]


# words


@pytest.mark.parametrize(("text", "field"), [
    ("the values of FCS files look raw, and the panel has no column cofactor: give --cofactor (5 is usual).", "cofactor"),
    ("metadata: its column 'file' must name each file once, but it has no row for a.fcs.", "metadata"),
    ("panel has no column 'channel' or 'marker'; it has 'x'.", "panel"),
    ("reference: 'B7' is not in obs['batch']; it has 'B1'.", "reference"),
    ("fewer than two batches of obs['batch'] have controls: there is nothing to learn from.", "control"),
    ("-o x.h5ad holds what is read; give another -o.", "output"),
    ("a.fcs is damaged: its text ends too early.", "input"),
])  # fmt: skip
def test_an_error_is_about_a_field(text, field):
    assert _fields.find_field(text) == field
    assert "--" not in _fields.replace_options(text) and " -o" not in _fields.replace_options(text)


def test_options_have_the_names_of_fields():
    text = "x exists; give another name, or --overwrite. Give --cofactor, not --control-key or --bridge."
    assert _fields.replace_options(text) == (
        "X exists; give another name. Give the cofactor, not the column of controls or the option --bridge of the command line.")  # fmt: skip


def test_fields_are_options_of_the_command_line():
    from neuronedit._cli import cli

    named = {
        verb: {name for parameter in cli.commands[verb].params for name in parameter.opts}
        for verb in ("correct", "inspect")
    }
    for name, field in _fields.FIELDS.items():
        assert f"--{field.option}" in named["correct"]
        assert f"--{field.option}" in named["inspect"] or not field.of_check, name
    assert set(_fields.MARKS) | {"control_key", "anonymize"} == set(_fields.FIELDS)


@pytest.mark.parametrize(("field", "value"), [
    ("cofactor", "five"), ("cofactor", "-1"), ("cofactor", "nan"), ("cofactor", "inf"), ("batch_key", "a\nb"), ("batch_key", None),
    ("batch_key", "x" * 1_001), ("no_field", "x"), ("output", ["a"]),
])  # fmt: skip
def test_values_that_are_refused(field, value):
    with pytest.raises(FieldError):
        _fields.check_value(field, value)


LOG = """[10:00:00] Reading fcs.
[10:00:02] Applying arcsinh to 35 channels, cofactor 5.
[10:00:02] warning: 'Time' dominates the scale.
[10:00:03] Training the space 'autoencoder' on 6,000 cells.
\rtraining:   0%|   | 0/84\rtraining:  50%|##  | 42/84 [00:08<11:27]"""
CORRECTING = "\n[10:00:23] Correcting the batches.\n\rcorrecting:   0%|  | 0/5\n\rcross-validation:  90%|# | 9/10\x1b[A\rcorrecting: 100%|##| 5/5"


def test_progress_is_read():
    began = time.mktime((2026, 1, 1, 9, 59, 59, 0, 0, -1))
    progress = _job.parse_progress(LOG, began, began + 14)
    assert [(step["text"].split()[0], step["seconds"]) for step in progress.steps] == [
        ("Reading", 2),
        ("Applying", 1),
        ("Training", 10),
    ]
    assert progress.share == pytest.approx(0.3) and progress.warnings == ["'Time' dominates the scale."]
    assert _job.parse_progress(LOG + CORRECTING, began, began + 30).share == pytest.approx(0.88)
    assert _job.parse_progress("", began, began).share == 0
    assert _job.parse_progress("[23:59:59] Reading.\n[00:00:01] Read 1.\n", began, began).steps[0]["seconds"] == 2
    assert _job.parse_progress("Killed\n", began, began).last_line == "Killed"


def test_a_sheet_is_written_whole_and_never_over_another(study):
    write_new(study / "new.csv", [["file"], ["a, b.fcs"]])
    assert (study / "new.csv").read_text() == 'file\n"a, b.fcs"\n'
    with pytest.raises(FileExistsError):
        write_new(study / "samples.csv", [["x"]])


@pytest.mark.parametrize("rows", [
    None, [1], [], [{"file": "a.FCS", "batch": "1", "role": "control"}],
    [{"file": "a.FCS", "batch": "1", "role": "control"}, {"file": "../x.fcs", "batch": "1", "role": "sample"}],
    [{"file": "a.FCS", "batch": "", "role": "control"}, {"file": "b.fcs", "batch": "1", "role": "sample"}],
    [{"file": "a.FCS", "batch": "1", "role": "other"}, {"file": "b.fcs", "batch": "1", "role": "sample"}],
])  # fmt: skip
def test_a_sheet_that_is_refused(study, rows):
    session = Session(Root.open(study))
    session.input, session.holds = "fcs", "2 FCS files"
    before = sorted(os.listdir(study / "fcs"))
    with pytest.raises(FieldError):
        session.write_sheet(rows)
    assert sorted(os.listdir(study / "fcs")) == before


# the server


@pytest.fixture
def server(study):
    """A server at work in a thread."""
    loop, made, is_there = asyncio.new_event_loop(), [], threading.Event()

    async def begin():
        made.append(Server(study))
        is_there.set()

    def work():
        asyncio.set_event_loop(loop)
        loop.create_task(begin())
        loop.run_forever()

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    assert is_there.wait(20)
    yield made[0]
    loop.call_soon_threadsafe(made[0].close)
    loop.call_soon_threadsafe(loop.stop)
    thread.join(10)
    loop.close()


def ask(server, path, *, method="GET", body=None, token="right", **headers):
    """Return the answer to a request: its status, its headers and its text."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)
    word = server.keys.token if token == "right" else token
    sent = {"Cookie": f"neuronedit-{server.port}={word}"} if word else {}
    sent |= {"Content-Type": "application/json"} if body is not None else {}
    sent |= {name.replace("_", "-"): value for name, value in headers.items()}
    connection.request(
        method, path, body=body if body is None or isinstance(body, bytes) else json.dumps(body), headers=sent
    )
    answer = connection.getresponse()
    text = answer.read().decode()
    connection.close()
    return answer.status, dict(answer.getheaders()), text


PATHS = ["/", "/page.js", "/page.css", "/api/state", "/api/folder?path=.", "/api/run", "/report", "/none"]
UPGRADE = {
    "Connection": "Upgrade",
    "Upgrade": "websocket",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
}


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("token", [None, "wrong", "ä"], ids=["none", "wrong", "odd"])
def test_nothing_without_the_token(server, path, token):
    word = token and token.encode().decode("latin-1")
    for method in ("GET", "POST"):
        status, headers, text = ask(server, path, method=method, token=word, body={} if method == "POST" else None)
        assert status in (403, 405) and "cells" not in text and str(server.session.root.folder) not in text
        assert not any(name.lower().startswith("access-control") for name in headers)
    assert ask(server, path, token=word, **UPGRADE)[0] == 403
    assert ask(server, f"{path}{'&' if '?' in path else '?'}token={quote(token or '')}", token=None)[0] == 403


@pytest.mark.parametrize("headers", [
    {"Host": "evil.example"}, {"Host": "127.0.0.1:1"}, {"Origin": "http://evil.example"}, {"Origin": "null"},
    {"Sec-Fetch-Site": "cross-site"}, {"Sec-Fetch-Site": "same-site"},
])  # fmt: skip
def test_other_sites_are_refused(server, headers):
    """Also with the right cookie, as a browser would send it."""
    for path in PATHS:
        assert ask(server, path, **headers)[0] == 403
    assert ask(server, "/api/choose", method="POST", body={"path": "fcs"}, **headers)[0] == 403
    assert ask(server, "/", **headers, **UPGRADE)[0] == 403
    assert server.session.input == ""


def test_the_token_opens_the_page(server):
    status, headers, text = ask(server, f"/?token={server.keys.token}", token=None)
    assert status == 200 and text.startswith("<!doctype html>") and server.keys.token not in text
    cookie = headers["Set-Cookie"]
    assert cookie.startswith(f"neuronedit-{server.port}=") and "HttpOnly" in cookie and "SameSite=Strict" in cookie
    assert "default-src 'none'" in headers["Content-Security-Policy"] and headers["Referrer-Policy"] == "no-referrer"
    assert ask(server, "/api/state")[0] == 200
    # the address that a browser is started with is seen by others: it works once
    once = server.address_once.partition("127.0.0.1")[2].partition("/")[2]
    assert ask(server, f"/{once}", token=None)[0] == 200 and ask(server, f"/{once}", token=None)[0] == 403


def test_it_is_on_this_machine_alone(server):
    sockets = [one.getsockname()[0] for one in server.http._sockets.values()]
    assert sockets == ["127.0.0.1"]


def test_there_is_nothing_else(server):
    for path in (
        "/page.html",
        "/../page.js",
        "/static/page.js",
        "/api/none",
        "/report",
        "/etc/passwd",
        "/page.js/..%2f..%2fetc/passwd",
    ):
        assert ask(server, path)[0] in (404, 405)
    for method in ("OPTIONS", "PUT", "DELETE", "HEAD", "PATCH"):
        assert ask(server, "/api/state", method=method)[0] == 405
    assert ask(server, "/", **UPGRADE)[0] == 200  # an ordinary page: there is no websocket
    assert ask(server, "/api/state", **UPGRADE)[0] == 200


@needs_links
@pytest.mark.parametrize("name", OUTSIDE)
def test_nothing_outside_over_http(server, name):
    before = {path: path.read_bytes() for path in server.session.root.folder.parent.rglob("*") if path.is_file()}
    server.session.input, server.session.holds = "fcs", "2 FCS files"
    status, _, text = ask(server, f"/api/folder?path={quote(name)}")
    assert (status == 400 or name in ("", "fcs\0")) and "secret" not in text.replace(name, "")
    assert ask(server, "/api/choose", method="POST", body={"path": name})[0] == 400
    for field in ("metadata", "panel", "output", "report"):
        status = ask(server, "/api/set", method="POST", body={"field": field, "value": name})[0]
        assert (status == 400 and server.session.fields[field] == "") or name == ""
    assert {
        path: path.read_bytes() for path in server.session.root.folder.parent.rglob("*") if path.is_file()
    } == before


@needs_links
def test_what_was_right_and_leads_out_now_is_refused(server, study):
    """A name is looked at again when it is used."""
    server.session.input, server.session.holds = "cells.h5ad", ".h5ad file"
    server.session.fields |= {"batch_key": "batch", "control_key": "role", "control": "control", "output": "new/x.h5ad"}
    (study / "new").symlink_to(study.parent / "outside")
    with pytest.raises(FieldError, match="leads out"):
        server.session.start_run()
    (study / "new").unlink()
    server.session.fields["output"] = "x.h5ad"
    (study / ".neuronedit-app").symlink_to(study.parent / "outside")
    with pytest.raises(FieldError, match="leads out"):
        server.session.start_run()
    assert sorted(os.listdir(study.parent / "outside")) == ["c.fcs", "secret.csv"]


@pytest.mark.parametrize(
    ("body", "status"),
    [(b"{", 400), (b"[1]", 400), (b"\xff", 400), (b"x" * 2_000_000, 400), ({"field": "cofactor", "value": "x"}, 400)],
)
def test_bodies_that_are_refused(server, body, status):
    try:
        assert ask(server, "/api/set", method="POST", body=body)[0] == status
    except (ConnectionError, http.client.BadStatusLine):
        assert len(body) > 1_000_000  # the server hangs up
    assert (
        ask(server, "/api/set", method="POST", body={"field": "cofactor", "value": "5"}, Content_Type="text/plain")[0]
        == 400
    )
    assert server.session.fields["cofactor"] == ""


def test_a_run_needs_its_fields(server):
    def error(path, body=None):
        status, _, text = ask(server, f"/api/{path}", method="POST", body=body or {})
        content = json.loads(text)
        assert status == 400 and content["state"]["errors"][content["field"]] == content["error"]
        return content["field"], content["error"]

    assert error("run") == ("input", "Choose cells first.") and error("check") == ("input", "Choose cells first.")
    server.session.input, server.session.holds = "cells.h5ad", ".h5ad file"
    assert error("run") == ("batch_key", "Name the column of batches.")
    server.session.fields |= {"batch_key": "batch", "control_key": "role", "control": "control"}
    assert error("run") == ("output", "Name the output.")
    server.session.fields["output"] = "cells.h5ad"
    assert error("run") == ("output", "cells.h5ad exists; give another name.")
    server.session.fields["output"] = "none/x.h5ad"
    assert error("run") == ("output", "The folder none does not exist.")
    assert server.session.run is None and not (server.session.root.folder / ".neuronedit-app").exists()


# a run: the same functions as the command line, in a process of its own


@pytest.fixture
def opened(tmp_path, cells):
    """A folder with an .h5ad file of two batches. No run in it outlives its test."""
    del cells.layers["truth"]
    cells.write_h5ad(tmp_path / "cells.h5ad")
    yield tmp_path
    for folder in tmp_path.glob(".neuronedit-app/runs/*"):
        job = Job(folder)
        if job.is_running():
            os.kill(job.number, getattr(signal, "SIGKILL", signal.SIGTERM))


@contextlib.contextmanager
def handling_interrupt(handler):
    """Set what Ctrl-C does in processes that a block starts: jobs in the background ignore it."""
    before = signal.signal(signal.SIGINT, handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def wait(session, is_over, seconds=120):
    """Ask as a page does until it is over; return what is shown then."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        shown = show_session(session)
        if is_over(shown):
            return shown
        time.sleep(0.1)
    raise AssertionError(shown)


def has_ended(shown):
    return shown["run"]["state"] != "running"


def start(session, **fields):
    """Start a run of cells that were looked at before."""
    session.input, session.holds = "cells.h5ad", ".h5ad file"
    session.fields |= {
        "batch_key": "batch",
        "control_key": "role",
        "control": "control",
        "output": "out.h5ad",
        "max_epochs": "1",
    } | fields
    session.start_run()


def test_from_choosing_to_files(opened):
    session = Session(Root.open(opened))
    session.choose("cells.h5ad")
    shown = wait(session, lambda shown: not shown["looking"])
    assert {name: shown["fields"][name] for name in ("batch_key", "control_key", "control", "output", "report")} == {
        "batch_key": "batch", "control_key": "role", "control": "control", "output": "cells_corrected.h5ad", "report": "cells_report.html"}  # fmt: skip
    assert [row["n_controls"] for row in shown["checked"]["batches"]] == [150, 150] and shown["errors"] == {}
    for name, value in {"reference": "batch_2", "max_epochs": "1", "strata": "cell_type"}.items():
        session.set_field(name, value)
    session.start_run()
    with pytest.raises(FieldError, match="is at work"):
        session.start_run()
    shown = wait(session, has_ended)
    run = shown["run"]
    assert run["state"] == "done", run
    assert run["share"] == 1 and len(run["lines"]) == 3 and run["has_report"], run
    assert run["files"] == ["cells_corrected.h5ad", "cells_corrected.neuronedit.yaml", "cells_report.html"]
    assert [step["text"].split()[0] for step in run["steps"]][:2] == ["Reading", "Read"]
    assert shown["fields"]["output"] == "cells_corrected_2.h5ad"  # the next run replaces nothing
    # a server that is started afterwards shows the same
    assert Session(Root.open(opened)).run.read_state()[0] is JobState.DONE
    # page and command give the same files to the bit
    options = [
        "--batch-key",
        "batch",
        "--control-key",
        "role",
        "--control",
        "control",
        "--reference",
        "batch_2",
        "--max-epochs",
        "1",
    ]
    options += ["--strata", "cell_type"]
    command = [sys.executable, "-m", "neuronedit._cli", "correct", "cells.h5ad", *options, "-o", "by_command.h5ad"]
    assert subprocess.run(command, cwd=opened, capture_output=True).returncode in (0, 3, 4)
    a, b = (anndata.read_h5ad(opened / name) for name in ("cells_corrected.h5ad", "by_command.h5ad"))
    np.testing.assert_array_equal(a.layers["corrected"], b.layers["corrected"])


def test_a_missing_control_is_one_sentence(opened):
    session = Session(Root.open(opened))
    start(session, control_key="batch", control="batch_1")
    shown = wait(session, has_ended)
    assert shown["run"]["state"] == "failed" and shown["errors"]["control"] == shown["run"]["error"]
    assert "controls" in shown["run"]["error"] and shown["run"]["error"].count(". ") == 0
    assert shown["input"] == "cells.h5ad" and shown["fields"]["control"] == "batch_1"
    assert sorted(name for name in os.listdir(opened) if not name.startswith(".")) == ["cells.h5ad"]


def test_a_file_that_cannot_be_read(opened):
    (opened / "words.h5ad").write_text("words")
    session = Session(Root.open(opened))
    session.choose("words.h5ad")
    shown = wait(session, lambda shown: not shown["looking"])
    assert shown["errors"]["input"].startswith("words.h5ad cannot be read as .h5ad") and shown["tables"] == {}


@pytest.mark.skipif(os.name != "posix", reason="the locks of POSIX")
@pytest.mark.parametrize("interrupt", [signal.default_int_handler, signal.SIG_IGN])
def test_a_run_outlives_its_server_and_is_stopped_by_another(opened, interrupt):
    first = Session(Root.open(opened))
    with handling_interrupt(interrupt):
        start(first, max_epochs="100000")
    wait(first, lambda shown: any(step["text"].startswith("Training") for step in shown["run"]["steps"]))
    second = Session(Root.open(opened))  # another server, or the same one after a crash
    assert second.run.process is None and second.run.number == first.run.number
    assert show_session(second)["run"]["state"] == "running" and second.fields["batch_key"] == "batch"
    with pytest.raises(FieldError, match="is at work"):
        second.start_run()
    second.stop_run()
    assert wait(first, has_ended)["run"]["state"] == "stopped" and wait(second, has_ended)["run"]["state"] == "stopped"
    assert sorted(name for name in os.listdir(opened) if not name.startswith(".")) == ["cells.h5ad"]
    second.close()


@pytest.mark.skipif(os.name != "posix", reason="SIGKILL")
def test_a_run_that_is_killed_is_no_result(opened):
    session = Session(Root.open(opened))
    start(session, max_epochs="100000")
    os.kill(session.run.number, signal.SIGKILL)
    shown = wait(session, has_ended)
    assert shown["run"]["state"] == "failed" and "ended before it was done" in shown["run"]["error"]
    assert sorted(name for name in os.listdir(opened) if not name.startswith(".")) == ["cells.h5ad"]


def test_a_damaged_record_of_a_run_is_passed_over(tmp_path):
    (tmp_path / "2").mkdir()
    (tmp_path / "2" / "job.json").write_text("{")
    assert Job.find_last(tmp_path) is None and Job.find_last(tmp_path / "none") is None


# the verb


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
def test_the_verb_prints_its_address(tmp_path, name):
    command = [sys.executable, "-m", "neuronedit._cli", "app", "--root", str(tmp_path), "--no-browser"]
    with handling_interrupt(signal.default_int_handler):
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        line = process.stdout.readline()
        assert line.startswith("http://127.0.0.1:") and "/?token=" in line
        process.send_signal(getattr(signal, name))
        out, err = process.communicate(timeout=60)
    finally:
        process.kill()
    assert (process.returncode, out, err) == (0, "", "")


@pytest.mark.parametrize(("arguments", "words"), [
    (["--root", "none"], "--root none is not a folder"), (["--root", "file"], "--root file is not a folder"), (["--port", "70000"], "70000"),
])  # fmt: skip
def test_the_verb_refuses(tmp_path, monkeypatch, capsys, arguments, words):
    monkeypatch.chdir(tmp_path)
    Path("file").touch()
    assert main(["app", *arguments, "--no-browser"]) == 2
    captured = capsys.readouterr()
    assert words in captured.err and captured.err.count("\n") == 1 and captured.out == ""


def test_a_port_that_is_taken(server, tmp_path, capsys):
    assert main(["app", "--root", str(tmp_path), "--port", str(server.port), "--no-browser"]) == 2
    assert f"port {server.port} of 127.0.0.1 cannot be used" in capsys.readouterr().err
