"""Populations that mean the same in several groups of cells, without labels to start from."""

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

import numpy as np
import pandas as pd
import torch
from anndata import AnnData

from .. import _slots, ensemble
from .._check import Seed, TwoOrMore
from .._cluster_names import name_cluster
from .._data.check import (
    check_key,
    find_used,
    format_choices,
    get_labels,
    open_adata,
    to_json,
    to_list,
)
from .._data.reader import CellReader, check_finite, read_cells
from .._data.record import Tool, check_free
from .._data.undo import writing
from .._progress import shows_progress, tell
from ..ensemble._matching import MIN_CELLS_TO_MATCH, N_POPULATIONS, VARIATION_WIDTH, Matching

logger = logging.getLogger(__name__)

# A population has a partner in a group that has so many of its cells, and such a share of the reference's share of them.
MIN_CELLS_OF_PARTNER, MIN_SHARE_OF_PARTNER = 20, 0.1
MAX_NAMED = 3  # groups, and populations without a partner, in the verdict

Groups = Mapping[str, np.ndarray]  # row numbers of the cells of each


@shows_progress
def match_populations(
    adata: AnnData,
    groupby: str,
    *,
    reference: Any = None,
    n_populations: TwoOrMore | Sequence[TwoOrMore] = N_POPULATIONS,
    layer: str | None = None,
    key_added: str = _slots.MATCHED,
    rng: Seed = 0,
    copy: bool = False,
) -> AnnData | None:
    """Label populations that mean the same in all groups of cells, without labels to start from.

    The reference is clustered, and its clusters are found again in every other group. There they may have other shares, which
    is composition, and lie elsewhere, which is the change. The labels serve as ``strata=`` of :func:`neuronedit.tl.edit` and
    :func:`neuronedit.tl.correct` where cell types are not known, and show which groups hold other cells.

    Examples
    --------
    >>> import neuronedit as ne
    >>> adata = ne.datasets.simulate_batches(n_cells=1000)
    >>> ne.pp.match_populations(adata, "group", reference="control_2")
    >>> (adata.uns["matched"]["groups"]["total_variation"] > 0.1).to_dict()
    {'control_1': False, 'control_2': False, 'sample_1': True, 'sample_2': True}
    >>> ne.tl.train(adata, widths=(32, 8), max_epochs=2)
    >>> populations = {"source": "control_1", "target": "control_2", "query": "sample_1"}
    >>> ne.tl.edit(adata, "group", **populations, edit="percentile", strata="matched")

    Parameters
    ----------
    adata
        Cells by features, transformed (:func:`arcsinh`). Every feature is divided by its standard deviation, so that all count
        alike. Leave out those that do not say what a cell is, such as time and DNA, and best also markers of its state: make the
        labels in ``adata[:, is_type_marker].copy()`` and copy the column of ``obs``. Of more than 40 features, principal
        components are used.
    groupby
        Column of ``obs`` with the groups: conditions, batches. Two or more, each with at least 200 cells.
    reference
        The group whose clusters are found again in the others. Cells of a kind that it lacks are given the population that is
        nearest, so take a group that holds all kinds of cells. `None`: the largest.
    n_populations
        Clusters of the reference, at least 2; fewer where they would have fewer than 30 cells on average. Several numbers
        are so many labelings: the middle one's is written, and the figures in ``uns`` and the certainty are means over all.
        More tell rarer and more similar cells apart, but are found again less surely, the more so the stronger the change.
    layer
        Read this layer. `None`: X.
    key_added
        Name of the column in ``obs``, and of the record in ``uns``.
    %(rng)s
    %(copy)s

    Returns
    -------
    `None`, or the new AnnData with ``copy=True``. Written are

    ``obs["matched"]``
        The population of each cell, "population 1" and so on, in the order of their shares in the reference. Those of the
        reference's cells depend on the reference alone, and those of another group on it and on the reference.
    ``obs["matched_certainty"]``
        How probable a cell's own population is, from 0 to 1, the mean over labelings: low between populations.
    ``uns["matched"]``
        What was done, and

        ``groups``
            A DataFrame, one row a group: ``is_reference`` and ``n_cells``. ``total_variation`` is that between its composition and
            the reference's (half the sum of the differences of all shares, from 0 to 1), and ``chance_variation`` is what noise
            alone gives of it. ``explained`` is the share of the energy distance to the reference that composition alone explains.
            ``differs`` combines both figures, from 0 to 1, as ``edit="auto"`` measures it. ``certainty`` is the mean of its cells,
            and ``unmatched`` the number of populations that have no partner in it.
        ``populations``
            A DataFrame, one row a population: the ``features`` in which it differs most from all cells of the reference, at most
            four, such as "CD14+ CD33+ CD3-"; its ``share`` in the reference; the groups it has ``no_partner`` in, in words.
        ``shares``, ``has_partner``
            DataFrames, groups by populations: the share of each population in each group, and whether it has a partner there: at
            least 20 cells, and a tenth of the reference's share.
        ``verdict``
            In words, also logged; as a warning where a composition differs beyond noise or a population has no partner.

    Raises
    ------
    ValueError, TypeError, KeyError
        Before anything is written, and with ``adata`` unchanged: an unknown column, layer or reference, NaN, fewer than two
        groups, a group of fewer than 200 cells, a reference in which no feature varies, names that are taken.

    Notes
    -----
    The clusters are the components of a mixture of normal distributions, which is fitted to each group with free weights and
    with shifts that are shrunk towards a common one: :func:`neuronedit.ensemble.match_populations`. A change that moves one
    population onto the place of another cannot be distinguished from composition. Look at ``features``, draw the populations with
    :func:`neuronedit.pl.biaxial`, and prefer cell types wherever they are known. The cells of two groups are in memory at a time,
    as float32.

    References
    ----------
    Dempster et al. 1977 (expectation and maximization); Ueda and Nakano 1998, doi:10.1016/S0893-6080(97)00133-0 (annealing).
    """
    # read: whatever can be refused is refused here, and adata is still untouched
    adata = open_adata(adata, copy=copy)
    numbers = _read_numbers(n_populations)
    groups, reference = _read_groups(adata, groupby, reference)
    _check_matched_key(adata, groupby, key_added)
    features = find_used(adata)
    cells = read_cells(adata, layer, features)
    check_finite(cells, layer, adata.obs_names, features)

    # compute
    matched = _match_groups(cells, groups, reference, numbers, features, rng)

    # report
    tables = _tabulate_matching(matched, groups, reference)
    verdict, is_warning = _summarize_matching(tables, reference)
    tell(logger, verdict, is_alarm=is_warning)

    # write
    config = {"groupby": groupby, "reference": reference, "n_populations": numbers, "layer": layer, "rng": rng}
    record = {"config": json.dumps(config, default=to_json), **tables, "verdict": verdict}
    labels = pd.Categorical.from_codes(matched.codes, list(tables["populations"].index))
    with writing(adata, copy) as adata:
        adata.obs = adata.obs.assign(**{key_added: labels, _slots.certainty(key_added): matched.certainty})
        adata.uns[key_added] = record | {_slots.VERSION: version("neuronedit")}
    return adata if copy else None


