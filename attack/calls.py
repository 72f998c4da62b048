"""Bad calls of every public function and constructor, made from the signatures: one argument wrong, all others right.

"clear" is one error of ours with ``adata`` as it was. A call that goes through is "silent" unless `FINE` says why it is right.
"""

import inspect
import random
import typing
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any
from uuid import uuid4

from common import Try, judge

SHORT = 45  # calls of a room at most, unless all are asked for

FINE: dict[tuple[str, str, str], str] = {  # function, parameter and value, "*" for all: why the call is right
    ("*", "rng", "0"): "a seed",
    ("*", "rng", "huge"): "not beyond the seeds of torch",
    ("*", "strength", "-3"): "the opposite change",
    ("*", "strength", "-1.5"): "the opposite change",
    ("*", "strength", "0"): "no change",
    ("*", "strength", "[3]"): "a path of one strength",
    ("*", "strength", "array of one"): "a path of one strength",
    ("*", "bounds", "two numbers"): "low and high",
    ("*", "n_bootstrap", "0"): "no intervals",
    ("*", "batch_effect", "-1.5"): "the opposite effect",
    ("*", "batch_effect", "0"): "no effect",
    ("*", "interaction", "-1.5"): "antagonism",
    ("*", "interaction", "0"): "none",
    ("*", "interaction", "-3"): "antagonism",
    ("*", "batch_effect", "-3"): "the opposite effect",
    ("*", "ridge", "0"): "no ridge",
    ("*", "tolerance", "0"): "none",
    ("*", "margin", "0"): "none",
    ("*", "penalty", "0"): "no penalty",
    ("*", "cycle", "0"): "no penalty",
    ("*", "offset", "0"): "none",
    ("*", "offset", "-1.5"): "any number",
    ("*", "alpha", "0"): "not seen",
    ("*", "validation_size", "0"): "none",
    ("*", "limits", "list of numbers"): "values",
    ("pl.*", "n", "huge"): "at most all",
    ("*", "most", "huge"): "at most all",
    ("*", "n_labels", "0"): "no labels",
    ("*", "n_labels", "huge"): "at most all",
    ("*", "max_cells", "huge"): "at most all",
    ("*", "n_neighbors", "huge"): "at most all",
    ("*", "n_components", "huge"): "at most all",
    ("*", "n_weights", "huge"): "at most all",
    ("*", "min_cells", "0"): "every cluster",
    ("*", "key_added", "words"): "a name",
    ("metrics.*", "cells", "other features"): "one population has any number of them",
    ("metrics.preserved_function", "before", "dicts"): "no population is large enough",
    ("metrics.preserved_function", "after", "dicts"): "no population is large enough",
    ("metrics.preserved_function", "max_p_value", "0"): "no difference is that clear",
    ("edits.distance", "source", "other features"): "one population has any number of them",
    ("edits.support", "source", "other features"): "one population has any number of them",
    ("edits.by_pairing", "query", "other features"): "compared with others later",
    ("edits.Distance", "cells", "other features"): "one population has any number of them",
    ("spaces.PCA.of", "cells", "other features"): "one population has any number of them",
    ("spaces.PCA.fit", "cells", "other features"): "one population has any number of them",
    ("spaces.Identity.fit", "cells", "other features"): "one population has any number of them",
    ("spaces.Autoencoder.fit", "cells", "other features"): "one population has any number of them",
    ("spaces.train", "cells", "other features"): "what the caller's own loss raises",
    ("baselines.cytonorm", "limits", "[]"): "no limits",
    ("pl.densities", "adata", "inf in X"): "not in a feature and a cell that are drawn",
    ("pl.densities", "adata", "nan in X"): "not in a feature and a cell that are drawn",
    ("pl.images", "adata", "inf in X"): "not in an image that is drawn",
    ("pl.biaxial", "adata", "nan in X"): "not in a feature that is drawn",
    ("pl.biaxial", "adata", "inf in X"): "not in a feature that is drawn",
    ("pl.combination", "adata", "nan in X"): "not in a feature that is drawn",
    ("pl.combination", "predicted", "nan in X"): "not in a feature that is drawn",
    ("pl.combination", "predicted", "inf in X"): "not in a feature that is drawn",
    ("pl.combination", "adata", "inf in X"): "not in a feature that is drawn",
    ("pl.images", "adata", "nan in X"): "not in an image that is drawn",
    ("pl.images", "adata", "same names"): "names of pixels are not used",
    ("pl.image_path", "adata", "same names"): "names of pixels are not used",
    ("pl.image_path", "adata", "inf in X"): "not in an image that is drawn",
    ("pl.image_path", "adata", "nan in X"): "not in an image that is drawn",
    ("pl.neurons", "neurons", "zeros"): "drawn twice",
    ("ensemble.Prior", "alike", "0"): "nothing is expected of it",
    ("ensemble.Prior", "strata", "0"): "nothing is expected of it",
    ("ensemble.Prior", "few_cells", "0"): "nothing is expected of it",
    ("ensemble.Prior", "matched", "0"): "nothing is expected of it",
    ("*", "groups", "empty list"): "none are drawn",
    ("*", "layer", "None"): "X",
    ("*", "score", "*"): "only names the axis",
    ("*", "measured", "None"): "there are none",
    ("*", "write_to", "unknown word"): "a new store",
    ("*", "write_to", "words"): "a new store",
    ("*", "neurons", "None"): "all of them",
    ("*", "paired_by", "None"): "nothing is paired",
    ("io.save_model", "path", "unknown word"): "a new file",
    ("io.write_cell_eval", "folder", "a folder"): "files are added to it",
    ("io.write_fcs", "folder", "a folder"): "files are added to it",
    ("io.save_model", "adata", "no cells"): "no cells are saved",
    ("io.save_model", "adata", "inf in X"): "no cells are saved",
    ("io.save_model", "adata", "nan in X"): "no cells are saved",
    ("io.save_model", "adata", "complex X"): "no cells are saved",
    ("io.save_model", "adata", "words in X"): "no cells are saved",
    ("io.save_model", "adata", "no X"): "no cells are saved",
    ("io.save_model", "adata", "a view without cells"): "no cells are saved",
}


