"""Where edited cells are written: names, bounds and strengths, checked before any work."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any, Self

import numpy as np
from anndata import AnnData

from .. import _slots
from .record import Tool, check_free
from .space import TrainedSpace
from .store_files import Progress
from .work_folder import WorkFolder, explain_os_errors


@dataclass(frozen=True)
class Output:
    """Where edited cells are written: the key, a layer for each strength, bounds, and the store if they go into a file."""

    key: str
    strengths: list[float]
    bounds: tuple[float, float] = (-np.inf, np.inf)
    write_to: str | PathLike[str] | None = None
    order: tuple[str, ...] = ()  # the edits that made the layer that is read, the first one first

    @classmethod
    def read(
        cls,
        adata: AnnData,
        space: TrainedSpace,
        key: str,
        strength: float | Sequence[float] = 1.0,
        bounds: tuple[float | None, float | None] | None = None,
        write_to: str | PathLike[str] | None = None,
        *,
        copy: bool = False,
        path: bool = False,  # allows several strengths
        tool: Tool = Tool.EDIT,
        layers: Collection[str] | None = None,  # that are written; None: the edit's own, with all that belongs to it
    ) -> Self:
        """Read what the caller asked for, once it makes sense and the names are free."""
        if write_to is not None and copy:
            raise ValueError("with write_to= the edited cells go into a new store: copy cannot be given.")
        given = np.atleast_1d(np.asarray(strength))
        strengths = [float(value) for value in given.ravel()] if given.dtype.kind in "iuf" and given.ndim == 1 else []
        if not strengths or not np.isfinite(strengths).all() or len(set(strengths)) < len(strengths):
            raise ValueError(f"strength must be a finite number, or several different ones; it is {strength!r}.")
        if len(strengths) > 1 and not path:
            raise ValueError(f"strength must be one number here; it is {strength!r}.")
        if bounds is not None and len(bounds) != 2:
            raise ValueError(f"bounds must be two values, the lowest and the highest; they are {bounds!r}.")
        low, high = bounds or (None, None)
        low, high = -np.inf if low is None else float(low), np.inf if high is None else float(high)
        if not low < high:
            wanted = "the lowest and the highest value, or None for either"
            raise ValueError(f"bounds must be {wanted}; they are {bounds!r}.")
        if key is not None and space.layer == key:
            raise ValueError(f"key_added={key!r} is the layer that is edited; choose another.")
        record = adata.uns.get(space.layer, {}) if space.layer is not None else {}
        order = tuple(str(name) for name in record["order"]) if "order" in record else ()
        output = cls(key, strengths, (low, high), write_to, order)
        slots: dict[str, list[str]] = {"layers": output.layers if layers is None else list(layers)}
        if layers is None:
            slots |= {"obs": [_slots.support(key), _slots.distance(key)], "obsm": [_slots.neurons_edited(key)]}
        slots["var"] = find_other_cofactors(adata, space.layer, slots["layers"])
        check_free(adata, key, tool, spaces=space.keys, **slots)
        if output.store is not None:
            with explain_os_errors(output.store):
                WorkFolder(output.store).check_free()
                if output.store.exists():
                    Progress.read(output.store)
        return output

    @property
    def store(self) -> Path | None:
        """Return where the store is, whatever link leads there."""
        return None if self.write_to is None else Path(self.write_to).resolve()

    @property
    def layers(self) -> list[str]:
        """Return the names of the layers, that of the last strength the last."""
        return [*(f"{self.key}_{value:g}" for value in self.strengths[:-1]), self.key]

    @property
    def strength(self) -> float:
        """Return the last strength: the one that the record is about."""
        return self.strengths[-1]

    def to_uns(self) -> dict[str, Any]:
        """Return what a record keeps of it."""
        return {"layers": np.array(self.layers, dtype=str), "order": np.array([*self.order, self.key], dtype=str)}


def find_other_cofactors(adata: AnnData, layer: str | None, to: Collection[str]) -> list[str]:
    """Return the columns of var that `copy_cofactor` would change."""
    columns = [one for name in to for one in zip(_slots.scale(layer), _slots.scale(name), strict=True)]
    there = [(column, name) for column, name in columns if column in adata.var and name in adata.var]
    return [name for column, name in there if not adata.var[name].equals(adata.var[column])]


def copy_cofactor(adata: AnnData, layer: str | None, to: str | None) -> None:
    """Write the arcsinh cofactors, and logicle parameters, of a layer for one that was made of it."""
    for column, name in zip(_slots.scale(layer), _slots.scale(to), strict=True):
        if column in adata.var:
            adata.var[name] = adata.var[column]
