"""
images: before and after an edit
================================

:func:`neuronedit.pl.images` draws images, one a row of X, after each of several edits. Here the change from squares without a bar
to squares with one is applied to discs; on brighter shapes it is darker, which one vector for all of them cannot follow.
"""

import neuronedit as ne

adata = ne.datasets.simulate_images(n_images=150)
ne.tl.train(adata, space="conv", widths=(16, 32, 64), max_epochs=15, progress_bar=False)
populations = {
    "source": {"shape": "square", "bar": "without"},
    "target": {"shape": "square", "bar": "with"},
    "query": {"shape": "disc", "bar": "without"},
    "bounds": (0, 1),
}
ne.tl.edit(adata, **populations, edit="percentile", strength=[0.25, 0.5, 0.75, 1])
ne.tl.edit(adata, **populations, edit="shift", key_added="shifted")
rows = {"original": None, "neuron editing": "edited", "constant shift": "shifted", "true": "truth"}
ne.pl.images(adata, layers=rows)

# %%
# From none of the edit to all of it.

ne.pl.image_path(adata)