@dataclass(frozen=True, eq=False)
class MatchedGroups:
    """The population of every cell, what its populations are, and how far each group's composition differs."""

    codes: np.ndarray  # (n_obs,), 0 is the largest population of the reference
    certainty: np.ndarray  # (n_obs,)
    features: list[str]  # of each population, in words
    matchings: dict[str, Matching]  # of each group but the reference


def _read_numbers(n_populations: int | Sequence[int]) -> list[int]:
    """Return the numbers of populations in ascending order."""
    numbers = to_list(n_populations)
    if not numbers:
        raise ValueError("n_populations is empty; give at least one number.")
    return sorted(int(n) for n in numbers)


def _read_groups(adata: AnnData, groupby: str, reference: Any) -> tuple[Groups, str]:
    """Return the row numbers of each group's cells, and which group is the reference."""
    labels = get_labels(adata, groupby).astype(str)
    groups = {name: np.flatnonzero(labels == name) for name in sorted(labels.unique())}
    if len(groups) < 2:
        has = format_choices(groups)
        raise ValueError(f"populations are matched between two or more groups; obs[{groupby!r}] has {has}.")
    if small := {name: len(rows) for name, rows in groups.items() if len(rows) < MIN_CELLS_TO_MATCH}:
        names = ", ".join(f"{name!r} ({n} cells)" for name, n in list(small.items())[:MAX_NAMED])
        more = f" and {len(small) - MAX_NAMED} more" if len(small) > MAX_NAMED else ""
        text = f"groups of obs[{groupby!r}] with fewer than {MIN_CELLS_TO_MATCH} cells cannot be matched: {names}{more}"
        raise ValueError(f"{text}; drop or merge them first.")
    if reference is None:
        return groups, max(groups, key=lambda name: len(groups[name]))  # of several, the first
    if str(reference) not in groups:
        there = format_choices(groups, near=reference)
        raise ValueError(f"reference: {reference!r} is not in obs[{groupby!r}]; it has {there}.")
    return groups, str(reference)


