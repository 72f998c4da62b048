"""``neuronedit demo``: a simulated experiment, edited and compared with its truth."""

from pathlib import Path
from typing import Any

import click

from .._method_names import name_method
from ._design import train_space
from ._edit import draw_biaxial
from ._input import FileKind
from ._options import FILE, cells_option, example, output_option, report_options, run_options
from ._output import Goal
from ._report import check_report, report_record, write_run_report
from ._screen import Outcome, Screen
from ._verb import Settings, Verb

POPULATIONS: dict[str, Any] = {"source": "control_1", "target": "control_2", "query": "sample_1"}
SIMPLE_METHODS = ("identity", "mean_shift", "quantile")  # that the edits are compared with


def run_demo(screen: Screen, settings: Settings) -> Outcome:
    """Simulate, train, edit, compare with the known truth, draw, write."""
    import neuronedit as ne

    from ..io._atomic import check_goal

    # check
    folder: Path = settings.output
    folder.mkdir(parents=True, exist_ok=True)
    file, image, config = (folder / name for name in ("edited.h5ad", "biaxial.png", "edited.neuronedit.yaml"))
    for path in (file, image, config, *(path for _, path in check_report(settings) if path)):
        check_goal(path)

    # simulate, train and edit
    cells = f"four populations of {settings.n_cells:,} cells"
    screen.say(f"Simulating {cells}: a control and a patient sample, each in two batches.")
    adata = ne.datasets.simulate_batches(n_cells=settings.n_cells, rng=settings.rng)
    training = {"space": "autoencoder", "max_epochs": settings.max_epochs, "rng": settings.rng}
    train_space(adata, Settings(**training, accelerator=settings.accelerator), None, screen)
    how = {"accelerator": settings.accelerator, "rng": settings.rng}
    one: Any = ne.tl.edit(adata, "group", **POPULATIONS, edit="percentile", copy=True, **how)
    screen.step("Editing the sample of batch 1.")
    ne.tl.edit(adata, "group", **POPULATIONS, strata="cell_type", **how)

    # report and write
    record = adata.uns["edited"]
    outcome = report_record(record, n_fitted=1, expected=[record["ensemble"]["expected"]])
    screen.say(f"\n{outcome.verdict}")
    outcome.tables["scores"] = score_methods(adata, one)
    show_scores(screen, outcome.tables["scores"])
    outcome.files = Goal(file, FileKind.H5AD, config, overwrite=True).write(adata, settings, screen)
    shown = [POPULATIONS["target"], POPULATIONS["query"]]
    draw_biaxial(adata, image, x="IFNg", y="CCR6", groupby="group", groups=shown, layers=[None, "edited", "truth"])
    outcome.files.insert(1, image)
    outcome.files += write_run_report(adata, settings, screen, key="edited", populations="cell_type")
    screen.say()
    return outcome


def score_methods(adata: Any, one: Any) -> list[dict[str, Any]]:
    """Return how close each method comes to the truth of the patient sample, one row a method."""
    import numpy as np
    import torch

    import neuronedit as ne

    arrays = (adata[adata.obs["group"] == name].X for name in POPULATIONS.values())
    source, target, before = (torch.from_numpy(x) for x in arrays)
    maps = {name_method(row): ne.baselines.BASELINES[row](source, target) for row in SIMPLE_METHODS}
    predictions = {label: cell_map(before).numpy() for label, cell_map in maps.items()}
    is_query = (adata.obs["group"] == POPULATIONS["query"]).to_numpy()
    query, truth = adata.X[is_query], adata.layers["truth"][is_query]
    predictions[name_method("neuron_editing")] = one.layers["edited"][is_query]
    predictions[name_method("auto_edit")] = adata.layers["edited"][is_query]
    rows = []
    for name, predicted in predictions.items():
        metrics = (ne.metrics.energy_distance, ne.metrics.mean_wasserstein)
        energy, marker = (float(ne.metrics.gap_closed(metric, query, truth, predicted)) for metric in metrics)
        error = float(np.abs(predicted - truth).mean())
        rows.append({"method": name, "energy_distance": energy, "mean_wasserstein": marker, "error_per_cell": error})
    return rows


def show_scores(screen: Screen, rows: list[dict[str, Any]]) -> None:
    """Print the table of the methods."""
    screen.say("\nsample_1 corrected from batch 1 to batch 2, compared with the known truth")
    screen.say("(share of the distance closed: 1 = all, 0 = nothing, below 0 = harm)\n")
    screen.say(f"{'':26}{'energy distance':>17}{'mean per marker':>17}{'error per cell':>17}")
    for row in rows:
        shares = f"{row['energy_distance']:17.2f}{row['mean_wasserstein']:17.2f}"
        screen.say(f"{row['method']:26}{shares}{row['error_per_cell']:17.3f}")


demo_verb = Verb(
    "demo",
    run_demo,
    short_help="Simulate an experiment, edit it, and compare with its truth.",
    help="Simulate a control and a patient sample, each measured in two batches; learn the batch effect from the controls, "
    "apply it to the patient's cells, and compare with their known truth. What an earlier demo has written is replaced."
    + example("neuronedit demo -o demo"),
    params=[
        cells_option("--n-cells", type=click.IntRange(min=1), metavar="N", default=5_000, help="Cells of each of the four populations."),
        cells_option("--max-epochs", type=click.IntRange(min=1), metavar="N", help="Passes over the cells in the training.  [default: enough for 2,500 steps]"),
        output_option("--output", "-o", type=FILE, default=Path("demo"), metavar="FOLDER", help="Folder to write into."),
        *report_options(),
        *run_options(),
    ],
)  # fmt: skip
