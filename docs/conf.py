"""Sphinx settings."""

import os
import sys
from importlib.metadata import metadata
from pathlib import Path

import matplotlib

sys.path.insert(0, str(Path(__file__).parent / "_ext"))
matplotlib.use("agg")
os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"  # tutorials call neuronedit
os.environ.pop("MPLBACKEND", None)  # the kernels of notebooks show figures in their own way

project = "neuronedit"
description = "Apply a change that was measured in some cells to others"
author = "the neuronedit developers"
copyright = f"2026, {author}"
package = metadata("neuronedit")
release = version = package["Version"]
addresses = dict(line.split(", ", 1) for line in package.get_all("Project-URL"))

extensions = [
    "built",
    "notebooks",
    "mathml",
    "alt_text",
    "llms",
    "tables",
    "myst_nb",
    "notfound.extension",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.napoleon",
    "parameters",  # between these two
    "sphinx_autodoc_typehints",
    "sphinx_copybutton",
    "sphinx_design",
    "sphinx_gallery.gen_gallery",
    "sphinxcontrib.bibtex",
]
templates_path = ["_templates"]
exclude_patterns = ["_build", "_ext", "built", "gallery/**/*.ipynb", "gallery/**/*.py", "jupyter_execute"]
nitpicky = True
nitpick_ignore_regex = [
    (
        "py:.*",
        r"(anndata|collections|matplotlib|mudata|numpy|os|pandas|scanpy|torch|typing)\..*",
    ),  # no links over the network
    ("py:data", "Ellipsis"),
]

html_theme = "sphinx_book_theme"
html_title = project
html_baseurl = os.environ.get("READTHEDOCS_CANONICAL_URL", addresses["Documentation"] + "/")
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_copy_source = True
html_theme_options = {
    "repository_url": addresses["Source"],
    "use_repository_button": True,
    "navbar_persistent": [],  # the search is in the sidebar
}
html_math_renderer = "mathml"
notfound_urls_prefix = "/en/latest/" if "READTHEDOCS" in os.environ else "/"

autosummary_generate = True
autodoc_member_order = "bysource"
autodoc_typehints = "none"  # they stand beside each parameter, not in the signature
always_use_bars_union = True
typehints_defaults = "comma"
typehints_document_rtype_none = False
napoleon_google_docstring = False
napoleon_use_param = True  # the type of a parameter is written into its field
napoleon_use_rtype = False
default_role = "code"
bibtex_bibfiles = ["references.bib"]
bibtex_default_style = "plain"
myst_enable_extensions = ["colon_fence", "dollarmath"]
myst_heading_anchors = 3

# A tutorial that fails, or whose conclusion no longer holds, fails the build.
nb_execution_mode = "force"
nb_execution_timeout = 600
only = os.environ.get("TUTORIALS", "").split()  # names of those to run; none: all
nb_execution_excludepatterns = [
    f"tutorials/{path.name}"
    for path in sorted((Path(__file__).parents[1] / "tutorials").glob("*.md"))
    if only and path.stem not in only
]
nb_execution_raise_on_error = True
nb_output_stderr = "remove"  # progress bars

sphinx_gallery_conf = {
    "examples_dirs": "../examples",
    "gallery_dirs": "gallery",
    "filename_pattern": "/",
    "subsection_order": ["../examples/tasks", "../examples/plots"],
    "image_scrapers": ("alt_text.described",),
    "within_subsection_order": "FileNameSortKey",
    "abort_on_example_error": True,
    "capture_repr": (),
    "download_all_examples": False,
    "notebook_extensions": set(),
    "write_computation_times": False,
    "show_memory": False,
    "show_signature": False,
    "remove_config_comments": True,
    "thumbnail_size": (400, 260),
}
