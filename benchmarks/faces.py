"""Sunglasses, learned from some people or in some poses and put on others; and the paper's protocol on your copy of CelebA.

``python benchmarks/faces.py`` runs what ``faces.csv`` lacks (half an hour on one core; ``--jobs 2`` takes half of that); the docs
are made of it. Every photograph without sunglasses has one with them, of the same person, pose and expression, which no method sees.
``python benchmarks/faces.py --celeba PATH`` learns black to blond hair on men and applies it to women, with every method and seed
(Table 1 of the paper); it prints the table and writes ``celeba.csv`` and ``celeba.png`` where you are. ``--quick`` looks at either
in minutes. Networks are the published ones, and how long they train was set by the time it takes; that an autoencoder which is
stopped early predicts better was found by holding out four of the people in source and target.
"""

import argparse
import itertools
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from labels import name_method
from results import find_done, format_mean, markdown_table, read_results, run_jobs
from tasks import subsample
from torch.nn.functional import cross_entropy

import neuronedit as ne
from neuronedit._device import find_device
from neuronedit._networks import FILTERS, image_coder
from neuronedit._types import InSpace, within
from neuronedit.baselines import cyclegan, gan, mmd_autoencoder, resnet_gan
from neuronedit.edits import Populations, by_strata, gaussian_ot, on_principal_axes, percentile, shift, transport

CSV = Path(__file__).parent / "faces.csv"
STEPS, EARLY_STEPS, SLOW_STEPS, BATCH_SIZE = 1_000, 60, 300, 16
"""Of the autoencoder and of one that is stopped early, of the adversarial methods and RegAE; images a step."""

EYES_SHARE = 0.08
"""Of the pixels of each pose, those that sunglasses change most are the region of the eyes."""

PAPER = {
    "neuron editing, decoded": 121.6, "CycleGAN": 153.0, "ResnetGAN": 184.3, "RegAE": 272.1, "GAN": 282.3,
    "constant shift, decoded": 321.0,
}  # fmt: skip
"""FID on CelebA, Table 1."""


@dataclass(frozen=True)
class Task:
    """Photographs of the query are those where ``column`` has one of ``held_out``; ``step`` pixels become one."""

    name: str
    column: str
    held_out: tuple
    step: int = 1
    slow: bool = False


PEOPLE = ("dave", "henry", "larry", "paula", "tom")
"""Every fourth of the names in alphabetical order, from the fourth on."""

TASKS = [
    Task("five people", "individual", PEOPLE),
    Task("five people, half size", "individual", PEOPLE, step=2, slow=True),
    Task("one pose, half size", "pose", ("up",), step=2),
]


def in_neurons(edit, *, residual=True):
    """Edit neurons, on all images alike."""
    return lambda space, cells: within(space(), edit, residual=residual)(cells["source"], cells["target"])


def in_components(edit, *, residual=True):
    """Edit the principal components of all images but the truth."""

    def fit(space, cells):
        images = torch.cat([cells[role] for role in ("source", "target", "query")])
        components = ne.spaces.PCA.of(images, n_components=50)
        return within(components, edit, residual=residual)(cells["source"], cells["target"])

    return fit


def in_strata(edit, space=None):
    """Fit an edit within strata, as ``tl.edit(strata=...)`` does; where there are none, on all images alike."""

    def fit(trained, cells):
        own = (space or trained)()
        neurons = [own.encode(cells[role]) for role in ("source", "target")]
        strata = cells["strata"] or [np.zeros(len(z), dtype=int) for z in neurons]
        return InSpace(own, by_strata(edit)(Populations(*neurons, *strata)))

    return fit


EDITED = {
    "leave alone": lambda space, cells: lambda x: x,
    "mean shift of pixels": lambda space, cells: shift(cells["source"], cells["target"]),
    "quantiles per pixel": lambda space, cells: percentile(cells["source"], cells["target"]),
    "PCA editing": in_components(percentile),
    "PCA editing, decoded": in_components(percentile, residual=False),
    "constant shift": in_neurons(shift),
    "constant shift, decoded": in_neurons(shift, residual=False),
    "neuron editing": in_neurons(percentile),
    "neuron editing, decoded": in_neurons(percentile, residual=False),
    "neuron editing, principal axes": in_neurons(on_principal_axes(percentile)),
    "Gaussian OT of neurons": in_neurons(gaussian_ot),
    "transport of neurons": in_neurons(transport),
    "mean shift of pixels, within poses": in_strata(shift, ne.spaces.Identity),
    "constant shift, within poses": in_strata(shift),
    "neuron editing, within poses": in_strata(percentile),
}
"""Methods, given what trains the autoencoder, and the images."""

