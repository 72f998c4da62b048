"""Put methods beside each other on the same cells."""

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from functools import cache, partial
from inspect import signature
from typing import Annotated, Any

import numpy as np
import pandas as pd
import torch
from anndata import AnnData
from torch import Tensor

from .._check import Count, Seed, at_least
from .._data.check import Selector, describe_choice, find_used, format_choices, lookup, open_adata
from .._data.design import read_populations
from .._data.output import copy_cofactor, find_other_cofactors
from .._data.reader import CHUNK, check_finite, read_cells
from .._data.record import Record, Tool, check_free
from .._data.undo import writing
from .._device import find_device
from .._progress import shows_progress, track
from ..baselines import BASELINES, QUICK
from ..metrics import AGREEMENTS, CHECKS, METRICS
from ..metrics._gap import noise_floor, share_closed
from ..spaces import Autoencoder

logger = logging.getLogger(__name__)

CellsByRole = Mapping[str, np.ndarray]  # of source, target, query and, where it is known, truth
ScoreFunction = Callable[[np.ndarray], tuple[float, float]]  # score, and the distance that it was made of (else NaN)

# What is reported where the caller names no metrics; without a truth it is `CHECKS`.
METRICS_WITH_TRUTH = ("energy_distance", "mean_wasserstein", "variance_ratio", "change_correlation")
MIN_CELLS_TO_SCORE = 4  # of a population: a half of the truth must have two
MAX_CELLS_IN_SAMPLE = 500  # of a population in one bootstrap sample; the intervals are scaled for it
MAX_CELLS_COUNTED = 5_000  # of a population for an interval: distances between all pairs are taken of so many


