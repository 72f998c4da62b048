"""Each tutorial as a notebook: to download from the site, and to open in Colab.

``python docs/_ext/notebooks.py FOLDER`` writes those for Colab. A release puts them into the branch ``notebooks``.
"""

import re
import sys
from importlib.metadata import metadata
from pathlib import Path

TUTORIALS = Path(__file__).parents[2] / "tutorials"
ADDRESSES = dict(line.split(", ", 1) for line in metadata("neuronedit").get_all("Project-URL"))
INSTALL = '%pip install --quiet "neuronedit[dask,fcs,ot,rdata,report]"'
"""First cell of a notebook for Colab, where torch is there."""


def write(folder, *, first=None):
    """Write each tutorial, with ``first`` as its first cell."""
    import nbformat
    from myst_nb.core.read import read_myst_markdown_notebook

    folder.mkdir(parents=True, exist_ok=True)
    for path in sorted(TUTORIALS.glob("*.md")):
        if path.stem == "index":
            continue
        notebook = nbformat.from_dict(read_myst_markdown_notebook(path.read_text(), add_source_map=False))
        for cell in notebook.cells:
            if cell.cell_type == "markdown":
                cell.source = to_markdown(cell.source)
        if first:
            notebook.cells.insert(0, nbformat.v4.new_code_cell(first))
        nbformat.write(notebook, folder / f"{path.stem}.ipynb")


def to_markdown(text):
    """Return what Jupyter shows as it is meant: links for roles, quotes for boxes."""
    site = ADDRESSES["Documentation"]
    text = re.sub(r"^\{download\}`.*\n?", "", text, flags=re.MULTILINE)
    text = re.sub(r"\{(?:func|class|meth)\}`~?neuronedit\.([\w.]+)`", r"`ne.\1`", text)
    text = re.sub(r"\{(?:func|class|meth)\}`~?([\w.]+)`", r"`\1`", text)
    text = re.sub(r"\{doc\}`(?:\.\./|/)?([\w/]+)`", rf"[\1]({site}/\1.html)", text)

    def quote(box):
        lines = [f"**{box[1]}**", *re.sub(r"^:\w+:.*\n", "", box[2], flags=re.MULTILINE).strip().splitlines()]
        return "\n".join(f"> {line}" if line else ">" for line in [lines[0], "", *lines[1:]])

    return re.sub(r"^:::\{(?:admonition|dropdown)\} ([^\n]*)\n(.*?)^:::$", quote, text, flags=re.MULTILINE | re.DOTALL)


def link_to_colab(text, name, source=ADDRESSES["Source"]):
    """Add to the line of the download a link that opens the notebook in Colab, once the project has an address."""
    if "/OWNER/" in source:
        return text
    opened = source.replace("https://github.com", "https://colab.research.google.com/github")
    link = f"to run it in Jupyter, or [open it in Colab]({opened}/blob/notebooks/{name}.ipynb)."
    return text.replace("to run it in Jupyter.", link, 1)


def add_link(app, name, source):
    """Do so in the pages of the tutorials."""
    folder, _, page = name.rpartition("/")
    if folder == "tutorials" and page != "index":
        source[0] = link_to_colab(source[0], page)


def spread(app, env, names):
    """Put the tutorials far from each other in the list of pages: one process reads those that stand together."""
    tutorials = [name for name in names if name.startswith("tutorials/")]
    others = [name for name in names if name not in tutorials]
    step = len(names) / max(len(tutorials), 1)
    for i, name in enumerate(tutorials):
        others.insert(int(i * step), name)
    names[:] = others


def setup(app):
    app.connect("source-read", add_link)
    app.connect("env-before-read-docs", spread)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


if __name__ == "__main__":
    write(Path(sys.argv[1]), first=INSTALL)
