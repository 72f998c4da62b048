"""What training costs and what it buys: held-out scores of edits in the neurons of autoencoders that were trained otherwise.

``python benchmarks/defaults.py`` runs what ``defaults.csv`` lacks; the docs are made of it. ``--quick`` is a look, and writes nothing.
Tasks, cells and scores are those of ``holdout.py``. Defaults may be chosen on the families in `holdout.CHOSEN_ON`; the others report.
"""

import argparse
import itertools
import time
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from holdout import CHOSEN_ON, UNTESTABLE, cells_of, scored, tasks

from neuronedit.ensemble import CANDIDATES, select
from neuronedit.ensemble._candidates import learn
from neuronedit.ensemble._cross_validate import _encoded
from neuronedit.spaces import Autoencoder, Training

HERE = Path(__file__).parent
SLOW = {"n_steps": 10_000, "lr": 1e-3}
SETTINGS = {
    "10,000 steps": SLOW,
    "5,000 steps": SLOW | {"n_steps": 5_000},
    "2,500 steps": SLOW | {"n_steps": 2_500},
    "5,000 steps, rate 3e-3": {"n_steps": 5_000, "lr": 3e-3},
    "3,000 steps, rate 3e-3": {"n_steps": 3_000, "lr": 3e-3},
    "2,500 steps of 200 cells, rate 3e-3": {"n_steps": 2_500, "batch_size": 200, "lr": 3e-3},
    "2,500 steps of 200 cells, rate 5e-3": {"n_steps": 2_500, "batch_size": 200, "lr": 5e-3},
    "5,000 steps of 200 cells": SLOW | {"n_steps": 5_000, "batch_size": 200},
    "2,000 steps of 500 cells": SLOW | {"n_steps": 2_000, "batch_size": 500},
    "10,000 steps, widths 200-100-50": SLOW | {"widths": (200, 100, 50)},
    "10,000 steps, widths 100-50": SLOW | {"widths": (100, 50)},
}
"""Steps are of 100 cells at a rate of 1e-3, widths 500-250-50, where nothing else is said. The others are held against the first."""

ALONE = {"identity": CANDIDATES["identity"]}
EDITS = {
    name: CANDIDATES[name] for name in ("neuron_editing", "principal_neurons", "local_neurons", "neurons_by_strata")
}


def few(each=2):
    """Some tasks of every family, evenly spaced."""
    by_family = pd.Series(list(tasks()))
    for family, own in by_family.groupby(by_family.map(lambda task: task.family), sort=False):
        if family != UNTESTABLE:
            at = np.unique(np.linspace(0, len(own) - 1, each).round().astype(int))
            yield from own.iloc[at]


def run(task, wanted):
    """Score the edits in autoencoders on one task; ``wanted`` are settings and seeds."""
    torch.set_num_threads(1)
    adata = cells_of(task)
    roles = {role: (adata.obs["role"] == role).to_numpy() for role in ("source", "target", "query", "truth")}
    X = {role: torch.from_numpy(adata.X[mask]) for role, mask in roles.items()}
    known = torch.cat([X["source"], X["target"], X["query"]])
    labels = None if task.strata is None else adata.obs[task.strata].astype(str).to_numpy()
    strata = None if labels is None else (labels[roles["source"]], labels[roles["target"]])
    rows = []
    for name, seed in wanted:
        given = dict(SETTINGS[name])
        shape = {"widths": given.pop("widths")} if "widths" in given else {}
        start = time.perf_counter()
        space = Autoencoder.fit(known, Training(seed=seed, **given), **shape)
        seconds = time.perf_counter() - start
        with torch.no_grad():
            lost = (space.decode(space.encode(X["query"])) - X["query"]).square().mean() / X["query"].var(0).mean()
            pair = select(space, X["source"], X["target"], X["query"], strata, candidates=ALONE).pair
            maps = learn(EDITS, {"neurons": space}, _encoded({"neurons": space}, pair), torch.zeros(adata.n_vars))
            chosen = select(space, X["source"], X["target"], X["query"], strata)
            maps["auto"] = chosen.learn(chosen.pair)
            scores = [
                scored(X["query"].numpy(), X["truth"].numpy(), move(X["query"]).numpy()) for move in maps.values()
            ]
        row = {"family": task.family, "task": task.name, "setting": name, "seed": seed, "seconds": seconds}
        row["lost"] = lost.item()
        rows += [row | {"edit": edit} | score for edit, score in zip(maps, scores, strict=True)]
    return pd.DataFrame(rows)


