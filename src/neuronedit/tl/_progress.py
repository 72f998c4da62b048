"""Whether a progress bar is shown."""

import sys


def show_progress(progress_bar: bool | None) -> bool:
    """Return the caller's choice; `None`: whether somebody is watching, in a terminal or a notebook."""
    return sys.stderr.isatty() or "ipykernel" in sys.modules if progress_bar is None else progress_bar
