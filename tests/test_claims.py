"""What README and docs say in numbers and names, against the CSV files of the benchmarks, pyproject.toml and the code.

A claim is a row of `CLAIMS`: the page, its words, and a function of the results that returns whether they are true. More are
checked in `test_benchmarks.py`, which reads the table of the README and the overview.
"""

import importlib
import re
import sys
import tomllib
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import neuronedit as ne
from neuronedit._cli import VERBS
from neuronedit.edits import _strata
from neuronedit.ensemble import _candidates, _cross_validate, _folds, _matching
from neuronedit.spaces import _choice, _pca

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), *sorted((ROOT / "docs" / "guide").glob("*.md"))]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
DROPPED = ("transport_neurons", "constant_shift_by_strata")
SHRINKAGE = _cross_validate.SHRINKAGE[_folds.FoldKind.DERIVED]
BATCHES, PERTURBATIONS, SCALING = "docs/comparison_batches.md", "docs/comparison_perturbations.md", "docs/scaling.md"


@pytest.fixture(scope="module")
def read():
    """Return the results of a benchmark by its name, and its module."""
    sys.path.insert(0, str(ROOT / "benchmarks"))
    before = set(sys.modules)
    yield lambda name: importlib.import_module(name).read()
    sys.path.remove(str(ROOT / "benchmarks"))
    for name in {path.stem for path in (ROOT / "benchmarks").glob("*.py")} & (set(sys.modules) - before):
        del sys.modules[name]


def read_page(name):
    """Return a page on one line."""
    return " ".join((ROOT / name).read_text().split())


def count(results, *columns):
    """Return how many values each column has."""
    return tuple(results[column].nunique() for column in columns)


def paper(results, table):
    """Return the mean energy distance closed: methods by data sets."""
    return results[results["table"] == table].pivot_table("energy_distance", "method", "data")


def rank(scores):
    """Return names, the highest score first."""
    return list(scores.sort_values(ascending=False).index)


def equal_types(results, width, shrinkage):
    """Return the mean over families, and how many tasks were harmed, where all types are equally frequent."""
    is_own = (
        (results["prior"] == "as it is") & (results["untested"] == 0.25) & results["family"].str.startswith("equal ")
    )
    own = results[is_own & (results["width"] == width) & (results["shrinkage"] == shrinkage)]
    mean = own.groupby("family")["closed"].mean().mean()
    return pd.Series({"mean": mean, "harmed": (own["closed"] < 0).sum(), "tasks": len(own)})


def added_by_candidates(kind):
    """Return how much more is closed with a candidate than without it, where folds are of a kind: candidates by families."""
    prior = importlib.import_module("prior")
    results = prior.read_candidates()
    is_shown = (results["kind"] == kind) & ~results["family"].str.startswith("equal ")
    return prior.tabulate_gains(results[is_shown & (results["family"] != "sachs one pair")])


def ten_times(results, what):
    """Return how much longer 10⁷ cells take than 10⁶."""
    seconds = results[(results["data"] == "35 markers") & (results["what"] == what)].set_index("n_cells")["seconds"]
    return seconds[10_000_000] / seconds[1_000_000]


WITHOUT_AND_WITH = ["auto, without training", "auto"]


def held_out(results):
    """Return the tasks that are in the mean."""
    return results[results["family"] != "sachs one pair"]


def of_families(results, score="energy_distance"):
    """Return a score by family: of the default without training, and with it."""
    return held_out(results).pivot_table(score, "family", "method")[WITHOUT_AND_WITH]


def gains(results):
    """Return what more of the energy distance is closed with training than without it, by family."""
    return of_families(results).diff(axis=1).iloc[:, 1]


def of_genes(results):
    """Return which families are of genes."""
    return gains(results).index.str.startswith("kang")


def of_kang(results, score="energy_distance"):
    """Return a score of both families of genes, by the space that the default edits in."""
    own = results[results["family"].str.startswith("kang")]
    return own.pivot_table(score, "family", "method")[["auto, autoencoder", "auto"]]