NOT_OF_X = ["io.save_model"]  # these read no cells: a trained space, a record, or columns of obs and obsm
NOT_OF_X += [f"pl.{name}" for name in ("history", "synergy", "coverage", "cross_validation", "support", "neurons")]
OF_X = [
    "no X",
    "complex X",
    "words in X",
    "nan in X",
    "inf in X",
    "same names",
    "no features",
    "no cells",
    "a view without cells",
]


def tries(seed: int, long: bool) -> Iterator[Try]:
    """Yield bad calls, those of a room in an order drawn with the seed."""
    import neuronedit as ne

    drawn = random.Random(seed)
    for room in ne.ROOMS:
        calls = [
            (f"{room}.{name}", parameter, label)
            for name in list_callables(room)
            for parameter, label in list_bad(f"{room}.{name}")
        ]
        drawn.shuffle(calls)
        for call in calls if long else calls[:SHORT]:
            yield Try(f"bad calls of {room}", " ".join(call), call_badly, call)


def list_callables(room: str) -> list[str]:
    """Return the names of functions and classes that take something, and of class methods that make an object."""
    import neuronedit as ne

    module, names = getattr(ne, room), []
    for name in module.__all__:
        thing = getattr(module, name)
        is_error = inspect.isclass(thing) and issubclass(thing, BaseException)
        if f"{room}.{name}" in SKIPPED or is_error or not (inspect.isfunction(thing) or inspect.isclass(thing)):
            continue
        names += [name] * bool(parameters_of(f"{room}.{name}"))
        if inspect.isclass(thing):
            names += [
                f"{name}.{key}"
                for key, value in vars(thing).items()
                if isinstance(value, classmethod) and key in ("fit", "of")
            ]
    return names


SKIPPED = {
    "baselines.BASELINES", "spaces.History", "ensemble.Composition", "ensemble.FoldKind", "spaces.FittedSpace", "spaces.Identity",
    "ensemble.Ensemble", "ensemble.Matching", "metrics.GroupEffect", "metrics.PreservedFunction",
}  # tables, types, enums, what is abstract, and what is only returned  # fmt: skip


def find(name: str) -> Any:
    """Return a function, class or class method by its name."""
    import neuronedit as ne

    thing: Any = ne
    for part in name.split("."):
        thing = getattr(thing, part)
    return thing


def parameters_of(name: str) -> dict[str, inspect.Parameter]:
    """Return the parameters of a call, and those that ``**`` takes."""
    kinds = (inspect.Parameter.VAR_KEYWORD, inspect.Parameter.VAR_POSITIONAL)
    named = {key: one for key, one in inspect.signature(find(name)).parameters.items() if one.kind not in kinds}
    return named | {
        key: inspect.Parameter(key, inspect.Parameter.KEYWORD_ONLY, annotation=hint)
        for key, hint in MORE.get(name, {}).items()
    }


