"""What is checked at the border, before any work: the errors say what was given and what there is."""

import json
from collections.abc import Callable, Collection, Mapping
from inspect import Parameter, signature
from typing import Any

import numpy as np
import pandas as pd
from anndata import AnnData

from . import _slots

Selection = str | int | float | bool | Collection[Any] | Mapping[str, Any]
"""Value or values of ``groupby``, or a dict of obs column -> value or values."""


def some(names: Any, most: int = 12) -> str:
    """List names for an error, the first few of them."""
    shown = [repr(name.item() if isinstance(name, np.generic) else name) for name in names]
    more = f", ... ({len(shown)} in all)" if len(shown) > most else ""
    return ", ".join(shown[:most]) + more if shown else "none"


def name_of(layer: str | None) -> str:
    """Name a layer as the user wrote it."""
    return "X" if layer is None else f"layers[{layer!r}]"


def matrix_of(adata: AnnData, layer: str | None) -> Any:
    """Return X or a layer."""
    named = [name for name in adata.layers if name is not None]  # anndata 0.13 lists X among the layers, as None
    if layer is not None and layer not in named:
        raise KeyError(f"{layer!r} is not in adata.layers; it has {some(named)}.")
    matrix = adata.X if layer is None else adata.layers[layer]
    if matrix is None:
        raise ValueError(f"adata.X is empty; name a layer: it has {some(named)}.")
    return matrix


def labels_of(adata: AnnData, column: str) -> "pd.Series[Any]":
    """Return a column of obs without missing values."""
    if column not in adata.obs:
        raise KeyError(f"{column!r} is not in adata.obs; it has {some(adata.obs)}.")
    labels = adata.obs[column]
    if labels.isna().any():
        raise ValueError(f"obs[{column!r}] is missing (NaN) for {labels.isna().sum()} cells; label or drop them first.")
    return labels


def select(adata: AnnData, groupby: str | None, selection: Selection, role: str) -> np.ndarray:
    """Return which cells a source, target or query means, as a mask."""
    if not isinstance(selection, Mapping):
        if groupby is None:
            raise ValueError(
                f"{role}={selection!r} is a value of a column: give groupby, or a dict of obs column -> value(s)."
            )
        selection = {groupby: selection}
    if not selection:
        raise ValueError(f"{role} is an empty dict; give at least one obs column.")
    mask = np.ones(adata.n_obs, dtype=bool)
    for column, wanted in selection.items():
        labels = labels_of(adata, column)
        values = listed(wanted)
        present = labels.unique()
        for value in values:
            if not any(label == value for label in present):
                raise ValueError(f"{role}: {value!r} is not in obs[{column!r}]; it has {some(present)}.")
        mask &= labels.isin(values).to_numpy()
    if not mask.any():
        raise ValueError(f"{role}: no cell has {' and '.join(f'{c}={v!r}' for c, v in selection.items())} at once.")
    return mask


def listed(wanted: Any) -> list[Any]:
    """Return a value, or a collection of them, as a list."""
    return [wanted] if isinstance(wanted, str) or not isinstance(wanted, Collection) else list(wanted)


def config_of(adata: AnnData, key: str, *, here: bool = False) -> dict[str, Any]:
    """Return the arguments of the edit that is recorded under this key; ``here``: of one that was learnt on these cells."""
    record = adata.uns.get(key)
    config = json.loads(str(record["config"])) if isinstance(record, Mapping) and "config" in record else {}
    if "edit" not in config:
        raise KeyError(f"uns[{key!r}] holds no edit; call ne.tl.edit first.")
    if here and "model" in config:
        raise ValueError(
            f"uns[{key!r}] was learnt on other cells ({config['model']}): its source and target are not here."
        )
    return config


def edited_of(adata: AnnData, key: str) -> np.ndarray:
    """Return which cells an edit has moved."""
    name = _slots.support(key)
    if name not in adata.obs:
        raise KeyError(f"{name!r} is not in adata.obs; it has {some(adata.obs)}.")
    query = adata.obs[name].notna().to_numpy()
    if not query.any():
        raise ValueError("none of these cells was edited.")
    return query


def check_features(adata: AnnData, *names: str) -> None:
    """Refuse names that are not features."""
    for name in names:
        if name not in adata.var_names:
            raise KeyError(f"{name!r} is not in adata.var_names; it has {some(adata.var_names)}.")


def lookup(table: Mapping[str, Any], choice: Any, argument: str) -> Any:
    """Return the row of a table, or the caller's own function."""
    if callable(choice):
        return choice
    if choice not in table:
        raise ValueError(f"{argument}={choice!r} is not known; choose {some(table)} or give a function.")
    return table[choice]


def check_parameters(function: Callable[..., Any], given: Mapping[str, Any], what: str) -> None:
    """Refuse keyword arguments that a function does not have."""
    parameters = signature(function).parameters.values()
    if any(parameter.kind is Parameter.VAR_KEYWORD for parameter in parameters):
        return
    known = [parameter.name for parameter in parameters if parameter.kind is Parameter.KEYWORD_ONLY]
    for name in given:
        if name not in known:
            raise TypeError(f"{name!r} is not a parameter of {what}; it has {some(known)}.")


def name_of_choice(choice: Any) -> str:
    """Name what was chosen: a row of a table, or the caller's own function."""
    return choice if isinstance(choice, str) else getattr(choice, "__name__", repr(choice))


def plain(value: Any) -> Any:
    """Turn numpy scalars and collections into what JSON holds."""
    return value.item() if isinstance(value, np.generic) else list(value) if hasattr(value, "__iter__") else repr(value)
