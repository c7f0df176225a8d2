"""Rounds of kills with sizes and moments by chance, then every property test with fresh examples, again and again."""

from __future__ import annotations

import argparse
import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
MiB = 1024 * 1024

sys.path.insert(0, str(ROOT))
from tests.end_to_end import kill_rounds  # noqa: E402  # found through the line above
from tests.stores import open_site  # noqa: E402

ROUNDS = {"server killed": kill_rounds.server_round, "client killed": kill_rounds.client_round}


def main() -> int:
    """Run it all and return 0 when nothing was ever wrong."""
    parser = argparse.ArgumentParser(prog="scripts/soak", description=__doc__)
    parser.add_argument("--rounds", type=int, default=200, help="rounds of each kind of kill (default: 200)")
    parser.add_argument("--properties", type=int, default=20, help="runs of the property tests (default: 20)")
    parser.add_argument("--megabytes", type=int, default=256, help="largest file of a round (default: 256)")
    parser.add_argument("--seed", type=int, default=time.time_ns() % 1_000_000, help="brings a run back")
    arguments = parser.parse_args()

    print(f"seed {arguments.seed}")
    journals = tempfile.TemporaryDirectory(prefix="measurand-soak-")
    os.environ["XDG_STATE_HOME"] = journals.name  # what the clients note down is not for the user's own folder
    for name, play in ROUNDS.items():
        most, kills, begin = 0, 0, time.monotonic()
        for number in range(arguments.rounds):
            seed = arguments.seed + number
            size = random.Random(seed).randint(MiB, arguments.megabytes * MiB)
            with tempfile.TemporaryDirectory(prefix="measurand-soak-") as folder:
                try:
                    with open_site("embedded", Path(folder) / "store") as site:
                        outcome = play(site, size, seed)
                    kill_rounds.check(outcome, size)
                except BaseException:
                    print(
                        f"{name}: round {number} of {size:,} bytes failed; bring it back with --seed {seed} --rounds 1"
                    )
                    raise
            most, kills = max(most, outcome.sent_twice), kills + outcome.kills
            took = time.monotonic() - begin
            print(f"\r{name}: {number + 1} rounds, {kills} kills, at most {most:,} bytes twice, {took:.0f} s", end="")
        print(flush=True)
    for number in range(arguments.properties):
        print(f"properties, run {number + 1} of {arguments.properties}", flush=True)
        command = [
            sys.executable,
            "-m",
            "pytest",
            "-q",
            "-m",
            "hypothesis",
            f"--hypothesis-seed={arguments.seed + number}",
        ]
        if subprocess.run(command, cwd=ROOT, check=False).returncode:
            return 1
    journals.cleanup()
    return 0


if __name__ == "__main__":
    sys.exit(main())
