"""Sunglasses, learnt on some people or in some poses and put on others, and the paper's protocol on your copy of CelebA.

``python benchmarks/faces.py`` runs what ``faces.csv`` lacks (half an hour on one core; ``--jobs 2`` takes half of that); the docs
are made of it. Every photograph without sunglasses has one with them, of the same person, pose and expression, which no method sees.
``python benchmarks/faces.py --celeba PATH`` learns black to blond hair on men and applies it to women, with every method and seed
(Table 1 of the paper); it prints the table and writes ``celeba.csv`` and ``celeba.png`` where you are. ``--quick`` looks at either
in minutes. Networks are the published ones, and how long they train was set by the time it takes; that an autoencoder which is
stopped early predicts better was found by holding out four of the people learnt on.
"""

import argparse
import itertools
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from functools import cache, partial
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch.nn.functional import cross_entropy

import neuronedit as ne
from neuronedit import baselines
from neuronedit._device import find_device
from neuronedit._networks import FILTERS, image_coder
from neuronedit._types import InSpace, within
from neuronedit.edits import Populations, by_strata, gaussian_ot, on_principal_axes, percentile, shift, transport

HERE = Path(__file__).parent
STEPS, SHORT, SLOW_STEPS, BATCH = 1_000, 60, 300, 16
"""Of the autoencoder and of one that is stopped early, of the adversarial methods and RegAE; images a step."""

SHARE = 0.08
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


def components(cells, n=50):
    """Principal components of all images but the truth."""
    return ne.spaces.PCA.of(torch.cat([cells[role] for role in ("source", "target", "query")]), n_components=n)


def in_space(edit, *, residual):
    return lambda space, cells: within(space(), edit, residual=residual)(cells["source"], cells["target"])


def in_strata(edit):
    """Learn within strata, as tl.edit(strata=...) does; where there are none, on all alike."""

    def learn(space, cells):
        own = space()
        neurons = [own.encode(cells[role]) for role in ("source", "target")]
        strata = cells["strata"] or [np.zeros(len(z), dtype=int) for z in neurons]
        return InSpace(own, by_strata(edit)(Populations(*neurons, *strata)))

    return learn


EDITED = {
    "leave alone": lambda space, cells: lambda x: x,
    "mean shift of pixels": lambda space, cells: shift(cells["source"], cells["target"]),
    "quantiles per pixel": lambda space, cells: percentile(cells["source"], cells["target"]),
    "PCA editing": lambda space, cells: in_space(percentile, residual=True)(lambda: components(cells), cells),
    "PCA editing, decoded": lambda space, cells: in_space(percentile, residual=False)(lambda: components(cells), cells),
    "constant shift": in_space(shift, residual=True),
    "constant shift, decoded": in_space(shift, residual=False),
    "neuron editing": in_space(percentile, residual=True),
    "neuron editing, decoded": in_space(percentile, residual=False),
    "neuron editing, principal axes": in_space(on_principal_axes(percentile), residual=True),
    "Gaussian OT of neurons": in_space(gaussian_ot, residual=True),
    "transport of neurons": in_space(transport, residual=True),
    "mean shift of pixels, within poses": lambda space, cells: in_strata(shift)(ne.spaces.Identity, cells),
    "constant shift, within poses": in_strata(shift),
    "neuron editing, within poses": in_strata(percentile),
}
"""Edits of the query, given what trains the autoencoder, and the images."""

STOPPED = {
    f"{name}, stopped early": EDITED[name]
    for name in ("constant shift", "neuron editing", "constant shift, within poses", "neuron editing, within poses")
}
"""The same in the autoencoder that was stopped early."""

REFERENCE = "another photograph with sunglasses"
"""Of the same person in the same pose: how close to the truth an image can be that is right, but for what nobody can know."""

TRAINED = {
    "GAN": baselines.gan,
    "CycleGAN": baselines.cyclegan,
    "ResnetGAN": baselines.resnet_gan,
    "RegAE": baselines.mmd_autoencoder,
}


