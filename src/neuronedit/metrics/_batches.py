"""Are batches alike after a correction, and is what differs between people still there? Sample by sample, population by population, marker by marker."""

from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, Literal, NamedTuple

import numpy as np
from scipy.stats import gaussian_kde, mannwhitneyu, wasserstein_distance

from .._check import CellArray, Count, LabelsOf, NumberOrInfinity, Positive, Share
from ._cells import to_float64

LabelsOfCells = Annotated[np.ndarray, LabelsOf("cells")]
SamplesCompared = Sequence[tuple[Any, Any]]
Differences = dict[tuple[str, str, str], np.ndarray]  # (first sample, second sample, population) -> (n_features,)

N_GRID = 100  # points at which a density is drawn to count its peaks
MIN_HEIGHT, MIN_PROMINENCE = 0.1, 0.01  # of a peak of a density of standardized values


def sample_differences(
    cells: CellArray,
    samples: LabelsOfCells,
    populations: LabelsOfCells,
    compared: SamplesCompared,
    *,
    statistic: Literal["emd", "mad", "r2"] = "emd",
    min_cells: Count = 50,
    bin_width: Positive | None = None,
) -> Differences:
    r"""Compare samples two by two, in each population and each feature.

    Of the same person measured in two batches ("horizontal") what differs is the batch. Of all samples of a group ("vertical"), people differ, too.

    Examples
    --------
    >>> import numpy as np, neuronedit as ne
    >>> cells = np.random.default_rng(0).normal(size=(400, 3))
    >>> samples, populations = np.repeat(["a1", "a2"], 200), np.tile(["B", "T"], 200)
    >>> cells[samples == "a2"] += [9.0, 0.0, 0.0]
    >>> found = ne.metrics.sample_differences(cells, samples, populations, [("a1", "a2")])
    >>> found["a1", "a2", "B"].round()
    array([9., 0., 0.])

    Parameters
    ----------
    cells
        ``(n_cells, n_features)``
    samples, populations
        Labels of the cells, ``(n_cells,)`` each.
    compared
        Which samples are compared, as tuples of two of their names.
    statistic
        ``"emd"``: earth mover's (1-Wasserstein) distance, :math:`\int |F_1 - F_2|`, in units of the feature. ``"mad"``: absolute difference of the median absolute
        deviations, likewise. ``"r2"``: share of the variance of both samples that their means explain, from 0 to 1; 1 for a feature that is constant in both.
    min_cells
        A population with fewer cells in either sample is left out of the result: its distances would be those of noise.
    bin_width
        For ``"emd"``, round values to the middles of bins so wide first, as Open Problems does with 0.1. `None`: exact.

    Returns
    -------
    ``(first, second, population)`` -> ``(n_features,)``, lower is better; empty where every population is too small. Take means over what you
    compare. Two finite samples of one population score above 0: print the value of samples of one batch beside it. The first two are won by
    whatever makes all cells alike, so print the preserved differences between people, too (`preserved_function`). A mean shift of each batch cannot change ``"mad"``.

    Raises
    ------
    ValueError
        Labels of other cells, or samples that are not there.

    References
    ----------
    Open Problems, task of cytometry batch integration: ``emd_mean_ct_horiz`` and ``emd_mean_ct_vert`` (``bin_width=0.1``, at least 50 cells), ``average_batch_r2_ct`` (at least 20).
    """
    [cells] = to_float64(cells)
    compare = {"emd": _find_emd, "mad": _find_mad, "r2": _find_r2}[statistic]
    if statistic == "emd" and bin_width is not None:
        cells = (np.floor(cells / bin_width - 1e-6) + 0.5) * bin_width  # a value at an edge is of the bin below it
    found = {}
    for first, second, population, rows in _list_blocks(samples, populations, compared, min_cells):
        x, y = (cells[index] for index in rows)
        found[first, second, population] = np.array([compare(x[:, j], y[:, j]) for j in range(cells.shape[1])])
    return found


