"""
marker_shift: the observed and the applied change
=================================================

:func:`neuronedit.pl.marker_shift` holds the change that was applied to each marker against the change observed from
source to target: on the line the two are the same. Bars are standard errors, here from the bootstrap.
"""

import neuronedit as ne

adata = ne.datasets.simulate_batches(n_cells=1_000)
ne.tl.train(adata, widths=(100, 50, 20), max_epochs=25, progress_bar=False)
populations = {"source": "control_1", "target": "control_2", "query": "sample_1"}
ne.tl.edit(adata, "group", **populations, edit="percentile")
ne.tl.bootstrap(adata, progress_bar=False)
ne.pl.marker_shift(adata)