METHODS = [REFERENCE, *EDITED, *STOPPED, *TRAINED]


@cache
def load(step=1):
    """Photographs with values from 0 to 1; of each the row of its pair with sunglasses, -1 where there is none."""
    adata = ne.datasets.cmu_faces()
    rows, columns = adata.uns["image_shape"] // step
    images = adata.X.reshape(-1, rows, step, columns, step).mean(axis=(2, 4)) / 255
    faces = ne.datasets.simulate_images(1, image_shape=(rows, columns))[:0]  # for its names of pixels
    faces = type(adata)(images.reshape(len(images), -1).astype(np.float32), obs=adata.obs.copy(), var=faces.var)
    faces.uns["image_shape"] = np.array([rows, columns])
    who = [tuple(row) for row in faces.obs[["individual", "pose", "expression"]].to_numpy()]
    dark = (faces.obs["eyes"] == "sunglasses").to_numpy()
    pair = {name: i for i, name in enumerate(who) if dark[i]}
    faces.obs["pair"] = [-1 if dark[i] else pair.get(name, -1) for i, name in enumerate(who)]
    return faces


def roles(faces, task):
    """Rows of source, target, query and, for each of the query, its truth."""
    held_out = faces.obs[task.column].isin(task.held_out).to_numpy()
    dark, pair = (faces.obs["eyes"] == "sunglasses").to_numpy(), faces.obs["pair"].to_numpy()
    query = np.flatnonzero(held_out & (pair >= 0))
    source, target = (np.flatnonzero(~held_out & of) for of in (~dark, dark))
    return {"source": source, "target": target, "query": query, "truth": pair[query]}


def others(faces, rows, seed):
    """For each truth the row of another photograph with sunglasses of the same person in the same pose."""
    generator, obs = np.random.default_rng(seed), faces.obs
    who = (obs["individual"].astype(str) + obs["pose"].astype(str)).to_numpy()
    dark = (obs["eyes"] == "sunglasses").to_numpy()
    return [generator.choice(np.setdiff1d(np.flatnonzero(dark & (who == who[row])), row)) for row in rows]


def eyes(faces):
    """Which pixels of each image belong to the region of the eyes: where sunglasses change most in its pose, by the means."""
    dark, mask = (faces.obs["eyes"] == "sunglasses").to_numpy(), np.zeros(faces.shape, dtype=bool)
    for pose in faces.obs["pose"].unique():
        of = (faces.obs["pose"] == pose).to_numpy()
        change = np.abs(faces.X[of & dark].mean(axis=0) - faces.X[of & ~dark].mean(axis=0))
        mask[of] = change >= np.quantile(change, 1 - SHARE)
    return mask


def extractor(images, labels, image_shape, n_steps=300, seed=0):
    """Train a classifier on real images and return its pooled activations, 256 an image: what Fréchet distances are taken of.

    The published encoder, the mean over places, and one linear layer for each label.
    """
    generator = torch.Generator().manual_seed(seed)
    shape = [*image_shape, 1][:3]
    encoder = image_coder(shape, FILTERS, generator=generator)[0][:-1]
    codes = [torch.from_numpy(labels[name].astype("category").cat.codes.to_numpy().astype(int)) for name in labels]
    heads = torch.nn.ModuleList()
    for code in codes:
        head = torch.nn.utils.skip_init(torch.nn.Linear, FILTERS[-1], int(code.max()) + 1)
        torch.nn.init.normal_(head.weight, std=0.05, generator=generator)
        torch.nn.init.zeros_(head.bias)
        heads.append(head)
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
            parts = torch.from_numpy(np.asarray(images, dtype=np.float32)).split(256)
            return torch.cat([encoder((part - center) / scale).mean((2, 3)) for part in parts]).numpy()

    return features


