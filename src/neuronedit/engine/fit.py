"""Fit an edit to a source and a target, and again to resamples: one that is named, or an ensemble of them."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from inspect import signature
from typing import Any, Self

import numpy as np
import torch
from anndata import AnnData
from torch import Tensor

from .._blocks import encode_in_blocks
from .._check import check_calls
from .._data.check import check_parameters, describe_choice, format_choices, lookup, to_list
from .._data.design import Design, Labels
from .._data.integrity import parse_json, refusing
from .._data.reader import CellReader, ReadsCells, chunks
from .._data.record import Record, Tool, check_fitted, digest_fitted
from .._data.space import Scale, TrainedSpace, check_space_ids
from .._maps import OnNeurons, Scaled, WithNeurons
from .._progress import track
from .._subsample import subsample
from .._types import InSpace, Space
from ..edits import AXES, EDITS, Populations, by_pairing, by_strata, on_all, percentile
from ..edits._support import Distance, Support, distance, support
from ..ensemble import CANDIDATES, Candidate, Composition, Ensemble, cross_validate, match_populations
from ..spaces._base import moments
from .alarms import Alarm, check_composition, say_alarms
from .outcomes import EDIT_FAILED, SPACE_FAILED, check_own, check_values, try_edit
from .report import summarize_ensemble
from .serialize import pack, unpack

CellMap = InSpace | WithNeurons  # a map of cells that also reports their neurons

# Cells, and values, of source and of target that an edit is fitted to: of 100,000 cells every percentile's rank is off by
# at most 0.0043 (Dvoretzky-Kiefer-Wolfowitz, 95 %).
MAX_CELLS_TO_FIT, MAX_VALUES_TO_FIT = 100_000, 2**27
MAX_QUERY_CELLS = 20_000  # that are looked at to see how they differ from the source


@dataclass(frozen=True)
class FitData:
    """What an edit is fitted to: cells, ``(n_cells, n_features)``, and labels of the source's and the target's."""

    source: Tensor
    target: Tensor
    query: Tensor
    strata: Labels | None
    pairing: Labels | None
    composition: Composition = "auto"

    @classmethod
    def read(cls, space: TrainedSpace, design: Design, cells: ReadsCells | None, targets: ReadsCells | None) -> Self:
        """Read the cells of a design, at most `MAX_CELLS_TO_FIT` of each population, in one order whatever that in ``adata`` is.

        ``cells`` has the source's and the target's, if others than in the space, and ``targets`` the target's, if others still.
        """
        width = max(space.cells.shape[1], space.n_neurons)
        n_max = max(2, min(MAX_CELLS_TO_FIT, MAX_VALUES_TO_FIT // width))
        of_source, of_target = subsample(len(design.source), n_max), subsample(len(design.target), n_max)
        rows = [design.source[of_source], design.target[of_target]]
        rows.append(design.query[subsample(len(design.query), MAX_QUERY_CELLS)])
        if cells is None and targets is None:
            source, target, query = space.read_cells(*rows)
        else:
            [query] = space.read_cells(rows[2])
            [source] = (cells or space.cells).read([rows[0]], space.device)
            [target] = (targets or cells or space.cells).read([rows[1]], space.device)
        orders = sort_cells(source), sort_cells(target)

        def take(labels: Labels | None) -> Labels | None:
            return None if labels is None else (labels[0][of_source][orders[0]], labels[1][of_target][orders[1]])

        source, target = (x[torch.from_numpy(order)] for x, order in zip((source, target), orders, strict=True))
        strata, pairing = take(design.strata_labels), take(design.pairing_labels)
        return cls(source, target, query[torch.from_numpy(sort_cells(query))], strata, pairing, design.composition)

    def encode(self, space: Space) -> Populations:
        """Return the neurons of source and target with the numbers of their strata and pairings."""
        source, target = encode_in_blocks(space, self.source), encode_in_blocks(space, self.target)
        sizes = len(source), len(target)
        return Populations(source, target, *_number_labels(self.strata, sizes), *_number_labels(self.pairing, sizes))


def sort_cells(x: Tensor) -> np.ndarray:
    """Return the order of cells by their sums and then by two features: what is drawn at random does not depend on ``adata``."""
    columns = [x[:, j].cpu().numpy() for j in range(min(2, x.shape[1]))]
    return np.lexsort([*columns, x.sum(1).cpu().numpy()])


def measure_source(space: Space, source: Tensor) -> tuple[Support, Distance]:
    """Return what tells how far a cell lies from the source, in its neurons."""
    neurons = encode_in_blocks(space, source)  # (n_source, n_neurons)
    check_values(neurons, "neurons", SPACE_FAILED)
    return support(neurons), distance(neurons)


@dataclass(frozen=True)
class SpaceFit:
    """An edit that was fitted in one space, and what it takes to fit it again to a resample of the populations."""

    cell_map: CellMap
    populations: Populations
    refit: Callable[[Populations], CellMap]
    ensemble: Ensemble | None = None


FitInSpace = Callable[[Space, FitData], SpaceFit]  # fits an edit in one space


@dataclass(frozen=True)
class Edit:
    """How an edit is fitted."""

    name: str  # a row of `EDITS` or of `WHOLE_CELL_EDITS`, or of the caller's own function
    params: dict[str, Any]  # as they were given
    fit_in_space: FitInSpace
    paired_by: str | None = None  # column of obs whose values were each measured before and after the change
    neurons: Sequence[int] | None = None  # columns of the neurons that are edited; None: all

    @classmethod
    def of(cls, edit: Any, *, rng: int = 0, **params: Any) -> Self:
        """Return an edit by its name, or the caller's own, once its parameters are known to be its own."""
        build = WHOLE_CELL_EDITS.get(edit, _one_edit) if isinstance(edit, str) else _one_edit
        fit_in_space = build(edit, rng, **params)
        if "candidates" in params:  # a record keeps their names
            params["candidates"] = list(params["candidates"])
        return cls(describe_choice(edit), params, fit_in_space, params.get("paired_by"), params.get("neurons"))

    def check(self, space: TrainedSpace) -> None:
        """Refuse neurons that the space does not have."""
        if self.neurons is None:
            return
        n, columns = space.n_neurons, to_list(self.neurons)
        are_numbers = all(isinstance(j, int | np.integer) and not isinstance(j, bool) for j in columns)
        are_numbers = are_numbers and len(set(columns)) == len(columns)
        if not columns or not are_numbers or not all(0 <= j < n for j in columns) or not np.ndim(self.neurons):
            raise ValueError(f"neurons must be numbers from 0 to {n - 1}, each once; they are {self.neurons!r}.")

    def fit(
        self,
        space: TrainedSpace,
        design: Design,
        *,
        cells: ReadsCells | None = None,
        targets: ReadsCells | None = None,
        names: tuple[str, str] = ("source", "target"),
        batch: str = "",
    ) -> "FittedEdit":
        """Fit it to the source and target of a design, for its query.

        ``cells`` and ``targets`` are as in `FitData.read`; alarms call the two populations by their ``names``.
        """
        data = FitData.read(space, design, cells, targets)
        measures = measure_source(space.space, data.source)
        fits = [self.fit_in_space(one, data) for one in space.spaces]
        for fit in fits:
            try_edit(fit.cell_map, data.query, space.features)
        means, variances = zip(*(map(Tensor.numpy, moments(x)) for x in (data.source, data.target)), strict=True)

        ensemble, n_features = fits[0].ensemble, space.cells.shape[1]
        held_out_error, wrong_direction = np.full(n_features, np.nan), np.zeros(n_features, dtype=bool)
        if ensemble is not None and ensemble.folds:
            held_out_error, wrong_direction = ensemble.held_out_error(), ensemble.wrong_direction
        maps, change = [fit.cell_map for fit in fits], means[1] - means[0]
        text = summarize_ensemble(ensemble, design.strata)
        alarms = self._find_alarms(data, ensemble, space.features, names, batch)
        se = np.sqrt(variances[0] / len(data.source) + variances[1] / len(data.target))
        return FittedEdit(
            maps, *measures, change, held_out_error, wrong_direction, space.features, text,
            ensemble, fits, alarms, se,
        )  # fmt: skip

    def _find_alarms(
        self, data: FitData, ensemble: Ensemble | None, features: Sequence[str], names: tuple[str, str], batch: str
    ) -> list[Alarm]:
        """Return what is wrong with source and target: that they hold different cells."""
        if data.strata is not None or data.composition == "same":
            return []
        matching = ensemble.matching if ensemble is not None else None
        if ensemble is None:  # one labeling is enough to tell
            matching = match_populations(data.source, data.target, n_populations=(10,))
        cells = data.source.cpu().numpy(), data.target.cpu().numpy()
        return check_composition(matching, *cells, features, names, allowed_for=ensemble is not None, batch=batch)


