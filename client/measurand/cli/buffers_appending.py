"""`buffer append`: records from what is typed, from files, or from standard input."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import click

from measurand.cli.buffers_places import BUFFER, BufferPlace, as_typed
from measurand.cli.output import print_json
from measurand.cli.pairs import document_of
from measurand.cli.session import Session, common, pass_session

if TYPE_CHECKING:
    from measurand.client import Buffer

__all__ = ["append"]

STANDARD_INPUT = "-"


@click.command(short_help="Append records: texts, files, standard input.")
@click.argument("place", metavar="CATALOG/BUFFER", type=BUFFER)
@click.argument("texts", metavar="[TEXT… | -]", nargs=-1)
@click.option(
    "--file",
    "files",
    metavar="FILE",
    multiple=True,
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="The bytes of a file as a record; repeat it.",
)
@click.option("--size", metavar="SIZE", help="Cut files and standard input into records of so many bytes.")
@click.option("--meta", "pairs", metavar="KEY=VALUE", multiple=True, help="Metadata of each of the records.")
@click.option("--gps", type=float, help="When it was measured, in GPS seconds.")
@click.option("--id", "record_id", metavar="ID", help="Your own id of the record: appended again, it is there once.")
@click.option(
    "--wait-while-frozen",
    "patience",
    metavar="SECONDS",
    type=click.FloatRange(min=0),
    default=0.0,
    help="Wait so long for a frozen buffer, instead of failing.",
)
@common
@pass_session
def append(
    session: Session,
    place: BufferPlace,
    texts: tuple[str, ...],
    files: tuple[Path, ...],
    size: str | None,
    pairs: tuple[str, ...],
    gps: float | None,
    record_id: str | None,
    patience: float,
) -> None:
    """Append records: each TEXT is one; with - each line of standard input. It ends when all of them are durable.

    \b
    measurand buffer append lab/log "beam on" --meta operator=ann
    measurand buffer append lab/h1-strain --file block.bin --gps 1187008882.4
    read-detector | measurand buffer append lab/raw - --size 64KiB
    """  # noqa: D301  # click reads the \b
    if not texts and not files:
        raise click.UsageError("nothing to append; give TEXT, --file FILE, or - for standard input")
    is_one = len(texts) + len(files) == 1 and STANDARD_INPUT not in texts and size is None
    if record_id is not None and not is_one:
        raise click.UsageError("--id is that of one record; append one at a time")
    said: dict[str, Any] = {"metadata": document_of(pairs), "gps": gps, "id": record_id}
    with session.connect() as client, as_typed():
        records = records_of(texts, files, 0 if size is None else block_size(size))
        buffer = client.catalog(place.catalog).buffer(place.buffer)
        if is_one and not patience:
            stored = Stored()
            stored.add(1, buffer.append(next(records), **said))  # leaves no trace of a writer
        else:
            stored = store(buffer, records, said, patience)
    if session.as_json:
        print_json({"buffer": str(place), **asdict(stored)})
    elif stored.records:
        click.echo(str(stored))
    else:
        session.remark("there was nothing to append")


@dataclass(slots=True)
class Stored:
    """How many records were stored, and where; others may have stored some in between."""

    records: int = 0
    first_sequence: int | None = None
    last_sequence: int | None = None

    def add(self, _: int, sequence: int | None) -> None:
        """Count one."""
        self.records += 1
        if sequence is not None:
            self.first_sequence = sequence if self.first_sequence is None else self.first_sequence
            self.last_sequence = sequence

    def __str__(self) -> str:
        if self.records == 1:
            return f"record {self.first_sequence}"
        return f"{self.records} records, {self.first_sequence} to {self.last_sequence}"


def store(buffer: Buffer, records: Iterator[bytes], said: dict[str, Any], patience: float) -> Stored:
    """Append records as they come, and return where they went when all of them are durable."""
    stored = Stored()
    with buffer.writer(wait_while_frozen=patience) as out:
        out.on_durable(stored.add)
        for data in records:
            out.write(data, **said)
    return stored


def block_size(text: str) -> int:
    """Return a number of bytes as it is typed."""
    from measurand.client.buffer_settings import size_of

    size = size_of(text, "--size")
    if size < 1:
        raise click.UsageError("--size 0: a record of standard input has at least one byte")
    return size


def records_of(texts: tuple[str, ...], files: tuple[Path, ...], block: int) -> Iterator[bytes]:
    """Yield what is to be appended, in the order of the texts and then of the files."""
    for text in texts:
        if text == STANDARD_INPUT:
            yield from cut(sys.stdin.buffer, block) if block else lines(sys.stdin.buffer)
        else:
            yield text.encode()
    for path in files:
        if block:
            with path.open("rb") as file:
                yield from cut(file, block)
        else:
            yield path.read_bytes()


def lines(file: IO[bytes]) -> Iterator[bytes]:
    """Yield the lines as they come, without their ends."""
    for line in file:
        yield line.removesuffix(b"\n").removesuffix(b"\r")


def cut(file: IO[bytes], block: int) -> Iterator[bytes]:
    """Yield blocks of so many bytes, the last one with what is left."""
    while data := file.read(block):
        yield data
