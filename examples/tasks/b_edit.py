"""
Carry a change over to a third population
=========================================

A control was measured in two batches, the sample of a patient only in the first one. What the batch changes is learnt
on the control and carried over to the sample. ``strata`` names the parts of the pair that are held out to choose an
edit.
"""

import neuronedit as ne

adata = ne.datasets.simulate_batches(n_cells=1_000)
ne.tl.train(adata, widths=(100, 50, 20), max_epochs=25, progress_bar=False)
pair = {"source": "control_1", "target": "control_2", "query": "sample_1"}
ne.tl.edit(adata, "group", **pair, strata="cell_type")
print(adata.uns["edited"]["verdict"])

# %%
# The sample keeps its own, truly higher CCR6, and gets the IFNg of the second batch. X is as it was.

ne.pl.biaxial(adata, x="IFNg", y="CCR6", groupby="group", layers=[None, "edited"])
