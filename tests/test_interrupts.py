"""Ctrl-C and errors in the midst of writing leave adata as it was, or done."""

import contextlib
import os
import signal
import threading
import time
from types import SimpleNamespace

import anndata
import numpy as np
import pytest
from scipy import sparse

import neuronedit as ne
from neuronedit._data.undo import writing

POPULATIONS = {"source": "control_1", "target": "control_2", "query": "sample_1"}

pytestmark = pytest.mark.skipif(os.name != "posix", reason="signals of posix")


def raw(kind, layer):
    X = np.random.default_rng(0).poisson(20, size=(300, 40)).astype(np.float32)
    matrix = sparse.csr_matrix(X) if kind == "sparse" else X
    adata = anndata.AnnData(matrix.copy(), layers={"raw": matrix.copy()})
    return adata[:200] if kind == "view" else adata


def state(adata, layer):
    """Return whether the cofactors are there, and whether the values are transformed."""
    matrix = adata.X if layer is None else adata.layers[layer]
    return f"{layer or 'X'}_arcsinh_cofactor" in adata.var, matrix.max() < 10


@pytest.fixture
def interrupts(monkeypatch):
    """Send Ctrl-C wherever var, X or a layer is assigned, the n-th time; the signal is a real one."""
    counter = SimpleNamespace(left=0)
    real = anndata.AnnData.__setattr__

    def assign(self, name, value):
        if name in ("X", "var", "obs"):
            counter.left -= 1
            if counter.left == 0:
                os.kill(os.getpid(), signal.SIGINT)
        real(self, name, value)

    monkeypatch.setattr(anndata.AnnData, "__setattr__", assign)
    return counter


@pytest.mark.filterwarnings("ignore::anndata.ImplicitModificationWarning")
@pytest.mark.parametrize("kind", ["dense", "sparse", "view"])
@pytest.mark.parametrize("layer", [None, "raw"])
@pytest.mark.parametrize("n", [1, 2, 3])
def test_ctrl_c_in_arcsinh_leaves_it_as_it_was_or_done(interrupts, kind, layer, n):
    for function in (ne.pp.arcsinh, ne.pp.inverse_arcsinh):
        adata = raw(kind, layer)
        if function is ne.pp.inverse_arcsinh:
            ne.pp.arcsinh(adata, layer=layer)
        before = state(adata, layer)
        interrupts.left = n
        with contextlib.suppress(KeyboardInterrupt):
            function(adata, layer=layer)
        interrupts.left = 0
        after = state(adata, layer)
        assert after in ((True, True), (False, False)) and before[0] == before[1]


def test_ctrl_c_at_any_moment(monkeypatch):
    """A thread sends it; sometimes before, sometimes after, never between."""
    for wait in np.linspace(0, 4e-3, 25):
        adata = raw("dense", None)
        timer = threading.Timer(wait, os.kill, (os.getpid(), signal.SIGINT))
        try:
            timer.start()
            ne.pp.arcsinh(adata)
            timer.join()
            time.sleep(1e-3)
        except KeyboardInterrupt:
            pass
        timer.join()
        assert state(adata, None) in ((True, True), (False, False))


def test_an_error_in_the_midst_puts_back_what_was_there(monkeypatch):
    adata = raw("dense", None)
    before = adata.copy()

    def fail(*arguments):
        raise MemoryError

    monkeypatch.setattr("neuronedit.pp._arcsinh.write_layer", fail)
    with pytest.raises(MemoryError):
        ne.pp.arcsinh(adata)
    assert list(adata.var) == [] and np.array_equal(adata.X, before.X)


def test_all_slots_are_put_back(trained):
    ne.tl.edit(trained, "group", **POPULATIONS, edit="shift")
    before = trained.copy()
    with pytest.raises(KeyboardInterrupt), writing(trained):
        trained.X = trained.X + 1
        trained.layers["new"], trained.obsm["new"], trained.uns["new"] = trained.X, trained.X, {}
        del trained.layers["edited"], trained.uns["edited"], trained.obsm["X_neurons"]
        trained.obs["new"], trained.var["new"] = 1, 1
        del trained.obs["edited_support"]
        raise KeyboardInterrupt
    assert np.array_equal(trained.X, before.X) and trained.obs.equals(before.obs) and trained.var.equals(before.var)
    for slot in ("layers", "obsm", "uns"):
        assert set(getattr(trained, slot)) == set(getattr(before, slot))
    assert np.array_equal(trained.layers["edited"], before.layers["edited"])


CALLS = {
    "train": lambda adata: ne.tl.train(adata, space="pca", n_components=3),
    "edit": lambda adata: ne.tl.edit(adata, "group", **POPULATIONS, edit="percentile"),
    "correct": lambda adata: ne.tl.correct(adata, "batch", control_key="role", edit="shift", progress_bar=False),
    "apply": lambda adata: ne.tl.apply(adata, adata.copy(), query=adata.obs_names, key="edited", key_added="applied"),
    "embed": lambda adata: ne.tl.embed(adata, adata.copy()),
    "bootstrap": lambda adata: ne.tl.bootstrap(adata, n_bootstrap=2),
}


@pytest.mark.parametrize("name", CALLS)
def test_tools_write_all_or_nothing(trained, name, monkeypatch):
    """The last thing that each writes fails."""
    ne.tl.edit(trained, "group", **POPULATIONS, edit="shift")
    before = trained.copy()

    def fail(self, *arguments):
        raise KeyboardInterrupt

    last = {"train": "neuronedit._slots.neurons", "embed": "neuronedit._slots.neurons"}
    monkeypatch.setattr(last.get(name, "neuronedit._data.record.Record.write"), fail)
    with pytest.raises(KeyboardInterrupt):
        CALLS[name](trained)
    assert trained.obs.equals(before.obs) and trained.var.equals(before.var)
    for slot in ("layers", "obsm"):
        stored, kept = getattr(trained, slot), getattr(before, slot)
        assert set(stored) == set(kept) and all(np.array_equal(stored[k], kept[k]) for k in kept if k is not None)
    assert set(trained.uns) == set(before.uns) and trained.uns["neuronedit"]["id"] == before.uns["neuronedit"]["id"]
    assert trained.uns["edited"]["verdict"] == before.uns["edited"]["verdict"]
