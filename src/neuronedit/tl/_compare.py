"""Put methods beside each other on the same cells."""

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from functools import cache, partial
from inspect import isclass, signature
from typing import Annotated, Any

import numpy as np
import pandas as pd
import torch
from anndata import AnnData
from torch import Tensor

from .._check import Count, Seed, at_least
from .._data.check import Selector, describe_choice, find_used, format_choices, get_labels, lookup, open_adata
from .._data.design import read_populations
from .._data.output import copy_cofactor, find_other_cofactors
from .._data.reader import CHUNK, check_finite, read_cells
from .._data.record import Record, Tool, check_free
from .._data.undo import writing
from .._device import find_device
from .._progress import shows_progress, track
from .._slots import IMAGE_SHAPE, WHOLE
from ..baselines import BASELINES, QUICK
from ..metrics import CHECKS
from ..spaces import Autoencoder
from ..spaces._choice import choose_space
from ._scores import ALL_METRICS, Measure, Scorer, add_means, draw_samples, sort_methods

logger = logging.getLogger(__name__)

# What is reported where the caller names no metrics; without a truth it is `CHECKS`.
METRICS_WITH_TRUTH = ("energy_distance", "mean_wasserstein", "delta_correlation", "variance_ratio")
MIN_CELLS_TO_SCORE = 4  # of a population: a half of the truth must have two


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
    held_out: str | None = None,
    baseline: str = "identity",
    n_seeds: Count = 1,
    n_bootstrap: Annotated[int, at_least(0)] = 100,
    layer: str | None = None,
    key_added: str | None = None,
    rng: Seed = 0,
    accelerator: str = "auto",
    progress_bar: bool | None = None,
) -> pd.DataFrame:
    """Let methods learn the change from source to target, apply it to the query, and score what they predict.

    No method sees the truth: spaces are trained on source, target and query alone. Without a truth it is not known whether
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
        Rows of ``ne.baselines.BASELINES``, functions ``(source, target) -> map`` on tensors, or objects with ``fit(source, target)`` and
        ``predict(query)`` on arrays, as a list or as a dict with names of your own (``{"long gan": partial(ne.baselines.gan, n_steps=30_000)}``). Either
        may also ask for ``cells``, ``query`` or ``rng`` by the name of a parameter after the first two. `None`: ``ne.baselines.QUICK``.
    metrics
        Rows of ``ne.metrics.METRICS``, ``AGREEMENTS``, ``CHANGES`` and ``CHECKS``, or functions that return a distance between two
        populations. `None`: two distances, the correlation of the change and the variance ratio; without a truth all of ``CHECKS``.
        Those whose names begin with ``de_`` test every feature in every bootstrap sample: with thousands of genes take ``n_bootstrap=0``.
    held_out
        Column of ``obs``, such as cell types or donors. Each of its values is held out in turn: methods learn from source and target cells of the
        other values, its source cells are the query, and its target cells the truth. ``query`` and ``truth`` are not given then.
    baseline
        The method whose score is 0 in ``scaled``: ``"identity"``, the cells left alone, ``"mean_shift"``, the mean response, or any other of ``methods`` or
        ``ne.baselines.BASELINES``.
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
    ``held_out``
        The value that was held out, and ``"all"`` in the rows with the means over them; empty without ``held_out``.
    ``value``
        1 is best. Of a distance the share that is closed (:func:`neuronedit.metrics.gap_closed`): 0 = as far from the truth as
        the query left alone, 1 = as close as two halves of the truth are to each other, negative = harm.
    ``low``, ``high``
        95 % bootstrap interval of ``value`` over other cells of these samples; other donors, runs or seeds move it more. In rows of ``"all"`` it is over
        the values that were held out (Student's t), which is wider and says more. No end lies where no score can, as a correlation above 1.
    ``scaled``, ``scaled_low``, ``scaled_high``
        ``(score - baseline) / (replicate - baseline)`` and its interval: 0 is as good as the baseline, 1 as good as one half of the truth as a prediction of the other
        (five splits; of a distance as in ``value``). Of scores that may be above 1, such as ratios of variances, it is taken of how far they are from 1.
        NaN where the replicate is not better than the baseline: the metric then cannot tell them apart.
    ``baseline``, ``replicate``
        The two scores that ``scaled`` lies between. A baseline whose score is not defined, as the correlation of no change, counts as 0.
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
        where none is given, a query or a truth with ``held_out``, fewer than two values to hold out, NaN. What a method raises is reported in its rows.

    References
    ----------
    Amodio et al. 2018, arXiv:1805.12198, Tables 2 and 3; Bickel, Götze & van Zwet 1997, Statistica Sinica 7:1-31 (intervals).
    """
    # read: whatever can be refused is refused here
    adata = open_adata(adata)
    features = find_used(adata)
    reader = read_cells(adata, layer, features)
    populations: dict[str, Any] = {"source": source, "target": target, "query": query, "truth": truth}
    tasks = _read_tasks(adata, groupby, populations, held_out)
    has_truth = "truth" in tasks[0].rows
    learners = _choose_methods(QUICK if methods is None else methods)
    measures = _choose_metrics(metrics, has_truth)
    compared_with = {baseline: lookup(BASELINES | learners, baseline, "baseline")}
    layers = {name: f"{key_added}_{name}" for name in learners} if key_added is not None else {}
    if key_added is not None:
        var = find_other_cofactors(adata, layer, layers.values())
        check_free(adata, key_added, Tool.COMPARE, layers=layers.values(), var=var)
    check_finite(reader, layer, adata.obs_names, features)
    device = find_device(accelerator)
    default_space = choose_space(len(features), is_image=IMAGE_SHAPE in adata.uns)

    # compute: each method with each seed, each metric on each bootstrap sample, for each stratum that is held out
    runs = [(name, seed) for name, learn in learners.items() for seed in _list_seeds(learn, rng, n_seeds)]
    bar = track([(task, *run) for task in tasks for run in runs], "comparing", "run")
    table: list[dict[str, Any]] = []
    predictions: dict[str, list[tuple[np.ndarray, np.ndarray]]] = {}
    scorers: dict[str, Scorer] = {}
    for task, name, seed in bar:
        if (name, seed) == runs[0]:  # of another stratum
            cells = {role: reader[index].to(device) for role, index in task.rows.items()}
            trained_on = np.unique(np.concatenate([task.rows[role] for role in ("source", "target", "query")]))
            fit = cache(Autoencoder.fit)
            offered = {"cells": reader[trained_on].to(device), "query": cells["query"], "fit": fit}
            offered["fit_space"] = fit if default_space is Autoencoder else default_space.fit
            run = cache(partial(_run_method, learners | compared_with, cells, offered))
            samples = draw_samples({role: x.cpu().numpy() for role, x in cells.items()}, n_bootstrap, rng)
            zero, _ = run(baseline, rng)
            scorers = {metric: Scorer(metric, measure, samples, zero) for metric, measure in measures.items()}
        predicted, about = run(name, seed)
        for metric, scorer in scorers.items():
            row = {"method": name, "seed": seed, "metric": metric, "held_out": task.held_out}
            table.append(row | scorer.score(predicted) | about)
        if predicted is not None and seed == rng:
            predictions.setdefault(name, []).append((task.rows["query"], predicted))
    scored = pd.DataFrame(table)
    scored = sort_methods(scored if held_out is None else add_means(scored), list(measures))

    # write
    if key_added is not None:
        config = {"groupby": groupby, **populations, "methods": list(predictions), "layer": layer, "rng": rng}
        config |= {} if held_out is None else {"held_out": held_out}
        names = np.array([layers[name] for name in predictions], dtype=str)
        with writing(adata):
            for name, parts in predictions.items():
                whole = reader.dense_copy()
                for rows, predicted in parts:
                    reader.put(whole, rows, predicted)
                adata.layers[layers[name]] = whole
                copy_cofactor(adata, layer, layers[name])
            Record(key_added, Tool.COMPARE, config, {"layers": names, "scores": _keep_scores(scored)}).write(adata)
    return scored


