"""Run rows and print their figures: what `scripts/bench` does."""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from pathlib import Path

from benchmarks.datasets import STORES
from benchmarks.harness import measure, table, write_json
from benchmarks.rows import ROWS
from benchmarks.stores import started


def main() -> int:
    """Measure the rows that are named, or all but the long ones."""
    parser = argparse.ArgumentParser(prog="scripts/bench", description="Measures the product beside its peers.")
    parser.add_argument("rows", nargs="*", help="names of rows; none: all but the long ones; `all`: all")
    parser.add_argument("--list", action="store_true", help="tell what rows there are")
    parser.add_argument("--rounds", type=int, help="how many turns each of them takes")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write all figures there")
    arguments = parser.parse_args()

    if arguments.list:
        for row in ROWS:
            print(f"{row.name:16} {row.says} ({row.unit}){', long' if row.is_long else ''}")
        return 0
    known = {row.name for row in ROWS} | {"all"}
    if unknown := [name for name in arguments.rows if name not in known]:
        print(f"no such row: {', '.join(unknown)}; --list tells what there is", file=sys.stderr)
        return 2
    wanted = set(arguments.rows) or {row.name for row in ROWS if not row.is_long}
    results = []
    rows = [row for row in ROWS if row.name in wanted or "all" in wanted]
    needs = sorted({need for row in rows for need in row.needs})
    with tempfile.TemporaryDirectory() as stores, started(Path(stores), needs):
        os.environ[STORES] = stores
        for row in rows:
            print(f"measuring {row.name}: {row.says} …", file=sys.stderr, flush=True)
            results.append(measure(row, rounds=arguments.rounds))
            if arguments.json:
                write_json(arguments.json, results)
    print(table(results))
    return 0


if __name__ == "__main__":
    sys.exit(main())
