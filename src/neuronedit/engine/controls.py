"""Controls of several batches: whether each is like the samples of its batch, and the mean of all of them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from .._blocks import block_size
from .._data.batches import BatchCorrection, BatchStatus
from .._data.design import Design
from .._data.reader import CellReader, PatchedCells, ReadsCells
from .._data.space import TrainedSpace
from .._maps import Bounded, OnNeurons, WithNeurons
from .._subsample import subsample
from .alarms import Alarm, AlarmKind
from .fit import CellMap, Edit, FittedEdit
from .outcomes import EDIT_FAILED, check_values

MAX_CELLS_TO_COMPARE = 2_000  # of a control and of its samples
MAX_BATCHES_TO_COMPARE = 20  # whose controls and samples say what is usual
MAX_CELLS_OF_MEAN = 20_000  # of the control that stands for the mean of all batches
MAX_CELLS_OF_HUB, MIN_CELLS_OF_OTHERS = 500, 20  # of each control, to find the one that is nearest to the others
MIN_CELLS_TO_IMPUTE_FROM, MAX_CELLS_TO_IMPUTE_FROM = 100, 5_000  # sample cells of the batch

# A stain of a control is said to have failed where its values differ so far from those of the samples of its batch (largest
# difference of the cumulative shares), so much further than in other batches, and are so much further from other controls than
# the samples are. Healthy donors and patients of `imubac_krieg` differ by 0.45 at most.
MAX_DIFFERENCE, MAX_EXCESS, MIN_ODDITY = 0.55, 0.3, 0.2
MIN_SPREAD = 0.1  # of that of other controls, below which a stain without samples to compare with has failed
MAX_SHARE_FAILED = 0.34  # of the features, above which nothing is made of a control
# Two features are swapped where changing places brings their correlations with all others so much nearer to those in the
# samples. On `imubac_krieg`, `cytonorm_volunteers` and simulated cells no pair as measured gets below 0.98; pairs of lineage
# markers that were swapped get to 0.09 to 0.51, and a pair with much the same correlations cannot be told.
MAX_FEATURES_OF_A_PANEL = 500  # of which stains may fail; genes do not
SWAPPED_SHARE, MIN_PROFILE_DIFFERENCE, MIN_FEATURES_TO_SWAP = 0.6, 0.15, 6


@dataclass(frozen=True)
class BatchCells:
    """Cells of the control of a batch and of its samples, subsampled, ``(n_cells, n_features)`` each."""

    control: np.ndarray
    samples: np.ndarray


def read_batch_cells(space: TrainedSpace, control: np.ndarray, samples: np.ndarray) -> BatchCells:
    """Read a sample of the cells of a control and of the samples of its batch."""
    rows = [x[subsample(len(x), MAX_CELLS_TO_COMPARE)] for x in (control, samples)]
    return BatchCells(*(cells.cpu().numpy() for cells in space.read_cells(*rows)))


def find_failed(batches: Mapping[str, BatchCells]) -> dict[str, np.ndarray]:
    """Return for each batch which features of its control cannot be what its samples have: numbers of features."""
    if any(cells.control.shape[1] > MAX_FEATURES_OF_A_PANEL for cells in batches.values()):
        return {name: np.zeros(0, dtype=int) for name in batches}
    has_samples = [name for name, cells in batches.items() if min(len(cells.control), len(cells.samples)) > 1]
    own = {name: _compare(batches[name].control, batches[name].samples) for name in has_samples}
    swapped = {name: _find_swapped(batches[name]) for name in has_samples}
    everywhere = set.intersection(*swapped.values()) if len(swapped) > 1 else set()
    failed = {}
    for name, cells in batches.items():
        others = _choose_others(list(batches), name)
        controls = [batches[other].control for other in others if len(batches[other].control) > 1]
        if name not in has_samples or not controls:
            failed[name] = np.flatnonzero(_find_vanished(cells.control, controls))
            continue
        # unlike its samples, more so than in other batches
        usual = [own[other] for other in others if other in own]
        excess = own[name] - np.median(usual, axis=0) if usual else own[name]
        is_failed = (own[name] > MAX_DIFFERENCE) & (excess > MAX_EXCESS)
        # and less like other controls than the samples are
        suspects = np.flatnonzero(is_failed)
        if len(suspects):
            control_apart, samples_apart = (
                np.median([_compare(x[:, suspects], other[:, suspects]) for other in controls], axis=0)
                for x in (cells.control, cells.samples)
            )
            is_failed[suspects] = control_apart > samples_apart + MIN_ODDITY
        for swap in swapped[name] - everywhere:
            is_failed[list(swap)] = True
        failed[name] = np.flatnonzero(is_failed)
    return failed


def _choose_others(names: Sequence[str], own: str) -> list[str]:
    """Return the other batches that a control is compared with, spread over all of them: time grows with the number of batches."""
    others = [name for name in names if name != own]
    places = np.linspace(0, len(others) - 1, min(len(others), MAX_BATCHES_TO_COMPARE))
    return [others[i] for i in places.round().astype(int)]


def _compare(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return how far the values of each feature differ, from 0 to 1: ``(n_features,)``."""
    return np.array([_largest_difference(x, y) for x, y in zip(a.T, b.T, strict=True)])


