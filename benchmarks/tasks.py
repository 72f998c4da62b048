"""What the scripts share: data sets, tasks, the cells of a task, single candidates, and scores.

A task names the cells that are source, target, query and truth. A method learns the change from source to target and applies
it to the query; the truth is what was measured there.
"""

from dataclasses import dataclass, replace
from functools import cache
from itertools import permutations, product

import anndata
import numpy as np
import pandas as pd
import torch

import neuronedit as ne
from neuronedit.ensemble._candidates import average_candidates, encode_in_spaces, fit_candidates

MAX_CELLS = {"source": 5_000, "target": 5_000, "query": 2_000, "truth": 2_000}
"""Cells of each population in ``holdout.py`` and ``defaults.py``: all methods of a task then take some minutes on one core."""

MIN_CELLS_TO_HOLD_OUT = 100
"""Cells before and after the change, below which a cell type or an inhibitor is no query of its own: its scores would be noise."""

MOST_OF_EQUAL = 400
"""Cells of each type in each role where all are equally frequent."""

N_SPLITS = 10
"""Splits of the truth into halves from which a perfect prediction's distance is estimated."""

GATES = [
    "cd14+hladr-",
    "cd14+hladrhigh",
    "cd14+hladrmid",
    "cd14+surf-",
    "cd14-hladr-",
    "cd14-hladrhigh",
    "cd14-hladrmid",
]
GATES += ["cd14-surf-", "cd4+", "cd8+", "dendritic", "igm+", "igm-", "nk"]
"""Cell types of bodenmiller_4stim."""

PBMC = ["B cells", "CD14+ Monocytes", "CD4 T cells", "CD8 T cells", "FCGR3A+ Monocytes"]
"""Cell types of kang_counts."""

ICAM2 = ("icam2", "no", "yes")
INTERFERON = ("condition", "control", "IFN-beta")
STIMULI = {name: ("condition", "unstimulated", name) for name in ("PMA-ionomycin", "BCR-XL", "vanadate")}
"""Changes: a column of obs, its value before and its value after."""


@dataclass(frozen=True)
class Task:
    """Source, target, query and truth are dicts: column of obs -> value or values.

    ``strata`` is the column of the strata, and ``rng`` the seed of cells that are simulated or drawn. At most ``most`` cells of
    each stratum are in each role, if it is not 0. Tasks of ``holdout.py`` have a family, those of ``paper.py`` the number of a
    table.
    """

    data: str
    name: str
    source: dict
    target: dict
    query: dict
    truth: dict
    strata: str | None = None
    family: str = ""
    table: int = 0
    rng: int = 0
    most: int = 0

    @classmethod
    def transfer(cls, data, name, where, change, **more):
        """Learn a change in some cells, and predict it in others.

        ``where`` is a column, its value or values to learn in, and its value to predict in; ``change`` is a column, its
        value before and its value after.
        """
        column, learn_in, predict_in = where
        changing, before, after = change
        roles = [{column: cells, changing: value} for cells in (learn_in, predict_in) for value in (before, after)]
        return cls(data, name, *roles, **more)


# Data sets: each is a function of a seed, which only the simulated ones need.


def load_arcsinh(load):
    """Load cytometry data, on the arcsinh scale."""
    adata = load()
    ne.pp.arcsinh(adata, cofactor=5)
    return adata


def load_inhibitors():
    """Load cells with CD3 and CD28; "CD3CD28+ICAM2+U0126" is stimulated with ICAM2, too, under the inhibitor U0126."""
    adata = load_arcsinh(ne.datasets.sachs_icam2_inhibitors)
    condition = adata.obs["condition"].astype(str)
    added = condition.str.removeprefix("CD3CD28").str.split("+")
    adata.obs["icam2"] = added.map(lambda names: "yes" if "ICAM2" in names else "no")
    adata.obs["inhibitor"] = added.map(
        lambda names: "+".join(name for name in names if name not in ("", "ICAM2")) or "none"
    )
    return adata[condition.str.startswith("CD3CD28")].copy()