def _check_matched_key(adata: AnnData, groupby: str, key: str) -> None:
    """Refuse a key that files cannot keep, or that would write over what this function did not write."""
    check_key(key)
    if key == groupby:
        raise ValueError(f"key_added={key!r} is the column of the groups; choose another.")
    check_free(adata, key, Tool.MATCH, obs=[key, _slots.certainty(key)])


def _match_groups(
    cells: CellReader, groups: Groups, reference: str, numbers: list[int], names: list[str], rng: int
) -> MatchedGroups:
    """Match the populations of the reference with each other group."""
    # the reference
    own_rows, own = _read_sorted(cells, groups[reference])
    varies = (own != own[0]).any(0)  # (n_features,): of the others no population could be told
    if not varies.any():
        raise ValueError(f"no feature varies in the reference, {reference!r}: it has no populations.")
    center = own.mean(0, dtype=np.float64).astype(np.float32)  # far from 0, float32 would lose small differences
    source = torch.from_numpy((own - center)[:, varies])

    # each other group in turn
    codes, certainty = np.empty(cells.shape[0], dtype=np.intp), np.empty(cells.shape[0], dtype=np.float32)
    settings: dict[str, Any] = {"n_populations": tuple(numbers), "source_alone": True, "rng": rng}
    middle, matchings = len(numbers) // 2, {}
    for name in [name for name in groups if name != reference]:
        rows, x = _read_sorted(cells, groups[name])
        target = torch.from_numpy((x - center)[:, varies])
        matchings[name] = matching = ensemble.match_populations(source, target, **settings)
        codes[rows], certainty[rows] = matching.target_labels[:, middle], matching.target_certainty.mean(1)
    # labels of the reference are the same in all
    codes[own_rows], certainty[own_rows] = matching.source_labels[:, middle], matching.source_certainty.mean(1)

    # number them by their shares in the reference
    order = np.argsort(-np.bincount(codes[own_rows], minlength=codes.max() + 1), kind="stable")
    codes = np.argsort(order)[codes]
    mean, spread = own.mean(0, dtype=np.float64), np.maximum(own.std(0, dtype=np.float64), 1e-6)
    features = []
    for i in range(len(order)):
        population = own[codes[own_rows] == i]
        difference = (population.mean(0, dtype=np.float64) - mean) / spread if len(population) else 0 * mean
        features.append(name_cluster(difference, names) if len(population) else "no cells of the reference")
    return MatchedGroups(codes, certainty, features, matchings)


