"""The measures of Open Problems' task of cytometry batch integration, on batches that were measured with controls.

``python benchmarks/openproblems_cytometry.py`` corrects cytonorm_volunteers and imubac_krieg with every method, and writes ``openproblems_cytometry.csv``, of which the docs are made. ``--quick`` runs the methods
that take no training on the volunteers, and writes nothing. CytoNorm needs cytonormpy, harmony harmonypy, and three measures scib-metrics and flowsom: what is not installed is skipped, and said.

The published task measures the same people in two batches, in two splits, with controls and a goal batch. What is different here:

- cytonorm_volunteers: volunteer 1 is the control of all three batches, volunteer 2 is measured in all of them and scored. It is one person, so that all batches are corrected at once, there is no second split, and no
  difference between groups of people to preserve. Populations are those of `ne.pp.match_populations`, made of the cells as they were measured.
- imubac_krieg: nobody was measured in both batches. Two healthy donors of each batch are left out of the controls, and those of one batch are compared with those of the other: other people, whose cells differ,
  so no method reaches 0. What differs between patients who respond and who do not must be kept. Populations are two lineages, found in each batch by four markers.

Measures are as published (`ne.metrics`). Scaled, 0 is the worse of two: the cells left alone, and all cells dealt out anew; and 1 is the best that the measure can be. The published task takes the best of its control methods for 1; one of
them, the same cells in both batches, has these values.
"""

import argparse
import logging
from functools import partial
from importlib.util import find_spec
from itertools import combinations
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from controls import find_lineages
from labels import name_method
from results import markdown_table, measure_time, read_results
from tasks import load_data, subsample

import neuronedit as ne
from neuronedit import metrics
from neuronedit.baselines import BASELINES

CSV = Path(__file__).parent / "openproblems_cytometry.csv"
MAX_CELLS_PER_SAMPLE = 1_000
HELD_OUT = (("HD1", "HD2"), ("HD6", "HD7"))  # healthy donors of either batch of imubac_krieg, left out of the controls
N_FOR_NEIGHBORS = 10_000  # cells of which neighbours are searched

ALONE, SHUFFLED = "leave alone", "all cells dealt out anew"
ON_CONTROLS = {"quantiles": "quantile", "ComBat": "combat", "limma": "limma", "CytoNorm": "cytonorm"}
"""Rows of `BASELINES`: fitted on the controls of a batch and of the goal, and applied to all cells of the batch."""

METHODS = [ALONE, SHUFFLED, "default", "neuron editing", *ON_CONTROLS, "harmony"]
NEEDS = {"CytoNorm": "cytonormpy", "harmony": "harmonypy"}
OF_MIXING = {"ilisi": "scib_metrics", "clisi": "scib_metrics", "flowsom": "flowsom"}

MEASURES = {
    "emd_horizontal": ("EMD, batches", 0.0),
    "emd_vertical": ("EMD, people", 0.0),
    "mad": ("MAD, batches", 0.0),
    "batch_r2": ("batch R2", 0.0),
    "ilisi": ("iLISI", 1.0),
    "clisi": ("cLISI", 1.0),
    "peaks": ("peaks kept", 1.0),
    "flowsom": ("FlowSOM similarity", 100.0),
    "function_kept": ("differences kept", 1.0),
    "effect_error": ("error of effects", 0.0),
}
"""How each is named in the docs, and the best that it can be. MAD is not of the published ones, and not in the mean."""

NOT_IN_MEAN = ("mad",)


class Study:
    """Cells with batches, samples, populations, controls and a goal, and which samples are compared."""

    def __init__(self, name, adata, goal, *, between_batches, of_group, is_control, groups=None):
        self.name, self.adata, self.goal = name, adata, goal
        self.between_batches, self.of_group = between_batches, of_group
        self.is_control, self.groups = is_control, groups
        self.batches, self.samples = (adata.obs[key].astype(str).to_numpy() for key in ("batch", "sample"))
        self.populations = adata.obs["population"].astype(str).to_numpy()