def take_logarithms(adata):
    """Scale cells to 10,000 counts, and take log1p. Numba, which scanpy calls, sets torch's threads to all cores: they are set back."""
    import scanpy as sc

    n_threads = torch.get_num_threads()
    sc.pp.normalize_total(adata, target_sum=1e4)
    sc.pp.log1p(adata)
    torch.set_num_threads(n_threads)


def load_kang():
    """Load the 500 genes that vary most in untreated cells, as logarithms."""
    import scanpy as sc

    adata = ne.datasets.kang_counts()
    take_logarithms(adata)
    control = adata[adata.obs["condition"] == "control"].copy()
    sc.pp.highly_variable_genes(control, n_top_genes=500)
    return adata[:, control.var["highly_variable"].to_numpy()].copy()


def simulate_batches(rng):
    """Simulate two batches, and the first sample once more as it would be in the second batch: group "truth"."""
    adata = ne.datasets.simulate_batches(3_000, rng=rng)
    truth = adata[adata.obs["group"] == "sample_1"].copy()
    truth.X, truth.obs["group"] = truth.layers["truth"], "truth"
    return anndata.concat([adata, truth], index_unique="-")


DATA = {
    "cytonorm_volunteers": lambda rng: load_arcsinh(ne.datasets.cytonorm_volunteers),
    "imubac_krieg": lambda rng: load_arcsinh(ne.datasets.imubac_krieg),
    "simulated combination": lambda rng: ne.datasets.simulate_combination(rng=rng),
    "sachs_icam2_inhibitors": lambda rng: load_inhibitors(),
    "bodenmiller_4stim": lambda rng: load_arcsinh(ne.datasets.bodenmiller_4stim),
    "kang_counts": lambda rng: load_kang(),
    "simulated batches": simulate_batches,
    "larger simulated combination": lambda rng: ne.datasets.simulate_combination(3_000, rng=rng),
}
"""In the order in which the paper's tables show them."""


@cache
def load_data(name, rng=0):
    """Load a data set once."""
    return DATA[name](rng)


# Tasks


def paper_tasks():
    """Return the tasks of the paper's tables 2 and 3, without loading data."""
    tasks = []
    for a, b in (("PTLG021", "PTLG028"), ("PTLG028", "PTLG034"), ("PTLG034", "PTLG021")):
        where = ("individual", "Volunteer_1", "Volunteer_2")
        tasks.append(Task.transfer("cytonorm_volunteers", f"{a} to {b}", where, ("batch", a, b), table=2))
    change = ("batch", "Data23", "Data29")  # the truth is other patients
    tasks.append(Task.transfer("imubac_krieg", "patients", ("role", "control", "sample"), change, table=2))
    conditions = [{"condition": name} for name in ("basal", "A", "B", "A+B")]
    tasks.append(Task("simulated combination", "A on B", *conditions, table=3))
    for name in ("AKT-inhibitor", "U0126"):
        tasks.append(Task.transfer("sachs_icam2_inhibitors", name, ICAM2, ("inhibitor", "none", name), table=3))
    for kind in ("cd8+", "igm+", "cd14+hladrmid"):  # the largest type of T cells, B cells and monocytes
        name, where = f"{kind}, PMA-ionomycin", ("cell_type", all_but(kind, GATES), kind)
        tasks.append(Task.transfer("bodenmiller_4stim", name, where, STIMULI["PMA-ionomycin"], table=3))
    for kind in ("B cells", "CD14+ Monocytes"):
        name, where = f"{kind}, IFN-beta", ("cell_type", all_but(kind, PBMC), kind)
        tasks.append(Task.transfer("kang_counts", name, where, INTERFERON, table=3))
    return tasks


