"""Attack the numbers: extreme values, rates, strengths and scales, functions and spaces of the caller's own, threads.

"Silent" is a result that is not finite, a good score of NaN, or an edit that differs from what the same cells give on a usual scale.
"""

import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import anndata
import numpy as np
import torch
from common import Try
from scipy import sparse

import neuronedit as ne

ROLES: dict[str, Any] = {"source": "control_1", "target": "control_2", "query": "sample_1"}
SMALL: dict[str, Any] = {"widths": (16, 5), "max_epochs": 2}
N_FEATURES = 35
LIMIT = {"relative": 0.05}  # of a feature's spread: by so much an edit may differ from that on the usual scale


def tries(seed: int, long: bool) -> Iterator[Try]:
    """Yield all tries; the long form takes every edit, tool and metric where the short one takes some."""
    for rate in (1e2, 1e5, 1e10, 1e38) if long else (1e5, 1e10, 1e38):
        for space in ("autoencoder", "conv") if long else ("autoencoder",):
            yield Try("rates", f"lr={rate:g}, {space}", train_at, (seed, space, {"lr": rate}))
    for name in SCHEDULES:
        yield Try("rates", f"schedule returns {name}", train_at, (seed, "autoencoder", {"schedule": name}))
    strengths: list[Any] = [1e39, 3e38, -1e39, [1.0, 1e39], 1e30]
    for strength in strengths if long else strengths[:4]:
        for edit in ("percentile", "shift", "auto") if long else ("percentile",):
            for tool in TOOLS:
                if isinstance(strength, float) or tool in ("edit", "store"):
                    yield Try("strengths", f"{tool}, {edit}, {strength}", run_tool, (seed, tool, edit, strength))
    yield Try("strengths", "bounds, infinite before them", run_bounded, (seed,))
    for name in FUNCTIONS:
        for how in ("plain", "strata", "candidate") if long else ("plain",):
            yield Try("own functions", f"edit that returns {name}, {how}", run_function, (seed, name, how))
    yield Try("own functions", "candidate that returns NaN", run_function, (seed, "NaN", "candidate"))
    for name in SPACES:
        yield Try("own spaces", name, run_space, (seed, name))
    for name in ("scale 0", "weights NaN", "weights 1e30"):
        yield Try("scales", name, run_changed_space, (seed, name))
    for name in VALUES:
        for edit in ("percentile", "auto", "affine", "local", "gaussian_ot") if long else ("auto",):
            for space in ("identity", "pca", "autoencoder") if long else ("identity",):
                yield Try("values", f"{name}, {edit} in {space}", run_values, (seed, name, edit, space))
    yield Try("values", "1e20 in a store", run_values, (seed, "one of 1e20", "percentile", "pca", True))
    for name in ("one of 1e20", "one of 1e39"):
        yield Try("values", f"{name}, compared", run_compare, (seed, name))
    for metric in [
        *ne.metrics.METRICS,
        *ne.metrics.AGREEMENTS,
        *ne.metrics.CHANGES,
        *ne.metrics.CHECKS,
        "gap_closed",
        "harmed",
    ]:
        for fault in ("NaN", "infinity", "1e200", "no cells") if long else ("NaN", "1e200"):
            yield Try("metrics", f"{metric} of {fault}", run_metric, (seed, metric, fault))
    for i in range(8 if long else 2):
        yield Try("threads", f"two trainings at once, {i}", run_threads, (seed + i,))


def simulate(seed: int) -> anndata.AnnData:
    """Return some cells of two batches."""
    return ne.datasets.simulate_batches(n_cells=250, rng=seed)


def judge_cells(adata: anndata.AnnData, key: str = "edited") -> str:
    """Say whether all that an edit wrote is finite."""
    query = adata.obs[f"{key}_support"].notna()
    parts = [np.asarray(layer) for name, layer in adata.layers.items() if name is not None and name.startswith(key)]
    parts += [np.asarray(adata.obsm[f"X_neurons_{key}"]), adata.obs.loc[query, f"{key}_distance"].to_numpy()]
    is_whole = query.any() and all(np.isfinite(part).all() for part in parts)
    return "right" if is_whole else "silent"


# rates

SCHEDULES: dict[str, Callable[[float], float]] = {
    "NaN": lambda done: float("nan"),
    "infinity": lambda done: float("inf"),
    "1e30": lambda done: 1e30,
}