@dataclass(frozen=True)
class FittedEdit:
    """All that is needed to edit cells, and what is known of how far to trust it."""

    cell_maps: Sequence[CellMap]  # one for each space; their results are averaged
    support: Support  # share of a cell's neurons within the source's range
    distance: Distance  # of a cell from the source
    observed_change: np.ndarray  # (n_features,): mean of the target less that of the source
    held_out_error: np.ndarray  # (n_features,): what was missed of the mean in held-out folds; NaN: not known
    wrong_direction: np.ndarray  # (n_features,): whether the mean moved away from the truth in most folds
    features: Sequence[str]  # names
    summary: str = ""  # what it was fitted to and what to expect, in words
    ensemble: Ensemble | None = None  # what cross-validation found in the first space, for ``edit="auto"``
    fits: Sequence[SpaceFit] = ()  # what it takes to fit it again; empty for an edit that was read
    alarms: Sequence[Alarm] = ()  # what is wrong with source and target
    observed_error: np.ndarray | float = 0.0  # (n_features,): standard error of the observed change

    @property
    def n_neurons(self) -> int:
        """Return how many neurons a cell has in the first space."""
        return len(self.support.low)

    def without_cells(self) -> Self:
        """Return it without the cells that it was fitted to, so that they take no memory: it cannot be fitted again."""
        if self.ensemble is None:
            return replace(self, fits=())
        none = np.zeros(0, dtype=np.intp)
        ensemble = replace(self.ensemble, populations=self.ensemble.populations.subset(none, none), matching=None)
        return replace(self, fits=(), ensemble=ensemble)

    def scaled(self, strength: float) -> list[CellMap]:
        """Return the maps of cells that go only a part of the way, or further."""
        return [scale_map(cell_map, strength) for cell_map in self.cell_maps]