MORE: dict[str, dict[str, Any]] = {
    "tl.train": {"widths": "ints"},
    "tl.edit": {"n_bins": int, "axes": "name", "neurons": "ints", "residual": bool, "paired_by": str},
    "tl.combine": {"n_bins": int, "neurons": "ints", "residual": bool},
    "tl.bootstrap": {"n_bins": int},
    "tl.correct": {"n_bins": int, "residual": bool},
}


def list_bad(name: str) -> Iterator[tuple[str, str]]:
    """Yield parameter and label of each bad value."""
    hints = hints_of(name)
    for key, parameter in parameters_of(name).items():
        kinds = kinds_of(key, hints.get(key, parameter.annotation))
        labels = set.intersection(*(set(BAD[kind]) for kind in kinds)) if kinds else set()
        if parameter.default is None or type(None) in typing.get_args(hints.get(key)):
            labels -= {"None"}
        if "thing" in kinds and any(word in str(hints.get(key)) for word in ("Callable", "Method")) or key == "axes":
            labels -= {"a class"}  # what a function of the caller's own raises is the caller's
        yield from ((key, label) for label in sorted(labels))


def hints_of(name: str) -> dict[str, Any]:
    """Return the types that are written beside the parameters."""
    thing = find(name)
    if inspect.isclass(thing):
        thing = thing.__new__ if issubclass(thing, tuple) else thing.__init__
    return typing.get_type_hints(inspect.unwrap(thing))


CELLS = {"source", "target", "query", "predicted", "truth", "x", "y", "cells", "control", "treated", "truths"}


def kinds_of(key: str, hint: Any) -> list[str]:
    """Return the kinds of values that a parameter takes, by its type; what is wrong for all of them is wrong."""
    import numpy as np
    import torch
    from anndata import AnnData

    if isinstance(hint, str):
        return [hint]
    if typing.get_origin(hint) is typing.Annotated:
        hint = typing.get_args(hint)[0]
    parts = (
        typing.get_args(hint) if typing.get_origin(hint) in (typing.Union, __import__("types").UnionType) else [hint]
    )
    kinds = []
    for part in parts:
        part = typing.get_args(part)[0] if typing.get_origin(part) is typing.Annotated else part
        origin = typing.get_origin(part) or part
        if part is type(None):
            continue
        simple = {bool: "bool", int: "int", float: "float", str: "str", AnnData: "adata", typing.Literal: "name"}
        if origin in simple:
            kinds.append(simple[origin])
        elif origin is torch.Tensor:
            kinds.append("cells" if key in CELLS else "tensor")
        elif origin is np.ndarray:
            kinds.append("arrays" if key in CELLS else "labels")
        elif getattr(part, "__name__", "") == "CellSource":
            kinds.append("cells")
        elif part is typing.Any or getattr(origin, "__name__", "") in ("Collection", "Hashable"):
            kinds.append("value")
        elif getattr(origin, "__name__", "") in ("Sequence", "tuple", "list"):
            kinds.append("ints" if typing.get_args(part)[:1] == (int,) else "list")
        elif getattr(origin, "__name__", "") == "Mapping":
            kinds.append("dict")
        elif getattr(origin, "__name__", "") == "PathLike" or getattr(origin, "__name__", "") == "Path":
            kinds.append("path")
        else:
            kinds.append("thing")
    return [kind for kind in kinds if not (kind == "str" and "path" in kinds)]


