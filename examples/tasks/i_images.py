"""
Edit images
===========

Images are rows of X, and ``uns["image_shape"]`` says how to put them together. A convolutional autoencoder finds their
neurons; all else is as with cells. What a bar does to squares is applied to discs.
"""

import neuronedit as ne

adata = ne.datasets.simulate_images(n_images=150)
ne.tl.train(adata, space="conv", widths=(16, 32, 64), max_epochs=15, progress_bar=False)
ne.tl.edit(
    adata,
    source={"shape": "square", "bar": "without"},
    target={"shape": "square", "bar": "with"},
    query={"shape": "disc", "bar": "without"},
    edit="percentile",
    bounds=(0, 1),
)
ne.pl.images(adata, layers={"original": None, "edited": "edited", "true": "truth"})

# %%
# Fréchet distance to the true discs: of discs that are left alone, and of edited ones.

query = adata[adata.obs["edited_support"].notna()]
for layer in (query.X, query.layers["edited"]):
    print(round(ne.metrics.frechet(layer, query.layers["truth"]), 2))
