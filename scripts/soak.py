"""Rounds of kills with sizes and moments by chance, long outages, then every property test with fresh examples."""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
MiB = 1024 * 1024

sys.path.insert(0, str(ROOT))
from tests.end_to_end import (  # noqa: E402  # found through the line above
    array_rounds,
    buffer_rounds,
    chaos,
    container_rounds,
    counting,
    durable_rounds,
    fleet,
    kill_rounds,
    object_rounds,
    outage,
    save_rounds,
)
from tests.spread_rounds import play as play_losses  # noqa: E402
from tests.stores import DURABLE, open_site  # noqa: E402

KILLS = {"server killed": kill_rounds.server_round, "client killed": kill_rounds.client_round}
OUTAGES: list[tuple[fleet.Victim, bool]] = [("mongod", False), ("s3", False), ("mongod", True), ("s3", True)]
AWAY_SECONDS = 30.0


def main() -> int:
    """Run it all and return 0 when nothing was ever wrong."""
    parser = argparse.ArgumentParser(prog="scripts/soak", description=__doc__)
    parser.add_argument("--rounds", type=int, default=200, help="rounds of each kind of kill (default: 200)")
    parser.add_argument("--durable", type=int, default=50, help="rounds of kills right after a write (default: 50)")
    parser.add_argument(
        "--chaos", type=int, default=200, help="rounds on MongoDB and S3 with two servers (default: 200)"
    )
    parser.add_argument("--saves", type=int, default=20, help="rounds of kills amid lab.save (default: 20)")
    parser.add_argument("--streams", type=int, default=3, help="rounds of kills amid 2,000 frames (default: 3)")
    parser.add_argument("--buffers", type=int, default=200, help="rounds of kills amid appends (default: 200)")
    parser.add_argument("--losses", type=int, default=200, help="rounds of containers that break (default: 200)")
    parser.add_argument("--containers", type=int, default=200, help="rounds of hurt containers (default: 200)")
    parser.add_argument("--objects", type=int, default=1000, help="objects put, and half the keys (default: 1000)")
    parser.add_argument("--counts", type=int, default=50, help="times that each of 32 threads counts (default: 50)")
    parser.add_argument("--outages", type=int, default=1, help="half a minute without each store (default: once)")
    parser.add_argument("--properties", type=int, default=20, help="runs of the property tests (default: 20)")
    parser.add_argument("--megabytes", type=int, default=256, help="largest file of a round (default: 256)")
    parser.add_argument("--seed", type=int, default=time.time_ns() % 1_000_000, help="brings a run back")
    arguments = parser.parse_args()

    print(f"seed {arguments.seed}")
    with tempfile.TemporaryDirectory(prefix="measurand-soak-") as journals:
        os.environ["XDG_STATE_HOME"] = journals  # what the clients note down is not for the user's own folder
        kill(arguments.rounds, arguments.seed, arguments.megabytes * MiB)
        cut_off(arguments.durable, arguments.seed)
        cut_saves(arguments.saves, arguments.seed)
        cut_streams(arguments.streams, arguments.seed)
        cut_buffers(arguments.buffers, arguments.seed)
        lose(arguments.losses, arguments.seed)
        put_objects(arguments.objects, arguments.seed)
        count(arguments.counts)
        make_chaos(arguments.chaos, arguments.seed)
        take_away(arguments.outages)
    return properties(arguments.properties, arguments.seed)


def kill(rounds: int, seed: int, most_bytes: int) -> None:
    """Kill servers and clients in the middle of an upload."""
    for stores in DURABLE:
        for name, play in KILLS.items():
            most, kills, begin = 0, 0, time.monotonic()
            for number in range(rounds):
                size = random.Random(seed + number).randint(MiB, most_bytes)
                with (
                    brought_back_by(f"{name}: round {number} of {size:,} bytes", f"--seed {seed + number} --rounds 1"),
                    tempfile.TemporaryDirectory(prefix="measurand-soak-") as folder,
                    open_site(stores, Path(folder) / "store") as site,
                ):
                    outcome = play(site, size, seed + number)
                    kill_rounds.check(outcome, size)
                most, kills = max(most, outcome.sent_twice), kills + outcome.kills
                tell(f"{stores}: {name}: {number + 1} rounds, {kills} kills, at most {most:,} bytes twice", begin)
            print(flush=True)


def cut_off(rounds: int, seed: int) -> None:
    """Kill a server right after an acknowledgement, and in the middle of a write."""
    kinds: dict[str, Callable[[durable_rounds.Durable], None]] = {
        "killed after an acknowledgement": durable_rounds.Durable.after_an_acknowledgement,
        "killed amid a write": durable_rounds.Durable.amid_a_write,
    }
    for stores in DURABLE if rounds else ():
        for name, play in kinds.items():
            begin = time.monotonic()
            with (
                brought_back_by(f"{stores}: {name}", f"--seed {seed} --durable {rounds}"),
                tempfile.TemporaryDirectory(prefix="measurand-soak-") as folder,
                open_site(stores, Path(folder) / "store") as site,
                durable_rounds.start_durable(site, seed=seed) as durable,
            ):
                for number in range(rounds):
                    play(durable)
                    tell(f"{stores}: {name}: {number + 1} of {number + 1} rounds", begin)
            print(flush=True)