def _values() -> dict[str, dict[str, Callable[[Any], Any]]]:
    """Return bad values by kind and label; each is made when it is needed, some from the right value."""
    import numpy as np
    import pandas as pd
    import torch
    from anndata import AnnData

    def put(value: Any, dtype: Any = None) -> Callable[[Any], Any]:
        """Put a value into one place."""

        def change(x: Any) -> Any:
            x = x.clone() if isinstance(x, torch.Tensor) else np.array(x)
            x = x if dtype is None else x.to(dtype) if isinstance(x, torch.Tensor) else x.astype(dtype)
            x[(1,) * x.ndim] = value
            return x

        return change

    def changed(change: Callable[[Any], None]) -> Callable[[Any], Any]:
        def make(adata: Any) -> Any:
            adata = adata.copy()
            change(adata)
            return adata

        return make

    any_thing: dict[str, Callable[[Any], Any]] = {
        "None": lambda _: None, "object": lambda _: object(), "complex": lambda _: 1 + 2j, "bytes": lambda _: b"x",
        "masked array": lambda _: np.ma.masked_array([1.0, 2.0], [True, False]), "a class": lambda _: int, "Ellipsis": lambda _: ...,
    }  # fmt: skip
    number = any_thing | {
        "words": lambda _: "three", "empty word": lambda _: "", "nan": lambda _: float("nan"), "inf": lambda _: float("inf"),
        "-inf": lambda _: float("-inf"), "True": lambda _: True, "[3]": lambda _: [3], "array of one": lambda _: np.array([3]),
        "[]": lambda _: [], "dict": lambda _: {}, "beyond float": lambda _: 10**400, "nan of numpy": lambda _: np.float32("nan"),
        "masked": lambda _: np.ma.masked,
    }  # fmt: skip
    array: dict[str, Callable[[Any], Any]] = any_thing | {
        "word": lambda _: "cells", "number": lambda _: 3, "list of words": lambda _: [["a", "b"]], "dict": lambda _: {},
        "one row": lambda x: x[0], "three dimensions": lambda x: x[None], "no cells": lambda x: x[:0], "no features": lambda x: x[..., :0],
        "nan": put(float("nan")), "inf": put(float("inf")), "-inf": put(float("-inf")),
        "data frame": lambda x: pd.DataFrame(np.asarray(x)), "AnnData": lambda x: AnnData(np.atleast_2d(np.asarray(x))),
        "a function": lambda _: len, "1e39": put(1e39, "double"), "1e300": put(1e300, "double"),
    }  # fmt: skip
    tensors = array | {
        "1e39": put(1e39, torch.float64), "1e300": put(1e300, torch.float64), "numpy": lambda x: x.numpy(), "list": lambda x: x.tolist(),
        "complex cells": lambda x: x.to(torch.complex64), "whole numbers": lambda x: x.int(), "bool": lambda x: x > 0,
        "meta": lambda x: x.to("meta"), "sparse": lambda x: x.to_sparse(), "a number in it": lambda x: x.ravel()[0],
        "float16": lambda x: x.half(),
    }  # fmt: skip
    arrays = array | {
        "tensor": lambda x: torch.from_numpy(x), "complex cells": lambda x: x.astype(complex), "objects": lambda x: x.astype(object),
        "words": lambda x: x.astype(str), "dates": lambda x: x.astype("datetime64[s]"), "matrix": lambda x: np.asmatrix(x),
        "masked cells": lambda x: np.ma.masked_greater(x, 1), "sparse": lambda x: __import__("scipy.sparse").sparse.csr_matrix(x),
        "a number in it": lambda x: x.ravel()[0], "structured": lambda x: np.zeros(3, dtype=[("a", "f4")]),
    }  # fmt: skip
    other = {"other features": lambda x: x[:, :2]}
    adata = any_thing | {
        "word": lambda _: "cells.h5ad", "data frame": lambda x: x.to_df(), "numpy": lambda x: np.asarray(x.X), "dict": lambda _: {},
        "number": lambda _: 3, "list": lambda x: [x], "raw class": lambda _: AnnData,
        "same names": changed(lambda x: setattr(x, "var_names", ["CD3", "CD3", *x.var_names[2:]])),
        "no X": changed(lambda x: setattr(x, "X", None)), "complex X": changed(lambda x: setattr(x, "X", x.X.astype(complex))),
        "words in X": changed(lambda x: setattr(x, "X", x.X.astype(str).astype(object))),
        "nan in X": changed(lambda x: x.X.__setitem__((1, 1), np.nan)), "inf in X": changed(lambda x: x.X.__setitem__((1, 1), np.inf)),
        "no cells": lambda x: x[:0].copy(), "no features": lambda x: x[:, :0].copy(), "a view without cells": lambda x: x[:0],
    }  # fmt: skip
    word = {
        "number": lambda _: 3, "nan": lambda _: float("nan"), "True": lambda _: True, "list": lambda _: ["a"], "dict": lambda _: {},
        "empty word": lambda _: "", "words": lambda _: "three", "slash": lambda _: "a/../b", "nul": lambda _: "a\0b", "a tuple": lambda _: ("a", 1),
    }  # fmt: skip
    many = {
        "number": lambda _: 3, "nan": lambda _: float("nan"), "True": lambda _: True, "dict": lambda _: {}, "generator": lambda _: (i for i in "ab"),
        "empty word": lambda _: "", "words": lambda _: "three", "objects": lambda _: [object(), object()], "nans": lambda _: [float("nan")] * 2,
        "two dimensions": lambda _: np.zeros((2, 2)), "lists": lambda _: [["a"], ["b"]], "0-d": lambda _: np.array(3), "complexes": lambda _: [1j, 2j],
        "a set": lambda _: {"no", "such"}, "[]": lambda _: [], "dicts": lambda _: [{}, {}],
    }  # fmt: skip
    return {
        "int": number | {"1.5": lambda _: 1.5, "-1": lambda _: -1, "-3": lambda _: -3, "0": lambda _: 0, "huge": lambda _: 10**30},
        "float": number | {"-1.5": lambda _: -1.5, "0": lambda _: 0.0, "-3": lambda _: -3},
        "bool": any_thing | {"no": lambda _: "no", "0": lambda _: 0, "1": lambda _: 1, "0.5": lambda _: 0.5, "[]": lambda _: [], "bools": lambda _: np.array([True, False]), "words": lambda _: "three", "nan": lambda _: float("nan"), "dict": lambda _: {}},
        "str": any_thing | word, "name": any_thing | word | {"other": lambda _: "nonsense"},
        "cells": tensors | other, "arrays": arrays | other, "tensor": tensors, "labels": any_thing | {"word": lambda _: "a", "number": lambda _: 3, "tensor": lambda x: torch.zeros(len(x)), "shorter": lambda x: x[:-1], "0-d": lambda _: np.array(3), "three dimensions": lambda x: np.zeros((2, 2, 2)), "list": lambda x: list(x), "empty": lambda x: x[:0]},
        "adata": adata, "list": any_thing | many, "ints": any_thing | many | {"negative": lambda _: [-1, -2], "zeros": lambda _: [0, 0], "floats": lambda _: [1.5, 2.5], "bools": lambda _: [True, True], "huge": lambda _: [10**30, 2]},
        "dict": any_thing | {"number": lambda _: 3, "words": lambda _: "three", "list": lambda _: ["a"], "pairs": lambda _: [("a", 1)], "strange keys": lambda _: {3: 4}, "object values": lambda _: {"a": object()}, "nan": lambda _: float("nan"), "nans": lambda _: {"CD3": float("nan")}, "two dimensions": lambda _: np.zeros((2, 2))},
        "path": any_thing | {"number": lambda _: 3, "empty word": lambda _: "", "nul": lambda _: "a\0b", "list": lambda _: ["a"], "dict": lambda _: {}, "words": lambda _: "no/such/folder/three", "nan": lambda _: float("nan"), "True": lambda _: True, "a folder": lambda _: "/tmp"},
        "value": any_thing | {"nan": lambda _: float("nan"), "words": lambda _: "three", "number": lambda _: 3, "[]": lambda _: [], "dict": lambda _: {}, "unknown column": lambda _: {"no": "such"}, "lists": lambda _: [["a"], ["b"]], "two dimensions": lambda _: np.zeros((2, 2)), "nan of pandas": lambda _: pd.NA, "list": lambda _: ["a"], "objects": lambda _: [object()], "dicts": lambda _: [{}], "0-d": lambda _: np.array(3), "empty word": lambda _: "", "a set": lambda _: {"no"}, "data frame": lambda _: pd.DataFrame({"a": [1]})},
        "thing": any_thing | {"number": lambda _: 3, "words": lambda _: "three", "[]": lambda _: [], "dict": lambda _: {}, "nan": lambda _: float("nan"), "True": lambda _: True, "list": lambda _: ["a"]},
    }  # fmt: skip


