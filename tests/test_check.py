"""The layer that checks arguments: what it takes, what it refuses and with which words, and that it changes nothing else."""

import inspect
import pickle
import timeit
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, Literal

import numpy as np
import pandas as pd
import pytest
import torch

import neuronedit as ne
from neuronedit._check import (
    CELLS,
    NOT_FINITE,
    Bounds,
    Count,
    FilePath,
    LabelsOf,
    Positive,
    Share,
    check_arguments,
    check_calls,
)  # fmt: skip

NAN, INF = float("nan"), float("inf")


def ask(hint, value):
    """Call a function whose argument ``x`` has this type."""

    def function(x):
        return x

    function.__annotations__ = {"x": hint}
    return check_calls(function)(value)


RIGHT = [
    (int, 3), (int, np.int32(3)), (float, 3), (float, np.float32(0.5)), (float, np.int8(1)), (bool, np.True_), (bool, False),
    (Count, 1), (Share, 0), (Share, 1.0), (int | None, None), (str, ""), (Annotated[float, NOT_FINITE], NAN),
    (Bounds, (None, INF)), (Bounds, [0, 5]), (Bounds, np.array([0, 5])), (Sequence[Count], range(1, 3)), (Sequence[int], np.array([1])),
    (Sequence[str], "CD3"), (Sequence[Any], pd.Index(["a"])), (Sequence[Any], pd.Series(["a"])), (Mapping[str, Positive], {"a": 1}),
    (Mapping[str, Positive], pd.Series({"a": 1.0})), (Callable[..., Any], len), (Literal["a", "b"], "b"), (FilePath, "a"), (Any, object()),
]  # fmt: skip
WRONG = [
    (int, True, TypeError, "x must be a whole number; it is True."),
    (int, 1.0, TypeError, "x must be a whole number; it is 1.0."),
    (int, 10**20, ValueError, "x must be a number of 64 bits; it is 100000000000000000000."),
    (int, 2**300, ValueError, "x must be a number of 64 bits; it is a number of more than 256 bits."),
    (float, 1 + 2j, TypeError, r"x must be a number; it is \(1\+2j\)."),
    (float, NAN, ValueError, "x must be a finite number; it is nan."),
    (float, np.float32("inf"), ValueError, "x must be a finite number; it is inf."),
    (float, 10**400, ValueError, "x must be a finite number"),
    (float, np.ma.masked, TypeError, "x must be a number; it is "),
    (bool, "no", TypeError, "x must be True or False; it is 'no'."),
    (bool, 1, TypeError, "x must be True or False; it is 1."),
    (Count, -3, ValueError, "x must be at least 1; it is -3."),
    (Positive, 0, ValueError, "x must be positive; it is 0."),
    (Share, 1.5, ValueError, "x must be from 0 to 1; it is 1.5."),
    (Count | None, "a", TypeError, "x must be a whole number or None; it is 'a'."),
    (Count | None, 0, ValueError, "x must be at least 1; it is 0."),
    (str, b"a", TypeError, "x must be a string; it is b'a'."),
    (Sequence[Any], "ab", TypeError, "x must be a list; it is 'ab'."),
    (Sequence[Any], {1, 2}, TypeError, r"x must be a list; it is {1, 2}."),
    (Sequence[int], [1, 2.5], TypeError, r"x must be a list of whole numbers; it is \[1, 2.5\]."),
    (Sequence[Count], [1, 0], ValueError, "x must be at least 1; it is 0."),
    (
        Sequence[float],
        np.ma.masked_array([1.0, 2.0], [True, False]),
        TypeError,
        "x must be a list of numbers; it is a MaskedArray",
    ),
    (Bounds, (1, 2, 3), TypeError, r"x must be 2 values \(each a number or None\); it is \(1, 2, 3\)."),
    (Mapping[str, Positive], {"a": -1}, ValueError, "x must be positive; it is -1 for 'a'."),
    (Literal["a", "b"], "c", ValueError, "x must be one of 'a', 'b'; it is 'c'."),
    (Literal["a", "b"], 3, TypeError, "x must be one of 'a', 'b'; it is 3."),
    (FilePath, "", ValueError, "x must be a path; it is ''."),
    (pd.DataFrame, {}, TypeError, "x must be a DataFrame; it is {}."),
    (pd.DataFrame, pd.DataFrame, TypeError, "x must be a DataFrame; it is the class DataFrame."),
]
TENSOR, ARRAY = Annotated[torch.Tensor, CELLS], Annotated[np.ndarray, CELLS]
ONES = np.ones((3, 2))
WRONG_CELLS = [
    (TENSOR, ONES, TypeError, r"a tensor of float32 or float64, .*; it is a ndarray of float64, \(3, 2\)"),
    (TENSOR, torch.ones(3, 2, dtype=torch.int32), TypeError, "it is a Tensor of torch.int32"),
    (TENSOR, torch.ones(3, 2, device="meta"), TypeError, "a tensor of float32 or float64"),
    (TENSOR, torch.ones(3, 2).to_sparse(), TypeError, "a tensor of float32 or float64"),
    (TENSOR, torch.ones(3), ValueError, r"x must be \(n_cells, n_features\); its shape is \(3,\)"),
    (TENSOR, torch.ones(0, 2), ValueError, "x must hold at least 1 cell and one feature"),
    (TENSOR, torch.tensor([[1.0, NAN]]), ValueError, "x has NaN or infinite values, the first in cell number 0, feature number 1; drop or impute them first."),
    (TENSOR, torch.tensor([[1.0, -INF]]), ValueError, "x has NaN or infinite values"),
    (TENSOR, torch.tensor([[1.0, 1e39]], dtype=torch.float64), ValueError, r"x has values too large for float32, from 1 to 1e\+39, the first in cell number 0, feature number 1"),
    (ARRAY, torch.ones(3, 2), TypeError, "x must be an array of real numbers"),
    (ARRAY, [[1.0]], TypeError, "x must be an array of real numbers"),
    (ARRAY, ONES.astype(complex), TypeError, "it is a ndarray of complex128"),
    (ARRAY, ONES.astype(object), TypeError, "it is a ndarray of object"),
    (ARRAY, np.ma.masked_greater(ONES, 3), TypeError, "it is a MaskedArray"),
    (ARRAY, np.asmatrix(ONES), TypeError, "it is a matrix"),
    (ARRAY, np.full((2, 2), NAN), ValueError, "x has NaN"),
    (ARRAY, ONES[:, :0], ValueError, "at least 1 cell and one feature"),
]  # fmt: skip


