"""Write a small simulated study as FCS files with its two tables, for the checks of what is in this folder.

    python contrib/simulate.py study

makes ``study/fcs`` with six files, ``study/samples.csv`` and ``study/panel.csv``: three batches, each with a control and a sample.
"""

import argparse
from pathlib import Path

import numpy as np
import pandas as pd

import neuronedit as ne
from neuronedit.io._fcs_build import build_fcs, set_layout

COFACTOR = 5


def simulate_files(n_cells: int) -> dict[str, np.ndarray]:
    """Return the arcsinh values of each file. Batch B1 is the reference, B2 has a batch effect, and B3 half of it."""
    adata = ne.datasets.simulate_batches(n_cells=2 * n_cells)
    files = {}
    for role in ("control", "sample"):
        changed, reference = (adata[adata.obs["group"] == f"{role}_{batch}"] for batch in (1, 2))
        half_changed = (changed.X + changed.layers["truth"]) / 2
        files[f"{role}_B1"] = reference.X[:n_cells]
        files[f"{role}_B2"] = changed.X[:n_cells]
        files[f"{role}_B3"] = half_changed[n_cells:]
    return files


def write_study(folder: Path, n_cells: int) -> None:
    """Write the files and the tables."""
    files = simulate_files(n_cells)
    markers = list(ne.datasets.simulate_batches(n_cells=1).var_names)
    channels = [f"Ch{n}Di" for n in range(1, len(markers) + 1)]
    (folder / "fcs").mkdir(parents=True)

    for name, values in files.items():
        events = (COFACTOR * np.sinh(values)).astype(np.float32)
        keywords = {}
        for n, (channel, marker) in enumerate(zip(channels, markers, strict=True), start=1):
            keywords |= {f"$P{n}N": channel, f"$P{n}S": marker, f"$P{n}E": "0,0", f"$P{n}R": "100000"}
        content = build_fcs(set_layout(keywords, events), events)
        (folder / "fcs" / f"{name}.fcs").write_bytes(content)

    samples = pd.DataFrame({"file": [f"{name}.fcs" for name in files]})
    samples[["role", "batch"]] = [name.split("_") for name in files]
    samples.to_csv(folder / "samples.csv", index=False)
    panel = pd.DataFrame({"channel": channels, "marker": markers, "class": "lineage"})
    panel.to_csv(folder / "panel.csv", index=False)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Write six simulated FCS files and their tables.")
    parser.add_argument("folder", type=Path, help="a folder that does not exist yet")
    parser.add_argument("--n-cells", type=int, default=2_000, help="cells of each file (default: 2,000)")
    arguments = parser.parse_args()
    write_study(arguments.folder, arguments.n_cells)
