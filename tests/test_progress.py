"""What somebody who is watching sees: bars with the time left, the verdict, and errors that are short."""

import logging
import sys

import pytest
import torch

import neuronedit as ne
from neuronedit import _progress

GROUPS = {"source": "control_1", "target": "control_2", "query": "sample_1"}


@pytest.fixture
def nobody_logs(monkeypatch):
    """The logger as it is in a notebook: nobody collects what it says."""
    monkeypatch.setattr(logging.Logger, "hasHandlers", lambda self: False)


@pytest.fixture
def cells():
    adata = ne.datasets.simulate_batches(n_cells=200)
    ne.tl.train(adata, space="identity", progress_bar=False)
    return adata


TOOLS = {
    "edit": (lambda adata, **more: ne.tl.edit(adata, "group", **GROUPS | more), "edited"),
    "correct": (lambda adata, **more: ne.tl.correct(adata, "batch", control_key="role", **more), "corrected"),
}


@pytest.mark.usefixtures("nobody_logs")
@pytest.mark.parametrize("tool", TOOLS)
def test_who_watches_sees_bars_and_the_verdict(cells, tool, capsys):
    call, key = TOOLS[tool]
    with _progress.showing_progress(True):
        call(cells)
    seen = capsys.readouterr()
    assert " ".join(seen.out.split()) == " ".join(cells.uns[key]["verdict"].split())
    assert max(map(len, seen.out.splitlines())) <= _progress.LINE_WIDTH
    assert "cross-validation" in seen.err and "fold/s" in seen.err
    assert not capsys.readouterr().out


@pytest.mark.usefixtures("nobody_logs")
@pytest.mark.parametrize("tool", TOOLS)
def test_nobody_watches(cells, tool, capsys):
    with _progress.showing_progress(False):
        TOOLS[tool][0](cells)
    seen = capsys.readouterr()
    assert seen.out == "" and "fold" not in seen.err


def test_a_log_that_is_collected_has_the_verdict_instead(cells, capsys, caplog):
    with caplog.at_level(logging.INFO, "neuronedit"), _progress.showing_progress(True):
        ne.tl.edit(cells, "group", **GROUPS, edit="percentile")
    assert cells.uns["edited"]["verdict"] in caplog.text
    assert capsys.readouterr().out == ""


def test_a_tool_shows_what_the_tool_that_calls_it_shows(monkeypatch):
    monkeypatch.setitem(sys.modules, "ipykernel", sys)
    seen = []

    @_progress.shows_progress
    def inner(progress_bar=None):
        seen.append(_progress.is_shown())

    @_progress.shows_progress
    def outer(progress_bar=None):
        inner()

    outer(progress_bar=False)
    outer(progress_bar=True)
    inner()
    assert seen == [False, True, True]
    assert not _progress.is_shown()


NEAR = {
    "a value": (
        lambda adata: ne.tl.edit(adata, "group", **GROUPS | {"source": "contol_1"}),
        "did you mean 'control_1'?",
    ),
    "a column": (lambda adata: ne.tl.edit(adata, "Group", **GROUPS), "did you mean 'group'?"),
    "an edit": (lambda adata: ne.tl.edit(adata, "group", **GROUPS, edit="percentiles"), "did you mean 'percentile'?"),
    "a parameter": (
        lambda adata: ne.tl.edit(adata, "group", **GROUPS, edit="local", n_neighbor=3),
        "mean 'n_neighbors'?",
    ),
    "a feature": (lambda adata: ne.pl.biaxial(adata, x="ifng", y="CCR6", groupby="group"), "did you mean 'IFNg'?"),
    "a layer": (lambda adata: ne.tl.train(adata, layer="truht"), "did you mean 'truth'?"),
    "a batch": (lambda adata: ne.tl.correct(adata, "batch", control_key="role", reference="batch2"), "mean 'batch_2'?"),
}


@pytest.mark.parametrize("case", NEAR)
def test_a_slip_is_answered_by_what_was_meant(cells, case):
    call, message = NEAR[case]
    with pytest.raises((KeyError, TypeError, ValueError)) as caught:
        call(cells)
    assert message in str(caught.value)


def test_nothing_near_is_suggested_where_nothing_is_near(cells):
    with pytest.raises(ValueError, match="it has 'control_1', 'control_2', 'sample_1', 'sample_2'[.]$"):
        ne.tl.edit(cells, "group", **GROUPS | {"source": "placebo"})


