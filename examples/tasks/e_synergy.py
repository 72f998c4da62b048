"""
Find where a combination departs from the prediction
====================================================

Cells under both drugs were measured, too. The mean of each feature is compared with what the two effects together
predict. In this simulation the drugs interact.
"""

import neuronedit as ne

adata = ne.datasets.simulate_combination(n_cells=1_000, interaction=2.0)
ne.tl.train(adata, widths=(100, 50, 20), max_epochs=25, progress_bar=False)
ne.tl.synergy(
    adata, "condition", control="basal", effects=["A", "B"], measured="A+B", n_bootstrap=20, progress_bar=False
)
print(adata.uns["synergy"]["verdict"])

# %%
# Filled features depart from the prediction.

ne.pl.synergy(adata, most=12)
