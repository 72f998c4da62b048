"""What training costs and what it buys: held-out scores of edits in the neurons of autoencoders that were trained otherwise.

``python benchmarks/defaults.py`` runs what ``defaults.csv`` lacks; the docs are made of it. ``--quick`` is a look, and writes nothing.
Tasks, cells and scores are those of ``holdout.py``. Defaults may be set on the families in `holdout.TUNED_ON`; the others report.
"""

import argparse
import itertools
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from holdout import SINGLE, TUNED_ON, UNTESTABLE
from labels import name_family
from results import find_done, markdown_table, measure_time, read_results, run_jobs
from tasks import fit_single_candidates, get_strata, holdout_tasks, score, split_roles, take_cells

from neuronedit.ensemble import cross_validate
from neuronedit.spaces import Autoencoder, Training

CSV = Path(__file__).parent / "defaults.csv"
SLOW = {"n_steps": 10_000, "lr": 1e-3}
SETTINGS = {
    "10,000 steps": SLOW,
    "5,000 steps": SLOW | {"n_steps": 5_000},
    "2,500 steps": SLOW | {"n_steps": 2_500},
    "5,000 steps, rate 3e-3": {"n_steps": 5_000, "lr": 3e-3},
    "2,500 steps, rate 3e-3": {"n_steps": 2_500, "lr": 3e-3},
    "3,000 steps, rate 3e-3": {"n_steps": 3_000, "lr": 3e-3},
    "2,500 steps of 200 cells, rate 3e-3": {"n_steps": 2_500, "batch_size": 200, "lr": 3e-3},
    "2,500 steps of 200 cells, rate 5e-3": {"n_steps": 2_500, "batch_size": 200, "lr": 5e-3},
    "5,000 steps of 200 cells": SLOW | {"n_steps": 5_000, "batch_size": 200},
    "2,000 steps of 500 cells": SLOW | {"n_steps": 2_000, "batch_size": 500},
    "10,000 steps, widths 200-100-50": SLOW | {"widths": (200, 100, 50)},
    "10,000 steps, widths 100-50": SLOW | {"widths": (100, 50)},
}
"""Steps are of 100 cells at a rate of 1e-3, widths 500-250-50, where nothing else is said. The others are compared with the first."""

DEFAULT = {"n_steps": Training().n_steps, "lr": Training().peak}
EDITS = ("neuron_editing", "gaussian_ot_neurons", "transport_neurons", "neurons_by_strata")


def choose_tasks(n_per_family=2):
    """Yield some tasks of every family, evenly spaced."""
    for family, tasks in itertools.groupby(holdout_tasks(), key=lambda task: task.family):
        tasks = list(tasks)
        if family != UNTESTABLE:
            yield from (tasks[i] for i in np.unique(np.linspace(0, len(tasks) - 1, n_per_family).round().astype(int)))


def run(task, wanted):
    """Score the edits in autoencoders on one task; ``wanted`` are settings and seeds."""
    torch.set_num_threads(1)
    adata = take_cells(task)
    cells, strata = split_roles(adata), get_strata(adata, task.strata)
    source, target, query, truth = cells.values()
    edits = {name: SINGLE[name] for name in EDITS}
    rows = []
    for name, seed in wanted:
        # train
        given = dict(SETTINGS[name])
        shape = {"widths": given.pop("widths")} if "widths" in given else {}
        training = Training(rng=seed, **given)
        space, seconds = measure_time(Autoencoder.fit, torch.cat([source, target, query]), training, **shape)
        with torch.no_grad():
            # reconstruct, and edit in it
            error = (space.decode(space.encode(query)) - query).square().mean() / query.var(0).mean()
            maps = fit_single_candidates(edits, space, cells, strata)
            ensemble = cross_validate(space, source, target, query, strata)
            maps["auto"] = ensemble.fit(ensemble.populations)
            for edit, apply in maps.items():
                row = {"family": task.family, "task": task.name, "setting": name, "seed": seed, "seconds": seconds}
                row |= {"reconstruction_error": error.item(), "edit": edit}
                rows.append(row | score(query.numpy(), truth.numpy(), apply(query).numpy()))
    return pd.DataFrame(rows)


read = partial(read_results, CSV)


def page(results):
    """Return the table as Markdown: one row a setting, compared with the first on the same tasks and seeds."""
    groups = ("to choose on", "the others")
    results = results.assign(group=np.where(results["family"].isin(TUNED_ON), *groups))
    keys = ["family", "task", "seed", "edit"]
    first = results[results["setting"] == next(iter(SETTINGS))].set_index(keys)
    rows = []
    for name, setting in SETTINGS.items():
        # the same tasks and seeds
        own = results[results["setting"] == name].set_index(keys)
        own = own.loc[own.index.intersection(first.index)]  # the ensemble was not looked at everywhere
        if own.empty:
            continue
        same = first.loc[own.index]
        ratios = [(own[column] / same[column]).median() for column in ("seconds", "reconstruction_error")]
        shown = [str(own.groupby(["family", "task", "seed"]).ngroups), *(f"{ratio:.2f}" for ratio in ratios)]
        # what it gains
        gain, is_auto = own["energy_distance"] - same["energy_distance"], own.index.get_level_values("edit") == "auto"
        for group, is_wanted in itertools.product(groups, (~is_auto, is_auto)):
            by_task = gain[is_wanted & (own["group"] == group)].groupby(["family", "task"]).mean()
            shown.append(f"{by_task.mean():+.3f} ± {by_task.sem():.3f}" if len(by_task) > 1 else "–")
        rows.append([f"**{name}**" if setting == DEFAULT else name, *shown])

    n_tasks = results.groupby("family", sort=False)["task"].nunique()
    families = ", ".join(f"{name_family(family)} ({n})" for family, n in n_tasks.items())
    text = (
        f"{n_tasks.sum()} tasks ({families}); {len(EDITS)} edits in the neurons, and the ensemble (auto); one thread."
        " Differences are means over tasks ± standard error."
    )
    heads = ["training", "tasks x seeds", "time", "error of reconstruction"]
    heads += [f"{what}, {group}" for group in groups for what in ("edits", "auto")]
    return "\n".join([text, "", *markdown_table(heads, rows)]) + "\n"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--settings", nargs="*", default=list(SETTINGS))
    parser.add_argument("--families", nargs="*", default=[""], help="only families whose name contains one of these")
    options = parser.parse_args()
    if options.quick:
        options.settings, options.seeds = options.settings[:2], 1

    # run what is missing
    results = pd.DataFrame() if options.quick else read_results(CSV)
    done = find_done(results, ["family", "task", "setting", "seed"])
    settings = list(itertools.product(options.settings, range(options.seeds)))
    jobs = []
    for task in choose_tasks(1 if options.quick else 2):
        missing = [(name, seed) for name, seed in settings if (task.family, task.name, name, seed) not in done]
        if missing and any(part in task.family for part in options.families):
            jobs.append((task, missing))
    for _, rows in run_jobs(run, jobs, options.jobs):
        results = pd.concat([results, rows])
        if not options.quick:
            results.to_csv(CSV, index=False, float_format="%.4g")
    print(page(results))


if __name__ == "__main__":
    main()