def scale_map(cell_map: CellMap, strength: float) -> CellMap:
    """Return a map of cells that goes only a part of the way, or further."""
    return cell_map if strength == 1 else replace(cell_map, edit=Scaled(cell_map.edit, strength))


def pack_edits(edits: Mapping[str, FittedEdit], space: TrainedSpace, strength: float) -> dict[str, Any]:
    """Return what ``uns`` keeps of fitted edits, by name; nothing where one is a function that cannot be written."""
    parts = [[edit.scaled(strength), edit.support, edit.distance] for edit in edits.values()]
    try:
        tree, arrays = pack(parts, dict(zip(space.keys, space.spaces, strict=True)))
    except TypeError:  # the caller's own function: save_model says so
        return {}
    summaries = [f"{say_alarms(edit.alarms)} {edit.summary}".strip() for edit in edits.values()]
    ids = dict(zip(space.keys, space.ids, strict=True))
    about = json.dumps({"names": list(edits), "summaries": summaries, "spaces": ids})
    packed = {"map": tree, "arrays": arrays, "about": about, "scale": space.scale.to_uns()}
    return {"fitted": packed | {"digest": digest_fitted(packed)}}


def unpack_edits(
    record: Record, model: AnnData, space: TrainedSpace, source_name: str
) -> tuple[dict[str, FittedEdit], Scale]:
    """Return the edits of a record by name, and the scale of the cells they were fitted on, once all belongs together."""
    stored, what = record.content["fitted"], f"uns[{record.key!r}] of {source_name} was changed after it was fitted"
    with refusing(what, "Fit it again."):
        check_fitted(stored)
    check_space_ids(record.space_ids, model, record.key, known=dict(zip(space.keys, space.ids, strict=True)))
    with refusing(what, "Fit it again."):
        about, scale = parse_json(str(stored["about"])), space.trained_on
        if stored["scale"]:  # an edit of before the first release has none
            scale = Scale.from_uns(record.config["layer"], stored["scale"], len(space.features))
        if record.tool is Tool.EDIT and about["names"] != ["edit"]:
            raise ValueError("it does not hold exactly one edit")
        spaces = dict(zip(space.keys, space.spaces, strict=True))
        parts = unpack(str(stored["map"]), stored["arrays"], spaces, space.device)
        edits = {}
        for name, summary, (maps, own_support, own_distance) in zip(
            about["names"], about["summaries"], parts, strict=True
        ):
            table = record.content["features"]
            if "batch" in table:
                table = table[table["batch"] == name].set_index("feature")
            table = table.loc[space.features]
            columns = [table[column] for column in ("observed_change", "mean_error", "wrong_direction")]
            columns += [table["observed_error"]] if "observed_error" in table else []  # as above
            if any(column.dtype.kind not in "fib" for column in columns):
                raise ValueError("its table of features has words in place of numbers")
            change, error, wrong_direction, *more = (column.to_numpy() for column in columns)
            wrong_direction = wrong_direction.astype(bool)
            text = f"Fitted before, on other cells ({source_name}). {summary}".strip()
            fitted = FittedEdit(maps, own_support, own_distance, change, error, wrong_direction, space.features, text)
            edits[str(name)] = replace(fitted, observed_error=more[0]) if more else fitted
            _try_out(edits[str(name)], space, scale)
    return edits, scale