TO_STOP = ("constant shift", "neuron editing", "constant shift, within poses", "neuron editing, within poses")
STOPPED = {f"{name}, stopped early": EDITED[name] for name in TO_STOP}
"""The same in the autoencoder that was stopped early."""

REFERENCE = "another photograph with sunglasses"
"""Of the same person in the same pose: how close to the truth an image can be that is right, but for what nobody can know."""

TRAINED = {"GAN": gan, "CycleGAN": cyclegan, "ResnetGAN": resnet_gan, "RegAE": mmd_autoencoder}
METHODS = [REFERENCE, *EDITED, *STOPPED, *TRAINED]


@cache
def load(step=1):
    """Load photographs, 0 to 1; ``obs["dark"]`` is the row of the same photograph with sunglasses, -1 where there is none."""
    adata = ne.datasets.cmu_faces()
    rows, columns = adata.uns["image_shape"] // step
    images = adata.X.reshape(-1, rows, step, columns, step).mean(axis=(2, 4)) / 255
    var = ne.datasets.simulate_images(1, image_shape=(rows, columns)).var  # for its names of pixels
    faces = type(adata)(images.reshape(len(images), -1).astype(np.float32), obs=adata.obs.copy(), var=var)
    faces.uns["image_shape"] = np.array([rows, columns])
    who = [tuple(row) for row in faces.obs[["individual", "pose", "expression"]].to_numpy()]
    is_dark = has_sunglasses(faces)
    dark_row = {who[i]: i for i in np.flatnonzero(is_dark)}
    faces.obs["dark"] = [-1 if is_dark[i] else dark_row.get(name, -1) for i, name in enumerate(who)]
    return faces


def has_sunglasses(faces):
    """Return which photographs are with sunglasses."""
    return (faces.obs["eyes"] == "sunglasses").to_numpy()


def roles(faces, task):
    """Return rows of source, target, query and, for each of the query, its truth."""
    is_held_out = faces.obs[task.column].isin(task.held_out).to_numpy()
    is_dark, dark_row = has_sunglasses(faces), faces.obs["dark"].to_numpy()
    source, target = np.flatnonzero(~is_held_out & ~is_dark), np.flatnonzero(~is_held_out & is_dark)
    query = np.flatnonzero(is_held_out & (dark_row >= 0))
    return {"source": source, "target": target, "query": query, "truth": dark_row[query]}


def choose_others(faces, rows, rng):
    """Return for each truth the row of another photograph with sunglasses of the same person in the same pose."""
    generator, is_dark = np.random.default_rng(rng), has_sunglasses(faces)
    who = (faces.obs["individual"].astype(str) + faces.obs["pose"].astype(str)).to_numpy()
    return [generator.choice(np.setdiff1d(np.flatnonzero(is_dark & (who == who[row])), row)) for row in rows]


def find_eyes(faces):
    """Return which pixels of each image belong to the eyes: where sunglasses change most in its pose, by the means."""
    is_dark, mask = has_sunglasses(faces), np.zeros(faces.shape, dtype=bool)
    for pose in faces.obs["pose"].unique():
        in_pose = (faces.obs["pose"] == pose).to_numpy()
        change = np.abs(faces.X[in_pose & is_dark].mean(axis=0) - faces.X[in_pose & ~is_dark].mean(axis=0))
        mask[in_pose] = change >= np.quantile(change, 1 - EYES_SHARE)
    return mask


def extractor(images, labels, image_shape, n_steps=300, rng=0):
    """Train a classifier on real images and return its pooled activations, 256 an image: what Fréchet distances are taken of.

    The published encoder, the mean over places, and one linear layer for each label.
    """
    # layers
    generator = torch.Generator().manual_seed(rng)
    encoder = image_coder([*image_shape, 1][:3], FILTERS, rng=generator)[0][:-1]
    codes = [torch.from_numpy(labels[name].astype("category").cat.codes.to_numpy().astype(int)) for name in labels]
    heads = torch.nn.ModuleList()
    for code in codes:
        head = torch.nn.utils.skip_init(torch.nn.Linear, FILTERS[-1], int(code.max()) + 1)
        torch.nn.init.normal_(head.weight, std=0.05, generator=generator)
        torch.nn.init.zeros_(head.bias)
        heads.append(head)
    # train
    x = torch.from_numpy(np.asarray(images, dtype=np.float32))
    center, scale = x.mean(0), x.std()
    net = torch.nn.ModuleList([encoder, heads])
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-3)
    for _ in range(n_steps):
        rows = torch.randint(len(x), (32,), generator=generator)
        pooled = encoder((x[rows] - center) / scale).mean((2, 3))
        loss = sum(cross_entropy(head(pooled), code[rows]) for head, code in zip(heads, codes, strict=True))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    def features(images):
        with torch.no_grad():
            blocks = torch.from_numpy(np.asarray(images, dtype=np.float32)).split(256)
            return torch.cat([encoder((block - center) / scale).mean((2, 3)) for block in blocks]).numpy()

    return features


