"""A report of a change that was applied: one HTML file, to read, to show and to keep."""

from .._check import guard
from .._docs import share_docs
from ._report import report

__all__ = ["report"]

share_docs(globals())
guard(globals())
