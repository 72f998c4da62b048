"""What training costs and what it buys: held-out scores of edits in the neurons of autoencoders that were trained otherwise.

``python benchmarks/defaults.py`` writes ``defaults.csv``, of which the docs are made; ``--quick`` is a look at it, and writes nothing.
Tasks, cells and scores are those of ``holdout.py``. Defaults may be chosen on the families in `holdout.CHOSEN_ON`; the others report.
"""

import argparse
import time
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from holdout import CHOSEN_ON, UNTESTABLE, cells_of, scored, tasks

from neuronedit.selection import CANDIDATES, select
from neuronedit.selection._candidates import learn
from neuronedit.selection._select import _encoded
from neuronedit.spaces import Autoencoder, Training

HERE = Path(__file__).parent
SETTINGS = {
    "default": {},
    "2,500 steps": {"n_steps": 2_500},
    "5,000 steps": {"n_steps": 5_000},
    "5,000 steps of 200 cells": {"n_steps": 5_000, "batch_size": 200},
    "2,000 steps of 500 cells": {"n_steps": 2_000, "batch_size": 500},
    "5,000 steps, rate 3e-3": {"n_steps": 5_000, "lr": 3e-3},
    "widths 200-100-50": {"widths": (200, 100, 50)},
    "widths 100-50": {"widths": (100, 50)},
}
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


def run(task, settings, n_seeds):
    """Score the edits in every autoencoder on one task."""
    torch.set_num_threads(1)
    adata = cells_of(task)
    roles = {role: (adata.obs["role"] == role).to_numpy() for role in ("source", "target", "query", "truth")}
    X = {role: torch.from_numpy(adata.X[mask]) for role, mask in roles.items()}
    known = torch.cat([X["source"], X["target"], X["query"]])
    labels = None if task.strata is None else adata.obs[task.strata].astype(str).to_numpy()
    strata = None if labels is None else (labels[roles["source"]], labels[roles["target"]])
    rows = []
    for name in settings:
        given = dict(SETTINGS[name])
        shape = {"widths": given.pop("widths")} if "widths" in given else {}
        for seed in range(n_seeds):
            start = time.perf_counter()
            space = Autoencoder.fit(known, Training(seed=seed, **given), **shape)
            seconds = time.perf_counter() - start
            with torch.no_grad():
                lost = (space.decode(space.encode(X["query"])) - X["query"]).square().mean() / X["query"].var(0).mean()
                pair = select(space, X["source"], X["target"], X["query"], strata, candidates=ALONE).pair
                maps = learn(EDITS, {"neurons": space}, _encoded({"neurons": space}, pair), torch.zeros(adata.n_vars))
                scores = [
                    scored(X["query"].numpy(), X["truth"].numpy(), move(X["query"]).numpy()) for move in maps.values()
                ]
            row = {
                "family": task.family,
                "task": task.name,
                "setting": name,
                "seed": seed,
                "seconds": seconds,
                "lost": lost.item(),
            }
            rows += [row | {"edit": edit} | score for edit, score in zip(maps, scores, strict=True)]
    return pd.DataFrame(rows)


def read(path=HERE / "defaults.csv"):
    """Return the results."""
    return pd.read_csv(path)


def page(rows):
    """Return the table as Markdown: one row a setting, against the default's on the same tasks and seeds."""
    rows = rows.assign(chosen=rows["family"].isin(CHOSEN_ON))
    keys = ["family", "task", "seed", "edit"]
    default = rows[rows["setting"] == "default"].set_index(keys)
    families = rows.groupby("family", sort=False)["task"].nunique()
    listed = ", ".join(f"{family} ({n})" for family, n in families.items())
    text = f"{families.sum()} tasks ({listed}); {len(EDITS)} edits in the neurons; seeds: {rows['seed'].nunique()}; one thread.\n\n"
    text += "| training | time | error of reconstruction | closed, families to choose on | against the default | closed, the others | against the default |\n"
    text += "|---" * 7 + "|\n"
    for name, own in rows.groupby("setting", sort=False):
        own = own.set_index(keys)
        at = default.loc[own.index]
        cells = [f"{(own['seconds'] / at['seconds']).median():.2f}", f"{(own['lost'] / at['lost']).median():.2f}"]
        for which in (own["chosen"], ~own["chosen"]):
            gain = (own["energy_distance"] - at["energy_distance"])[which].groupby(["family", "task"]).mean()
            cells += [
                f"{own['energy_distance'][which].mean():.3f}",
                f"{gain.mean():+.3f} ± {gain.std() / len(gain) ** 0.5:.3f}",
            ]
        text += f"| {name} | {' | '.join(cells)} |\n"
    return text


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--settings", nargs="*", default=list(SETTINGS))
    options = parser.parse_args()
    wanted, settings = list(few(1 if options.quick else 2)), options.settings
    if options.quick:
        settings, options.seeds = ["default", "2,500 steps"], 1
    work = partial(run, settings=settings, n_seeds=options.seeds)
    with ProcessPoolExecutor(options.jobs, mp_context=get_context("spawn")) as pool:
        rows = pd.concat(pool.map(work, wanted))
    if not options.quick:
        rows.to_csv(HERE / "defaults.csv", index=False, float_format="%.4g")
    print(page(rows))


if __name__ == "__main__":
    main()
