"""
biaxial: two markers, before and after
======================================

:func:`neuronedit.pl.biaxial` draws cells of several groups, a panel for each layer.
"""

import neuronedit as ne

adata = ne.datasets.simulate_batches(n_cells=1_000)
ne.tl.train(adata, widths=(100, 50, 20), max_epochs=25, progress_bar=False)
populations = {"source": "control_1", "target": "control_2", "query": "sample_1"}
ne.tl.edit(adata, "group", **populations, edit="percentile")
ne.pl.biaxial(adata, x="IFNg", y="CCR6", groupby="group")

# %%
# More than 2,000 cells are drawn as contours, and more than three groups in a panel each. A difference is asked for.

ne.pl.biaxial(adata, x="IFNg", y="CCR6", groupby="group", groups=["sample_1", "sample_2"], difference="groups")