def holdout_tasks():
    """Yield all tasks of ``holdout.py``, family by family."""
    for rng in range(3):
        yield from simulated_tasks(rng)
    for a, b in permutations(("PTLG021", "PTLG028", "PTLG034"), 2):
        where, more = ("individual", "Volunteer_1", "Volunteer_2"), {"family": "cytonorm volunteers"}
        yield Task.transfer("cytonorm_volunteers", f"{a} to {b}", where, ("batch", a, b), **more)
    for a, b in permutations(("Data23", "Data29")):
        where, more = ("role", "control", "sample"), {"family": "imubac patients"}
        yield Task.transfer("imubac_krieg", f"{a} to {b}", where, ("batch", a, b), **more)
    yield from leave_one_out("sachs inhibitor", "sachs_icam2_inhibitors", "inhibitor", ICAM2)
    for name in find_large("sachs_icam2_inhibitors", "inhibitor", ICAM2):
        if name != "none":  # one source and one target, and nothing else to say whether the change generalizes
            change = ("inhibitor", "none", name)
            yield Task.transfer("sachs_icam2_inhibitors", name, ICAM2, change, family="sachs one pair")
    for stimulus, change in STIMULI.items():
        yield from leave_one_out(f"bodenmiller {stimulus}", "bodenmiller_4stim", "cell_type", change)
    yield from leave_one_out("kang cell type", "kang_counts", "cell_type", INTERFERON)
    for a, b in permutations(find_large("kang_counts", "individual", INTERFERON)):
        yield Task.transfer("kang_counts", f"{a} to {b}", ("individual", a, b), INTERFERON, family="kang donor")


def simulated_tasks(rng):
    """Yield a sample in another batch, a combination of treatments, and two cell types in another batch."""
    more = {"strata": "cell_type", "family": "simulated", "rng": rng}
    groups = [{"group": name} for name in ("control_1", "control_2", "sample_1", "truth")]
    yield Task("simulated batches", f"batches {rng}", *groups, **more)
    conditions = [{"condition": name} for name in ("basal", "A", "B", "A+B")]
    yield Task("larger simulated combination", f"combination {rng}", *conditions, **more)
    kinds = sorted(load_data("simulated batches", rng).obs["cell_type"].unique())
    for kind in ("B", "CD4 T"):
        others, own = {"cell_type": all_but(kind, kinds)}, {"cell_type": kind}
        roles = [cells | group for cells, group in zip((others, others, own, own), groups, strict=True)]
        yield Task("simulated batches", f"{kind} {rng}", *roles, **more)


def leave_one_out(family, data, column, change):
    """Yield one task for each value of a column that has enough cells: learn on the others, predict this one."""
    values = load_data(data).obs[column].astype(str).unique()
    for value in find_large(data, column, change):
        where = (column, all_but(value, values), value)
        yield Task.transfer(data, value, where, change, strata=column, family=family)


def equal_tasks():
    """Yield tasks whose types are all equally frequent, as no tissue has them; the query is one type that was left out."""
    for rng, (stimulus, change) in product(range(3), STIMULI.items()):
        for task in leave_one_out(f"equal bodenmiller {stimulus}", "bodenmiller_4stim", "cell_type", change):
            large = find_large(task.data, task.strata, change)  # the others are too small to be as frequent
            others = {task.strata: all_but(task.name, large)}
            source, target = task.source | others, task.target | others
            yield replace(task, name=f"{task.name} {rng}", source=source, target=target, rng=rng, most=MOST_OF_EQUAL)


def all_but(value, values):
    """Return all other values."""
    return [other for other in values if other != value]


def find_large(data, column, change):
    """Return the values of a column that have enough cells before and after a change."""
    obs, (changing, *moments) = load_data(data).obs, change
    counts = [obs[column].iloc[find_rows(obs, {changing: value})].value_counts() for value in moments]
    smaller = pd.concat(counts, axis=1).fillna(0).min(axis=1)
    return sorted(smaller.index[smaller >= MIN_CELLS_TO_HOLD_OUT].astype(str))


# Cells of a task


