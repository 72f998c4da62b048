"""What every public function checks before any work: the types and ranges that are declared beside its parameters.

Ranges and shapes are markers in ``Annotated``, and a string there is the words for a type; a room calls `guard` once. Whole numbers of numpy are whole numbers, a bool is
none; NaN and infinity are no numbers unless `NOT_FINITE` says so; complex numbers and masked arrays are never taken.
"""

import enum
import inspect
import linecache
import os
import sys
import traceback
import types
from collections.abc import Callable, Collection, Hashable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import cache, wraps
from os import PathLike
from typing import Annotated, Any, Literal, NamedTuple, Union, get_args, get_origin, get_type_hints

import numpy as np

MAX_LETTERS_SHOWN = 80  # of a value in an error

FindFault = Callable[[Any], str | None]
"""Returns `None` for a value that is right, ``""`` for one of a wrong type, else what is wrong with it, in words."""

Signature = tuple[list[str], dict[str, FindFault], dict[str, "ParameterKind"], "Together"]  # what is checked in a call


class ParameterKind(NamedTuple):
    """What a parameter takes, in words, for one and for several, and what finds the fault of a value."""

    words: str
    plural: str
    find_fault: FindFault


@dataclass(frozen=True, repr=False)
class Limit:
    """What a value of the right type must be, besides, and the words for it."""

    words: str
    holds: Callable[[Any], bool]

    def __repr__(self) -> str:  # in help
        return self.words


@dataclass(frozen=True, repr=False)
class Values:
    """An array or a tensor of finite real numbers: of so many dimensions, with at least so many rows.

    All that are given to one function must have the same number of features, and tensors the same type and device.
    """

    n_dimensions: int
    n_rows: int = 1

    def __repr__(self) -> str:
        return f"{self.n_dimensions}-D"


@dataclass(frozen=True, repr=False)
class LabelsOf:
    """Labels of the rows of another argument, ``(n_cells,)`` or ``(n_cells, n_labelings)``."""

    cells: str

    def __repr__(self) -> str:
        return f"labels of {self.cells}"


class Together(NamedTuple):
    """Names of the arguments that are compared with each other: cells, and labels with the name of their cells."""

    cells: list[str]
    labels: dict[str, str]


NOT_FINITE = object()
"""Marks numbers that may be NaN or infinite."""


def at_least(low: float) -> Limit:
    """Return the limit from ``low`` upwards."""
    return Limit(f"at least {low}", lambda value: value >= low)


def above(low: float) -> Limit:
    """Return the limit from above ``low`` upwards."""
    return Limit("positive" if low == 0 else f"above {low}", lambda value: value > low)


def between(low: float, high: float) -> Limit:
    """Return the limit from ``low`` to ``high``, both included."""
    return Limit(f"from {low} to {high}", lambda value: low <= value <= high)


Count = Annotated[int, at_least(1)]
TwoOrMore = Annotated[int, at_least(2)]
Seed = Annotated[int, at_least(0)]
Positive = Annotated[float, above(0)]
NotNegative = Annotated[float, at_least(0)]
Share = Annotated[float, between(0, 1)]
NumberOrInfinity = Annotated[float, NOT_FINITE]


def _is_no_empty_gate(score: Any) -> bool:
    """Say whether a cell can be in a gate; of other scores it is true."""
    if not isinstance(score, Mapping):
        return True
    return bool(score) and all(None in ends or ends[0] <= ends[1] for ends in score.values())


# what cells are ranked by: a feature (its mean), a gate (the share of cells in it), or a function of cells
Score = Annotated[
    str | Mapping[str, tuple[float | None, float | None]] | Callable[[Any], float],
    Limit("a feature, a gate such as {'CD38': (1.5, None)} with the low limit first, or a function", _is_no_empty_gate),
]
Bounds = tuple[NumberOrInfinity | None, NumberOrInfinity | None]
FilePath = Annotated[
    str | PathLike[str], Limit("a path", lambda path: not isinstance(path, str) or path != "" and "\0" not in path)
]