class _Bad(dict):  # type: ignore[type-arg]
    """Bad values by kind, made once."""

    def __missing__(self, kind: str) -> Any:
        self.update(_values())
        return self[kind]


BAD: dict[str, dict[str, Callable[[Any], Any]]] = _Bad()


def call_badly(name: str, parameter: str, label: str) -> str:
    """Call with one bad value, in the child."""
    import numpy as np
    from anndata import AnnData

    arguments = good_arguments(name, parameter)
    hints = hints_of(name)
    annotation = hints.get(parameter, parameters_of(name)[parameter].annotation)
    label_kinds = kinds_of(parameter, annotation)
    makers = [BAD[kind][label] for kind in label_kinds]
    right = arguments.get(parameter)
    if right is None and "cells" in label_kinds:
        right = arguments["source"]
    arguments[parameter] = makers[0](right)
    known = [value for value in arguments.values() if isinstance(value, AnnData)]
    before = [fingerprint(value) for value in known]
    try:
        call(name, arguments)
    except Exception as error:
        if [fingerprint(value) for value in known] != before:
            return "lost"
        if isinstance(error, ImportError) and judge(error) == "clear":
            return "right" if is_fine(name, parameter, label) else "silent"  # it would have been called
        if is_own_loss(name, parameter, label):
            return "right"
        raise
    finally:
        import matplotlib.pyplot as plt

        plt.close("all")
        np.random.seed(0)  # noqa: NPY002
    return "right" if is_fine(name, parameter, label) else "silent"