def _try_out(fitted: FittedEdit, space: TrainedSpace, scale: Scale) -> None:
    """Edit three cells, those at the quantiles, so that parts that do not fit each other are found before any work."""
    cells = torch.zeros(3, len(space.features)) if scale.quantiles is None else torch.tensor(scale.quantiles.T.copy())
    with torch.no_grad():
        for one, cell_map in zip(space.spaces, fitted.cell_maps, strict=True):
            edited = cell_map.apply(cells.to(space.device))
            neurons = one.encode(cells.to(space.device))
            shapes = [(cells.shape, edited.x), (neurons.shape, edited.neurons), (neurons.shape, edited.neurons_edited)]
            if any(shape != x.shape for shape, x in shapes) or not edited.x.isfinite().all():
                raise ValueError("the edit returns NaN or infinite values")
        neurons = space.space.encode(cells.to(space.device))
        if any(measure(neurons).shape != (3,) for measure in (fitted.support, fitted.distance)):
            raise ValueError("its support or distance is not one number for each cell")


SINGLE_EDIT_PARAMS = ("axes", "neurons", "residual", "paired_by")  # of every edit of neurons, besides its own


@check_calls
def _one_edit(
    edit: Any,
    rng: int,
    /,
    *,
    axes: Any = "neurons",
    neurons: Sequence[int] | None = None,
    residual: bool = True,
    paired_by: str | None = None,
    **params: Any,
) -> FitInSpace:
    """Fit one edit of neurons, within strata and for each donor by itself where they are named."""
    method = lookup(EDITS | dict.fromkeys(WHOLE_CELL_EDITS), edit, "edit")
    check_parameters(method, params, f"the edit {describe_choice(edit)!r}", besides=SINGLE_EDIT_PARAMS)
    if "rng" in signature(method).parameters:
        params = {"rng": rng} | params
    method = lookup(AXES, axes, "axes")(partial(method, **params))
    if not isinstance(edit, str) or not isinstance(axes, str):
        method = check_own(method, describe_choice(axes if isinstance(edit, str) else edit))

    def fit_in_space(space: Space, data: FitData) -> SpaceFit:
        fit_map = on_all(method) if data.strata is None else by_strata(method)
        if data.pairing is not None:
            fit_map = by_pairing(fit_map, encode_in_blocks(space, data.query))

        def refit(populations: Populations) -> InSpace:
            move = fit_map(populations)
            return InSpace(space, move if neurons is None else OnNeurons(move, neurons), residual)

        populations = data.encode(space)
        return SpaceFit(refit(populations), populations, refit)

    return fit_in_space


def _paper(edit: Any, rng: int, /, **params: Any) -> FitInSpace:
    """Fit the percentile edit, neuron by neuron, and return the decoded cell: the paper, to the letter."""
    if "residual" in params:
        raise TypeError("'residual' is not a parameter of the edit 'paper', which returns the decoded cell.")
    return _one_edit(percentile, rng, residual=False, **params)


