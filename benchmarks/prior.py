"""Are the settings of the ensemble right for families that they were not set on? Each family is left out in turn.

``python benchmarks/prior.py`` runs the tasks of ``holdout.py``, with their strata and with matched populations, under every
prior, shrinkage and strength of untested cells. With matched populations it also varies how far the composition of the query
counts, and adds tasks in which all types are equally frequent. Under the package's settings it tries one candidate less and one
more. It writes ``prior.csv`` and ``candidates.csv``, of which the docs are made. ``--quick`` is one task of each family, and
writes nothing. Candidates are fitted once a task; what they predict is kept in a temporary folder.
"""

import argparse
import tempfile
from dataclasses import dataclass, replace
from functools import partial
from itertools import product
from pathlib import Path

import holdout
import numpy as np
import pandas as pd
import torch
from labels import name_family, name_method
from results import markdown_table, read_results, run_jobs
from tasks import (
    N_SPLITS,
    equal_tasks,
    get_strata,
    has_role,
    holdout_tasks,
    map_each,
    split_roles,
    subsample,
    take_cells,
)

import neuronedit as ne
from neuronedit.engine.fit import sort_cells
from neuronedit.ensemble import CANDIDATES
from neuronedit.ensemble._candidates import Prior, encode_in_spaces, expect_weights, fit_candidates
from neuronedit.ensemble._cross_validate import (
    INTERVAL_FLOOR,
    SHRINKAGE,
    UNTESTED_STRENGTH,
    count_same_cells,
    drop_small,
    hold_out,
    shrink,
)
from neuronedit.ensemble._folds import Fold, FoldKind
from neuronedit.ensemble._matching import QUERY_WIDTH, combine_differences
from neuronedit.ensemble._stacking import N_CELLS_TO_DESCEND, every, fit_weights
from neuronedit.metrics._gap import noise_floor, share_closed

CSV = Path(__file__).parent / "prior.csv"
CANDIDATES_CSV = Path(__file__).parent / "candidates.csv"
PRIORS = ("equal", "as it is", "other families")
"""All candidates alike; what the package expects; and the mean weights that would have been best in the other families."""

SHRINKAGES = (0.01, 0.03, 0.07, 0.15, 0.3, 1.0)
STRENGTHS = (0.0, 0.25, 0.5, 1.0)
"""Of cells that resemble none that were held out."""

WIDTHS = (0.25, 0.5, 1.0, np.inf)
"""Of the query's total variation from the source; with the last its composition does not count."""

EQUAL = "equal "
"""The names of families in which all types are equally frequent begin so. Of all settings only the width was chosen by them, too."""

AS_IT_IS = "none"
"""No candidate less, and none more."""

DROPPED = ("transport_neurons", "constant_shift_by_strata")
"""Candidates that the ensemble had, and that all families scored the same without."""

TRIED = CANDIDATES | {name: holdout.NOT_CANDIDATES[name] for name in DROPPED}
OWN_CANDIDATES = tuple(range(len(CANDIDATES)))
"""Which of them the package has."""

KINDS = {"strata": "strata given", "derived": "matched populations"}
OWN = {"strata": SHRINKAGE[FoldKind.STRATA], "derived": SHRINKAGE[FoldKind.DERIVED]}
MAX_CELLS_TO_SCORE = 1_000
SHRINKAGE_OF_BEST = 0.1
"""Towards equal weights, in the search for those that are best for a task's truth: without it they are noise."""


@dataclass(frozen=True)
class Predictions:
    """What candidates predict for one task: all that its settings are tried on."""

    family: str
    name: str
    kind: str
    folds: list[Fold]  # with few cells each
    query: Fold  # with the true cells
    differs: float | None  # from source to target; None with strata
    query_variation: float
    n_cells: int
    coverage: float
    best: np.ndarray  # weights that would have been best, (n_candidates,)


# Fit candidates once


def predict(task, folder):
    """Predict folds and query of one task, with its strata and with matched populations, and keep both."""
    torch.set_num_threads(1)
    adata = take_cells(task)
    cells = split_roles(adata)
    known = adata[~has_role(adata, "truth")].copy()
    space = holdout.train(known)
    orders = {role: sort_cells(cells[role]) for role in ("source", "target", "query")}  # as `ne.tl.edit` does
    cells |= {role: cells[role][torch.from_numpy(order)] for role, order in orders.items()}
    for kind in KINDS:
        if kind == "derived" or (task.strata and not task.most):
            strata = get_strata(known, task.strata if kind == "strata" else None)
            if strata is not None:
                strata = strata[0][orders["source"]], strata[1][orders["target"]]
            with torch.no_grad():
                predictions = predict_with(space, cells, strata)
            about = {"family": task.family, "name": task.name, "kind": kind}
            torch.save(predictions | about, folder / name_file(task, kind))


