"""
history: was the training long enough?
======================================

:func:`neuronedit.pl.history` draws the error of each epoch; with a share of cells kept aside, theirs, too.
"""

import neuronedit as ne

adata = ne.datasets.simulate_batches(n_cells=1_000)
ne.tl.train(adata, widths=(100, 50, 20), max_epochs=25, validation_size=0.1, progress_bar=False)
ne.pl.history(adata)
