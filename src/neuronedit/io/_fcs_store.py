"""A study that is too large for memory: written file by file into a new zarr store, and opened from there."""

import importlib.util
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import zarr
from anndata import AnnData
from anndata.io import read_elem, write_elem

from .. import _slots
from .._data.store_files import drop_consolidated
from .._data.work_folder import WorkFolder, explain_os_errors
from ._fcs_study import Study

ROWS_PER_CHUNK = 16_384  # of events: 2.6 MB of 40 channels
MAX_NAMES_LOADED = 2_000_000  # names of events; more of them would fill the memory


def check_store(path: str | PathLike[str]) -> Path:
    """Return where a store will be, once it is known that it can be written and opened."""
    if missing := [name for name in ("dask", "xarray") if importlib.util.find_spec(name) is None]:
        raise ImportError(f"write_to= needs {' and '.join(missing)}: pip install 'neuronedit[dask]'.")
    path = Path(path)
    if path.exists():
        raise FileExistsError(f"{path} exists; choose another write_to, or delete it.")
    if not path.parent.is_dir():
        raise FileNotFoundError(f"The folder {path.parent} does not exist.")
    return path


def write_study(study: Study, path: Path) -> AnnData:
    """Write a store beside its place, move it there once it is whole, and open it."""
    folder = WorkFolder(path)
    with folder.use(), explain_os_errors(path):
        AnnData(var=study.make_var(), uns={_slots.FCS: study.make_record()}).write_zarr(folder.setup)
        drop_consolidated(folder.setup)
        group = zarr.open_group(folder.setup, mode="r+", use_consolidated=False)
        _write_obs(group, study)
        layout: dict[str, Any] = {"shape": (study.n_events, len(study.features)), "dtype": study.dtype}
        layout["chunks"] = (min(ROWS_PER_CHUNK, max(study.n_events, 1)), len(study.features))
        matrix = group.create_array("X", **layout, fill_value=np.nan, overwrite=True)
        matrix.attrs.update({"encoding-type": "array", "encoding-version": "0.2.0"})
        first = 0
        for name, data_set in study.data_sets.items():
            matrix[first : first + data_set.n_events] = study.read_events(name)
            first += data_set.n_events
            folder.show_life()
        folder.setup.rename(path)
    return open_store(path)


def open_store(path: Path) -> AnnData:
    """Open a store: X is a dask array, obs is read when it is used, var and uns are in memory.

    anndata would turn the names of the events into 2 GB of strings for 20 million; so many events are numbered instead.
    """
    from anndata.experimental import read_elem_lazy, read_lazy

    group = zarr.open_group(path, mode="r", use_consolidated=False)
    var, uns = read_elem(group["var"]), read_elem(group["uns"])
    if group["X"].shape[0] > MAX_NAMES_LOADED:
        return AnnData(read_elem_lazy(group["X"]), obs=_open_numbered(group["obs"]), var=var, uns=uns)
    adata = read_lazy(group)
    adata.var, adata.uns = var, uns
    return adata


def _open_numbered(obs: Any) -> Any:
    """Return the columns of obs as a data set of xarray, which needs no names: numbers in the file, categories in memory."""
    import xarray as xr
    from anndata.experimental import read_elem_lazy

    columns = {}
    for name in obs.attrs["column-order"]:
        is_array = isinstance(obs[name], zarr.Array)
        columns[name] = ("obs_names", read_elem_lazy(obs[name]) if is_array else read_elem(obs[name]))
    n_events = obs["event"].shape[0]
    return xr.Dataset(columns, coords={"obs_names": pd.RangeIndex(n_events, name="obs_names")})


def _write_obs(group: Any, study: Study) -> None:
    """Write obs a column at a time, and the names of the events a file at a time."""
    makers = study.make_obs_columns()
    write_elem(group, "obs", pd.DataFrame(index=pd.Index([], dtype=str)))
    obs = group["obs"]
    obs.attrs["column-order"] = list(makers)
    options = {"dataset_kwargs": {"chunks": (min(ROWS_PER_CHUNK, max(study.n_events, 1)),)}}
    for name, make in makers.items():
        write_elem(obs, name, make())
    write_elem(obs, "_index", np.array([""], dtype=object), **options)
    index = obs["_index"]
    index.resize((study.n_events,))
    first = 0
    for name, data_set in study.data_sets.items():
        if data_set.n_events:
            index[first : first + data_set.n_events] = np.array(study.name_events(name), dtype=object)
        first += data_set.n_events
