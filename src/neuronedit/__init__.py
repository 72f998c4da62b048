"""Apply a change that was measured in some cells to others.

Importing this loads neither torch nor anndata: the parts below are loaded when they are first used.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from . import baselines, datasets, edits, ensemble, io, metrics, pl, pp, spaces, tl
    from ._report import report

ROOMS = ["baselines", "datasets", "edits", "ensemble", "io", "metrics", "pl", "pp", "spaces", "tl"]
__all__ = ["baselines", "datasets", "edits", "ensemble", "io", "metrics", "pl", "pp", "report", "spaces", "tl"]

FUNCTIONS = {"report": "_report"}  # what is no room, and the room that has it


def __getattr__(name: str) -> Any:
    if name in FUNCTIONS:
        return getattr(import_module(f".{FUNCTIONS[name]}", __name__), name)
    if name in ROOMS:
        return import_module(f".{name}", __name__)
    if name == "__version__":
        from importlib.metadata import version

        return version(__name__)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
