"""Mass-cytometry-like cells with a known truth."""

from collections.abc import Collection

import numpy as np
import pandas as pd
from anndata import AnnData

from .. import _slots
from .._check import Count, Seed

CELL_TYPES = ["CD4 T", "CD8 T", "B", "NK", "monocyte", "dendritic"]
CELL_TYPE_SHARES = np.array([0.3, 0.2, 0.15, 0.1, 0.2, 0.05])

MARKER_NAMES = [
    "CD3", "CD4", "CD8", "CD19", "CD20", "CD56", "CD14", "CD16", "HLADR", "CD11c", "CD45RA", "CD27", "CCR6", "IFNg", "TNFa",
    "IL2", "p4EBP1", "pSTAT5", "pERK", "pAKT", "pS6", "CD38", "CD57", "PD1", "CD25", "CD127", "CXCR3", "CCR7", "CD161", "CD95",
    "CD28", "Ki67", "GzmB", "Perforin", "CD86",
]  # fmt: skip
COFACTOR = 5.0


def simulate_batches(
    n_cells: Count = 2_000, *, n_markers: int = 35, batch_effect: float = 1.0, rng: Seed = 0
) -> AnnData:
    """Simulate the paper's spike-in experiment: a control and a patient sample, each measured in two batches.

    Cells of six types express marker programs, with dependent noise and many zeros, on the scale of
    ``arcsinh(counts / 5)``. Batch 1 multiplies the counts of every marker but CCR6 by a gain, far below 1 for IFNg. The gain is
    stronger in cells that stain more: on the arcsinh scale this is neither a constant shift nor a function of the marker
    alone. The samples truly differ from the controls: they have other proportions of cell types, and sample 1 has more CCR6.

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
        At least 32; more than 35 are numbered.
    batch_effect
        Size of the batch effect; 0 switches it off.
    %(rng)s

    Returns
    -------
    ``4 * n_cells`` cells. ``obs``: ``group`` ("control_1", "control_2", "sample_1", "sample_2"), ``batch``, ``role``
    ("control", "sample"), ``cell_type``. ``var["batch_effect"]``: logarithm of batch 1's gain. ``layers["truth"]``: the
    same cells as measured in batch 2 (those of batch 2 unchanged).
    """
    numpy_rng = np.random.default_rng(rng)
    markers = _list_markers(n_markers)
    programs = _draw_programs(markers, numpy_rng)
    skewed = np.array([0.15, 0.3, 0.05, 0.1, 0.3, 0.1])
    populations = {  # batch, role, shares of cell types, and how much more CCR6
        "control_1": ("batch_1", "control", CELL_TYPE_SHARES, 0.0),
        "control_2": ("batch_2", "control", CELL_TYPE_SHARES, 0.0),
        "sample_1": ("batch_1", "sample", skewed, 1.2),
        "sample_2": ("batch_2", "sample", skewed * [2, 1, 1, 1, 0.5, 1], 0.3),
    }
    # the batch effect
    log_gain = numpy_rng.normal(scale=0.2, size=n_markers)
    strong = {"IFNg": -1.5, "CD45RA": -0.8, "TNFa": -0.7, "HLADR": -0.6, "CD27": 0.5, "CCR6": 0.0}
    log_gain[[markers.index(name) for name in strong]] = list(strong.values())
    log_gain *= batch_effect

    # the cells
    measured, truth, frames = [], [], []
    for group, (batch, role, shares, ccr6) in populations.items():
        values, staining, types = _simulate_cells(n_cells, programs, shares / shares.sum(), numpy_rng)
        values[:, markers.index("CCR6")] += ccr6
        gain = np.exp(log_gain * (1 + 0.5 * np.tanh(staining))) if batch == "batch_1" else 1.0
        noise = numpy_rng.normal(scale=0.15, size=values.shape)
        measured.append(np.arcsinh(np.sinh(values) * gain) + noise)
        truth.append(values + noise)
        frames.append(pd.DataFrame({"group": group, "batch": batch, "role": role, "cell_type": types}))
    adata = _annotate(np.concatenate(measured), pd.concat(frames), markers, np.concatenate(truth))
    adata.var["batch_effect"] = log_gain
    return adata