def read_volunteers():
    """Return volunteer 1 as the control and volunteer 2 in three batches."""
    adata = load_data("cytonorm_volunteers").copy()
    ne.pp.match_populations(adata, "batch", n_populations=5, key_added="population")
    is_control = (adata.obs["role"] == "control").to_numpy()
    scored = sorted(set(adata.obs["sample"].astype(str)[~is_control]))
    return Study(
        "cytonorm_volunteers",
        adata,
        adata.obs["batch"].astype(str).min(),
        between_batches=list(combinations(scored, 2)),
        of_group=[],
        is_control=is_control,
    )


def read_krieg():
    """Return patients and healthy donors of two batches, with two donors of each batch left out of the controls."""
    adata = load_data("imubac_krieg").copy()
    donors, generator = adata.obs["individual"].astype(str).to_numpy(), np.random.default_rng(0)
    kept = [subsample(np.flatnonzero(donors == one), MAX_CELLS_PER_SAMPLE, generator) for one in np.unique(donors)]
    adata = adata[np.sort(np.concatenate(kept))].copy()
    adata.obs["sample"] = adata.obs["individual"].astype(str)
    adata.obs["population"] = find_lineages(adata)
    held_out = adata.obs["sample"].isin([*HELD_OUT[0], *HELD_OUT[1]]).to_numpy()
    is_control = (adata.obs["group"] == "HD").to_numpy() & ~held_out
    adata.obs["role"] = np.where(is_control, "control", "sample")
    of_patients = adata.obs.loc[adata.obs["group"].isin(["R", "NR"]), ["sample", "group"]].drop_duplicates()
    of_group = [
        both for _, own in of_patients.groupby("group", observed=True) for both in combinations(own["sample"], 2)
    ]
    across = [(a, b) for a in HELD_OUT[0] for b in HELD_OUT[1]]
    groups = adata.obs["group"].astype(str).to_numpy()
    return Study(
        "imubac_krieg", adata, "Data29", between_batches=across, of_group=of_group, is_control=is_control, groups=groups
    )


def correct(study, name):
    """Return all cells as a method corrects them, ``(n_cells, n_markers)``."""
    adata, x = study.adata, np.asarray(study.adata.X, dtype=np.float32)
    if name == ALONE:
        return x
    if name == SHUFFLED:
        return np.random.default_rng(0).permutation(x)
    if name in ("default", "neuron editing"):
        if "neuronedit" not in adata.uns:
            ne.tl.train(adata, accelerator="cpu", progress_bar=False)
        edit = {} if name == "default" else {"edit": "percentile"}
        ne.tl.correct(
            adata, "batch", control_key="role", reference=study.goal, accelerator="cpu", progress_bar=False, **edit
        )
        return adata.layers["corrected"]
    if name == "harmony":  # it has no controls: all cells of all batches are given to it
        import harmonypy

        found = harmonypy.run_harmony(x, pd.DataFrame({"batch": study.batches}), "batch", random_state=0).Z_corr
        return np.asarray(found if len(found) == len(x) else found.T, dtype=np.float32)
    corrected = x.copy()
    target = torch.from_numpy(x[study.is_control & (study.batches == study.goal)])
    for batch in sorted(set(study.batches) - {study.goal}):
        rows = study.batches == batch
        move = BASELINES[ON_CONTROLS[name]](torch.from_numpy(x[study.is_control & rows]), target)
        corrected[rows] = np.asarray(move(torch.from_numpy(x[rows])))
    return corrected


def mean_of(differences):
    """Return the mean over samples, populations and markers."""
    return float(np.mean(list(differences.values()))) if differences else np.nan


def score(study, after):
    """Return the measures of corrected cells; NaN of those that the study has no cells for."""
    before, of_cells = np.asarray(study.adata.X, dtype=np.float32), (study.samples, study.populations)
    differ = partial(metrics.sample_differences, after, *of_cells)
    found = dict.fromkeys(MEASURES, np.nan)
    found["emd_horizontal"] = mean_of(differ(study.between_batches, bin_width=0.1))
    found["mad"] = mean_of(differ(study.between_batches, statistic="mad"))
    found["batch_r2"] = mean_of(differ(study.between_batches, statistic="r2", min_cells=20))
    found["peaks"] = metrics.consistent_peaks(before, after, *of_cells, study.between_batches)
    if study.of_group:
        found["emd_vertical"] = mean_of(differ(study.of_group, bin_width=0.1))
    if study.groups is not None:
        found["function_kept"], found["effect_error"], _ = preserve(study, before, after)
    return found | mix(study, after)


