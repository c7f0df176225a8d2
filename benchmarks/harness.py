"""Measures contenders turn by turn, so that what else the machine does hits all of them alike.

A contender runs in a process of its own: what one of them loads, or sets in its allocator, does not touch the others.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import platform
import statistics
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from multiprocessing.connection import Connection
from pathlib import Path

PRODUCT = "measurand"

Turn = Callable[[], float]
"""Does the work once and returns a figure in the unit of its row."""

Make = Callable[..., AbstractContextManager[Turn]]
"""Sets everything up, gives the turn, and takes everything down."""


@dataclass(frozen=True, slots=True)
class Contender:
    """One of those who take turns.

    Parameters
    ----------
    make : callable
        A context manager that sets everything up, gives the turn, and takes everything down. Importable by name.
    every : int
        Takes its turn in every so many rounds only: for peers that need minutes.
    """

    name: str
    make: Make
    arguments: tuple[object, ...] = ()
    every: int = 1


@dataclass(frozen=True, slots=True)
class Row:
    """One thing that is measured.

    Parameters
    ----------
    says : str
        What is done, in a line.
    unit : str
        Of the figures, such as `GB/s`. Larger is better unless `smaller_is_better`.
    targets : mapping
        For each peer the ratio that the product shall reach; for the product itself a figure.
    is_long : bool
        Only run when asked for by name.
    needs : sequence of str
        The servers that must run beside it: "mongod", "s3".
    """

    name: str
    says: str
    unit: str
    contenders: Sequence[Contender]
    rounds: int = 5
    smaller_is_better: bool = False
    targets: Mapping[str, float] = field(default_factory=dict)
    is_long: bool = False
    needs: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Figures:
    """What a row gave: all figures of each contender, in the order of the rounds."""

    name: str
    says: str
    unit: str
    smaller_is_better: bool
    figures: Mapping[str, Sequence[float]]
    targets: Mapping[str, float]

    def median(self, name: str) -> float:
        return statistics.median(self.figures[name])

    def best(self, name: str) -> float:
        return min(self.figures[name]) if self.smaller_is_better else max(self.figures[name])

    def ratio(self, peer: str, figure: Callable[[str], float]) -> float:
        """Return how many times as good as the peer the product is."""
        ours, theirs = figure(PRODUCT), figure(peer)
        return theirs / ours if self.smaller_is_better else ours / theirs


def measure(row: Row, *, rounds: int | None = None) -> Figures:
    """Let the contenders of a row take turns: one round to warm up, then those that count."""
    figures: dict[str, list[float]] = {contender.name: [] for contender in row.contenders}
    with ExitStack() as stack:
        turns = [(item, stack.enter_context(apart(item))) for item in row.contenders]
        for _, turn in turns:
            turn()
        for number in range(rounds or row.rounds):
            order = turns if number % 2 == 0 else turns[::-1]
            for contender, turn in order:
                if number % contender.every == 0:
                    figures[contender.name].append(turn())
    return Figures(row.name, row.says, row.unit, row.smaller_is_better, figures, dict(row.targets))


@contextmanager
def apart(contender: Contender) -> Iterator[Turn]:
    """Run a contender in a fresh process and give its turn."""
    spawning = multiprocessing.get_context("spawn")
    here, there = spawning.Pipe()
    process = spawning.Process(target=_serve, args=(contender, there))
    process.start()
    there.close()

    def turn() -> float:
        here.send(None)
        answer = here.recv()
        if isinstance(answer, float):
            return answer
        raise RuntimeError(f"{contender.name} failed:\n{answer}")

    try:
        yield turn
    finally:
        here.close()  # the other end takes everything down when it sees this
        process.join(timeout=60)
        if process.is_alive():
            process.kill()
            process.join()


def _serve(contender: Contender, there: Connection) -> None:
    try:
        with contender.make(*contender.arguments) as turn:
            while _is_asked(there):
                there.send(float(turn()))
    except Exception:  # whatever it is, the one who waits for the figure has to know
        there.send(traceback.format_exc())


def _is_asked(there: Connection) -> bool:
    """Wait until another turn is wanted (True) or the other end is closed."""
    try:
        there.recv()
    except EOFError:
        return False
    return True


def table(rows: Sequence[Figures]) -> str:
    """Return the rows as a table in Markdown."""
    lines = [
        "| row | who | median | best | unit | ratio of medians | of bests | target |",
        "|---|---|--:|--:|---|--:|--:|--:|",
    ]
    for row in rows:
        for name in row.figures:
            if not row.figures[name]:
                continue
            cells = [f"`{row.name}`", name, number(row.median(name)), number(row.best(name)), row.unit]
            target = row.targets.get(name)
            if name == PRODUCT:
                sign = "≤" if row.smaller_is_better else "≥"
                cells += ["", "", "" if target is None else f"{sign} {number(target)}"]
            else:
                cells += [f"{row.ratio(name, row.median):.2f}", f"{row.ratio(name, row.best):.2f}"]
                cells += ["" if target is None else f"≥ {target:g}"]
            lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def number(value: float) -> str:
    """Return a figure with three digits that mean something."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def write_json(path: Path, rows: Sequence[Figures]) -> None:
    """Write all figures, with when and on what machine they were taken."""
    machine = {"system": platform.platform(), "python": platform.python_version(), "cores": os.cpu_count()}
    content = {"time": datetime.now(UTC).isoformat(), "machine": machine, "rows": [asdict(row) for row in rows]}
    path.write_text(json.dumps(content, indent=2) + "\n")