def _ensemble(edit: Any, rng: int, /, **params: Any) -> FitInSpace:
    """Fit the ensemble of candidates that predicts held-out folds best."""
    if single := [name for name in params if name in SINGLE_EDIT_PARAMS]:
        raise TypeError(
            f"{format_choices(single)} needs an edit of its own, such as edit='percentile': edit='auto' combines several"
            " (and holds the values of strata out)."
        )
    if "candidates" in params and not isinstance(params["candidates"], Mapping):
        names = to_list(params["candidates"])
        params["candidates"] = {describe_choice(name): lookup(CANDIDATES, name, "candidates") for name in names}
    elif "candidates" in params:
        given = params["candidates"].items()
        params["candidates"] = {name: _check_candidate(name, candidate) for name, candidate in given}
    check_parameters(cross_validate, params, "the edit 'auto'")

    def fit_in_space(space: Space, data: FitData) -> SpaceFit:
        settings = {"rng": rng, "composition": data.composition} | params
        ensemble = cross_validate(space, data.source, data.target, data.query, data.strata, **settings)

        def refit(populations: Populations) -> WithNeurons:
            return WithNeurons(space, ensemble.fit(populations))

        return SpaceFit(refit(ensemble.populations), ensemble.populations, refit, ensemble)

    return fit_in_space


def _check_candidate(name: str, candidate: Candidate) -> Candidate:
    """Return a candidate; what one of the caller's own gives is looked at."""
    is_own = all(candidate is not known for known in CANDIDATES.values())
    return replace(candidate, fit=check_own(candidate.fit, name)) if is_own else candidate


# edits that are more than one edit of neurons; all others are rows of ne.edits.EDITS
WHOLE_CELL_EDITS: dict[str, Callable[..., FitInSpace]] = {"auto": _ensemble, "paper": _paper}


def _number_labels(labels: Labels | None, sizes: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Number the labels of source and target; -1 where there are none."""
    if labels is None:
        return np.full(sizes[0], -1), np.full(sizes[1], -1)
    codes = np.unique(np.concatenate(labels), return_inverse=True)[1]
    return codes[: sizes[0]], codes[sizes[0] :]


def resample_edit(
    fitted: FittedEdit, cells: CellReader, query: np.ndarray, device: torch.device, *, n: int, rng: int, strength: float
) -> tuple[np.ndarray, np.ndarray]:
    """Return the standard deviations of edited values and of their means over ``n`` resamples of source and target."""
    generator = np.random.default_rng(rng)
    mean_so_far, squares = np.zeros((2, len(query), cells.shape[1]), dtype=np.float32)
    means = []
    for i in track(range(n), "bootstrap", "resample"):
        fit = fitted.fits[i % len(fitted.fits)]  # the spaces take turns
        cell_map = scale_map(fit.refit(_resample(generator, fit.populations)), strength)
        total = np.zeros(cells.shape[1])
        for part in chunks(np.arange(len(query)), cells.shape[1]):
            rows = slice(part[0], part[-1] + 1)
            moved = cell_map(cells.send(query[part], device))
            check_values(moved, f"edited values in resample {i + 1}", EDIT_FAILED, fitted.features)
            x = moved.cpu().numpy()
            total += x.sum(axis=0, dtype=float)
            change = x - mean_so_far[rows]
            mean_so_far[rows] += change / (i + 1)
            squares[rows] += change * (x - mean_so_far[rows])
        means.append(total / len(query))
    return np.sqrt(squares / (n - 1)), np.std(means, axis=0, ddof=1)


def _resample(generator: np.random.Generator, cells: Populations) -> Populations:
    """Draw as many cells of every stratum, and of every donor in it, again as it has."""
    sides = (cells.source_strata, cells.source_pairing), (cells.target_strata, cells.target_pairing)
    drawn = []
    for strata, pairing in sides:
        labels = strata
        if pairing is not None:
            labels = np.unique(np.stack([strata, pairing]), axis=1, return_inverse=True)[1]
        groups = [np.flatnonzero(labels == label) for label in np.unique(labels)]
        drawn.append(np.concatenate([generator.choice(rows, len(rows)) for rows in groups]))
    return cells.subset(*drawn)
