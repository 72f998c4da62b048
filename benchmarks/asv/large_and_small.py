"""Regressions in time and memory, for asv: ``asv continuous main HEAD --config benchmarks/asv/asv.conf.json``."""

import tempfile
from pathlib import Path

import anndata

import neuronedit as ne

POPULATIONS = {"source": "control_1", "target": "control_2", "query": "sample_1"}


class Cells:
    """Simulated cells with a space that was trained briefly."""

    params = [10_000, 100_000]
    param_names = ["cells"]
    timeout = 600

    def setup(self, n):
        self.adata = ne.datasets.simulate_batches(n_cells=n // 4)
        del self.adata.layers["truth"]
        ne.tl.train(self.adata, max_epochs=1, progress_bar=False)

    def time_train(self, n):
        ne.tl.train(self.adata, max_epochs=1, progress_bar=False)

    def time_embed(self, n):
        ne.tl.embed(self.adata, model=self.adata, key_added="encoded")

    def time_edit(self, n):
        ne.tl.edit(self.adata, "group", **POPULATIONS, edit="percentile")

    def time_cross_validate(self, n):
        ne.tl.edit(self.adata, "group", **POPULATIONS)

    def time_correct(self, n):
        ne.tl.correct(self.adata, "batch", control_key="role", edit="percentile", progress_bar=False)

    def peakmem_edit(self, n):
        ne.tl.edit(self.adata, "group", **POPULATIONS, edit="percentile")

    def peakmem_cross_validate(self, n):
        ne.tl.edit(self.adata, "group", **POPULATIONS)


class Store:
    """The same cells in a file, edited into a new one."""

    params, param_names, timeout = Cells.params, Cells.param_names, Cells.timeout

    def setup(self, n):
        cells = Cells()
        cells.setup(n)
        self.folder = tempfile.TemporaryDirectory()
        cells.adata.write_h5ad(Path(self.folder.name) / "cells.h5ad")
        self.adata = anndata.read_h5ad(Path(self.folder.name) / "cells.h5ad", backed="r")

    def teardown(self, n):
        self.adata.file.close()
        self.folder.cleanup()

    def time_write(self, n):
        with tempfile.TemporaryDirectory() as folder:
            ne.tl.edit(self.adata, "group", **POPULATIONS, edit="percentile", write_to=Path(folder) / "edited.zarr")

    def peakmem_write(self, n):
        self.time_write(n)
