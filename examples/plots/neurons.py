"""
neurons: percentiles of single neurons
======================================

:func:`neuronedit.pl.neurons` draws the percentiles of the neurons that moved most. The edit moves a value by the
distance between the curves of source and target.
"""

import neuronedit as ne

adata = ne.datasets.simulate_batches(n_cells=1_000)
ne.tl.train(adata, widths=(100, 50, 20), max_epochs=25, progress_bar=False)
populations = {"source": "control_1", "target": "control_2", "query": "sample_1"}
ne.tl.edit(adata, "group", **populations, edit="percentile")
ne.pl.neurons(adata, n=6)
