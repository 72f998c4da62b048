"""Public files by name: downloaded once, checked against their SHA-256, and assembled into one AnnData."""

import json
import os
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pooch
from anndata import AnnData


def origin(dataset: str) -> dict[str, Any]:
    """Return repository, commit, folder and files (name -> sha256) of a data set, its citation, and how to transform it."""
    known = json.loads(files(__package__).joinpath("origins.json").read_text())
    if dataset not in known:
        raise ValueError(f"{dataset!r} is no public data set; choose {', '.join(map(repr, known))}.")
    return known[dataset]


def fetch(dataset: str) -> list[Path]:
    """Download the public files of a data set, once, and return their paths in the order of their names.

    Examples
    --------
    >>> import neuronedit as ne
    >>> paths = ne.datasets.fetch("imubac_krieg")  # doctest: +SKIP
    >>> paths[0].name  # doctest: +SKIP
    'Data23_Panel3_base_HD1.fcs'

    Parameters
    ----------
    dataset
        The name of its loader: "bodenmiller_4stim", "cytonorm_volunteers", "imubac_krieg", "sachs_icam2_inhibitors", "kang_counts",
        "norman_doubles" or "cmu_faces".

    Returns
    -------
    The files as they were published, each checked by its SHA-256. They are kept where the operating system keeps caches; with the
    environment variable ``NEURONEDIT_DATA_DIR`` they are taken from ``$NEURONEDIT_DATA_DIR/origin/<dataset>/`` instead.

    Raises
    ------
    ValueError
        When there is no such data set, or a file is not what was published.
    OSError
        When a file cannot be downloaded.
    """
    source = origin(dataset)
    local = os.environ.get("NEURONEDIT_DATA_DIR")
    store = pooch.create(
        path=Path(local) / "origin" / dataset if local else Path(pooch.os_cache("neuronedit")) / dataset,
        base_url=f"https://raw.githubusercontent.com/{source['repository']}/{source['commit']}/{source['folder']}/",
        registry=source["files"],
    )
    return [_fetch_file(store, name) for name in sorted(source["files"])]


def _fetch_file(store: pooch.Pooch, name: str) -> Path:
    """Return where a file is, once it is there."""
    try:
        return Path(store.fetch(name))
    except OSError as error:  # the network's have no strerror
        reason = error.strerror or type(error).__name__
        raise OSError(
            f"{name} could not be downloaded from {store.get_url(name)} ({reason}). Without a network, put it into {store.path}."
        ) from None


def assemble(dataset: str, samples: Sequence[AnnData], obs: pd.DataFrame, var: pd.DataFrame) -> AnnData:
    """Stack samples whose features are the same; ``obs`` has one row a sample, repeated for each of its cells."""
    obs = obs.loc[obs.index.repeat([sample.n_obs for sample in samples])]
    return annotate(dataset, np.concatenate([sample.X for sample in samples]), obs, var)


def annotate(dataset: str, X: Any, obs: pd.DataFrame, var: pd.DataFrame) -> AnnData:
    """Make the AnnData. Cells are numbered, strings are categorical; ``uns`` has the origin and the transformation to apply first."""
    obs.index = [f"c{i}" for i in range(len(obs))]
    adata = AnnData(X, obs=obs.astype("category"), var=var)
    adata.strings_to_categoricals()
    source = origin(dataset)
    adata.uns["source"] = {
        "repository": f"https://github.com/{source['repository']}",
        "commit": source["commit"],
        "path": source["folder"],
        "citation": source["citation"],
    }
    adata.uns["transform"] = source["transform"]
    return adata
