"""What the reader must know first: the verdict in three lines, the alarms by seriousness, and what to do next."""

from dataclasses import dataclass
from enum import StrEnum

import numpy as np
import pandas as pd

from .._data.batches import MEAN_OF_BATCHES, BatchStatus
from .._data.record import Tool
from ..engine.alarms import AlarmKind
from ._result import Result, keep_whole

GOOD_SHARE = 0.5  # share of the distance that is expected to be closed, from which the first sentence is a good one
FAILED = "failed"  # kind of the alarm of a method that failed
FLAGGED = "composition of samples"  # kind of the alarm of samples that differ from their controls


class Level(StrEnum):
    """How serious something is, in the word that stands before it."""

    GOOD = "Good"
    NOTE = "Note"
    CHECK = "Check"
    SERIOUS = "Serious"


LEVEL_OF_ALARM = {
    AlarmKind.SCALE: Level.CHECK,
    AlarmKind.CONTROL: Level.SERIOUS,
    AlarmKind.COMPOSITION: Level.CHECK,
    AlarmKind.OUTSIDE: Level.CHECK,
    AlarmKind.NOT_GENERAL: Level.SERIOUS,
    AlarmKind.ORDERS: Level.SERIOUS,
    AlarmKind.LEFT_ALONE: Level.CHECK,
    AlarmKind.NO_ROLE: Level.NOTE,
    FLAGGED: Level.CHECK,
    FAILED: Level.CHECK,
}

ADVICE = {
    AlarmKind.SCALE: "Look at the features that are named: time, scatter and DNA channels are no markers. Set var['used'] to False for "
    "it, or transform it as the others are, and run again.",
    AlarmKind.CONTROL: "Look at the control of that batch in the biaxial plots, marker by marker. Was the panel stained in it, and are "
    "two channels swapped? Measure the control again, or leave it out and bridge the batch.",
    AlarmKind.COMPOSITION: "Compare the compositions in this report. Where cell types are labelled, name their column as strata; else check that "
    "populations were matched as you would gate them.",
    AlarmKind.OUTSIDE: "Do not rest a conclusion on cells that lie outside the controls: report them apart, or measure a control that "
    "holds such cells.",
    AlarmKind.NOT_GENERAL: "Do not use the changed cells for a conclusion. Measure more controls, or name strata (cell types, donors, "
    "replicates) that tell whether the change recurs.",
    AlarmKind.ORDERS: "Do not use either prediction. Where the edit hardly reproduces the effects, train the space for longer. Else measure the combination, at least in a few cells, and compare.",
    AlarmKind.LEFT_ALONE: "These cells are as they were measured. Do not analyse them together with corrected ones, or name a bridge "
    "for the batch.",
    AlarmKind.NO_ROLE: "Check that this is what was meant: cells without a role are unchanged in the new layer.",
    FLAGGED: "These samples hold other cells than their controls show. Check whether the disease or the treatment explains it, and read "
    "their correction with care.",
    FAILED: "Read the error of the method that failed; the other methods are not affected.",
}
"""What to do about each kind of alarm."""

ALWAYS = {
    Tool.CORRECT: [
        "Look at the biaxial plots of the markers that you gate on, before and after, batch by batch.",
        "Gate a few populations in the corrected cells and compare their frequencies with those before: they should hardly differ.",
        "If controls can be spared, hold some of them out (held_out_controls): their distance is a test that the correction has not seen.",
    ],
    Tool.EDIT: [
        "Look at the biaxial plots of the markers that you care about: is the edited query plausible beside the target?",
        "See in the table of changes which markers moved further than source and target show, and leave those out of conclusions.",
        "Run ne.tl.bootstrap(adata) to see how much depends on the cells that were measured.",
    ],
    Tool.COMBINE: [
        "Compare the two orders in the biaxial plots, marker by marker: where they differ, do not rely on either.",
        "Measure one predicted combination before trusting the others, and call ne.tl.synergy with it.",
    ],
    Tool.COMPARE: [
        "Take a method whose interval is clear of the others; among those that overlap take the simplest.",
        "Without a truth the scores say how each method applies the observed change, not whether it is right.",
    ],
}
"""What to do next, whatever was found."""


@dataclass(frozen=True)
class Statement:
    """A sentence with its seriousness."""

    level: Level
    text: str
    kind: str = ""


