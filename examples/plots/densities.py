"""
densities: markers before, after, and in truth
==============================================

:func:`neuronedit.pl.densities` draws the markers that an edit moved most. The truth of simulated cells is in a layer.
"""

import neuronedit as ne

adata = ne.datasets.simulate_batches(n_cells=1_000)
ne.tl.train(adata, widths=(100, 50, 20), max_epochs=25, progress_bar=False)
populations = {"source": "control_1", "target": "control_2", "query": "sample_1"}
ne.tl.edit(adata, "group", **populations, edit="percentile")
ne.pl.densities(adata, ["IFNg", "CD3", "CD45RA", "CCR6"], truth_layer="truth", source_and_target=True)