def train_at(seed: int, space: str, options: dict[str, Any]) -> str:
    """Train, edit, and look at what came of it."""
    adata = simulate(seed)
    if "schedule" in options:
        options = {"schedule": SCHEDULES[options["schedule"]]}
    if space == "conv":
        adata.uns["image_shape"] = (5, 7)
    ne.tl.train(adata, space=space, max_epochs=3, **({} if space == "conv" else {"widths": (16, 5)}), **options)
    stored = adata.uns["neuronedit"]
    numbers = [*stored["weights"].values(), stored["history"]["train_loss"], adata.obsm["X_neurons"]]
    if not all(np.isfinite(np.asarray(part)).all() for part in numbers):
        return "silent"
    ne.tl.edit(adata, "group", **ROLES, edit="percentile")
    return judge_cells(adata)


# strengths

TOOLS = ("edit", "apply", "correct", "combine", "store")


def run_tool(seed: int, tool: str, edit: str, strength: Any) -> str:
    """Edit with a strength in one of the tools."""
    adata = simulate(seed)
    given: dict[str, Any] = {"edit": edit, "strength": strength}
    ne.tl.train(adata, **SMALL)
    if tool == "edit":
        ne.tl.edit(adata, "group", **ROLES, **given)
    elif tool == "apply":
        ne.tl.edit(adata, "group", **ROLES, edit=edit, key_added="before")
        ne.tl.apply(adata, adata, "group", key="before", query=ROLES["query"], strength=strength)
    elif tool == "correct":
        ne.tl.correct(adata, "batch", control_key="role", reference="batch_2", **given)
        return judge_cells(adata, "corrected")
    elif tool == "combine":
        effects = ["control_2", "sample_1"]
        predicted = ne.tl.combine(adata, "group", control="control_1", effects=effects, **given)
        return "right" if np.isfinite(predicted.X).all() else "silent"
    else:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "edited.zarr"
            ne.tl.edit(adata, "group", **ROLES, **given, write_to=path)
            adata = anndata.read_zarr(path)
    return judge_cells(adata)


def run_bounded(seed: int) -> str:
    """Edit to infinity, with bounds that would hide it."""
    adata = simulate(seed)
    ne.tl.train(adata, space="identity")
    ne.tl.edit(adata, "group", **ROLES, edit=lambda source, target: lambda z: z / 0, bounds=(0, 10))
    return "silent"


# functions and spaces of the caller's own

FUNCTIONS: dict[str, Callable[[torch.Tensor], Any]] = {
    "NaN": lambda z: z * torch.nan,
    "infinity": lambda z: z + torch.inf,
    "NaN in one cell": lambda z: torch.where(torch.arange(len(z))[:, None] == len(z) - 1, torch.nan, z),
    "one row": lambda z: z.mean(0),
    "one column": lambda z: z.mean(1, keepdim=True),
    "one number": lambda z: z.mean(),
    "another width": lambda z: z[:, :-1],
    "fewer cells": lambda z: z[:-1],
    "nothing": lambda z: None,
    "an array": lambda z: z.numpy() + 1,
    "float64": lambda z: z.double() + 1,
    "whole numbers": lambda z: z.round().long(),
}


def run_function(seed: int, name: str, how: str) -> str:
    """Edit with a function of the caller's own, in one population, within strata, or as one of the candidates."""

    def own(source: Any, target: Any) -> Any:
        return FUNCTIONS[name]

    adata = simulate(seed)
    ne.tl.train(adata, space="identity")
    if how == "candidate":
        neurons = ne.ensemble.Candidate("neurons", lambda populations: FUNCTIONS[name])
        candidates = {"own": neurons, **dict(list(ne.ensemble.CANDIDATES.items())[:2])}
        ne.tl.edit(adata, "group", **ROLES, candidates=candidates)
    else:
        ne.tl.edit(adata, "group", **ROLES, edit=own, **({"strata": "cell_type"} if how == "strata" else {}))
    is_whole = name in ("float64", "whole numbers", "an array")
    return judge_cells(adata) if is_whole or how == "candidate" else "silent"


class OwnSpace(ne.spaces.FittedSpace):
    """A space that copies features, but for what ``SPACES`` changes."""

    def __init__(self, *, n_features: int, fault: str) -> None:
        super().__init__(n_features=n_features, fault=fault)
        self.fault = fault
        self.register_buffer("factor", torch.full((1,), torch.nan if fault == "a weight is NaN" else 1.0))

    @classmethod
    def fit(cls, cells: Any, training: Any, *, fault: str) -> "OwnSpace":
        """Return it."""
        return cls(n_features=cells.shape[1], fault=fault)

    def encode(self, x: torch.Tensor, /) -> torch.Tensor:
        """Return the features."""
        return SPACES[self.fault][0](x)

    def decode(self, z: torch.Tensor, /) -> torch.Tensor:
        """Return the neurons."""
        return SPACES[self.fault][1](z)


