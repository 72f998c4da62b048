"""
Correct batches by their controls
=================================

Every batch holds the same control. One call fits an edit for each batch, from its control to the reference's, and
applies it to all cells of the batch.
"""

import neuronedit as ne

adata = ne.datasets.simulate_batches(n_cells=1_000)
ne.tl.train(adata, widths=(100, 50, 20), max_epochs=25, progress_bar=False)
ne.tl.correct(
    adata, "batch", control_key="role", reference="batch_2", strata="cell_type", edit="percentile", progress_bar=False
)
print(adata.uns["corrected"]["verdict"])

# %%
# Cells of both batches, before and after.

ne.pl.biaxial(adata, x="IFNg", y="CD3", groupby="batch", layers=[None, "corrected"])
