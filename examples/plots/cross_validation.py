"""
selection: what was tried on held-out parts
===========================================

:func:`neuronedit.pl.cross_validation` draws how much of the gap each candidate closed in the parts that were held out, and
the weights of those that were combined.
"""

import neuronedit as ne

adata = ne.datasets.simulate_batches(n_cells=1_000)
ne.tl.train(adata, widths=(100, 50, 20), max_epochs=25, progress_bar=False)
pair = {"source": "control_1", "target": "control_2", "query": "sample_1"}
ne.tl.edit(adata, "group", **pair, strata="cell_type")
ne.pl.cross_validation(adata, most=10)
