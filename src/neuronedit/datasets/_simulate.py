"""Mass-cytometry-like cells with a known truth."""

from collections.abc import Mapping

import numpy as np
import pandas as pd
from anndata import AnnData

from .. import _slots

CELL_TYPES = ["CD4 T", "CD8 T", "B", "NK", "monocyte", "dendritic"]
NAMES = [
    "CD3",
    "CD4",
    "CD8",
    "CD19",
    "CD20",
    "CD56",
    "CD14",
    "CD16",
    "HLADR",
    "CD11c",
    "CD45RA",
    "CD27",
    "CCR6",
    "IFNg",
]
NAMES += ["TNFa", "IL2", "p4EBP1", "pSTAT5", "pERK", "pAKT", "pS6", "CD38", "CD57", "PD1", "CD25", "CD127", "CXCR3"]
NAMES += ["CCR7", "CD161", "CD95", "CD28", "Ki67", "GzmB", "Perforin", "CD86"]
COFACTOR = 5.0


def simulate_batches(n_cells: int = 2_000, *, n_markers: int = 35, batch_effect: float = 1.0, rng: int = 0) -> AnnData:
    """Simulate the paper's spike-in experiment: a control and a patient sample, each measured in two batches.

    Cells of six types express marker programs, with dependent noise and a pile of zeros, on the scale of
    ``arcsinh(counts / 5)``. Batch 1 multiplies the counts of every marker but CCR6 by a gain, far below 1 for IFNg, that
    is stronger in cells that stain more: on the arcsinh scale this is neither a constant shift nor a function of the marker
    alone. The samples truly differ from the controls: other proportions of cell types, and sample 1 has more
    CCR6.

    Examples
    --------
    >>> import neuronedit as ne
    >>> adata = ne.datasets.simulate_batches(n_cells=500)
    >>> adata.shape
    (2000, 35)

    Parameters
    ----------
    n_cells
        Cells of each of the four populations.
    n_markers
        At least 16; more than 35 are numbered.
    batch_effect
        Size of the batch effect; 0 switches it off.
    rng
        Seed.

    Returns
    -------
    ``4 * n_cells`` cells. ``obs``: ``group`` ("control_1", "control_2", "sample_1", "sample_2"), ``batch``, ``role``
    ("control", "sample"), ``cell_type``. ``var["batch_effect"]``: logarithm of batch 1's gain. ``layers["truth"]``: the
    same cells as batch 2 would have read them (batch 2's own unchanged).
    """
    generator = np.random.default_rng(rng)
    markers = _markers(n_markers)
    programs = _programs(markers, generator)
    mixed, skewed = np.array([0.3, 0.2, 0.15, 0.1, 0.2, 0.05]), np.array([0.15, 0.3, 0.05, 0.1, 0.3, 0.1])
    populations = {
        "control_1": ("batch_1", "control", mixed, 0.0),
        "control_2": ("batch_2", "control", mixed, 0.0),
        "sample_1": ("batch_1", "sample", skewed, 1.2),
        "sample_2": ("batch_2", "sample", skewed * [2, 1, 1, 1, 0.5, 1], 0.3),
    }
    log_gain = generator.normal(scale=0.2, size=n_markers)
    strong = {"IFNg": -1.5, "CD45RA": -0.8, "TNFa": -0.7, "HLADR": -0.6, "CD27": 0.5, "CCR6": 0.0}
    log_gain[[markers.index(name) for name in strong]] = list(strong.values())
    log_gain *= batch_effect

    parts, frames = [], []
    for group, (batch, role, proportions, ccr6) in populations.items():
        values, staining, types = _cells(n_cells, programs, proportions / proportions.sum(), generator)
        values[:, markers.index("CCR6")] += ccr6
        gain = np.exp(log_gain * (1 + 0.5 * np.tanh(staining))) if batch == "batch_1" else 1.0
        noise = generator.normal(scale=0.15, size=values.shape)
        parts.append((np.arcsinh(np.sinh(values) * gain) + noise, values + noise))
        frames.append(pd.DataFrame({"group": group, "batch": batch, "role": role, "cell_type": types}))
    measured, truth = (np.concatenate(layer) for layer in zip(*parts, strict=True))
    adata = _annotate(measured, pd.concat(frames), markers, truth)
    adata.var["batch_effect"] = log_gain
    return adata


