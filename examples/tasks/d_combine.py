"""
Predict a combination of drugs
==============================

Cells under A and under B were measured, cells under both were not. Each drug's effect is applied to the cells under the
other drug; both orders must agree.
"""

import neuronedit as ne

adata = ne.datasets.simulate_combination(n_cells=1_000, interaction=0.0)
ne.tl.train(adata, widths=(100, 50, 20), max_epochs=25, progress_bar=False)
both = ne.tl.combine(adata, "condition", control="basal", effects=["A", "B"], edit="percentile", progress_bar=False)
print(both.uns["combined"]["combinations"].round(2).T)

# %%
# Here the combination was simulated, too: on the left as it is, on the right as it was predicted.

ne.pl.combination(adata, both, x="p4EBP1", y="pSTAT5", measured="A+B")
