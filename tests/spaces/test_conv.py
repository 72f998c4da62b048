"""Images: the published layers, sizes that are padded, and every tool that works on cells."""

from functools import cache, partial

import anndata
import numpy as np
import pytest
import torch

import neuronedit as ne
from neuronedit._networks import Images, ToRows, conv
from neuronedit._types import within
from neuronedit.edits import AXES, EDITS
from neuronedit.spaces import PCA, Conv, Training

ROLES = {
    "source": {"shape": "square", "bar": "without"},
    "target": {"shape": "square", "bar": "with"},
    "query": {"shape": "disc", "bar": "without"},
}
SMALL = {"widths": (8, 16), "max_epochs": 20, "progress_bar": False}


@pytest.fixture(scope="module")
def _trained():
    adata = ne.datasets.simulate_images(n_images=60, image_shape=(18, 16))
    ne.tl.train(adata, space="conv", **SMALL)
    return adata


@pytest.fixture
def adata(_trained):
    return _trained.copy()


def test_layers_are_the_published_ones():
    space = Conv(n_features=64 * 64 * 3, image_shape=(64, 64, 3))
    layers = [m for m in space.modules() if isinstance(m, torch.nn.Conv2d | torch.nn.ConvTranspose2d)]
    assert [(layer.in_channels, layer.out_channels) for layer in layers] == [
        (3, 64), (64, 128), (128, 256), (256, 128), (128, 64), (64, 3),
    ]  # fmt: skip
    assert all(layer.kernel_size == (4, 4) and layer.stride == (2, 2) for layer in layers)
    slopes = [m.negative_slope for m in space.modules() if isinstance(m, torch.nn.LeakyReLU)]
    assert slopes == [0.2] * 5  # none after the last
    assert space.encode(torch.zeros(2, 64 * 64 * 3)).shape == (2, 256 * 8 * 8)
    assert sum(4 * weight.numel() for weight in space.weights().values()) < 6e6  # 5 MB and the centre