@shows_progress
def compare(
    adata: AnnData,
    groupby: str | None = None,
    *,
    source: Selector,
    target: Selector,
    query: Selector | None = None,
    truth: Selector | None = None,
    methods: Sequence[Any] | Mapping[str, Any] | None = None,
    metrics: Sequence[Any] | Mapping[str, Any] | None = None,
    n_seeds: Count = 1,
    n_bootstrap: Annotated[int, at_least(0)] = 100,
    layer: str | None = None,
    key_added: str | None = None,
    rng: Seed = 0,
    accelerator: str = "auto",
    progress_bar: bool | None = None,
) -> pd.DataFrame:
    """Let methods learn the change from source to target, apply it to the query, and score what they predict.

    No method sees the truth: spaces are trained on source, target and query alone. Without a truth nothing says whether
    the change generalizes; what is reported then is how faithfully each method applies the change from source to target.

    Examples
    --------
    >>> import neuronedit as ne
    >>> adata = ne.datasets.simulate_batches(n_cells=200)
    >>> table = ne.tl.compare(
    ...     adata, "group", source="control_1", target="control_2", query="sample_1", methods=["identity", "quantile"]
    ... )
    >>> table["metric"].cat.categories.tolist()
    ['change_correlation', 'variance_kept', 'unharmed']

    Parameters
    ----------
    adata
        Cells by features, on a scale on which equal differences matter equally. No trained space is needed. They are read
        into memory, and many methods compare all pairs: of more than some 100,000 take a sample (:func:`scanpy.pp.sample`).
    %(groupby)s
    source, target, query, truth
        Populations, given as for :func:`neuronedit.tl.edit`. The truth are cells like the query's, measured after the change.
    methods
        Rows of ``ne.baselines.BASELINES`` or functions ``(source, target) -> map`` on tensors, as a list or as a dict with
        names of your own (``{"long gan": partial(ne.baselines.gan, n_steps=30_000)}``). `None`: ``ne.baselines.QUICK``.
    metrics
        Rows of ``ne.metrics.METRICS``, ``AGREEMENTS`` and ``CHECKS``, or functions that return a distance between two
        populations. `None`: two distances, variance ratio and change correlation; without a truth all of ``CHECKS``.
    n_seeds
        Runs of each method that has a seed: ``rng``, ``rng + 1``, ... The others run once.
    n_bootstrap
        Bootstrap samples of the cells behind the intervals; 0 leaves them out. All methods are scored on the same ones.
    layer
        Compare on this layer instead of X.
    key_added
        Keep each prediction of the first seed as ``layers["<key_added>_<method>"]``. `None`: keep none.
    %(computing)s

    Returns
    -------
    One row for each method, seed and metric, the best method by the first metric on top. Columns:

    ``method``, ``seed``, ``metric``
        What was scored. Methods and metrics are ordered categories.
    ``value``
        1 is best. Of a distance the share that is closed (:func:`neuronedit.metrics.gap_closed`): 0 = as far from the truth as
        the query left alone, 1 = as close as two halves of the truth are to each other, negative = harm.
    ``low``, ``high``
        95 % bootstrap interval of ``value`` over other cells of these samples; other donors, runs or seeds move it more.
    ``distance``
        The distance itself, in its own units; NaN for other metrics.
    ``seconds``, ``error``
        Wall time: an autoencoder that several methods share is trained once for each seed, and counted with the first. And why
        a method failed, its values being NaN; otherwise empty.

    With ``key_added`` the layers are written, and ``uns[key_added]``, which says what they are and has this table as ``scores``;
    nothing else is.

    Raises
    ------
    ValueError, TypeError, KeyError
        Before any work: an unknown column, value, method or metric, overlapping or empty groups, a metric that needs a truth
        where none is given, NaN. What a method raises is reported in its rows.

    References
    ----------
    Amodio et al. 2018, arXiv:1805.12198, Tables 2 and 3; Bickel, Götze & van Zwet 1997, Statistica Sinica 7:1-31 (intervals).
    """
    # read: whatever can be refused is refused here
    adata = open_adata(adata)
    features = find_used(adata)
    reader = read_cells(adata, layer, features)
    populations: dict[str, Any] = {"source": source, "target": target, "query": query, "truth": truth}
    rows = read_populations(adata, groupby, **populations)
    for role, index in rows.items():
        if len(index) < MIN_CELLS_TO_SCORE:
            need = f"scores need at least {MIN_CELLS_TO_SCORE}, and are noise below about 100"
            raise ValueError(f"{role} has {len(index)} cells; {need}.")
    learners = _choose(QUICK if methods is None else methods, BASELINES, "methods")
    if metrics is None:
        metrics = list(CHECKS) if truth is None else METRICS_WITH_TRUTH
    measures = _choose(metrics, METRICS | AGREEMENTS | CHECKS, "metrics")
    need_truth = [name for name, measure in measures.items() if measure not in CHECKS.values()]
    if need_truth and truth is None:
        there = format_choices(CHECKS)
        raise ValueError(f"metrics {format_choices(need_truth)} need a truth; without one there are {there}.")
    if truth is None:
        text = "No truth is given: the scores say how each method applies the observed change, not whether it is right."
        logger.info(text)
    layers = {name: f"{key_added}_{name}" for name in learners} if key_added is not None else {}
    if key_added is not None:
        var = find_other_cofactors(adata, layer, layers.values())
        check_free(adata, key_added, Tool.COMPARE, layers=layers.values(), var=var)
    check_finite(reader, layer, adata.obs_names, features)
    device = find_device(accelerator)

    # compute: each method with each seed, each metric on each bootstrap sample
    cells = {role: reader[index].to(device) for role, index in rows.items()}
    trained_on = np.unique(np.concatenate([rows[role] for role in ("source", "target", "query")]))
    offered = {"cells": reader[trained_on].to(device), "query": cells["query"], "fit": cache(Autoencoder.fit)}
    samples = _draw_samples({role: x.cpu().numpy() for role, x in cells.items()}, n_bootstrap, rng)
    scores = {name: _prepare_scores(measure, samples) for name, measure in measures.items()}
    jobs: list[tuple[str, Any, int]] = []
    for name, learn in learners.items():
        seeds = range(rng, rng + n_seeds) if "rng" in signature(learn).parameters else [rng]
        jobs += [(name, learn, seed) for seed in seeds]
    table, predictions = [], {}
    for name, learn, seed in track(jobs, "comparing", "run"):
        predicted, about = _run_method(name, learn, cells, offered | {"rng": seed})
        for metric, of_samples in scores.items():
            value = _with_interval(of_samples, predicted, samples)
            table.append({"method": name, "seed": seed, "metric": metric} | value | about)
        if predicted is not None and seed == rng:
            predictions[name] = predicted

    scored = _sort_methods(pd.DataFrame(table), list(measures))

    # write
    if key_added is not None:
        config = {"groupby": groupby, **populations, "methods": list(predictions), "layer": layer, "rng": rng}
        names = np.array([layers[name] for name in predictions], dtype=str)
        with writing(adata):
            for name, predicted in predictions.items():
                whole = reader.dense_copy()
                reader.put(whole, rows["query"], predicted)
                adata.layers[layers[name]] = whole
                copy_cofactor(adata, layer, layers[name])
            Record(key_added, Tool.COMPARE, config, {"layers": names, "scores": _keep_scores(scored)}).write(adata)
    return scored


def _keep_scores(scored: pd.DataFrame) -> pd.DataFrame:
    """Return the table of scores as AnnData can write it: words for methods and metrics, in their order."""
    kept = scored.astype({"method": str, "metric": str, "error": str})
    return kept.set_index(pd.Index([str(i) for i in range(len(kept))], dtype=str))


def _run_method(
    name: str, learn: Callable[..., Any], cells: Mapping[str, Tensor], offered: Mapping[str, Any]
) -> tuple[np.ndarray | None, dict[str, Any]]:
    """Return what a method predicts, `None` where it fails, and its time and its error."""
    start, error, predicted = time.perf_counter(), "", None
    try:
        predicted = _predict(learn, cells, offered)
    except Exception as reason:  # noqa: BLE001 (whatever a method raises is a row of the table)
        error = f"{type(reason).__name__}: {reason}"
        logger.warning("%s failed: %s", name, error)
    return predicted, {"seconds": time.perf_counter() - start, "error": error}


