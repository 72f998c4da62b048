"""The rules of the house, held by reading the source: short bodies, plain words, one name for one thing, documented alike."""

import ast
import collections
import importlib
import inspect
import pkgutil
import re
import tokenize
from pathlib import Path

import neuronedit as ne

ROOT = Path(__file__).parents[1]
SRC = ROOT / "src" / "neuronedit"
TREES = {path.relative_to(SRC).as_posix(): ast.parse(path.read_text()) for path in sorted(SRC.rglob("*.py"))}

RIDDLES = """
    Lesson Learnt learnt lesson Way Options Carrier Carried carrier carry carries carried carry_over carries_over Within Seen
    Only Same Chain Mean Trained Known Plan Move Found Rows Brief brief Pair PAIR PAIRS Selected selected left_out
    inside away missed wrong said says tested maker judge some MOST MOST_COUNTED FEWEST FAR LISTED LEAST AT_ONCE
    labels_of labels_in rows_of way_of name_of name_of_choice label_of names_of config_of matrix_of recall in_words
    control_change beyond_controls n_resamples
"""
"""Whole identifiers that are riddles or private words: none is left in src, tests and benchmarks.

Not here, as they are ordinary words of Python, numpy or English that are used rightly: `chain`, `choice`, `draw`, `found`,
`known`, `mean`, `move`, `plain`, `plan`, `rows`, `same`, `seen`, `selection`, `trained`, `way`, and a variable `seed`.
"""
RIDDLES_IN_SRC = ["Cells", "again", "pair", "pairs"]
"""Names that tests and benchmarks may use for something of their own (`Cells` of a test), and src may not."""

GONE = {"mod", "inverse", "n_resamples", "pairs", "seed"}
"""Parameters that no public function has any more."""


def definitions(*kinds):
    """Yield "file:name" and the node of every function or class of src."""
    for file, tree in TREES.items():
        yield from ((f"{file}:{node.name}", node) for node in ast.walk(tree) if isinstance(node, kinds))


def parameters(node):
    """Return the names of the parameters of a function; of a class its fields, which are those of a dataclass."""
    if isinstance(node, ast.ClassDef):
        return [one.target.id for one in node.body if isinstance(one, ast.AnnAssign)]
    return [one.arg for one in ast.walk(node.args) if isinstance(one, ast.arg)]


def count_lines(function):
    """Return the number of lines of a body without its docstring."""
    body = function.body[ast.get_docstring(function, clean=False) is not None :]
    return body[-1].end_lineno - body[0].lineno + 1 if body else 0


def top_level_names(tree):
    """Return the names of the functions, classes and constants that a file defines."""
    names = {node.name for node in tree.body if isinstance(node, ast.FunctionDef | ast.ClassDef)}
    assignments = [node for node in tree.body if isinstance(node, ast.Assign | ast.AnnAssign)]
    targets = [target for node in assignments for target in getattr(node, "targets", [getattr(node, "target", None)])]
    return names | {leaf.id for target in targets for leaf in ast.walk(target) if isinstance(leaf, ast.Name)}


def identifiers(path):
    """Return the identifiers in a file; words in strings and comments are none."""
    with path.open("rb") as file:
        return {token.string for token in tokenize.tokenize(file.readline) if token.type == tokenize.NAME}


def test_tl_edit_fits_on_a_screen():
    edit = dict(definitions(ast.FunctionDef))["tl/_edit.py:edit"]
    assert len(parameters(edit)) <= 17 and count_lines(edit) <= 45


def test_no_body_is_long():
    assert [name for name, node in definitions(ast.FunctionDef) if count_lines(node) > 60] == []


def test_no_riddles():
    found = {}
    for folder, more in (("src", RIDDLES_IN_SRC), ("tests", []), ("benchmarks", [])):
        for path in sorted((ROOT / folder).rglob("*.py")):
            found[str(path.relative_to(ROOT))] = sorted(identifiers(path) & {*RIDDLES.split(), *more})
    assert {path: names for path, names in found.items() if names} == {}


def test_parameters_that_are_gone():
    public = [(name, node) for name, node in definitions(ast.FunctionDef, ast.ClassDef) if ":_" not in name]
    assert {name: GONE & set(parameters(node)) for name, node in public if GONE & set(parameters(node))} == {}


def test_one_name_for_one_thing():
    files = collections.defaultdict(list)
    for file, tree in TREES.items():
        for name in top_level_names(tree) - {"logger"} if not file.endswith("__init__.py") else ():
            files[name].append(file)
    shared = {name: where for name, where in files.items() if len(where) > 1}
    assert len(shared) < 10, shared


def test_examples_come_before_parameters():
    late = []
    for name, node in definitions(ast.FunctionDef, ast.ClassDef):
        sections = re.findall(r"^(\w[\w ]*)\n-{3,}$", ast.get_docstring(node) or "", flags=re.MULTILINE)
        late += [name] * ("Examples" in sections and "Parameters" in sections[: sections.index("Examples")])
    assert late == []


def test_shared_texts_are_filled_in():
    empty, itself = [], importlib.import_module("neuronedit._docs").share_docs
    for file in pkgutil.walk_packages(ne.__path__, "neuronedit."):
        module = importlib.import_module(file.name)
        things = [thing for thing in vars(module).values() if inspect.isfunction(thing) or inspect.isclass(thing)]
        things += [method for thing in things for method in vars(thing).values()]
        docs = [(thing, getattr(thing, "__doc__", None) or "") for thing in things if thing is not itself]
        empty += [f"{file.name}: {thing!r}" for thing, doc in docs if re.search(r"%\(\w+\)s", doc)]
    assert empty == []


def test_tables_stay_as_they_are(cells):
    class Doubled(ne.spaces.Identity):
        """A space of the caller's own."""

        def encode(self, x, /):
            return 2 * x

        def decode(self, z, /):
            return z / 2

    tables = (ne.spaces.SPACES, ne.edits.EDITS, ne.baselines.BASELINES)
    before = [dict(table) for table in tables]
    populations = {"source": "control_1", "target": "control_2", "query": "sample_1"}
    ne.tl.train(cells, space=Doubled)
    ne.tl.edit(cells, "group", **populations, edit=lambda source, target: lambda z: z + 1)
    ne.tl.compare(cells, "group", **populations, methods=[lambda source, target: lambda x: x], n_bootstrap=0)
    assert [dict(table) for table in tables] == before
