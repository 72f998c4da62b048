"""
combination: two treatments and both
====================================

:func:`neuronedit.pl.combination` draws control, both treatments, and the predicted cells beside the measured ones.
"""

import neuronedit as ne

adata = ne.datasets.simulate_combination(n_cells=1_000, interaction=2.0)
ne.tl.train(adata, widths=(100, 50, 20), max_epochs=25, progress_bar=False)
both = ne.tl.combine(adata, "condition", control="basal", effects=["A", "B"], edit="percentile", progress_bar=False)
ne.pl.combination(adata, both, x="pSTAT5", y="CD38", measured="A+B")
