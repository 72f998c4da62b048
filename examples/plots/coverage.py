"""
coverage: what controls do not show
===================================

:func:`neuronedit.pl.coverage` draws what the samples of each batch hold that the batch's controls do not.
"""

import neuronedit as ne

adata = ne.datasets.simulate_batches(n_cells=1_000)
ne.tl.train(adata, space="identity")
ne.tl.correct(adata, "batch", control_key="role", sample_key="group", edit="percentile", progress_bar=False)
ne.pl.coverage(adata)
