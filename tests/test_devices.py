"""What runs on an accelerator stays there: checked without one, on tensors that pretend to be on it.

Their values are on the CPU, and are computed there. What torch would refuse on an accelerator (one operand here, another
there) is refused, and whatever waits for it, or copies from it, is noted, with the function of the package that did it.
"""

import sys
from contextlib import contextmanager, nullcontext
from copy import deepcopy
from functools import cache, partial
from inspect import signature
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import sparse
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_map

import neuronedit as ne
from neuronedit._data.reader import CellReader
from neuronedit.baselines import BASELINES
from neuronedit.edits import AXES, EDITS, MAPS, _percentile
from neuronedit.edits._percentile import exact_percentiles, find_ranks, sort_percentiles
from neuronedit.spaces import SPACES, Training

SRC = str(Path(ne.__file__).parent) + "/"
ACCELERATOR = torch.device("cuda:0")  # what such a tensor tells Python
APPLE = torch.device("mps:0")  # or this, where there is no float64
NATIVE = torch.device("meta:0")  # and torch's C++, which takes it as it is where there is no accelerator

HAS_CUDA = torch.cuda.is_available()
GPU = [pytest.mark.gpu, pytest.mark.skipif(not HAS_CUDA, reason="no CUDA device")]  # the same on a real one

aten = torch.ops.aten
COPIES = {aten._to_copy, aten.copy_}  # may have operands on both devices
WAITS = {
    aten._local_scalar_dense, aten.bincount, aten.equal, aten.masked_select, aten.nonzero, aten._unique2, aten.unique_dim,
    aten.unique_consecutive, aten.repeat_interleave, aten._linalg_check_errors,
}  # fmt: skip
INDEXING = {aten.index, aten.index_put, aten.index_put_, aten._index_put_impl_}  # row numbers may be on the CPU
STEPS = {aten._fused_adam_}


class MixtureError(RuntimeError):
    """Operands of one operation are on two devices."""


class OnAccelerator(Tensor):
    """A tensor on the CPU that says it is on an accelerator."""

    __torch_function__ = torch._C._disabled_torch_function_impl
    where = ACCELERATOR
    device = property(lambda self: OnAccelerator.where)
    is_meta = property(lambda self: False)

    @classmethod
    def __torch_dispatch__(cls, func, types, args=(), kwargs=None):
        if func is torch.ops.prim.device.default:
            return NATIVE
        raise RuntimeError(f"{func} on a tensor that pretends, outside of Pretending")

    def __repr__(self):
        return f"OnAccelerator{tuple(self.shape)}"

    def __deepcopy__(self, memo):
        return self.clone()

    def numpy(self, **kwargs):
        raise TypeError("can't convert cuda:0 device type tensor to numpy. Use Tensor.cpu() first.")

    def __array__(self, *args, **kwargs):
        return self.numpy()

    def tolist(self):
        return self.cpu().tolist()

    def __getitem__(self, key):
        return super().__getitem__(read_lists(key))

    def __setitem__(self, key, value):
        super().__setitem__(read_lists(key), value)


def read_lists(key):
    """Return an index whose lists are tensors on the CPU: torch's C++ would leave them empty for its device `NATIVE`."""
    if isinstance(key, tuple):
        return tuple(map(read_lists, key))
    return torch.tensor(key) if isinstance(key, list) else key


def put(x):
    """Return a tensor that shares the values of one on the CPU, and says that it is on the accelerator."""
    return Tensor._make_subclass(OnAccelerator, x.detach(), False, dispatch_device=True)


def see(x):
    """Return the values of a tensor that pretends, for a test to look at."""
    with torch._C._DisableTorchDispatch():
        return torch.empty(0, dtype=x.dtype).set_(x.untyped_storage(), x.storage_offset(), x.shape, x.stride())


def find_place():
    """Return the file of the package and the function that is running."""
    frame = sys._getframe(2)
    while frame is not None and not frame.f_code.co_filename.startswith(SRC):
        frame = frame.f_back
    if frame is None:
        return "elsewhere"
    name = frame.f_code.co_qualname.split(".<locals>")[0]  # of a lambda or a comprehension: the function it is in
    return f"{frame.f_code.co_filename.removeprefix(SRC)}:{name}"