def find_outcome(name: str, parameter: str, label: str) -> str:
    """Return how a bad call ended, for the tests: in this process."""
    try:
        return call_badly(name, parameter, label)
    except Exception as error:
        return judge(error)


def is_own_loss(name: str, parameter: str, label: str) -> bool:
    """Say whether an error comes from a function that the call was given."""
    return (name, parameter, label) == ("spaces.train", "cells", "other features")


def is_fine(name: str, parameter: str, label: str) -> bool:
    """Say whether a call is right as it is."""
    places = (name, f"{name.split('.')[0]}.*", "*")
    if parameter == "adata" and name in NOT_OF_X and label in OF_X or parameter == "rng" and label == "0":
        return True
    return any(FINE.get((place, parameter, which)) for place in places for which in (label, "*"))


def call(name: str, arguments: dict[str, Any]) -> Any:
    """Call by position where names are not taken."""
    function = find(name)
    positional = [
        key
        for key, one in inspect.signature(function).parameters.items()
        if one.kind is inspect.Parameter.POSITIONAL_ONLY
    ]
    return function(
        *(arguments[key] for key in positional),
        **{key: value for key, value in arguments.items() if key not in positional},
    )


def fingerprint(value: Any) -> Any:
    """Return what tells whether an AnnData was changed."""
    import numpy as np
    import pandas as pd
    from anndata import AnnData
    from scipy import sparse

    if isinstance(value, AnnData):
        parts = {"X": value.X, "obs": value.obs, "var": value.var, "uns": dict(value.uns)}
        parts |= {"layers": {str(k): v for k, v in value.layers.items()}, "obsm": dict(value.obsm)}
        return {key: fingerprint(part) for key, part in parts.items()}
    if isinstance(value, pd.DataFrame):
        return [
            value.columns.tolist(),
            value.index.tolist(),
            value.dtypes.astype(str).tolist(),
            value.astype(str).to_numpy().tolist(),
        ]
    if hasattr(value, "items"):
        return {str(key): fingerprint(part) for key, part in value.items()}
    if sparse.issparse(value):
        return [value.data.tobytes(), value.indices.tobytes(), value.indptr.tobytes()]
    if isinstance(value, np.ndarray):
        return [value.shape, str(value.dtype), repr(value.tolist()) if value.dtype.kind in "OV" else value.tobytes()]
    return repr(value)


@cache
def world() -> dict[str, Any]:
    """Return the data of all calls, made once."""
    import tempfile

    import matplotlib
    import numpy as np
    import torch

    import neuronedit as ne

    matplotlib.use("agg")
    folder = tempfile.mkdtemp(prefix="neuronedit_calls_")
    cells = ne.datasets.simulate_batches(n_cells=200)
    plain = cells.copy()
    ne.tl.train(cells, widths=(8, 4), max_epochs=1)
    groups = {"source": "control_1", "target": "control_2", "query": "sample_1"}
    ne.tl.edit(cells, "group", **groups, edit="percentile")
    ne.tl.edit(cells, "group", **groups, key_added="auto")
    ne.tl.correct(cells, "batch", control_key="role", reference="batch_2", edit="shift", sample_key="group")
    ne.io.save_model(cells, f"{folder}/model.safetensors")
    drugs = ne.datasets.simulate_combination(n_cells=60)
    ne.tl.train(drugs, space="pca", n_components=4)
    how: dict[str, Any] = {"groupby": "condition", "control": "basal", "effects": ["A", "B"], "edit": "percentile"}
    both = ne.tl.combine(drugs, **how)
    ranked = ne.tl.rank_combinations(drugs, **how, score="CD38", n_bootstrap=2)
    ne.tl.synergy(drugs, **how, measured="A+B", n_bootstrap=2)
    images = ne.datasets.simulate_images(n_images=5, image_shape=(16, 16))
    ne.tl.train(images, space="pca", n_components=4)
    roles = [
        {"shape": "square", "bar": "without"},
        {"shape": "square", "bar": "with"},
        {"shape": "disc", "bar": "without"},
    ]
    ne.tl.edit(
        images, **dict(zip(("source", "target", "query"), roles, strict=True)), edit="percentile", strength=[0.5, 1]
    )
    linear = cells.copy()
    ne.pp.inverse_arcsinh(linear)
    logicle = linear.copy()
    ne.pp.logicle(logicle)
    ne.datasets.simulate_fcs_study(f"{folder}/study", n_cells=20)
    events = ne.io.read_fcs(f"{folder}/study/fcs")
    table = ne.tl.compare(plain, "group", **groups, truth="sample_2", methods=["identity", "mean_shift"], n_bootstrap=2)
    rng = torch.Generator().manual_seed(0)
    source, target, query = (torch.randn(60, 4, generator=rng) + i for i in range(3))
    labels = np.arange(60) % 2
    return locals()


