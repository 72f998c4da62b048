"""How a run ended, from the record that a tool has left."""

from pathlib import Path
from typing import Any

from ._config import list_arguments
from ._screen import ExitCode, Outcome, Screen, to_records
from ._verb import refuse

MIN_EXPECTED = 0.01  # share of the distance that is expected to be closed, below which nothing is

MAX_FEATURES = 10  # that are listed


def report_record(record: Any, *, n_fitted: int, expected: Any = ()) -> Outcome:
    """Return the verdict and the alarms of a record, and the exit code that they lead to.

    ``n_fitted`` changes were fitted, and of as many as were cross-validated ``expected`` says what share of the distance they close.
    """
    from ..engine.alarms import AlarmKind

    alarms = record.get("alarms")
    rows = [] if alarms is None else to_records(alarms)
    n_alarms = sum(row["alarm"] == AlarmKind.NOT_GENERAL for row in rows)
    n_without = sum(value < MIN_EXPECTED for value in expected)  # NaN is not
    is_alarming = any(
        row["alarm"] != AlarmKind.NO_ROLE for row in rows
    )  # cells without a role may be meant to have none
    code, verdict = ExitCode.ALARMS if is_alarming else ExitCode.DONE, str(record["verdict"])
    if not n_fitted or max(n_alarms, n_without) >= n_fitted:
        code = ExitCode.NOT_GENERAL
        if n_fitted and n_alarms < n_fitted:
            verdict += f" Nothing generalizes: less than {MIN_EXPECTED} of the distance is expected to be closed."
    return Outcome(verdict=verdict, alarms=rows, exit_code=code)


def check_report(settings: Any) -> list[tuple[str, Path | None]]:
    """Return the report among the files to write, once it is known that one can be made."""
    if settings.report is None:
        if settings.anonymize:
            refuse("--anonymize is of a report: name its file with --report.")
        return []
    if settings.report.suffix.lower() not in (".html", ".htm"):
        refuse(f"--report {settings.report}: a report is an HTML file; give a name that ends in .html.")
    from .._report._report import check_packages

    check_packages()
    return [("--report", settings.report)]


def write_run_report(adata: Any, settings: Any, screen: Screen, **shown: Any) -> list[Path]:
    """Write the report of a run, if it is asked for; return what was written."""
    if settings.report is None:
        return []
    from .._report._report import write_report

    screen.step(f"Writing {settings.report}.")
    command = list_arguments(settings.command, settings, has_paths=not settings.anonymize)
    how = {"anonymize": settings.anonymize, "overwrite": True}  # whether it may be replaced was asked before any work
    write_report(adata, settings.report, command=command, **shown, **how)
    return [settings.report]


def write_verdict_lines(adata: Any, key: str) -> list[dict[str, str]]:
    """Return the verdict in three lines, as a report begins with it."""
    from .._report._advice import list_alarms, write_lines
    from .._report._result import read_result

    result = read_result(adata, key, None, None, number_by=None)
    return [{"level": str(line.level), "text": line.text} for line in write_lines(result, list_alarms(result))]


def describe_edit(adata: Any, key: str) -> tuple[list[str], list[dict[str, Any]]]:
    """Return what was done to cells, in sentences, and the features that moved most as rows."""
    features, support = adata.uns[key]["features"], adata.obs[f"{key}_support"]
    order = features["change"].abs().sort_values(ascending=False, kind="stable").index
    moved = [f"{name} ({features.loc[name, 'change']:.2f})" for name in order[:5]]
    sentences = [f"Edited {support.notna().sum():,} of {adata.n_obs:,} cells; mean support {support.mean():.2f}.",
                 f"Means moved most: {', '.join(moved)}."]  # fmt: skip
    columns = ["observed_change", "change", "beyond_observed", "wrong_direction"]
    return sentences, to_records(features.loc[order[:MAX_FEATURES], columns], "feature")