class Pretending(TorchDispatchMode):
    """Computes with tensors that pretend, and notes what waits for the accelerator or copies from it, and every step of Adam."""

    def __init__(self, device=ACCELERATOR):
        super().__init__()
        self.device = device
        # or else torch looks for CUDA when it is given such a device
        self._mode_key = torch._C._TorchDispatchModeKey.FAKE
        self.notes = []  # (what, where)
        self.uploads = []  # (number of the step, where)

    def __enter__(self):
        OnAccelerator.where = self.device
        # or else module.to() keeps the class of weights
        torch.__future__.set_overwrite_module_params_on_conversion(True)
        return super().__enter__()

    def __exit__(self, *args):
        OnAccelerator.where = ACCELERATOR
        torch.__future__.set_overwrite_module_params_on_conversion(False)
        return super().__exit__(*args)

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if func is torch.ops.prim.device.default:
            return NATIVE
        tensors = [x for x in tree_flatten((args, kwargs))[0] if isinstance(x, Tensor)]
        there = [x for x in tensors if isinstance(x, OnAccelerator)]
        here = [x for x in tensors if not isinstance(x, OnAccelerator)]
        device = kwargs.get("device")
        is_there = bool(there) if device is None else torch.device(device) in (self.device, NATIVE)
        if is_there and device is not None:
            kwargs = kwargs | {"device": torch.device("cpu")}
            if kwargs.get("generator") is not None:
                raise MixtureError(f"{func} in {find_place()}: a generator on the CPU, for numbers on the accelerator")
        if there and here:
            self.check_mixture(func, args, here)
        self.note(func, args, there, is_there)
        values = {id(x): see(x) for x in there}
        given = {id(values[id(x)]): x for x in there} | {id(x): x for x in here}
        unwrapped = tree_map(lambda x: values.get(id(x), x) if isinstance(x, Tensor) else x, (args, kwargs))
        out = func(*unwrapped[0], **unwrapped[1])

        def wrap(x):
            if id(x) in given or not is_there:
                return given.get(id(x), x)
            if self.device == APPLE and x.dtype == torch.float64:
                raise TypeError(f"{func} in {find_place()}: float64, which MPS has not")
            return put(x)

        return tree_map(lambda x: wrap(x) if isinstance(x, Tensor) else x, out)

    def check_mixture(self, func, args, here):
        """Refuse operands on two devices, as torch does: one number on the CPU is taken as such, and row numbers may be there."""
        packet = func.overloadpacket
        if packet in COPIES:
            return
        if packet in INDEXING and isinstance(args[0], OnAccelerator):
            here = [x for x in args[2:3] if isinstance(x, Tensor) and not isinstance(x, OnAccelerator)]
        takes_numbers = torch.Tag.pointwise in func.tags or packet in INDEXING or packet in {aten.where, aten.fill_}
        if any(x.ndim or not takes_numbers for x in here):
            raise MixtureError(f"{func} in {find_place()}: operands are on the CPU and on the accelerator")

    def note(self, func, args, there, is_there):
        """Note what waits, copies or steps, and what is copied to the accelerator."""
        packet = func.overloadpacket
        indices = [x for x in args[1] if x is not None] if packet in INDEXING and is_there else []
        is_new = packet is aten._to_copy and is_there and not there
        if is_new or any(not isinstance(x, OnAccelerator) for x in indices):
            self.uploads.append((sum(what == "step" for what, _ in self.notes), find_place()))
        is_mask = any(isinstance(x, OnAccelerator) and x.dtype == torch.bool for x in indices)
        if packet in STEPS and there:
            self.notes.append(("step", find_place()))
        elif packet in WAITS and there or is_mask:
            self.notes.append(("wait", find_place()))
        elif there and (packet is aten._to_copy and not is_there or packet is aten.copy_ and args[0] is not there[0]):
            self.notes.append(("copy", find_place()))


@contextmanager
def pretending(device=ACCELERATOR):
    """Yield the notes of what is computed inside."""
    with Pretending(device) as mode:
        yield mode.notes


def population(n=300, d=6, seed=0, location=0.0):
    rng = np.random.default_rng(seed)
    mixing = np.random.default_rng(9).normal(size=(d, d))
    return torch.from_numpy((location + rng.normal(size=(n, d)) @ mixing).astype(np.float32))


# the checker itself


def refused(x):
    """Yield what torch refuses on an accelerator, of a vector that is on one."""
    here = torch.rand(3)
    yield "add", lambda: x + here
    yield "matmul", lambda: torch.rand(2, 3) @ x
    yield "cdist", lambda: torch.cdist(x[None], here[None])
    yield "searchsorted", lambda: torch.searchsorted(x, here)
    yield "cat", lambda: torch.cat([x, here])
    yield "stack of numbers", lambda: torch.stack([x[0], here[0]])
    yield "number there, operands here", lambda: here * x[0]
    yield "in place", lambda: here.add_(x)
    yield "where", lambda: torch.where(here > 0, x, 1.0)
    yield "rows of a tensor here", lambda: here[x.long()]
    yield "values put", lambda: x.index_put_((torch.tensor([0, 1]),), here[:2])
    yield "generator", lambda: torch.rand(3, device=x.device, generator=torch.Generator())


@pytest.mark.parametrize("name", [name for name, _ in refused(torch.zeros(3))])
def test_checker_refuses_a_mixture(name):
    with pretending():
        calls = dict(refused(put(torch.rand(3))))
        with pytest.raises(MixtureError):
            calls[name]()


@pytest.mark.parametrize("convert", [np.asarray, lambda x: x.numpy()])
def test_checker_refuses_an_array_of_a_tensor_there(convert):
    with pretending(), pytest.raises(TypeError, match="Use Tensor.cpu"):
        convert(put(torch.rand(3)))


def test_checker_lets_through_what_torch_does():
    x, rows, mask = torch.rand(4, 3), np.array([2, 0]), torch.tensor([True, False, True, True])
    with pretending() as notes:
        there = put(x.clone())
        results = [
            there * torch.tensor(2.0),
            torch.where(there > 0.5, there, 1.0),
            there[rows],
            there[mask],
            there[:, [0]],
        ]
        results += [torch.zeros_like(there).copy_(x), x.to(there), x.to(there.device), there.new_ones(2), there.T]
        there[torch.from_numpy(rows)] = 5.0
    wanted = [x * 2, torch.where(x > 0.5, x, 1.0), x[rows], x[mask], x[:, [0]], x, x, x, torch.ones(2), x.T.clone()]
    wanted[-1][:, rows] = 5.0  # a view of what was changed
    for result, want in zip(results, wanted, strict=True):
        assert type(result) is OnAccelerator and result.device == ACCELERATOR and torch.equal(see(result), want)
    assert notes == []