@cache
def of_faces(step):
    """The extractor of the photographs: it tells people, poses and sunglasses."""
    faces = load(step)
    return extractor(faces.X, faces.obs[["individual", "pose", "eyes"]], faces.uns["image_shape"].tolist())


def predictions(cells, image_shape, seed, *, methods, steps, slow_steps, batch_size=BATCH, device="cpu", strata=None):
    """Yield each method's name and its images; the autoencoder sees source, target and query, without the truth."""
    cells = {role: cells[role].to(device) for role in ("source", "target", "query")}
    seen = torch.cat(list(cells.values()))
    cells["strata"] = strata

    @cache
    def fit(n_steps):
        training = ne.spaces.Training(
            n_steps=n_steps, batch_size=batch_size, lr=1e-3, seed=seed, device=torch.device(device)
        )
        return ne.spaces.Conv.fit(seen, training, image_shape=image_shape)

    for name in methods:
        if name in TRAINED:
            how = {"image_shape": image_shape, "n_steps": slow_steps, "batch_size": batch_size, "seed": seed}
            move = TRAINED[name](cells["source"], cells["target"], **how)
        else:
            space = partial(fit, SHORT if name in STOPPED else steps)
            with torch.no_grad():
                move = (EDITED | STOPPED)[name](space, cells)
        with torch.no_grad():
            images = torch.cat([move(block) for block in cells["query"].split(256)])
        yield name, images.clamp(0, 1).cpu().numpy()


def run(task, seed, methods, steps, slow_steps):
    """Score methods on one task; one row a method."""
    torch.set_num_threads(1)
    faces = load(task.step)
    rows = roles(faces, task)
    cells = {role: torch.from_numpy(faces.X[of]) for role, of in rows.items()}
    poses = faces.obs["pose"].cat.codes.to_numpy().astype(int)
    strata = [poses[rows[role]] for role in ("source", "target")]
    truth, region, table = faces.X[rows["truth"]], eyes(faces)[rows["query"]], []
    shape = faces.uns["image_shape"].tolist()
    settings = {"steps": steps, "slow_steps": slow_steps, "strata": strata}
    known = [(REFERENCE, faces.X[others(faces, rows["truth"], seed)])] if REFERENCE in methods else []
    settings["methods"] = [name for name in methods if name != REFERENCE]
    for name, images in itertools.chain(known, predictions(cells, shape, seed, **settings)):
        error = images - truth
        row = {"task": task.name, "seed": seed, "method": name}
        row |= {"pixels": rms(error), "eyes": rms(error[region]), "elsewhere": rms(error[~region])}
        row |= {"fd": ne.metrics.frechet(images, truth, features=of_faces(task.step))}
        table.append(row | {"fd_components": ne.metrics.frechet(images, truth)})
    return pd.DataFrame(table)


def rms(error):
    return float(np.sqrt(np.square(error).mean()))


def read(path=HERE / "faces.csv"):
    """Return the results so far."""
    return pd.read_csv(path)


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
        rows = results[results["task"] == task.name]
        if rows.empty:
            continue
        of = rows.groupby("method", sort=False)[list(COLUMNS)].agg(["mean", "std"]).fillna(0)
        of = of.sort_values(("eyes", "mean"), kind="stable")
        lines += ["", f"**{task.name}** ({rows['seed'].nunique()} seeds)", ""]
        lines += ["| method | " + " | ".join(COLUMNS.values()) + " |", "|---" * (len(COLUMNS) + 1) + "|"]
        best = {column: of.drop(index=REFERENCE)[column, "mean"].idxmin() for column in COLUMNS}
        for name, row in of.iterrows():
            cells = [show(row[column], 3 if column != "fd" else 2, best[column] == name) for column in COLUMNS]
            lines.append(f"| {f'*{name}*' if name == REFERENCE else name} | " + " | ".join(cells) + " |")
    return "\n".join([*lines, ""])


def show(value, digits, best):
    text = f"{value['mean']:.{digits}f}"
    text = f"**{text}**" if best else text
    return text if value["std"] < 0.5 * 10**-digits else f"{text} ± {value['std']:.{digits}f}"


