"""
Apply a change to a third population
====================================

A control was measured in two batches, the sample of a patient only in the first one. What the batch changes is fitted
on the control and applied to the sample. ``strata`` names the folds of the cross-validation: each cell type is held out
in turn, and edits that predict it well get more weight.
"""

import neuronedit as ne

adata = ne.datasets.simulate_batches(n_cells=1_000)
ne.tl.train(adata, widths=(100, 50, 20), max_epochs=25, progress_bar=False)
populations = {"source": "control_1", "target": "control_2", "query": "sample_1"}
ne.tl.edit(adata, "group", **populations, strata="cell_type")
print(adata.uns["edited"]["verdict"])

# %%
# The sample keeps its own, truly higher CCR6, and gets the IFNg of the second batch. X is as it was.

ne.pl.biaxial(adata, x="IFNg", y="CCR6", groupby="group", layers=[None, "edited"])
