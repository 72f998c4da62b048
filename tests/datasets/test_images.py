"""Simulated shapes with a bar, and a folder laid out like CelebA."""

import numpy as np
import pytest
from PIL import Image

import neuronedit as ne


def test_truth_is_the_same_image_with_its_bar():
    adata = ne.datasets.simulate_images(n_images=40)
    truth, with_bar = adata.layers["truth"], (adata.obs["bar"] == "with").to_numpy()
    assert adata.shape == (160, 32 * 32) and adata.X.dtype == np.float32
    assert adata.X.min() >= 0 and adata.X.max() <= 1
    np.testing.assert_array_equal(adata.X[with_bar], truth[with_bar])
    images = (truth - adata.X)[~with_bar].reshape(-1, 32, 32)
    assert np.abs(images[:, 20:]).max() == 0  # the bar is in the upper half
    assert (images.min(axis=(1, 2)) < -0.1).all()  # of every image, and darker than it


def test_the_bar_is_of_two_kinds_and_moves_with_the_shape():
    adata = ne.datasets.simulate_images(n_images=100)
    plain = adata[adata.obs["bar"] == "without"]
    change = (plain.X - plain.layers["truth"]).reshape(-1, 32, 32)
    darkest = change.max(axis=(1, 2))
    dark = (plain.obs["bar_kind"] == "dark").to_numpy()
    assert darkest[dark].min() > darkest[~dark].max()
    middle = (change * np.arange(32)[:, None]).sum(axis=(1, 2)) / change.sum(axis=(1, 2))
    assert middle.std() > 0.8


def test_seed_colour_and_size():
    first, same, other = (ne.datasets.simulate_images(n_images=3, rng=rng) for rng in (0, 0, 1))
    assert np.array_equal(first.X, same.X) and not np.array_equal(first.X, other.X)
    colour = ne.datasets.simulate_images(n_images=3, image_shape=(20, 17, 3))
    assert colour.n_vars == 20 * 17 * 3 and colour.uns["image_shape"].tolist() == [20, 17, 3]
    assert colour.var.iloc[17 * 3 * 2 + 3 * 4 + 1].tolist() == [2, 4, 1]


@pytest.mark.parametrize("shape", [(8, 32), (32,), (32, 32, 2)])
def test_bad_shape(shape):
    with pytest.raises(ValueError, match="image_shape must be"):
        ne.datasets.simulate_images(n_images=2, image_shape=shape)


def photograph(i):
    """An image that tells its number, and which way up it is."""
    pixels = np.full((218, 178, 3), 10 * i, dtype=np.uint8)
    pixels[:109, :, 0] = 255
    return pixels


@pytest.fixture
def root(tmp_path):
    """Eight images with three of the attributes, as the archive has them."""
    (tmp_path / "img_align_celeba").mkdir()
    lines = ["8", "Black_Hair Blond_Hair Male"]
    for i in range(8):
        Image.fromarray(photograph(i)).save(tmp_path / "img_align_celeba" / f"{i + 1:06d}.jpg", quality=95)
        male, black = i % 2, i % 4 < 2
        lines.append(f"{i + 1:06d}.jpg {1 if black else -1:2d} {-1 if black else 1:2d} {1 if male else -1:2d}")
    (tmp_path / "list_attr_celeba.txt").write_text("\n".join(lines) + "\n")
    return tmp_path


def test_celeba_is_read_when_it_is_needed(root):
    adata = ne.datasets.celeba(root, size=16)
    assert adata.shape == (8, 16 * 16 * 3) and hasattr(adata.X, "dask")
    assert adata.uns["image_shape"].tolist() == [16, 16, 3]
    assert adata.obs["Male"].tolist() == [False, True] * 4
    X = adata.X.compute()
    assert X.dtype == np.float32
    images = X.reshape(8, 16, 16, 3)
    np.testing.assert_allclose(images[:, -1, -1, 1], np.arange(8) * 10 / 255, atol=0.02)
    assert (images[:, 0, :, 0] > 0.95).all() and (images[:, -1, :, 0] < 0.4).all()
    assert np.array_equal(adata[[5]].to_memory().X[0], X[5])


def test_celeba_filters_and_crops(root):
    men = ne.datasets.celeba(root, where={"Male": True, "Black_Hair": [True]}, size=8, crop=None)
    assert men.obs_names.tolist() == ["000002.jpg", "000006.jpg"]
    np.testing.assert_allclose(men.X.compute()[:, -1], [10 / 255, 50 / 255], atol=0.02)
    upper = ne.datasets.celeba(root, size=4, crop=2).X.compute().reshape(8, 4, 4, 3)
    assert upper[0, 0, 0, 0] > 0.6 > 0.4 > upper[0, 3, 0, 0]  # two pixels around the middle, where red ends


def test_celeba_in_a_folder_below(root, tmp_path):
    above = tmp_path.parent
    assert ne.datasets.celeba(above / tmp_path.name).n_obs == 8
    (root / "images").mkdir()
    (root / "img_align_celeba").rename(root / "images" / "img_align_celeba")
    assert ne.datasets.celeba(root).n_obs == 8


def test_celeba_trains_and_edits_from_disk(root):
    adata = ne.datasets.celeba(root, size=16)
    ne.tl.train(adata, space="conv", widths=(4, 8), max_epochs=1, progress_bar=False)
    roles = [
        {"Male": True, "Black_Hair": True},
        {"Male": True, "Black_Hair": False},
        {"Male": False, "Black_Hair": True},
    ]
    ne.tl.edit(adata, **dict(zip(["source", "target", "query"], roles, strict=True)), edit="percentile")
    assert adata.layers["edited"].shape == adata.shape


def test_celeba_bad_input(root, tmp_path):
    with pytest.raises(KeyError, match="'Beard' is not an attribute; there are 'Black_Hair', 'Blond_Hair', 'Male'"):
        ne.datasets.celeba(root, where={"Beard": True})
    with pytest.raises(ValueError, match="no image has Male=True and Black_Hair='maybe'"):
        ne.datasets.celeba(root, where={"Male": True, "Black_Hair": "maybe"})
    with pytest.raises(ValueError, match="size must be at least 1; it is 0"):
        ne.datasets.celeba(root, size=0)
    with pytest.raises(FileNotFoundError, match="list_attr_celeba.txt is not in"):
        ne.datasets.celeba(tmp_path / "img_align_celeba")
    (root / "img_align_celeba" / "000001.jpg").unlink()
    with pytest.raises(FileNotFoundError, match="has no file 000001.jpg"):
        ne.datasets.celeba(root)
