"""
rank_combinations: which combinations score highest
===================================================

:func:`neuronedit.pl.rank_combinations` draws the predicted score of each combination of two treatments, with those of its
treatments alone.
"""

import neuronedit as ne

adata = ne.datasets.simulate_combination(n_cells=1_000, interaction=0.0)
ne.tl.train(adata, widths=(100, 50, 20), max_epochs=25, progress_bar=False)
adata.obs["condition"] = adata.obs["condition"].astype(str).replace("A+B", "C")  # stands for a third treatment
effects = {"control": "basal", "effects": ["A", "B", "C"]}
table = ne.tl.rank_combinations(adata, "condition", **effects, score="CD38", n_bootstrap=10, progress_bar=False)
ax = ne.pl.rank_combinations(table, score="CD38")
ax.set_xlabel("mean CD38 (arcsinh, cofactor 5)")
