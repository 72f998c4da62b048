"""``llms.txt``: what the site has, one line a page, for readers that take text; the sources lie beside the pages."""

INTRO = """# {project}

> {description}

Python, AnnData, PyTorch. `pip install .` in a checkout (not on PyPI yet), `import neuronedit as ne`; `ne.pp` prepares, `ne.tl` computes, `ne.pl` draws.

"""

PARTS = {"tutorials/": "Tutorials", "gallery/": "Gallery", "generated/": "API", "guide/": "User guide"}

DOWNLOAD = "Go to the end"
"""How the note begins that the gallery puts above each example."""


def write(app, error):
    """Write it to the root of the site."""
    if error or app.builder.format != "html":
        return
    parts = {name: [] for name in ("Pages", "User guide", "Tutorials", "Gallery", "API")}
    base = (app.config.html_baseurl or "").rstrip("/")
    for name in sorted(app.env.found_docs - {"404"}):
        title = app.env.titles[name].astext()
        part = next((heading for start, heading in PARTS.items() if name.startswith(start)), "Pages")
        link = f"{base}/{name}.html" if base else f"{name}.html"
        parts[part].append(f"- [{title}]({link}){summary(app, name)}")
    text = INTRO.format(project=app.config.project, description=app.config.description)
    text += "\n".join(f"## {heading}\n\n" + "\n".join(lines) + "\n" for heading, lines in parts.items() if lines)
    (app.outdir / "llms.txt").write_text(text)


def summary(app, name):
    """Return the first sentence of a page, if it begins with a paragraph."""
    from docutils import nodes

    tree = app.env.get_doctree(name)
    texts = (node.astext() for node in tree.findall(nodes.paragraph) if not node.next_node(nodes.image))
    first = next((text for text in texts if not text.startswith(DOWNLOAD)), "")
    sentence = " ".join(first.split()).split(". ")[0].rstrip(".")
    return f": {sentence}." if 15 < len(sentence) < 220 else ""


def setup(app):
    """Write after the build."""
    app.add_config_value("description", "", "html")
    app.connect("build-finished", write)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
