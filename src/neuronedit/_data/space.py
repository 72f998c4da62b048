"""A trained space with its features, scale and identity, and the reader of the cells that are edited in it."""

import json
import logging
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import cached_property, partial
from importlib.metadata import version
from typing import Any, Self

import numpy as np
import torch
from anndata import AnnData
from torch import Tensor

from .. import _slots
from .._device import find_device
from ..spaces import SPACES, FittedSpace, Identity
from ..spaces._base import find_ruling
from ..spaces._restore import restore
from .check import check_same_features, describe_layer, find_used, format_choices, to_list
from .integrity import parse_json, refusing
from .reader import CellReader, check_finite, count_neurons, read_cells
from .record import digest, is_digest

logger = logging.getLogger(__name__)

PROBABILITIES = (0.01, 0.5, 0.99)  # of the quantiles that tell the scale of a feature

# Factor between spreads and highest values (their geometric mean) from which cells are on another scale. On six public data
# sets populations, cell types and batches differ by 1.6 at most; a cofactor of 150 for 5 makes 3.0, a logarithm taken twice
# 3.5, arcsinh twice 5.9, counts for logarithms 56.
OTHER_SCALE = 2.5

PACKAGES = ("neuronedit", "torch", "anndata", "numpy")  # whose versions are kept


@dataclass(frozen=True)
class Scale:
    """The scale that cells are on; `None` where it is not known."""

    layer: str | None  # None: X
    cofactor: np.ndarray | None  # (n_features,): of arcsinh, NaN where a feature has none
    quantiles: np.ndarray | None  # (n_features, 3): at `PROBABILITIES`

    @classmethod
    def measure(cls, layer: str | None, cofactor: np.ndarray | None, cells: CellReader) -> Self:
        """Return the scale of cells, from a sample of them."""
        quantiles = np.quantile(cells.sample().numpy(), PROBABILITIES, axis=0).T  # (n_features, 3)
        return cls(layer, cofactor, quantiles.astype(np.float32))

    @classmethod
    def from_uns(cls, layer: str | None, stored: Mapping[str, Any], n_features: int) -> Self:
        """Return what `to_uns` was given, once its arrays have a row for each feature."""
        arrays = {name: np.asarray(array) for name, array in stored.items()}
        cofactor, quantiles = arrays.get("cofactor"), arrays["quantiles"].astype(np.float32, copy=False)
        shapes = {"quantiles": (n_features, len(PROBABILITIES)), "cofactor": (n_features,)}
        for name, shape in shapes.items():
            if name in arrays and arrays[name].shape != shape:
                raise ValueError(f"the {name} of its scale have the shape {arrays[name].shape}")
        if not np.isfinite(quantiles).all():
            raise ValueError("the quantiles of its scale are not finite")
        return cls(layer, None if cofactor is None else cofactor.astype(float, copy=False), quantiles)

    def to_uns(self) -> dict[str, np.ndarray]:
        """Return the arrays that are known, with features as rows."""
        arrays = {"cofactor": self.cofactor, "quantiles": self.quantiles}
        return {name: array for name, array in arrays.items() if array is not None}

    def find_ruling(self, features: Sequence[str]) -> list[str]:
        """Name the features that vary so much more than most that they dominate the scale."""
        if self.quantiles is None:
            return []
        spread = torch.from_numpy(np.asarray(self.quantiles, dtype=float))
        ruling = find_ruling(spread[:, -1] - spread[:, 0])
        return [str(name) for name, rules in zip(features, ruling, strict=True) if rules]

    def check(self, cells: "Scale", features: Sequence[str], what: str) -> None:
        """Refuse cells on another scale than this one, naming what differs; warn where it cannot be told."""
        name, ours, theirs = describe_layer(cells.layer), cells.cofactor, self.cofactor
        if ours is not None and theirs is not None and not np.allclose(ours, theirs, equal_nan=True):
            given, wanted = (sorted(set(x[~np.isnan(x)].tolist())) for x in (ours, theirs))
            used = f"{what} was trained with {format_choices(wanted)}"
            raise ValueError(f"{name} has arcsinh cofactors {format_choices(given)}; {used}.")
        factor, level, feature = self._compare(cells, features)
        if abs(np.log(factor) + np.log(level)) / 2 > np.log(OTHER_SCALE):
            spread = f"its values spread {factor:.2g} times as far, most differently those of {feature!r}"
            text = f"{name} is on another scale than the cells that {what} was trained on: {spread}."
            raise ValueError(f"{text} Were they transformed twice, or not at all?")
        if theirs is not None and ours is None:
            logger.warning("%s was trained on arcsinh values; whether %s is on that scale is not recorded.", what, name)
        elif ours is not None and theirs is None and self.quantiles is not None:
            logger.warning("%s has arcsinh values; whether %s was trained on that scale is not recorded.", name, what)

    def _compare(self, cells: "Scale", features: Sequence[str]) -> tuple[float, float, str]:
        """Return how many times as far the cells' values spread, as high the highest are, and the feature that differs most.

        Cells of one type spread less than all, but the highest values of all features are not lower. The feature that differs
        most does not count: one stain may have failed.
        """
        if self.quantiles is None or cells.quantiles is None:
            return 1.0, 1.0, ""
        before, after = (np.asarray(x, dtype=float) for x in (self.quantiles, cells.quantiles))  # (n_features, 3)
        spreads = [x[:, -1] - x[:, 0] for x in (before, after)]
        least = 1e-3 * max(*(spread.max() for spread in spreads), 1e-12)  # a silent feature differs from none
        ratios = np.abs(np.log((spreads[1] + least) / (spreads[0] + least)))
        counted = np.argsort(ratios, kind="stable")[: max(1, len(ratios) - 1)]
        spreads = [spread[counted] + least for spread in spreads]
        total, top = spreads[1].sum() / spreads[0].sum(), spreads[1].max() / spreads[0].max()
        factor = total if abs(np.log(total)) > abs(np.log(top)) else top
        highest = [max(float(np.abs(x[counted]).max()), least) for x in (before, after)]
        return float(factor), highest[1] / highest[0], str(features[int(ratios.argmax())])


