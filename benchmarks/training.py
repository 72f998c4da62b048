"""Our training loop against a plain DataLoader + Adam loop: seconds an epoch, and validation error after the same time.

Run ``python benchmarks/training.py``; ``--quick`` for a look. Runs alternate, and only ratios are to be compared.
"""

import argparse
import time

import numpy as np
import torch
from torch.nn.functional import mse_loss
from torch.utils.data import DataLoader, TensorDataset

import neuronedit as ne
from neuronedit.spaces import Autoencoder, Training


def plain(cells, seed, *, epochs=None, seconds=None, validation=None):
    """The loop that everybody writes first, on a tensor or a dataset; it may also stop after so many seconds."""
    space = Autoencoder(n_features=cells.shape[1], widths=(500, 250, 50), seed=seed)
    optimizer = torch.optim.Adam(space.parameters(), lr=1e-3)
    cells = TensorDataset(cells) if isinstance(cells, torch.Tensor) else cells
    loader = DataLoader(cells, batch_size=100, shuffle=True, generator=torch.Generator().manual_seed(seed))
    start, n = time.perf_counter(), 0
    while True:
        total = 0.0
        for (x,) in loader:
            loss = mse_loss(space.decode(space.encode(x)), x)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total += loss.item()
            if seconds and time.perf_counter() - start > seconds:
                return error(space, validation), time.perf_counter() - start
        n += 1
        if n == epochs:
            return time.perf_counter() - start


def ours(cells, seed, *, epochs, validation=None):
    """The package's loop."""
    start = time.perf_counter()
    space = Autoencoder.fit(cells, Training(max_epochs=epochs, lr=1e-3, seed=seed))
    taken = time.perf_counter() - start
    return taken if validation is None else (error(space, validation), taken)


def error(space, x):
    with torch.no_grad():
        return mse_loss(space.decode(space.encode(x)), x).item()


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    n, seconds, repeats = (20_000, 5, 2) if options.quick else (200_000, 30, options.repeats)

    cells = torch.from_numpy(ne.datasets.simulate_batches(n_cells=n // 4).X)
    cells = (cells - cells.mean(0)) / (cells - cells.mean(0)).square().mean().sqrt()
    held_out = torch.from_numpy(np.random.default_rng(0).permutation(n))[: n // 10]
    keep = torch.ones(n, dtype=torch.bool)
    keep[held_out] = False
    train, validation = cells[keep], cells[held_out]

    for warm_up in (plain, ours):
        warm_up(cells[:2000], 0, epochs=1)
    times = np.array([(plain(cells, seed, epochs=1), ours(cells, seed, epochs=1)) for seed in range(repeats)])
    ratios = times[:, 1] / times[:, 0]
    print(f"{n} x {cells.shape[1]}, batch 100, {torch.get_num_threads()} threads, torch {torch.__version__}")
    print(f"seconds an epoch: plain {np.median(times[:, 0]):.2f}, ours {np.median(times[:, 1]):.2f}")
    print(f"ratio of alternating runs: median {np.median(ratios):.3f}, from {ratios.min():.3f} to {ratios.max():.3f}")

    epochs = max(1, int(seconds / (np.median(times[:, 1]) * len(train) / n)))
    for seed in range(2):
        mine, taken = ours(train, seed, epochs=epochs, validation=validation)
        theirs, theirs_taken = plain(train, seed, seconds=taken, validation=validation)
        print(
            f"validation error, seed {seed}: plain {theirs:.2e} after {theirs_taken:.0f} s,"
            f" ours {mine:.2e} after {taken:.0f} s; ratio {mine / theirs:.3f}"
        )


if __name__ == "__main__":
    main()