NOT_EMPTY = Limit("one value or more", lambda values: len(values) > 0)
CELLS, TWO_CELLS, VECTOR = Values(2), Values(2, 2), Values(1)
CellArray = Annotated[np.ndarray, CELLS]
TwoCellArray = Annotated[np.ndarray, TWO_CELLS]


PACKAGE = os.path.dirname(__file__)
FULL_TRACEBACK = "NEURONEDIT_FULL_TRACEBACK"  # environment variable: errors of bad input keep theirs

Context = Callable[[], AbstractContextManager[Any]]


def guard(room: dict[str, Any], within: Context = nullcontext) -> None:
    """Make all functions and constructors that a room offers check their arguments: in the room, its tables and its modules.

    They run ``within`` a context.
    """
    for name in room["__all__"]:
        thing = room[name]
        module = getattr(thing, "__module__", "")
        if not module.startswith(room["__name__"]):  # of a room below
            continue
        if inspect.isclass(thing) and not issubclass(thing, enum.Enum | BaseException):
            _guard_class(thing, within)
        elif inspect.isfunction(thing):
            room[name] = checked = check_calls(thing, within)
            setattr(sys.modules[module], thing.__name__, checked)  # where pickle looks
            for table in room.values():
                if isinstance(table, dict):
                    table.update({row: checked for row, value in table.items() if value is thing})


def _guard_class(kind: type, within: Context) -> None:
    """Make the constructor of a class, and its class methods that make an object, check their arguments."""
    constructor = "__new__" if issubclass(kind, tuple) else "__init__"
    make = vars(kind).get(constructor)
    if isinstance(make, staticmethod):  # of a named tuple
        setattr(kind, constructor, staticmethod(check_calls(make.__func__, within)))
    elif inspect.isfunction(make):
        setattr(kind, constructor, check_calls(make, within))
    for name, method in list(vars(kind).items()):
        if isinstance(method, classmethod) and name in ("fit", "of"):
            setattr(kind, name, classmethod(check_calls(method.__func__, within)))


def check_calls(function: Callable[..., Any], within: Context = nullcontext) -> Callable[..., Any]:
    """Return a function that checks its arguments first; its types are looked at in its first call. It runs ``within`` a context."""

    @wraps(function)
    def checked(*args: Any, **kwargs: Any) -> Any:
        names, find_faults, kinds, together = _read_signature(function)
        for name, value in zip(names, args, strict=False):  # too many are Python's to refuse
            if name in find_faults and (fault := find_faults[name](value)) is not None:
                _refuse(name, value, fault, kinds[name])
        for name, value in kwargs.items():
            if name in find_faults and (fault := find_faults[name](value)) is not None:
                _refuse(name, value, fault, kinds[name])
        if together.cells:
            _check_together(dict(zip(names, args, strict=False)) | kwargs, together)
        try:
            with within():
                return function(*args, **kwargs)
        except (KeyError, TypeError, ValueError) as error:
            __tracebackhide__ = True  # of IPython and pytest
            if not _is_raised_here(error):
                raise
            raise error.with_traceback(None)  # noqa: B904 (the same one: its text says all)

    return checked


def _is_raised_here(error: BaseException) -> bool:
    """Return whether an error is one of ours, with a text for users, unless all of its traceback is asked for."""
    if FULL_TRACEBACK in os.environ or error.__traceback__ is None:
        return False
    *_, (frame, line) = traceback.walk_tb(error.__traceback__)
    file = frame.f_code.co_filename
    return file.startswith(PACKAGE) and linecache.getline(file, line).lstrip().startswith("raise ")