Change = Callable[[torch.Tensor], torch.Tensor]
SPACES: dict[str, tuple[Change, Change]] = {
    "neurons are NaN": (lambda x: x * torch.nan, lambda z: z),
    "decoded cells are NaN": (lambda x: x, lambda z: z * torch.nan),
    "neurons of one cell are NaN": (lambda x: torch.where(x[:, :1] == x[:, 0].max(), torch.nan, x), lambda z: z),
    "decodes one row": (lambda x: x, lambda z: z.mean(0)),
    "decodes another width": (lambda x: x, lambda z: z[:, :1]),
    "encodes one row": (lambda x: x.mean(0, keepdim=True), lambda z: z),
    "encodes one number a cell": (lambda x: x.mean(1), lambda z: z[:, None].repeat(1, N_FEATURES)),
    "encodes whole numbers": (lambda x: x.long(), lambda z: z.float()),
    "a weight is NaN": (lambda x: x, lambda z: z),
}


def run_space(seed: int, name: str) -> str:
    """Edit in a space of the caller's own."""
    adata = simulate(seed)
    ne.tl.train(adata, space=OwnSpace, fault=name)
    ne.tl.edit(adata, "group", **ROLES, edit="percentile")
    return "silent"


def run_changed_space(seed: int, name: str) -> str:
    """Edit in a space whose weights were changed, and its id with them."""
    from neuronedit._data.space import space_id

    adata = simulate(seed)
    ne.tl.train(adata, **SMALL)
    stored = adata.uns["neuronedit"]
    if name == "scale 0":
        stored["weights"]["scale"] = np.zeros((), dtype=np.float32)
    else:
        value = np.nan if name == "weights NaN" else 1e30
        stored["weights"]["encoder.0.weight"] = np.full_like(stored["weights"]["encoder.0.weight"], value)
    stored["id"] = space_id(stored)
    ne.tl.edit(adata, "group", **ROLES, edit="percentile")
    return judge_cells(adata)


# values


def multiply(factor: float, dtype: Any, X: np.ndarray) -> np.ndarray:
    """Bring all cells to another scale."""
    return (np.asarray(X, dtype=np.float64) * factor).astype(dtype)


def put(value: float, dtype: Any, X: np.ndarray) -> np.ndarray:
    """Give one value to the first cell that is edited."""
    X = np.asarray(X, dtype=dtype).copy()
    X[-1, 3] = value
    return X


def put_feature(factor: float, X: np.ndarray) -> np.ndarray:
    """Bring one feature to another scale."""
    return np.asarray(X, dtype=np.float64) * np.where(np.arange(X.shape[1]) == 3, factor, 1.0)


def hold(X: np.ndarray) -> np.ndarray:
    """Give all cells one value in one feature."""
    return np.where(np.arange(X.shape[1]) == 3, np.float32(7), X)


VALUES: dict[str, Callable[[np.ndarray], Any]] = {
    "one of 1e39": partial(put, 1e39, np.float64),
    "one of 1e39, sparse": lambda X: sparse.csr_matrix(put(1e39, np.float64, X)),
    "one of 1e20": partial(put, 1e20, np.float32),
    "one of -1e20": partial(put, -1e20, np.float32),
    "one of 1e37": partial(put, 1e37, np.float32),
    "one whole number of 9e18": partial(put, 9e18, np.int64),
    "all x 1e20": partial(multiply, 1e20, np.float32),
    "all x 1e15": partial(multiply, 1e15, np.float32),
    "all x 1e6": partial(multiply, 1e6, np.float64),
    "all x 1e-6": partial(multiply, 1e-6, np.float32),
    "all x 1e-30": partial(multiply, 1e-30, np.float32),
    "all x 1e-40": partial(multiply, 1e-40, np.float32),
    "all x 1e-60": partial(multiply, 1e-60, np.float64),
    "one feature x 1e15": partial(put_feature, 1e15),
    "all + 1e4": lambda X: np.asarray(X, dtype=np.float64) + 1e4,
    "all + 1e5": lambda X: np.asarray(X, dtype=np.float64) + 1e5,
    "whole numbers": lambda X: np.rint(100 * X).astype(np.int32),
    "one feature constant": hold,
    "all constant": np.ones_like,
    "one cell, many times": lambda X: np.repeat(X[:1], len(X), axis=0),
}
FACTORS = {"all x 1e15": 1e15, "all x 1e6": 1e6, "all x 1e-6": 1e-6, "all x 1e-30": 1e-30, "all x 1e-40": 1e-40}
FACTORS |= {"all x 1e20": 1e20, "all x 1e-60": 1e-60, "whole numbers": 100.0}
OFFSETS = {"all + 1e4": 1e4, "all + 1e5": 1e5}


