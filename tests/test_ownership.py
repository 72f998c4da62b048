"""What is not ours is never overwritten, whatever a record claims: every tool looks at every slot that it writes, before any work."""

import numpy as np
import pytest

import neuronedit as ne

GROUPS = {"groupby": "group", "source": "control_1", "target": "control_2", "query": "sample_1"}
DRUGS = {"groupby": "group", "control": "control_1", "effects": ["control_2", "sample_1"], "edit": "percentile"}


def edit(adata, **more):
    ne.tl.edit(adata, **GROUPS, **{"edit": "percentile"} | more)


def correct(adata, **more):
    ne.tl.correct(adata, "batch", control_key="role", reference="batch_2", edit="shift", **more)


def compare(adata, **more):
    ne.tl.compare(adata, **GROUPS, methods=["identity"], n_bootstrap=0, **more)


def train(adata, **more):
    ne.tl.train(adata, space="identity", **more)


def synergy(adata, **more):
    ne.tl.synergy(adata, **DRUGS, measured="sample_2", n_bootstrap=2, **more)


def combine(adata, **more):
    ne.tl.combine(adata, **DRUGS, as_layers=True, **more)


def embed(adata, **more):
    ne.tl.embed(adata, adata.copy(), **more)


def apply(adata, **more):
    model = adata.copy()
    edit(model, key_added="other")
    ne.tl.apply(adata, model, "group", query="sample_1", key="other", **more)


def match(adata, **more):
    ne.pp.match_populations(adata, "batch", n_populations=2, **more)


def put(slot, name):
    """Return what puts a user's own values into a slot."""

    def change(adata):
        values = {"obs": np.arange(adata.n_obs), "var": np.arange(adata.n_vars), "obsm": np.ones((adata.n_obs, 2))}
        values |= {"layers": np.ones(adata.shape), "uns": {"params": {"n": 1}}}
        getattr(adata, slot)[name] = values[slot]

    return change


TAKEN = {  # what is there, the tool, its key_added, what the error says
    "train": (put("uns", "leiden"), train, "leiden", r"uns\['leiden'\] exists"),
    "train, obsm": (put("obsm", "X_neurons_mine"), train, "mine", r"obsm\['X_neurons_mine'\] exists"),
    "train, an edit": (edit, train, "edited", r"uns\['edited'\] was written by ne.tl.edit"),
    "embed": (put("obsm", "X_neurons_mine"), embed, "mine", r"obsm\['X_neurons_mine'\] exists"),
    "edit": (put("obs", "edited_support"), edit, "edited", r"obs\['edited_support'\] exists"),
    "edit, distance": (put("obs", "edited_distance"), edit, "edited", r"obs\['edited_distance'\] exists"),
    "edit, obsm": (put("obsm", "X_neurons_edited"), edit, "edited", r"obsm\['X_neurons_edited'\] exists"),
    "edit, var": (put("var", "edited_arcsinh_cofactor"), edit, "edited", r"var\['edited_arcsinh_cofactor'\] exists"),
    "edit, layer": (put("layers", "edited"), edit, "edited", r"layers\['edited'\] exists"),
    "edit, comparison": (lambda a: compare(a, key_added="c"), edit, "c", r"uns\['c'\] was written by ne.tl.compare"),
    "apply": (put("obs", "edited_support"), apply, "edited", r"obs\['edited_support'\] exists"),
    "correct": (put("obs", "corrected_support"), correct, "corrected", r"obs\['corrected_support'\] exists"),
    "compare": (put("layers", "c_identity"), compare, "c", r"layers\['c_identity'\] exists"),
    "compare, space": (lambda a: None, compare, "neuronedit", r"uns\['neuronedit'\] was written by ne.tl.train"),
    "combine": (put("layers", "combined_control_2"), combine, "combined", r"layers\['combined_control_2'\] exists"),
    "synergy": (put("uns", "synergy"), synergy, "synergy", r"uns\['synergy'\] exists"),
    "synergy, an edit": (edit, synergy, "edited", r"uns\['edited'\] was written by ne.tl.edit"),
    "match": (put("obs", "matched_certainty"), match, "matched", r"obs\['matched_certainty'\] exists"),
}  # fmt: skip


@pytest.mark.parametrize("name", TAKEN)
def test_what_is_there_is_not_overwritten(trained, name):
    change, tool, key, message = TAKEN[name]
    change(trained)
    before = trained.copy()
    with pytest.raises(ValueError, match=message):
        tool(trained, key_added=key)
    assert trained.obs.equals(before.obs) and trained.var.equals(before.var)
    for slot in ("obsm", "layers"):
        there, was = getattr(trained, slot), getattr(before, slot)
        assert list(there) == list(was) and all(np.array_equal(there[key], was[key]) for key in was if key is not None)
    assert list(trained.uns) == list(before.uns)


@pytest.mark.parametrize(
    "tool", [train, edit, correct, compare, combine, synergy, match, embed], ids=lambda tool: tool.__name__
)
def test_what_is_ours_is_replaced(trained, tool):
    more = {"key_added": "c"} if tool is compare else {}
    tool(trained, **more)
    slots = [sorted(map(str, getattr(trained, slot))) for slot in ("obs", "obsm", "layers", "uns", "var")]
    tool(trained, **more)
    assert [sorted(map(str, getattr(trained, slot))) for slot in ("obs", "obsm", "layers", "uns", "var")] == slots


def test_a_layer_that_a_record_claims_is_kept(trained):
    edit(trained, strength=[0.5, 1])
    trained.uns["edited"]["layers"] = np.array(["truth", "edited_0.5", "edited"])
    truth = trained.layers["truth"].copy()
    edit(trained)
    assert np.array_equal(trained.layers["truth"], truth)
    assert "edited_0.5" not in trained.layers and "edited" in trained.layers
    trained.uns["edited"]["layers"] = np.array(["truth", "edited"])
    with pytest.raises(ValueError, match="layers\\['truth'\\] exists and was not written by neuronedit"):
        edit(trained, key_added="truth")


def test_bootstrap_keeps_a_layer_of_the_user(trained):
    edit(trained)
    trained.layers["edited_sd"] = np.ones(trained.shape)
    with pytest.raises(ValueError, match=r"layers\['edited_sd'\] exists"):
        ne.tl.bootstrap(trained, n_bootstrap=2)
    assert (trained.layers["edited_sd"] == 1).all()
    del trained.layers["edited_sd"]
    for _ in range(2):  # its own it replaces
        ne.tl.bootstrap(trained, n_bootstrap=2)


def test_arcsinh_keeps_cofactors_of_the_user(cells):
    cells.var["new_arcsinh_cofactor"] = 1.0
    del cells.var["X_arcsinh_cofactor"]
    with pytest.raises(ValueError, match=r"var\['new_arcsinh_cofactor'\] exists"):
        ne.pp.arcsinh(cells, key_added="new")
    assert "new" not in cells.layers