def check_arguments(function: Callable[..., Any], arguments: Mapping[str, Any]) -> None:
    """Refuse arguments by name that a function of ours would refuse."""
    function = inspect.unwrap(getattr(function, "__func__", function))
    if not getattr(function, "__module__", "").startswith(f"{__package__}."):
        return
    _, find_faults, kinds, _ = _read_signature(function)
    for name, value in arguments.items():
        if name in find_faults and (fault := find_faults[name](value)) is not None:
            _refuse(name, value, fault, kinds[name])


def _refuse(name: str, value: Any, fault: str, kind: ParameterKind) -> None:
    if fault:
        raise ValueError(f"{name} {fault}.")
    raise TypeError(f"{name} must be {kind.words}; it is {describe(value)}.")


@cache
def _read_signature(function: Callable[..., Any]) -> Signature:
    """Return the names of the parameters in order, and what finds the faults of those with a type."""
    hints = get_type_hints(function, include_extras=True)
    taken = [one for one in inspect.signature(function).parameters.values() if one.kind != one.VAR_KEYWORD]
    kinds = {one.name: _read_type(hints[one.name]) for one in taken if one.name in hints}
    markers = {name: _find_markers(hints[name]) for name in kinds}
    cells = [name for name in kinds if any(isinstance(marker, Values) for marker in markers[name])]
    labels = {name: one.cells for name in kinds for one in markers[name] if isinstance(one, LabelsOf)}
    find_faults = {name: kind.find_fault for name, kind in kinds.items() if kind is not ANYTHING}
    return [one.name for one in taken], find_faults, kinds, Together(cells, labels)


def _find_markers(hint: Any) -> list[Any]:
    """Return the markers of a type, and of its parts."""
    markers = list(getattr(hint, "__metadata__", ()))
    is_union = get_origin(hint) in (Union, types.UnionType, Annotated)
    return markers + [one for part in get_args(hint) if is_union for one in _find_markers(part)]


def _check_together(values: Mapping[str, Any], together: Together) -> None:
    """Refuse cells with different features, tensors of different types, and labels of other cells."""
    given = {name: values[name] for name in together.cells if values.get(name) is not None}
    (first, one), *others = given.items()
    for name, other in others:
        if other.shape[-1] != one.shape[-1]:
            raise ValueError(
                f"{first} has {one.shape[-1]} features, {name} has {other.shape[-1]}; they must have the same."
            )
        if (
            hasattr(one, "device")
            and hasattr(other, "aminmax")
            and (one.dtype, one.device) != (other.dtype, other.device)
        ):
            kinds = f"{first} is {one.dtype} on {one.device}, {name} is {other.dtype} on {other.device}"
            raise TypeError(f"{kinds}; they must be alike.")
    for name, of in together.labels.items():
        labels = values.get(name)
        if labels is not None and (labels.ndim not in (1, 2) or len(labels) != len(values[of])):
            raise ValueError(f"{name} must label the {len(values[of])} cells of {of}; its shape is {labels.shape}.")


# what a type takes


def _make_kind(words: str, plural: str, is_type: Callable[[Any], bool]) -> ParameterKind:
    """Return the kind of values for which a function is true."""
    return ParameterKind(words, plural, lambda value: None if is_type(value) else "")


def _find_fault_of_int(value: Any) -> str | None:
    if not isinstance(value, int | np.integer) or isinstance(value, bool):
        return ""
    return None if -(2**63) <= value < 2**63 else f"must be a number of 64 bits; it is {describe(value)}"


def _find_fault_of_float(value: Any) -> str | None:
    if not isinstance(value, float | int | np.floating | np.integer) or isinstance(value, bool):
        return ""
    value = value.item() if isinstance(value, np.generic) else value
    # of whole numbers without end, too; NaN is in no interval
    return (
        None
        if -sys.float_info.max <= value <= sys.float_info.max
        else f"must be a finite number; it is {describe(value)}"
    )


def _is_label(value: Any) -> bool:
    """Say whether a value can name cells: it has a hash, and is equal to itself, as what is missing is not."""
    try:
        return hash(value) is not None and bool(value == value)
    except (TypeError, ValueError):
        return False


