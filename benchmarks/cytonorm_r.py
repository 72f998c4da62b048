"""Batch correction against what R's CytoNorm returned: three batches of one person, corrected by another person.

``python benchmarks/cytonorm_r.py`` runs what ``cytonorm_r.csv`` lacks; the docs are made of it. ``--quick`` leaves out what takes
longest, and writes nothing. Every method learns on Volunteer_1, who was measured in all three batches, and corrects Volunteer_2, who
was measured in them, too. R's files are taken from ``$NEURONEDIT_DATA_DIR/origin/cytonorm_r``. CytoNorm was run without clustering,
with 99 quantiles, and with the mean of the batches as the goal.
"""

import argparse
import itertools
import logging
import os
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from labels import name_method
from results import find_done, markdown_table, measure_time, read_results
from scipy.stats import median_abs_deviation, wasserstein_distance
from tasks import find_rows, load_data

import neuronedit as ne

CSV = Path(__file__).parent / "cytonorm_r.csv"
BATCHES = ("PTLG021", "PTLG028", "PTLG034")
BATCH_PAIRS = list(itertools.combinations(BATCHES, 2))
SCORED = "Volunteer_2"
COFACTOR = 5
R_FILE = "Norm_Gates_{batch}_Unstim_Control_2.fcs"
R_SOURCE = "https://github.com/TarikExner/CytoNormPy (cytonormpy/_resources)"

NOTHING, R, COMBAT = "before", "R's CytoNorm", "combat"
CORRECTIONS = {
    "default": {},
    "quantiles per marker": {"key": "identity", "edit": "percentile"},
    "neuron editing": {"edit": "percentile"},
    "transport in the neurons": {"edit": "transport"},
    "Gaussian OT in the neurons": {"edit": "gaussian_ot"},
    "default, samples named": {"sample_key": "individual"},
    "default, to PTLG021": {"reference": "PTLG021"},
    "default, samples named, to PTLG021": {"reference": "PTLG021", "sample_key": "individual"},
}
"""Parameters of `ne.tl.correct`; the goal are the controls of all batches unless it is named."""

METHODS = [NOTHING, R, COMBAT, *CORRECTIONS]
QUICK = [NOTHING, R, COMBAT, "quantiles per marker", "neuron editing"]
DEFAULT_EDIT = [name for name in CORRECTIONS if name.startswith("default")]


# Corrected cells: batch -> (n_cells, n_features)


def split_batches(adata, layer=None):
    """Return the cells that are scored, batch by batch."""
    X = adata.X if layer is None else adata.layers[layer]
    return {batch: X[find_rows(adata.obs, {"batch": batch, "individual": SCORED})] for batch in BATCHES}


def read_r(adata):
    """Read what R's CytoNorm returned: the same cells in the same order, on the scale of ``adata``."""
    folder = os.environ.get("NEURONEDIT_DATA_DIR")
    if folder is None:
        raise FileNotFoundError(f"NEURONEDIT_DATA_DIR is not set: origin/cytonorm_r in it has the files of {R_SOURCE}.")
    corrected = {}
    for batch in BATCHES:
        path = Path(folder) / "origin" / "cytonorm_r" / R_FILE.format(batch=batch)
        if not path.exists():
            raise FileNotFoundError(f"{path} is not there: it is a file of {R_SOURCE}.")
        events = ne.io.read_fcs(path)[:, adata.var_names].copy()
        ne.pp.arcsinh(events, cofactor=COFACTOR)
        corrected[batch] = events.X
    return corrected


def apply_combat(adata):
    """Correct by ComBat: in each batch from its control to the controls of all batches."""
    controls = {"role": "control"}
    goal = torch.from_numpy(adata.X[find_rows(adata.obs, controls)])
    corrected = {}
    for batch, cells in split_batches(adata).items():
        source = torch.from_numpy(adata.X[find_rows(adata.obs, controls | {"batch": batch})])
        corrected[batch] = ne.baselines.combat(source, goal)(torch.from_numpy(cells)).numpy()
    return corrected


