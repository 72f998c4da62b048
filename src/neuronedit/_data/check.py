"""Messages: what is refused before any work. Errors say what was given and what exists."""

from collections.abc import Callable, Collection, Hashable, Mapping, Sequence
from difflib import get_close_matches
from inspect import Parameter, signature
from typing import Any

import numpy as np
import pandas as pd
from anndata import AnnData
from scipy import sparse

from .. import _slots
from .._check import check_arguments

# value(s) of groupby, or a dict of obs column -> value(s)
Selector = Hashable | Collection[Any] | Mapping[str, Any]

RESERVED = ("_index", "zarr.json", ".zgroup", ".zarray", ".zattrs", ".zmetadata")  # names that files use themselves
NEURONS_LEFT_OUT = "Neurons of more than 128 MiB are left out: edit fewer cells to look at theirs."
MAX_NAMES_SHOWN = 12  # names that an error lists, so that it stays one paragraph
MAX_NAMES_COMPARED = 20_000  # with one that is not there, to find what was meant
MIN_LIKENESS = 0.7  # of the name that was meant: twice the letters in common, as a share of those of both


def format_choices(names: Any, max_shown: int = MAX_NAMES_SHOWN, *, near: Any = None) -> str:
    """List names for an error, the first few of them, and the one that ``near`` may be a slip of."""
    names = [name.item() if isinstance(name, np.generic) else name for name in names]
    if not names:
        return "none"
    more = f", ... ({len(names)} in all)" if len(names) > max_shown else ""
    nearest = None if near is None else _find_nearest(near, names)
    hint = "" if nearest is None else f" (did you mean {nearest}?)"
    return ", ".join(map(repr, names[:max_shown])) + more + hint


def _find_nearest(name: Any, names: Sequence[Any]) -> str | None:
    """Return the name, if any, that another one may be a slip of: letters that are lost, swapped or of the other case."""
    folded = {str(one).casefold(): one for one in reversed(names[:MAX_NAMES_COMPARED])}
    found = get_close_matches(str(name).casefold(), folded, n=1, cutoff=MIN_LIKENESS)
    return repr(folded[found[0]]) if found else None


def describe_layer(layer: str | None) -> str:
    """Name a layer as the user wrote it."""
    return "X" if layer is None else f"layers[{layer!r}]"


def open_adata(adata: Any, *, copy: bool = False) -> AnnData:
    """Refuse what no tool can work on, and load obs, var and uns where a lazy reader left them in the file."""
    if not isinstance(adata, AnnData):
        modalities = getattr(adata, "mod", None)
        hint = ""
        if isinstance(modalities, Mapping):
            name = next(iter(modalities), "rna")
            hint = f"; pass one of its modalities, mdata.mod[{name!r}]: it has {format_choices(modalities)}"
        raise TypeError(f"adata must be an AnnData; it is a {type(adata).__name__}{hint}.")
    if copy and adata.isbacked:
        hint = "leave out copy=True, or read it: adata.to_memory()"
        raise ValueError(f"adata is in backed mode, which cannot be copied: {hint}.")
    check_unique(adata)
    if not isinstance(adata.obs, pd.DataFrame):
        var = adata.var if isinstance(adata.var, pd.DataFrame) else adata.var.to_memory()
        adata.obs, adata.var, adata.uns = adata.obs.to_memory(), var, _in_memory(dict(adata.uns))
    return adata


def check_unique(adata: AnnData) -> None:
    """Refuse features of one name."""
    if not adata.var_names.is_unique:
        twice = format_choices(adata.var_names[adata.var_names.duplicated()].unique())
        raise ValueError(f"var_names are not unique: {twice}; call adata.var_names_make_unique() first.")


def _in_memory(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _in_memory(part) for name, part in value.items()}
    value = value.compute() if hasattr(value, "dask") else value
    return value.item() if isinstance(value, np.ndarray) and value.ndim == 0 else value


def get_matrix(adata: AnnData, layer: str | None) -> Any:
    """Return X or a layer."""
    names = [name for name in adata.layers if name is not None]  # anndata 0.13 lists X among the layers, as None
    if layer is not None and layer not in names:
        raise KeyError(f"{layer!r} is not in adata.layers; it has {format_choices(names, near=layer)}.")
    matrix = adata.X if layer is None else adata.layers[layer]
    if matrix is None:
        raise ValueError(f"adata.X is empty; name a layer: it has {format_choices(names)}.")
    return matrix