def _is_masked(value: Any) -> bool:
    return isinstance(value, np.ma.MaskedArray)


def _is_array(value: Any) -> bool:
    return isinstance(value, np.ndarray) and not isinstance(value, np.ma.MaskedArray | np.matrix)


def _is_list(value: Any) -> bool:
    """Say whether values have an order: a list, a tuple, an array of one dimension, an index or a column."""
    is_ordered = isinstance(value, Sequence) or all(hasattr(value, name) for name in ("__len__", "__getitem__", "iloc"))
    is_ordered = is_ordered or hasattr(value, "get_indexer") or _is_array(value)
    return is_ordered and not isinstance(value, str | bytes) and getattr(value, "ndim", 1) == 1


def _is_collection(value: Any) -> bool:
    return isinstance(value, Collection) and not isinstance(value, bytes) and not _is_masked(value) and _is_flat(value)


def _is_flat(value: Any) -> bool:
    return getattr(value, "ndim", 1) == 1


def _is_mapping(value: Any) -> bool:
    """Say whether something is a dict, or a column of pandas, which is like one."""
    return isinstance(value, Mapping) or hasattr(value, "keys") and hasattr(value, "items") and _is_flat(value)


ANYTHING = _make_kind("anything", "anything", lambda value: True)
SIMPLE: dict[Any, ParameterKind] = {
    Any: ANYTHING,
    object: ANYTHING,
    type(None): _make_kind("None", "None", lambda value: value is None),
    bool: _make_kind("True or False", "True or False", lambda value: isinstance(value, bool | np.bool_)),
    int: ParameterKind("a whole number", "whole numbers", _find_fault_of_int),
    float: ParameterKind("a number", "numbers", _find_fault_of_float),
    str: _make_kind("a string", "strings", lambda value: isinstance(value, str)),
    np.ndarray: _make_kind("an array", "arrays", _is_array),
    Hashable: _make_kind("a value", "values", _is_label),
}


def _read_type(hint: Any) -> ParameterKind:
    """Return what a type takes."""
    if isinstance(hint, Hashable) and hint in SIMPLE:
        return SIMPLE[hint]
    origin, parts = get_origin(hint) or hint, get_args(hint)
    if origin is Annotated:
        return _read_markers(parts[0], hint.__metadata__)
    if origin in (Union, types.UnionType):
        return _read_union(parts)
    if origin is Literal:
        words = f"one of {', '.join(map(repr, parts))}" if len(parts) > 1 else repr(parts[0])
        return ParameterKind(words, words, lambda value: _find_fault_of_choice(value, parts, words))
    if origin is tuple and Ellipsis not in parts:
        return _read_tuple([_read_type(part) for part in parts])
    if origin in (Sequence, list, tuple, Collection):
        return _read_items(origin, parts[0])
    if origin is Mapping or origin is dict:
        return _read_mapping(*map(_read_type, parts or (Any, Any)))
    if origin is Callable or "__call__" in vars(origin) and getattr(origin, "_is_protocol", False):
        return _make_kind("a function", "functions", callable)
    if getattr(origin, "_is_protocol", False):
        members = [name for name in vars(origin) if not name.startswith("_") or name == "__getitem__"]
        words = f"an object with {' and '.join(members)}"
        return _make_kind(words, words, lambda x: not inspect.isclass(x) and all(hasattr(x, name) for name in members))
    if origin is type:
        return _make_kind("a class", "classes", inspect.isclass)
    article = "an" if origin.__name__[0] in "AEIOaeio" else "a"
    return _make_kind(f"{article} {origin.__name__}", f"{origin.__name__} objects", lambda x: isinstance(x, origin))


def _find_fault_of_choice(value: Any, choices: Sequence[Any], words: str) -> str | None:
    if not isinstance(value, str):
        return ""
    return None if value in choices else f"must be {words}; it is {describe(value)}"


