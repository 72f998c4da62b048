"""The plots of single cells: two scatter plots of bokeh, which a script of the page fills."""

import json
import re
from typing import Any

SIDES = ("left", "right")


def make_plots(n_plots: int) -> dict[str, Any]:
    """Return the documents and roots of one or two empty scatter plots, as bokeh's script embeds them."""
    from bokeh.document import Document
    from bokeh.embed.util import standalone_docs_json_and_render_items
    from bokeh.models import BoxZoomTool, ColumnDataSource, InlineStyleSheet, PanTool, Range1d, ResetTool, WheelZoomTool
    from bokeh.plotting import figure

    document, plots = Document(), []
    x_range, y_range = Range1d(0, 1, name="x"), Range1d(0, 1, name="y")
    for side in SIDES[:n_plots]:
        tools = [PanTool(), BoxZoomTool(), WheelZoomTool(), ResetTool()]
        plot = figure(
            name=f"plot-{side}", x_range=x_range, y_range=y_range, tools=tools, sizing_mode="stretch_width",
            aspect_ratio=1.15, min_border=4, toolbar_location="right",
        )  # fmt: skip
        plot.toolbar.logo = None
        plot.toolbar.stylesheets = [InlineStyleSheet(css=".bk-divider { background-color: transparent; }")]
        plot.toolbar.active_drag = tools[1]
        source = ColumnDataSource({"x": [], "y": [], "color": []}, name=f"cells-{side}")
        plot.scatter("x", "y", source=source, color="color", size=4, alpha=0.6, line_width=0)
        document.add_root(plot)
        plots.append(plot)
    documents, items = standalone_docs_json_and_render_items(plots)
    return _number_models({"documents": documents, "items": [item.to_json() for item in items]})


def _number_models(embedded: dict[str, Any]) -> dict[str, Any]:
    """Give documents and models numbers that do not depend on what was made before."""
    (document,) = embedded["documents"].values()
    (item,) = embedded["items"]
    roots = [f"plot-{side}" for side, _ in zip(SIDES, item["roots"], strict=False)]
    text = json.dumps({"document": document, "roots": list(item["roots"])})
    numbers = {model: f"p{i}" for i, model in enumerate(dict.fromkeys(re.findall(r'"(p\d+)"', text)), start=1)}
    numbered = json.loads(re.sub(r'"(p\d+)"', lambda match: f'"{numbers[match.group(1)]}"', text))
    item = {
        "docid": "cells",
        "roots": dict(zip(numbered["roots"], roots, strict=True)),
        "root_ids": numbered["roots"],
    }
    return {"documents": {"cells": numbered["document"]}, "items": [item]}


def read_library() -> str:
    """Return bokeh's own script, of which only the part for plots is needed."""
    from bokeh.resources import Resources

    resources = Resources(mode="inline", components=["bokeh"], minified=True)
    return "\n".join(part.replace("</script", "<\\/script") for part in resources.js_raw)
