import builtins

import numpy as np
import pytest

import neuronedit as ne


def write(path, events):
    import flowio

    with open(path, "wb") as file:
        flowio.create_fcs(file, events.flatten().tolist(), ["Ir191Di", "Pr141Di"], opt_channel_names=["DNA", "CD7"])


def test_read(tmp_path):
    events = np.random.default_rng(0).normal(size=(50, 2)).astype(np.float32)
    write(tmp_path / "a.fcs", events)
    adata = ne.io.read_fcs(tmp_path / "a.fcs")
    assert np.array_equal(adata.X, events)
    assert list(adata.var_names) == ["Ir191Di", "Pr141Di"] and list(adata.var["marker"]) == ["DNA", "CD7"]


def test_without_flowio_the_extra_is_named(monkeypatch):
    real = builtins.__import__

    def fake(name, *args, **kwargs):
        if name == "flowio":
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", fake)
    with pytest.raises(ImportError, match=r"pip install 'neuronedit\[fcs\]'"):
        ne.io.read_fcs("a.fcs")