@pytest.mark.parametrize(("hint", "value"), RIGHT)
def test_right_values_pass(hint, value):
    assert ask(hint, value) is value


@pytest.mark.parametrize(("hint", "value", "error", "message"), WRONG + WRONG_CELLS)
def test_wrong_values_are_refused(hint, value, error, message):
    with pytest.raises(error, match=message):
        ask(hint, value)


@pytest.mark.parametrize("cells", [torch.ones(3, 2), torch.ones(3, 2, dtype=torch.float64)])
def test_cells_pass(cells):
    assert ask(TENSOR, cells) is cells
    assert ask(ARRAY, cells.numpy()) is not None and ask(ARRAY, np.ones((3, 2), dtype=np.int8)) is not None


def test_arguments_are_compared():
    x = torch.ones(4, 2)
    with pytest.raises(ValueError, match="source has 2 features, target has 3; they must have the same"):
        ne.edits.shift(x, torch.ones(4, 3))
    with pytest.raises(
        TypeError, match="source is torch.float32 on cpu, target is torch.float64 on cpu; they must be alike"
    ):
        ne.edits.shift(x, x.double())
    with pytest.raises(ValueError, match=r"target_strata must label the 4 cells of target; its shape is \(3,\)"):
        ne.edits.Populations(x, x, np.zeros(4), np.zeros(3))

    def labelled(x: TENSOR, labels: Annotated[np.ndarray, LabelsOf("x")] | None = None):
        return labels

    assert check_calls(labelled)(x, labels=np.zeros((4, 2))).shape == (4, 2) and check_calls(labelled)(x) is None


GROUPS = {"groupby": "group", "source": "control_1", "target": "control_2", "query": "sample_1", "edit": "percentile"}


@pytest.mark.parametrize(
    ("tool", "arguments", "message"),
    [
        (ne.tl.edit, GROUPS | {"n_bins": 0}, "n_bins must be at least 1; it is 0"),
        (ne.tl.edit, GROUPS | {"residual": "no"}, "residual must be True or False; it is 'no'"),
        (ne.tl.edit, GROUPS | {"strength": 1 + 2j}, "strength must be a number or a list of numbers"),
        (ne.tl.edit, GROUPS | {"edit": "gaussian_ot", "ridge": -1}, "ridge must be at least 0; it is -1"),
        (ne.tl.edit, GROUPS | {"edit": "local", "max_cells": -3}, "max_cells must be at least 1; it is -3"),
        (ne.tl.train, {"early_stopping": NAN}, "early_stopping must be a whole number or None; it is nan"),
        (ne.tl.train, {"widths": (8, 0)}, "widths must be at least 1; it is 0"),
    ],
)
def test_parameters_of_edits_and_spaces_are_checked_before_any_work(trained, tool, arguments, message):
    before = set(trained.uns), set(trained.layers)
    with pytest.raises((TypeError, ValueError), match=message):
        tool(trained, **arguments)
    assert (set(trained.uns), set(trained.layers)) == before


def test_functions_stay_what_they_are():
    percentile = ne.edits.percentile
    assert percentile.__name__ == "percentile" and "Parameters" in percentile.__doc__
    assert list(inspect.signature(percentile).parameters) == ["source", "target", "n_bins"]
    assert pickle.loads(pickle.dumps(percentile)) is percentile is ne.edits.EDITS["percentile"]
    assert ne.baselines.BASELINES["quantile"] is percentile
    shift = pickle.loads(pickle.dumps(ne.edits.Shift(torch.ones(2))))
    assert torch.equal(shift.vector, torch.ones(2))


def test_functions_of_others_are_left_alone():
    def theirs(x: "NoSuchType"):  # noqa: F821
        return x

    check_arguments(theirs, {"x": 3})


def test_it_costs_little():
    """A check costs about 3 microseconds and the look at the cells; a busy machine is given ten times that."""
    by_strata = ne.edits.by_strata
    seconds = [
        min(timeit.repeat(lambda f=f: f(len, n_neighbors=3), number=2000, repeat=5)) / 2000
        for f in (by_strata, inspect.unwrap(by_strata))
    ]
    assert seconds[0] - seconds[1] < 30e-6