def _describe_batches(cells: Any) -> dict[str, dict[str, Any]]:
    """Return what the measures of batches take."""
    import numpy as np

    import neuronedit as ne

    n = len(cells)
    labels = {"samples": np.array([f"s{i % 4}" for i in range(n)]), "populations": np.full(n, "T")}
    effects = [{"T": ne.metrics.GroupEffect(np.ones(3), np.zeros(3))}]
    both = {"x": cells, "y": cells, "x_populations": labels["populations"], "y_populations": labels["populations"]}
    return {
        "metrics.sample_differences": {"cells": cells, **labels, "compared": [("s0", "s1")], "min_cells": 1},
        "metrics.consistent_peaks": {
            "before": cells,
            "after": cells,
            **labels,
            "compared": [("s0", "s1")],
            "min_cells": 2,
        },
        "metrics.group_effects": {"cells": cells, **labels, "groups": np.array(["a", "b"] * n)[:n], "min_cells": 1},
        "metrics.preserved_function": {"before": effects, "after": effects},
        "metrics.ilisi": {"cells": cells, "batches": labels["samples"], "n_neighbors": 5},
        "metrics.clisi": {"cells": cells, "populations": labels["samples"], "n_neighbors": 5},
        "metrics.kbet": {"cells": cells, "batches": labels["samples"], "n_neighbors": 5},
        "metrics.bras": {"cells": cells, "batches": labels["samples"], "populations": labels["populations"]},
        "metrics.flowsom_similarity": both | {"grid": 2},
    }


