"""``neuronedit compare``: methods beside each other, on cells whose truth is known or not."""

from pathlib import Path
from typing import Any

import click

from .._slots import WHOLE
from ._design import read_populations_of
from ._input import find_input, transform_cells
from ._options import (
    FILE,
    design_option,
    example,
    input_options,
    method_option,
    output_option,
    population_options,
    report_options,
    run_options,
)
from ._output import check_output_files
from ._report import check_report, write_run_report
from ._screen import ExitCode, Outcome, Screen, to_records
from ._verb import Settings, Verb


def run_compare(screen: Screen, settings: Settings) -> Outcome:
    """Read, compare, print the table, write it."""
    import neuronedit as ne

    # check and read
    files = find_input(settings)
    check_output_files([("-o", settings.output), *check_report(settings)], files, settings)
    adata = files.read(settings, screen)
    groups = read_populations_of(adata, settings, "source", "target", "query", "truth")
    check_comparison(adata, settings, groups)
    layer = transform_cells(adata, files, settings, screen)

    # compare
    screen.begin()
    screen.step("Comparing the methods.")
    how: dict[str, Any] = {"n_seeds": settings.n_seeds, "n_bootstrap": settings.n_bootstrap, "rng": settings.rng}
    how |= {"methods": list(settings.method) or None, "metrics": list(settings.metric) or None}
    how |= {"held_out": settings.held_out, "baseline": settings.baseline}
    how |= {"accelerator": settings.accelerator, "progress_bar": screen.has_bars, "layer": layer}
    if settings.report is not None:
        how["key_added"] = name_predictions(adata)
    table = ne.tl.compare(adata, settings.groupby, **groups, **how)

    # report and write
    outcome = Outcome(tables={"scores": to_records(table)})
    is_whole, metric = table["held_out"].isin(WHOLE), table["metric"].cat.categories[0]
    failed = table[is_whole & (table["error"] != "")].drop_duplicates("method")
    outcome.alarms = [
        {"alarm": "failed", "batch": "", "text": f"{row.method}: {row.error}"} for row in failed.itertuples()
    ]
    outcome.exit_code = ExitCode.ALARMS if outcome.alarms else ExitCode.DONE
    best = table[is_whole].iloc[0]
    outcome.verdict = (
        f"By {metric} the best of {table['method'].nunique()} methods is {best['method']} ({best['value']:.2f})."
    )
    if len(failed):
        outcome.verdict = f"{len(failed)} failed: {', '.join(map(str, failed['method']))}. {outcome.verdict}"
    screen.say(format_scores(table))
    screen.say(outcome.verdict)
    if settings.output is not None:
        write_table(table, settings.output)
        outcome.files = [settings.output]
    outcome.files += write_run_report(adata, settings, screen, key=how.get("key_added"))
    return outcome


def name_predictions(adata: Any) -> str:
    """Return a key for the predictions, which a report shows, that nothing in the cells has."""
    taken = {*map(str, adata.uns), *map(str, adata.layers)}
    key = "compared"
    while any(name == key or name.startswith(f"{key}_") for name in taken):
        key = f"{key}_again"
    return key


def check_comparison(adata: Any, settings: Settings, groups: dict[str, Any]) -> None:
    """Refuse cells, methods and metrics that do not exist."""
    import neuronedit as ne

    from .._data.check import lookup
    from .._data.design import read_populations
    from ..tl._scores import ALL_METRICS

    if settings.held_out is None:
        read_populations(adata, settings.groupby, **groups)
    for option, names in (("--method", settings.method), ("--baseline", [settings.baseline])):
        for name in names:
            lookup(ne.baselines.BASELINES, name, option)
    for name in settings.metric:
        lookup(ALL_METRICS, name, "--metric")


def format_scores(table: Any) -> str:
    """Return one line a method, with the mean over seeds, and over what was held out, of each metric."""
    means = table[table["held_out"].isin(WHOLE)].pivot_table(
        index="method", columns="metric", values="value", aggfunc="mean", observed=False, dropna=False
    )
    return means.to_string(float_format="{:.3f}".format, na_rep="failed")


def write_table(table: Any, path: Path) -> None:
    """Write a table whole or not at all."""
    from ..io._atomic import replacing

    text = table.to_csv(index=False)
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


compare_verb = Verb(
    "compare",
    run_compare,
    short_help="Compare methods on your own cells.",
    help="Let methods learn the change from source to target, apply it to the query, and score what they predict. With --truth, "
    "cells like the query's that were measured after the change, 1 is best and 0 is as good as leaving the cells alone."
    + example(
        "neuronedit compare cells.h5ad --groupby group --source control_1 --target control_2 \\\n"
        "    --query sample_1 --truth sample_2 --method percentile --method mean_shift -o scores.csv"
    ),
    params=[
        *input_options(),
        *population_options(query="Cells to predict; may be given several times. Required without --held-out."),
        design_option("--truth", multiple=True, metavar="VALUE", help="Cells like the query's, measured after the change."),
        method_option("--method", multiple=True, metavar="NAME", help="A method; may be given several times.  [default: those that take seconds]"),
        method_option("--metric", multiple=True, metavar="NAME", help="A metric; may be given several times.  [default: four with a truth, three without]"),
        design_option("--held-out", metavar="COLUMN", help="Instead of query and truth: hold out each value of this column of obs in turn, such as cell types or donors."),
        method_option("--baseline", metavar="NAME", default="identity", help="The method whose scaled score is 0: identity, the cells left alone, mean_shift, the mean response, or another."),
        method_option("--n-seeds", type=click.IntRange(min=1), metavar="N", default=1, help="Runs of each method that has a seed."),
        method_option("--n-bootstrap", type=click.IntRange(min=0), metavar="N", default=100, help="Bootstrap samples behind the intervals; 0 leaves them out."),
        output_option("--output", "-o", type=FILE, metavar="CSV", help="Also write the table, with intervals and seconds, to this file."),
        output_option("--overwrite", is_flag=True, help="Replace it if it exists."),
        *report_options(),
        *run_options(),
    ],
)  # fmt: skip