def find_rows(obs, where):
    """Return the numbers of the rows where each column has one of its values."""
    masks = [obs[column].isin(np.atleast_1d(values)).to_numpy() for column, values in where.items()]
    return np.flatnonzero(np.logical_and.reduce(masks))


def find_of_role(obs, task, role):
    """Return the numbers of the rows of a role, with as many of each stratum as the task has."""
    rows = find_rows(obs, getattr(task, role))
    if not task.most:
        return rows
    of_stratum = pd.Series(rows).groupby(obs[task.strata].astype(str).to_numpy()[rows])
    return np.sort(np.concatenate([subsample(own, task.most, task.rng) for _, own in of_stratum]))


def subsample(rows, n, rng=0):
    """Draw at most ``n`` rows; they stay in order."""
    return np.sort(np.random.default_rng(rng).permutation(rows)[:n])


def take_cells(task):
    """Return the cells of a task, dense, with their roles in ``obs["role"]`` and at most `MAX_CELLS` of each role."""
    adata = load_data(task.data, 0 if task.most else task.rng)
    rows = {role: subsample(find_of_role(adata.obs, task, role), n) for role, n in MAX_CELLS.items()}
    taken = adata[np.concatenate(list(rows.values()))].copy()
    X = taken.X.toarray() if hasattr(taken.X, "toarray") else taken.X
    obs = taken.obs.reset_index(drop=True)
    obs.index = obs.index.astype(str)
    obs["role"] = pd.Categorical(np.repeat(list(rows), [len(own) for own in rows.values()]))
    return anndata.AnnData(np.asarray(X, dtype=np.float32), obs=obs, var=taken.var[[]])


def has_role(adata, role):
    """Return which cells have a role."""
    return (adata.obs["role"] == role).to_numpy()


def split_roles(adata):
    """Return the cells of each role, ``(n_cells, n_features)``."""
    return {role: torch.from_numpy(adata.X[has_role(adata, role)]) for role in MAX_CELLS}


def get_strata(adata, column):
    """Return the strata of source and target cells, or `None`."""
    if column is None:
        return None
    labels = adata.obs[column].astype(str).to_numpy()
    return labels[has_role(adata, "source")], labels[has_role(adata, "target")]


# Candidates and scores


def fit_single_candidates(candidates, space, cells, strata):
    """Return the map of each candidate by itself. Strata that are not given are derived, as the ensemble derives them."""
    source, target, query = (cells[role] for role in ("source", "target", "query"))
    identity = {"identity": ne.ensemble.CANDIDATES["identity"]}  # the ensemble is made for its strata alone
    populations = ne.ensemble.cross_validate(space, source, target, query, strata, candidates=identity).populations
    components = ne.spaces.PCA.of(torch.cat([source, target, query]), n_components=50)
    features = ne.spaces.Identity(n_features=source.shape[1])
    spaces = {"features": features, "components": components, "neurons": space}
    offset = source.mean(0) - query.mean(0)
    edits = fit_candidates(candidates, encode_in_spaces(spaces, populations))
    return map_each(candidates, edits, spaces, offset)


def map_each(candidates, edits, spaces, offset):
    """Return each candidate by itself as a map of cells; ``offset`` is the source's mean less the query's."""
    return {
        name: average_candidates({name: candidate}, edits, {name: 1.0}, spaces, offset)
        for name, candidate in candidates.items()
    }


def score(query, truth, predicted):
    """Return shares of the gap that are closed, the variance ratio, and how predicted and true changes of means correlate."""
    scores = {}
    for name in ("energy_distance", "mean_wasserstein"):
        metric = ne.metrics.METRICS[name]
        scores[name] = ne.metrics.gap_closed(metric, query, truth, predicted, n_splits=N_SPLITS)
    scores["variance_ratio"] = ne.metrics.variance_ratio(predicted, truth)
    applied, true = predicted.mean(0) - query.mean(0), truth.mean(0) - query.mean(0)
    scores["mean_change_correlation"] = float(np.corrcoef(applied, true)[0, 1]) if applied.std() > 0 else 0.0
    return scores