def edit_values(adata: anndata.AnnData, edit: str, space: str, to_store: bool = False) -> anndata.AnnData:
    """Train and edit."""
    ne.tl.train(adata, space=space, **(SMALL if space == "autoencoder" else {}))
    if not to_store:
        ne.tl.edit(adata, "group", **ROLES, edit=edit)
        return adata
    with tempfile.TemporaryDirectory() as folder:
        ne.tl.edit(adata, "group", **ROLES, edit=edit, write_to=Path(folder) / "edited.zarr")
        return anndata.read_zarr(Path(folder) / "edited.zarr")


def run_values(seed: int, name: str, edit: str, space: str, to_store: bool = False) -> str:
    """Edit cells of unusual values, and compare with the usual ones."""
    usual = simulate(seed)
    adata = usual.copy()
    adata.X = VALUES[name](np.asarray(usual.X))
    adata = edit_values(adata, edit, space, to_store)
    if judge_cells(adata) == "silent":
        return "silent"
    if name == "all constant" or name.startswith("one cell"):
        moved = np.abs(adata.layers["edited"] - adata.X).max()
        is_outside = adata.obs["edited_distance"].dropna().max() > 1
        return "silent" if moved > 1e-3 or is_outside else "right"
    if name in FACTORS or name in OFFSETS:
        expected = np.asarray(edit_values(usual, edit, space).layers["edited"], dtype=float)
        given = np.asarray(adata.layers["edited"], dtype=float) / FACTORS.get(name, 1.0) - OFFSETS.get(name, 0.0)
        apart = np.abs(given.mean(0) - expected.mean(0)) / expected.std(0)
        return "right" if apart.max() < LIMIT["relative"] else "silent"
    return "right"


def run_compare(seed: int, name: str) -> str:
    """Compare methods on cells with one extreme value."""
    adata = simulate(seed)
    adata.X = VALUES[name](np.asarray(adata.X))
    table = ne.tl.compare(adata, "group", **ROLES, truth="sample_2", methods=["mean_shift", "mnn"], n_bootstrap=0)
    failed = table["error"] != ""
    return "right" if np.isfinite(table["value"][~failed]).all() else "silent"


# metrics


def run_metric(seed: int, name: str, fault: str) -> str:
    """Score cells of which some are no numbers: the score must not be a number, or at least a very bad one."""
    rng = np.random.default_rng(seed)
    source, query = rng.normal(size=(2, 60, 4))
    target, predicted = source + 1, query + 1
    if fault == "no cells":
        predicted = predicted[:0]
    else:
        predicted[:40, 2] = {"NaN": np.nan, "infinity": np.inf, "1e200": 1e200}[fault]
    if name in ne.metrics.CHECKS:
        score = ne.metrics.CHECKS[name](source, target, query, predicted)
        return "silent" if abs(1 - score) < 0.5 else "right"
    if name in ne.metrics.CHANGES:
        score = ne.metrics.CHANGES[name](query, query + 1, predicted)
        return "silent" if abs(1 - score) < 0.5 else "right"
    if name == "harmed":
        given = ne.metrics.harmed(query, predicted, source=source, target=target)
        return "right" if given[2] else "silent"
    if name == "gap_closed":
        score = ne.metrics.gap_closed(ne.metrics.mean_wasserstein, query, query + 1, predicted)
        return "silent" if score > 0 else "right"
    if name in ne.metrics.AGREEMENTS:
        score = ne.metrics.AGREEMENTS[name](predicted, query + 1)
        return "silent" if abs(1 - score) < 0.5 else "right"
    score = ne.metrics.METRICS[name](predicted, query + 1)
    return "silent" if score < 1 else "right"


# threads


def run_threads(seed: int) -> str:
    """Train in two threads at once, again and again: each must have the bits of one alone, and torch the settings it had."""
    before = torch.get_float32_matmul_precision()

    def train(rng: int) -> bytes:
        adata = simulate(0)
        ne.tl.train(adata, widths=(64, 8), max_epochs=2 + 2 * (rng % 2), rng=rng)
        return bytes(np.ascontiguousarray(adata.obsm["X_neurons"]).tobytes())

    alone = [train(seed), train(seed + 1)]
    for _ in range(4):
        with ThreadPoolExecutor(2) as pool:
            if list(pool.map(train, (seed, seed + 1))) != alone:
                return "silent"
        if torch.get_float32_matmul_precision() != before:
            return "silent"
    return "right"