def good_arguments(name: str, parameter: str) -> dict[str, Any]:
    """Return arguments that are right, so that one can be made wrong."""
    import numpy as np
    import torch

    import neuronedit as ne

    w = world()
    room, function = name.split(".", 1)
    source, target, query = (w[key].clone() for key in ("source", "target", "query"))
    x = {key: w[key].numpy().astype(np.float32) for key in ("source", "target", "query")}
    shift, on_all = ne.edits.shift, ne.edits.on_all(ne.edits.shift)
    edit = {"adata": w["cells"].copy(), "groupby": "group", **w["groups"]}
    of_key = {"adata": w["cells"].copy()}
    training = ne.spaces.Training(max_epochs=1)
    module = torch.nn.Linear(4, 4)
    how = {"adata": w["drugs"].copy(), **w["how"]}
    by_name: dict[str, dict[str, Any]] = {
        "edits.Distance": {"cells": source, "n_neighbors": 3, "usual": 1.0},
        "edits.Populations": {
            "source": source, "target": target, "source_strata": w["labels"], "target_strata": w["labels"], "source_pairing": w["labels"],
            "target_pairing": w["labels"],
        },
        "edits.Shift": {"vector": source[0]}, "edits.Support": {"low": source[0], "high": source[0] + 1},
        "edits.by_pairing": {"fit": on_all, "query": query},
        "edits.distance": {"source": source}, "edits.support": {"source": source},
        "ensemble.Candidate": {"space": "features", "fit": on_all}, "ensemble.Prior": {"alike": 0.1, "strata": 0.1},
        "ensemble.cross_validate": {"space": ne.spaces.PCA.of(source), "source": source, "target": target, "query": query},
        "ensemble.match_populations": {"source": source, "target": target},
        "io.load_model": {"path": f"{w['folder']}/model.safetensors"}, "io.read_fcs": {"path": f"{w['folder']}/study/fcs"},
        "io.write_fcs": {"adata": w["events"].copy(), "folder": f"{w['folder']}/{uuid4()}"},
        "io.write_cell_eval": {"table": w["table"], "folder": f"{w['folder']}/scores"},
        "io.save_model": {"adata": w["cells"].copy(), "path": f"{w['folder']}/new.safetensors"},
        "metrics.gap_closed": {"metric": ne.metrics.mean_wasserstein, "query": x["source"], "truth": x["target"], "predicted": x["query"]},
        "metrics.harmed": {"query": x["query"], "predicted": x["target"], **({"truth": x["source"]} if parameter == "truth" else x)},
        **_describe_batches(x["source"]),
        "pl.biaxial": {"adata": w["cells"].copy(), "x": "IFNg", "y": "CCR6", "groupby": "group"},
        "pl.combination": {"adata": w["drugs"].copy(), "predicted": w["both"].copy(), "x": "p4EBP1", "y": "pSTAT5"},
        "pl.compare": {"table": w["table"]}, "pl.rank_combinations": {"table": w["ranked"]},
        "pl.cross_validation": of_key | {"key": "auto"}, "pl.synergy": {"adata": w["drugs"].copy()},
        "pl.images": {"adata": w["images"].copy(), "n": 2}, "pl.image_path": {"adata": w["images"].copy(), "n": 2},
        "pp.arcsinh": {"adata": w["plain"].copy(), "layer": None, "cofactor": 5.0}, "pp.inverse_arcsinh": {"adata": w["plain"].copy()},
        "pp.logicle": {"adata": w["linear"].copy(), "layer": None}, "pp.inverse_logicle": {"adata": w["logicle"].copy()},
        "pp.match_populations": {"adata": w["plain"].copy(), "groupby": "group", "n_populations": 3},
        "spaces.PCA": {"n_features": 4, "n_components": 2}, "spaces.PCA.fit": {"cells": source, "training": training, "n_components": 2},
        "spaces.PCA.of": {"cells": source}, "spaces.Identity.fit": {"cells": source, "training": training},
        "spaces.Autoencoder": {"n_features": 4, "widths": (4, 2)},
        "spaces.Autoencoder.fit": {"cells": source, "training": training, "widths": (4, 2)},
        "spaces.Conv": {"n_features": 64, "image_shape": (8, 8), "widths": (2, 2)},
        "spaces.Conv.fit": {"cells": torch.rand(20, 64), "training": training, "image_shape": (8, 8), "widths": (2, 2)},
        "spaces.Training": {}, "spaces.train": {
            "module": module, "loss": lambda x: (module(x) - 1).square().mean(), "cells": source, "training": training,
        },
        "tl.apply": {"adata": w["cells"].copy(), "model": w["cells"].copy(), "groupby": "group", "query": "sample_1", "key": "edited"},
        "tl.bootstrap": {"adata": w["cells"].copy(), "n_bootstrap": 2},
        "tl.combine": how, "tl.rank_combinations": how | {"score": "CD38", "n_bootstrap": 2},
        "tl.synergy": how | {"measured": "A+B", "n_bootstrap": 2},
        "tl.compare": edit | {"adata": w["plain"].copy(), "methods": ["identity"], "n_bootstrap": 2},
        "tl.correct": {"adata": w["cells"].copy(), "batch_key": "batch", "control_key": "role", "reference": "batch_2", "edit": "percentile"},
        "tl.edit": edit | {"edit": "percentile"}, "tl.embed": {"adata": w["plain"].copy(), "model": w["cells"].copy()},
        "tl.rank_neurons": of_key, "tl.train": {"adata": w["plain"].copy(), "widths": (4, 2), "max_epochs": 1},
        "datasets.celeba": {"root": "none"}, "datasets.fetch": {"dataset": "none"}, "datasets.simulate_images": {"n_images": 2, "image_shape": (16, 16)},
        "datasets.simulate_batches": {"n_cells": 20}, "datasets.simulate_combination": {"n_cells": 20},
        "datasets.simulate_fcs_study": {"folder": f"{w['folder']}/{uuid4()}", "n_cells": 1},
    }  # fmt: skip
    if parameter == "layer" and name == "pp.arcsinh":
        return by_name[name]
    if name == "pp.arcsinh":
        del by_name[name]["adata"].var["X_arcsinh_cofactor"]
    if name in by_name:
        return by_name[name]
    if room == "pl":
        key = "corrected" if function == "coverage" else "neuronedit" if function == "history" else "edited"
        return of_key | {"key": key}
    names = list(inspect.signature(find(name)).parameters)
    if room == "metrics":
        roles = {"x": x["source"], "y": x["target"], "predicted": x["query"] + 1} | x
        roles |= {
            "control": x["source"],
            "truth": x["target"],
            "treated": x["target"],
            "truths": x["target"],
            "origin": x["source"][0],
        }
        return {key: roles[key] for key in names if key in roles}
    if names[0] == "method":
        return {"method": shift}
    quick = {"n_steps": 2} if "n_steps" in names else {}
    return {"source": source, "target": target} | quick
