"""
cross_validation: what was tried, and the ensemble
==================================================

:func:`neuronedit.pl.cross_validation` draws how much of the gap each candidate closed in the folds that were held out, and
the weights of the candidates in the ensemble.
"""

import neuronedit as ne

adata = ne.datasets.simulate_batches(n_cells=1_000)
ne.tl.train(adata, widths=(100, 50, 20), max_epochs=25, progress_bar=False)
populations = {"source": "control_1", "target": "control_2", "query": "sample_1"}
ne.tl.edit(adata, "group", **populations, strata="cell_type")
ne.pl.cross_validation(adata, most=10)
