"""
support: is the query where the source was?
===========================================

:func:`neuronedit.pl.support` draws how far the cells to be edited lie from the source, by cell type. After
:func:`neuronedit.tl.bootstrap` it also draws which features depend most on the cells that were measured.
"""

import neuronedit as ne

adata = ne.datasets.simulate_batches(n_cells=1_000)
ne.tl.train(adata, widths=(100, 50, 20), max_epochs=25, progress_bar=False)
populations = {"source": "control_1", "target": "control_2", "query": "sample_1"}
ne.tl.edit(adata, "group", **populations, edit="percentile")
ne.tl.bootstrap(adata)
ne.pl.support(adata, groupby="cell_type")
