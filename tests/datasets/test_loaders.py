"""Each loader against the given .h5ad; skipped where the data is not at hand."""

import anndata
import numpy as np
import pandas as pd
import pytest

import neuronedit as ne
from neuronedit.datasets._fetch import origin

LOADERS = ["cytonorm_volunteers", "bodenmiller_4stim", "imubac_krieg"]


@pytest.mark.parametrize("name", LOADERS)
def test_loader_gives_the_cells_of_the_reference(data_dir, name):
    adata, expected = getattr(ne.datasets, name)(), anndata.read_h5ad(f"{data_dir}/{name}.h5ad")
    assert np.array_equal(adata.X, expected.X) and adata.X.dtype == expected.X.dtype
    for frame, reference in ((adata.obs, expected.obs), (adata.var, expected.var)):
        assert list(frame) == list(reference)
        pd.testing.assert_frame_equal(frame.astype(str), reference.astype(str), check_names=False)
    assert all(isinstance(dtype, pd.CategoricalDtype) for dtype in adata.obs.dtypes)
    assert "https://github.com/" in adata.uns["source"]["repository"]


@pytest.mark.parametrize("name", LOADERS)
def test_every_file_has_a_checksum(name):
    source = origin(name)
    assert len(source["commit"]) == 40
    assert all(len(sha256) == 64 for sha256 in source["files"].values())


def test_a_changed_file_is_refused(monkeypatch, tmp_path):
    """With a wrong file in the cache pooch downloads again; here the download is a file that is wrong, too."""
    import pooch

    folder = tmp_path / "origin" / "cytonorm_volunteers"
    folder.mkdir(parents=True)
    for file in origin("cytonorm_volunteers")["files"]:
        (folder / file).write_bytes(b"not what it was")
    monkeypatch.setenv("NEURONEDIT_DATA_DIR", str(tmp_path))

    def download(url, output_file, pooch):
        with open(output_file, "wb") as file:
            file.write(b"still not")

    monkeypatch.setattr(pooch.core, "choose_downloader", lambda *args, **kwargs: download)
    with pytest.raises(ValueError, match="hash"):
        ne.datasets.cytonorm_volunteers()
