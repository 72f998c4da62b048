"""The rules behind the words of a report, in tables of cases."""

import numpy as np
import pandas as pd
import pytest

from neuronedit._report._advice import ADVICE, LEVEL_OF_ALARM, Level, Statement, _count_alarms
from neuronedit._report._cells import _find_quota, _rank_within, to_script
from neuronedit._report._changes import format_signed, make_heat_map, share_shown
from neuronedit._report._names import Names, find_design_columns, hide_folders, split_numbers
from neuronedit.engine.alarms import AlarmKind


@pytest.mark.parametrize(
    ("observed", "applied", "share"),
    [(1, 1, 1), (2, 1, 1), (1, 2, 0.5), (-1, 1, 0), (0, 1, 0), (1, 0.01, np.nan), (1, 0, np.nan), (-1, -2, 0.5)],
)
def test_share_that_controls_show(observed, applied, share):
    found = share_shown(pd.Series([float(observed)]), pd.Series([float(applied)]), 0.05)[0]
    assert found == pytest.approx(share, nan_ok=True)


@pytest.mark.parametrize(
    ("value", "text"), [(0.5, "+0.50"), (-0.5, "−0.50"), (0.001, "0.00"), (-0.001, "0.00"), (12.345, "+12.35")]
)
def test_signed_numbers(value, text):
    assert format_signed(value) == text


def test_shades_follow_sign_and_size():
    changes = pd.DataFrame(
        {"batch": ["a", "b"] * 2, "feature": ["CD3", "CD3", "CD4", "CD4"], "change": [1.0, -1.0, 0.01, 0.3],
         "observed_change": [1.0, 1.0, 0.0, 0.3], "share": [1.0, 0.0, np.nan, 1.0], "words": [""] * 4}
    )  # fmt: skip
    batches, rows = make_heat_map(changes, ["CD3", "CD4"])
    assert batches == ["a", "b"] and [name for name, _ in rows] == ["CD3", "CD4"]
    assert [[cell.applied.css for cell in row] for _, row in rows] == [["up4", "down4"], ["flat", "up2"]]
    assert [[cell.share.css for cell in row] for _, row in rows] == [["share4", "share0"], ["none", "share4"]]


@pytest.mark.parametrize(
    ("levels", "level", "text"),
    [
        ([], Level.GOOD, "No alarm was raised."),
        ([Level.NOTE], Level.GOOD, "No alarm was raised; there is a note."),
        ([Level.CHECK], Level.CHECK, "One alarm was raised: read it first."),
        ([Level.SERIOUS], Level.SERIOUS, "One serious alarm was raised: read it first."),
        ([Level.CHECK, Level.CHECK, Level.NOTE], Level.CHECK, "2 alarms were raised, none of them serious: read them first."),
        ([Level.SERIOUS, Level.CHECK], Level.SERIOUS, "2 alarms were raised, 1 of them serious: read them first."),
    ],
)  # fmt: skip
def test_alarms_are_counted(levels, level, text):
    assert _count_alarms([Statement(one, "") for one in levels]) == Statement(level, text)


def test_every_kind_of_alarm_has_a_level_and_advice():
    assert set(AlarmKind) <= set(LEVEL_OF_ALARM) and set(LEVEL_OF_ALARM) == set(ADVICE)


NAMES = Names(
    {"batch": {"1": "batch 1", "B7": "batch 2"}, "sample": {"Eva": "sample 1", "Eva 2": "sample 2", "c++": "sample 3"}}
)


@pytest.mark.parametrize(
    ("text", "renamed"),
    [
        ("The control of 1 and that of B7 differ.", "The control of batch 1 and that of batch 2 differ."),
        ("1 of 2 batches corrected.", "1 of 2 batches corrected."),
        ("expected to close 1.5 of 1 %", "expected to close 1.5 of 1 %"),
        ("1 was left alone: no control.", "batch 1 was left alone: no control."),
        ("Eva (B7), Eva 2, Evangeline and c++", "sample 1 (batch 2), sample 2, Evangeline and sample 3"),
    ],
)
def test_names_in_sentences(text, renamed):
    assert NAMES.rename_text(text) == renamed


def test_names_in_arguments():
    assert NAMES.rename_words(["batch=B7", "Eva", "auto", 3]) == ["batch=batch 2", "sample 1", "auto", 3]
    assert NAMES.rename_value({"batch": ["B7", 1], "donor": "Eva"}) == {
        "batch": ["batch 2", "batch 1"],
        "donor": "sample 1",
    }


def test_columns_of_a_design():
    config = {
        "batch_key": "run",
        "control_key": "role",
        "sample_key": "id",
        "strata": "type",
        "bridge": {"b": {"person": "x"}},
    }
    nouns = {"run": "batch", "role": "role", "id": "sample", "type": "population", "person": "person"}
    assert find_design_columns(config) == nouns
    assert find_design_columns({"model": "m", "fitted": config}) == nouns
    paired = {"groupby": None, "source": {"donor": "a"}, "edit_params": {"paired_by": "person"}}
    assert find_design_columns(paired) == {"donor": "donor", "person": "donor"}


def test_small_groups_are_drawn_whole():
    groups = pd.DataFrame({"batch": ["a"] * 1_000 + ["b"] * 1_000 + ["c"] * 20})
    ranks = _rank_within(groups, np.random.default_rng(0))
    drawn = groups["batch"][ranks < _find_quota(ranks, 300)].value_counts()
    assert drawn["c"] == 20 and drawn["a"] == drawn["b"] and 280 <= drawn.sum() <= 300


def test_json_ends_no_script():
    text = to_script({"</script><script>": "<!-- \u2028 &"})
    assert not set("<>&\u2028") & set(text)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("no such file: /home/jdoe/models/weights.pt", "no such file: weights.pt"),
        ("'C:\\Users\\jdoe\\a.fcs' is missing", "'a.fcs' is missing"),
        ("~/data/a.fcs, /tmp/b.fcs.", "a.fcs, b.fcs."),
        ("CD3/CD4 and 1/2 of cells", "CD3/CD4 and 1/2 of cells"),
    ],
)
def test_folders_in_sentences(text, shown):
    assert hide_folders(text) == shown


def test_names_stand_in_the_order_of_their_numbers():
    names = ["batch 10", "batch 2", "9", "a", "10b", "B"]
    assert sorted(names, key=split_numbers) == ["9", "10b", "B", "a", "batch 2", "batch 10"]