def _read_union(parts: Sequence[Any]) -> ParameterKind:
    """Return what any of several types takes; names beside functions or classes are looked up in a table, which says more."""
    origins = [get_origin(part) or part for part in parts]
    if Literal in origins and (Callable in origins or type in origins):
        return ANYTHING
    kinds = [_read_type(part) for part in parts]
    if ANYTHING in kinds:
        return ANYTHING

    def find_fault(value: Any) -> str | None:
        worst = ""
        for kind in kinds:
            fault = kind.find_fault(value)
            if fault is None:
                return None
            worst = worst or fault
        return worst

    words = [kind.words for kind in kinds]
    return ParameterKind(_join_or(words), _join_or([kind.plural for kind in kinds]), find_fault)


def _join_or(words: Sequence[str]) -> str:
    *first, last = dict.fromkeys(words)
    return f"{', '.join(first)} or {last}" if first else last


def _read_items(origin: Any, item: Any) -> ParameterKind:
    """Return what a list takes; where it is of strings, also one string."""
    kind, is_of_objects = _read_type(item), inspect.isclass(item) and item not in SIMPLE
    is_right = _is_collection if origin is Collection else _is_list

    def find_fault(values: Any) -> str | None:
        if item is str and isinstance(values, str):
            return None
        if is_of_objects and isinstance(values, np.ndarray) and values.dtype == object:
            values = values.ravel()
        if not is_right(values):
            return ""
        faults = (kind.find_fault(value) for value in values) if kind is not ANYTHING else ()
        return next((fault for fault in faults if fault is not None), None)

    words = "a list" if kind is ANYTHING else f"a list of {kind.plural}"
    return ParameterKind(words, f"lists{words[6:]}", find_fault)


def _read_tuple(kinds: Sequence[ParameterKind]) -> ParameterKind:
    """Return what a tuple of so many parts takes."""

    def find_fault(values: Any) -> str | None:
        if not _is_list(values) or len(values) != len(kinds):
            return ""
        faults = (kind.find_fault(value) for kind, value in zip(kinds, values, strict=True))
        return next((fault for fault in faults if fault is not None), None)

    words = f"{len(kinds)} values (each {_join_or([kind.words for kind in kinds])})"
    return ParameterKind(words, words, find_fault)


def _read_mapping(keys: ParameterKind, values: ParameterKind) -> ParameterKind:
    """Return what a dict takes."""

    def find_fault(mapping: Any) -> str | None:
        if not _is_mapping(mapping):
            return ""
        for key, value in mapping.items():
            fault = keys.find_fault(key)
            fault = values.find_fault(value) if fault is None else fault
            if fault is not None:
                return fault and f"{fault} for {describe(key)}"
        return None

    known = [kind.plural for kind in (keys, values) if kind is not ANYTHING]
    words = f"dict of {' to '.join(known)}" if known else "dict"
    return ParameterKind(f"a {words}", words.replace("dict", "dicts", 1), find_fault)


def _read_markers(hint: Any, markers: Sequence[Any]) -> ParameterKind:
    """Return what a type with markers takes."""
    for marker in markers:
        if isinstance(marker, Values):
            return _read_values(hint, marker)
    kind = _read_type(hint)
    if NOT_FINITE in markers:
        return _make_kind(kind.words, kind.plural, lambda value: _find_fault_of_float(value) != "")
    limits = [marker for marker in markers if isinstance(marker, Limit)]
    words = next((marker for marker in markers if isinstance(marker, str)), kind.words)

    def find_fault(value: Any) -> str | None:
        fault = kind.find_fault(value)
        if fault is None:
            for limit in limits:
                if not limit.holds(value):
                    return f"must be {limit.words}; it is {describe(value)}"
        return fault

    return ParameterKind(words, kind.plural, find_fault)