def list_alarms(result: Result) -> list[Statement]:
    """Return the alarms, the most serious first, each once."""
    table = result.content.get("alarms")
    rows = [] if table is None else table.to_dict("records")
    statements = [
        Statement(
            LEVEL_OF_ALARM.get(row["alarm"], Level.CHECK), row["text"][:1].upper() + row["text"][1:], row["alarm"]
        )
        for row in rows
    ]
    samples = result.content.get("samples")
    if samples is not None and len(samples) and samples["flagged"].any():
        statements.append(Statement(LEVEL_OF_ALARM[FLAGGED], _describe_flagged(samples), FLAGGED))
    if result.scores is not None:
        table = keep_whole(result.scores)
        failed = table[table["error"].fillna("") != ""].drop_duplicates("method")
        for row in failed.to_dict("records"):
            text = f"{row['method']} failed: {result.names.rename_text(str(row['error']))}"
            statements.append(Statement(LEVEL_OF_ALARM[FAILED], text, FAILED))
    order = list(Level)[::-1]
    return sorted(dict.fromkeys(statements), key=lambda one: order.index(one.level))


def _describe_flagged(samples: pd.DataFrame) -> str:
    """Say how many samples differ from their controls, and how the one that differs most does."""
    flagged = samples[samples["flagged"]].sort_values("composition", ascending=False, kind="stable")
    first = flagged.iloc[0]
    differ = "sample differs" if len(flagged) == 1 else "samples differ"
    text = f"{len(flagged)} of {len(samples)} {differ} in composition from the controls of the batch by more than the controls differ from each other"
    far = f"{first['sample']} ({first['batch']}), {first['composition']:.1f} times as far: {first['lacking']}"
    return f"{text}. The furthest is {far}. All are in the table of samples below."


def write_lines(result: Result, alarms: list[Statement]) -> list[Statement]:
    """Return the verdict in three lines: what was done, what to expect of it, and what to look at."""
    done, expected = {
        Tool.EDIT: _judge_edit,
        Tool.CORRECT: _judge_correction,
        Tool.COMBINE: _judge_combination,
        Tool.COMPARE: _judge_comparison,
    }[result.tool](result)
    if any(alarm.kind == AlarmKind.NOT_GENERAL for alarm in alarms) and expected.level is Level.GOOD:
        expected = Statement(Level.CHECK, expected.text)
    return [done, expected, _count_alarms(alarms)]


def _count_alarms(alarms: list[Statement]) -> Statement:
    """Say how many alarms there are, and how serious they are; notes are none."""
    n_notes = sum(alarm.level is Level.NOTE for alarm in alarms)
    n_serious, n = sum(alarm.level is Level.SERIOUS for alarm in alarms), len(alarms) - n_notes
    if not n:
        return Statement(Level.GOOD, f"No alarm was raised{'; there is a note' * bool(n_notes)}.")
    if n == 1:
        return Statement(alarms[0].level, f"One {'serious ' * n_serious}alarm was raised: read it first.")
    serious = f"{n_serious} of them serious" if n_serious else "none of them serious"
    return Statement(alarms[0].level, f"{n} alarms were raised, {serious}: read them first.")


def _judge_share(values: "np.ndarray", text: str) -> Statement:
    """Return a sentence on shares of the distance that are closed."""
    low, high = float(values.min()), float(values.max())
    shares = f"{low:.2f}" if f"{low:.2f}" == f"{high:.2f}" else f"{low:.2f} to {high:.2f}"
    level = Level.GOOD if low >= GOOD_SHARE else Level.CHECK if low > 0 else Level.SERIOUS
    return Statement(level, text.format(shares=shares))


def _judge_edit(result: Result) -> tuple[Statement, Statement]:
    n_cells, config = result.content.get("n_cells", {}), result.config
    n_query = int(n_cells.get("query", (result.labels["role"] == "query").sum()))
    strength = np.atleast_1d(config.get("strength", 1.0))[-1]
    share = "" if strength == 1 else f" at a strength of {strength:g}"
    done = f"The change from source to target was applied to {n_query:,} query cells{share}."
    ensemble = result.content.get("ensemble")
    if "model" in config:
        text = "The change was fitted on other cells: how far it holds in these is not known."
        return Statement(Level.NOTE, done), Statement(Level.NOTE, text)
    if ensemble is None or str(ensemble["fold_kind"]) == "none":
        text = "Nothing was cross-validated: how far the change holds in the query is not known from these cells."
        return Statement(Level.NOTE, done), Statement(Level.CHECK, text)
    interval = f"{float(ensemble['expected_low']):.2f} to {float(ensemble['expected_high']):.2f} in 4 of 5 cases"
    text = f"By cross-validation {{shares}} of the distance to the truth is expected to be closed ({interval})."
    return Statement(Level.GOOD, done), _judge_share(np.array([float(ensemble["expected"])]), text)