def read(path=HERE / "defaults.csv"):
    """Return the results."""
    return pd.read_csv(path)


def page(rows):
    """Return the table as Markdown: one row a setting, against the first on the same tasks and seeds."""
    rows = rows.assign(on=np.where(rows["family"].isin(CHOSEN_ON), "to choose on", "the others"))
    keys = ["family", "task", "seed", "edit"]
    first = rows[rows["setting"] == next(iter(SETTINGS))].set_index(keys)
    families = rows.groupby("family", sort=False)["task"].nunique()
    listed = ", ".join(f"{family} ({n})" for family, n in families.items())
    text = f"{families.sum()} tasks ({listed}); {len(EDITS)} edits in the neurons, and the choice (auto); one thread. Differences are means over tasks ± standard error.\n\n"
    heads = [f"{what}, {on}" for on in ("to choose on", "the others") for what in ("edits", "auto")]
    text += (
        f"| training | tasks x seeds | time | error of reconstruction | {' | '.join(heads)} |\n" + "|---" * 8 + "|\n"
    )
    for name in SETTINGS:
        own = rows[rows["setting"] == name].set_index(keys)
        own = own.loc[own.index.intersection(first.index)]  # the choice was not looked at everywhere
        if not len(own):
            continue
        at = first.loc[own.index]
        runs = own.groupby(["family", "task", "seed"]).ngroups
        cells = [
            str(runs),
            f"{(own['seconds'] / at['seconds']).median():.2f}",
            f"{(own['lost'] / at['lost']).median():.2f}",
        ]
        is_auto = own.index.get_level_values("edit") == "auto"
        for on in ("to choose on", "the others"):
            for which in (~is_auto, is_auto):
                taken = which & (own["on"] == on)
                gain = (own["energy_distance"] - at["energy_distance"])[taken].groupby(["family", "task"]).mean()
                cells.append(f"{gain.mean():+.3f} ± {gain.sem():.3f}" if len(gain) > 1 else "–")
        bold = "**" if is_default(SETTINGS[name]) else ""
        text += f"| {bold}{name}{bold} | {' | '.join(cells)} |\n"
    return text


def is_default(given):
    """Whether this is how a space is trained by default."""
    usual = Training()
    return given == {"n_steps": usual.n_steps, "lr": usual.peak}


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--settings", nargs="*", default=list(SETTINGS))
    parser.add_argument("--families", nargs="*", default=[""], help="only families whose name contains one of these")
    options = parser.parse_args()
    path, old = HERE / "defaults.csv", pd.DataFrame()
    if options.quick:
        options.settings, options.seeds = options.settings[:2], 1
    elif path.exists():
        old = read(path)
    done = set(zip(old["family"], old["task"], old["setting"], old["seed"], strict=True)) if len(old) else set()
    results, jobs = [old], []
    with ProcessPoolExecutor(options.jobs, mp_context=get_context("spawn")) as pool:
        for task in few(1 if options.quick else 2):
            settings = itertools.product(options.settings, range(options.seeds))
            wanted = [(name, seed) for name, seed in settings if (task.family, task.name, name, seed) not in done]
            if wanted and any(part in task.family for part in options.families):
                jobs.append(pool.submit(run, task, wanted))
        for job in as_completed(jobs):
            results.append(job.result())
            if not options.quick:
                pd.concat(results).to_csv(path, index=False, float_format="%.4g")
    print(page(pd.concat(results)))


if __name__ == "__main__":
    main()
