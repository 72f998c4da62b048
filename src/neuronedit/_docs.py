"""Parameter texts that several functions share, written once.

A line ``%(name)s`` of a docstring stands for the text of that name; every room fills it in by `share_docs`.
"""

import re
from inspect import cleandoc, isclass
from textwrap import indent
from typing import Any

TEXTS = {
    "populations": """
        source, target
            ``(n_cells, n_features)``
        """,
    "n_neighbors": """
        n_neighbors
            How many source cells' moves are averaged, at most all of them. More is smoother and has less of their noise; with
            all of them every cell moves alike.
        """,
    "groupby": """
        groupby
            Column of ``obs``.
        """,
    "edit": """
        edit, strata, **edit_params
            How each change is fitted, as in :func:`neuronedit.tl.edit`.
        """,
    "bounds": """
        bounds
            Lowest and highest value that an edited cell may take: ``(0, None)`` where values below 0 make no sense. What lies
            beyond is set to the bound, and counted. `None`: no bounds.
        """,
    "treatments": """
        adata
            Cells by features, with a trained space; :func:`neuronedit.tl.combine` trains one if there is none.
        groupby
            Column of ``obs`` with the treatments.
        control
            Its value for untreated cells.
        effects
            Its values for cells under one treatment each: two, or more where all combinations of two are predicted.
        """,
    "reading": """
        layer
            Read this layer. `None`: the one that the space was trained on.
        key
            Where :func:`neuronedit.tl.train` kept the trained space in ``uns``.
        """,
    "computing": """
        accelerator
            ``"auto"``, ``"cpu"``, ``"cuda"``, ``"mps"``. ``"auto"`` takes an accelerator where there is one.
        rng
            Seed of all that is drawn at random.
        progress_bar
            Show one, and print the verdict if nothing collects the log. `None`: in terminals and notebooks.
        """,
    "layer": """
        layer
            Read this layer. `None`: the one that the space was trained on.
        """,
    "accelerator": """
        accelerator
            ``"auto"``, ``"cpu"``, ``"cuda"``, ``"mps"``. ``"auto"`` takes an accelerator where there is one.
        """,
    "progress_bar": """
        progress_bar
            Show one, and print the verdict if nothing collects the log. `None`: in terminals and notebooks.
        """,
    "rng": """
        rng
            Seed of all that is drawn at random.
        """,
    "copy": """
        copy
            Return a new AnnData and leave this one as it is.
        """,
    "transformed_layer": """
        layer
            Transform this layer instead of X.
        key_added
            Write into this layer instead of in place.
        copy
            Return a new AnnData and leave this one as it is.
        """,
    "border_errors": """
        ValueError, TypeError, KeyError
            Before any work, and with ``adata`` unchanged. Also unchanged where a result would be NaN or infinite (ValueError).
        """,
    "figure": """
        ax
            Axes to draw into, one for each panel. `None`: new ones.
        show
            Call ``plt.show()``.
        return_fig
            Return the figure instead of its Axes.

        Returns
        -------
        The Axes, or a list with one for each panel; the Figure with ``return_fig=True``.

        Raises
        ------
        KeyError, ValueError, TypeError
            When what is to be drawn is not there; the message lists what is.
        """,
    "most": """
        most
            Draw at most so many, the first ones. How many more there are stands after the last.
        """,
    "result_key": """
        key
            ``key_added`` of what is drawn.
        """,
    "image_grid": """
        cells
            Names of the images. `None`: ``n`` of those that were edited, evenly spaced.
        n
            How many, when none are named.
        image_shape
            ``(rows, columns)``, or ``(rows, columns, channels)`` with 1 or 3 channels. `None`: ``uns["image_shape"]``.
        limits
            Values that are drawn black and white, the same in all rows. `None`: 0 and 1 if all originals lie between, else their
            lowest and highest.
        """,
    "cells_of_edit": """
        adata
            After :func:`neuronedit.tl.edit`, whose record says which cells are meant.
        """,
    "batch": """
        batch
            After :func:`neuronedit.tl.correct`, the batch that is drawn. Its control is the source and its samples are the
            query. The control of the reference is the target, or the controls of all batches where there is no reference.
        """,
    "points": """
        kind
            ``"points"``: every cell, rasterized, in an order shuffled over the groups so that none hides another;
            ``"contours"``: filled areas that enclose 25, 50, 75 and 95 % of each group's cells, from dark to pale.
            `None`: points up to 2,000 cells in a panel.
        point_size
            In points squared. `None`: smaller for more cells.
        alpha
            Opacity of the points, and of the innermost contours.
        """,
    "palette": """
        palette
            Colours, a dict group -> colour, or the name of a colour map of matplotlib. `None`: those in ``uns["<groupby>_colors"]``, else colour-blind safe ones.
        """,
    "cells_to_fit": """
        cells
            ``(n_cells, n_features)``
        """,
    "training_settings": """
        training
            How long, how fast and where; see :class:`neuronedit.spaces.Training`.
        """,
    "training": """
        n_steps, batch_size, lr
            Steps, cells in each, and learning rate of Adam, which falls to zero over the second half.
        """,
    "two_populations": """
        x, y
            ``(n_cells, n_features)``
        """,
    "predicted_and_true": """
        x, y
            Predicted cells, and true cells, ``(n_cells, n_features)``.
        """,
    "roles": """
        source, target, query, predicted
            ``(n_cells, n_features)``
        """,
    "neighbors_of_cells": """
        n_neighbors
            Neighbours of a cell, itself included. More look at a larger scale.
        """,
    "scib_errors": """
        Raises
        ------
        ImportError
            When scib-metrics (extra ``scib``) is not installed.
        ValueError
            Labels that are all the same, or more neighbours than cells.
        """,
    "max_cells": """
        max_cells
            Larger populations are subsampled to so many cells. For smaller ones the value is exact.
        """,
    "networks": """
        image_shape
            ``(rows, columns)`` or ``(rows, columns, channels)``, where each row of the data is an image: the networks are then
            convolutional, as in :class:`neuronedit.spaces.Conv`. `None`: dense layers.
        """,
    "cells_to_train_on": """
        cells
            What is trained on, best source, target and query together. `None`: source and target.
        """,
    "autoencoder_training": """
        n_steps
            Minibatches that the autoencoder is trained on.
        rng
            Seed of the training, and of all else that is random.
        fit
            Trains the autoencoder on cells. With ``functools.cache(Autoencoder.fit)`` several methods share one.
        """,
    "rdata_errors": """
        Raises
        ------
        ImportError
            When rdata (extra ``rdata``) is not installed.
        """,
    "bench_errors": """
        Raises
        ------
        ImportError
            When a package that it needs (extra ``bench``) is not installed.
        """,
}


def share_docs(room: dict[str, Any]) -> None:
    """Replace every line ``%(name)s`` in the docstrings of all that a room offers, and of its methods, by the text of that name."""
    for name in room["__all__"]:
        thing = room[name]
        if getattr(thing, "__module__", "").startswith(room["__name__"]):  # not of a room below
            methods = list(vars(thing).values()) if isclass(thing) else []
            functions = [getattr(method, "__func__", None) for method in methods]  # of class methods
            for documented in (thing, getattr(thing, "__wrapped__", None), *methods, *functions):
                doc = getattr(documented, "__doc__", None)  # python -OO has none
                if doc and "%(" in doc:
                    documented.__doc__ = re.sub(r"^([ ]*)%\((\w+)\)s$", _text, doc, flags=re.MULTILINE)


def _text(match: "re.Match[str]") -> str:
    spaces, name = match.groups()
    return indent(cleandoc(TEXTS[name]), spaces)
