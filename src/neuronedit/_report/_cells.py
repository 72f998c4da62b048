"""The cells that a report shows: a sample, the same each time, drawn evenly from batches and roles."""

import base64
import json
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from sklearn.cluster import KMeans

from .._cluster_names import name_cluster
from .._data.record import Tool
from ._names import split_numbers
from ._result import Result

MAX_CELLS_DRAWN = 20_000  # for distributions and compositions: a share of a batch's cells is then known within 1 %
MAX_CELLS_SHOWN = 5_000  # in plots of single cells: of more, none is seen
MAX_VALUES_SHOWN = 1_200_000  # 2 bytes each, and a third more as text: 3 MB
MAX_FEATURES_SHOWN = 40  # a panel of mass cytometry; of genes, those that change most
MAX_CELLS_TO_RANK = 2_000  # on which features are ranked where no table of them was recorded
N_CLUSTERS_SHOWN = 8  # that are found where none are labelled
ROLES_IN_ORDER = ["control", "held-out control", "sample", "source", "target", "truth", "query"]
ENDS_IN_ORDER = [" (control)", "", " (measured)", " (predicted)"]  # of treatments
NOT_SHOWN = 65_535  # in packed values: a cell that a state does not show
LEVELS = 65_534


@dataclass(frozen=True)
class CellSample:
    """Cells with their labels and values: ``values`` is state -> ``(n_cells, n_features)``, NaN where a state does not show a cell."""

    labels: pd.DataFrame  # role, population, and batch or sample where they are known
    features: list[str]  # in the order of the panel
    ranked: list[str]  # the same, those that change most first
    values: dict[str, np.ndarray]
    is_shown: np.ndarray  # which of the cells are shown one by one
    n_cells: int  # from which they were drawn
    n_features: int  # from which the features were chosen


