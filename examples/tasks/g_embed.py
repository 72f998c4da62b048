"""
Edit new cells with an old model
================================

Next month's cells are brought into the space that was trained on this month's, and what was learnt is applied to them
as it is. Whether they lie where the old source was is told by their distance.
"""

import neuronedit as ne

adata = ne.datasets.simulate_batches(n_cells=1_000)
ne.tl.train(adata, widths=(100, 50, 20), max_epochs=25, progress_bar=False)
pair = {"source": "control_1", "target": "control_2", "query": "sample_1"}
ne.tl.edit(adata, "group", **pair, edit="percentile")

new = ne.datasets.simulate_batches(n_cells=1_000, rng=1)
ne.tl.embed(new, model=adata)
ne.tl.edit(new, "group", query="sample_1", model=adata)
print(new.uns["edited"]["verdict"])

# %%
# Right of the dashed line a cell lies outside of what the source contains.

ne.pl.support(new, groupby="cell_type")