def check_real(matrix: Any, name: str) -> None:
    """Refuse values that are no real numbers."""
    if matrix.dtype.kind not in "fiub":
        raise TypeError(f"{name} has dtype {matrix.dtype}; it must hold real numbers.")


def check_sparse(matrix: Any, name: str = "the matrix") -> Any:
    """Return a matrix; refuse a CSR or CSC one whose row or column numbers do not exist: computing with it ends the process."""
    if not sparse.issparse(matrix) or matrix.format not in ("csr", "csc"):
        return matrix
    n_outer, n_inner = matrix.shape if matrix.format == "csr" else matrix.shape[::-1]
    check_row_pointers(matrix.indptr, n_outer, min(len(matrix.indices), len(matrix.data)), name)
    used = matrix.indices[: matrix.indptr[-1]]
    if len(used) and not (used.min() >= 0 and used.max() < n_inner):
        what = "columns" if matrix.format == "csr" else "rows"
        text = (
            f"{name} is a malformed sparse matrix: it names {what} from {used.min()} to {used.max()}, and has {n_inner}"
        )
        raise ValueError(f"{text}. Its file is damaged, or what wrote it is in error.")
    return matrix


def check_row_pointers(indptr: np.ndarray, n_rows: int, n_values: int, name: str) -> None:
    """Refuse a sparse matrix that does not say which values are of which row."""
    is_right = len(indptr) == n_rows + 1 and indptr[0] == 0 and indptr[-1] <= n_values
    if not is_right or (indptr[1:] < indptr[:-1]).any():
        text = f"{name} is a malformed sparse matrix: its row pointers (indptr) do not divide its {n_values} values"
        raise ValueError(f"{text}. Its file is damaged, or what wrote it is in error.")


def get_column(adata: AnnData, column: str, argument: str = "") -> "pd.Series[Any]":
    """Return a column of obs."""
    if not isinstance(column, Hashable):
        raise TypeError(f"{argument or 'groupby'} must be the name of one column of obs; it is {column!r}.")
    if column in adata.obs:
        return adata.obs[column]
    hint = "" if len(adata.obs.columns) else "; columns of a MuData's own obs reach its modalities by mdata.push_obs()"
    start = f"{argument}: " if argument else ""
    raise KeyError(f"{start}{column!r} is not in adata.obs; it has {format_choices(adata.obs, near=column)}{hint}.")


def get_labels(adata: AnnData, column: str) -> "pd.Series[Any]":
    """Return a column of obs without missing values."""
    labels = get_column(adata, column)
    if n := int(labels.isna().sum()):
        raise ValueError(f"obs[{column!r}] is missing (NaN) for {n} cells; label or drop them first.")
    return labels


def select_cells(adata: AnnData, groupby: str | None, selector: Selector, role: str) -> np.ndarray:
    """Return which cells a source, target or query means, as a mask."""
    if not isinstance(selector, Mapping):
        if groupby is None:
            hint = "give groupby, or a dict of obs column -> value(s)"
            raise ValueError(f"{role}={selector!r} is a value of a column: {hint}.")
        selector = {groupby: selector}
    if not selector:
        raise ValueError(f"{role} is an empty dict; give at least one obs column.")
    mask = np.ones(adata.n_obs, dtype=bool)
    for column, wanted in selector.items():
        labels, values = get_labels(adata, column), to_list(wanted)
        present = labels.unique()
        for value in values:
            if value is pd.NA or not any(label == value for label in present):
                there = format_choices(present, near=value)
                raise ValueError(f"{role}: {value!r} is not in obs[{column!r}]; it has {there}.")
        mask &= labels.isin(values).to_numpy()
    if not mask.any():
        raise ValueError(f"{role}: no cell has {' and '.join(f'{c}={v!r}' for c, v in selector.items())} at once.")
    return mask


def to_list(wanted: Any) -> list[Any]:
    """Return a value, or a collection of them, as a list."""
    return [wanted] if isinstance(wanted, str) or not isinstance(wanted, Collection) else list(wanted)


