"""Planted kinds of cells: where each lies, how each moves, and how many of each there are, is known."""

from dataclasses import dataclass

import numpy as np
import pytest
import torch


@dataclass(frozen=True)
class Planted:
    """Cells before and after a change, the kind of each, and the shift of each kind, ``(n_kinds, n_features)``."""

    source: torch.Tensor
    target: torch.Tensor
    source_kinds: np.ndarray
    target_kinds: np.ndarray
    shifts: np.ndarray

    @property
    def size(self):
        """Return how far cells move, the mean over kinds and features."""
        return float(np.abs(self.shifts).mean())

    @property
    def strata(self):
        """Return the kinds as labels."""
        return self.source_kinds.astype(str), self.target_kinds.astype(str)


def draw_kinds(shares, variation, n, generator):
    """Draw so many cells, exactly, of kinds whose shares differ by a total variation from those that are given."""
    half, moved = len(shares) // 2, shares.copy()
    moved[:half] *= 1 - variation / shares[:half].sum()
    moved[half:] *= 1 + variation / shares[half:].sum()
    counts = np.diff(np.round(n * np.cumsum([0, *moved])).astype(int))
    return generator.permutation(np.repeat(np.arange(len(shares)), counts))


@pytest.fixture
def plant():
    """A function that plants six kinds of cells; they do not move, or move alike, or each by a shift of its own, too."""

    def plant(change="alike", *, of_source=0.0, of_target=0.0, n=900, n_features=8, apart=3.0, seed=0, seed_of_cells=0):
        # places and shifts
        generator, n_kinds = np.random.default_rng(seed), 6
        places, common = apart * generator.normal(size=(n_kinds, n_features)), 1.5 * generator.normal(size=n_features)
        own = 0.5 * generator.normal(size=(n_kinds, n_features))
        shifts = {"none": 0 * own, "alike": 0 * own + common, "own": own + common}[change]
        # cells: the total variation of their composition from 7, 6, 5, 4, 3, 2 is as asked
        generator, shares = np.random.default_rng(seed_of_cells), np.arange(7.0, 1, -1) / 27
        sides = []
        for variation, moved in ((of_source, 0 * shifts), (of_target, shifts)):
            kinds = draw_kinds(shares, variation, n, generator)
            cells = places[kinds] + moved[kinds] + generator.normal(size=(n, n_features))
            sides.append((torch.from_numpy(cells.astype(np.float32)), kinds))
        (source, source_kinds), (target, target_kinds) = sides
        return Planted(source, target, source_kinds, target_kinds, shifts)

    return plant