def simulate_combination(
    n_cells: int = 2_000, *, n_markers: int = 35, interaction: float = 0.0, rng: int = 0
) -> AnnData:
    """Simulate cells without treatment, under drug A, under drug B, and under both.

    Cells are made as in `simulate_batches`. A lowers p4EBP1 and pS6, the more the higher they are, and raises Ki67 in T
    cells; B lowers pSTAT5 and raises CD38. Without interaction the effects of A and B add up.

    Examples
    --------
    >>> import neuronedit as ne
    >>> ne.datasets.simulate_combination(n_cells=500).obs["condition"].unique().tolist()
    ['basal', 'A', 'B', 'A+B']

    Parameters
    ----------
    n_cells
        Cells of each of the four populations.
    n_markers
        At least 32; more than 35 are numbered.
    interaction
        How far A and B together depart from the sum on pERK and p4EBP1: positive is more than the sum (synergy), negative
        less (antagonism), 0 none.
    rng
        Seed.

    Returns
    -------
    ``4 * n_cells`` cells. ``obs``: ``condition`` ("basal", "A", "B", "A+B"), ``cell_type``. ``layers["truth"]``: the cells of
    B as they would be under A+B (all others unchanged).
    """
    generator = np.random.default_rng(rng)
    markers = _markers(n_markers)
    programs = _programs(markers, generator)
    for name in ("p4EBP1", "pS6", "pSTAT5", "pERK"):
        programs[:, markers.index(name)] = generator.uniform(1.5, 3.5, size=len(CELL_TYPES))
    proportions = np.array([0.3, 0.2, 0.15, 0.1, 0.2, 0.05])

    def under(drugs: frozenset[str], values: np.ndarray, is_t_cell: np.ndarray) -> np.ndarray:
        change: Mapping[str, np.ndarray | float] = {}
        if "A" in drugs:
            level = {name: values[:, markers.index(name)] for name in ("p4EBP1", "pS6")}
            change = {"p4EBP1": -0.5 * level["p4EBP1"], "pS6": -0.3 * level["pS6"], "Ki67": 0.8 * is_t_cell}
        effect = np.zeros_like(values)
        for name, size in change.items():
            effect[:, markers.index(name)] += size
        if "B" in drugs:
            effect[:, markers.index("pSTAT5")] -= 0.9
            effect[:, markers.index("CD38")] += 0.7
        if drugs == {"A", "B"}:
            effect[:, markers.index("pERK")] -= interaction
            effect[:, markers.index("p4EBP1")] -= interaction / 2
        return values + effect

    parts, frames = [], []
    for condition in ("basal", "A", "B", "A+B"):
        values, _, types = _cells(n_cells, programs, proportions, generator)
        is_t_cell = np.isin(types, ["CD4 T", "CD8 T"])
        drugs = frozenset(condition.split("+")) & {"A", "B"}
        noise = generator.normal(scale=0.15, size=values.shape)
        measured = under(drugs, values, is_t_cell) + noise
        truth = under(frozenset("AB"), values, is_t_cell) + noise if condition == "B" else measured
        parts.append((measured, truth))
        frames.append(pd.DataFrame({"condition": condition, "cell_type": types}))
    measured, truth = (np.concatenate(layer) for layer in zip(*parts, strict=True))
    return _annotate(measured, pd.concat(frames), markers, truth)


def _markers(n_markers: int) -> list[str]:
    needed = max(NAMES.index(name) for name in ("IFNg", "CCR6", "Ki67", "CD38")) + 1
    if n_markers < needed:
        raise ValueError(f"n_markers must be at least {needed}; it is {n_markers}.")
    return (NAMES + [f"marker_{i}" for i in range(len(NAMES), n_markers)])[:n_markers]


def _programs(markers: list[str], generator: np.random.Generator) -> np.ndarray:
    """Mean of each marker in each cell type: absent, intermediate or high."""
    programs = generator.choice([0.1, 1.5, 3.0, 4.0], p=[0.5, 0.2, 0.2, 0.1], size=(len(CELL_TYPES), len(markers)))
    programs[:, markers.index("IFNg")] = [2.5, 3.0, 1.0, 3.5, 1.5, 1.0]
    programs[:, markers.index("CCR6")] = [1.5, 1.0, 2.5, 0.5, 1.0, 1.5]
    return programs


def _cells(
    n_cells: int, programs: np.ndarray, proportions: np.ndarray, generator: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Draw cells: their markers before noise, ``(n_cells, n_markers)``, their overall staining, and their types."""
    kinds = generator.choice(len(CELL_TYPES), p=proportions, size=n_cells)
    staining = generator.normal(size=(n_cells, 1))
    activation = generator.normal(size=(n_cells, 3)) @ np.random.default_rng(0).normal(
        scale=0.25, size=(3, programs.shape[1])
    )
    values = programs[kinds] * (1 + 0.12 * staining) + activation
    return values, staining, np.array(CELL_TYPES)[kinds]


def _annotate(measured: np.ndarray, obs: pd.DataFrame, markers: list[str], truth: np.ndarray) -> AnnData:
    """Make the AnnData: values below zero are zero, as counts are."""
    obs.index = [f"c{i}" for i in range(len(obs))]
    adata = AnnData(np.maximum(measured, 0).astype(np.float32), obs=obs, var=pd.DataFrame(index=markers))
    for column in obs:
        adata.obs[column] = pd.Categorical(obs[column], categories=obs[column].unique())
    adata.layers["truth"] = np.maximum(truth, 0).astype(np.float32)
    adata.var[_slots.cofactor(None)] = adata.var[_slots.cofactor("truth")] = COFACTOR
    return adata
