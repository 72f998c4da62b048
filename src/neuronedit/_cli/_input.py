"""Cells in: which kind of file they are in, and how they are read and transformed."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from ._screen import Screen
from ._verb import refuse

TABLE_OPTIONS = ("metadata", "panel", "spillover")  # options of FCS files that name a table
ZARR_MARKS = ("zarr.json", ".zgroup", ".zattrs")
FCS_ENDINGS = (".fcs", ".fcs.gz")
TRANSFORMED = "arcsinh"  # layer with the transformed values of FCS files, so that X stays as it was recorded


class FileKind(StrEnum):
    """What holds cells."""

    H5AD = ".h5ad file"
    ZARR = ".zarr store"
    FCS = "FCS files"


@dataclass(frozen=True)
class InputFiles:
    """Files that are known to be there."""

    paths: Sequence[Path]
    kind: FileKind

    def read(self, settings: Any, screen: Screen) -> Any:
        """Return the cells as AnnData."""
        names = ", ".join(map(str, self.paths[:3])) + (
            f", ... ({len(self.paths)} in all)" if len(self.paths) > 3 else ""
        )
        screen.step(f"Reading {names}.")
        adata = (
            _read_fcs(self.paths, settings) if self.kind is FileKind.FCS else _read_anndata(self.paths[0], self.kind)
        )
        screen.step(f"Read {adata.n_obs:,} cells of {adata.n_vars:,} features.")
        return adata


def find_input(settings: Any) -> InputFiles:
    """Return the input once it is known to be there, and what belongs to FCS files alone is given with them alone."""
    paths = list(settings.input)
    for path in paths:
        if not (path.is_file() or path.is_dir()):
            refuse(f"{path} is not a file or folder{'.' if not path.exists() else ': it is something else.'}")
        if not os.access(path, os.R_OK):
            raise PermissionError(f"{path} may not be read.")
    found = InputFiles(paths, _find_kind(paths))
    for name in TABLE_OPTIONS:
        path = getattr(settings, name)
        if path is not None and found.kind is not FileKind.FCS:
            refuse(f"--{name} is for FCS files; {paths[0]} is no FCS file.")
        if path is not None and not path.is_file():
            refuse(f"--{name} {path} is not a file.")
    if settings.compensate and found.kind is not FileKind.FCS:
        refuse(f"--compensate is for FCS files; {paths[0]} is no FCS file.")
    if settings.layer is not None and found.kind is FileKind.FCS:
        refuse("--layer is for .h5ad and .zarr files; FCS files have no layers.")
    return found


def list_besides(settings: Any) -> list[Path]:
    """Return whatever is read besides the cells: tables and a model."""
    named = [getattr(settings, name, None) for name in (*TABLE_OPTIONS, "model")]
    return [path for path in named if path is not None]


def _find_kind(paths: Sequence[Path]) -> FileKind:
    """Return what the input is, by its names and by what is in folders."""
    if all(path.is_file() and path.name.lower().endswith(FCS_ENDINGS) for path in paths):
        return FileKind.FCS
    if len(paths) > 1:
        other = next(path for path in paths if not path.name.lower().endswith(FCS_ENDINGS) or not path.is_file())
        refuse(f"{other} is no FCS file: only of those several may be given.")
    (path,) = paths
    if path.is_file():
        return FileKind.H5AD
    if any((path / mark).exists() for mark in ZARR_MARKS):
        return FileKind.ZARR
    if any(child.name.lower().endswith(FCS_ENDINGS) for child in path.iterdir()):
        return FileKind.FCS
    refuse(f"{path} is a folder without FCS files, and no .zarr store.")


def _read_anndata(path: Path, kind: FileKind) -> Any:
    """Read a file or store; whatever is wrong with it is said in one sentence."""
    import anndata

    try:
        return anndata.read_zarr(path) if kind is FileKind.ZARR else anndata.read_h5ad(path)
    except MemoryError:
        raise
    except Exception as error:  # noqa: BLE001 (a file may hold anything)
        reason = " ".join(str(error).split())[:300].rstrip(".")
        name = ".zarr" if kind is FileKind.ZARR else ".h5ad"
        raise ValueError(f"{path} cannot be read as {name}: {reason}.") from None


def _read_fcs(paths: Sequence[Path], settings: Any) -> Any:
    """Read FCS files with their metadata and panel."""
    import neuronedit as ne

    files: Any = paths[0] if len(paths) == 1 else list(paths)
    how: dict[str, Any] = {
        "metadata": settings.metadata,
        "panel": settings.panel,
        "compensate": settings.spillover or settings.compensate,
    }
    return ne.io.read_fcs(files, **how)


def list_used(adata: Any) -> list[str]:
    """Return the features that are trained on: those that the panel uses, else all."""
    names = adata.var_names
    return list(names[adata.var["used"].to_numpy(dtype=bool)] if "used" in adata.var else names)


def transform_cells(adata: Any, files: InputFiles, settings: Any, screen: Screen, model: Any = None) -> str | None:
    """Apply arcsinh as it is asked for; return the layer to read, `None` for X.

    Of FCS files X stays as it was recorded, and the transformed values are a layer. A model's cofactors are taken before the panel's.
    """
    import neuronedit as ne

    if files.kind is not FileKind.FCS:
        if settings.cofactor is not None:
            ne.pp.arcsinh(adata, dict.fromkeys(list_used(adata), settings.cofactor), layer=settings.layer)
        return settings.layer
    cofactors = find_cofactors(adata, settings.cofactor, model)
    values = sorted(set(cofactors.values()))
    screen.step(
        f"Applying arcsinh to {len(cofactors)} channels, cofactor {', '.join(f'{value:g}' for value in values)}."
    )
    ne.pp.arcsinh(adata, cofactors, key_added=TRANSFORMED)
    return TRANSFORMED


def find_cofactors(adata: Any, cofactor: float | None, model: Any = None) -> dict[str, float]:
    """Return the cofactor of each channel that is used."""
    from .._data.check import format_choices

    used = list_used(adata)
    if not used:
        refuse("none of the channels is used: name those to train on in --panel, with a class.")
    if cofactor is not None:
        return dict.fromkeys(used, cofactor)
    known = [] if model is None else [name for name in model.var if name.endswith("_arcsinh_cofactor")]
    source = model.var[known[0]] if known else adata.var.get("cofactor")
    found = {} if source is None else {name: float(value) for name, value in source.items() if value == value}
    found = {name: found[name] for name in used if name in found}
    if not found:
        refuse("the values of FCS files look raw, and the panel has no column cofactor: give --cofactor. 5 is usual for "
               "mass cytometry, 150 for flow cytometry.")  # fmt: skip
    if missing := [name for name in used if name not in found]:
        refuse(f"the panel names no cofactor for {format_choices(missing)}: complete it, or give --cofactor for all.")
    return found
