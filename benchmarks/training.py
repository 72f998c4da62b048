"""Our training loop compared with a simple DataLoader + Adam loop: seconds an epoch, and validation error after the same time.

Run ``python benchmarks/training.py``; ``--quick`` for a look. Runs alternate, and only ratios are to be compared.
"""

import argparse
import time

import numpy as np
import torch
from results import measure_time
from tasks import subsample
from torch.nn.functional import mse_loss
from torch.utils.data import DataLoader, TensorDataset

import neuronedit as ne
from neuronedit.spaces import Autoencoder, Training

WIDTHS = (500, 250, 50)
"""The published layers, and the default ones."""


def train_simply(cells, seed, *, epochs=None, max_seconds=None):
    """Train in the loop that everybody writes first, on a tensor or a dataset, for some epochs or some seconds."""
    space = Autoencoder(n_features=cells.shape[1], widths=WIDTHS, rng=seed)
    optimizer = torch.optim.Adam(space.parameters(), lr=1e-3)
    cells = TensorDataset(cells) if isinstance(cells, torch.Tensor) else cells
    loader = DataLoader(cells, batch_size=100, shuffle=True, generator=torch.Generator().manual_seed(seed))
    start, epoch, total = time.perf_counter(), 0, 0.0
    while epochs is None or epoch < epochs:
        for (x,) in loader:
            loss = mse_loss(space.decode(space.encode(x)), x)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total += loss.item()
            if max_seconds and time.perf_counter() - start > max_seconds:
                return space
        epoch += 1
    return space


def train_ours(cells, seed, *, epochs):
    """Train in the package's loop."""
    return Autoencoder.fit(cells, Training(max_epochs=epochs, lr=1e-3, rng=seed))


def reconstruction_error(space, x):
    with torch.no_grad():
        return mse_loss(space.decode(space.encode(x)), x).item()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    n, seconds, repeats = (20_000, 5, 2) if options.quick else (200_000, 30, options.repeats)

    # cells
    cells = torch.from_numpy(ne.datasets.simulate_batches(n_cells=n // 4).X)
    cells = (cells - cells.mean(0)) / (cells - cells.mean(0)).square().mean().sqrt()
    is_held_out = np.isin(np.arange(n), subsample(n, n // 10))
    train, validation = cells[~is_held_out], cells[is_held_out]

    # seconds an epoch
    loops = (train_simply, train_ours)
    for loop in loops:  # warm up
        loop(cells[:2000], 0, epochs=1)
    times = [[measure_time(loop, cells, seed, epochs=1)[1] for loop in loops] for seed in range(repeats)]
    times = np.array(times)  # (repeats, 2)
    (simple, ours), ratios = np.median(times, axis=0), times[:, 1] / times[:, 0]
    print(f"{n} x {cells.shape[1]}, batch 100, {torch.get_num_threads()} threads, torch {torch.__version__}")
    print(f"seconds an epoch: simple {simple:.2f}, ours {ours:.2f}")
    print(f"ratio of alternating runs: median {np.median(ratios):.3f}, from {ratios.min():.3f} to {ratios.max():.3f}")

    # error after the same time
    epochs = max(1, int(seconds / (ours * len(train) / n)))
    for seed in range(2):
        space, taken = measure_time(train_ours, train, seed, epochs=epochs)
        simple_space, simple_taken = measure_time(train_simply, train, seed, max_seconds=taken)
        error, simple_error = (reconstruction_error(one, validation) for one in (space, simple_space))
        print(
            f"validation error, seed {seed}: simple {simple_error:.2e} after {simple_taken:.0f} s,"
            f" ours {error:.2e} after {taken:.0f} s; ratio {error / simple_error:.3f}"
        )


if __name__ == "__main__":
    main()