def celeba(options):
    """Run the paper's protocol on a copy of CelebA."""
    groups = {
        "source": {"Male": True, "Black_Hair": True},
        "target": {"Male": True, "Blond_Hair": True},
        "query": {"Male": False, "Black_Hair": True},
        "truth": {"Male": False, "Blond_Hair": True},
    }
    generator, of = np.random.default_rng(0), {}
    for role, where in groups.items():
        faces = ne.datasets.celeba(options.celeba, where=where, size=options.size)
        drawn = np.sort(generator.permutation(faces.n_obs)[: options.most])
        of[role] = faces[drawn].to_memory()
        print(f"{role}: {len(drawn):,} of {faces.n_obs:,} images", flush=True)
    shape, truth = faces.uns["image_shape"].tolist(), of["truth"].X
    features = "inception"
    try:
        ne.metrics.frechet(truth[:2], truth[:2], features=features, image_shape=shape)
        known = "FID"
    except ImportError as error:
        print(f"{error} FD of a classifier of hair and sex is reported instead.", flush=True)
        everyone = [faces.obs[["Male", "Blond_Hair"]] for faces in of.values()]
        features = extractor(np.concatenate([faces.X for faces in of.values()]), pd.concat(everyone), shape)
        known = "FD"
    cells = {role: torch.from_numpy(faces.X) for role, faces in of.items()}
    device, table = str(find_device("auto")), []
    grid = {"original": of["query"].X[:8]}
    settings = {"steps": options.steps, "slow_steps": options.slow_steps, "batch_size": options.batch_size}
    methods = [name for name in options.methods if name != REFERENCE and "poses" not in name]
    for seed in range(options.seeds):
        for name, images in predictions(cells, shape, seed, methods=methods, device=device, **settings):
            score = ne.metrics.frechet(images, truth, features=features, image_shape=shape)
            table.append({"method": name, "seed": seed, known: score})
            print(f"seed {seed}, {name}: {known} {score:.1f}", flush=True)
            grid.setdefault(name, images[:8])
            pd.DataFrame(table).round(3).to_csv("celeba.csv", index=False)
    scores = pd.DataFrame(table).groupby("method", sort=False)[known].agg(["mean", "std"]).sort_values("mean")
    scores["paper (FID)"] = pd.Series(PAPER)
    print(scores.round(1).to_string())
    draw(grid, of["query"], "celeba.png")


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
    parser.add_argument("--csv", type=Path, default=HERE / "faces.csv", help="results, kept and added to")
    options = parser.parse_args()
    usual = (10_000, 10_000) if options.celeba else (STEPS, SLOW_STEPS)
    if options.quick:
        usual, options.seeds, options.csv = (60, 10), 1, None
    options.steps, options.slow_steps = options.steps or usual[0], options.slow_steps or usual[1]
    if options.celeba:
        celeba(options)
        return

    results = read(options.csv) if options.csv and options.csv.exists() else pd.DataFrame()
    done = set() if results.empty else set(results[["task", "seed", "method"]].itertuples(index=False, name=None))
    jobs = []
    for task, seed in itertools.product(TASKS, range(options.seeds)):
        names = [name for name in options.methods if task.slow or name not in TRAINED]
        names = [name for name in names if (task.name, seed, name) not in done]
        jobs += [(task, seed, names)] if names else []
    with ProcessPoolExecutor(options.jobs, mp_context=get_context("spawn")) as pool:
        futures = [pool.submit(run, *job, options.steps, options.slow_steps) for job in jobs]
        for future in as_completed(futures):
            results = pd.concat([results, future.result()], ignore_index=True)
            if options.csv:
                results.round(4).to_csv(options.csv, index=False)
            print(f"{len(results)} rows", flush=True)
    if results.empty:
        raise SystemExit("Nothing was run.")
    print(page(results))


if __name__ == "__main__":
    main()