def _largest_difference(a: np.ndarray, b: np.ndarray) -> float:
    """Return the largest difference of the cumulative shares of two samples of numbers (Kolmogorov and Smirnov)."""
    both = np.concatenate([a, b])
    shares = [np.searchsorted(np.sort(x), both, side="right") / len(x) for x in (a, b)]
    return float(np.abs(shares[0] - shares[1]).max())


def _find_swapped(cells: BatchCells) -> set[tuple[int, int]]:
    """Return pairs of features whose correlations with all others fit those in the samples when they change places."""
    varying = np.flatnonzero((cells.control.std(0) > 1e-6) & (cells.samples.std(0) > 1e-6))
    if len(varying) < MIN_FEATURES_TO_SWAP:
        return set()
    control, samples = (
        np.corrcoef(x[:, varying].T) for x in (cells.control, cells.samples)
    )  # (n_features, n_features)
    # how far the profile of one feature in the control is from that of another in the samples, without these two
    n = len(varying)
    squares = (control**2).sum(1)[:, None] + (samples**2).sum(1) - 2 * control @ samples.T
    of_i = (np.diag(control)[:, None] - samples.T) ** 2  # in the column of feature i
    of_j = (control - np.diag(samples)) ** 2
    moved = np.sqrt(np.maximum(squares - of_i - of_j, 0))  # (n_features, n_features): i takes the place of j
    difference = (control - samples) ** 2
    as_they_are = np.sqrt(np.maximum(difference.sum(1)[:, None] - difference, 0))
    both, now = moved + moved.T, as_they_are + as_they_are.T
    noise = np.sqrt(1 / len(cells.control) + 1 / len(cells.samples))  # of a difference of correlations
    least = 2 * max(MIN_PROFILE_DIFFERENCE, 2 * noise)
    is_swapped = (both < SWAPPED_SHARE * now) & (now / np.sqrt(n - 2) > least)
    return {(int(varying[i]), int(varying[j])) for i, j in np.argwhere(np.triu(is_swapped, 1))}


def _find_vanished(control: np.ndarray, others: Sequence[np.ndarray]) -> np.ndarray:
    """Return which features of a control hardly vary, although they do in the controls of the other batches."""
    if not others:
        return np.zeros(control.shape[1], dtype=bool)
    usual = np.median([x.std(0) for x in others], axis=0)
    return control.std(0) < MIN_SPREAD * usual


def impute(control: np.ndarray, samples: np.ndarray, failed: np.ndarray) -> np.ndarray:
    """Return a control whose failed features have the values of the sample cell that is most like each of its cells.

    ``control`` and ``samples`` are ``(n_cells, n_features)``, of one batch; other features decide which cells are alike.
    """
    others = np.setdiff1d(np.arange(control.shape[1]), failed)
    from_cells = samples[subsample(len(samples), MAX_CELLS_TO_IMPUTE_FROM)]
    spread = np.maximum(np.concatenate([control, from_cells])[:, others].std(0), 1e-6)
    reference = torch.from_numpy(from_cells[:, others] / spread)
    repaired = control.copy()
    for start in range(0, len(control), MAX_CELLS_TO_COMPARE):
        block = torch.from_numpy(control[start : start + MAX_CELLS_TO_COMPARE][:, others] / spread)
        nearest = torch.cdist(block, reference).argmin(1).numpy()
        repaired[start : start + MAX_CELLS_TO_COMPARE, failed] = from_cells[nearest][:, failed]
    return repaired


