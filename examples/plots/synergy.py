"""
synergy: which pairs score highest
==================================

:func:`neuronedit.pl.synergy` draws where a measured combination departs; without one, as here, how predicted pairs
rank.
"""

import neuronedit as ne

adata = ne.datasets.simulate_combination(n_cells=1_000, interaction=0.0)
ne.tl.train(adata, widths=(100, 50, 20), max_epochs=25, progress_bar=False)
ne.tl.synergy(
    adata, "condition", control="basal", effects=["A", "B", "A+B"], score="CD38", n_resamples=10, progress_bar=False
)
ne.pl.synergy(adata)
