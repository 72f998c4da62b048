"""Who is source, target and query: read from obs once, checked once."""

import itertools
import logging
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Self

import numpy as np
from anndata import AnnData

from .check import Selector, format_choices, get_column, get_labels, select_cells

logger = logging.getLogger(__name__)

MIN_CELLS = 2  # of source and of target: a percentile of one cell says nothing
FEW_CELLS = 100  # below which percentiles are mostly noise: one cell is one per cent

Labels = tuple[np.ndarray, np.ndarray]  # of the source's and of the target's cells


@dataclass(frozen=True)
class Design:
    """The populations of an edit: row numbers of their cells, in order, and labels of the source's and the target's."""

    source: np.ndarray
    target: np.ndarray
    query: np.ndarray
    strata: str | None = None  # column of obs that divides source and target
    strata_labels: Labels | None = None
    pairing_labels: Labels | None = None  # the donor, or whatever was measured before and after the change
    composition: Literal["auto", "same", "different"] = (
        "auto"  # whether source and target hold the same kinds of cells alike
    )

    @classmethod
    def read(
        cls,
        adata: AnnData,
        groupby: str | None,
        *,
        source: Selector,
        target: Selector,
        query: Selector | None,
        strata: str | None = None,
        paired_by: str | None = None,
    ) -> Self:
        """Read the populations of an edit from ``obs``, once they make sense together, with the labels of their cells."""
        rows = read_populations(adata, groupby, source=source, target=target, query=query)
        return cls.of(adata, **rows, strata=strata, paired_by=paired_by)

    @classmethod
    def of(
        cls,
        adata: AnnData,
        *,
        source: np.ndarray,
        target: np.ndarray,
        query: np.ndarray,
        strata: str | None = None,
        paired_by: str | None = None,
    ) -> Self:
        """Return the design of populations that are known by their row numbers, with the labels of their cells."""
        strata_labels = TargetLabels(adata, strata, target, "strata").beside(source)
        pairing_labels = TargetLabels(adata, paired_by, target, "paired_by").beside(source)
        return cls(source, target, query, strata, strata_labels, pairing_labels)

    @property
    def n_cells(self) -> dict[str, int]:
        """Return the number of cells of each population."""
        return {"source": len(self.source), "target": len(self.target), "query": len(self.query)}


def read_populations(
    adata: AnnData,
    groupby: str | None,
    *,
    source: Selector,
    target: Selector,
    query: Selector | None,
    truth: Selector | None = None,
) -> dict[str, np.ndarray]:
    """Return the row numbers of source, target, query and truth, if given; only source and query may overlap."""
    if groupby is not None:
        get_labels(adata, groupby)
    wanted = {"source": source, "target": target} | ({} if truth is None else {"truth": truth})
    masks = {role: select_cells(adata, groupby, selector, role) for role, selector in wanted.items()}
    if query is None:
        raise ValueError(f"query is required: the cells to edit.{_suggest_queries(adata, groupby, masks)}")
    masks["query"] = select_cells(adata, groupby, query, "query")
    for role, other in itertools.combinations(masks, 2):
        n_shared = int((masks[role] & masks[other]).sum())
        if n_shared and {role, other} != {"source", "query"}:
            raise ValueError(f"{n_shared} cells are in both {role} and {other}; they must not overlap.")
    for role in wanted:
        check_size(role, int(masks[role].sum()), warn=role != "truth")
    return {role: np.flatnonzero(mask) for role, mask in masks.items()}


def read_query(adata: AnnData, groupby: str | None, query: Selector | None) -> np.ndarray:
    """Return the row numbers of a query, given as for an edit or, without ``groupby``, by the names of its cells."""
    if query is None:
        hint = _suggest_queries(adata, groupby, {})
        raise ValueError(f"query is required: the cells to edit.{hint} query=adata.obs_names are all cells.")
    if groupby is None and isinstance(query, Collection) and not isinstance(query, str | Mapping):
        if not len(query):
            raise ValueError("query names no cell.")
        found = adata.obs_names.isin(list(query))
        if unknown := sorted(set(query) - set(adata.obs_names[found]), key=str):
            names = format_choices(unknown)
            raise ValueError(f"query: {names} are not in adata.obs_names. Values of a column need groupby.")
        return np.flatnonzero(found)
    return np.flatnonzero(select_cells(adata, groupby, query, "query"))


def read_treatments(adata: AnnData, groupby: str, control: Any, effects: Sequence[Any]) -> dict[Any, np.ndarray]:
    """Return the row numbers of the control's cells and of each effect's."""
    get_labels(adata, groupby)
    if isinstance(effects, str) or len(effects) < 2:
        raise ValueError(f"effects must be two or more values of obs[{groupby!r}]; they are {effects!r}.")
    names = [control, *effects]
    if twice := [name for i, name in enumerate(names) if name in names[:i]]:
        raise ValueError(f"{twice[0]!r} is named twice among control and effects.")
    rows = {}
    for i, name in enumerate(names):
        rows[name] = np.flatnonzero(select_cells(adata, groupby, [name], "effects" if i else "control"))
        check_size(repr(name), len(rows[name]))
    return rows


def check_size(name: str, n_cells: int, *, warn: bool = True) -> None:
    """Refuse a population that is too small to fit an edit to, and warn of a small one."""
    if n_cells < MIN_CELLS:
        need = f"at least {MIN_CELLS} cells, and are noise below about {FEW_CELLS}"
        raise ValueError(f"{name} has {n_cells} cell; percentiles need {need}.")
    if n_cells < FEW_CELLS and warn:
        text = "%s has only %d cells: its percentiles are mostly noise; edit='shift' needs fewer."
        logger.warning(text, name, n_cells)


class TargetLabels:
    """The labels of a target's cells in a column of obs, read once for any number of sources; other cells need none."""

    def __init__(self, adata: AnnData, column: str | None, target: np.ndarray, argument: str) -> None:
        self.column, self.argument = column, argument
        if column is not None:
            self.labels = get_column(adata, column, argument)
            self.after = self._read(target, "target")
            self.names = sorted(set(self.after))

    def beside(self, source: np.ndarray) -> Labels | None:
        """Return the labels of a source's cells and those of the target's, once they have some in common."""
        if self.column is None:
            return None
        before = self._read(source, "source")
        names = sorted(set(before))
        if not set(names) & set(self.names):
            text = f"no value of obs[{self.column!r}] is in both source and target ({self.argument})"
            has = f"the source has {format_choices(names)}, the target {format_choices(self.names)}"
            raise ValueError(f"{text}: {has}.")
        return before, self.after

    def _read(self, rows: np.ndarray, role: str) -> np.ndarray:
        """Return the labels of these cells, none of which is missing."""
        own = self.labels.iloc[rows]
        if n := int(own.isna().sum()):
            text = f"obs[{self.column!r}] is missing (NaN) for {n} cells of the {role}"
            raise ValueError(f"{text}; label or drop them first.")
        labels: np.ndarray = own.astype(str).to_numpy()
        return labels


def _suggest_queries(adata: AnnData, groupby: str | None, masks: Mapping[str, np.ndarray]) -> str:
    """List the values that a query may have: those of cells in no other population."""
    if groupby is None:
        return " Give a dict of obs column -> value(s)."
    free = ~np.logical_or.reduce([np.zeros(adata.n_obs, dtype=bool), *masks.values()])
    values = adata.obs[groupby][free].unique()
    besides = f" besides {', '.join(masks)}" if masks else ""
    return f" obs[{groupby!r}] has{besides} {format_choices(values)}."
