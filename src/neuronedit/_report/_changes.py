"""What changed in each marker of each batch, whether the controls show it, and who holds which cells."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from .._data.record import Tool
from ..metrics import energy_distance
from ._cells import CellSample, order_roles
from ._result import Result

MIN_SHARE_OF_LARGEST = 0.05  # of the largest change, below which a marker counts as unchanged
MOSTLY_SHOWN = 0.8  # share of an applied change that controls show, from which they show it
N_SHADES = 4
MIN_END_OF_OUTSIDE = 0.05  # share of cells outside that is shaded darkest, at least: the usual 1 % is never dark
N_ROWS_FIRST = 20  # of the table of changes that are shown at once
MAX_ROWS_OF_CHANGES = 200  # of the table of changes
MAX_CELLS_BETWEEN_CONTROLS = 1_000  # between which distances are measured
WORDS_OF_SIDES = {
    Tool.CORRECT: ("the controls", "batch"),
    Tool.EDIT: ("source and target", "cells"),
    Tool.COMBINE: ("the cells under one treatment", "prediction"),
    Tool.COMPARE: ("source and target", "method"),
}
"""Who shows the change, and what stands in the columns of the table."""


@dataclass(frozen=True)
class Shade:
    """A number of the heat map as text, and the class of its colour."""

    text: str
    css: str


@dataclass(frozen=True)
class HeatCell:
    """A batch and marker of the heat map: the applied change, the share of it that the controls show, cells outside them."""

    applied: Shade
    share: Shade
    outside: Shade
    title: str


def tabulate_changes(result: Result, sample: CellSample) -> pd.DataFrame:
    """Return one row for each batch and marker: what the controls show, what was applied, and in words whether they agree."""
    table = result.content.get("features")
    if table is None or not len(table):
        table = estimate_changes(result, sample)
    elif "feature" not in table:
        table = table.rename_axis("feature").reset_index().assign(batch="query")
    if table.empty:
        return table
    table = table.astype({"batch": str, "feature": str}).reset_index(drop=True)
    smallest = MIN_SHARE_OF_LARGEST * table["change"].abs().max()
    table["share"] = share_shown(table["observed_change"], table["change"], smallest)
    table["words"] = [_describe_agreement(row) for row in table.to_dict("records")]
    return table


def share_shown(observed: "pd.Series[Any]", applied: "pd.Series[Any]", smallest: float) -> "pd.Series[Any]":
    """Return how much of an applied change was observed in the same direction, from 0 to 1; NaN where next to nothing changed."""
    ratio = (observed / applied.where(applied.abs() > 0)).clip(0, 1)
    return ratio.where(applied.abs() >= smallest)


def _describe_agreement(row: dict[str, Any]) -> str:
    """Say whether the controls show what was applied to a marker."""
    share, is_beyond = row["share"], bool(row.get("beyond_observed", False))
    if np.isnan(share):
        words = "next to no change"
    elif row["change"] * row["observed_change"] <= 0:
        words = "no: the other way" if is_beyond or "beyond_observed" not in row else "no, within the noise"
    else:
        words = "yes" if share >= MOSTLY_SHOWN else f"in part ({share:.0%})"
        words += ": it moved further" * is_beyond
    if row.get("wrong_direction", False):
        words += "; wrong direction in held-out folds"
    return words


def estimate_changes(result: Result, sample: CellSample) -> pd.DataFrame:
    """Return the changes of the means in the cells that were drawn, where a tool has recorded none."""
    config, roles = result.config, sample.labels["role"].to_numpy()

    def mean(role: str, state: str) -> np.ndarray:
        """Return the mean of each marker in the cells of a role."""
        cells = sample.values[state][roles == role]
        cells = cells[~np.isnan(cells).any(axis=1)]
        return cells.mean(axis=0) if len(cells) else np.full(len(sample.features), np.nan)

    first = result.states[0]
    changes: dict[str, tuple[np.ndarray, np.ndarray]] = {}
    if result.tool is Tool.COMPARE:
        observed = mean("target", first) - mean("source", first)
        changes = {state: (observed, mean("query", state) - mean("query", first)) for state in result.states[1:]}
    elif result.tool is Tool.COMBINE and len(result.states) > 1:
        effects, control = [str(effect) for effect in config["effects"]], f"{config['control']} (control)"
        written = dict(zip(effects, result.states[1:], strict=False)) if "before" in result.states else {}
        for given in effects:
            for effect in effects:
                if given == effect:
                    continue
                order = f"{effect} on {given}"
                after = mean(given, written[effect]) if written else mean(f"{order} (predicted)", "predicted")
                changes[order] = (mean(effect, first) - mean(control, first), after - mean(given, first))
    tables = [
        pd.DataFrame({"batch": name, "feature": sample.features, "observed_change": observed, "change": applied})
        for name, (observed, applied) in changes.items()
    ]
    return pd.concat(tables, ignore_index=True).dropna() if tables else pd.DataFrame()


def make_heat_map(changes: pd.DataFrame, ranked: Sequence[str]) -> tuple[list[str], list[tuple[str, list[HeatCell]]]]:
    """Return the columns of the heat map, and a row for each marker, those that change most first."""
    batches = sorted(changes["batch"].unique(), key=order_roles)
    shown = changes[changes["feature"].isin(ranked)]
    largest = max(float(shown["change"].abs().quantile(0.98)), 1e-12)
    outside = changes.get("outside_control", pd.Series(np.nan, index=changes.index))
    end = max(MIN_END_OF_OUTSIDE, float(np.nan_to_num(outside.max())))
    by_place = {(row["batch"], row["feature"]): row for row in changes.to_dict("records")}
    return batches, [
        (feature, [_shade_cell(by_place.get((batch, feature)), largest, end) for batch in batches])
        for feature in ranked
    ]


def _shade_cell(row: dict[str, Any] | None, largest: float, end: float) -> HeatCell:
    """Return the three numbers of a batch and marker with their shades."""
    nothing = Shade("", "none")
    if row is None:
        return HeatCell(nothing, nothing, nothing, "not changed")
    value, share, outside = row["change"], row["share"], row.get("outside_control", np.nan)
    level = min(N_SHADES, int(np.ceil(N_SHADES * abs(value) / largest))) if abs(value) >= 0.05 * largest else 0
    applied = Shade(format_signed(value), f"{'up' if value > 0 else 'down'}{level}" if level else "flat")
    shown = Shade("–", "none")
    if not np.isnan(share):
        shown = Shade(f"{share:.0%}", f"share{int(np.ceil(N_SHADES * share))}")
    beyond = nothing
    if not np.isnan(outside):
        beyond = Shade(f"{outside:.1%}", f"out{min(N_SHADES, int(N_SHADES * outside / end))}")
    title = f"{row['feature']}, {row['batch']}: applied {format_signed(value)}"
    title += f", observed {format_signed(row['observed_change'])}"
    return HeatCell(applied, shown, beyond, f"{title}; {row['words']}")


def format_signed(value: float) -> str:
    """Write a change with its sign, a minus as wide as a plus; no sign where it is rounded to nothing."""
    text = f"{value:+.2f}"
    return "0.00" if text in ("+0.00", "-0.00") else text.replace("-", "−")


def tabulate_composition(result: Result, sample: CellSample) -> tuple[list[str], list[tuple[str, list[float]]]]:
    """Return the groups of cells, and for each population its share of each group."""
    labels = sample.labels
    if result.tool is Tool.COMPARE:
        labels = labels[labels["role"].isin(["source", "target", "query", "truth"])]
    groups = labels["role"]
    if result.tool is Tool.CORRECT:
        groups = labels["batch"] + ": " + labels["role"] + "s"
    shares = pd.crosstab(labels["population"], groups, normalize="columns")
    order = list(dict.fromkeys(labels["population"].value_counts().index))
    names = sorted(shares, key=lambda name: [order_roles(part) for part in name.rpartition(": ")[::2]])
    return names, [(str(one), [float(shares.loc[one, name]) for name in names]) for one in order]


def measure_controls(result: Result, sample: CellSample, rng: int) -> list[tuple[str, float, float]]:
    """Return for each batch the distance of its controls from those of all other batches, before and after."""
    if result.tool is not Tool.CORRECT or result.states != ["before", "after"]:
        return []
    batches = sample.labels["batch"].to_numpy()
    is_control = (sample.labels["role"] == "control").to_numpy()
    generator, rows = np.random.default_rng(rng), []
    for batch in sorted(set(batches[is_control]), key=order_roles):
        own, others = (np.flatnonzero(is_control & mask) for mask in (batches == batch, batches != batch))
        if min(len(own), len(others)) < 2:
            continue
        own, others = (generator.permutation(index)[:MAX_CELLS_BETWEEN_CONTROLS] for index in (own, others))
        before, after = (energy_distance(sample.values[s][own], sample.values[s][others]) for s in result.states)
        rows.append((str(batch), float(before), float(after)))
    return rows
