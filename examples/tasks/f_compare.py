"""
Compare methods on a known truth
================================

Where the truth is known for some cells, methods are tried on it. None of them sees it.
"""

import anndata

import neuronedit as ne

adata = ne.datasets.simulate_batches(n_cells=1_000)
truth = adata[adata.obs["group"] == "sample_1"].copy()
truth.X, truth.obs["group"] = truth.layers["truth"], "truth"
adata = anndata.concat([adata, truth], index_unique="-")
methods = ["identity", "mean_shift", "quantile", "combat", "gaussian_ot", "cca"]
table = ne.tl.compare(
    adata,
    "group",
    source="control_1",
    target="control_2",
    query="sample_1",
    truth="truth",
    methods=methods,
    n_bootstrap=20,
    progress_bar=False,
)
print(table.pivot_table("value", "method", "metric", observed=True).round(2))

# %%
# On the dashed line a method is ideal; on the thin one it is no better than leaving the cells alone.

ne.pl.compare(table, metrics=["energy_distance", "mean_wasserstein"])
