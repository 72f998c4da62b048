"""
synergy: where a combination departs
====================================

:func:`neuronedit.pl.synergy` draws by how much the measured mean of each feature under two treatments departs from the
predicted one, beside the effect of each treatment alone.
"""

import neuronedit as ne

adata = ne.datasets.simulate_combination(n_cells=1_000, interaction=2.0)
ne.tl.train(adata, space="identity")
ne.tl.synergy(adata, "condition", control="basal", effects=["A", "B"], measured="A+B", progress_bar=False)
ne.pl.synergy(adata)
