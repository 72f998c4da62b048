"""Formulas as MathML: browsers draw it themselves, without a script, offline, in the colour of the text."""

import html

from docutils import nodes
from docutils.utils.math import latex2mathml
from sphinx.writers.html5 import HTML5Translator


def mathml(tex, *, block):
    """Return a formula as an HTML element."""
    return latex2mathml.tex2mathml(tex.replace(r"\dots", r"\ldots"), as_block=block)


def inline(translator: HTML5Translator, node):
    """Write a formula within a line."""
    translator.body.append(f'<span class="math">{mathml(node.astext(), block=False)}</span>')
    raise nodes.SkipNode


def display(translator: HTML5Translator, node):
    """Write a formula that stands alone; what is wider than the page is scrolled by itself."""
    label = html.escape(node.astext().strip(), quote=True)
    element = mathml(node.astext(), block=True)
    translator.body.append(f'<div class="math-block" role="math" aria-label="{label}">{element}</div>\n')
    raise nodes.SkipNode


def setup(app):
    """Register the renderer."""
    app.add_html_math_renderer("mathml", (inline, None), (display, None))
    return {"parallel_read_safe": True, "parallel_write_safe": True}