def cut_saves(rounds: int, seed: int) -> None:
    """Kill a server, and a program, in the middle of saving a dataset whole."""
    kinds: dict[str, Callable[[save_rounds.Rounds], None]] = {
        "server killed amid a save": save_rounds.Rounds.server_round,
        "program killed amid a save": save_rounds.Rounds.client_round,
    }
    for stores in DURABLE if rounds else ():
        begin = time.monotonic()
        with (
            tempfile.TemporaryDirectory(prefix="measurand-soak-") as folder,
            open_site(stores, Path(folder) / "store") as site,
            save_rounds.start_rounds(site, seed=seed) as running,
        ):
            for name, play in kinds.items():
                for number in range(rounds):
                    with brought_back_by(f"{stores}: {name}", f"--seed {seed} --saves {rounds}"):
                        play(running)
                    tell(f"{stores}: {name}: {number + 1} rounds", begin)
                print(flush=True)


def cut_streams(rounds: int, seed: int) -> None:
    """Kill servers and measurements in the middle of a stream of frames, and take the server away for a minute."""
    begin = time.monotonic()
    with brought_back_by("a stream of frames", f"--seed {seed} --streams {rounds}"):
        for done in array_rounds.run(rounds, seed=seed):
            tell(done, begin)
    print(flush=True)


def cut_buffers(rounds: int, seed: int) -> None:
    """Kill servers, stores and a writer while a buffer is appended to, frozen, rotated, followed and consumed."""
    begin = time.monotonic()
    with brought_back_by("working on a buffer", f"--seed {seed} --buffers {rounds}"):
        for done in buffer_rounds.run(rounds, seed=seed):
            tell(done, begin)
    print(flush=True)


def lose(rounds: int, seed: int) -> None:
    """Break containers in all ways while clients write and read, and repair what they have lost."""
    blobs, begin = 0, time.monotonic()
    for number in range(rounds):
        with brought_back_by("containers that break", f"--seed {seed + number} --losses 1"):
            blobs += asyncio.run(play_losses(seed + number))
        tell(f"containers break: {number + 1} rounds, {blobs} blobs", begin)
    print(flush=True)


def hurt_containers(rounds: int, seed: int) -> None:
    """Wipe, damage, freeze, slow and fill containers while people work, kill servers, and repair it all."""
    begin = time.monotonic()
    with brought_back_by("hurt containers", f"--seed {seed} --containers {rounds}"):
        for done in container_rounds.run(rounds, seed=seed):
            tell(done, begin)
    print(flush=True)


def put_objects(number: int, seed: int) -> None:
    """Put objects under nasty keys, and over a network that loses answers."""
    begin = time.monotonic()
    with brought_back_by("objects", f"--seed {seed} --objects {number}"):
        for storage in object_rounds.run(number, seed):
            tell(f"{storage}: {number} objects put once each, {2 * number} keys apart", begin)
    print(flush=True)


def count(rounds: int) -> None:
    """Count in one dataset by many threads."""
    begin = time.monotonic()
    for stores in counting.run(rounds):
        tell(f"{stores}: 32 threads counted to {32 * rounds:,}", begin)
        print(flush=True)


def make_chaos(rounds: int, seed: int) -> None:
    """Kill and freeze servers and stores while people work on them."""
    if not rounds:
        return
    chance, begin = random.Random(seed), time.monotonic()
    with (
        tempfile.TemporaryDirectory(prefix="measurand-soak-") as folder,
        chaos.start_chaos(Path(folder), seed=seed) as running,
    ):
        for number in range(rounds):
            events = chaos.plan(chance)
            with brought_back_by(f"chaos: round {number}, {events}", f"--seed {seed} --chaos {rounds}"):
                running.round(events)
            tell(f"chaos: {number + 1} rounds", begin)
        print(flush=True)
        running.check_all()
        print(running.report, flush=True)


def take_away(times: int) -> None:
    """Take each store away for half a minute."""
    if not times:
        return
    with (
        tempfile.TemporaryDirectory(prefix="measurand-soak-") as folder,
        fleet.start_fleet(Path(folder), program="measurand.server.run") as running,
    ):
        for victim, frozen in OUTAGES * times:
            seen = outage.suffer(running, victim, frozen=frozen, before=10.0, away=AWAY_SECONDS, after=10.0)
            print(f"{victim} {'frozen' if frozen else 'killed'} for {AWAY_SECONDS:.0f} s: {seen}", flush=True)


def properties(runs: int, seed: int) -> int:
    """Run the property tests with other examples each time; returns the exit code."""
    for number in range(runs):
        print(f"properties, run {number + 1} of {runs}", flush=True)
        options = ["-q", "-m", "hypothesis", f"--hypothesis-seed={seed + number}"]
        if subprocess.run([sys.executable, "-m", "pytest", *options], cwd=ROOT, check=False).returncode:
            return 1
    return 0


@contextmanager
def brought_back_by(what: str, options: str) -> Iterator[None]:
    """Say how to see it again when it fails."""
    try:
        yield
    except BaseException:
        print(f"\n{what} failed; bring it back with {options}", flush=True)
        raise


def tell(what: str, begin: float) -> None:
    """Write how far it came over what was written before."""
    print(f"\r{what}, {time.monotonic() - begin:.0f} s", end="", flush=True)


if __name__ == "__main__":
    sys.exit(main())
