"""Parameter texts that several functions share, written once.

A line ``%(name)s`` of a docstring stands for the text of that name; `shared_docs` fills it in.
"""

import re
from inspect import cleandoc
from textwrap import indent
from typing import Any, TypeVar

Documented = TypeVar("Documented", bound=Any)

TEXTS = {
    "populations": """
        source, target
            ``(n_cells, n_features)``
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
    "layer": """
        layer
            Read this layer. `None`: the one that the space was trained on.
        """,
    "key": """
        key
            Where :func:`neuronedit.tl.train` kept the trained space in ``uns``.
        """,
    "accelerator": """
        accelerator
            ``"auto"``, ``"cpu"``, ``"cuda"``, ``"mps"``. ``"auto"`` takes an accelerator where there is one.
        """,
    "progress_bar": """
        progress_bar
            Show one. `None`: in terminals and notebooks.
        """,
    "rng": """
        rng
            Seed of all that is drawn at random.
        """,
    "copy": """
        copy
            Return a new AnnData and leave this one as it is.
        """,
    "border_errors": """
        ValueError, TypeError, KeyError
            Before any work, and with ``adata`` unchanged.
        """,
    "ax": """
        ax
            Axes to draw into, one for each panel. `None`: new ones.
        """,
    "figure": """
        show
            Call ``plt.show()``.
        return_fig
            Return the figure instead of its Axes.
        """,
    "palette": """
        palette
            Colours, or a dict group -> colour. `None`: those in ``uns["<groupby>_colors"]``, else colour-blind safe ones.
        """,
    "training": """
        n_steps, batch_size, lr
            Steps, cells a step, and learning rate of Adam, which falls to zero over the second half.
        """,
}


def shared_docs(thing: Documented) -> Documented:
    """Replace every line ``%(name)s`` in the docstring of a function or class by the text of that name, indented alike."""
    if thing.__doc__ is not None:  # python -OO has none
        thing.__doc__ = re.sub(r"^([ ]*)%\((\w+)\)s$", _text, thing.__doc__, flags=re.MULTILINE)
    return thing


def _text(match: "re.Match[str]") -> str:
    spaces, name = match.groups()
    return indent(cleandoc(TEXTS[name]), spaces)
