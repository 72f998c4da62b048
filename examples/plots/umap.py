"""
umap: before and after an edit
==============================

scanpy draws cells before and after an edit in one UMAP. The query moves the way that leads from source to target.
"""

import anndata
import matplotlib.pyplot as plt
import scanpy as sc

import neuronedit as ne

adata = ne.datasets.simulate_batches(n_cells=1_000)
ne.tl.train(adata, widths=(100, 50, 20), max_epochs=25, progress_bar=False)
populations = {"source": "control_1", "target": "control_2", "query": "sample_1"}
ne.tl.edit(adata, "group", **populations, edit="percentile")

# %%
# The edited cells are cells of their own: the UMAP is computed of all four populations together.

parts = {role: adata[adata.obs["group"] == group].copy() for role, group in populations.items()}
parts["query, edited"] = parts["query"].copy()
parts["query, edited"].X = parts["query"].layers["edited"]
cells = anndata.concat(parts, label="population", index_unique="-")
sc.pp.neighbors(cells, use_rep="X")
sc.tl.umap(cells)

figure, axes = plt.subplots(2, 2, figsize=(6, 5.6), layout="constrained")
colors = dict(zip(parts, ["#92C5DE", "#F4A582", "#0571B0", "#B2182B"], strict=True))
for name, ax in zip(parts, axes.flat, strict=True):
    sc.pl.umap(cells, color="population", groups=name, palette=colors, title=name, legend_loc=None, ax=ax, show=False)