@dataclass(frozen=True)
class SavedSpace:
    """One trained space as it stands in ``uns``: frozen, with its identity."""

    key: str
    kind: type[FittedSpace]
    parameters: dict[str, Any]  # of its constructor
    weights: Mapping[str, Any]
    id: str
    features: list[str]
    scale: Scale
    n_cells: int
    embedded: bool

    @cached_property
    def space(self) -> FittedSpace:
        """Return the space itself, made again of its weights."""
        with _refusing_space(self.key):
            return restore(self.kind, self.parameters, self.weights)

    @classmethod
    def read(cls, adata: AnnData, key: str) -> Self:
        """Read the space in ``uns[key]``, once its id is that of what it holds."""
        if key not in adata.uns:
            raise KeyError(f"uns[{key!r}] holds no trained space; call ne.tl.train(adata, key_added={key!r}) first.")
        stored = adata.uns[key]
        if not isinstance(stored, Mapping) or "weights" not in stored:
            hint = f"ne.tl.train(adata) writes one to uns[{_slots.MODEL!r}]"
            raise ValueError(f"uns[{key!r}] is not a trained space; {hint}.")
        identity = cls.read_id(adata, key)
        with _refusing_space(key):
            name = str(stored["space"])
        kind = get_space_class(name, key)
        with _refusing_space(key):
            config, features = parse_json(str(stored["config"])), [str(one) for one in stored["var_names"]]
            layer, parameters, weights = config["layer"], dict(config["parameters"]), stored["weights"]
            n_features = parameters.get("n_features", len(features))
            if not isinstance(layer, str | None):
                raise ValueError(f"its layer is {layer!r}")
            if n_features != len(features) or len(set(features)) < len(features):
                raise ValueError(f"it has {len(set(features))} names of {n_features} features")
            scale = Scale(layer, read_cofactor(adata, layer, features), None)
            if "scale" in stored:
                scale = Scale.from_uns(layer, stored["scale"], len(features))
            n_cells, embedded = int(config["data"]["shape"][0]), bool(stored.get("embedded", False))
        return cls(key, kind, parameters, weights, identity, features, scale, n_cells, embedded)

    @staticmethod
    def read_id(adata: AnnData, key: str) -> str:
        """Return the id of the space in ``uns[key]``, once it is that of what it holds."""
        with _refusing_space(key):
            stored = adata.uns[key]
            if "id" not in stored:
                return space_id(stored)
            if not is_digest(stored["id"], partial(space_id, stored)):
                raise ValueError("its id is not that of its weights, features and settings")
            return str(stored["id"])