def _choose(choices: Sequence[Any] | Mapping[str, Any], table: Mapping[str, Any], argument: str) -> dict[str, Any]:
    """Return name -> function of what was asked for: names in a table, functions, or a dict of either."""
    if isinstance(choices, str):
        choices = [choices]
    named = choices if isinstance(choices, Mapping) else {describe_choice(choice): choice for choice in choices}
    if not named:
        raise ValueError(f"{argument} is empty; choose from {format_choices(table)}.")
    if len(named) < len(choices):
        raise ValueError(f"{argument} has two of one name; give a dict with a name for each.")
    return {name: lookup(table, choice, argument) for name, choice in named.items()}


def _predict(learn: Callable[..., Any], cells: Mapping[str, Tensor], offered: Mapping[str, Any]) -> np.ndarray:
    """Learn the map from source to target, with what the method takes of what is offered; return the query after it.

    What the caller fixed with `functools.partial` stays.
    """
    open_for = set(signature(learn).parameters) - set(getattr(learn, "keywords", {}))
    taken = {name: value for name, value in offered.items() if name in open_for}
    move = learn(cells["source"], cells["target"], **taken)
    with torch.no_grad():
        predicted = torch.cat([move(block) for block in cells["query"].split(CHUNK)])
    if predicted.shape != cells["query"].shape:
        shapes = tuple(predicted.shape), tuple(cells["query"].shape)
        raise ValueError(f"the prediction has the shape {shapes[0]}, the query {shapes[1]}")
    if not torch.isfinite(predicted).all():
        raise ValueError("the prediction has NaN or infinite values")
    return predicted.float().cpu().numpy()


def _draw_samples(cells: CellsByRole, n_bootstrap: int, rng: int) -> list[dict[str, Any]]:
    """Return the populations, and bootstrap samples of them; ``"rows"`` are those of the query."""
    generator = np.random.default_rng(rng)
    samples = [{**cells, "rows": np.arange(len(cells["query"]))}]
    for _ in range(n_bootstrap):
        drawn = {role: generator.integers(len(x), size=min(len(x), MAX_CELLS_IN_SAMPLE)) for role, x in cells.items()}
        samples.append({role: cells[role][rows] for role, rows in drawn.items()} | {"rows": drawn["query"]})
    return samples


def _prepare_scores(measure: Callable[..., float], samples: list[dict[str, Any]]) -> list[ScoreFunction]:
    """Make a metric ready for predictions of each sample: what does not depend on them is computed once."""
    if measure in CHECKS.values() or measure in AGREEMENTS.values():
        return [partial(_score, measure, sample, np.nan, np.nan) for sample in samples]
    floor = noise_floor(measure, samples[0]["query"], samples[0]["truth"])
    return [partial(_score, measure, sample, measure(sample["query"], sample["truth"]), floor) for sample in samples]


def _score(
    measure: Callable[..., float], sample: CellsByRole, gap: float, floor: float, predicted: np.ndarray
) -> tuple[float, float]:
    """Return the score of a prediction and, of a distance to the truth, the distance."""
    if measure in CHECKS.values():
        return measure(sample["source"], sample["target"], sample["query"], predicted), np.nan
    value = measure(predicted, sample["truth"])
    return (value, np.nan) if measure in AGREEMENTS.values() else (share_closed(gap, floor, value), value)


def _with_interval(
    scores: list[ScoreFunction], predicted: np.ndarray | None, samples: list[dict[str, Any]]
) -> dict[str, float]:
    """Return the score of a prediction, its interval and its distance.

    With cells drawn twice distances are too large and correlations too small, so the bootstrap tells the spread alone.
    """
    if predicted is None:
        return dict.fromkeys(["value", "low", "high", "distance"], np.nan)
    scored = [score(predicted[sample["rows"]]) for score, sample in zip(scores, samples, strict=True)]
    (value, distance), *others = scored
    low = high = np.nan
    if others:
        drawn = np.array([other for other, _ in others])
        sizes = [min(len(x), MAX_CELLS_COUNTED) for x in samples[0].values()]
        scale = np.sqrt(max(min(n, MAX_CELLS_IN_SAMPLE) / n for n in sizes))
        low, high = value + scale * (np.quantile(drawn, [0.025, 0.975]) - drawn.mean())
    return {"value": value, "low": low, "high": high, "distance": distance}


def _sort_methods(table: pd.DataFrame, metrics: list[str]) -> pd.DataFrame:
    """Sort the methods by how far they are from 1 in the first metric, the failed ones last."""
    first = table[table["metric"] == metrics[0]]
    order = (1 - first.groupby("method", sort=False)["value"].mean()).abs().sort_values(kind="stable").index
    table["method"] = pd.Categorical(table["method"], categories=order, ordered=True)
    table["metric"] = pd.Categorical(table["metric"], categories=metrics, ordered=True)
    return table.sort_values(["method", "seed", "metric"], ignore_index=True)