def name_file(task, kind):
    """Return the name of the file that keeps what one task predicts."""
    return f"{task.family} {task.name} {kind}.pt".replace("/", "-")


def predict_with(space, cells, strata):
    """Return the fields of `Predictions`."""
    source, target, query = (cells[role] for role in ("source", "target", "query"))
    held = hold_out(space, source, target, query, strata, TRIED, "auto", 0)
    encoded = encode_in_spaces(held.spaces, held.populations)
    edits = fit_candidates(TRIED, encoded)
    maps = map_each(TRIED, edits, held.spaces, source.mean(0) - query.mean(0))
    few, truth = (
        cells[role][subsample(np.arange(len(cells[role])), MAX_CELLS_TO_SCORE)] for role in ("query", "truth")
    )
    predicted = torch.stack([edit(few) for edit in maps.values()])
    gap = float(ne.metrics.energy_distance(few.numpy(), truth.numpy()))
    answer = Fold("query", 1.0, few, truth, predicted, gap)
    equal = np.full(len(CANDIDATES), 1 / len(CANDIDATES))
    best = fit_weights(take_candidates([answer], OWN_CANDIDATES), equal, SHRINKAGE_OF_BEST).softmax(0).numpy()
    return {
        "folds": [cut(fold) for fold in held.folds], "query": answer,
        "differs": None if held.matching is None else held.matching.differs, "query_variation": held.query_variation,
        "n_cells": min(len(source), len(target)), "coverage": held.coverage, "best": best,
    }  # fmt: skip


def cut(fold):
    """Return a fold with the cells that weights are fitted to, and no others."""
    shown = every(fold.query, N_CELLS_TO_DESCEND)
    truth = fold.truth[every(fold.truth, N_CELLS_TO_DESCEND)].clone()
    return replace(fold, query=fold.query[shown].clone(), truth=truth, predicted=fold.predicted[:, shown].clone())


def take_candidates(folds, chosen):
    """Return folds as they are predicted by these of the candidates that were tried."""
    return [replace(fold, predicted=fold.predicted[list(chosen)]) for fold in folds]


# Try the settings


def learn_prior(tasks, family):
    """Return the mean best weights of all other families, each family alike, in both situations: ``(n_candidates,)`` each."""
    others = [
        task for task in tasks if task.family not in (family, holdout.UNTESTABLE) and not task.family.startswith(EQUAL)
    ]
    learned = {}
    for situation in ("alike", "strata"):
        means = []
        for name in {task.family for task in others}:
            own = [task for task in others if task.family == name]
            differs = np.array([combine(task, QUERY_WIDTH, given=1.0) for task in own])
            shares = differs if situation == "strata" else 1 - differs
            if shares.sum() > 0.5:
                means.append(shares @ np.array([task.best for task in own]) / shares.sum())
        learned[situation] = np.mean(means, axis=0)
    return learned


def combine(task, width, given=None):
    """Return how far compositions differ, by target and query; what is ``given`` with strata."""
    return given if task.differs is None else combine_differences(task.differs, task.query_variation, width)


def replace_priors(learned):
    """Return the candidates with what was learned from other families."""
    rows = zip(CANDIDATES.items(), learned["alike"], learned["strata"], strict=True)
    return {
        name: replace(candidate, prior=Prior(alike, strata, candidate.prior.few_cells))
        for (name, candidate), alike, strata in rows
    }


def try_settings(task, learned):
    """Score one task under all settings; one row a setting."""
    torch.set_num_threads(1)
    about = {"differs": combine(task, QUERY_WIDTH), "n_cells": task.n_cells}
    own = {
        "equal": np.full(len(CANDIDATES), 1 / len(CANDIDATES)),
        "as it is": expect_weights(CANDIDATES, **about),
        "other families": expect_weights(replace_priors(learned), **about),
    }
    priors = {(prior, QUERY_WIDTH): weights for prior, weights in own.items()}
    if task.kind == "derived":
        for width in WIDTHS:
            about["differs"] = combine(task, width)
            priors["as it is", width] = expect_weights(CANDIDATES, **about)
    score, rows = score_against_truth(task), []
    for ((prior, width), expected), shrinkage in product(priors.items(), SHRINKAGES):
        blended = blend(task, expected, shrinkage, combine(task, width))
        closed = {}
        for untested in STRENGTHS if width == QUERY_WIDTH else [UNTESTED_STRENGTH]:
            strength = round(task.coverage + (1 - task.coverage) * untested, 2)
            if strength not in closed:
                closed[strength] = score(blended, strength)
            setting = {"prior": prior, "shrinkage": shrinkage, "untested": untested, "width": width}
            rows.append(setting | {"closed": closed[strength]})
    return pd.DataFrame(rows).assign(family=task.family, task=task.name, kind=task.kind)