def by_training(results):
    """Return the number of tasks; without training and with it the two shares closed, and seconds where strata are given.

    Others take longer, as populations are matched.
    """
    own = held_out(results)
    scores = [of_families(own, name).mean().round(2).tolist() for name in ("energy_distance", "mean_wasserstein")]
    timed = results[results["fold_kind"] == "strata"]
    seconds = (timed["edit_seconds"] + timed["train_seconds"]).groupby(timed["method"]).median()[WITHOUT_AND_WITH]
    return len(own[own["method"] == "auto"]), *scores, seconds.round(1).tolist()


def seconds_of_others(results):
    """Return what other methods take for 10,000 cells."""
    own = results[results["memory"].notna() & (results["n_cells"] == 10_000) & (results["what"] != "train and edit")]
    return own.set_index("what")["seconds"]


def leaves_least(results, column):
    return results.groupby("method")[column].mean().idxmin()


def open_problems(results, data):
    scale = importlib.import_module("openproblems_cytometry").scale
    return rank(scale(results[results["data"] == data])["mean"])[0]


def of_kinds(results):
    """Group the share closed for sorted cells by the method."""
    return results[results["kind"] != "all cells"].groupby("method")["closed"]


def composition(results, data, variation):
    """Return the mean share closed of each method where compositions differ so much."""
    own = results[(results["data"] == data) & (results["variation"] == variation)]
    return own.groupby("method")["closed"].mean().dropna()


def lower_than_alone(results, genes):
    """Return in how many tasks each method leaves less than the cells left alone."""
    left = results[results["genes"] == genes].pivot_table("edistance", ["context", "perturbation"], "method")
    alone = left.filter(like="alone").iloc[:, 0]
    return left.drop(columns=alone.name).lt(alone, axis=0).sum()


def faces(results, column, task="five people"):
    return results[results["task"] == task].groupby("method")[column].mean()


def growth(page):
    """Return the power of the number of batches by which the seconds of its table grow, as `benchmarks/cohort.py` does."""
    rows = re.findall(r"^\| (\d+) \| [\d,]+ \| (\d+) \|", (ROOT / page).read_text(), flags=re.MULTILINE)
    return np.polyfit(*np.log(np.array(rows, dtype=float)).T, 1)[0]


WORST = 0.45
ALL_ALIKE = ["combat", "mean shift", "neuron editing", "quantiles"]
TO_DO_HARM = ["gan", "cyclegan"]