def simulate_combination(
    n_cells: Count = 2_000, *, n_markers: int = 35, interaction: float = 0.0, rng: Seed = 0
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
    %(rng)s

    Returns
    -------
    ``4 * n_cells`` cells. ``obs``: ``condition`` ("basal", "A", "B", "A+B"), ``cell_type``. ``layers["truth"]``: the cells of
    B as they would be under A+B (all others unchanged).
    """
    # what cells of each type express
    numpy_rng = np.random.default_rng(rng)
    markers = _list_markers(n_markers)
    programs = _draw_programs(markers, numpy_rng)
    for name in ("p4EBP1", "pS6", "pSTAT5", "pERK"):
        programs[:, markers.index(name)] = numpy_rng.uniform(1.5, 3.5, size=len(CELL_TYPES))

    def treat(drugs: Collection[str], values: np.ndarray, is_t_cell: np.ndarray) -> np.ndarray:
        """Return the cells under these drugs."""
        effect = np.zeros_like(values)
        if "A" in drugs:
            effect[:, markers.index("p4EBP1")] += -0.5 * values[:, markers.index("p4EBP1")]
            effect[:, markers.index("pS6")] += -0.3 * values[:, markers.index("pS6")]
            effect[:, markers.index("Ki67")] += 0.8 * is_t_cell
        if "B" in drugs:
            effect[:, markers.index("pSTAT5")] -= 0.9
            effect[:, markers.index("CD38")] += 0.7
        if "A" in drugs and "B" in drugs:
            effect[:, markers.index("pERK")] -= interaction
            effect[:, markers.index("p4EBP1")] -= interaction / 2
        return values + effect

    # the cells
    measured, truth, frames = [], [], []
    for condition in ("basal", "A", "B", "A+B"):
        values, _, types = _simulate_cells(n_cells, programs, CELL_TYPE_SHARES, numpy_rng)
        is_t_cell = np.isin(types, ["CD4 T", "CD8 T"])
        noise = numpy_rng.normal(scale=0.15, size=values.shape)
        measured.append(treat(condition.split("+"), values, is_t_cell) + noise)
        truth.append(treat(["A", "B"], values, is_t_cell) + noise if condition == "B" else measured[-1])
        frames.append(pd.DataFrame({"condition": condition, "cell_type": types}))
    return _annotate(np.concatenate(measured), pd.concat(frames), markers, np.concatenate(truth))


def _list_markers(n_markers: int) -> list[str]:
    """Return the names of so many markers, those beyond the list by number."""
    needed = max(MARKER_NAMES.index(name) for name in ("IFNg", "CCR6", "Ki67", "CD38")) + 1
    if n_markers < needed:
        raise ValueError(f"n_markers must be at least {needed}; it is {n_markers}.")
    return (MARKER_NAMES + [f"marker_{i}" for i in range(len(MARKER_NAMES), n_markers)])[:n_markers]


def _draw_programs(markers: list[str], numpy_rng: np.random.Generator) -> np.ndarray:
    """Return the mean of each marker in each cell type, ``(n_types, n_markers)``: absent, intermediate or high."""
    programs = numpy_rng.choice([0.1, 1.5, 3.0, 4.0], p=[0.5, 0.2, 0.2, 0.1], size=(len(CELL_TYPES), len(markers)))
    programs[:, markers.index("IFNg")] = [2.5, 3.0, 1.0, 3.5, 1.5, 1.0]
    programs[:, markers.index("CCR6")] = [1.5, 1.0, 2.5, 0.5, 1.0, 1.5]
    return programs


def _simulate_cells(
    n_cells: int, programs: np.ndarray, shares: np.ndarray, numpy_rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the markers of cells before noise, ``(n_cells, n_markers)``, their overall staining, ``(n_cells, 1)``, and types."""
    kinds = numpy_rng.choice(len(CELL_TYPES), p=shares, size=n_cells)
    staining = numpy_rng.normal(size=(n_cells, 1))
    loadings = np.random.default_rng(0).normal(scale=0.25, size=(3, programs.shape[1]))  # the same in all populations
    activation = numpy_rng.normal(size=(n_cells, 3)) @ loadings
    values = programs[kinds] * (1 + 0.12 * staining) + activation
    return values, staining, np.array(CELL_TYPES)[kinds]


def _annotate(measured: np.ndarray, obs: pd.DataFrame, markers: list[str], truth: np.ndarray) -> AnnData:
    """Make the AnnData. Values below zero become zero, the lowest count."""
    obs.index = [f"c{i}" for i in range(len(obs))]
    adata = AnnData(np.maximum(measured, 0).astype(np.float32), obs=obs, var=pd.DataFrame(index=markers))
    for column in obs:
        adata.obs[column] = pd.Categorical(obs[column], categories=obs[column].unique())
    adata.layers["truth"] = np.maximum(truth, 0).astype(np.float32)
    adata.var[_slots.cofactor(None)] = adata.var[_slots.cofactor("truth")] = COFACTOR
    return adata
