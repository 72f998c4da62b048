"""
Apply an edit to new cells
==========================

An edit that was fitted this month is applied to next month's cells as it is: nothing is trained or fitted. Their distance
says whether they lie where the old source was. In the space that was trained this month, another edit can be fitted to
them, too.
"""

import neuronedit as ne

adata = ne.datasets.simulate_batches(n_cells=1_000)
ne.tl.train(adata, widths=(100, 50, 20), max_epochs=25, progress_bar=False)
populations = {"source": "control_1", "target": "control_2", "query": "sample_1"}
ne.tl.edit(adata, "group", **populations, edit="percentile")

new = ne.datasets.simulate_batches(n_cells=1_000, rng=1)
ne.tl.apply(new, adata, "group", query="sample_1")
print(new.uns["edited"]["verdict"])

# %%
# Right of the dashed line a cell lies outside of what the source contains.

ne.pl.support(new, groupby="cell_type")

# %%
# ``tl.embed`` brings them into that space; an edit of their own follows.

ne.tl.embed(new, adata)
ne.tl.edit(new, "group", **populations, edit="percentile", key_added="of_their_own")
print(new.uns["of_their_own"]["verdict"])