def score_against_truth(task):
    """Return a function: what share of the energy distance is closed by an edit that goes so far."""
    query, truth = task.query.query, task.query.truth
    before = ne.metrics.energy_distance(query.numpy(), truth.numpy())
    floor = noise_floor(ne.metrics.energy_distance, query.numpy(), truth.numpy(), n_splits=N_SPLITS)

    def score(blended, strength):
        moved = query + strength * (blended - query)
        return share_closed(before, floor, ne.metrics.energy_distance(moved.numpy(), truth.numpy()))

    return score


def blend(task, expected, shrinkage, differs, chosen=OWN_CANDIDATES):
    """Return the query as the chosen candidates predict it together: ``(n_cells, n_features)``."""
    folds = take_candidates([fold for fold in task.folds if not fold.is_half], chosen)
    fitted = fit_weights(folds, expected, shrink(shrinkage, count_same_cells(task.folds, differs)))
    weights = drop_small(fitted.softmax(0).numpy().astype(float))
    return torch.einsum("k,knd->nd", torch.from_numpy(weights).float(), task.query.predicted[list(chosen)])


def try_candidates(task):
    """Score one task with one candidate less, and with one more; one row each, under the package's settings."""
    torch.set_num_threads(1)
    names, differs = list(TRIED), combine(task, QUERY_WIDTH)
    changes = {AS_IT_IS: OWN_CANDIDATES}
    for i, name in enumerate(names):
        is_own = i in OWN_CANDIDATES
        changes[name] = tuple(j for j in OWN_CANDIDATES if j != i) if is_own else (*OWN_CANDIDATES, i)
    score, rows = score_against_truth(task), []
    strength = task.coverage + (1 - task.coverage) * UNTESTED_STRENGTH
    for change, chosen in changes.items():
        candidates = {names[j]: TRIED[names[j]] for j in chosen}
        expected = expect_weights(candidates, differs=differs, n_cells=task.n_cells)
        closed = score(blend(task, expected, OWN[task.kind], differs, chosen), strength)
        rows.append({"change": change, "closed": closed})
    return pd.DataFrame(rows).assign(family=task.family, task=task.name, kind=task.kind)


# Leave families out


read_candidates = partial(read_results, CANDIDATES_CSV)
read = partial(read_results, CSV)
SETTING = ["prior", "shrinkage", "untested"]


def select_natural(results):
    """Return the families by which settings are chosen, with the package's width."""
    is_natural = (results["family"] != holdout.UNTESTABLE) & ~results["family"].str.startswith(EQUAL)
    return results[is_natural & (results["width"] == QUERY_WIDTH)]


def average_families(results):
    """Return the mean of each family under each setting: ``(n_settings, n_families)``."""
    testable = select_natural(results)
    return testable.pivot_table("closed", SETTING, "family", sort=False)


def leave_out(results, kind):
    """One row a family: with the setting that is best in the other families, with the package's, and with the best of its own."""
    means = average_families(results[results["kind"] == kind])
    own = ("as it is", OWN[kind], UNTESTED_STRENGTH)
    rows = []
    for family in means:
        chosen = means.drop(columns=family).mean(axis=1).idxmax()
        best = means[family].idxmax()
        closed = {"chosen": means.loc[chosen, family], "own": means.loc[own, family], "best": means.loc[best, family]}
        rows.append({"family": family, "setting": chosen} | closed)
    return pd.DataFrame(rows)


