"""Public files by name: downloaded once, checked against their SHA-256, and assembled into one AnnData."""

import json
import os
from collections.abc import Iterator, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pooch
from anndata import AnnData


def origin(dataset: str) -> dict[str, Any]:
    """Return repository, commit, folder and files (name -> sha256) of a data set, its citation, and how to transform it."""
    return json.loads(files(__package__).joinpath("origins.json").read_text())[dataset]


def fetch(dataset: str) -> Iterator[Path]:
    """Yield the paths of a data set's files, in the order of their names.

    They are cached where the operating system keeps caches. With the environment variable ``NEURONEDIT_DATA_DIR`` they are
    taken from ``$NEURONEDIT_DATA_DIR/origin/<dataset>/`` instead.
    """
    source = origin(dataset)
    local = os.environ.get("NEURONEDIT_DATA_DIR")
    store = pooch.create(
        path=Path(local) / "origin" / dataset if local else Path(pooch.os_cache("neuronedit")) / dataset,
        base_url=f"https://raw.githubusercontent.com/{source['repository']}/{source['commit']}/{source['folder']}/",
        registry=source["files"],
    )
    yield from (Path(store.fetch(name)) for name in sorted(source["files"]))


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
