"""A folder of FCS files with its two sheets, as a cytometry lab has it."""

from pathlib import Path

import numpy as np
import pandas as pd

from .._check import Count, FilePath, Seed
from ..io._atomic import check_goal, filling
from ..io._fcs_build import build_fcs, set_layout
from ._simulate import COFACTOR, simulate_batches

N_DONORS = 5  # of each group in each batch
ROLE_OF_GROUP = {"HD": "control", "R": "sample", "NR": "sample"}  # healthy donors, responders and non-responders


def simulate_fcs_study(folder: FilePath, *, n_cells: Count = 1_000, rng: Seed = 0) -> Path:
    """Write a folder of thirty FCS files with a sample sheet and a panel: two batches, whose controls are healthy donors.

    The design and the names are those of `imubac_krieg`. The cells are made as in `simulate_batches`: the staining of batch
    Data23 differs, and patients have other proportions of cell types than healthy donors.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> import neuronedit as ne
    >>> study = ne.datasets.simulate_fcs_study(Path(tempfile.mkdtemp()) / "study", n_cells=20)
    >>> sorted(path.name for path in study.iterdir())
    ['fcs', 'panel.csv', 'samples.csv']
    >>> adata = ne.io.read_fcs(study / "fcs", metadata=study / "samples.csv", panel=study / "panel.csv", cofactor=5)
    >>> adata.shape
    (600, 36)

    Parameters
    ----------
    folder
        Where to write. It must not exist.
    n_cells
        Cells of each file.
    %(rng)s

    Returns
    -------
    The path of the folder. ``fcs/`` has 15 files of each batch: ion counts of 35 markers, and the time.
    ``samples.csv`` has a row for each file: ``file``, ``batch`` ("Data23", "Data29"), ``donor``, ``group`` ("HD", "R", "NR"),
    ``role`` ("control" for healthy donors, "sample"). ``panel.csv`` has a row for each marker: ``channel``, ``marker``.

    Raises
    ------
    OSError
        When the folder exists, or cannot be written.
    """
    goal = Path(folder)
    if goal.exists():
        raise FileExistsError(f"{goal} exists; choose another folder.")
    check_goal(goal)
    # donors share the cells of their population
    cells = simulate_batches(2 * N_DONORS * n_cells, rng=rng)
    counts = COFACTOR * np.sinh(cells.X)
    panel = pd.DataFrame({"channel": [f"ch{n + 1}" for n in range(cells.n_vars)], "marker": cells.var_names})
    samples = _list_samples()
    # write
    with filling(goal) as work:
        (work / "fcs").mkdir()
        for population, files in samples.groupby("population")["file"]:
            own = counts[cells.obs["group"] == population]
            for i, name in enumerate(files):
                (work / "fcs" / name).write_bytes(_build_file(own[i * n_cells : (i + 1) * n_cells], panel))
        samples.drop(columns="population").to_csv(work / "samples.csv", index=False)
        panel.to_csv(work / "panel.csv", index=False)
    return goal


def _list_samples() -> pd.DataFrame:
    """Return a row for each file, with the simulated population that its cells are from."""
    rows = []
    for i, batch in enumerate(("Data23", "Data29")):
        for group, role in ROLE_OF_GROUP.items():
            for number in range(i * N_DONORS + 1, (i + 1) * N_DONORS + 1):
                donor = f"{group}{number}"
                rows.append((f"{batch}_{donor}.fcs", batch, donor, group, role, f"{role}_{i + 1}"))
    return pd.DataFrame(rows, columns=["file", "batch", "donor", "group", "role", "population"])


def _build_file(counts: np.ndarray, panel: pd.DataFrame) -> bytes:
    """Return an FCS file of these cells, ``(n_cells, n_markers)``, one a millisecond."""
    events = np.column_stack([np.arange(len(counts)), counts]).astype(np.float32)
    keywords = {"$TIMESTEP": "0.001"}
    names = [("Time", ""), *panel.itertuples(index=False, name=None)]
    for n, ((channel, marker), highest) in enumerate(zip(names, events.max(axis=0), strict=True), start=1):
        keywords |= {f"$P{n}N": channel, f"$P{n}E": "0,0", f"$P{n}R": str(int(highest) + 1)}
        keywords |= {f"$P{n}S": marker} if marker else {}
    return build_fcs(set_layout(keywords, events), events)
