"""Names for people: what methods, families of tasks and data sets are called on the pages, in place of the names in the CSV files."""

METHODS = {
    "auto": "cross-validated ensemble (the default)",
    "auto, derived": "the default, without labels",
    "auto_edit": "cross-validated ensemble (the default)",
    "auto, with strata": "ensemble, cell types as strata",
    "default": "the default",
    "default, types given": "the default, types given",
    "identity": "leave the cells alone",
    "mean_shift": "mean shift",
    "mean_shift_offset": "mean shift, after half of the way to the source",
    "shift_by_strata": "mean shift within strata",
    "constant_shift": "constant shift of neurons",
    "constant_shift_by_strata": "constant shift of neurons, within strata",
    "quantile": "quantiles per marker",
    "quantile_balanced": "quantiles per marker, strata balanced",
    "quantile_by_strata": "quantiles per marker, within strata",
    "quantile_offset": "quantiles per marker, after half of the way to the source",
    "affine": "affine map",
    "affine_by_strata": "affine map within strata",
    "gaussian_ot": "Gaussian optimal transport",
    "gaussian_ot_by_strata": "Gaussian optimal transport, within strata",
    "gaussian_ot_neurons": "Gaussian optimal transport of neurons",
    "ot": "entropic optimal transport",
    "transport": "optimal transport",
    "transport_by_strata": "optimal transport within strata",
    "transport_neurons": "optimal transport of neurons",
    "transport_neurons_by_strata": "optimal transport of neurons, within strata",
    "neuron_editing": "neuron editing",
    "neurons_by_strata": "neuron editing within strata",
    "neuron_editing_offset": "neuron editing, after half of the way to the source",
    "local_neurons": "shift of the nearest cells' neurons",
    "pca_edit": "PCA editing",
    "combat": "ComBat",
    "limma": "limma",
    "cca": "CCA anchors",
    "mnn": "MNN",
    "cytonorm": "CytoNorm",
    "gan": "GAN",
    "cyclegan": "CycleGAN",
    "resnet_gan": "residual GAN",
    "mmd_autoencoder": "regularized autoencoder",
    "leave alone (baseControl)": "leave the cells alone (baseControl)",
}

FAMILIES = {
    "simulated": "simulated cells",
    "cytonorm volunteers": "batches, same two people",
    "imubac patients": "batches, other people",
    "sachs inhibitor": "new inhibitor",
    "sachs one pair": "one inhibitor only",
    "bodenmiller PMA-ionomycin": "new cell type, PMA-ionomycin",
    "bodenmiller BCR-XL": "new cell type, BCR-XL",
    "bodenmiller vanadate": "new cell type, vanadate",
    "kang cell type": "new cell type, interferon",
    "kang donor": "new donor, interferon",
}
"""One inhibitor only: source and target are one condition without and with one inhibitor, and nothing else is given."""

ASKED = {
    "simulated": ("simulator", "a sample in another batch, two treatments together, a cell type in another batch"),
    "cytonorm volunteers": ("cytonorm_volunteers", "the same person in another batch; learned on the other person"),
    "imubac patients": (
        "imubac_krieg",
        "patients in another batch; learned on healthy donors, and scored on other patients",
    ),
    "sachs inhibitor": ("sachs_icam2_inhibitors", "a stimulus under an inhibitor; learned under the other inhibitors"),
    "sachs one pair": (
        "sachs_icam2_inhibitors",
        "one inhibitor under a second stimulus; learned without that stimulus",
    ),
    "bodenmiller PMA-ionomycin": ("bodenmiller_4stim", "a stimulus in one cell type; learned on the other types"),
    "bodenmiller BCR-XL": ("bodenmiller_4stim", "a stimulus in one cell type; learned on the other types"),
    "bodenmiller vanadate": ("bodenmiller_4stim", "a stimulus in one cell type; learned on the other types"),
    "kang cell type": ("kang_counts", "interferon in one cell type; learned on the other types"),
    "kang donor": ("kang_counts", "interferon in one donor; learned on another donor"),
}
"""Of each family the data set, and what is predicted from what."""


def name_method(name):
    """Return what people call a method."""
    return METHODS.get(name, name)


def name_family(name):
    """Return what people call a family of tasks."""
    return FAMILIES.get(name, name)
