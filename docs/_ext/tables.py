"""Tables with sentences: on narrow screens their cells stand below each other, each after the name of its column."""

from docutils import nodes

LONG_TEXT = 60
"""Characters: a cell with more of them is cut off, or a sliver, beside others on a phone. `docs/test_site.py` has the same number."""


def mark_tables(app, doctree):
    """Give tables with long texts the class ``prose``, and their cells the names of columns, which wide screens hide."""
    for table in doctree.findall(nodes.table):
        body = next(table.findall(nodes.tbody))
        entries = list(body.findall(nodes.entry))
        if "autosummary" in table["classes"] or all(len(entry.astext()) <= LONG_TEXT for entry in entries):
            continue
        table["classes"].append("prose")
        heads = [entry.astext() for entry in table.findall(nodes.entry)][: len(body[0])]
        for row in body if len(heads) > 2 else []:
            for head, entry in zip(heads[1:], row[1:], strict=True):
                if head and entry.astext():
                    entry[0].insert(0, nodes.inline("", f"{head}: ", classes=["column-name"]))


def setup(app):
    app.connect("doctree-read", mark_tables)
    return {"parallel_read_safe": True, "version": "1"}