@cache
def face_extractor(step):
    """Return the extractor of the photographs: it tells people, poses and sunglasses."""
    faces = load(step)
    return extractor(faces.X, faces.obs[["individual", "pose", "eyes"]], faces.uns["image_shape"].tolist())


def predictions(
    cells, image_shape, rng, *, methods, steps, slow_steps, batch_size=BATCH_SIZE, device="cpu", strata=None
):
    """Yield each method's name and its images; the autoencoder is trained on source, target and query, without the truth."""
    cells = {role: cells[role].to(device) for role in ("source", "target", "query")}
    images = torch.cat(list(cells.values()))
    cells["strata"] = strata

    @cache
    def fit(n_steps):
        settings = {"n_steps": n_steps, "batch_size": batch_size, "lr": 1e-3, "rng": rng}
        training = ne.spaces.Training(**settings, device=torch.device(device))
        return ne.spaces.Conv.fit(images, training, image_shape=image_shape)

    for name in methods:
        if name in TRAINED:
            settings = {"image_shape": image_shape, "n_steps": slow_steps, "batch_size": batch_size, "rng": rng}
            edit = TRAINED[name](cells["source"], cells["target"], **settings)
        else:
            n_steps = EARLY_STEPS if name in STOPPED else steps
            with torch.no_grad():
                edit = (EDITED | STOPPED)[name](partial(fit, n_steps), cells)
        with torch.no_grad():
            edited = torch.cat([edit(block) for block in cells["query"].split(256)])
        yield name, edited.clamp(0, 1).cpu().numpy()


def run(task, seed, methods, steps, slow_steps):
    """Score methods on one task; one row a method."""
    torch.set_num_threads(1)
    # images
    faces = load(task.step)
    rows, shape = roles(faces, task), faces.uns["image_shape"].tolist()
    cells = {role: torch.from_numpy(faces.X[own]) for role, own in rows.items()}
    poses = faces.obs["pose"].cat.codes.to_numpy().astype(int)
    strata = [poses[rows[role]] for role in ("source", "target")]
    truth, in_eyes = faces.X[rows["truth"]], find_eyes(faces)[rows["query"]]
    # predict
    known = [(REFERENCE, faces.X[choose_others(faces, rows["truth"], seed)])] if REFERENCE in methods else []
    settings = {"steps": steps, "slow_steps": slow_steps, "strata": strata}
    settings["methods"] = [name for name in methods if name != REFERENCE]
    # score
    table = []
    for name, images in itertools.chain(known, predictions(cells, shape, seed, **settings)):
        error = images - truth
        row = {"task": task.name, "seed": seed, "method": name}
        row |= {"pixels": rms(error), "eyes": rms(error[in_eyes]), "elsewhere": rms(error[~in_eyes])}
        row |= {"fd": ne.metrics.frechet(images, truth, features=face_extractor(task.step))}
        table.append(row | {"fd_components": ne.metrics.frechet(images, truth)})
    return pd.DataFrame(table)


def rms(error):
    return float(np.sqrt(np.square(error).mean()))


read = partial(read_results, CSV)


COLUMNS = {"eyes": "eyes", "elsewhere": "elsewhere", "pixels": "all pixels", "fd": "FD"}


def page(results):
    """Return the tables as Markdown."""
    lines = [
        "Root mean square difference to the paired truth, of gray values from 0 to 1, and Fréchet distance (FD) of the pooled"
        " activations of a seeded classifier that was trained on all photographs to tell people, poses and sunglasses. Lower"
        " is better. Mean ± standard deviation over seeds, none where a method has no seed; the best of each column is bold."
        " In italics: another photograph of the same person in the same pose, with sunglasses, which no method can be expected to beat.",
    ]
    for task in TASKS:
        own = results[results["task"] == task.name]
        if own.empty:
            continue
        scores = own.groupby("method", sort=False)[list(COLUMNS)].agg(["mean", "std"]).fillna(0)
        scores = scores.sort_values(("eyes", "mean"), kind="stable")
        best = {column: scores.drop(index=REFERENCE)[column, "mean"].idxmin() for column in COLUMNS}
        rows = []
        for name, row in scores.iterrows():
            shown = [f"*{name}*" if name == REFERENCE else name_method(name)]
            for column in COLUMNS:
                text = format_mean(row[column, "mean"], row[column, "std"], 2 if column == "fd" else 3)
                mean, *spread = text.split(" ± ")
                shown.append(" ± ".join([f"**{mean}**", *spread]) if best[column] == name else text)
            rows.append(shown)
        lines += ["", f"**{task.name}** ({own['seed'].nunique()} seeds)", ""]
        lines += markdown_table(["method", *COLUMNS.values()], rows)
    return "\n".join([*lines, ""])


