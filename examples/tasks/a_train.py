"""
Train a space
=============

The neurons of an autoencoder are where cells are edited. It is trained once, on all cells together; its error says
whether that was long enough.
"""

import neuronedit as ne

adata = ne.datasets.simulate_batches(n_cells=1_000)
ne.tl.train(adata, widths=(100, 50, 20), max_epochs=25, progress_bar=False)
print(adata.obsm["X_neurons"].shape)

# %%
# The error of the reconstruction, in units of the scaled features. It should have levelled off.

ne.pl.history(adata)