def describe_failed(batch: str, failed: np.ndarray, features: Sequence[str], *, is_repaired: bool) -> Alarm:
    """Say which stains of a control failed, and what was made of it."""
    names = ", ".join(features[j] for j in failed[:5]) + (", …" if len(failed) > 5 else "")
    text = f"The control of {batch} is unlike the samples of its batch in {names}: did the stain fail, or were channels swapped?"
    how = (
        "replaced by those of the most similar sample cells"
        if is_repaired
        else "not used, and left alone in the samples"
    )
    return Alarm(AlarmKind.CONTROL, f"{text} Its values there were {how}.", batch)


def find_hub(cells: Mapping[str, Tensor]) -> str:
    """Return the control that lies nearest to all others: the energy distances from it to them have the least sum.

    Of many batches a few cells of each stand for the others, so that time grows with their number and not with its square.
    """
    few = {name: x[subsample(len(x), MAX_CELLS_OF_HUB)] for name, x in cells.items()}
    n_each = max(MIN_CELLS_OF_OTHERS, 10 * MAX_CELLS_OF_HUB // len(few))
    parts = [x[subsample(len(x), n_each)] for x in few.values()]
    others, sizes = torch.cat(parts), [len(part) for part in parts]
    center = others.mean(0)  # far from 0 squares would lose what differs between cells
    spread = torch.stack([torch.pdist(x - center).mean() for x in few.values()])  # (n_batches,)
    sums = {}
    for i, (name, x) in enumerate(few.items()):
        distances = torch.cdist(x - center, others - center).mean(0).split(sizes)
        energies = 2 * torch.stack([own.mean() for own in distances]) - spread - spread[i]
        sums[name] = float(energies.sum() - energies[i])
    return min(sums, key=lambda name: (sums[name], name))


def average_controls(
    method: Edit,
    space: TrainedSpace,
    controls: Mapping[str, Design],
    cells: ReadsCells | None,
    tick: Callable[[], object],
) -> tuple[CellReader, Design]:
    """Return cells that stand for the mean of all batches, each batch alike, and the design of the control that they are of.

    The control nearest to the others is moved to each of them, and the mean of where its cells come to is taken.
    """
    # the control that is moved
    reader = cells or space.cells
    sampled = [design.source[subsample(len(design.source), MAX_CELLS_OF_HUB)] for design in controls.values()]
    hub = controls[find_hub(dict(zip(controls, reader.read(sampled, space.device), strict=True)))]
    few = subsample(len(hub.source), MAX_CELLS_OF_MEAN)
    [x] = reader.read([hub.source[few]], space.device)  # (n_cells, n_features)
    labels = None if hub.strata_labels is None else hub.strata_labels[0]
    # where it comes to in each batch
    total = x.clone()
    for design in controls.values():
        if design is hub:
            continue
        strata = None
        if labels is not None and design.strata_labels is not None:
            strata = (labels, design.strata_labels[0])
        design_of_both = replace(hub, target=design.source, query=hub.source, strata_labels=strata)
        fitted = method.fit(space, design_of_both, cells=cells)
        moved = torch.stack([cell_map(x) for cell_map in fitted.cell_maps]).mean(0)
        check_values(moved, "values after the edit to another batch", EDIT_FAILED, space.features)
        total += moved
        tick()
    mean = (total / len(controls)).cpu().numpy()
    target = replace(hub, target=np.arange(len(mean)), strata_labels=None if labels is None else (labels, labels[few]))
    return CellReader(mean), target


def aim_at(correction: BatchCorrection, mean: Design | None) -> Design:
    """Return the design by which a batch is corrected: to the mean of the batches where that is given."""
    design = correction.design
    if not len(design.query):
        design = replace(design, query=design.source)
    if mean is None or correction.status is not BatchStatus.CORRECTED:
        return design
    labels = None
    if design.strata_labels is not None and mean.strata_labels is not None:
        labels = (design.strata_labels[0], mean.strata_labels[1])
    return replace(design, target=mean.target, strata_labels=labels)


@dataclass(frozen=True)
class CheckedControls:
    """What the controls of all batches are worth.

    ``cells`` has all cells, with failed features of controls imputed; `None` where none failed. ``unusable`` names batches whose
    control cannot be used, ``kept`` the features that no edit may move, ``bounds`` the range in which failed ones stay.
    """

    alarms: list[Alarm]
    cells: PatchedCells | None
    unusable: set[str]
    kept: set[int]
    bounds: dict[int, tuple[float, float]]

    def protect(self, fitted: FittedEdit, space: TrainedSpace, batch: str) -> FittedEdit:
        """Return an edit that leaves the kept features alone, and keeps others in the range that was measured."""
        if not self.kept and not self.bounds:
            return fitted
        n_features = space.cells.shape[1]
        low, high = (torch.full((n_features,), bound, device=space.device) for bound in (-torch.inf, torch.inf))
        for j, (least, most) in self.bounds.items():
            low[j], high[j] = least, most
        moved = [j for j in range(n_features) if j not in self.kept]
        maps: list[CellMap] = [
            WithNeurons(one, Bounded(OnNeurons(cell_map, moved), low, high))
            for one, cell_map in zip(space.spaces, fitted.cell_maps, strict=True)
        ]
        return replace(fitted, cell_maps=maps)


def check_controls(space: TrainedSpace, corrections: Sequence[BatchCorrection]) -> CheckedControls:
    """Compare each control with the samples of its batch, and impute what failed."""
    designs = {
        one.batch: one.design for one in corrections if one.status in (BatchStatus.CORRECTED, BatchStatus.REFERENCE)
    }
    by_batch = {name: read_batch_cells(space, design.source, design.query) for name, design in designs.items()}
    failed = {name: features for name, features in find_failed(by_batch).items() if len(features)}
    is_ruled = bool(space.scale.find_ruling(space.features))
    if not failed and not is_ruled:
        return CheckedControls([], None, set(), set(), {})

    # impute what failed, where there are samples to do it from
    alarms, unusable, kept = [], set(), set()
    bounds: dict[int, tuple[float, float]] = {}
    patches: list[tuple[np.ndarray, np.ndarray]] = []  # row numbers, and the cells that take their place
    low, high = _find_range(space.cells)
    if is_ruled:  # distances say little there: nothing may leave the range that was measured
        bounds = dict(enumerate(zip(low, high, strict=True)))
    for name, features in failed.items():
        design = designs[name]
        if len(features) > MAX_SHARE_FAILED * len(space.features):
            unusable.add(name)
        elif len(design.query) >= MIN_CELLS_TO_IMPUTE_FROM:
            from_samples = design.query[subsample(len(design.query), MAX_CELLS_TO_IMPUTE_FROM)]
            control, samples = (x.cpu().numpy() for x in space.read_cells(design.source, from_samples))
            patches.append((design.source, impute(control, samples, features)))
            bounds |= {int(j): (low[j], high[j]) for j in features}
        else:
            kept |= {int(j) for j in features}
        is_repaired = name not in unusable and len(design.query) >= MIN_CELLS_TO_IMPUTE_FROM
        alarms.append(describe_failed(name, features, space.features, is_repaired=is_repaired))
    return CheckedControls(alarms, _patch(space.cells, patches), unusable, kept, bounds)


def _find_range(cells: CellReader) -> tuple[list[float], list[float]]:
    """Return the lowest and the highest value of each feature."""
    step = block_size(cells.shape[1])
    ranges = [(x.amin(0), x.amax(0)) for x in (cells[i : i + step] for i in range(0, cells.shape[0], step))]
    low, high = (torch.stack(part) for part in zip(*ranges, strict=True))
    return low.amin(0).tolist(), high.amax(0).tolist()


def _patch(cells: CellReader, patches: Sequence[tuple[np.ndarray, np.ndarray]]) -> PatchedCells | None:
    """Return the cells with others in place of some; `None` where there are none."""
    if not patches:
        return None
    rows, values = (np.concatenate(part) for part in zip(*patches, strict=True))
    order = np.argsort(rows)
    return PatchedCells(cells, rows[order], values[order])
