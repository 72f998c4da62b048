"""How results are made, kept and shown: jobs in processes of their own, CSV files, Markdown tables."""

import time
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context

import numpy as np
import pandas as pd


def read_results(path):
    """Return the results in a CSV file; no table if there is none."""
    if path is None or not path.exists():
        return pd.DataFrame()
    return pd.read_csv(path, keep_default_na=False, na_values=[""])  # a task may be called "none"


def find_done(results, keys):
    """Return what the results have already: a set of values of the key columns."""
    return set(results[keys].itertuples(index=False, name=None)) if len(results) else set()


def run_jobs(run, jobs, n_jobs):
    """Call ``run(*job)``, ``n_jobs`` at a time, and yield each job with its result as soon as that is there."""
    with ProcessPoolExecutor(n_jobs, mp_context=get_context("spawn")) as pool:
        futures = {pool.submit(run, *job): job for job in jobs}
        for future in as_completed(futures):
            task = futures[future][0]
            if error := future.exception():  # mostly data that could not be downloaded; the next run tries again
                print(f"{task.name} was not run: {error}", flush=True)
            else:
                yield futures[future], future.result()


def measure_time(function, *args, **params):
    """Return what a function returns, and the seconds that it took."""
    start = time.perf_counter()
    result = function(*args, **params)
    return result, time.perf_counter() - start


def markdown_table(heads, rows):
    """Return the lines of a table."""
    lines = [heads, ["---"] * len(heads), *rows]
    return [f"| {' | '.join(line)} |" for line in lines]


def format_mean(mean, spread, digits):
    """Show a mean with its spread, where that is not 0 in so many digits; – where the mean is not defined."""
    if np.isnan(mean):
        return "–"
    return f"{mean:.{digits}f}" if not spread >= 0.5 * 10**-digits else f"{mean:.{digits}f} ± {spread:.{digits}f}"
