"""Figures of ne.pl as images in the page, each with a text for those who do not see it."""

import base64
import io
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from anndata import AnnData

from .. import _slots
from .._data.record import Record, Tool
from ._cells import CellSample
from ._result import Result

MAX_BYTES_OF_DRAWING = 400_000  # beyond which a figure is an image of points: it has too many shapes
PIXELS_PER_INCH = 92  # of a figure in the page: its words are then as large as those around it


@dataclass(frozen=True)
class Figure:
    """An image as a data address, with its alternative text, its caption, and its width in pixels of the page."""

    address: str
    alt: str
    caption: str
    width: int


@contextmanager
def drawing() -> Iterator[Any]:
    """Draw in the usual style, and leave matplotlib as it was found: its style, its figures, and whether it shows them."""
    import matplotlib.pyplot as plt
    from matplotlib import rc_context, rcParamsDefault

    before = set(plt.get_fignums())
    kept: dict[Any, Any] = {name: value for name, value in rcParamsDefault.items() if name != "backend"}
    with rc_context(), plt.ioff():
        plt.rcParams.update(kept)
        plt.rcParams["svg.hashsalt"] = "neuronedit"
        try:
            yield plt
        finally:
            for number in set(plt.get_fignums()) - before:
                plt.close(number)


def draw_figure(draw: Callable[[], Any], alt: str, caption: str) -> Figure:
    """Return what a function of ne.pl draws, as an SVG image, or as PNG where that is smaller."""
    with drawing():
        figure = draw()
        buffer, kind = io.BytesIO(), "svg+xml"
        figure.savefig(buffer, format="svg", metadata={"Date": None}, bbox_inches="tight", facecolor="white")
        if len(buffer.getvalue()) > MAX_BYTES_OF_DRAWING:
            buffer, kind = io.BytesIO(), "png"
            figure.savefig(buffer, format="png", dpi=160, bbox_inches="tight", facecolor="white")
        width = int(figure.get_size_inches()[0] * PIXELS_PER_INCH)
    address = f"data:image/{kind};base64,{base64.b64encode(buffer.getvalue()).decode()}"
    return Figure(address, alt, caption, width)


def rebuild_cells(result: Result) -> AnnData:
    """Return an AnnData with the record and the distances alone, under the names that are shown; it has no values."""
    labels, distances = result.labels, []
    for part in result.parts:
        column = part.adata.obs.get(_slots.distance(result.key))
        distances.append(np.full(len(part.rows), np.nan) if column is None else column.to_numpy()[part.rows])
    obs = labels.set_index(pd.RangeIndex(len(labels)).astype(str))
    obs[_slots.distance(result.key)] = np.concatenate(distances)
    adata = AnnData(obs=obs, var=pd.DataFrame(index=result.features))
    Record(result.key, result.tool, result.config, result.content).write(adata)
    return adata


def draw_support(result: Result, sample: CellSample) -> list[Figure]:
    """Draw how far the query lies from the source."""
    if result.tool is not Tool.EDIT:
        return []
    from .. import pl

    adata = rebuild_cells(result)
    distances = adata.obs[_slots.distance(result.key)]
    if distances.notna().sum() < 2:
        return []
    groupby = "population" if "population" in adata.obs else None
    share = (distances.dropna() > 1).mean()
    alt = f"Distances of the query from the source: {share:.0%} of the query cells lie outside of what the source contains."
    caption = "How far query cells lie from the source on which the change was fitted. Beyond 1 it extrapolates."
    return [draw_figure(lambda: pl.support(adata, key=result.key, groupby=groupby, return_fig=True), alt, caption)]


def draw_coverage(result: Result) -> list[Figure]:
    """Draw what samples hold that the controls of their batch do not."""
    features = result.content.get("features")
    if result.tool is not Tool.CORRECT or "model" in result.config or features is None:
        return []
    if "outside_control" not in features or features["outside_control"].isna().all():
        return []
    from .. import pl

    adata = rebuild_cells(result)
    largest = features.loc[features["outside_control"].idxmax()]
    alt = (
        "Share of the samples' cells beyond the range of their controls, by batch and marker; the largest is "
        f"{largest['outside_control']:.1%}, in {largest['feature']} of {largest['batch']}. On the right a dot for each sample."
    )
    caption = (
        "Left: the share of the samples' cells beyond the central 99 % of their controls, by batch and marker; 1 % is usual. "
        "Right: each sample's composition beside the controls', or the share of its cells outside."
    )
    return [draw_figure(lambda: pl.coverage(adata, key=result.key, return_fig=True), alt, caption)]


def draw_cross_validation(result: Result) -> list[Figure]:
    """Draw what was cross-validated, and the ensemble that was made of it."""
    if result.tool is not Tool.EDIT or "ensemble" not in result.content:
        return []
    from .. import pl

    adata, ensemble = rebuild_cells(result), result.content["ensemble"]
    weights = sorted(zip(ensemble["weights"], ensemble["candidates"], strict=True), reverse=True)
    alt = (
        f"Cross-validation of {len(weights)} candidate edits and their weights in the ensemble; the largest is that of "
        f"{weights[0][1]}. The ensemble is expected to close {float(ensemble['expected']):.2f} of the distance."
    )
    caption = "Left: the share of the distance that each candidate closed in folds that were held out. Right: its weight in the ensemble."
    return [draw_figure(lambda: pl.cross_validation(adata, key=result.key, return_fig=True), alt, caption)]


def draw_marker_shift(result: Result) -> list[Figure]:
    """Draw the applied against the observed change; it shows names of markers alone."""
    if result.tool is not Tool.EDIT or "model" in result.config:
        return []
    from .. import pl

    adata = result.parts[0].adata
    alt = "The applied change of each marker in the query against the change observed from source to target."
    caption = "On the dashed line, what was applied is what was observed. The query may rightly differ from it."
    how: dict[str, Any] = {"key": result.key, "statistic": np.mean, "n_labels": 20, "return_fig": True}
    return [draw_figure(lambda: pl.marker_shift(adata, **how), alt, caption)]


def draw_scores(result: Result) -> list[Figure]:
    """Draw the scores of the methods of a comparison."""
    if result.scores is None:
        return []
    from .. import pl

    table = result.scores
    alt = f"Scores of {table['method'].nunique()} methods by {table['metric'].nunique()} metrics, with 95 % intervals; the table below has them."
    caption = "1 is ideal. For distances, 0 is as far from the truth as the cells left alone."
    return [draw_figure(lambda: pl.compare(table, return_fig=True), alt, caption)]
