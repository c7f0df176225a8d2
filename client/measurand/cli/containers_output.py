"""What is told of containers, in lines of at most 80 characters."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping
from typing import Any

from measurand.cli.output import counted, printable

__all__ = ["explained", "told_of_blobs"]

WIDTH = 80
LONGEST_NAME = 24


def explained(placement: Any) -> Iterator[str]:
    """Yield a table of a `Placement`: where parts are, or what was thought of each container, best first."""
    if placement.considered:
        rows = [
            (one.container, "chosen" if one.chosen else "", f"{one.score:.4g}", "; ".join(one.reasons))
            for one in placement.considered
        ]
        yield from table(("container", "", "score", "why"), rows)
        return
    held: dict[str, list[Any]] = {}
    for part in placement.parts:
        held.setdefault(part.container, []).append(part)
    rows = [
        (
            name,
            "" if all(part.healthy for part in parts) else "not there",
            size_text(sum(part.size for part in parts)),
            f"{'part' if len(parts) == 1 else 'parts'} {', '.join(str(part.index) for part in parts)}",
        )
        for name, parts in sorted(held.items())
    ]
    yield from table(("container", "", "size", "what"), rows)


def told_of_blobs(found: Mapping[str, Any]) -> Iterator[str]:
    """Yield what a check has found, worst last."""
    yield (
        f"{counted(found['checked_blobs'], 'blob')}: {found['safe_blobs']} safe, {found['degraded_blobs']} degraded, "
        f"{found['at_risk_blobs']} at risk, {found['lost_blobs']} lost"
    )
    if found["missing_parts"] or found["damaged_parts"]:
        yield f"{counted(found['missing_parts'], 'part')} missing, {found['damaged_parts']} damaged"
    for losses, blobs in enumerate(found["remaining_losses"]):
        if blobs:
            yield f"{counted(blobs, 'blob')} can lose {counted(losses, 'more part')}"
    for name in found["lost_resources"]:
        yield f"lost: {printable(name)}"
    if found["at_risk_blobs"] or found["degraded_blobs"]:
        yield "make them good with `measurand container repair`"


def table(head: tuple[str, str, str, str], rows: list[tuple[str, str, str, str]]) -> Iterator[str]:
    """Yield lines of four columns, the last of which is broken where it is long."""
    short = [(shortened(printable(name)), *rest) for name, *rest in rows]
    lines = [head, *short]
    widths = [max(len(line[column]) for line in lines) for column in range(3)]
    left = WIDTH - sum(widths) - 2 * len(widths)
    for name, word, figure, text in lines:
        first, *more = textwrap.wrap(printable(text), left) or [""]
        yield f"{name:<{widths[0]}}  {word:<{widths[1]}}  {figure:>{widths[2]}}  {first}".rstrip()
        for rest in more:
            yield " " * (WIDTH - left) + rest


def shortened(name: str) -> str:
    """Return a name, without its middle if it is long."""
    half = LONGEST_NAME // 2
    return name if len(name) <= LONGEST_NAME else f"{name[: half - 1]}…{name[-half:]}"


def size_text(size: int) -> str:
    from measurand.client.display import bytes_text

    return bytes_text(size)