def test_errors_of_bad_input_are_short(cells, monkeypatch):
    monkeypatch.delenv("NEURONEDIT_FULL_TRACEBACK")
    with pytest.raises(ValueError, match="placebo") as caught:
        ne.tl.edit(cells, "group", **GROUPS | {"source": "placebo"})
    assert len(caught.traceback) <= 2
    assert isinstance(caught.value, ValueError)


def test_errors_of_other_code_keep_their_traceback(cells, monkeypatch):
    monkeypatch.delenv("NEURONEDIT_FULL_TRACEBACK")

    def fit(source, target):
        return {}["missing"]

    with pytest.raises(KeyError, match="missing") as caught:
        ne.tl.edit(cells, "group", **GROUPS | {"edit": fit})
    assert caught.traceback[-1].name == "fit"


def test_plots_print_nothing_in_a_notebook(cells):
    one = ne.pl.biaxial(cells, "IFNg", "CCR6", groupby="group", layers=[None])
    several = ne.pl.biaxial(cells, "IFNg", "CCR6", groupby="group", layers=[None, "truth"])
    for axes in (one, several):
        assert axes._ipython_display_() is None
    assert [*several] == several


def test_an_ensemble_has_a_view_in_a_notebook():
    generator = torch.Generator().manual_seed(0)
    source = torch.randn(200, 3, generator=generator)
    space = ne.spaces.Identity()
    for n in (200, 12):  # with folds, and with too few cells
        ensemble = ne.ensemble.cross_validate(space, source[:n], source[:n] + 2, source[:50] + 1)
        view = ensemble._repr_html_()
        assert view.count("<tr>") == 1 + (ensemble.weights > 0).sum()
        assert ensemble.candidates[int(ensemble.weights.argmax())] in view


# how long it will take


class Clock:
    """A clock that goes on by so much whenever it is read."""

    def __init__(self, step):
        self.now, self.step = 0.0, step

    def monotonic(self):
        self.now += self.step
        return self.now


@pytest.fixture
def lines(monkeypatch):
    """What is said where no bar is shown; a second passes between any two looks at the clock."""
    monkeypatch.setattr(_progress, "time", Clock(1.0))
    heard = []
    with _progress.saying(heard.append), _progress.showing_progress(False):
        yield heard


def test_long_work_is_forecast_once(lines):
    assert list(_progress.track(range(100), "comparing")) == list(range(100))
    assert lines == ["Comparing: about 3.3 min left."]  # 2 s for 1 of 100


def test_short_work_and_work_with_a_bar_are_not(lines):
    list(_progress.track(range(5), "comparing"))
    with _progress.showing_progress(True):
        list(_progress.track(range(100), "comparing"))
    list(_progress.track(iter(range(100)), "comparing"))  # of unknown length
    assert lines == []


def test_a_correction_of_batches_is_forecast(lines):
    bar = _progress.Bar("correcting", "fit")
    bar.reset(total=60)
    for _ in range(60):
        bar.update()
    assert lines == ["Correcting: about 60 s left."]  # 2 s for 2 of 60


def test_training_is_forecast(lines, cells):
    ne.tl.train(cells, widths=(8, 2), max_epochs=20, progress_bar=False)
    assert len(lines) == 1 and lines[0].startswith("Training: about ") and lines[0].endswith(" left.")


def test_without_anybody_to_say_it_is_logged(monkeypatch, caplog):
    monkeypatch.setattr(_progress, "time", Clock(1.0))
    with caplog.at_level(logging.INFO, "neuronedit"), _progress.showing_progress(False):
        list(_progress.track(range(100), "comparing"))
    assert "Comparing: about 3.3 min left." in caplog.text


@pytest.mark.parametrize(("seconds", "words"), [
    (17.2, "17 s"), (44, "40 s"), (89, "90 s"), (91, "1.5 min"), (1_500, "25 min"), (5_400, "1.5 h"), (90_000, "25 h"),
])  # fmt: skip
def test_times_in_words(seconds, words):
    assert _progress.format_seconds(seconds) == words


def test_a_level_above_warnings_silences_a_printed_verdict(monkeypatch, capsys):
    monkeypatch.setattr("neuronedit._progress.is_shown", lambda: True)
    monkeypatch.setattr(logging.Logger, "hasHandlers", lambda self: False)
    for level, shown in ((logging.NOTSET, "Done.\n"), (logging.ERROR, "")):
        logger = logging.Logger("verdicts", level)
        _progress.tell(logger, "Done.", is_alarm=False)
        assert capsys.readouterr().out == shown