def _refusing_space(key: str) -> AbstractContextManager[None]:
    return refusing(f"uns[{key!r}] was changed after the training", "Call ne.tl.train again.")


@dataclass(frozen=True)
class TrainedSpace:
    """The spaces of an edit, and the cells that are edited in them, with features in the order of the training."""

    keys: list[str]  # of each space in uns; edits in several spaces are averaged
    ids: list[str]
    spaces: list[FittedSpace]
    features: list[str]  # names, in the order of the training
    names: list[str]  # the same, in the order of the AnnData
    layer: str | None  # that is read
    cells: CellReader  # of the AnnData
    device: torch.device
    trained_on: Scale  # of the cells of the training
    name: str  # for errors
    cofactor: np.ndarray | None  # of the cells that are read, (n_features,)
    cell_names: Any
    is_planned: bool = False  # it is yet to be trained

    @classmethod
    def plan(cls, adata: AnnData, key: str, layer: str | None, accelerator: str) -> Self:
        """Return the space that is yet to be trained on the cells of ``adata``: all but its neurons is known."""
        device, features = find_device(accelerator), find_used(adata)
        cells, cofactor = read_cells(adata, layer, features), read_cofactor(adata, layer, features)
        scale, name = Scale(layer, cofactor, None), f"the space in uns[{key!r}]"
        where = cells, device, scale, name, cofactor, adata.obs_names
        return cls([key], [], [Identity()], features, features, layer, *where, is_planned=True)

    @classmethod
    def read(
        cls,
        adata: AnnData,
        key: str | Sequence[str],
        layer: str | None,
        accelerator: str,
        *,
        model: AnnData | None = None,
        name: str = "",
    ) -> Self:
        """Read spaces, from ``model`` or from ``adata`` itself, and the cells of ``adata``, matched by the names of features."""
        device, keys = find_device(accelerator), to_list([] if key is None else key)
        if not keys:
            raise ValueError("key is empty; name at least one trained space.")
        saved = [SavedSpace.read(adata if model is None else model, one) for one in keys]
        first, what = saved[0], name or f"the space in uns[{keys[0]!r}]"
        layers = [one.scale.layer for one in saved]
        if len(set(layers)) > 1:
            raise ValueError(f"the spaces in uns {format_choices(keys)} were trained on different layers: {layers}.")
        if any(one.features != first.features for one in saved):
            raise ValueError(f"the spaces in uns {format_choices(keys)} were trained on features in different orders.")
        check_same_features(adata, first.features, what)
        if model is None and adata.n_obs > first.n_cells and not first.embedded:
            hint = "Train again, or bring the space to these cells with ne.tl.embed."
            text = f"%s was trained on %s cells, and adata has %s: cells were added since. {hint}"
            logger.warning(text, what, f"{first.n_cells:,}", f"{adata.n_obs:,}")
        layer = layers[0] if layer is None else layer
        spaces, ids = [one.space.to(device) for one in saved], [one.id for one in saved]
        features, cells = first.features, read_cells(adata, layer, first.features)
        cofactor, names = read_cofactor(adata, layer, features), find_used(adata)
        return cls(
            keys, ids, spaces, features, names, layer, cells, device, first.scale, what, cofactor, adata.obs_names
        )

    @cached_property
    def scale(self) -> Scale:
        """Return the scale of the cells that are read."""
        return Scale.measure(self.layer, self.cofactor, self.cells)

    @property
    def space(self) -> FittedSpace:
        """Return the first space: neurons and records are of it."""
        return self.spaces[0]

    @property
    def n_neurons(self) -> int:
        """Return how many neurons a cell has in the first space."""
        return count_neurons(self.space, self.cells, self.device)

    def check_cells(self, *, fitted_on: Scale | None = None) -> None:
        """Refuse NaN, and cells on another scale than those of the training, or those that an edit was fitted on."""
        check_finite(self.cells, self.layer, self.cell_names, self.features)
        (fitted_on or self.trained_on).check(self.scale, self.features, self.name)

    def read_cells(self, *rows: np.ndarray) -> list[Tensor]:
        """Return the cells of each index, ``(n_cells, n_features)`` each, on the device."""
        return self.cells.read(rows, self.device)


