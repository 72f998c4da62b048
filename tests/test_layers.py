"""Imports point down. This dict is the architecture; a file that breaks it fails here."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

SRC = Path(__file__).parents[1] / "src" / "neuronedit"

ALLOWED = {
    # stdlib and arrays alone
    "_slots": set(),
    "_docs": set(),
    "_method_names": set(),
    "_metric_table": set(),
    "_check": {"numpy"},
    "_subsample": {"numpy"},
    "_cluster_names": {"numpy"},
    "_types": {"torch", "_check"},
    "_blocks": {"numpy", "torch", "_types"},
    "_device": {"torch"},
    "_adam": {"torch"},
    "_energy": {"torch"},
    "_networks": {"torch", "_blocks", "_memory"},
    "_maps": {"torch", "_types"},
    "_memory": {"torch"},
    "_progress": {"tqdm"},
    # tensors or arrays in and out: no AnnData
    "spaces": {
        "_adam",
        "_progress",
        "numpy",
        "torch",
        "_types",
        "_blocks",
        "_subsample",
        "_device",
        "_check",
        "_docs",
        "_networks",
    },
    "edits": {
        "_blocks",
        "_memory",
        "_device",
        "numpy",
        "scipy",
        "torch",
        "_types",
        "_maps",
        "_check",
        "_docs",
        "_energy",
        "_subsample",
        "spaces",
    },
    "ensemble": {
        "_adam",
        "_progress",
        "_device",
        "numpy",
        "scipy",
        "sklearn",
        "torch",
        "_types",
        "_blocks",
        "_maps",
        "_memory",
        "_check",
        "_docs",
        "_energy",
        "_subsample",
    }
    | {"edits", "spaces"},
    "baselines": {
        "numpy",
        "ot",
        "torch",
        "_types",
        "_device",
        "_check",
        "_docs",
        "_networks",
        "_subsample",
        "edits",
        "ensemble",
        "spaces",
    }
    | {"anndata", "cytonormpy", "pertpy", "scvi"},  # peers' packages take cells as AnnData
    "metrics": {"numpy", "scipy", "sklearn", "_check", "_cluster_names", "_docs"}
    | {"torch", "torch_fidelity", "scib_metrics", "flowsom", "loguru"},  # when they are asked for
    # the border: the only rooms below tl that know AnnData
    "_data": {
        "google_crc32c",
        "anndata",
        "dask",
        "flowutils",
        "h5py",
        "numpy",
        "pandas",
        "scipy",
        "torch",
        "zarr",
        "_check",
        "_slots",
        "_types",
        "_blocks",
        "_device",
        "spaces",
    },
    "engine": {
        "_memory",
        "_progress",
        "anndata",
        "numpy",
        "pandas",
        "torch",
        "zarr",
        "_check",
        "_slots",
        "_types",
        "_blocks",
        "_cluster_names",
        "_device",
        "_energy",
        "_maps",
        "_subsample",
    }
    | {"_data", "edits", "ensemble", "spaces"},
    "io": {"anndata", "numpy", "pandas", "safetensors", "xarray", "zarr", "_slots", "_data", "_check", "_docs"},
    # what users call
    "pp": {
        "_cluster_names",
        "_progress",
        "_device",
        "anndata",
        "numpy",
        "pandas",
        "scipy",
        "torch",
        "_slots",
        "_check",
        "_docs",
        "_data",
        "ensemble",
    },
    "tl": {
        "_memory",
        "_progress",
        "anndata",
        "numpy",
        "pandas",
        "scipy",
        "torch",
        "tqdm",
        "_metric_table",
        "_slots",
        "_types",
        "_device",
        "_check",
        "_docs",
        "_subsample",
        "_data",
    }
    | {"edits", "spaces", "baselines", "metrics", "engine", "io"},
    "pl": {"anndata", "matplotlib", "numpy", "pandas", "scipy", "_slots", "_check", "_docs", "_data", "_method_names"}
    | {"_metric_table"},
    "datasets": {
        "PIL",
        "anndata",
        "dask",
        "numpy",
        "pandas",
        "pooch",
        "rdata",
        "scipy",
        "_slots",
        "_check",
        "_docs",
        "_data",
        "io",
    },
    # a page about a result: its figures are those of pl, and the call that repeats it is one of tl
    "_report": {
        "_cluster_names",
        "anndata",
        "bokeh",
        "jinja2",
        "matplotlib",
        "numpy",
        "pandas",
        "sklearn",
        "yaml",
        "_slots",
        "_check",
        "_docs",
        "_data",
        "engine",
        "io",
        "metrics",
        "pl",
        "tl",
    },
    # a page that runs the command line in processes of its own
    "_app": {"tornado", "yaml", "_cli", "io", "_data"},
    "_cli": {"_progress", "anndata", "click", "h5py", "matplotlib", "numpy", "pandas", "torch", "yaml", "neuronedit"}
    | {"_slots", "_app", "_data", "_method_names", "_report", "engine", "io", "tl"},
    "__init__": set(),
}


def violations(src):
    """List "file imports module" for every import that its room does not allow."""
    found = []
    for path in sorted(src.rglob("*.py")):
        parts = path.relative_to(src).parts
        room = parts[0].removesuffix(".py")
        package = ("neuronedit", *parts[:-1])
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and node.level:
                base = package[: len(package) - node.level + 1]
                names = (
                    [".".join((*base, node.module))] if node.module else [".".join((*base, a.name)) for a in node.names]
                )
            elif isinstance(node, ast.ImportFrom):
                names = [node.module]
            else:
                continue
            for name in names:
                top, *rest = name.split(".")
                to = rest[0] if top == "neuronedit" and rest else top
                if to not in ALLOWED[room] | {room} and top not in sys.stdlib_module_names and room != "__init__":
                    found.append(f"{'/'.join(parts)} imports {name}")
    return found


def test_imports_point_down():
    assert violations(SRC) == []


def test_workers_of_a_cluster_do_not_wait_for_what_they_do_not_use():
    """They edit blocks of a store: `sklearn` and `scipy.stats` would take each of them a second."""
    code = "import sys, neuronedit.engine.store; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"sklearn", "scipy.stats", "neuronedit.metrics"} & set(done.stdout.split())


def test_every_room_is_in_the_dict():
    rooms = {
        path.stem
        for path in SRC.iterdir()
        if path.suffix == ".py" or (path.is_dir() and (path / "__init__.py").exists())
    }
    assert rooms == set(ALLOWED)


@pytest.mark.parametrize(
    ("file", "line"),
    [
        ("edits/_bad.py", "import anndata"),
        ("spaces/_bad.py", "from anndata import AnnData"),
        ("pl/_bad.py", "import torch.nn"),
        ("edits/_bad.py", "from .._data.reader import CellReader"),
        ("_types.py", "from . import tl"),
        ("metrics/_bad.py", "def f():\n    import anndata"),
    ],
)
def test_a_forbidden_import_is_found(tmp_path, file, line):
    path = tmp_path / file
    path.parent.mkdir(exist_ok=True)
    path.write_text(line + "\n")
    assert len(violations(tmp_path)) == 1


def loaded_by(code):
    """Names of the top-level modules that a piece of code loads, and its seconds of CPU."""
    code = f"import sys, time\nstart = time.process_time()\n{code}\nprint(time.process_time() - start, *sys.modules)"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    return {name.split(".")[0] for name in out[1:]}, float(out[0])


def test_import_loads_nothing_heavy():
    modules, seconds = loaded_by("import neuronedit as ne; dir(ne); ne.__version__")
    assert not modules & {"torch", "anndata", "scanpy", "numpy", "matplotlib"}
    assert seconds < 0.3


def test_what_only_some_need_is_loaded_where_it_is_used():
    assert "sklearn" not in loaded_by("import neuronedit as ne; ne.tl.edit, ne.metrics, ne.ensemble")[0]


def test_plots_know_no_torch():
    assert "torch" not in loaded_by("import neuronedit as ne; ne.pl.biaxial")[0]


def test_no_choice_by_name():
    """A choice is a row in a table: nothing compares a name with a row's."""
    import neuronedit as ne

    rows = {
        *ne.baselines.BASELINES,
        *ne.edits.EDITS,
        *ne.edits.AXES,
        *ne.spaces.SPACES,
        *ne.spaces.SCHEDULES,
        *ne.metrics.METRICS,
        *ne.metrics.AGREEMENTS,
        *ne.ensemble.CANDIDATES,
    }
    for path in SRC.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Compare):
                words = {c.value for c in [node.left, *node.comparators] if isinstance(c, ast.Constant)}
                assert not words & rows, f"{path}:{node.lineno}"


def test_every_public_function_is_documented():
    """Numpy style, with Returns and a runnable example."""
    import doctest

    import neuronedit as ne

    for room in ne.ROOMS:
        for name in getattr(ne, room).__all__:
            thing = getattr(getattr(ne, room), name)
            if isinstance(thing, dict) or not hasattr(thing, "__code__"):
                continue
            assert "Returns\n" in thing.__doc__, f"{room}.{name}"
            needs_file = "flowio" in thing.__doc__
            assert needs_file or doctest.DocTestParser().get_examples(thing.__doc__), f"{room}.{name} has no example"