def consistent_peaks(
    before: CellArray,
    after: CellArray,
    samples: Annotated[np.ndarray, LabelsOf("before")],
    populations: Annotated[np.ndarray, LabelsOf("before")],
    compared: SamplesCompared,
    *,
    min_cells: Count = 100,
) -> float:
    """Share of distributions whose number of peaks a correction keeps, among those that have as many in both samples before it.

    Examples
    --------
    >>> import numpy as np, neuronedit as ne
    >>> before = np.random.default_rng(0).normal(size=(400, 3))
    >>> samples, populations = np.repeat(["a1", "a2"], 200), np.full(400, "T")
    >>> ne.metrics.consistent_peaks(before, before + 1.0, samples, populations, [("a1", "a2")])
    1.0

    Parameters
    ----------
    before, after
        The same cells before and after the correction, ``(n_cells, n_features)``.
    samples, populations
        Labels of the cells, ``(n_cells,)`` each.
    compared
        Which samples are compared, as tuples of two of their names: the same person in two batches.
    min_cells
        A population with fewer cells in either sample is left out: its density would have peaks of noise.

    Returns
    -------
    From 0 to 1, higher is better; NaN where no distribution can be counted. The values of both samples together are standardized, and the peaks of their kernel densities are counted (Scott's bandwidth, 100 points, height of at least 0.1,
    prominence of at least 0.01). A distribution that is constant after the correction and was not before counts as changed. Leaving the cells alone has the best score, 1.

    Raises
    ------
    ValueError
        Other cells before than after, labels of other cells, or samples that are not there.

    References
    ----------
    Open Problems, task of cytometry batch integration: ``ratio_consistent_peaks``.
    """
    before, after = to_float64(before, after)
    if before.shape != after.shape:
        raise ValueError(
            f"before has the shape {before.shape}, after {after.shape}; give the same cells in the same order."
        )
    n_kept = n = 0
    for _, _, _, rows in _list_blocks(samples, populations, compared, min_cells):
        for j in range(before.shape[1]):
            old, new = ([cells[index, j] for index in rows] for cells in (before, after))
            if any(np.ptp(one) > 0 and np.ptp(other) == 0 for one, other in zip(old, new, strict=True)):
                n += 1
                continue
            if any(np.ptp(one) == 0 for one in old):
                continue
            n_peaks, n_peaks_after = _count_peaks(old), _count_peaks(new)
            if n_peaks[0] == n_peaks[1]:
                n, n_kept = n + 1, n_kept + (n_peaks_after == n_peaks)
    return n_kept / n if n else float("nan")


class GroupEffect(NamedTuple):
    """How two groups of people differ in a population, feature by feature.

    Examples
    --------
    >>> import numpy as np, neuronedit as ne
    >>> ne.metrics.GroupEffect(np.array([0.1]), np.array([2.0])).cohens_d.tolist()
    [2.0]

    Attributes
    ----------
    p_value
        Of Wilcoxon's rank-sum test over samples, ``(n_features,)``, from 0 to 1.
    cohens_d
        The first group less the second, in standard deviations over samples, ``(n_features,)``; NaN where all samples are alike.
    """

    p_value: np.ndarray
    cohens_d: np.ndarray


def group_effects(
    cells: CellArray, samples: LabelsOfCells, populations: LabelsOfCells, groups: LabelsOfCells, *, min_cells: Count = 5
) -> dict[str, GroupEffect]:
    r"""Compare two groups of people in the means of their samples, in each population and each feature.

    Wilcoxon's rank-sum test, and Cohen's d, :math:`(\bar a - \bar b) / s` with the pooled standard deviation :math:`s` over samples, of the first group in the order of
    the alphabet less the second.

    Examples
    --------
    >>> import numpy as np, neuronedit as ne
    >>> cells = np.random.default_rng(0).normal(size=(600, 2))
    >>> samples, populations = np.repeat([f"s{i}" for i in range(6)], 100), np.full(600, "T")
    >>> groups = np.repeat(["healthy", "patient"], 300)
    >>> cells[groups == "patient", 0] += 1.0
    >>> ne.metrics.group_effects(cells, samples, populations, groups)["T"].p_value.round(1)
    array([0.1, 0.7])

    Parameters
    ----------
    cells
        ``(n_cells, n_features)``
    samples, populations, groups
        Labels of the cells, ``(n_cells,)`` each; two groups.
    min_cells
        A population of a sample with fewer cells is left out.

    Returns
    -------
    Population -> ``p_value`` and ``cohens_d``, named arrays of ``(n_features,)`` each; only populations with two samples or more in each group. Samples are the units, as they should be: with three in each group no p-value is below 0.1.

    Raises
    ------
    ValueError
        Labels of other cells, or not two groups.
    """
    [cells] = to_float64(cells)
    names = np.unique(groups)
    if len(names) != 2:
        raise ValueError(f"groups must have two values; they have {len(names)}: {', '.join(map(str, names[:5]))}.")
    found = {}
    for population in np.unique(populations):
        means: list[np.ndarray] = []
        for name in names:
            mine = (populations == population) & (groups == name)
            rows = [np.flatnonzero(mine & (samples == sample)) for sample in np.unique(samples[mine])]
            means.append(np.array([cells[index].mean(axis=0) for index in rows if len(index) >= min_cells]))
        if min(map(len, means)) >= 2:
            found[str(population)] = _compare_groups(*means)
    return found


