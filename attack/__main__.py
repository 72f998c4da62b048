"""Attack the package, and print how each kind of try ended.

``python attack`` (``make attack``) takes minutes; ``--long`` (``make attack LONG=1``) takes all tries, and writes ``attack.csv``, of
which the docs are made. ``--only fcs`` runs one file of this folder, and writes nothing. What ended badly is listed, and the exit
code is 1 if there is anything.
"""

import argparse
import importlib
import os
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
ATTACKS = sorted(path.stem for path in HERE.glob("*.py") if path.stem not in ("common", "__main__"))


def main() -> int:
    """Run the attacks that were asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--long", action="store_true")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", nargs="*", choices=ATTACKS, default=ATTACKS)
    parser.add_argument(
        "--show", type=int, default=20, help="how many of the tries that ended badly are listed, a file"
    )
    options = parser.parse_args()
    sys.path.insert(0, str(HERE))
    os.chdir(tempfile.mkdtemp(prefix="neuronedit_attack_"))  # some tries make folders
    from common import GOOD, count, run_tries, tabulate, write_counts

    results = []
    for name in options.only:
        start, own = time.perf_counter(), []
        own += run_tries(importlib.import_module(name).tries(options.seed, options.long))
        results += own
        bad = [result for result in own if result.outcome not in GOOD]
        print(f"{name}: {len(own)} tries in {time.perf_counter() - start:.0f} s, {len(bad)} ended badly", flush=True)
        for result in bad[: options.show]:
            print(f"  {result.outcome}: {result.kind}, {result.name}: {result.text}", flush=True)
    counts = count(results)
    print("\n".join(["", *tabulate(counts)]))
    if options.long and options.only == ATTACKS:
        write_counts(counts)
    return int(any(result.outcome not in GOOD for result in results))


if __name__ == "__main__":
    sys.exit(main())