def page(results):
    """Return the tables as Markdown."""
    lines = []
    for kind, title in KINDS.items():
        own = describe(("as it is", OWN[kind], UNTESTED_STRENGTH))
        text = (
            f"**{title.capitalize()}.** For each family: the setting that is best in all others (prior, shrinkage, strength of"
            " untested cells), the share of the energy distance that it closes in the family that was left out, the share that"
            f" the package's setting closes ({own}), and the most that any setting closes."
        )
        lines += [text, "", *tabulate_families(results, kind), ""]
        lines += ["All settings, mean over families:", "", *tabulate_shrinkages(results, kind), ""]
    lines += ["**How far cells go that resemble none that were held out**, mean over families:", ""]
    lines += [*tabulate_strengths(results), ""]
    is_equal = results["family"].str.startswith(EQUAL)
    n_equal = results.loc[is_equal, ["family", "task"]].drop_duplicates().shape[0]
    text = (
        "**How far the composition of the query counts** with matched populations: the width of its total variation from the"
        " source, the mean over families, and in how many tasks cells would better have been left alone. First the families above, then"
        f" {n_equal} tasks of bodenmiller_4stim in which all types are equally frequent and the query is one that was left out;"
        " they were looked at to choose the width, and not to choose the weights that are expected."
    )
    lines += [text, "", *tabulate_widths(results, ~is_equal & (results["family"] != holdout.UNTESTABLE)), ""]
    lines += [*tabulate_widths(results, is_equal), ""]
    text = (
        "**The interval of the expected share.** Its half-width in standard errors (with 0.1 for what folds cannot show) that"
        " holds 80 % of the tasks of all other families, and how many tasks of the family that was left out it holds."
    )
    lines += [text, "", *tabulate_intervals()]
    return "\n".join(lines) + "\n"


def tabulate_families(results, kind):
    """One row a family: what the setting closes that is best in the others."""
    rows = leave_out(results, kind)
    shown = []
    for row in rows.itertuples():
        shown.append(
            [
                name_family(row.family),
                describe(row.setting),
                *(f"{value:.2f}" for value in (row.chosen, row.own, row.best)),
            ]
        )
    means = [f"**{rows[name].mean():.2f}**" for name in ("chosen", "own", "best")]
    heads = ["family left out", "best in the others", "closes", "the package's", "best in hindsight"]
    return markdown_table(heads, [*shown, ["**mean**", "", *means]])


def describe(setting):
    """Return a setting in a few words."""
    prior, shrinkage, untested = setting
    return f"{prior}, {shrinkage:g}, {untested:g}"


def tabulate_shrinkages(results, kind):
    """One row a prior: the mean over families and the worst task, by shrinkage."""
    own = results[(results["kind"] == kind) & (results["untested"] == UNTESTED_STRENGTH)]
    means = average_families(own).mean(axis=1)
    worst = select_natural(own).groupby(SETTING)["closed"].min()
    rows = []
    for prior in PRIORS:
        cells = [(prior, shrinkage, UNTESTED_STRENGTH) for shrinkage in SHRINKAGES]
        rows.append([prior, *(f"{means[cell]:.2f} ({worst[cell]:.2f})" for cell in cells)])
    return markdown_table(["prior, by shrinkage (worst task)", *(f"{value:g}" for value in SHRINKAGES)], rows)


def tabulate_strengths(results):
    """One row a kind of folds: the mean over families and the worst task, by the strength of untested cells."""
    rows = []
    for kind, title in KINDS.items():
        is_own = (results["kind"] == kind) & (results["prior"] == "as it is") & (results["shrinkage"] == OWN[kind])
        own = select_natural(results[is_own])
        means, worst = average_families(own).mean(axis=1), own.groupby("untested")["closed"].min()
        cells = [f"{means[('as it is', OWN[kind], untested)]:.2f} ({worst[untested]:.2f})" for untested in STRENGTHS]
        rows.append([title, *cells])
    return markdown_table(["folds (worst task)", *(f"{value:g}" for value in STRENGTHS)], rows)


def tabulate_widths(results, is_shown):
    """One row a width: the mean over families and how many tasks were harmed, by shrinkage, with the package's prior."""
    is_own = (results["kind"] == "derived") & (results["prior"] == "as it is") & is_shown
    own = results[is_own & (results["untested"] == UNTESTED_STRENGTH)]
    rows = []
    for width in WIDTHS:
        cells = []
        for shrinkage in SHRINKAGES:
            closed = own[(own["width"] == width) & (own["shrinkage"] == shrinkage)]
            mean = closed.groupby("family")["closed"].mean().mean()
            cells.append(f"{mean:.2f} ({(closed['closed'] < 0).sum()})")
        rows.append([f"{width:g}" if np.isfinite(width) else "does not count", *cells])
    return markdown_table(["width, by shrinkage (tasks harmed)", *(f"{value:g}" for value in SHRINKAGES)], rows)


