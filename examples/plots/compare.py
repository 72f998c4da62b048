"""
compare: methods beside each other
==================================

:func:`neuronedit.pl.compare` draws a panel for each metric and a row for each method. Without a truth the checks say
how faithfully a method applies the observed change.
"""

import neuronedit as ne

adata = ne.datasets.simulate_batches(n_cells=1_000)
table = ne.tl.compare(
    adata,
    "group",
    source="control_1",
    target="control_2",
    query="sample_1",
    methods=["identity", "mean_shift", "quantile", "combat", "gaussian_ot"],
    n_bootstrap=20,
    progress_bar=False,
)
ne.pl.compare(table)