def _judge_correction(result: Result) -> tuple[Statement, Statement]:
    batches = result.content.get("batches")
    if batches is None:  # it was fitted elsewhere
        n = result.labels["batch"].nunique()
        applied = f"A saved correction was applied to the cells of {n} batch{'es' * (n != 1)}."
        text = "It was fitted on other cells: how far it holds in these is not known."
        return Statement(Level.NOTE, applied), Statement(Level.NOTE, text)
    reference = result.config.get("reference")
    goal = MEAN_OF_BATCHES if reference is None else f"{reference}, the reference"
    is_left = batches["status"] == BatchStatus.LEFT_ALONE
    n_corrected = int((~is_left & (batches["status"] != BatchStatus.REFERENCE)).sum())
    n_wanted = len(batches) - int((batches["status"] == BatchStatus.REFERENCE).sum())
    which = f"{n_corrected} of {n_wanted} batches were corrected by their controls"
    if n_corrected == n_wanted:
        which = which.replace(f"{n_corrected} of {n_wanted}", "Both" if n_wanted == 2 else f"All {n_wanted}")
    if n_wanted == 1:
        which = f"{n_corrected} batch was corrected by its control"
    done = Statement(
        Level.GOOD if n_corrected == n_wanted else Level.CHECK,
        f"{which} to {goal}.",
    )
    held_out = result.content.get("held_out")
    if held_out is not None and len(held_out):
        text = "Of the distance between held-out controls, {shares} was closed."
        return done, _judge_share(held_out["closed"].to_numpy(dtype=float), text)
    expected = pd.to_numeric(batches["expected"]).dropna().to_numpy()
    if len(expected):
        text = "By cross-validation on the controls, {shares} of the distance is expected to be closed in the samples."
        return done, _judge_share(expected, text)
    text = "Nothing was held out: how far the correction holds in the samples is not known from these cells."
    return done, Statement(Level.CHECK, text)


def _judge_combination(result: Result) -> tuple[Statement, Statement]:
    agreement, orders = result.content["combinations"]["agreement"], result.content["orders"]
    n = len(agreement)
    done = f"{n} combination{'s were' if n > 1 else ' was'} predicted in both orders from cells under one treatment."
    low, high = float(agreement.min()), float(agreement.max())
    shares = f"{low:.2f}" if n == 1 else f"{low:.2f} to {high:.2f}"
    text = f"The two orders agree to {shares} (1 is perfect)"
    expected = pd.to_numeric(orders["expected"]).dropna().to_numpy()
    level = Level.GOOD if low >= GOOD_SHARE else Level.SERIOUS
    if not len(expected):
        return Statement(Level.GOOD, done), Statement(Level.CHECK, f"{text}; nothing was cross-validated.")
    judged = _judge_share(expected, f"{text}; by cross-validation each effect alone closes {{shares}} of its distance.")
    worst = max(level, judged.level, key=list(Level).index)
    return Statement(Level.GOOD, done), Statement(worst, judged.text)


def _judge_comparison(result: Result) -> tuple[Statement, Statement]:
    table = result.scores
    if table is None:
        n = len(result.states) - 1
        done = f"{n} method{'s' * (n != 1)} predicted the query after the change."
        return Statement(Level.NOTE, done), Statement(Level.CHECK, "Their scores were not kept with the cells.")
    table, metric = keep_whole(table), list_levels(table["metric"])[0]
    means = table[table["metric"] == metric].groupby("method", observed=True)["value"].mean()
    means = means.reindex(list_levels(table["method"]))
    best, has_truth = means.index[0], bool(table["distance"].notna().any())
    done = f"{len(means)} methods were scored by {table['metric'].nunique()} metrics{' against a known truth' * has_truth}."
    text = f"By {str(metric).replace('_', ' ')} the best is {best} ({means.iloc[0]:.2f}; 1 is ideal)."
    if not has_truth:
        return Statement(Level.NOTE, done), Statement(Level.NOTE, f"{text} No truth was given.")
    return Statement(Level.GOOD, done), Statement(Level.GOOD if means.iloc[0] > 0 else Level.SERIOUS, text)


def list_levels(column: "pd.Series[pd.Any]") -> list[str]:
    """Return the values of a column in the order of its categories, or as they come."""
    if hasattr(column, "cat"):
        return [str(name) for name in column.cat.remove_unused_categories().cat.categories]
    return [str(name) for name in column.unique()]


def list_advice(result: Result, alarms: list[Statement]) -> list[str]:
    """Return what to do next: about the alarms first, then what is always worth doing."""
    of_alarms = [ADVICE[alarm.kind] for alarm in alarms if alarm.kind in ADVICE]
    return [*dict.fromkeys(of_alarms), *ALWAYS[result.tool]]