class PreservedFunction(NamedTuple):
    """What is left of the differences between two groups of people after a correction.

    Examples
    --------
    >>> import neuronedit as ne
    >>> ne.metrics.PreservedFunction(share_kept=0.5, effect_error=1.5, n_differences=2).share_kept
    0.5

    Attributes
    ----------
    share_kept
        Share of these differences that are still there after the correction, from 0 to 1; NaN where there are none.
    effect_error
        Mean absolute difference between Cohen's d after the correction and its mean over batches before it; 0 is the best.
    n_differences
        Number of differences that every batch shows before the correction.
    """

    share_kept: NumberOrInfinity
    effect_error: NumberOrInfinity
    n_differences: int


def preserved_function(
    before: Sequence[Mapping[str, GroupEffect]], after: Sequence[Mapping[str, GroupEffect]], *, max_p_value: Share = 0.1
) -> PreservedFunction:
    """Say which differences between groups that every batch shows before a correction are still there after it.

    Examples
    --------
    >>> import numpy as np, neuronedit as ne
    >>> before = {"T": ne.metrics.GroupEffect(np.array([0.1, 0.1, 0.7]), np.array([2.0, 3.0, 0.1]))}
    >>> after = {"T": ne.metrics.GroupEffect(np.array([0.1, 0.4, 0.7]), np.array([1.5, 0.5, 0.1]))}
    >>> ne.metrics.preserved_function([before, before], [after])
    PreservedFunction(share_kept=0.5, effect_error=1.5, n_differences=2)

    Parameters
    ----------
    before
        Results of `group_effects`, one for each batch, of the cells as they were measured.
    after
        The same of the corrected cells: all batches together, or several splits of them.
    max_p_value
        A difference is one whose p-value is at most this in all results of ``before``.

    Returns
    -------
    Named numbers. ``share_kept`` is the share of these differences whose p-value is at most ``max_p_value`` in all of ``after``; higher is better. ``effect_error`` is the mean absolute
    difference between Cohen's d after and its mean over batches before; lower is better, and 0 is the best. The last one is how many differences there are. NaN where there is none, and the error also where an effect is not defined, as all samples are alike. A population that
    is missing after the correction counts as lost. Without batch effects before, leaving the cells alone is best. p-values are not corrected for the number of tests, as few samples allow none below 0.1: some differences are chance.

    Raises
    ------
    ValueError
        No results, or effects of different features.

    References
    ----------
    Open Problems, task of cytometry batch integration: ``functional_marker_preservation_wilcoxon`` and ``functional_marker_preservation_cohens_d``.
    """
    if not before or not after:
        raise ValueError("preserved_function needs one result of group_effects or more, before and after.")
    _check_effects([*before, *after])
    there = set.intersection(*(set(one) for one in before))
    kept, errors, n = 0, [], 0
    for population in sorted(there):
        shown = np.all([one[population].p_value <= max_p_value for one in before], axis=0)
        true = np.mean([one[population].cohens_d for one in before], axis=0)
        n += int(shown.sum())
        if all(population in one for one in after):
            kept += int((shown & np.all([one[population].p_value <= max_p_value for one in after], axis=0)).sum())
            errors += list(np.mean([np.abs(one[population].cohens_d - true) for one in after], axis=0)[shown])
    nan = float("nan")
    return PreservedFunction(kept / n if n else nan, float(np.mean(errors)) if errors else nan, n)


