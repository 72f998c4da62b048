"""Every figure says in words what it shows: figures of the gallery by what is written in them, others by where they stand."""

import matplotlib.pyplot as plt
from docutils import nodes
from sphinx.transforms.post_transforms import SphinxPostTransform
from sphinx_gallery.scrapers import matplotlib_scraper


def described(block, block_vars, gallery_conf):
    """Keep the figures of a block of an example, with their descriptions as alternative text."""
    texts = [describe(plt.figure(number)) for number in plt.get_fignums()]
    written = []
    for line in matplotlib_scraper(block, block_vars, gallery_conf).splitlines():
        key, colon, _ = line.partition(":alt:")
        written.append(f"{key}{colon} {texts.pop(0)}" if colon and texts else line)
    return "\n".join(written)


def describe(figure):
    """Name the panels of a figure, their axes and their legends, in one line."""
    parts = []
    for ax in figure.axes:
        axes = " against ".join(label for label in (ax.get_ylabel(), ax.get_xlabel()) if label)
        parts.append(": ".join(part for part in (ax.get_title() or ax.get_title("left"), axes) if part))
    keys = [legend.get_texts() for legend in (*figure.legends, *(ax.get_legend() for ax in figure.axes)) if legend]
    names = dict.fromkeys(text.get_text() for texts in keys for text in texts if text.get_text())
    panels = "; ".join(dict.fromkeys(part for part in parts if part)) or "no labels"
    text = f"Plot of {panels}" + (f". Shown: {', '.join(names)}" if names else "")
    return " ".join(text.split())


class AltText(SphinxPostTransform):
    """Give the figures of notebooks that name none (``image: {alt: ...}``) an alternative text: the heading they are under."""

    default_priority = 5

    def run(self, **kwargs):
        """Write the attribute."""
        for image in self.document.findall(nodes.image):
            if not image.get("alt", "").strip():
                section = next((n for n in ancestors(image) if isinstance(n, nodes.section)), self.document)
                title = next(iter(section.findall(nodes.title)), None)
                image["alt"] = f"Figure: {title.astext() if title else self.env.docname}"


def ancestors(node):
    """Yield what a node is in, from the inside out."""
    while node := node.parent:
        yield node


def setup(app):
    """Register the transform."""
    app.add_post_transform(AltText)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
