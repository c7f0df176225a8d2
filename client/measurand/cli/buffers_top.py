"""`buffer top`: the buffers of a catalog while they run: rates, states, and how far behind their groups are."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click

from measurand.cli.buffers_output import facts_of_buffer, facts_of_group
from measurand.cli.output import cell, print_json, print_table
from measurand.cli.places import CATALOG, Place
from measurand.cli.session import Session, common, pass_session

if TYPE_CHECKING:
    from rich.table import Table

    from measurand.client import Catalog

__all__ = ["top"]

OF_BUFFERS = ("buffer", "state", "window", "records", "bytes", "records/s", "bytes/s", "writers", "newest")
OF_GROUPS = ("lag", "out", "again", "given up")
COLUMNS = (*OF_BUFFERS, *OF_GROUPS)
STYLES = {"ACTIVE": "green", "FROZEN": "bold cyan", "FINISHED": "dim"}

Facts = Mapping[str, Any]


@click.command(short_help="Watch rates, lag and state of all buffers.")
@click.argument("catalog", metavar="CATALOG", type=CATALOG)
@click.option("--interval", metavar="SECONDS", type=click.FloatRange(min=0.1), default=1.0, show_default=True)
@click.option("--count", metavar="N", type=click.IntRange(min=1), help="End after so many looks [in a pipe: 1].")
@common
@pass_session
def top(session: Session, catalog: Place, interval: float, count: int | None) -> None:
    """Watch the buffers of a catalog: rates, lag and state, their groups below them; end with Ctrl-C.

    It reads and changes nothing. Rates are those between two looks; at the first look, those of the last minute.
    """
    is_live = sys.stdout.isatty() and not session.as_json
    with session.connect() as client:
        looks = look(client.catalog(catalog.catalog), interval, count or (None if is_live else 1))
        try:
            if is_live:
                show(str(catalog), looks)
                return
            for buffers in looks:
                if session.as_json:
                    print_json(buffers)
                else:
                    print_table(session, rows_of(buffers), COLUMNS)
        except KeyboardInterrupt:  # how it is meant to end
            return


def look(catalog: Catalog, interval: float, count: int | None) -> Iterator[list[Facts]]:
    """Yield what is known of all buffers and their groups, at each interval, with the rates since the look before."""
    before: dict[str, tuple[float, Facts]] = {}
    number, due = 0, time.monotonic()
    while True:
        buffers: list[Facts] = []
        for handle in catalog.buffers():
            now, facts = time.monotonic(), facts_of_buffer(handle)
            if handle.id in before:
                facts |= rates(before[handle.id][1], facts, now - before[handle.id][0])
            before[handle.id] = now, facts
            groups = [facts_of_group(handle.group(name).facts()) for name in handle.groups()]
            buffers.append({**facts, "groups": groups})
        yield buffers
        number += 1
        if number == count:
            return
        due = max(due + interval, time.monotonic())
        time.sleep(max(due - time.monotonic(), 0))


def rates(before: Facts, now: Facts, seconds: float) -> dict[str, float]:
    """Return what came in between two looks, a second; of bytes only within one window, whose count it is."""
    found = {"records_per_second": max(now["next_sequence"] - before["next_sequence"], 0) / seconds}
    if now["window"] == before["window"]:
        found["bytes_per_second"] = max(now["bytes"] - before["bytes"], 0) / seconds
    return found


def rows_of(buffers: Iterable[Facts]) -> list[dict[str, Any]]:
    """Return a line for each buffer, and below it one for each of its groups."""
    now = datetime.now(UTC)
    rows = []
    for facts in buffers:
        owner = f" by {facts['owner'].removeprefix('users/')}" if facts["owner"] else ""
        rows.append(
            {
                "buffer": facts["id"],
                "state": f"{facts['state']}{owner}",
                "window": str(facts["window"]),
                "records": f"{facts['records']:,}",
                "bytes": facts["bytes"],
                "records/s": f"{facts['records_per_second']:,.1f}",
                "bytes/s": cell(facts["bytes_per_second"], "bytes"),
                "writers": str(facts["active_writers"]),
                "newest": age(facts["last_time"], now),
            }
        )
        rows += [
            {
                "buffer": f"  {group['id']}",
                "lag": f"{group['lag']:,}",
                "out": f"{group['outstanding']:,}",
                "again": f"{group['returned']:,}",
                "given up": f"{group['given_up']:,}",
            }
            for group in facts["groups"]
        ]
    return rows


def age(when: datetime | None, now: datetime) -> str:
    """Return how long ago something was, in one unit."""
    if when is None:
        return "never"
    seconds = max((now - when).total_seconds(), 0.0)  # the server's clock may be ahead
    for unit, length in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit} ago"
    return f"{seconds:.1f} s ago"


def show(title: str, looks: Iterator[Sequence[Facts]]) -> None:
    """Draw the looks over one another."""
    from rich.live import Live

    with Live(screen=False, auto_refresh=False) as live:
        for buffers in looks:
            live.update(drawn(title, buffers), refresh=True)


def drawn(title: str, buffers: Sequence[Facts]) -> Table:
    """Return a look as a table of rich."""
    from rich.table import Table
    from rich.text import Text

    heading = f"{title}  {datetime.now().astimezone():%H:%M:%S}"
    table = Table(title=heading, title_justify="left", box=None, pad_edge=False, header_style="bold")
    for column in COLUMNS:
        table.add_column(column, justify="left" if column in ("buffer", "state") else "right", overflow="fold")
    for row in rows_of(buffers):
        cells = [Text(cell(row.get(column), column)) for column in COLUMNS]
        cells[COLUMNS.index("state")].stylize(STYLES.get(row.get("state", "").partition(" ")[0], ""))
        table.add_row(*cells)
    return table
