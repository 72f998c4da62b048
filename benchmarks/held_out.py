"""Share of the distance to a held-out truth that each method closes, and time and memory, on real mass cytometry.

``python benchmarks/held_out.py cytonorm`` or ``imubac``. The truth is never trained on: the space sees the source, the
target and the query of one task alone. 1 = all of the distance is closed, 0 = nothing was done, below 0 = harm.
"""

import argparse
import itertools
import resource
import time

import numpy as np

import neuronedit as ne

METRICS = {name: ne.metrics.METRICS[name] for name in ("energy_distance", "mean_wasserstein")}
METHODS = {  # space, arguments of the edit
    "leave the cells alone": ("identity", {"strength": 0.0}),
    "mean shift": ("identity", {"edit": "shift"}),
    "quantiles per marker": ("identity", {}),
    "constant shift": ("autoencoder", {"edit": "shift"}),
    "PCA editing": ("pca", {}),
    "neuron editing": ("autoencoder", {}),
    "  on principal axes": ("autoencoder", {"axes": "principal"}),
    "  local": ("autoencoder", {"edit": "local"}),
}


def score(adata, truth, task, rng):
    """Return {method: one share for each metric} of one task, a dict of source, target and query."""
    for space in {space for space, _ in METHODS.values()}:
        ne.tl.train(adata, space=space, key_added=space, rng=rng)
    shares = {}
    for name, (space, arguments) in METHODS.items():
        ne.tl.edit(adata, **task, **arguments, key=space, key_added="prediction")
        query = adata.obs["prediction_support"].notna().to_numpy()
        before, after = adata.X[query], adata.layers["prediction"][query]
        shares[name] = [ne.metrics.gap_closed(metric, before, truth, after) for metric in METRICS.values()]
    return shares


def show(title, tasks):
    """Print the mean over tasks, and the worst and best of them."""
    print(f"\n{title}: mean over {len(tasks)} tasks (worst to best)")
    print(f"{'':24}" + "".join(f"{name:>26}" for name in METRICS))
    for name in METHODS:
        shares = np.array([task[name] for task in tasks])
        cells = [
            f"{m:.3f} ({low:.2f} to {high:.2f})"
            for m, low, high in zip(*(f(shares, axis=0) for f in (np.mean, np.min, np.max)), strict=True)
        ]
        print(f"{name:24}" + "".join(f"{cell:>26}" for cell in cells))


def cytonorm(seeds):
    """Six ordered pairs of batches: learn on Volunteer_1, correct Volunteer_2, compare with what was measured."""
    adata = ne.datasets.cytonorm_volunteers()
    ne.pp.arcsinh(adata)
    tasks = []
    for rng, (a, b) in itertools.product(range(seeds), itertools.permutations(adata.obs["batch"].cat.categories, 2)):
        held_out = ((adata.obs["individual"] == "Volunteer_2") & (adata.obs["batch"] == b)).to_numpy()
        task = {
            "source": {"individual": "Volunteer_1", "batch": a},
            "target": {"individual": "Volunteer_1", "batch": b},
            "query": {"individual": "Volunteer_2", "batch": a},
        }
        used = (~held_out & adata.obs["batch"].isin([a, b])).to_numpy()
        tasks.append(score(adata[used].copy(), adata.X[held_out], task, rng))
    show(f"cytonorm_volunteers, {seeds} seed(s)", tasks)


def imubac(seeds):
    """Time and memory of training and editing 129,712 cells."""
    adata = ne.datasets.imubac_krieg()
    ne.pp.arcsinh(adata)
    for rng in range(seeds):
        start = time.perf_counter()
        ne.tl.train(adata, rng=rng)
        trained = time.perf_counter()
        pair = [{"batch": batch, "role": "control"} for batch in ("Data23", "Data29")]
        ne.tl.edit(adata, source=pair[0], target=pair[1], query={"batch": "Data23"})
        done = time.perf_counter()
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
        print(
            f"imubac_krieg, {adata.n_obs:,} x {adata.n_vars}: train {trained - start:.0f} s, edit {done - trained:.1f} s,"
            f" peak memory of the process {peak:.2f} GiB"
        )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", choices=["cytonorm", "imubac"])
    parser.add_argument("--seeds", type=int, default=1)
    options = parser.parse_args()
    {"cytonorm": cytonorm, "imubac": imubac}[options.data](options.seeds)