def preserve(study, before, after):
    """Return how many differences between responders and others are kept, and how far effects moved."""
    rows = np.isin(study.groups, ["R", "NR"])

    def effects_of(x, chosen):
        labels = study.samples[chosen], study.populations[chosen], study.groups[chosen]
        return metrics.group_effects(x[chosen], *labels)

    shown = [effects_of(before, rows & (study.batches == batch)) for batch in np.unique(study.batches)]
    return metrics.preserved_function(shown, [effects_of(after, rows)])


def mix(study, after):
    """Return the measures that other packages make, of those that are installed."""
    found, rows = {}, np.flatnonzero(~study.is_control)
    few = subsample(rows, N_FOR_NEIGHBORS, np.random.default_rng(0))
    if find_spec("scib_metrics") is not None:
        found["ilisi"] = metrics.ilisi(after[few], study.batches[few])
        found["clisi"] = metrics.clisi(after[few], study.populations[few])
    if find_spec("flowsom") is not None:
        similar = []
        for first, second in study.between_batches:
            x, y = study.samples == first, study.samples == second
            similar.append(
                metrics.flowsom_similarity(after[x], after[y], study.populations[x], study.populations[y], grid=10)
            )
        found["flowsom"] = float(np.mean(similar))
    return found


def run(studies, names):
    """Yield the scores of all methods on all studies."""
    for study in studies:
        for name in names:
            try:
                after, seconds = measure_time(correct, study, name)
            except Exception as error:  # noqa: BLE001 (a package of a peer that cannot do it)
                print(f"{study.name}, {name} failed: {type(error).__name__}: {error}", flush=True)
                continue
            yield {"data": study.name, "method": name} | score(study, after) | {"seconds": seconds}
            print(f"{study.name}, {name}: {seconds:.0f} s", flush=True)


def scale(rows):
    """Return the scores of one study between the worst control method, 0, and the best that can be, 1."""
    own = rows.set_index("method")[list(MEASURES)]
    scaled = pd.DataFrame(index=own.index)
    for key, (_, best) in MEASURES.items():
        controls = own[key].reindex([ALONE, SHUFFLED])
        worst = controls.max() if best == 0 else controls.min()
        scaled[key] = (own[key] - worst) / (best - worst) if best != worst else np.nan
    scaled["mean"] = scaled.drop(columns=list(NOT_IN_MEAN)).mean(axis=1)
    return scaled


read = partial(read_results, CSV)


def page(results):
    """Return a table for each study as Markdown: measures, and the mean of the scaled ones, the best on top."""
    lines = []
    for data, rows in results.groupby("data", sort=False):
        means = scale(rows)["mean"].sort_values(ascending=False)
        own = rows.set_index("method")
        there = [key for key in MEASURES if own[key].notna().any()]
        table = []
        for name, mean in means.items():
            values = [f"{own.loc[name, key]:.1f}" if key == "flowsom" else f"{own.loc[name, key]:.3f}" for key in there]
            table.append(
                [f"**{name_method(name)}**" if name == "default" else name_method(name), f"{mean:.3f}", *values]
            )
        heads = ["method", "mean, scaled", *(MEASURES[key][0] for key in there)]
        lines += [f"{data}:", "", *markdown_table(heads, table), ""]
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(1)
    logging.getLogger("neuronedit").setLevel(logging.ERROR)
    names = [ALONE, SHUFFLED, "quantiles", "limma"] if options.quick else METHODS
    for needed in sorted({*NEEDS.values(), *OF_MIXING.values()}):
        if find_spec(needed) is None:
            what = [name for name, package in (NEEDS | OF_MIXING).items() if package == needed]
            print(f"{needed} is not installed: {', '.join(what)} are skipped.", flush=True)
    names = [name for name in names if name not in NEEDS or find_spec(NEEDS[name]) is not None]
    studies = [read_volunteers()] if options.quick else [read_volunteers(), read_krieg()]
    results = pd.DataFrame(run(studies, names))
    if not options.quick:
        results.to_csv(CSV, index=False, float_format="%.5g")
    print(page(results))


if __name__ == "__main__":
    main()