def tabulate_intervals():
    """One row a family: how often the 80 % interval holds with the width that is right for the other families."""
    auto = holdout.read()
    auto = auto[(auto["method"] == "auto") & (auto["family"] != holdout.UNTESTABLE)]
    misses = (auto["energy_distance"] - auto["expected"]).abs()
    widths = np.hypot(auto["expected_se"], INTERVAL_FLOOR)
    z, rows, n_held = misses / widths, [], 0
    for family in auto["family"].unique():
        is_out = auto["family"] == family
        width = np.quantile(z[~is_out], 0.8)
        held = (z[is_out] <= width).sum()
        n_held += held
        rows.append([name_family(family), f"{width:.2f}", f"{held} of {is_out.sum()}"])
    rows.append(["**all**", "", f"**{n_held} of {len(auto)}, {n_held / len(auto):.0%}**"])
    return markdown_table(["family left out", "half-width", "held"], rows)


def page_candidates(results):
    """Return the table of candidates as Markdown: how much more is closed with each of them than without, mean over families."""
    testable = results[results["family"] != holdout.UNTESTABLE]
    is_equal = testable["family"].str.startswith(EQUAL)
    columns = {title: testable[(testable["kind"] == kind) & ~is_equal] for kind, title in KINDS.items()}
    columns["equal types"] = testable[is_equal & (testable["kind"] == "derived")]
    gains = {title: tabulate_gains(own) for title, own in columns.items()}
    rows = []
    for name in TRIED:
        own = [gains[title].loc[name].round(3) + 0.0 for title in columns]  # no -0.000
        shown = [f"{each.mean().round(3) + 0.0:+.3f} ({each.min():+.3f} to {each.max():+.3f})" for each in own]
        rows.append([f"{name_method(name)}{' (dropped)' * (name in DROPPED)}", *shown])
    heads = ["candidate", *(f"{title}, mean (least to most of a family)" for title in columns)]
    return "\n".join(markdown_table(heads, rows)) + "\n"


def tabulate_gains(results):
    """Return how much more is closed with each candidate than without it: ``(n_candidates, n_families)``."""
    means = results.pivot_table("closed", "change", "family")
    gains = means.loc[AS_IT_IS] - means.drop(index=AS_IT_IS)
    gains.loc[list(DROPPED)] *= -1  # these were added
    return gains


# Run


def keep(task, folder):
    """Fit the candidates of one task; return nothing but what was kept."""
    predict(task, Path(folder))
    return task.name


def score_file(job, learned):
    """Read what one task predicts; score it under all settings, and with one candidate less or more."""
    task = Predictions(**torch.load(job.path, weights_only=False))
    return try_settings(task, learned), try_candidates(task)


@dataclass(frozen=True)
class File:
    """What one task predicts, in a file."""

    path: Path

    @property
    def name(self):
        """Return its name."""
        return self.path.stem


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--folder", help="where predictions are kept, and found again")
    options = parser.parse_args()
    tasks = [*holdout_tasks(), *equal_tasks()]
    if options.quick:
        tasks = list({task.family: task for task in tasks}.values())
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(options.folder or temporary)
        folder.mkdir(exist_ok=True)

        # fit the candidates of each task
        missing = [task for task in tasks if not (folder / name_file(task, "derived")).exists()]
        for (task, _), _ in run_jobs(keep, [(task, str(folder)) for task in missing], options.jobs):
            print(f"predicted: {task.family}, {task.name}", flush=True)

        # learn the priors of each family from the others, and try all settings
        files = [File(path) for path in sorted(folder.glob("*.pt"))]
        read_tasks = [Predictions(**torch.load(file.path, weights_only=False)) for file in files]
        learned = {task.family: learn_prior(read_tasks, task.family) for task in read_tasks}
        jobs = [(file, learned[task.family]) for file, task in zip(files, read_tasks, strict=True)]
        del read_tasks
        rows, changes = [], []
        for (file, _), (own, changed) in run_jobs(score_file, jobs, options.jobs):
            rows.append(own)
            changes.append(changed)
            print(f"scored: {file.name}", flush=True)
    results = pd.concat(rows).sort_values(["kind", "family", "task", *SETTING, "width"])
    candidates = pd.concat(changes).sort_values(["kind", "family", "task", "change"])
    print(page(results), page_candidates(candidates), sep="\n")
    if not options.quick:
        results.to_csv(CSV, index=False, float_format="%.4g")
        candidates.to_csv(CANDIDATES_CSV, index=False, float_format="%.4g")


if __name__ == "__main__":
    main()