def celeba(options):
    """Run the paper's protocol on a copy of CelebA."""
    # read
    groups = {
        "source": ("Black", True),
        "target": ("Blond", True),
        "query": ("Black", False),
        "truth": ("Blond", False),
    }
    generator, faces = np.random.default_rng(0), {}
    for role, (hair, male) in groups.items():
        where = {"Male": male, f"{hair}_Hair": True}
        images = ne.datasets.celeba(options.celeba, where=where, size=options.size)
        rows = subsample(images.n_obs, options.most, generator)
        faces[role] = images[rows].to_memory()
        print(f"{role}: {len(rows):,} of {images.n_obs:,} images", flush=True)
    shape, truth = images.uns["image_shape"].tolist(), faces["truth"].X

    # what the Fréchet distance is taken of
    features, score_name = "inception", "FID"
    try:
        ne.metrics.frechet(truth[:2], truth[:2], features=features, image_shape=shape)
    except ImportError as error:
        print(f"{error} FD of a classifier of hair and sex is reported instead.", flush=True)
        labels = pd.concat([own.obs[["Male", "Blond_Hair"]] for own in faces.values()])
        features = extractor(np.concatenate([own.X for own in faces.values()]), labels, shape)
        score_name = "FD"

    # predict and score
    cells = {role: torch.from_numpy(own.X) for role, own in faces.items()}
    settings = {"steps": options.steps, "slow_steps": options.slow_steps, "batch_size": options.batch_size}
    settings["device"] = str(find_device("auto"))
    settings["methods"] = [name for name in options.methods if name != REFERENCE and "poses" not in name]
    table, grid = [], {"original": faces["query"].X[:8]}
    for seed in range(options.seeds):
        for name, images in predictions(cells, shape, seed, **settings):
            score = ne.metrics.frechet(images, truth, features=features, image_shape=shape)
            table.append({"method": name, "seed": seed, score_name: score})
            print(f"seed {seed}, {name}: {score_name} {score:.1f}", flush=True)
            grid.setdefault(name, images[:8])
            pd.DataFrame(table).round(3).to_csv("celeba.csv", index=False)
    scores = pd.DataFrame(table).groupby("method", sort=False)[score_name].agg(["mean", "std"]).sort_values("mean")
    scores["paper (FID)"] = pd.Series(PAPER)
    print(scores.round(1).to_string())
    draw(grid, faces["query"], "celeba.png")


def draw(grid, adata, path):
    """Draw the first images after each method, below each other."""
    first = adata[: len(next(iter(grid.values())))].copy()
    for name, images in grid.items():
        first.layers[name] = images
    ne.pl.images(first, layers=list(grid), cells=first.obs_names, return_fig=True).savefig(path, dpi=150)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--celeba", type=Path, help="folder with list_attr_celeba.txt and img_align_celeba")
    parser.add_argument("--quick", action="store_true", help="one seed, short training")
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=METHODS)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, help=f"of the autoencoder ({STEPS:,}; CelebA: 10,000)")
    parser.add_argument("--slow-steps", type=int, help=f"of the adversarial methods ({SLOW_STEPS:,}; CelebA: 10,000)")
    parser.add_argument("--batch-size", type=int, default=100, help="of CelebA (as published)")
    parser.add_argument("--size", type=int, default=64, help="rows and columns of the images of CelebA")
    parser.add_argument("--most", type=int, default=5_000, help="images of each population of CelebA")
    parser.add_argument("--jobs", type=int, default=1, help="tasks at a time, one thread each")
    parser.add_argument("--csv", type=Path, default=CSV, help="results, kept and added to")
    options = parser.parse_args()
    usual = (10_000, 10_000) if options.celeba else (STEPS, SLOW_STEPS)
    if options.quick:
        usual, options.seeds, options.csv = (60, 10), 1, None
    options.steps, options.slow_steps = options.steps or usual[0], options.slow_steps or usual[1]
    if options.celeba:
        celeba(options)
        return

    # run what is missing
    results = read_results(options.csv)
    done = find_done(results, ["task", "seed", "method"])
    jobs = []
    for task, seed in itertools.product(TASKS, range(options.seeds)):
        names = [name for name in options.methods if task.slow or name not in TRAINED]
        missing = [name for name in names if (task.name, seed, name) not in done]
        jobs += [(task, seed, missing, options.steps, options.slow_steps)] if missing else []
    for _, rows in run_jobs(run, jobs, options.jobs):
        results = pd.concat([results, rows], ignore_index=True)
        if options.csv:
            results.round(4).to_csv(options.csv, index=False)
        print(f"{len(results)} rows", flush=True)
    if results.empty:
        raise SystemExit("Nothing was run.")
    print(page(results))


if __name__ == "__main__":
    main()