@dataclass(frozen=True)
class ComparisonTask:
    """The cells of each role, and the stratum that is held out: that of query and truth, if any is."""

    held_out: str
    rows: dict[str, np.ndarray]


def _read_tasks(
    adata: AnnData, groupby: str | None, populations: Mapping[str, Any], held_out: str | None
) -> list[ComparisonTask]:
    """Return the populations as they are given, or one task for each stratum that is in source and target."""
    if held_out is None:
        tasks = [ComparisonTask("", read_populations(adata, groupby, **populations))]
        for role, index in tasks[0].rows.items():
            if len(index) < MIN_CELLS_TO_SCORE:
                need = f"scores need at least {MIN_CELLS_TO_SCORE}, and are noise below about 100"
                raise ValueError(f"{role} has {len(index)} cells; {need}.")
        if "truth" not in tasks[0].rows:
            text = "No truth is given: the scores say how each method applies the observed change, not whether it is right."
            logger.info(text)
        return tasks
    if given := [role for role in ("query", "truth") if populations[role] is not None]:
        raise ValueError(
            f"held_out takes {' and '.join(given)} from source and target: leave {format_choices(given)} out."
        )
    rows = read_populations(adata, groupby, **{**populations, "query": populations["source"]})
    labels = get_labels(adata, held_out).astype(str).to_numpy()
    if taken := sorted({*labels} & {*WHOLE}):
        raise ValueError(
            f"obs[{held_out!r}] has the value {taken[0]!r}, which stands for something else in the table; rename it."
        )
    tasks, too_small = [], []
    for name in sorted({*labels[rows["source"]], *labels[rows["target"]]}):
        found = {"query": rows["source"], "truth": rows["target"], "source": rows["source"], "target": rows["target"]}
        found = {role: index[(labels[index] == name) == (role in ("query", "truth"))] for role, index in found.items()}
        if min(map(len, found.values())) < MIN_CELLS_TO_SCORE:
            too_small.append(name)
        else:
            tasks.append(ComparisonTask(name, found))
    if len(tasks) < 2:
        text = (
            f"obs[{held_out!r}] has {len(tasks)} values of {MIN_CELLS_TO_SCORE} cells or more in both source and target"
        )
        raise ValueError(f"{text}; held_out needs two.")
    if too_small:
        text = "Not held out, with fewer than %d cells in source or target: %s."
        logger.warning(text, MIN_CELLS_TO_SCORE, format_choices(too_small))
    return tasks