@pytest.mark.parametrize("shape", [(16, 16), (15, 9), (17, 24, 3), (1, 1), (8, 20, 1)])
def test_any_size_comes_back(shape):
    n = int(np.prod(shape))
    space = Conv(n_features=n, image_shape=shape, widths=(4, 6, 8))
    x = torch.randn(5, n)
    rows, columns = (-(-side // 8) for side in shape[:2])
    z = space.encode(x)
    assert z.shape == (5, 8 * rows * columns)
    assert space.decode(z).shape == x.shape


def test_flattened_in_the_order_of_numpy_and_padded_with_the_edge():
    image = np.arange(5 * 6 * 3, dtype=np.float32).reshape(5, 6, 3)
    images = Images((5, 6, 3), 8)(torch.from_numpy(image.reshape(1, -1)))
    assert images.shape == (1, 3, 8, 8)
    np.testing.assert_array_equal(images[0].permute(1, 2, 0)[:5, :6], image)
    np.testing.assert_array_equal(images[0, :, 7, 7], image[4, 5])
    np.testing.assert_array_equal(ToRows((5, 6, 3))(images)[0], image.ravel())


def test_each_convolution_halves_and_each_transposed_one_doubles():
    rng = torch.Generator().manual_seed(0)
    assert conv([2, 3, 4], rng=rng)(torch.zeros(1, 2, 12, 20)).shape == (1, 4, 3, 5)
    assert conv([4, 3, 2], rng=rng, up=True, linear_output=True)(torch.zeros(1, 4, 3, 5)).shape == (1, 2, 12, 20)


def test_neurons_belong_to_places():
    """A pixel in one corner moves no neuron of the other corner."""
    space = Conv(n_features=32 * 32, image_shape=(32, 32), widths=(4, 6, 8))
    x = torch.zeros(2, 32, 32)
    x[1, 0, 0] = 1
    changed = torch.diff(space.encode(x.flatten(1)), dim=0).reshape(8, 4, 4).abs().sum(0) > 0
    assert changed[0, 0] and not changed[2:, 2:].any()


def test_training_lowers_the_error_and_reproduces(adata):
    losses = adata.uns["neuronedit"]["history"]["train_loss"]
    assert losses[-1] < 0.7 * losses[0]
    assert adata.obsm["X_neurons"].shape == (240, 16 * 5 * 4)


def test_training_defaults_are_those_for_images():
    adata = ne.datasets.simulate_images(n_images=5, image_shape=(16, 16))
    ne.tl.train(adata, space="conv", widths=(2,), max_epochs=1, progress_bar=False)
    assert '"batch_size": 16' in adata.uns["neuronedit"]["config"]
    assert Training(**Conv.training_defaults).epochs(624) == 26
    ne.tl.train(adata, space="conv", widths=(2,), max_epochs=1, batch_size=7, progress_bar=False)
    assert '"batch_size": 7' in adata.uns["neuronedit"]["config"]


@pytest.mark.parametrize("axes", AXES)
@pytest.mark.parametrize("edit", EDITS)
def test_every_edit(adata, edit, axes):
    ne.tl.edit(adata, **ROLES, edit=edit, axes=axes)
    edited, query = adata.layers["edited"], (adata.obs["shape"] == "disc") & (adata.obs["bar"] == "without")
    assert np.isfinite(edited).all()
    np.testing.assert_array_equal(edited[~query], adata.X[~query])
    assert agreement(adata) > 0.4


def agreement(adata):
    """Correlation of the mean image that an edit adds to the query with that of the truth."""
    query = adata[(adata.obs["shape"] == "disc") & (adata.obs["bar"] == "without")]
    added, missing = ((query.layers[name] - query.X).mean(axis=0) for name in ("edited", "truth"))
    return np.corrcoef(added, missing)[0, 1]


def test_auto(adata):
    """Most of its candidates are fitted to fewer images than there are pixels or neurons."""
    adata.obs["day"] = ["one", "two"] * 120
    ne.tl.edit(adata, **ROLES, strata="day")
    assert agreement(adata) > 0.4
    assert adata.uns["edited"]["ensemble"]["fold_kind"] == "strata"


def test_survives_h5ad_zarr_and_a_model_file(adata, tmp_path):
    ne.tl.edit(adata, **ROLES, edit="percentile", strength=[0.5, 1])
    adata.write_h5ad(tmp_path / "a.h5ad")
    adata.write_zarr(tmp_path / "a.zarr")
    ne.io.save_model(adata, tmp_path / "a.safetensors")
    query = adata[(adata.obs["shape"] == "disc") & (adata.obs["bar"] == "without")]
    for model in (
        anndata.read_h5ad(tmp_path / "a.h5ad"),
        anndata.read_zarr(tmp_path / "a.zarr"),
        tmp_path / "a.safetensors",
    ):
        new = anndata.AnnData(query.X.copy(), var=query.var)  # without a shape of its own
        ne.tl.apply(new, model, query=new.obs_names)
        np.testing.assert_allclose(new.layers["edited"], query.layers["edited"], atol=1e-5)
        ne.tl.embed(new, model)
        np.testing.assert_allclose(new.obsm["X_neurons"], query.obsm["X_neurons"], atol=1e-4)


def test_neurons_too_many_for_memory_are_not_kept(adata, monkeypatch):
    before = adata.copy()
    ne.tl.edit(before, **ROLES, edit="percentile")
    for module in ("_data.reader", "engine.apply", "engine.store"):
        monkeypatch.setattr(f"neuronedit.{module}.MAX_NEURONS_KEPT", 1_000)
    del adata.obsm["X_neurons"]
    ne.tl.train(adata, space="conv", **SMALL)
    ne.tl.edit(adata, **ROLES, edit="percentile")
    assert not list(adata.obsm)
    ne.tl.embed(adata, adata.copy())  # whoever asks for them has them
    np.testing.assert_allclose(adata.obsm["X_neurons"], before.obsm["X_neurons"], atol=1e-5)
    np.testing.assert_array_equal(adata.layers["edited"], before.layers["edited"])


def test_neurons_too_many_for_memory_are_not_kept_in_a_store(adata, monkeypatch, tmp_path, caplog):
    ne.tl.edit(adata, **ROLES, edit="percentile")
    monkeypatch.setattr("neuronedit.engine.apply.MAX_NEURONS_KEPT", 1_000)
    for _ in range(2):  # the second call finds it complete
        with caplog.at_level("INFO", "neuronedit"):
            ne.tl.edit(adata, **ROLES, edit="percentile", key_added="stored", write_to=tmp_path / "a.zarr")
        assert f"Neurons are not kept: those of all {adata.n_obs} cells take more than 128 MiB." in caplog.text
    stored = anndata.read_zarr(tmp_path / "a.zarr")
    assert not list(stored.obsm)
    np.testing.assert_allclose(stored.layers["stored"], adata.layers["edited"], atol=1e-6)
    np.testing.assert_allclose(stored.obs["stored_distance"], adata.obs["edited_distance"], atol=1e-5)


def test_written_to_a_store(adata, tmp_path):
    ne.tl.edit(adata, **ROLES, edit="percentile")
    ne.tl.edit(adata, **ROLES, edit="percentile", key_added="stored", write_to=tmp_path / "a.zarr")
    stored = anndata.read_zarr(tmp_path / "a.zarr")
    np.testing.assert_allclose(stored.layers["stored"], adata.layers["edited"], atol=1e-6)


BAD = {
    "no shape": (None, "image_shape is missing; it must be .rows, columns. or .rows, columns, channels., as in uns"),
    "too large": ((18, 17), r"image_shape \(18, 17\) has 306 values; the images have 288 features"),
    "one side": ((288,), r"image_shape is \(288,\); it must be"),
    "zero": ((0, 16), r"image_shape must be at least 1; it is 0"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_shape(name):
    shape, message = BAD[name]
    adata = ne.datasets.simulate_images(n_images=5, image_shape=(18, 16))
    del adata.uns["image_shape"]
    if shape is not None:
        adata.uns["image_shape"] = np.array(shape)
    with pytest.raises(ValueError, match=message):
        ne.tl.train(adata, space="conv")
    assert not list(adata.obsm) and "neuronedit" not in adata.uns


def test_trains_where_gradients_are_off():
    x = simulate(20, 64, 0)
    layers = {"image_shape": (8, 8), "widths": (3,)}
    with torch.no_grad():
        space = Conv.fit(x, Training(max_epochs=2), **layers)
    assert torch.equal(space.encode(x), Conv.fit(x, Training(max_epochs=2), **layers).encode(x))


def test_a_shape_can_be_given():
    adata = ne.datasets.simulate_images(n_images=5, image_shape=(18, 16))
    del adata.uns["image_shape"]
    ne.tl.train(adata, space="conv", image_shape=(18, 16), **SMALL)
    assert adata.obsm["X_neurons"].shape == (20, 16 * 5 * 4)


def simulate(n, d, seed, location=0.0):
    rng = np.random.default_rng(seed)
    return torch.from_numpy((rng.normal(size=(n, d)) + location).astype(np.float32))


def test_components_of_fewer_cells_than_features():
    x = simulate(20, 50, 0)
    space = PCA.of(x)
    assert space.components.shape == (50, 19)
    _, _, vt = torch.linalg.svd(x - x.mean(0), full_matrices=False)
    np.testing.assert_allclose(np.abs(space.components.numpy()), np.abs(vt[:19].numpy().T), atol=1e-3)
    torch.testing.assert_close(space.decode(space.encode(x)), x, rtol=0, atol=1e-4)
    assert torch.isfinite(PCA.of(torch.ones(3, 9)).decode(torch.zeros(2, 1))).all()


@pytest.mark.parametrize(
    ("edit", "along"), [("percentile", "principal"), ("affine", "principal"), ("gaussian_ot", "neurons")]
)
def test_edits_of_few_cells_are_those_of_the_features_that_vary(edit, along):
    """Forty cells of 50 features that are a rotation of 12 features and 38 silent ones: fewer cells than features."""
    rotation = torch.linalg.qr(simulate(50, 50, 9).double())[0].float()
    cells = simulate(20, 12, 1), simulate(20, 12, 2, location=1.0), simulate(10, 12, 3)
    source, target, query = (torch.cat([x, torch.zeros(len(x), 38)], 1) @ rotation for x in cells)
    ridge = (
        {"ridge": 1e-3 * 12 / 50} if edit == "gaussian_ot" else {}
    )  # a share of the mean variance, 38 of which are 0
    moved = AXES[along](EDITS[edit])(source, target)(query) @ rotation.T
    expected = AXES[along](lambda s, t: EDITS[edit](s, t, **ridge))(cells[0], cells[1])(cells[2])
    torch.testing.assert_close(moved[:, :12], expected, rtol=0, atol=2e-3)
    assert moved[:, 12:].abs().max() < 1e-4


def test_residual_keeps_what_the_space_loses():
    x = simulate(6, 64, 0)
    space = Conv.fit(x, Training(max_epochs=1), image_shape=(8, 8), widths=(3,))
    do_nothing = within(space, lambda source, target: lambda z: z)(x, x)
    assert torch.equal(do_nothing(x), x)


def test_methods_to_compare_can_share_it(adata):
    """A ``fit`` fixed with partial is used instead of the one that tl.compare offers, an autoencoder of dense layers."""
    trained = []

    def fit(cells, training):
        trained.append(Conv.fit(cells, training, image_shape=(18, 16), widths=(4, 8)))
        return trained[-1]

    given = {"n_steps": 3, "fit": cache(fit)}
    methods = {name: partial(getattr(ne.baselines, name), **given) for name in ("neuron_editing", "constant_shift")}
    methods["gan"] = partial(ne.baselines.gan, n_steps=1, image_shape=(18, 16))
    table = ne.tl.compare(
        adata, **ROLES, truth={"shape": "disc", "bar": "with"}, methods=methods, metrics=["frechet"], n_bootstrap=0
    )
    assert len(trained) == 1 and not table["error"].any() and table["value"].notna().all()
