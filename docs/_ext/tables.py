"""Tables with sentences: on narrow screens their cells stand below each other, each after the name of its column."""

from docutils import nodes

LONG_NAME, LONG_TEXT = 60, 35
"""Characters in the first cell of a row, and in another: with more of them cells beside each other are slivers, or cut off, on a phone."""


def mark_tables(app, doctree):
    """Give tables with long texts the class ``prose``, and their cells the names of columns, which wide screens hide."""
    for table in doctree.findall(nodes.table):
        body = next(table.findall(nodes.tbody))
        lengths = [[len(entry.astext()) for entry in row] for row in body]
        is_long = any(name > LONG_NAME or max(others, default=0) > LONG_TEXT for name, *others in lengths)
        if "autosummary" in table["classes"] or not is_long:
            continue
        table["classes"].append("prose")
        heads = [entry.astext() for head in table.findall(nodes.thead) for entry in head[-1]]  # none: no names
        for row in body if len(heads) > 2 else []:
            for head, entry in zip(heads[1:], row[1:], strict=True):
                if head and entry.astext():
                    entry[0].insert(0, nodes.inline("", f"{head}: ", classes=["column-name"]))


def setup(app):
    app.connect("doctree-read", mark_tables)
    return {"parallel_read_safe": True, "version": "1"}
