"""
Which neurons an edit moves
===========================

Neurons are ranked by how far apart source and target are, and named by the features that they drive.
"""

import neuronedit as ne

adata = ne.datasets.simulate_batches(n_cells=1_000)
ne.tl.train(adata, widths=(100, 50, 20), max_epochs=25, progress_bar=False)
populations = {"source": "control_1", "target": "control_2", "query": "sample_1"}
ne.tl.edit(adata, "group", **populations, edit="percentile")
ranked = ne.tl.rank_neurons(adata, n_features=3)
print(ranked.head(9).round(2).to_string(index=False))

# %%
# Their percentiles, before and after.

ne.pl.neurons(adata, n=3)