CLAIMS = [
    # training
    ("docs/guide/faq.md", "On 53 held-out tasks it closed 0.79 of the energy distance (0.79 by default), and 0.47 of the Wasserstein distance of single markers (0.46). With strata it took 0.5 s; by default, training and editing took 5.5 s.", "holdout",
     lambda t: by_training(t) == (53, [0.79, 0.79], [0.47, 0.46], [0.5, 5.5])),
    ("docs/comparison.md", "The same ensemble then closes as much of both distances, and takes a tenth of the time. With markers it loses most in batches with the same people, a hundredth.", "holdout",
     lambda t: np.allclose(*zip(*by_training(t)[1:3], strict=True), rtol=0, atol=0.015) and 9 < by_training(t)[3][1] / by_training(t)[3][0] < 12
     and gains(t)[~of_genes(t)].idxmax() == "cytonorm volunteers" and round(gains(t)[~of_genes(t)].max(), 2) == 0.01),
    ("docs/comparison.md", "Under interferon the autoencoder closes less than principal components, and single genes end further from the truth than they began.", "holdout",
     lambda t: [(own["auto, autoencoder"] < least).all() for score, least in (("energy_distance", of_kang(t, "energy_distance")["auto"] - 0.01), ("mean_wasserstein", 0))
                for own in [of_kang(t, score)]] == [True, True]),
    ("docs/comparison.md", "the percentiles of neurons close more of a new cell type than those of components.", "holdout",
     lambda t: t[t["family"] == "kang cell type"].pivot_table("energy_distance", "family", "method").eval("neuron_editing > pca_edit").all()),
    ("docs/comparison.md", "without it, a hundredth less is closed.", "holdout",
     lambda t: (gains(t)[of_genes(t)].round(2) == 0.01).all()),
    ("docs/comparison.md", "This is one data set of 1,556 cells.", "holdout", lambda t: len(of_kang(t)) == 2),
    ("docs/method.md", "With more than 1,000 features and cells they are found by subspace iteration", None, lambda _: _pca.MAX_TO_DECOMPOSE == 1_000),
    ("docs/method.md", "60 directions are multiplied by the covariance five times", None, lambda _: (50 + _pca.N_MORE, _pca.N_PASSES) == (60, 5)),
    ("docs/method.md", "By default up to 60 features, and images, have an autoencoder", None, lambda _: _choice.MAX_MARKERS == 60),
    ("docs/scaling.md", "from 10⁶ to 10⁷ cells the percentile edit takes 7 times as long, and the default 9 times.", "speed",
     lambda t: [round(ten_times(t, what)) for what in ("edit", "default edit")] == [7, 9]),
    # batches
    (BATCHES, "Table: eleven methods", "cytonorm_r", lambda t: count(t, "method") == (11,)),
    (BATCHES, "Optimal transport of neurons comes closest in one energy distance, and is behind the default in the markers by themselves.", "cytonorm_r",
     lambda t: [leaves_least(t, name) for name in t if name.startswith("energy")].count("transport in the neurons") == 1
     and t.set_index("method").loc["transport in the neurons", "emd"] > t.set_index("method").loc["default", "emd"]),
    (BATCHES, "Quantiles per marker are what CytoNorm does without clusters, and score as it does.", "cytonorm_r",
     lambda t: abs(t.set_index("method")["emd"].loc[["quantiles per marker", "R's CytoNorm"]].diff().iloc[1]) < 0.002),
    (BATCHES, "Tables: nine methods, two studies", "openproblems_cytometry", lambda t: count(t, "method", "data") == (9, 2)),
    (BATCHES, "The default is first on imubac_krieg; harmony is first on cytonorm_volunteers", "openproblems_cytometry",
     lambda t: [open_problems(t, data) for data in ("imubac_krieg", "cytonorm_volunteers")] == ["default", "harmony"]),
    (BATCHES, "Table: eight methods The mean, the worst task", "sorted_cells", lambda t: count(t, "method") == (8,)),
    (BATCHES, "The default closes most on average, and did no harm in these tasks.", "sorted_cells",
     lambda t: of_kinds(t).mean().idxmax() == "default" and of_kinds(t).min()["default"] >= 0),
    (BATCHES, "it did in one of 18 tasks.", "sorted_cells",
     lambda t: [*(of_kinds(t).get_group("default") < 0.05).agg(["sum", "size"])] == [1, 18]),
    (BATCHES, "for granulocytes, and a little behind it for all cells.", "sorted_cells",
     lambda t: [round(own["optimal transport"] - own["default"], 2) for kind in ("granulocytes", "all cells")
                for own in [t[t["kind"] == kind].groupby("method")["closed"].mean()]] == [pytest.approx(0.03, abs=0.011), pytest.approx(-0.02, abs=0.011)]),
    (BATCHES, "is first in energy distance on replicates; Gaussian transport and neuron editing come next to it.", "paper",
     lambda t: rank(paper(t, 2)["cytonorm_volunteers"])[:3] == ["auto_edit", "gaussian_ot", "neuron_editing"]
     and paper(t, 2).loc["auto_edit", "cytonorm_volunteers"] - paper(t, 2).loc["neuron_editing", "cytonorm_volunteers"] < 0.02),
    (BATCHES, "is third on patients, behind CCA and the residual GAN.", "paper",
     lambda t: rank(paper(t, 2)["imubac_krieg"])[:3] == ["cca", "resnet_gan", "auto_edit"]),
    (BATCHES, "**GAN and CycleGAN do harm**, CycleGAN hardly on replicates.", "paper",
     lambda t: (paper(t, 2).loc[TO_DO_HARM] < 0).all(axis=None) and paper(t, 2).loc["cyclegan", "cytonorm_volunteers"] > -0.05),
    (BATCHES, "closes half as much of the energy distance as neuron editing.", "paper",
     lambda t: paper(t, 2).loc["combat", "imubac_krieg"] / paper(t, 2).loc["neuron_editing", "imubac_krieg"] == pytest.approx(0.5, abs=0.05)),
    (BATCHES, "Tables: nine methods, three data sets", "composition", lambda t: count(t, "method", "data") == (9, 3)),
    (BATCHES, "Methods that fit all cells alike do harm on two of three data sets where compositions differ most.", "composition",
     lambda t: sum((composition(t, data, WORST)[ALL_ALIKE] < 0).all() for data in t["data"].unique()) == 2),
    (BATCHES, "once in nine tasks of bodenmiller_4stim.", "composition",
     lambda t: [*t[(t["data"] == "bodenmiller_4stim") & (t["method"] == "default") & (t["variation"] == WORST)]["closed"].lt(0).agg(["sum", "size"])] == [1, 9]),
    (BATCHES, "It comes next to the default on kang_counts (600 cells) at large differences", "composition",
     lambda t: [rank(composition(t, "kang_counts", far).drop("default, types given"))[:2] for far in (0.3, WORST)] == [["default", "mnn"]] * 2),
    (BATCHES, "**With few cells of many genes it closes most at every difference**: on kang_counts only ComBat is level with it, where compositions agree.", "composition",
     lambda t: [list(own.index[own > own["default"] - 0.01]) for far in (0.0, 0.15, 0.3, WORST)
                for own in [composition(t, "kang_counts", far).drop("default, types given")]] == [["combat", "default"]] + [["default"]] * 3
     and composition(t, "kang_counts", 0.0)["combat"] < composition(t, "kang_counts", 0.0)["default"]),
    # perturbations
    (PERTURBATIONS, "Tables: eight methods, on all genes and on 100", "scperturbench", lambda t: count(t, "method", "genes") == (8, 2)),
    (PERTURBATIONS, "**On all genes the default has the lowest divergence, on 100 genes neuron editing.**", "scperturbench",
     lambda t: [leaves_least(t[t["genes"] == genes], "sym_kldiv") for genes in ("all", "top 100")] == ["default", "neuron editing"]),
    (PERTURBATIONS, "**Every method but one lowers the energy distance in all five types.** The mean of the training cells does so in one of five, on all genes.",
     "scperturbench", lambda t: sorted(lower_than_alone(t, "all"))[:2] == [1, 5] and lower_than_alone(t, "all").idxmin().startswith("mean of training")),
    (PERTURBATIONS, "five combinations in both orders", "combinations", lambda t: count(t, "truth") == (5,) and len(t) == 10 * count(t, "method")[0]),
    (PERTURBATIONS, "The better of the two single genes, chosen by the truth, leaves least.", "combinations",
     lambda t: leaves_least(t[~t["method"].str.startswith("two halves")], "energy_distance") == "better single"),
    (PERTURBATIONS, "cells of MAPK1 alone are nearer to the truth than any prediction.", "combinations",
     lambda t: t[(t["query"] == "MAPK1") & ~t["method"].isin(["two halves of the truth", "better single"])].set_index("method")["energy_distance"].idxmin() == "leave alone"),
    (PERTURBATIONS, "recall is high, and precision about 0.", "norman",
     lambda t: t[t["method"].isin(["default", "neuron editing", "quantiles per gene"])]["recall"].min() > 0.9
     and t[t["method"].isin(["default", "neuron editing", "quantiles per gene"])].groupby("method")["precision"].mean().max() < 0.05),
    (PERTURBATIONS, "Tables: eighteen methods, four data sets", "paper", lambda t: count(t[t["table"] == 3], "method", "data") == (18, 4)),
    (PERTURBATIONS, "Neuron editing is nowhere first.", "paper", lambda t: "neuron_editing" not in set(paper(t, 3).idxmax())),
    (PERTURBATIONS, "no method but those that do nothing avoids harm.", "paper",
     lambda t: set(paper(t, 3).query("sachs_icam2_inhibitors >= 0").index) == {"identity", "mmd_autoencoder"}),
    (PERTURBATIONS, "CCA and the constant shift lead the single methods on bodenmiller_4stim; shift and scale, ComBat and CCA lead on kang_counts.", "paper",
     lambda t: rank(paper(t, 3)["bodenmiller_4stim"].drop("auto_edit"))[:2] == ["cca", "constant_shift"]
     and set(rank(paper(t, 3)["kang_counts"].drop("auto_edit"))[:3]) == {"affine", "combat", "cca"}),
    (PERTURBATIONS, "GAN and CycleGAN do harm on every set.", "paper", lambda t: (paper(t, 3).loc[TO_DO_HARM] < 0).all(axis=None)),
    (PERTURBATIONS, "Tables: three tasks", "faces", lambda t: count(t, "task") == (3,)),
    (PERTURBATIONS, "neuron editing is closer to the truth than doing nothing, and the constant shift is better still.", "faces",
     lambda t: faces(t, "eyes")["constant shift"] < faces(t, "eyes")["neuron editing"] < faces(t, "eyes")["leave alone"]),
    (PERTURBATIONS, "neuron editing has the lowest Fréchet distance of all in the first task.", "faces",
     lambda t: faces(t, "fd").drop("another photograph with sunglasses").idxmin() == "neuron editing, within poses"),
    (PERTURBATIONS, "**PCA editing, decoded without the residual, is closest in the eyes by being blurred**: its Fréchet distance is high.", "faces",
     lambda t: faces(t, "eyes").drop("another photograph with sunglasses").idxmin() == "PCA editing, decoded"
     and faces(t, "fd")["PCA editing, decoded"] > faces(t, "fd")["leave alone"]),
    (PERTURBATIONS, "Quantiles per pixel are worse than doing nothing on images of full size.", "faces",
     lambda t: faces(t, "eyes")["quantiles per pixel"] > faces(t, "eyes")["leave alone"]),
    (PERTURBATIONS, "72 settings were tried on each task: three priors, six shrinkages towards them, four strengths of cells that resemble no fold.", "prior",
     lambda t: count(t, "prior", "shrinkage", "untested") == (3, 6, 4) and 3 * 6 * 4 == 72),
    (PERTURBATIONS, "the package closes a tenth more of the distance than it did when it ignored the query and the shrinkage was 1.", "prior",
     lambda t: 0.08 < equal_types(t, _matching.QUERY_WIDTH, SHRINKAGE)["mean"] - equal_types(t, np.inf, 1.0)["mean"] < 0.12),
    (PERTURBATIONS, "Harm falls from 11 of 63 tasks to 5.", "prior",
     lambda t: [equal_types(t, *setting)[["harmed", "tasks"]].tolist() for setting in ((np.inf, 1.0), (_matching.QUERY_WIDTH, SHRINKAGE))] == [[11, 63], [5, 63]]),
    (PERTURBATIONS, "The two that were dropped add nothing.", "prior",
     lambda _: all(abs(added_by_candidates(kind).loc[list(DROPPED)].mean(axis=1)).max() < 0.002 for kind in ("strata", "derived"))),
    (PERTURBATIONS, "**No single candidate matters much**", "prior", lambda _: max(added_by_candidates(kind).mean(axis=1).max() for kind in ("strata", "derived")) < 0.015),
    (PERTURBATIONS, "Most is lost without the mean shift after half of the way to the source: new inhibitors need it.", "prior",
     lambda _: (added_by_candidates("strata").mean(axis=1).idxmax(), added_by_candidates("strata").loc["mean_shift_offset"].idxmax()) == ("mean_shift_offset", "sachs inhibitor")),
    (PERTURBATIONS, "**Data.** The 58 tasks of the", "holdout", lambda t: len(t.drop_duplicates(["family", "task"])) == 58),
    # time
    (SCALING, "are closed forms, and take less than half a second for 10,000 cells.", "speed",
     lambda t: sum(seconds < 0.5 for seconds in seconds_of_others(t)) > len(seconds_of_others(t)) / 2),
    (SCALING, "CytoVI trains a network of its own, and takes three minutes.", "speed", lambda t: round(seconds_of_others(t)["cytovi"] / 60) == 3),
    (SCALING, "to the power of 1.02.", None, lambda _: growth(SCALING) == pytest.approx(1.02, abs=0.005)),
    (SCALING, "Training takes a fixed number of steps: 2,500 by default", None, lambda _: ne.spaces.Training().n_steps == 2_500),
    ("docs/guide/faq.md", "Training takes 2,500 steps by default", None, lambda _: ne.spaces.Training().n_steps == 2_500),
    ("src/neuronedit/_cli/_options.py", "[default: enough for 2,500 steps]", None, lambda _: ne.spaces.Training().n_steps == 2_500),
    ("src/neuronedit/_cli/_demo.py", "[default: enough for 2,500 steps]", None, lambda _: ne.spaces.Training().n_steps == 2_500),
    ("docs/method.md", "of more than 60, such as genes, ten principal components are taken", None, lambda _: (_matching.MAX_MARKERS, _matching.N_COMPONENTS) == (60, 10)),
    ("docs/method.md", "over 10 populations, the standard deviation of a feature's change, beyond noise, is more than half its own.", None, lambda _: (_matching.N_POPULATIONS_TO_COMPARE, _matching.MAX_SPREAD_OF_CHANGES) == (10, 0.5)),
    ("docs/method.md", "With more than 60 features, such as genes, the default edit finds the nearest cells in principal components", None, lambda _: _candidates.MAX_MARKERS == 60),
    ("docs/method.md", "$h$ is the weight of both halves, at most 0.7,", None, lambda _: _folds.MAX_FAMILIAR == 0.7),
    ("docs/method.md", "$\\lambda$ is 0.03 with strata.", None, lambda _: _cross_validate.SHRINKAGE[_folds.FoldKind.STRATA] == 0.03),
    ("docs/method.md", "with $\\lambda = 0.15$, because", None, lambda _: SHRINKAGE == 0.15),
    ("docs/method.md", "which has the weight of 30 cells", None, lambda _: _matching.TYPICAL_CELLS == 30),
    ("docs/method.md", "which is 33,000 cells of 2,000 genes", None, lambda _: _pca.MAX_VALUES_TO_FIND // 2_000 // 1_000 == 33),
    (SCALING, "components are found from 33,000 of them at most", None, lambda _: _pca.MAX_VALUES_TO_FIND // 2_000 // 1_000 == 33),
    (SCALING, "among 10,000 source cells at most, and among 4,000 with 2,000 genes.", None,
     lambda _: [_strata.limit_resembling(n) // 1_000 for n in (35, 2_000)] == [10, 4]),
    ("docs/guide/images.md", "evaluates 15 candidates on every fold", None, lambda _: len(ne.ensemble.CANDIDATES) == 15),
]  # fmt: skip


@pytest.mark.parametrize(("page", "words", "benchmark", "holds"), CLAIMS, ids=[claim[1][:50] for claim in CLAIMS])
def test_a_claim_stands_on_its_page_and_holds(page, words, benchmark, holds, read):
    assert words in read_page(page)
    assert holds(read(benchmark) if benchmark else None)


def test_extras_on_the_pages_exist():
    texts = [*PAGES, *sorted((ROOT / "src").rglob("*.py")), *sorted((ROOT / "tutorials").glob("*.md"))]
    named = {extra for path in texts for extra in re.findall(r"(?:neuronedit|'\.)\[([\w,]+)\]'", path.read_text())}
    assert len(named) > 4 and {one for extra in named for one in extra.split(",")} <= set(
        PYPROJECT["optional-dependencies"]
    )


def test_commands_on_the_pages_exist():
    [command] = PYPROJECT["scripts"]
    code = {path.name: re.findall(r"^```bash\n(.*?)^```", path.read_text(), flags=re.M | re.S) for path in PAGES}
    named = {
        (name, verb) for name, own in code.items() for verb in re.findall(rf"^{command} (\w+)", "\n".join(own), re.M)
    }
    assert len(named) > 5 and {verb for _, verb in named} <= {verb.name for verb in VERBS}
