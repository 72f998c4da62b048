"""
shift: where populations lie and where they go
==============================================

:func:`neuronedit.pl.shift` draws the four populations in two dimensions, with arrows between their means.
"""

import neuronedit as ne

adata = ne.datasets.simulate_batches(n_cells=1_000)
ne.tl.train(adata, widths=(100, 50, 20), max_epochs=25, progress_bar=False)
populations = {"source": "control_1", "target": "control_2", "query": "sample_1"}
ne.tl.edit(adata, "group", **populations, edit="percentile")
ne.pl.shift(adata)