def correct(adata, name):
    """Correct with one method."""
    if name == NOTHING:
        return split_batches(adata)
    if name == R:
        return read_r(adata)
    if name == COMBAT:
        return apply_combat(adata)
    roles = {"control_key": "role", "control": "control"}
    ne.tl.correct(adata, "batch", **roles, **CORRECTIONS[name], accelerator="cpu", progress_bar=False)
    return split_batches(adata, "corrected")


# Scores


def measure_emd(cells):
    """Return the earth mover's distance between each two batches in each marker, ``(n_pairs, n_features)``."""
    markers = range(cells[BATCHES[0]].shape[1])
    return np.array([[wasserstein_distance(cells[a][:, j], cells[b][:, j]) for j in markers] for a, b in BATCH_PAIRS])


def measure_mad(cells):
    """Return the median absolute deviation of each batch in each marker, ``(n_batches, n_features)``."""
    return np.array([median_abs_deviation(cells[batch], axis=0) for batch in BATCHES])


def score(before, after):
    """Compare the batches with each other, and the spread of each marker with what it was."""
    emd = measure_emd(after)
    scores = {"emd": emd.mean()}
    for a, b in BATCH_PAIRS:
        scores[f"energy_{a}_{b}"] = ne.metrics.energy_distance(after[a], after[b])
    scores["n_worse"] = int((emd.mean(axis=0) > measure_emd(before).mean(axis=0)).sum())
    scores["mad_change"] = np.abs(measure_mad(after) - measure_mad(before)).mean()
    return scores


def run(names):
    """Score these methods; yield one row a method."""
    adata = load_data("cytonorm_volunteers").copy()
    before = split_batches(adata)
    if set(names) & set(CORRECTIONS):  # one autoencoder for all
        ne.tl.train(adata, accelerator="cpu", progress_bar=False)
        ne.tl.train(adata, space="identity", key_added="identity")
    for name in names:
        try:
            after, seconds = measure_time(correct, adata, name)
        except FileNotFoundError as error:  # the files of others may be missing
            print(f"skipped: {name}: {error}", flush=True)
            continue
        yield {"method": name} | score(before, after) | {"seconds": seconds}


# What is shown


read = partial(read_results, CSV)


def page(results):
    """Return the table as Markdown, the best method on top."""
    energy = [f"energy_{a}_{b}" for a, b in BATCH_PAIRS]
    rows = []
    for _, row in results.sort_values("emd").iterrows():
        name = row["method"]
        shown_name = f"**{name}**" if name in DEFAULT_EDIT else name_method(name)
        shown = [f"{row['emd']:.4f}", *(f"{row[column]:.3f}" for column in energy)]
        rows.append([shown_name, *shown, f"{row['n_worse']:.0f}", f"{row['mad_change']:.3f}"])
    heads = ["method", "mean EMD", *(f"energy distance {a} to {b}" for a, b in BATCH_PAIRS)]
    return "\n".join(markdown_table([*heads, "markers that got worse", "change of the MAD"], rows)) + "\n"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--methods", nargs="*", choices=METHODS)
    options = parser.parse_args()
    torch.set_num_threads(1)
    logging.getLogger("neuronedit").setLevel(logging.ERROR)

    # run what is missing
    results = pd.DataFrame() if options.quick else read()
    done = find_done(results, ["method"])
    names = options.methods or (QUICK if options.quick else METHODS)
    for row in run([name for name in names if (name,) not in done]):
        results = pd.concat([results, pd.DataFrame([row])])
        print(f"{row['method']}: mean EMD {row['emd']:.4f}", flush=True)
        if not options.quick:
            results.to_csv(CSV, index=False, float_format="%.4g")
    print(page(results))


if __name__ == "__main__":
    main()