NOTED = {
    "item": ("wait", lambda x: x.sum().item()),
    "float": ("wait", lambda x: float(x.sum())),
    "bool": ("wait", lambda x: bool(x.sum() > 0)),
    "if": ("wait", lambda x: 1 if x.sum() > 0 else 0),
    "nonzero": ("wait", lambda x: x.nonzero()),
    "mask": ("wait", lambda x: x[x > 0.5]),
    "numpy mask": ("wait", lambda x: x[np.array([True, False, True])]),
    "put by mask": ("wait", lambda x: x.__setitem__(x > 0.5, 0)),
    "equal": ("wait", lambda x: torch.equal(x, x + 1)),
    "unique": ("wait", lambda x: x.unique()),
    "cpu": ("copy", lambda x: x.cpu()),
    "to": ("copy", lambda x: x.to("cpu")),
    "to another": ("copy", lambda x: x.to(torch.zeros(1))),
    "copied into": ("copy", lambda x: torch.zeros(3).copy_(x)),
    "assigned into": ("copy", lambda x: torch.zeros(3, 3).__setitem__(0, x)),
    "tolist": ("copy", lambda x: x.tolist()),
}


@pytest.mark.parametrize("name", NOTED)
def test_checker_notes(name):
    what, compute = NOTED[name]
    with pretending() as notes:
        compute(put(torch.rand(3)))
    assert notes == [(what, "elsewhere")]


# training

ARGUMENTS = ("wait", "_check.py:_find_fault_of_values")  # public functions look at the range of what they are given
READ = ("copy", "spaces/_base.py:_read_double")  # moments and covariances are in float64, on the CPU

CELLS = {"autoencoder": population(250, 12), "conv": population(120, 16 * 16)}
SETTINGS = {"autoencoder": {"widths": (8, 3)}, "conv": {"widths": (4, 8), "image_shape": (16, 16)}}
END_OF_EPOCH = [("copy", "spaces/_train.py:train")]  # of the mean loss and the first one, in one
END_OF_VALIDATION = [("copy", "spaces/_train.py:_mean_loss")]

TRAININGS = {
    "default": ({}, END_OF_EPOCH),
    "constant rate": ({"schedule": ne.spaces.SCHEDULES["constant"]}, END_OF_EPOCH),
    "validation": ({"validation_size": 0.2}, END_OF_EPOCH + END_OF_VALIDATION),
    "early stopping": ({"validation_size": 0.2, "early_stopping": 5}, END_OF_EPOCH + END_OF_VALIDATION),
    "bfloat16": ({"precision": "bfloat16"}, END_OF_EPOCH),
}


def check_steps(mode, n_steps_in_epoch, end_of_epoch):
    """Fail where something waited for the accelerator, or copied from or to it, between steps, but at the end of an epoch."""
    notes = mode.notes
    steps = [i for i, (what, _) in enumerate(notes) if what == "step"]
    assert len(steps) == 3 * n_steps_in_epoch
    assert set(notes[: steps[0]]) <= {ARGUMENTS, READ}
    for k, (before, after) in enumerate(pairwise(steps), start=1):
        assert notes[before + 1 : after] == (end_of_epoch if k % n_steps_in_epoch == 0 else [])
    # blocks of many batches are read before the first one
    assert {where for k, where in mode.uploads if k % n_steps_in_epoch} == set()