def _check_effects(results: Sequence[Mapping[str, GroupEffect]]) -> None:
    """Refuse what `group_effects` does not return."""
    effects = [effect for one in results for effect in one.values()]
    shapes = {np.shape(values) for effect in effects for values in effect}
    if len(shapes) > 1 or any(len(shape) != 1 for shape in shapes):
        text = ", ".join(map(str, sorted(shapes)))
        raise ValueError(f"effects must be arrays of the same (n_features,); their shapes are {text}.")


def _list_blocks(
    samples: np.ndarray, populations: np.ndarray, compared: SamplesCompared, min_cells: int
) -> list[tuple[str, str, str, list[np.ndarray]]]:
    """Return the cells of both samples that are compared, in each population that is large enough in both."""
    there = set(samples.tolist())
    if not len(compared) or any(len(names) != 2 for names in compared):
        raise ValueError("compared must be tuples of the names of two samples.")
    if unknown := sorted({str(name) for names in compared for name in names if name not in there}):
        raise ValueError(
            f"compared: {', '.join(unknown)} are no samples; there are {', '.join(sorted(map(str, there)))}."
        )
    blocks = []
    for first, second in compared:
        for population in np.unique(populations):
            rows = [np.flatnonzero((samples == name) & (populations == population)) for name in (first, second)]
            if min(map(len, rows)) >= min_cells:
                blocks.append((str(first), str(second), str(population), rows))
    return blocks


def _find_emd(x: np.ndarray, y: np.ndarray) -> float:
    """Return the earth mover's distance of two sets of values."""
    return float(wasserstein_distance(x, y))


def _find_mad(x: np.ndarray, y: np.ndarray) -> float:
    """Return how much the median absolute deviations differ."""
    first, second = (np.median(np.abs(values - np.median(values))) for values in (x, y))
    return float(abs(first - second))


def _find_r2(x: np.ndarray, y: np.ndarray) -> float:
    """Return the share of the variance that the two means explain; 1, the worst, where nothing is left to vary."""
    both = np.concatenate([x, y])
    total = np.square(both - both.mean()).sum()
    within = np.square(x - x.mean()).sum() + np.square(y - y.mean()).sum()
    return float(1 - within / total) if total > 0 else 1.0


def _count_peaks(values: Sequence[np.ndarray]) -> tuple[int, int]:
    """Return how many peaks the densities of two sets of values have, standardized together."""
    both = np.concatenate(values)
    first, second = (_count_peaks_of((one - both.mean()) / both.std()) for one in values)
    return first, second


def _count_peaks_of(values: np.ndarray) -> int:
    """Return how many peaks the density of a set of values has."""
    from scipy.signal import find_peaks  # to import it takes half a second

    density: Callable[[np.ndarray], np.ndarray] = gaussian_kde(values, bw_method="scott")
    heights = density(np.linspace(values.min(), values.max(), N_GRID))
    if np.argmax(heights) == 0:  # a peak at the lower end: put a 0 before it
        heights = np.concatenate([[0.0], density(np.linspace(values.min(), values.max(), N_GRID - 1))])
    return len(find_peaks(heights, height=MIN_HEIGHT, prominence=MIN_PROMINENCE)[0])


def _compare_groups(a: np.ndarray, b: np.ndarray) -> GroupEffect:
    """Compare the means of samples of two groups, ``(n_samples, n_features)`` each."""
    p_values = mannwhitneyu(a, b, axis=0).pvalue
    degrees = len(a) - 1, len(b) - 1
    pooled = (degrees[0] * a.var(axis=0, ddof=1) + degrees[1] * b.var(axis=0, ddof=1)) / sum(degrees)
    with np.errstate(divide="ignore", invalid="ignore"):
        d = np.where(pooled > 0, (a.mean(axis=0) - b.mean(axis=0)) / np.sqrt(pooled), np.nan)
    return GroupEffect(np.nan_to_num(p_values, nan=1.0), d)