def get_edited_cells(adata: AnnData, key: str) -> np.ndarray:
    """Return which cells an edit has moved, as a mask."""
    query = get_column(adata, _slots.support(key)).notna().to_numpy()
    if not query.any():
        raise ValueError("none of these cells was edited.")
    return query


def check_features(adata: AnnData, *names: str) -> None:
    """Refuse names that are not features."""
    check_unique(adata)
    for name in names:
        if name not in adata.var_names:
            raise KeyError(f"{name!r} is not in adata.var_names; it has {format_choices(adata.var_names, near=name)}.")


def find_used(adata: AnnData) -> list[str]:
    """Return the names of the features that are trained on and edited: those with `True` in ``var["used"]``, else all."""
    if _slots.USED not in adata.var:
        return list(adata.var_names)
    column = adata.var[_slots.USED]
    if not pd.api.types.is_bool_dtype(column) or column.isna().any():
        what = "says which features are trained on, and must be True or False for each"
        raise ValueError(
            f"var[{_slots.USED!r}] {what}; it is {column.dtype}. Rename the column if it says something else."
        )
    if not column.any():
        raise ValueError(f"var[{_slots.USED!r}] is False for every feature; at least one must be used.")
    return list(adata.var_names[column.to_numpy(dtype=bool)])


def check_same_features(adata: AnnData, trained: Sequence[str], what: str) -> None:
    """Refuse features that are missing, and others that are used; their order does not matter."""
    used = find_used(adata)
    missing, extra = sorted(set(trained) - set(used)), sorted(set(used) - set(trained))
    if missing or extra:
        differences = f"missing {format_choices(missing)}, extra {format_choices(extra)}"
        hint = f" Features with False in var[{_slots.USED!r}] may stay." if extra else ""
        raise ValueError(f"adata has other features than {what} was trained on: {differences}.{hint}")


def check_key(key: Any, argument: str = "key_added") -> None:
    """Refuse a name that h5ad or zarr could not keep."""
    reason = ""
    if not isinstance(key, str) or not key.strip("."):
        reason = "it must be a word"
    elif "/" in key or "\0" in key:
        reason = "files take a slash for a folder"
    elif key in RESERVED or key.startswith("__"):
        reason = "files use this name for themselves"
    elif not key.isprintable() or key.encode("utf-8", "ignore").decode() != key:
        reason = "it has characters that files cannot keep"
    if reason:
        raise ValueError(f"{argument}={key!r} cannot be kept in h5ad and zarr files: {reason}. Choose another name.")


def lookup(table: Mapping[str, Any], choice: Any, argument: str) -> Any:
    """Return the row of a table, or the caller's own function."""
    if callable(choice):
        return choice
    if not isinstance(choice, str) or choice not in table:
        raise ValueError(
            f"{argument}={choice!r} is not known; choose {format_choices(table, near=choice)} or give a function."
        )
    return table[choice]


def check_parameters(
    function: Callable[..., Any], given: Mapping[str, Any], what: str, *, besides: Sequence[str] = ()
) -> None:
    """Refuse keyword arguments that a function does not have; ``besides`` are others that are taken."""
    try:
        parameters = signature(function).parameters.values()
    except ValueError:  # a builtin that does not say what it takes
        return
    takes_any = any(parameter.kind is Parameter.VAR_KEYWORD for parameter in parameters)
    names = [parameter.name for parameter in parameters if parameter.kind is Parameter.KEYWORD_ONLY] + [*besides]
    for name in given:
        if name not in names and not takes_any:
            raise TypeError(f"{name!r} is not a parameter of {what}; it has {format_choices(names, near=name)}.")
    check_arguments(function, given)


def describe_choice(choice: Any) -> str:
    """Name what was chosen: a row of a table, or the caller's own function."""
    return choice if isinstance(choice, str) else getattr(choice, "__name__", repr(choice))


def to_json(value: Any) -> Any:
    """Turn numpy scalars, collections and functions into what JSON holds."""
    if isinstance(value, np.generic):
        return value.item()
    if hasattr(value, "__iter__"):
        return list(value)
    return describe_choice(value) if callable(value) else repr(value)
