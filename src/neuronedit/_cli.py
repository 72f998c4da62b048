"""The command line: ``neuronedit demo`` and ``neuronedit edit``."""

import argparse
import io
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

FAILED, INTERRUPTED = 2, 130  # exit codes
ERRORS = (ImportError, KeyError, OSError, RuntimeError, TypeError, ValueError)  # RuntimeError: torch's and HDF5's


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; what goes wrong is one line on stderr, and an exit code that is not 0."""
    try:
        options = _parser().parse_args(arguments)
        options.run(options)
        sys.stdout.flush()  # a full disk or a closed pipe is found here, not at the exit
    except KeyboardInterrupt:
        return _fail("interrupted; no file was changed that is not named above.", INTERRUPTED)
    except MemoryError:
        return _fail("there is not enough memory.", FAILED)
    except ERRORS as error:
        return _fail(error.args[0] if isinstance(error, KeyError) and error.args else error, FAILED)
    return 0


def _fail(message: Any, code: int) -> int:
    with suppress(OSError):  # stderr may be closed, or its disk full
        print(f"neuronedit: {' '.join(str(message).split())}", file=sys.stderr)
    return code


def _parser() -> argparse.ArgumentParser:
    description = "Apply a change that was measured in some cells to others"
    parser = argparse.ArgumentParser(prog="neuronedit", description=description)
    commands = parser.add_subparsers(required=True, metavar="{demo,edit}")

    demo = commands.add_parser("demo", help="simulate a spike-in experiment, edit it, and compare with the known truth")
    demo.add_argument("-o", "--output", type=Path, default=Path("demo"), help="folder to write into (default: demo)")
    demo.add_argument("--n-cells", type=int, default=5_000, help="cells of each population (default: 5000)")
    demo.add_argument("--rng", type=int, default=0, help="seed (default: 0)")
    demo.set_defaults(run=_demo)

    edit = commands.add_parser("edit", help="edit the cells of an .h5ad file")
    edit.add_argument("input", type=Path, help=".h5ad file")
    edit.add_argument("--groupby", required=True, help="column of obs")
    edit.add_argument("--source", required=True, nargs="+", help="value(s) of the source")
    edit.add_argument("--target", required=True, nargs="+", help="value(s) of the target")
    edit.add_argument(
        "--query", nargs="+", help="value(s) of the cells to edit (required: the error lists the values that are left)"
    )
    edit.add_argument("-o", "--output", type=Path, required=True, help=".h5ad file to write")
    edit.add_argument("--overwrite", action="store_true", help="allow the output to be the input")
    edit.add_argument("--layer", help="edit this layer instead of X")
    edit.add_argument("--cofactor", type=float, help="first apply arcsinh with this cofactor")
    edit.add_argument("--space", default="autoencoder", help="space to edit in (default: autoencoder)")
    edit.add_argument("--edit", default="auto", help="edit (default: auto, an ensemble weighted by cross-validation)")
    edit.add_argument("--strata", help="column of obs whose values are held out in turn, such as donors or cell types")
    edit.add_argument("--axes", help="axes to edit along, for an edit of neurons: neurons or principal")
    edit.add_argument("--key-added", default="edited", help="name of the layer (default: edited)")
    edit.add_argument("--max-epochs", type=int, help="passes over the cells (default: enough for 5,000 steps)")
    edit.add_argument("--rng", type=int, default=0, help="seed (default: 0)")
    edit.add_argument("--biaxial", type=Path, metavar="PNG", help="also draw the cells before and after")
    edit.add_argument("--x", help="marker on the x axis (default: the one that the edit moves most)")
    edit.add_argument("--y", help="marker on the y axis (default: the one that it moves second most)")
    edit.set_defaults(run=_edit)
    return parser


def _demo(options: argparse.Namespace) -> None:
    """Train, edit, compare with the known truth, draw."""
    import numpy as np
    import torch

    import neuronedit as ne

    from .io._atomic import check_goal

    options.output.mkdir(parents=True, exist_ok=True)
    for name in ("edited.h5ad", "biaxial.png"):
        check_goal(options.output / name)
    populations: dict[str, Any] = {"source": "control_1", "target": "control_2", "query": "sample_1"}
    cells = f"four populations of {options.n_cells:,} cells"
    print(f"Simulating {cells}: a control and a patient sample, each in two batches.")
    adata = ne.datasets.simulate_batches(n_cells=options.n_cells, rng=options.rng)
    _train(adata, rng=options.rng)
    one: Any = ne.tl.edit(adata, "group", **populations, edit="percentile", copy=True)
    ne.tl.edit(adata, "group", **populations, strata="cell_type")
    print(f"\n{adata.uns['edited']['verdict']}")

    arrays = (adata[adata.obs["group"] == name].X for name in populations.values())
    source, target, before = (torch.from_numpy(x) for x in arrays)
    simple = {"leave the cells alone": "identity", "mean shift": "mean_shift", "quantiles per marker": "quantile"}
    maps = {label: ne.baselines.BASELINES[row](source, target) for label, row in simple.items()}
    predictions = {label: cell_map(before).numpy() for label, cell_map in maps.items()}
    rows = (adata.obs["group"] == "sample_1").to_numpy()
    query, truth = adata.X[rows], adata.layers["truth"][rows]
    predictions["neuron editing"] = one.layers["edited"][rows]
    predictions["ensemble, the default"] = adata.layers["edited"][rows]

    print("\nsample_1 corrected from batch 1 to batch 2, compared with the known truth")
    print("(share of the distance closed: 1 = all, 0 = nothing, below 0 = harm)\n")
    print(f"{'':26}{'energy distance':>17}{'mean per marker':>17}{'error per cell':>17}")
    for name, predicted in predictions.items():
        metrics = (ne.metrics.energy_distance, ne.metrics.mean_wasserstein)
        shares = [ne.metrics.gap_closed(metric, query, truth, predicted) for metric in metrics]
        error = np.abs(predicted - truth).mean()
        print(f"{name:26}{shares[0]:17.2f}{shares[1]:17.2f}{error:17.3f}")

    _write_file(adata, options.output / "edited.h5ad")
    _draw(adata, options.output / "biaxial.png", x="IFNg", y="CCR6", groupby="group", layers=[None, "edited", "truth"])
    print(f"\nWrote {options.output / 'edited.h5ad'} and {options.output / 'biaxial.png'}.")


def _edit(options: argparse.Namespace) -> None:
    """Read, train, edit, write."""
    import neuronedit as ne

    from ._data.check import check_features, check_key

    check_key(options.key_added, "--key-added")
    _check_files(options)
    adata = _read_cells(options.input)
    check_features(adata, *filter(None, (options.x, options.y)))
    words = {"source": options.source, "target": options.target, "query": options.query}
    groups: dict[str, Any] = {role: _values(adata, options.groupby, named) for role, named in words.items()}
    if options.cofactor is not None:
        ne.pp.arcsinh(adata, options.cofactor, layer=options.layer)
    how: dict[str, Any] = {"edit": options.edit, "key_added": options.key_added, "strata": options.strata}
    if options.axes is not None:
        how["axes"] = options.axes
    one_feature = adata[:, :1].copy()  # finds what is wrong with the groups before the training
    ne.tl.train(one_feature, space="identity", layer=options.layer)
    ne.tl.edit(one_feature, options.groupby, **groups, **how)
    _train(adata, layer=options.layer, space=options.space, max_epochs=options.max_epochs, rng=options.rng)
    ne.tl.edit(adata, options.groupby, **groups, **how)

    record, support = adata.uns[options.key_added], adata.obs[f"{options.key_added}_support"]
    moved = record["features"]["change"].abs().sort_values(ascending=False, kind="stable")
    print(record["verdict"])
    print(f"Edited {support.notna().sum():,} of {adata.n_obs:,} cells; mean support {support.mean():.2f}.")
    print("Means moved most: " + ", ".join(f"{name} ({change:.2f})" for name, change in moved[:5].items()) + ".")
    _write_file(adata, options.output)
    print(f"Wrote {options.output}.")
    if options.biaxial:
        x, y = options.x or moved.index[0], options.y or moved.index[min(1, len(moved) - 1)]
        layers = [options.layer, options.key_added]
        shown = list(dict.fromkeys([*groups["source"], *groups["target"], *groups["query"]]))
        _draw(adata, options.biaxial, x=x, y=y, groupby=options.groupby, groups=shown, layers=layers)
        print(f"Wrote {options.biaxial}.")


def _values(adata: Any, column: str, words: list[str] | None) -> list[Any] | None:
    """Turn words from the command line into the values that a column has: '1' may be the number 1."""
    if words is None or column not in adata.obs:
        return words
    named = {str(value): value for value in adata.obs[column].dropna().unique()}
    return [named.get(word, word) for word in words]


def _check_files(options: argparse.Namespace) -> None:
    """Refuse files that cannot be read or written, before any work."""
    from .io._atomic import check_goal

    if not options.input.is_file():
        raise FileNotFoundError(f"{options.input} is not a file.")
    if options.output.exists() and options.output.samefile(options.input) and not options.overwrite:
        raise ValueError(f"{options.output} is the input; give another -o, or --overwrite.")
    written = check_goal(options.output)
    if not options.biaxial:
        return
    if check_goal(options.biaxial) in (written, options.input.resolve()):
        raise ValueError(f"--biaxial {options.biaxial} is the input or the output; give another name.")
    from matplotlib.backend_bases import FigureCanvasBase

    if (kind := options.biaxial.suffix.lower().removeprefix(".")) not in (kinds := FigureCanvasBase.filetypes):
        raise ValueError(
            f"--biaxial {options.biaxial}: {kind!r} is no kind of image; choose {', '.join(sorted(kinds))}."
        )


def _read_cells(path: Path) -> Any:
    """Read an .h5ad file; whatever is wrong with it is said in one sentence."""
    import anndata

    try:
        return anndata.read_h5ad(path)
    except MemoryError:
        raise
    except Exception as error:  # noqa: BLE001 (a file may hold anything)
        reason = " ".join(str(error).split())[:300].rstrip(".")
        raise ValueError(f"{path} cannot be read as .h5ad: {reason}.") from None


def _train(adata: Any, **how: Any) -> None:
    """Train; Ctrl-C ends the command, and not the training alone."""
    import neuronedit as ne

    ne.tl.train(adata, **how, progress_bar=True)
    if adata.uns["neuronedit"]["history"].get("interrupted"):
        raise KeyboardInterrupt


def _draw(adata: Any, path: Path, **arguments: Any) -> None:
    """Write an image whole or not at all."""
    import matplotlib

    matplotlib.use("agg")
    import neuronedit as ne

    from .io._atomic import replacing

    image = io.BytesIO()
    ne.pl.biaxial(adata, **arguments, return_fig=True).savefig(image, dpi=150, format=path.suffix.removeprefix("."))
    with replacing(path) as temporary:
        temporary.write_bytes(image.getbuffer())


def _write_file(adata: Any, path: Path) -> None:
    """Write a file whole or not at all, and read it back.

    It is made in memory first: HDF5 cannot close a file whose disk is full, and ends the process when that exits.
    """
    import anndata
    import h5py

    from .io._atomic import replacing

    adata.strings_to_categoricals()
    content = io.BytesIO()
    with h5py.File(content, "w") as file:
        anndata.io.write_elem(file, "/", adata, dataset_kwargs={"compression": "gzip"})
    with replacing(path) as temporary:
        temporary.write_bytes(content.getbuffer())
        try:
            difference = _find_difference(adata, anndata.read_h5ad(temporary))
        except (KeyError, OSError, RuntimeError, TypeError, ValueError) as error:
            difference = f"it cannot be read: {error}"
        if difference:
            raise OSError(f"{path} would not be what was written, and was left as it was: {difference}.")


def _find_difference(adata: Any, written: Any) -> str:
    """Name what differs between cells and the file that was written of them; "" if nothing does."""
    import numpy as np

    if not written.obs_names.equals(adata.obs_names) or not written.var_names.equals(adata.var_names):
        return "its cells or features are others"
    for slot in ("obs", "var", "uns", "obsm", "varm", "obsp", "varp", "layers"):
        if set(getattr(adata, slot)) - {None} != set(getattr(written, slot)) - {None}:
            return f"{slot} has other names"
    names = [name for name in adata.layers if name is not None]  # anndata 0.13 lists X among the layers
    matrices = {f"layers[{name!r}]": (adata.layers[name], written.layers[name]) for name in names}
    for name, (ours, theirs) in ({"X": (adata.X, written.X)} | matrices).items():
        if ours is None:
            continue
        parts = [(x.data, x.indices, x.indptr) if hasattr(x, "indptr") else (x,) for x in (ours, theirs)]
        is_number = ours.dtype.kind == "f"
        if not all(np.array_equal(x, y, equal_nan=is_number) for x, y in zip(*parts, strict=True)):
            return f"{name} differs"
    return ""


if __name__ == "__main__":
    sys.exit(main())
