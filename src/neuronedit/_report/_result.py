"""What a report is about, read once: the record of a tool, whose cells are what, and which layers show them before and after."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from anndata import AnnData

from .. import _slots
from .._data.batches import read_controls
from .._data.check import find_used, format_choices, get_edited_cells, get_labels, open_adata, select_cells
from .._data.reader import read_cells
from .._data.record import CONTENT, Record, Tool, find_tool
from ._names import Names, find_design_columns, make_names, rename_config

TOOLS = (Tool.EDIT, Tool.CORRECT, Tool.COMBINE, Tool.COMPARE)
SCORE_COLUMNS = ["method", "seed", "metric", "value", "low", "high", "distance", "seconds", "error"]
NO_ROLE = ""  # of cells that are not shown


@dataclass(frozen=True)
class Part:
    """Cells of one AnnData that are shown: their rows, their labels, and the layer that holds them in each state."""

    adata: AnnData
    rows: np.ndarray  # (n_cells,)
    labels: pd.DataFrame  # (n_cells, columns), words
    layers: Mapping[str, str | None]  # state -> layer; a state in which they are not shown is missing

    def read(self, state: str, index: np.ndarray, features: Sequence[str]) -> np.ndarray:
        """Return the values of some of these cells in a state, NaN where it does not show them."""
        if state not in self.layers or not len(index):
            return np.full((len(index), len(features)), np.nan, dtype=np.float32)
        cells = read_cells(self.adata, self.layers[state], list(features))
        return cells[self.rows[index]].numpy()


@dataclass(frozen=True)
class Result:
    """All that a report shows, with the names that it shows.

    ``words`` are those of the tool: what is called source and query there. ``states`` are what a plot shows beside each other.
    """

    tool: Tool
    key: str
    config: dict[str, Any]
    content: dict[str, Any]
    names: Names
    parts: list[Part] = field(default_factory=list)
    states: list[str] = field(default_factory=list)
    features: list[str] = field(default_factory=list)
    scores: pd.DataFrame | None = None
    written_by: str = ""  # the version of neuronedit
    space: Mapping[str, Any] = field(default_factory=dict)  # the record of the trained space
    scale: Mapping[str, Any] = field(default_factory=dict)  # how the values were transformed, as far as it is known
    population_column: str = ""  # "" where populations are found, not labelled

    @property
    def labels(self) -> pd.DataFrame:
        """Return the labels of all cells that may be shown."""
        frames = [part.labels for part in self.parts]
        return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame({"role": []})

    @property
    def layer(self) -> str | None:
        """Return the layer that was read."""
        return self.config.get("layer")

    def read(self, state: str, index: np.ndarray, features: Sequence[str]) -> np.ndarray:
        """Return the values of some cells, numbered over all parts in order, in a state."""
        start, blocks = 0, []
        for part in self.parts:
            own = index[(index >= start) & (index < start + len(part.rows))] - start
            blocks.append(part.read(state, own, features))
            start += len(part.rows)
        return np.concatenate(blocks) if blocks else np.empty((0, len(features)), dtype=np.float32)


def find_record(adata: AnnData, key: str | None) -> Record:
    """Return the record of this key, or the only one that there is."""
    if key is not None:
        return Record.read(adata, key, *TOOLS)
    found = [name for name in adata.uns if isinstance(name, str) and find_tool(adata.uns[name]) in TOOLS]
    if len(found) == 1:
        return Record.read(adata, found[0], *TOOLS)
    if found:
        raise ValueError(f"uns has several results, {format_choices(found)}: name one by key.")
    what = ", ".join(CONTENT[tool] for tool in TOOLS)
    raise KeyError(f"uns holds nothing to report ({what}); call ne.tl.edit first. uns has {format_choices(adata.uns)}.")


def read_result(
    adata: AnnData, key: str | None, measured: AnnData | None, populations: str | None, *, number_by: int | None
) -> Result:
    """Read all that a report shows of a result; whatever can be refused is refused here.

    ``number_by`` is the seed of the numbers that take the place of names; `None` keeps these.
    """
    adata = open_adata(adata)
    record = find_record(adata, key)
    if measured is not None and (record.tool is not Tool.COMBINE or "layers" in record.content and len(record.layers)):
        raise ValueError(f"measured is for predicted cells, as ne.tl.combine returns them; {record.tool} wrote this.")
    cells = [adata] if measured is None else [open_adata(measured), adata]
    if cells[0].X is None and record.config.get("layer") is None:
        text = "adata.X is empty, and a report shows the cells before and after"
        raise ValueError(f"{text}: set adata.X to the values that were edited, in the same order of cells.")
    columns = find_design_columns(record.config)
    if populations is not None:
        get_labels(cells[0], populations)
        columns.setdefault(populations, populations)
    names = make_names(cells, columns, record.config, number_by)
    population_column = populations or _find_populations(cells, record.config)
    parts, states = READERS[record.tool](cells, record, population_column)
    renamed = [Part(one.adata, one.rows, _rename_labels(one.labels, record, names, population_column), one.layers)
               for one in parts]  # fmt: skip
    keys = record.config.get("key") or [""]
    space = adata.uns.get(keys[0], {})
    return Result(
        record.tool,
        record.key,
        rename_config(record.config, names),
        _rename_content(record, names),
        names,
        renamed,
        states,
        find_used(cells[0]),
        _read_scores(record),
        str(adata.uns[record.key].get(_slots.VERSION, "")),
        space if isinstance(space, Mapping) else {},
        _read_transform(cells[0], record.config.get("layer")),
        population_column,
    )


def make_result_of_scores(table: pd.DataFrame) -> Result:
    """Return what a report shows of the table of a comparison alone."""
    return Result(Tool.COMPARE, "", {}, {}, Names({}), scores=table.copy())


def _find_populations(cells: Sequence[AnnData], config: Mapping[str, Any]) -> str:
    """Return the column that names the populations of all these cells; "" if there is none."""
    fitted = config.get("fitted") or {}
    matched = [name for name, held in cells[0].uns.items() if find_tool(held) is Tool.MATCH]
    for column in (config.get("strata"), fitted.get("strata"), *matched):
        if isinstance(column, str) and all(column in one.obs and not one.obs[column].isna().any() for one in cells):
            return column
    return ""


def _make_part(
    adata: AnnData, roles: np.ndarray, columns: Mapping[str, str | None], layers: Mapping[str, str | None]
) -> Part:
    """Return the cells that have a role, with labels from columns of obs."""
    rows = np.flatnonzero(roles != NO_ROLE)
    labels = pd.DataFrame({"role": roles[rows].astype(str)})
    for name, column in columns.items():
        if column:
            labels[name] = get_labels(adata[rows] if len(rows) < adata.n_obs else adata, column).astype(str).to_numpy()
    return Part(adata, rows, labels, layers)


def _label_roles(adata: AnnData, groupby: str | None, selectors: Mapping[str, Any]) -> np.ndarray:
    """Return the role of each cell; of one that has two, the last one."""
    roles = np.full(adata.n_obs, NO_ROLE, dtype=object)
    for role, selector in selectors.items():
        if selector is not None:
            roles[select_cells(adata, groupby, selector, role)] = role
    return roles


def _read_edit(cells: Sequence[AnnData], record: Record, populations: str) -> tuple[list[Part], list[str]]:
    """Read an edit, or one that was fitted elsewhere, of which only the query is here."""
    (adata,), config = cells, record.config
    roles = np.full(adata.n_obs, NO_ROLE, dtype=object)
    if "model" not in config:
        roles = _label_roles(adata, config["groupby"], {role: config[role] for role in ("source", "target")})
    roles[get_edited_cells(adata, record.key)] = "query"
    before, *others = [config["layer"], record.key, *(name for name in record.layers if name != record.key)]
    layers = {"before": before, "after": others[0]} | {name: name for name in others[1:]}
    batch = _find_batch_column(config)
    return [_make_part(adata, roles, {"batch": batch, "population": populations}, layers)], list(layers)


def _find_batch_column(config: Mapping[str, Any]) -> str | None:
    """Return the column that divides the cells of an edit; of several, the first in which source and target differ."""
    if config.get("groupby"):
        return str(config["groupby"])
    source, target = (config.get(role) for role in ("source", "target"))
    if not isinstance(source, Mapping) or not isinstance(target, Mapping):
        return None
    differing = [column for column in source if source[column] != target.get(column)]
    return str([*differing, *source][0])


def _read_correction(cells: Sequence[AnnData], record: Record, populations: str) -> tuple[list[Part], list[str]]:
    """Read a batch correction, or one that was fitted elsewhere."""
    (adata,), config = cells, record.config
    design = config.get("fitted", config)
    batch, sample = config.get("groupby") or design["batch_key"], design.get("sample_key")
    roles = np.full(adata.n_obs, "sample", dtype=object)
    if design["control_key"] in adata.obs:
        is_control, held_out = read_controls(
            adata, design["control_key"], design["control"], design["held_out_controls"]
        )
        roles[is_control] = "control"
        roles[held_out] = "held-out control"
    if "model" in config:
        roles[~get_edited_cells(adata, record.key)] = NO_ROLE
    sample = sample if sample in adata.obs else None
    layers = {"before": config["layer"], "after": record.key}
    return [_make_part(adata, roles, {"batch": batch, "sample": sample, "population": populations}, layers)], [*layers]


def _read_combination(cells: Sequence[AnnData], record: Record, populations: str) -> tuple[list[Part], list[str]]:
    """Read predicted combinations, in layers of the measured cells or as cells of their own."""
    config, columns = record.config, {"population": populations}
    groupby, effects = config["groupby"], config["effects"]
    adata = cells[0]
    alone = {f"{config['control']} (control)": [config["control"]]} | {str(effect): [effect] for effect in effects}
    if len(record.layers):
        layers = {"before": config["layer"]} | {name: name for name in record.layers}
        return [_make_part(adata, _label_roles(adata, groupby, alone), columns, layers)], list(layers)

    # predicted cells, each from a cell under one treatment
    predicted, key = cells[-1], record.key
    given, effect = (get_labels(predicted, f"{key}_{name}").astype(str) for name in ("from", "effect"))
    roles = (effect + " on " + given + " (predicted)").to_numpy(dtype=object)
    parts = [_make_part(predicted, roles, columns, {"predicted": None})]
    if len(cells) == 1:
        return parts, ["predicted"]
    together = [value for value in adata.obs[groupby].unique() if str(value) in record.content["combinations"].index]
    shown = _label_roles(adata, groupby, alone)
    of_both = _label_roles(adata, groupby, {f"{value} (measured)": [value] for value in together})
    layers = {"measured": config["layer"], "predicted": config["layer"]}
    parts.insert(0, _make_part(adata, shown, columns, layers))
    if together:
        parts.insert(1, _make_part(adata, of_both, columns, {"measured": config["layer"]}))
    return parts, list(layers)


def _read_comparison(cells: Sequence[AnnData], record: Record, populations: str) -> tuple[list[Part], list[str]]:
    """Read the predictions of several methods."""
    (adata,), config = cells, record.config
    roles = _label_roles(
        adata, config["groupby"], {role: config[role] for role in ("source", "target", "truth", "query")}
    )
    layers = {"before": config["layer"]} | {name.removeprefix(f"{record.key}_"): name for name in record.layers}
    scores, batch = _read_scores(record), _find_batch_column(config)
    ranked = [] if scores is None else [str(name) for name in scores["method"].cat.categories]
    states = sorted(layers, key=lambda name: ranked.index(name) if name in ranked else -1)  # the best one first
    return [_make_part(adata, roles, {"batch": batch, "population": populations}, layers)], states


READERS: dict[Tool, Callable[[Sequence[AnnData], Record, str], tuple[list[Part], list[str]]]] = {
    Tool.EDIT: _read_edit,
    Tool.CORRECT: _read_correction,
    Tool.COMBINE: _read_combination,
    Tool.COMPARE: _read_comparison,
}


def _rename_labels(labels: pd.DataFrame, record: Record, names: Names, populations: str) -> pd.DataFrame:
    """Return the labels of cells under the names that are shown."""
    config = record.config.get("fitted") or record.config
    batch = record.config.get("groupby") or config.get("batch_key") or _find_batch_column(config) or ""
    columns = {"batch": batch, "sample": config.get("sample_key") or "", "population": populations}
    columns["role"] = str(config.get("groupby") or "") if record.tool is Tool.COMBINE else ""
    renamed = labels.copy()
    for name in labels:
        if name != "role" or record.tool is Tool.COMBINE:
            renamed[name] = names.rename_labels(columns[name], labels[name]).to_numpy()
    return renamed


def _rename_content(record: Record, names: Names) -> dict[str, Any]:
    """Return the tables and sentences of a record under the names that are shown; fitted edits are left out."""
    config = record.config.get("fitted") or record.config
    columns = {"batch": config.get("batch_key"), "sample": config.get("sample_key")}
    columns |= {"from": config.get("groupby"), "effect": config.get("groupby")}
    content: dict[str, Any] = {}
    for name, value in record.content.items():
        if name == "fitted":
            continue
        is_of_features = name == "features" and "feature" not in value
        if isinstance(value, pd.DataFrame) and not is_of_features:
            value = names.rename_table(value, columns)
        content[name] = names.rename_text(str(value)) if name == "verdict" else value
    if "ensemble" in content and names.everywhere:
        folds = [names.rename_value(str(fold), config.get("strata")) for fold in content["ensemble"]["folds"]]
        content["ensemble"] = dict(content["ensemble"]) | {"folds": np.array(folds, dtype=str)}
    return content


def _read_scores(record: Record) -> pd.DataFrame | None:
    """Return the scores of a comparison, with methods and metrics in their order."""
    table = record.content.get("scores")
    if table is None:
        return None
    table = pd.DataFrame(table).reset_index(drop=True)
    for name in ("method", "metric"):
        table[name] = pd.Categorical(table[name].astype(str), categories=table[name].astype(str).unique(), ordered=True)
    return table


def keep_whole(table: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of a comparison that are of all cells: where strata were held out, the means over them."""
    if "held_out" not in table:
        return table
    return table[table["held_out"].astype(object).fillna("").isin(_slots.WHOLE)]


def _read_transform(adata: AnnData, layer: str | None) -> dict[str, Any]:
    """Return how the values of a layer were transformed, as far as ``var`` says."""
    column = _slots.cofactor(layer)
    if column in adata.var:
        return {"arcsinh": sorted({float(value) for value in adata.var[column].dropna()})}
    return {"logicle": []} if set(_slots.logicle_parameters(layer).values()) <= set(adata.var) else {}