def _read_values(hint: Any, marker: Values) -> ParameterKind:
    """Return what a tensor or an array of numbers takes: its type, its shape, and that it is finite."""
    shape = "(n_cells, n_features)" if marker.n_dimensions == 2 else "(n_features,)"
    name = "an array of real numbers" if hint is np.ndarray else "a tensor of float32 or float64"

    def find_fault(x: Any) -> str | None:
        if hint is np.ndarray:
            if not _is_array(x) or x.dtype.kind not in "fiu":
                return ""
        elif hasattr(x, "aminmax"):
            is_dense = str(x.layout) == "torch.strided" and not x.is_meta
            if not is_dense or not x.dtype.is_floating_point or x.dtype.itemsize < 4:
                return ""
        elif getattr(hint, "_is_protocol", False):  # cells of a file
            are_others = any(hasattr(x, name) for name in ("__array__", "obs", "tocsr"))
            return "" if are_others or len(getattr(x, "shape", ())) != 2 or not hasattr(x, "__getitem__") else None
        else:
            return ""
        return _find_fault_of_values(x, marker, shape)

    return ParameterKind(f"{name}, {shape}", f"tensors, {shape}", find_fault)


def _find_fault_of_values(x: Any, marker: Values, shape: str) -> str | None:
    if x.ndim != marker.n_dimensions:
        return f"must be {shape}; its shape is {tuple(x.shape)}"
    if len(x) < marker.n_rows or x.shape[-1] == 0:
        n, what = marker.n_rows, "cell" if marker.n_dimensions == 2 else "feature"
        return f"must hold at least {n} {what}{'s' * (n > 1)} and one feature; its shape is {tuple(x.shape)}"
    low, high = (x.min(), x.max()) if isinstance(x, np.ndarray) else x.detach().aminmax()
    low, high = float(low), float(high)
    limit = find_limit(x.shape[-1])
    if low >= -limit and high <= limit:  # not with NaN
        return None
    is_good = np.abs(np.asarray(x.detach().cpu() if hasattr(x, "detach") else x, dtype=np.float64)) <= limit
    row, *column = (int(i) for i in np.argwhere(~is_good)[0])
    where = f"cell number {row}, feature number {column[0]}" if column else f"feature number {row}"
    if abs(low) < np.inf and abs(high) < np.inf:
        text = f"has values too large for float32, from {low:.3g} to {high:.3g}, the first in {where}"
        return f"{text}: above {limit:.0e} sums of squares are infinite"
    return f"has NaN or infinite values, the first in {where}; drop or impute them first"


def check_cells(name: str, x: Any, *, n_cells: int = 1) -> None:
    """Refuse cells that a function of the caller's own returned, if they are not as arguments have to be."""
    if fault := _find_fault_of_values(x, Values(2, n_cells), "(n_cells, n_features)"):
        raise ValueError(f"{name} {fault}.")


def find_limit(n_features: int) -> float:
    """Return the largest value of so many features whose sum of squared differences is finite in float32."""
    return float(np.sqrt(np.finfo(np.float32).max / (16 * n_features)))


def describe(value: Any) -> str:
    """Show a value in an error: small ones as they are, others by their type."""
    name = type(value).__name__
    if isinstance(value, int) and value.bit_length() > 256:  # Python may refuse to write it
        return "a number of more than 256 bits"
    if isinstance(getattr(value, "mod", None), Mapping):  # MuData
        has = ", ".join(map(repr, value.mod))
        return f"a {name}; pass one of its modalities, mdata.mod[{next(iter(value.mod), 'rna')!r}]: it has {has}"
    if hasattr(value, "dtype") and hasattr(value, "shape") and value.shape != ():
        return f"a {name} of {value.dtype}, {tuple(value.shape)}"
    if not (
        value is None or isinstance(value, str | bytes | int | float | complex | np.generic | list | tuple | dict | set)
    ):
        return f"the class {value.__name__}" if inspect.isclass(value) else f"a {name}"
    text = repr(value.item() if isinstance(value, np.generic) else value)
    return text if len(text) <= MAX_LETTERS_SHOWN else f"{text[:MAX_LETTERS_SHOWN]}..."
