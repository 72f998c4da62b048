"""``neuronedit app``: a page in the browser that corrects batches, without a command."""

import asyncio
from importlib.util import find_spec

import click

from ._options import FILE, example
from ._screen import Outcome, Screen
from ._verb import Settings, Verb, run_option

PACKAGES_OF_PAGE = ("tornado", "bokeh", "jinja2")  # of the page, and of the report


def run_app(screen: Screen, settings: Settings) -> Outcome:
    """Serve the page until Ctrl-C."""
    # check
    if missing := [name for name in PACKAGES_OF_PAGE if find_spec(name) is None]:
        raise ImportError(f"the page needs {' and '.join(missing)}: pip install 'neuronedit[app]'.")
    from .._app._server import serve

    # serve
    screen.begin()
    goes_on = asyncio.run(serve(settings.root, settings.port, screen.say, opens_browser=not settings.no_browser))
    if goes_on:
        screen.say("A run is at work, and goes on: neuronedit app shows it again.")
    return Outcome()


app_verb = Verb(
    "app",
    run_app,
    short_help="Open a page in the browser that corrects batches.",
    help="Open a page in the browser: choose FCS files or an .h5ad file, look at them, name batches and controls, correct, and read the "
    "report. The page is on this machine alone, and opens with the token of the address that is printed. Ctrl-C ends it; a run that "
    "is at work goes on."
    + example("neuronedit app --root study"),
    params=[
        run_option("--root", type=FILE, default=".", metavar="FOLDER", help="The folder that is opened: nothing outside of it is read or written."),
        run_option("--port", type=click.IntRange(min=0, max=65_535), default=0, metavar="N", help="The port to listen on.  [default: one that is free]", show_default=False),
        run_option("--no-browser", is_flag=True, help="Print the address, and open no browser."),
    ],
)  # fmt: skip