def draw_cells(result: Result, rng: int) -> CellSample:
    """Draw the cells of a report, and read their values."""
    generator, labels = np.random.default_rng(rng), result.labels
    ranks = _rank_within(labels[[name for name in ("batch", "role") if name in labels]], generator)
    ranked = _rank_features(result, ranks)
    features = [name for name in result.features if name in set(ranked)]

    # cells
    drawn = np.flatnonzero(ranks < _find_quota(ranks, MAX_CELLS_DRAWN))
    values = {state: result.read(state, drawn, features) for state in result.states}
    n_shown = min(MAX_CELLS_SHOWN, MAX_VALUES_SHOWN // (len(features) * len(result.states)))
    of_drawn = labels.iloc[drawn].reset_index(drop=True)
    if "population" not in of_drawn:
        of_drawn["population"] = find_populations(list(values.values()), features, rng)
    is_shown = ranks[drawn] < _find_quota(ranks[drawn], n_shown)
    return CellSample(of_drawn, features, ranked, values, is_shown, len(labels), len(result.features))


def _rank_within(groups: pd.DataFrame, generator: np.random.Generator) -> np.ndarray:
    """Return a random rank of each cell within its group, from 0."""
    order = generator.permutation(len(groups))
    shuffled = groups.iloc[order]
    ranks = np.empty(len(groups), dtype=np.int64)
    ranks[order] = shuffled.groupby(list(groups), observed=True).cumcount().to_numpy()
    return ranks


def _find_quota(ranks: np.ndarray, n_cells: int) -> int:
    """Return how many cells of each group are taken, so that there are about ``n_cells`` at most."""
    n_of_rank = np.bincount(ranks)  # how many groups have a cell of this rank
    total = np.cumsum(n_of_rank)
    return max(1, int(np.searchsorted(total, n_cells, side="right")))


def _rank_features(result: Result, ranks: np.ndarray) -> list[str]:
    """Return the features that are shown, those that change most first."""
    table = result.content.get("features")
    if table is not None and len(table):
        names = table["feature"].astype(str) if "feature" in table else pd.Series(table.index, table.index).astype(str)
        size = table["change"].abs().groupby(names.to_numpy()).max()
    else:
        index = np.flatnonzero(ranks < _find_quota(ranks, MAX_CELLS_TO_RANK))
        roles = result.labels["role"].iloc[index].to_numpy()
        means = []
        for state in result.states:
            values = pd.DataFrame(result.read(state, index, result.features), columns=result.features)
            means.append(values.groupby(roles).mean())
        of_roles = pd.concat(means)
        size = of_roles.max() - of_roles.min()
    size = size.reindex(result.features).fillna(0)
    return [str(name) for name in size.sort_values(ascending=False, kind="stable").index[:MAX_FEATURES_SHOWN]]


def find_populations(states: list[np.ndarray], features: list[str], rng: int) -> np.ndarray:
    """Return the name of each cell's cluster, in the last state that shows it; the largest cluster is the first one found."""
    cells = states[-1].copy()
    for other in states[::-1]:
        is_missing = np.isnan(cells[:, 0])
        cells[is_missing] = other[is_missing]
    n_clusters = min(N_CLUSTERS_SHOWN, len(np.unique(cells, axis=0)))
    codes = KMeans(n_clusters, n_init=2, random_state=rng).fit_predict(cells)
    mean, spread = cells.mean(0), np.maximum(cells.std(0), 1e-6)
    names: dict[int, str] = {}
    for code in np.argsort(-np.bincount(codes), kind="stable"):
        name = name_cluster((cells[codes == code].mean(0) - mean) / spread, features)
        n_same = sum(other.split(" (")[0] == name for other in names.values())
        names[int(code)] = f"{name} ({n_same + 1})" if n_same else name
    return np.array([names[int(code)] for code in codes], dtype=object)


def pack_cells(result: Result, sample: CellSample, rng: int) -> str:
    """Return the cells that are shown one by one as JSON, which can stand in a page."""
    shown = np.random.default_rng(rng).permutation(np.flatnonzero(sample.is_shown))  # so that no batch hides another
    values = {state: cells[shown] for state, cells in sample.values.items()}
    stacked = np.stack(list(values.values()))  # (n_states, n_cells, n_features)
    low, high = np.nanmin(stacked, axis=(0, 1)), np.nanmax(stacked, axis=(0, 1))
    step = np.where(high > low, high - low, 1) / LEVELS
    content: dict[str, Any] = {
        "n": len(shown),
        "features": sample.features,
        "low": [float(f"{value:.6g}") for value in low],
        "step": [float(f"{value:.6g}") for value in step],
        "unit": describe_unit(result),
        "first": [sample.ranked[0], sample.ranked[min(1, len(sample.ranked) - 1)]],
        "states": result.states,
        "values": {state: _pack_values(cells, low, step) for state, cells in values.items()},
        "columns": [_pack_labels(sample.labels, name, title, shown) for name, title in list_columns(result, sample)],
    }
    return to_script(content)


def describe_unit(result: Result) -> str:
    """Return how values were transformed, for the names of axes; "" where it is not known."""
    cofactors = result.scale.get("arcsinh")
    if cofactors:
        return f"arcsinh, cofactor {cofactors[0]:g}" if len(cofactors) == 1 else "arcsinh"
    return next(iter(result.scale), "")


def list_columns(result: Result, sample: CellSample) -> list[tuple[str, str]]:
    """Return the columns that cells can be coloured and chosen by, and their titles; the first colours them at first."""
    role = "treatment" if result.tool is Tool.COMBINE else "role"
    columns = [("batch", "batch"), ("role", role), ("sample", "sample"), ("population", "population")]
    if result.tool is not Tool.CORRECT:
        columns = [columns[1], ("batch", "group"), *columns[2:]]
    return [(name, title) for name, title in columns if name in sample.labels]


def _pack_values(cells: np.ndarray, low: np.ndarray, step: np.ndarray) -> str:
    """Return values as text: 16 bits each, one feature after the other."""
    with np.errstate(invalid="ignore"):
        levels = np.where(np.isnan(cells), NOT_SHOWN, np.clip(np.rint((cells - low) / step), 0, LEVELS))
    return base64.b64encode(levels.astype("<u2").T.tobytes()).decode()


def _pack_labels(labels: pd.DataFrame, name: str, title: str, shown: np.ndarray) -> dict[str, Any]:
    """Return a column of labels as text: the names, and 16 bits a cell."""
    words = labels[name].to_numpy()
    names = list(dict.fromkeys(labels[name])) if name == "population" else sorted(set(words), key=order_roles)
    codes = pd.Categorical(words[shown], categories=names).codes
    return {"title": title, "names": names, "codes": base64.b64encode(codes.astype("<u2").tobytes()).decode()}


def order_roles(name: str) -> tuple[int, list[tuple[int, int, str]]]:
    """Sort roles as they are read, source before target and query, and other names by the alphabet and by their numbers."""
    if name in ROLES_IN_ORDER:
        return (ROLES_IN_ORDER.index(name), [])
    ends = [i for i, end in enumerate(ENDS_IN_ORDER) if end and name.endswith(end)]
    return (len(ROLES_IN_ORDER) + (ends[0] if ends else ENDS_IN_ORDER.index("")), split_numbers(name))


def to_script(content: Any) -> str:
    """Return JSON that ends no script, whatever names it holds."""
    text = json.dumps(content, ensure_ascii=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")  # fmt: skip
