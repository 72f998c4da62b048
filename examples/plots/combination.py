"""
combination: two treatments and both
====================================

:func:`neuronedit.pl.combination` draws the control, either treatment, and both: as measured and as predicted.
The dashed line is the outline of the measured cells. Here the treatments interact, so the prediction is off.
"""

import neuronedit as ne

adata = ne.datasets.simulate_combination(n_cells=1_000, interaction=2.0)
ne.tl.train(adata, widths=(100, 50, 20), max_epochs=25, progress_bar=False)
both = ne.tl.combine(adata, "condition", control="basal", effects=["A", "B"], edit="percentile", progress_bar=False)
ne.pl.combination(adata, both, x="pSTAT5", y="CD38", measured="A+B")