def write_space(
    adata: AnnData,
    key: str,
    name: str,
    space: FittedSpace,
    layer: str | None,
    options: dict[str, Any],
    cells: CellReader,
    features: list[str],
) -> None:
    """Write a trained space into ``uns[key]``, in a form that survives h5ad and zarr and needs no pickle."""
    data = {"shape": list(cells.shape), "sha256": cells.digest()}
    stored = {
        "space": name,
        "config": json.dumps({"parameters": space.config, "layer": layer, "training": options, "data": data}),
        "weights": {name: weight.numpy() for name, weight in space.weights().items()},
        "var_names": np.array(features, dtype=str),
        "scale": Scale.measure(layer, read_cofactor(adata, layer, features), cells).to_uns(),
        "history": {name: np.asarray(values) for name, values in space.history.items()},
        "versions": json.dumps({package: version(package) for package in PACKAGES}),
        _slots.VERSION: version("neuronedit"),
    }
    adata.uns[key] = stored | {"id": space_id(stored)}


def read_cofactor(adata: AnnData, layer: str | None, features: Sequence[str]) -> np.ndarray | None:
    """Return the arcsinh cofactor of each feature of a layer, ``(n_features,)``, as far as ``var`` has them."""
    column = _slots.cofactor(layer)
    return adata.var[column].reindex(list(features)).to_numpy(dtype=float) if column in adata.var else None


def space_id(stored: Mapping[str, Any], **how: bool) -> str:
    """Return the identity of a space: the digest of its weights, features, scale and settings."""
    arrays = {f"weights/{name}": weight for name, weight in stored["weights"].items()}
    arrays |= {f"scale/{name}": array for name, array in stored.get("scale", {}).items()}
    features = json.dumps([str(name) for name in stored["var_names"]])
    return digest(f"{stored['space']} {stored['config']} {features}", arrays, **how)


def name_space_class(kind: type[FittedSpace]) -> str:
    """Return the name of a class of spaces: of its row in `SPACES` or, of a class of the caller's own, its full name."""
    row = next((name for name, row in SPACES.items() if row is kind), None)
    return row or f"{kind.__module__}.{kind.__qualname__}"


def get_space_class(name: str, key: str) -> type[FittedSpace]:
    """Return the class of a space that was trained: a row of `SPACES`, or a class of the caller's own that still exists."""
    if name in SPACES:
        return SPACES[name]
    own = [kind for kind in _all_subclasses(FittedSpace) if name_space_class(kind) == name]
    if not own:
        rows = f"ne.spaces.SPACES; it has {format_choices(SPACES)}"
        text = f"uns[{key!r}] was trained in the space {name!r}, which is not in {rows}."
        raise ValueError(f"{text} Define its class first, or add it there.")
    return own[-1]


def _all_subclasses(kind: type[Any]) -> list[type[Any]]:
    """Return all classes derived from a class, those defined last at the end."""
    return [one for direct in kind.__subclasses__() for one in (direct, *_all_subclasses(direct))]


def check_space_ids(
    ids: Mapping[str, str], adata: AnnData, key: str, *, known: Mapping[str, str] | None = None
) -> None:
    """Refuse an edit whose space was trained again, or changed, since it was fitted; ``known`` are ids that were read before."""
    known = known or {}
    for space, identity in ids.items():
        if (known[space] if space in known else SavedSpace.read_id(adata, space)) != identity:
            text = f"uns[{key!r}] was fitted in another space than uns[{space!r}] holds now: it was trained again."
            raise ValueError(f"{text} Call ne.tl.edit or ne.tl.correct again.")
