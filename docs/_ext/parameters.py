"""Parameters in the pages of the API: short names of types, shared texts written once, and long lists in groups."""

import inspect
import re
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Annotated, get_args, get_origin

from docutils import nodes
from sphinx import addnodes
from sphinx.ext.napoleon.docstring import NumpyDocstring
from sphinx_autodoc_typehints import format_annotation

FIELD = re.compile(r"^:param (?P<name>[^:]+):(?P<text>.*)$")
DOCUMENTED = re.findall(r"^   (\w+\.\w+)$", (Path(__file__).parents[1] / "api.md").read_text(), flags=re.MULTILINE)
OF_PYTHON = ("builtins", "collections.abc", "types", "typing")
SHORTER = [
    (re.compile(r"\{'\w+': Candidate\(.*\)\}"), "CANDIDATES"),
    (re.compile(r"<function (?:[\w<>]+\.)*(\w+)(?: at 0x\w+)?>"), r"\1"),
    (re.compile(r"<bound method ([\w.]+) of <class '[\w.]+'>>"), r"\1"),
    (re.compile(r"<factory>"), "..."),
]
"""Defaults whose representation says less than their name."""

LONG = 9
"""Lists of so many parameters are in groups."""
GROUPS = {
    "Input": """
        adata model cells layer key groupby groups source target query truth x y layers batch features n image_shape
        batch_key control_key control reference sample_key effects measured predicted truth_layer source_and_target
        path metadata panel data_set
    """,
    "Method": """
        space max_epochs batch_size lr n_steps schedule validation_size early_stopping space_params widths penalty
        edit strata strength bounds edit_params bridge held_out_controls score margin fdr n_bootstrap
        methods metrics held_out baseline n_seeds compensate cofactor offsets convert statistic
    """,
    "Drawing": "kind by_group difference arrows palette point_size alpha n_labels above_zero limits ax show return_fig",
    "Output": "key_added write_to copy as_layers",
    "Computation": "rng accelerator precision cuda_graph progress_bar",
}
"""In this order on the page."""


@cache
def public_names():
    """Return the name under which each class of the package has a page."""
    classes = {}
    for name in DOCUMENTED:
        module, _, member = name.partition(".")
        found = getattr(import_module(f"neuronedit.{module}"), member)
        if inspect.isclass(found):
            classes[found] = f"neuronedit.{name}"
    return classes


class FormatType:
    """Write a class by its short name; it is a link where this site has a page for it. Its pickle is kept between builds."""

    def __call__(self, annotation, config):
        if get_origin(annotation) is Annotated:  # what values are checked by; the text of a parameter says its limits
            return format_annotation(get_args(annotation)[0], config)
        if not inspect.isclass(annotation) or annotation.__module__ in OF_PYTHON:
            return None
        if annotation in public_names():
            return f":py:class:`~{public_names()[annotation]}`"
        package = annotation.__module__.split(".")[0]
        return f"``{annotation.__name__}``" if package == "neuronedit" else f"``{package}.{annotation.__name__}``"

    def __eq__(self, other):
        return isinstance(other, FormatType)

    def __hash__(self):
        return hash(FormatType)


def parse_returns(docstring, section):
    """Keep sentences over several lines together, and list what is named below them; napoleon makes an item of each line."""
    lines, text = docstring._dedent(docstring._consume_to_next_section()), []
    lines[:1] = [line.removeprefix(":").lstrip() for line in lines[:1]]  # sphinx_autodoc_typehints adds it
    for line, following in zip(lines, [*lines[1:], ""], strict=True):
        names = bool(line) and not line[0].isspace() and following[:1].isspace()
        if names and text and text[-1] and not text[-1][0].isspace():
            text.append("")  # a list of what is named begins
        text.append(line)
    return docstring._format_block(":returns: ", text)


def share_texts(app, what, name, obj, options, lines):
    """Keep the text of parameters that are described together (``source, target``) with the last of them."""
    fields = split_fields(lines)
    for first, following in zip(fields, fields[1:], strict=False):
        match, match_following = FIELD.match(first[0]), FIELD.match(following[0])
        if match and match_following and text_of(first) and text_of(first) == text_of(following):
            first[:] = [f":param {match['name']}:"]
    lines[:] = [line for field in fields for line in field]


def shorten(text):
    """Write long defaults by their names."""
    for pattern, name in SHORTER:
        text = pattern.sub(name, text)
    return text


def shorten_signature(app, what, name, obj, options, signature, return_annotation):
    """Do so in a signature, where there is one."""
    is_long = signature and shorten(signature) != signature
    return (shorten(signature), return_annotation) if is_long else None  # the first answer is taken


def shorten_defaults(app, what, name, obj, options, lines):
    """Do so in the fields of parameters."""
    lines[:] = [shorten(line) if line.startswith(":type ") else line for line in lines]


def split_fields(lines):
    """Split a docstring where a field begins; what goes before the first one is the first part."""
    parts = [[]]
    for line in lines:
        if line.startswith(":"):
            parts.append([])
        parts[-1].append(line)
    return parts


def text_of(field):
    """Return the text of a parameter's field, without its name."""
    match = FIELD.match(field[0]) if field else None
    return " ".join([match["text"], *field[1:]]).split() if match else None


def group_parameters(app, tree):
    """Put the parameters of functions that have many under headings."""
    for function in tree.findall(lambda node: isinstance(node, addnodes.desc) and node["objtype"] == "function"):
        for field in function.findall(nodes.field):
            if field[0].astext() != "Parameters" or not isinstance(field[1][0], nodes.bullet_list):
                continue
            items = field[1][0].children
            if len(items) < LONG:
                continue
            field[1].clear()
            for heading in GROUPS:
                if own := [item for item in items if find_group(item) == heading]:
                    title = nodes.paragraph("", "", nodes.strong(text=heading), classes=["parameter-group"])
                    field[1] += [title, nodes.bullet_list("", *own)]


def find_group(item):
    """Return the heading of the parameter that an item of the list describes."""
    name = next(item.findall(addnodes.literal_strong)).astext().lstrip("*")
    found = [heading for heading, names in GROUPS.items() if name in names.split()]
    if len(found) != 1:
        raise ValueError(
            f"GROUPS in docs/_ext/parameters.py has the parameter {name} in {len(found)} groups; one is needed."
        )
    return found[0]


def skip_fields(app, what, name, obj, skip, options):
    """Leave out the fields of named tuples, which their class describes; Python calls each an alias for a number."""
    return True if (inspect.getdoc(obj) or "").startswith("Alias for field") else None


def setup(app):
    """Come after numpydoc's sections are fields, and before types are written into them."""
    app.config.typehints_formatter = FormatType()
    NumpyDocstring._parse_returns_section = parse_returns
    app.connect("autodoc-process-docstring", share_texts)
    app.connect("autodoc-process-docstring", shorten_defaults, priority=900)  # after the types are written
    app.connect("autodoc-process-signature", shorten_signature, priority=100)
    app.connect("autodoc-skip-member", skip_fields)
    app.connect("doctree-read", group_parameters)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
