"""What people call methods, on the axes of figures, in tables and on the pages, in place of the names in the code."""

METHOD_NAMES = {
    # of neuronedit.baselines.BASELINES, several of neuronedit.ensemble.CANDIDATES, too
    "identity": "cells left alone",
    "mean_shift": "mean shift",
    "quantile": "quantiles",
    "affine": "shift and scale",
    "gaussian_ot": "Gaussian transport",
    "ot": "entropic transport",
    "combat": "ComBat",
    "limma": "limma",
    "mnn": "MNN",
    "cca": "CCA anchors",
    "pca_edit": "PCA editing",
    "constant_shift": "constant shift of neurons",
    "neuron_editing": "neuron editing",
    "auto_edit": "ensemble (default)",
    "mmd_autoencoder": "regularized autoencoder",
    "gan": "GAN",
    "resnet_gan": "residual GAN",
    "cyclegan": "CycleGAN",
    "cytonorm": "CytoNorm",
    "cytovi": "CytoVI",
    "scgen": "scGen",
    # of neuronedit.ensemble.CANDIDATES alone
    "quantile_balanced": "quantiles, strata balanced",
    "shift_by_strata": "mean shift within strata",
    "quantile_by_strata": "quantiles within strata",
    "gaussian_ot_neurons": "Gaussian transport of neurons",
    "neurons_by_strata": "neuron editing within strata",
    "gaussian_ot_by_strata": "Gaussian transport within strata",
    "mean_shift_offset": "mean shift, half-way to source",
    "quantile_offset": "quantiles, half-way to source",
    "neuron_editing_offset": "neuron editing, half-way to source",
}
"""Short enough for an axis. Quantiles are those of each feature by itself."""


def name_method(name: object) -> str:
    """Return what people call a method; its own name where it is not in the list."""
    return METHOD_NAMES.get(str(name), str(name))
