"""Names for people: what methods, families of tasks and data sets are called on the pages, in place of the names in the CSV files."""

from neuronedit._method_names import METHOD_NAMES

TRANSPORT_OF_NEURONS = "optimal transport of neurons"
METHODS = METHOD_NAMES | {
    "auto": METHOD_NAMES["auto_edit"],
    "auto, without training": "the default, without training",
    "auto, autoencoder": "the default, in an autoencoder",
    "auto, derived": "the default, without labels",
    "auto, with strata": "ensemble, cell types as strata",
    "default": "the default",
    "default, types given": "the default, types given",
    "affine_by_strata": "shift and scale within strata",
    "transport": "optimal transport",
    "transport_by_strata": "optimal transport within strata",
    "constant_shift_by_strata": "constant shift within strata",
    "transport_neurons": TRANSPORT_OF_NEURONS,
    "transport_neurons_by_strata": "transport of neurons within strata",
    "local_neurons": "shift of the nearest cells' neurons",
    "leave alone": METHOD_NAMES["identity"],
    "all cells dealt out anew": "all cells permuted",
    "Gaussian OT": METHOD_NAMES["gaussian_ot"],
    "Gaussian OT of neurons": METHOD_NAMES["gaussian_ot_neurons"],
    "Gaussian OT in the neurons": METHOD_NAMES["gaussian_ot_neurons"],
    "transport in the neurons": TRANSPORT_OF_NEURONS,
    "transport of neurons": TRANSPORT_OF_NEURONS,
    "ResnetGAN": METHOD_NAMES["resnet_gan"],
    "RegAE": METHOD_NAMES["mmd_autoencoder"],
    "quantiles per marker": METHOD_NAMES["quantile"],
    "neuron editing, within strata": METHOD_NAMES["neurons_by_strata"],
    "leave alone (baseControl)": f"{METHOD_NAMES['identity']} (baseControl)",
}
"""The package's, and those of the benchmarks alone."""

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