def _keep_scores(scored: pd.DataFrame) -> pd.DataFrame:
    """Return the table of scores as AnnData can write it: words for methods and metrics, in their order."""
    kept = scored.astype({"method": str, "metric": str, "held_out": str, "error": str})
    return kept.set_index(pd.Index([str(i) for i in range(len(kept))], dtype=str))


def _list_seeds(learn: Callable[..., Any], rng: int, n_seeds: int) -> list[int]:
    """Return the seeds to run a method with; one that has none runs once."""
    return list(range(rng, rng + n_seeds)) if "rng" in signature(learn).parameters else [rng]


def _run_method(
    learners: Mapping[str, Callable[..., Any]],
    cells: Mapping[str, Tensor],
    offered: Mapping[str, Any],
    name: str,
    seed: int,
) -> tuple[np.ndarray | None, dict[str, Any]]:
    """Return what a method predicts, `None` where it fails, and its time and its error."""
    start, error, predicted = time.perf_counter(), "", None
    try:
        predicted = _predict(learners[name], cells, {**offered, "rng": seed})
    except Exception as reason:  # noqa: BLE001 (whatever a method raises is a row of the table)
        error = f"{type(reason).__name__}: {reason}"
        logger.warning("%s failed: %s", name, error)
    return predicted, {"seconds": time.perf_counter() - start, "error": error}


class FitPredict:
    """A model with ``fit(source, target)`` and ``predict(query)`` on arrays, as a method; each run fits a copy of its own."""

    def __init__(self, model: Any) -> None:
        self.model, self.__name__ = model, type(model).__name__
        self.__signature__ = signature(model.fit)

    def __call__(self, source: Tensor, target: Tensor, **taken: Any) -> Callable[[Tensor], Tensor]:
        """Fit a copy of the model."""
        model = deepcopy(self.model)
        model.fit(*map(_to_array, (source, target)), **{name: _to_array(value) for name, value in taken.items()})
        return lambda x: torch.as_tensor(np.asarray(model.predict(_to_array(x)), dtype=np.float32))


def _to_array(value: Any) -> Any:
    """Return a tensor as an array, and anything else as it is."""
    return value.cpu().numpy() if isinstance(value, Tensor) else value


def _choose_methods(choices: Sequence[Any] | Mapping[str, Any]) -> dict[str, Callable[..., Any]]:
    """Return name -> method of what was asked for; models with ``fit`` and ``predict`` become methods."""
    if isinstance(choices, str):
        choices = [choices]
    if isinstance(choices, Mapping):
        return _choose({name: _as_method(choice) for name, choice in choices.items()}, BASELINES, "methods")
    return _choose([_as_method(choice) for choice in choices], BASELINES, "methods")


def _as_method(choice: Any) -> Any:
    """Return a model with ``fit`` and ``predict`` as a method, and anything else as it is."""
    if not (hasattr(choice, "fit") and hasattr(choice, "predict")):
        return choice
    if isclass(choice):
        raise TypeError(f"methods: {choice.__name__} is a class; give an object of it, {choice.__name__}(...).")
    return FitPredict(choice)


def _choose_metrics(metrics: Any, has_truth: bool) -> dict[str, Measure]:
    """Return name -> metric; refuse one that needs a truth where there is none."""
    if metrics is None:
        metrics = METRICS_WITH_TRUTH if has_truth else list(CHECKS)
    measures = _choose(metrics, ALL_METRICS, "metrics")
    need_truth = [name for name, measure in measures.items() if measure not in CHECKS.values()]
    if need_truth and not has_truth:
        there = format_choices(CHECKS)
        raise ValueError(f"metrics {format_choices(need_truth)} need a truth; without one there are {there}.")
    return measures


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
    open_for = set([*signature(learn).parameters][2:]) - set(getattr(learn, "keywords", {}))
    taken = {name: value for name, value in offered.items() if name in open_for}
    move = learn(cells["source"], cells["target"], **taken)
    n_rows = len(cells["query"]) if isinstance(learn, FitPredict) else CHUNK
    with torch.no_grad():
        predicted = torch.cat([move(block) for block in cells["query"].split(n_rows)])
    if predicted.shape != cells["query"].shape:
        shapes = tuple(predicted.shape), tuple(cells["query"].shape)
        raise ValueError(f"the prediction has the shape {shapes[0]}, the query {shapes[1]}")
    if not torch.isfinite(predicted).all():
        raise ValueError("the prediction has NaN or infinite values")
    return predicted.float().cpu().numpy()