def _read_sorted(cells: CellReader, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return row numbers in an order that depends on the cells and not on where they stand, and the cells in that order."""
    x = cells[rows].numpy() + np.float32(0)  # -0 is 0
    order = np.argsort(x.view(f"V{x.itemsize * x.shape[1]}")[:, 0], kind="stable")  # by the bytes of each row
    return rows[order], x[order]


def _tabulate_matching(matched: MatchedGroups, groups: Groups, reference: str) -> dict[str, pd.DataFrame]:
    """Return what AnnData can write of the groups and populations. Names of groups are rows: columns cannot have slashes."""
    k = len(matched.features)
    counts = np.stack([np.bincount(matched.codes[rows], minlength=k) for rows in groups.values()])
    shares = counts / counts.sum(1, keepdims=True)  # (n_groups, k)
    is_reference = np.array([name == reference for name in groups])
    own = shares[is_reference]  # (1, k)
    has_partner = (counts >= MIN_CELLS_OF_PARTNER) & (shares >= MIN_SHARE_OF_PARTNER * own) | is_reference[:, None]
    itself = Matching.of_all_alike(0, 0)
    matchings = [matched.matchings.get(name, itself) for name in groups]
    names = pd.Index(groups, dtype=str, name="group")
    populations = pd.Index([f"population {i + 1}" for i in range(k)], name="population")
    by_group = {
        "is_reference": is_reference,
        "n_cells": counts.sum(1),
        "total_variation": [one.total_variation for one in matchings],
        "chance_variation": [one.chance_variation for one in matchings],
        "explained": [one.explained for one in matchings],
        "differs": [one.differs for one in matchings],
        "certainty": [float(matched.certainty[rows].mean(dtype=np.float64)) for rows in groups.values()],
        "unmatched": (~has_partner).sum(1),
    }
    by_population = {
        "features": matched.features,
        "share": own[0],
        "no_partner": [", ".join(names[~has]) for has in has_partner.T],
    }
    return {
        "groups": pd.DataFrame(by_group, index=names),
        "populations": pd.DataFrame(by_population, index=populations),
        "shares": pd.DataFrame(shares, index=names, columns=list(populations)),
        "has_partner": pd.DataFrame(has_partner, index=names, columns=list(populations)),
    }


def _summarize_matching(tables: Mapping[str, pd.DataFrame], reference: str) -> tuple[str, bool]:
    """Say which compositions differ and which populations have no partner, and whether that is a warning."""
    groups, populations, has_partner = tables["groups"], tables["populations"], tables["has_partner"]
    others = groups[~groups["is_reference"]]
    sentences = [
        f"{len(populations)} populations of {reference!r}, matched in {len(others)} other group{'s' * (len(others) > 1)}."
    ]

    # compositions
    excess = (others["total_variation"] - others["chance_variation"]).sort_values(ascending=False, kind="stable")
    differing = excess.index[excess > VARIATION_WIDTH]
    phrases = []
    for name in differing:
        row = others.loc[name]
        share = f"{np.clip(row['explained'], 0, 1):.0%} of the energy distance"
        phrases.append(f"{name!r} ({row['total_variation']:.2f}, by chance {row['chance_variation']:.2f}; {share})")
    if phrases:
        sentences.append(f"Composition differs beyond noise (total variation) in {_join_first(phrases)}.")
    else:
        sentences.append("Composition differs nowhere beyond noise.")

    # populations without a partner
    phrases = []
    for population, row in populations.iterrows():
        without = [repr(name) for name in has_partner.index[~has_partner[population]]]
        if without:
            phrases.append(f"{population} ({row['features']}; {row['share']:.1%}) in {_join_first(without, ', ')}")
    if phrases:
        sentences.append(f"Without a partner: {_join_first(phrases)}.")
    lowest = others["certainty"].idxmin()
    sentences.append(f"Mean certainty is lowest in {lowest!r}: {others['certainty'].min():.2f}.")
    return " ".join(sentences), bool(len(differing) or phrases)


def _join_first(phrases: Sequence[str], separator: str = "; ") -> str:
    """Join the first few phrases, and say how many there are."""
    more = f"{separator}... ({len(phrases)} in all)" if len(phrases) > MAX_NAMED else ""
    return separator.join(phrases[:MAX_NAMED]) + more