@pytest.mark.filterwarnings("ignore:CUDA is not available")  # bfloat16 needs a real one
@pytest.mark.parametrize("place", [put, torch.clone], ids=["cells there", "cells here"])
@pytest.mark.parametrize("training", TRAININGS)
@pytest.mark.parametrize("name", SPACES)
def test_a_training_step_never_waits(name, training, place):
    given, end_of_epoch = TRAININGS[training]
    cells, settings = CELLS.get(name, CELLS["autoencoder"]), SETTINGS.get(name, {})
    how = partial(Training, max_epochs=3, batch_size=50, **given)
    with Pretending() as mode:
        space = SPACES[name].fit(place(cells), how(device=ACCELERATOR), **settings)
    assert all(type(x) is OnAccelerator for x in [*space.parameters(), *space.buffers()])
    if name in SETTINGS:
        n_kept = len(cells) - round(len(cells) * how().validation_size)
        check_steps(mode, -(-n_kept // 50), end_of_epoch)
    else:
        assert set(mode.notes) <= {ARGUMENTS, READ} and not space.history
    same = SPACES[name].fit(cells, how(), **settings)
    for losses in ("train_loss", "validation_loss"):
        assert space.history.get(losses, []) == pytest.approx(same.history.get(losses, []), rel=1e-4)


def sum_of_squares(module, x):
    return (module(x) - x).square().mean()


FAULTY = {
    "item": lambda module, x: sum_of_squares(module, x) * (1 + 0 * x.sum().item()),
    "if": lambda module, x: sum_of_squares(module, x) * (2 if x.sum() > 0 else 1),
    "cpu": lambda module, x: sum_of_squares(module, x.cpu().to(x.device)),
    "mask": lambda module, x: sum_of_squares(module, x) + module(x)[x > 0].sum(),
    "nonzero": lambda module, x: sum_of_squares(module, x) + len((x > 0).nonzero()),
    "upload": lambda module, x: sum_of_squares(module, x * torch.ones(x.shape).to(x.device)),
    "upload of rows": lambda module, x: sum_of_squares(module, x[torch.arange(len(x))]),
    "mixture": lambda module, x: sum_of_squares(module, x) + (x * torch.ones(x.shape)).mean(),
}


@pytest.mark.parametrize("name", [None, *FAULTY])
def test_a_step_that_waits_is_found(name):
    """The proof that the test above can fail: it does with each of these losses, and does not without."""
    loss, cells = FAULTY.get(name, sum_of_squares), population(200, 4)
    with Pretending() as mode:
        module = torch.nn.Linear(4, 4).to(ACCELERATOR)
        how = Training(max_epochs=3, batch_size=50, device=ACCELERATOR)
        fails = pytest.raises(MixtureError) if name == "mixture" else nullcontext()
        with fails:
            ne.spaces.train(module, partial(loss, module), cells, how)
    if name != "mixture":
        with pytest.raises(AssertionError) if name else nullcontext():
            check_steps(mode, 4, END_OF_EPOCH)


# a step that is recorded


class Graph:
    """Stands for `torch.cuda.CUDAGraph`: what is recorded changes nothing, and a replay computes it again, where it was."""

    def __init__(self):
        self.calls, self.n_replays = [], 0

    @torch.no_grad()
    def replay(self):
        self.n_replays += 1
        for func, args, kwargs, out in self.calls:
            again = func(*args, **kwargs)
            for old, new in zip(tree_flatten(out)[0], tree_flatten(again)[0], strict=True):
                if isinstance(old, Tensor) and see(old).data_ptr() != see(new).data_ptr():
                    see(old).copy_(see(new))


class Recording(TorchDispatchMode):
    """Stands for `torch.cuda.graph`: writes down all operations, and undoes them at the end; what waits is refused, as there."""

    def __init__(self, graph):
        super().__init__()
        self.graph, self.before = graph, {}

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if func is torch.ops.prim.device.default:
            return func(*args, **kwargs)
        if func.overloadpacket in WAITS:
            raise RuntimeError(f"operation not permitted when stream is capturing: {func} in {find_place()}")
        given = dict(zip((argument.name for argument in func._schema.arguments), args, strict=False)) | kwargs
        for argument in func._schema.arguments:
            if argument.alias_info is not None and argument.alias_info.is_write:
                for x in tree_flatten(given.get(argument.name))[0]:
                    self.before.setdefault(see(x).data_ptr(), (x, see(x).clone()))
        out = func(*args, **kwargs)
        self.graph.calls.append((func, args, kwargs, out))
        return out

    def __exit__(self, *args):
        super().__exit__(*args)
        for x, values in self.before.values():
            see(x).copy_(values)


@pytest.fixture
def graphs(monkeypatch):
    """The graphs that are made where torch.cuda's are replaced by those above."""
    made = []

    def make():
        made.append(Graph())
        return made[-1]

    class Stream:
        def wait_stream(self, other): ...

    monkeypatch.setattr(torch.cuda, "CUDAGraph", make)
    monkeypatch.setattr(torch.cuda, "graph", Recording)
    for name in ("Stream", "current_stream"):
        monkeypatch.setattr(torch.cuda, name, lambda device: Stream())
    for name in ("stream", "device"):
        monkeypatch.setattr(torch.cuda, name, lambda _: nullcontext())
    return made


@pytest.mark.parametrize("training", ["default", "constant rate", "validation"])
@pytest.mark.parametrize("name", SETTINGS)
def test_a_recorded_step_trains_as_the_step_does(name, training, graphs):
    """The eager path is the oracle. The last batch of an epoch is a smaller one, and takes the step as it is."""
    given, _ = TRAININGS[training]
    how = partial(Training, max_epochs=4, batch_size=35, **given)
    with Pretending():
        space = SPACES[name].fit(put(CELLS[name]), how(device=ACCELERATOR, cuda_graph=True), **SETTINGS[name])
    same = SPACES[name].fit(CELLS[name], how(), **SETTINGS[name])
    n_kept = len(CELLS[name]) - round(len(CELLS[name]) * how().validation_size)
    n_whole = n_kept // how().batch_size
    assert len(graphs) == 1 and graphs[0].n_replays == 4 * n_whole - 3 > 4
    for losses in ("train_loss", "validation_loss"):
        assert space.history.get(losses, []) == pytest.approx(same.history.get(losses, []), rel=1e-4)
    for mine, wanted in zip(space.parameters(), same.parameters(), strict=True):
        torch.testing.assert_close(see(mine), wanted, rtol=1e-3, atol=1e-4)


class Remembering(torch.nn.Module):
    """A loss that depends on how often Python called it, which a record cannot know."""

    def __init__(self):
        super().__init__()
        self.layer, self.n_calls = torch.nn.Linear(4, 4), 0

    def loss(self, x):
        self.n_calls += 1
        return sum_of_squares(self.layer, x) * (1 + self.n_calls)


def test_a_recorded_step_that_cannot_be_replayed_is_found(graphs):
    """The proof that the test above can fail."""
    histories = []
    for place, more in ((put, {"device": ACCELERATOR, "cuda_graph": True}), (torch.clone, {})):
        torch.manual_seed(0)
        module = Remembering()
        with Pretending() if more else nullcontext():
            module.to(more.get("device", "cpu"))
            cells = place(population(200, 4))
            histories.append(ne.spaces.train(module, module.loss, cells, Training(max_epochs=3, batch_size=50, **more)))
    assert histories[0]["train_loss"][2] != pytest.approx(histories[1]["train_loss"][2], rel=0.1)


def test_a_recorded_step_must_not_wait(graphs):
    with Pretending(), pytest.raises(RuntimeError, match="capturing"):
        module = torch.nn.Linear(4, 4).to(ACCELERATOR)
        how = Training(max_epochs=3, batch_size=50, device=ACCELERATOR, cuda_graph=True)
        ne.spaces.train(module, partial(FAULTY["item"], module), population(200, 4), how)


@pytest.mark.parametrize("name", [pytest.param(name, marks=GPU) for name in SETTINGS])
def test_a_recorded_step_on_a_real_accelerator_trains_as_the_step_does(name):
    how = partial(Training, max_epochs=4, batch_size=35, device=torch.device("cuda"))
    spaces = [SPACES[name].fit(CELLS[name], how(cuda_graph=is_on), **SETTINGS[name]) for is_on in (True, False)]
    assert spaces[0].history["train_loss"] == pytest.approx(spaces[1].history["train_loss"], rel=1e-3)
    for mine, wanted in zip(*(space.parameters() for space in spaces), strict=True):
        torch.testing.assert_close(mine, wanted, rtol=1e-2, atol=1e-3)


def test_a_graph_needs_cuda():
    adata = ne.datasets.simulate_batches(n_cells=50)
    with pytest.raises(ValueError, match="cuda_graph=True needs a CUDA device; training is on 'cpu'"):
        ne.tl.train(adata, accelerator="cpu", cuda_graph=True)
    assert not adata.uns


# spaces


@cache
def train_space(name):
    cells = CELLS.get(name, CELLS["autoencoder"])
    return SPACES[name].fit(cells, Training(max_epochs=1), **SETTINGS.get(name, {}))


@pytest.mark.parametrize("n", [3, 250])
@pytest.mark.parametrize("name", SPACES)
def test_a_space_encodes_and_decodes_there(name, n):
    space, cells = train_space(name), CELLS.get(name, CELLS["autoencoder"])[:n]
    wanted = space.encode(cells), space.decode(space.encode(cells))
    with pretending() as notes:
        moved = deepcopy(space).to(ACCELERATOR)
        neurons = moved.encode(put(cells))
        decoded = moved.decode(neurons)
    assert notes == []
    for x, want in zip((neurons, decoded), wanted, strict=True):
        assert_same(x, want)


def assert_same(x, wanted, **tolerance):
    assert type(x) is OnAccelerator
    torch.testing.assert_close(see(x), wanted, **tolerance)


class Leaking(ne.spaces.Identity):
    """A space that edits on the CPU what is on an accelerator."""

    def encode(self, x, /):
        return x.cpu().to(x.device)


def test_a_space_that_copies_is_found():
    with pretending() as notes:
        Leaking().encode(put(CELLS["autoencoder"]))
    with pytest.raises(AssertionError):
        assert notes == []


# edits

FEW = ("copy", "spaces/_pca.py:PCA.of")  # components of fewer cells than features, likewise
MATCHED = ("copy", "edits/_transport.py:transport")  # scipy finds the assignment
NEARNESS = ("wait", "edits/_pairing.py:by_pairing")  # how far each donor is from the query
USUAL = ("wait", "edits/_support.py:distance")  # the distances that are usual

FITTING = {"gaussian_ot": {READ, FEW}, "transport": {MATCHED}}
"""What fitting a row of `EDITS` copies or waits for, besides the range of its arguments: of rows that are not here, nothing."""


def label(n, n_labelings):
    """Return numbers of strata, some cells with none, in so many labelings; with 0 one that is no column."""
    numbers = [np.where(np.arange(n) % 50 == 0, -1, np.arange(n) // (i + 1) % 3) for i in range(max(n_labelings, 1))]
    return np.stack(numbers, axis=1) if n_labelings else numbers[0]


def fit_strata(fit, source, target, query, *, n_labelings=0, paired=False):
    """Fit to source and target with strata, and with donors."""
    strata = [label(len(x), n_labelings) for x in (source, target)]
    donors = [np.arange(len(x)) % 4 for x in (source, target)] if paired else []
    fit = ne.edits.by_pairing(fit, query) if paired else fit
    return fit(ne.edits.Populations(source, target, *strata, *donors))


def fit_row(edit, axes, source, target, query):
    return AXES[axes](EDITS[edit])(source, target)


BY_ROW = {
    f"{edit}, {axes}": (
        partial(fit_row, edit, axes),
        FITTING.get(edit, set()) | ({READ, FEW} if axes == "principal" else set()),
    )
    for edit in EDITS
    for axes in AXES
}
ON_ALL = ne.edits.on_all(ne.edits.percentile)
BY_STRATA = ne.edits.by_strata(ne.edits.percentile)
ON_BALANCED = ne.edits.on_balanced(ne.edits.percentile)
# percentiles of the source are compared once, when an edit is fitted
SAME_PERCENTILES = ("wait", "edits/_percentile.py:Percentiles.finds_as")
WITH_STRATA = {
    "on_all": (partial(fit_strata, ON_ALL), set()),
    "on_balanced": (partial(fit_strata, ON_BALANCED), set()),
    "on_balanced, two labelings": (partial(fit_strata, ON_BALANCED, n_labelings=2), {SAME_PERCENTILES}),
    "by_strata": (partial(fit_strata, BY_STRATA), set()),
    "by_strata, two labelings": (partial(fit_strata, BY_STRATA, n_labelings=2), set()),
    "by_strata, transport": (partial(fit_strata, ne.edits.by_strata(ne.edits.transport)), {MATCHED}),
    "on_all, paired": (partial(fit_strata, ON_ALL, paired=True), {NEARNESS}),
    "by_strata, paired": (partial(fit_strata, BY_STRATA, paired=True), {NEARNESS}),
}
MEASURES = {
    "support": (lambda source, target, query: ne.edits.support(source), set()),
    "distance": (lambda source, target, query: ne.edits.distance(source), {USUAL}),
}
FITS = BY_ROW | WITH_STRATA | MEASURES
SIZES = [(300, 260, 70, 6), (26, 23, 7, 60)]  # cells of source, target and query, and features: more, or fewer


def check_fit(fit, allowed, device=ACCELERATOR):
    """Fit and edit there: results are as here, fitting copies what it may and nothing else, and editing copies nothing."""
    found = set()
    for *n_cells, d in SIZES:
        populations = [population(n, d, seed=i, location=i) for i, n in enumerate(n_cells)]
        with pretending(device) as notes:
            source, target, query = map(put, populations)
            move = fit(source, target, query)
            found |= set(notes) - {ARGUMENTS}
            notes.clear()
            moved = move(query)
        assert notes == []
        assert_same(moved, fit(*populations)(populations[2]), rtol=1e-4, atol=1e-4)
    assert found == allowed


@pytest.mark.parametrize("name", FITS)
def test_an_edit_stays_there(name):
    check_fit(*FITS[name])


TIES = ("copy", "edits/_percentile.py:average_ties")


@pytest.mark.parametrize("name", [*BY_ROW, *MEASURES])
def test_an_edit_needs_no_float64_there(name):
    fit, allowed = FITS[name]
    check_fit(fit, allowed | ({TIES} if name.split(",")[0] in ("percentile", "local") else set()), APPLE)


@pytest.mark.parametrize("name", SETTINGS)
def test_training_needs_no_float64_there(name):
    with pretending(APPLE):
        space = SPACES[name].fit(CELLS[name], Training(max_epochs=1, device=APPLE), **SETTINGS[name])
        assert space.encode(put(CELLS[name])).device == APPLE


def test_float64_there_is_found():
    with pretending(APPLE), pytest.raises(TypeError, match="float64"):
        put(torch.rand(3)).double()


def fit_leaking(source, target, query):
    return lambda z: (z.cpu() + (target.mean(0) - source.mean(0)).cpu()).to(z)


def fit_mixed(source, target, query):
    shift = target.cpu().mean(0) - source.cpu().mean(0)
    return lambda z: z + shift


@pytest.mark.parametrize(("fit", "error"), [(fit_leaking, AssertionError), (fit_mixed, MixtureError)])
def test_an_edit_that_copies_is_found(fit, error):
    """The proof that the test above can fail."""
    with pytest.raises(error):
        check_fit(fit, {("copy", "elsewhere")} if error is MixtureError else set())


# maps of maps

BOUNDS = torch.full((6,), -1.0), torch.full((6,), 2.0)


def wrap_map(move, space, low, high):
    """Yield every row of `MAPS` that is made of another map."""
    yield "scaled", MAPS["scaled"](move, 0.5)
    yield "on_neurons", MAPS["on_neurons"](move, [4, 1])
    yield "bounded", MAPS["bounded"](move, low, high)
    yield "compose", MAPS["compose"]([move, move])
    yield "average", MAPS["average"]([move, MAPS["identity"]()], [0.25, 0.75])
    yield "in_space", MAPS["in_space"](space, move)
    yield "average_in_space", MAPS["average_in_space"](space, [move, move], [0.25, 0.75])
    yield "with_neurons", MAPS["with_neurons"](space, move)


@pytest.mark.parametrize("edit", ["percentile", "local"])
def test_maps_of_maps_stay_there(edit):
    source, target, query = (population(100, 6, seed=i, location=i) for i in range(3))
    here = dict(wrap_map(EDITS[edit](source, target), ne.spaces.Identity(), *BOUNDS))
    with pretending() as notes:
        there = dict(wrap_map(EDITS[edit](put(source), put(target)), ne.spaces.Identity(), *map(put, BOUNDS)))
        notes.clear()
        moved = {name: move(put(query)) for name, move in there.items()}
    assert notes == []
    for name, x in moved.items():
        assert_same(x, here[name](query))


# percentiles

draw = partial(torch.randn, generator=torch.Generator().manual_seed(0))
COLUMNS = {
    "normal": draw(501, 7),
    "ties": draw(300, 5).round(),
    "silent": torch.zeros(40, 3),
    "one cell": draw(1, 4),
    "two cells": draw(2, 4),
    "large": draw(200, 3) * 1e30,
    "float64": draw(123, 4, dtype=torch.float64),
    "not contiguous": draw(5, 90).T,
    "rounded beyond the next": torch.cat([torch.full((29, 2), -1e8), 5 + draw(30, 2).abs()]),
}


@pytest.mark.parametrize("columns", COLUMNS)
def test_percentiles_do_not_depend_on_how_many_columns_are_sorted_together(columns, monkeypatch):
    z = COLUMNS[columns]
    wanted = exact_percentiles(z, 100)
    for most in (1, 2 * len(z)):
        monkeypatch.setattr(_percentile, "MAX_VALUES_TO_SORT", most)
        assert torch.equal(exact_percentiles(z, 100), wanted)


@pytest.mark.parametrize("n_bins", [1, 10, 100, 1000])
@pytest.mark.parametrize("columns", COLUMNS)
def test_percentiles_by_sorting_are_the_same(columns, n_bins, monkeypatch):
    z = COLUMNS[columns]
    wanted = exact_percentiles(z, n_bins)
    for most in (1, 2 * len(z), 2**26):  # of one column, two, and all
        monkeypatch.setattr(_percentile, "MAX_VALUES_TO_SORT_ON_DEVICE", most)
        with pretending() as notes:
            there = exact_percentiles(put(z), n_bins)
        assert notes == []
        assert_same(there, wanted, rtol=0, atol=0)
        assert torch.equal(sort_percentiles(z, *find_ranks(len(z), n_bins)), wanted)


@pytest.mark.parametrize("columns", [pytest.param(name, marks=GPU) for name in COLUMNS])
def test_percentiles_on_a_real_accelerator_are_the_same(columns):
    z = COLUMNS[columns]
    assert torch.equal(exact_percentiles(z.cuda(), 100).cpu(), exact_percentiles(z, 100))


# ensemble

# edits of the same cells look for neighbours, and percentiles, once
SAME_CELLS = {("wait", "edits/_neighbors.py:Nearest.finds_as"), SAME_PERCENTILES}
FOLDS = {
    *SAME_CELLS,
    ("wait", "ensemble/_cross_validate.py:predict_folds"),  # rows by mask
    ("copy", "ensemble/_cross_validate.py:predict_folds"),  # folds are stacked on the CPU
    ("copy", "ensemble/_folds.py:find_resembling"),
    ("wait", "ensemble/_folds.py:measure_novelty"),
}
MIXTURES = {("copy", "ensemble/_matching.py:_standardize")}  # of populations are fitted in numpy
ENSEMBLES = {
    "strata": ((300, 280, 60), True, {}, FOLDS),
    "matched populations": ((300, 280, 60), False, {"composition": "different"}, FOLDS | MIXTURES),
    "too few cells": ((60, 50, 20), False, {}, set()),
}


@pytest.mark.parametrize("name", ENSEMBLES)
def test_an_ensemble_stays_there(name):
    sizes, has_strata, how, allowed = ENSEMBLES[name]
    source, target, query = cells = [population(n, 12, seed=i, location=i) for i, n in enumerate(sizes)]
    strata = (np.arange(len(source)) % 3, np.arange(len(target)) % 3) if has_strata else None
    space = train_space("autoencoder")
    with pretending() as notes:
        there = ne.ensemble.cross_validate(deepcopy(space).to(ACCELERATOR), *map(put, cells), strata, **how)
        assert set(notes) - {ARGUMENTS, READ} == allowed
        notes.clear()
        move = there.fit(there.populations)
        assert set(notes) <= {ARGUMENTS, READ, *SAME_CELLS}
        notes.clear()
        moved = move(put(query))
        assert set(notes) <= SAME_CELLS
        notes.clear()
        again = move(put(query))
    assert notes == [] and torch.equal(see(again), see(moved))
    here = ne.ensemble.cross_validate(space, *cells, strata, **how)
    np.testing.assert_allclose(there.weights, here.weights, atol=0.01)
    assert_same(moved, here.fit(here.populations)(query), rtol=0.01, atol=0.02)


# AnnData

POPULATIONS = {"source": "control_1", "target": "control_2", "query": "sample_1"}
EFFECTS = {"control": "basal", "effects": ["A", "B"]}
TRAIN = {"autoencoder": {"widths": (16, 4), "max_epochs": 2}, "conv": {"widths": (4, 8), "max_epochs": 1}}
HOW = {
    "percentile": {"edit": "percentile"},
    "principal axes": {"edit": "gaussian_ot", "axes": "principal"},
    "a few neurons": {"edit": "local", "neurons": [3, 0]},
    "two spaces": {"edit": "shift", "key": ["neuronedit", "other"]},
    "pairing": {"edit": "percentile", "paired_by": "donor", "strata": "cell_type"},
    "paper, two strengths": {"edit": "paper", "strength": [0.5, 1.0]},
    "a function": {"edit": lambda source, target: lambda z: z + (target.mean(0) - source.mean(0))},
    "ensemble": {"edit": "auto", "strata": "cell_type"},
}


@pytest.fixture(params=["pretended", pytest.param("real", marks=GPU)])
def switch(monkeypatch, request):
    """Return what makes all tools take the accelerator, for one call, and the CPU for the next."""
    is_real = request.param == "real"

    def compute(tool, *args, **kwargs):
        with monkeypatch.context() as patch, nullcontext() if is_real else pretending() as notes:
            for module in ("neuronedit._data.space", "neuronedit.tl._train", "neuronedit.tl._compare"):
                device = torch.device("cuda") if is_real else ACCELERATOR
                patch.setattr(f"{module}.find_device", lambda accelerator, device=device: device)
            result = tool(*args, **kwargs)
        assert is_real or notes  # something was computed there, and came back
        with monkeypatch.context() as patch:
            patch.setattr(torch.accelerator, "is_available", lambda: False)
            return result, tool(*args, **kwargs)

    return compute


@cache
def make_batches():
    adata = ne.datasets.simulate_batches(n_cells=150)
    adata.obs["donor"] = np.tile(["a", "b"], adata.n_obs // 2)
    ne.tl.train(adata, **TRAIN["autoencoder"])
    ne.tl.train(adata, space="pca", n_components=5, key_added="other")
    return adata


@cache
def make_combination():
    adata = ne.datasets.simulate_combination(n_cells=150, interaction=2.0)
    ne.tl.train(adata, **TRAIN["autoencoder"])
    return adata


def assert_close(there, here, **keys):
    for slot, names in keys.items():
        for name in names:
            x, want = getattr(there, slot)[name], getattr(here, slot)[name]
            np.testing.assert_allclose(x, want, rtol=1e-3, atol=1e-2)


def split_values(X):
    """Return a CSR matrix that holds each value as two that are to be added."""
    whole = sparse.csr_matrix(X)
    twice = [np.repeat(array, 2) for array in (whole.data / 2, whole.indices)]
    return sparse.csr_matrix((*twice, whole.indptr * 2), shape=X.shape)


@pytest.mark.parametrize("space", SPACES)
def test_train_and_embed_agree(switch, space):
    adata = ne.datasets.simulate_images(n_images=40) if space == "conv" else ne.datasets.simulate_batches(n_cells=60)
    there, here = switch(ne.tl.train, adata, space=space, copy=True, **TRAIN.get(space, {}))
    assert_close(there, here, obsm=["X_neurons"])
    there, again = switch(ne.tl.embed, adata, here, copy=True)
    assert_close(there, again, obsm=["X_neurons"])


@pytest.mark.parametrize("kind", [sparse.csr_matrix, sparse.csc_array, split_values])
def test_sparse_cells_go_there_as_they_are(switch, kind):
    """Only what is not zero is sent; `var["used"]` picks features on the way."""
    adata = ne.datasets.simulate_batches(n_cells=60)
    adata.X = kind(np.where(adata.X > 1, adata.X, 0).astype(np.float32))
    adata.var["used"] = np.arange(adata.n_vars) % 3 > 0
    assert_close(*switch(ne.tl.train, adata, copy=True, **TRAIN["autoencoder"]), obsm=["X_neurons"])
    ne.tl.train(adata, **TRAIN["autoencoder"])
    assert_close(*switch(ne.tl.edit, adata, "group", **POPULATIONS, edit="percentile", copy=True), layers=["edited"])


def test_sparse_cells_are_sent_whole():
    for dtype in (np.float32, np.int64, bool):
        block = sparse.random_array((50, 7), density=0.3, format="csr", rng=0, dtype=np.float64).astype(dtype)
        reader = CellReader(block, np.array([5, 0, 3]))
        for rows in (slice(3, 20), np.array([4, 4, 0])):
            with pretending() as notes:
                there = reader.send(rows, ACCELERATOR)
            assert notes == [] and torch.equal(see(there), reader[rows])


@pytest.mark.parametrize("name", HOW)
def test_edit_and_apply_agree(switch, name):
    adata, names = make_batches(), {"layers": ["edited"], "obs": ["edited_support", "edited_distance"]}
    there, here = switch(ne.tl.edit, adata, "group", **POPULATIONS, **HOW[name], key_added="edited", copy=True)
    names["layers"] = [one for one in here.layers if one and one.startswith("edited")]  # since anndata 0.13 None is X
    assert_close(there, here, obsm=["X_neurons_edited"], **names)
    if not callable(HOW[name]["edit"]):
        new = make_batches()[::2].copy()
        there, here = switch(ne.tl.apply, new, here, "group", query="sample_1", copy=True)
        assert_close(there, here, obsm=["X_neurons_edited"], **(names | {"layers": ["edited"]}))


@pytest.mark.parametrize("edit", ["percentile", "auto"])
def test_correct_agrees(switch, edit):
    how = {"control_key": "role", "reference": "batch_2", "edit": edit, "copy": True}
    assert_close(*switch(ne.tl.correct, make_batches(), "batch", **how), layers=["corrected"])


def test_combine_and_synergy_agree(switch):
    adata = make_combination()
    there, here = switch(ne.tl.combine, adata, "condition", **EFFECTS, edit="percentile")
    np.testing.assert_allclose(there.X, here.X, rtol=1e-3, atol=1e-2)
    how = {"measured": "A+B", "edit": "percentile", "n_bootstrap": 3, "copy": True}
    there, here = switch(ne.tl.synergy, adata, "condition", **EFFECTS, **how)
    features = [x.uns["synergy"]["features"].select_dtypes(float) for x in (there, here)]
    np.testing.assert_allclose(*features, rtol=1e-2, atol=1e-2)


def test_bootstrap_and_rank_neurons_agree(switch):
    edited = ne.tl.edit(make_batches(), "group", **POPULATIONS, edit="percentile", copy=True)
    assert_close(*switch(ne.tl.bootstrap, edited, n_bootstrap=3, copy=True), layers=["edited_sd"])
    there, here = switch(ne.tl.rank_neurons, edited)
    assert (there["neuron"] == here["neuron"]).all()
    np.testing.assert_allclose(there["effect"], here["effect"], rtol=1e-2, atol=1e-2)


@pytest.mark.parametrize("name", BASELINES)
def test_a_baseline_computes_there(name):
    cells, how = [population(n, 8, seed=i, location=i) for i, n in enumerate((150, 140, 30))], {}
    if "n_steps" in signature(BASELINES[name]).parameters:
        how = {"n_steps": 4}
    for device in (ACCELERATOR, APPLE):
        with pretending(device):
            source, target, query = map(put, cells)
            try:
                moved = BASELINES[name](source, target, **how)(query)
            except ImportError as error:
                pytest.skip(str(error))
            assert type(moved) is OnAccelerator and moved.shape == query.shape and see(moved).isfinite().all()


def test_compare_agrees(switch):
    methods = ["mean_shift", "quantile", "gaussian_ot", "combat", "limma", "mnn", "cca", "pca_edit"]
    tables = switch(ne.tl.compare, make_batches(), "group", **POPULATIONS, methods=methods, n_bootstrap=2)
    np.testing.assert_allclose(*(table["value"] for table in tables), rtol=1e-2, atol=1e-2)
