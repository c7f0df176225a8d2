"""Answers: a table for people, aligned text for pipes, JSON for programs."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import click

from measurand.cli.session import Session

__all__ = [
    "cell",
    "counted",
    "facts_of_array",
    "facts_of_dataset",
    "facts_of_file",
    "print_facts",
    "print_json",
    "print_table",
]


def print_json(value: object) -> None:
    """Write a value as one line of JSON, flushed: a pipe sees it at once."""
    click.echo(json.dumps(value, ensure_ascii=False, default=json_of))
    sys.stdout.flush()


def json_of(value: object) -> object:
    if isinstance(value, datetime):
        return value.isoformat().replace("+00:00", "Z")
    raise TypeError(type(value).__name__)


def print_table(session: Session, rows: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> None:
    """Write rows: all that is known of them in JSON, else these columns."""
    if session.as_json:
        print_json(list(rows))
        return
    cells = [[cell(row.get(column), column) for column in columns] for row in rows]
    if sys.stdout.isatty():
        from rich.console import Console
        from rich.table import Table
        from rich.text import Text

        table = Table(box=None, pad_edge=False, header_style="bold")
        for column in columns:
            table.add_column(column, justify="right" if column in NUMBERS else "left", overflow="fold")
        for line in cells:
            table.add_row(*(Text(text) for text in line))
        Console().print(table)
        return
    widths = [max(len(text) for text in column) for column in zip(columns, *cells, strict=True)]
    for line in [list(columns), *cells]:
        click.echo("  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)).rstrip())


NUMBERS = frozenset(
    {"size", "stored", "free", "capacity", "ratio", "files", "parts", "bytes", "revision", "generation", "datasets"}
)


def print_facts(session: Session, facts: Mapping[str, Any]) -> None:
    """Write one thing: a line for each fact, nested ones indented; empty ones are left out."""
    if session.as_json:
        print_json(facts)
        return
    width = max((len(key) for key, value in facts.items() if not is_empty(value)), default=0)
    for key, value in facts.items():
        if is_empty(value):
            continue
        if isinstance(value, Mapping):
            click.echo(f"{key}:")
            click.echo("\n".join(f"  {line}" for line in tree_lines(value)))
        else:
            click.echo(f"{key.ljust(width)}  {cell(value, key)}")


def tree_lines(value: Mapping[str, Any]) -> list[str]:
    lines: list[str] = []
    for key, item in value.items():
        if isinstance(item, Mapping) and item and not next(iter(item)).startswith("$"):
            lines.append(f"{printable(key)}:")
            lines += [f"  {line}" for line in tree_lines(item)]
        else:
            text = item if isinstance(item, str) else json.dumps(item, ensure_ascii=False)
            lines.append(f"{printable(key)}: {printable(text)}")
    return lines


def is_empty(value: object) -> bool:
    return value is None or value in ("", [], (), {})


def cell(value: Any, column: str = "") -> str:
    """Return a value as it is shown in a table."""
    if value is None:
        return ""
    if column in ("size", "stored", "bytes", "free", "capacity"):
        from measurand.client.display import bytes_text

        return bytes_text(value)
    if isinstance(value, datetime):
        return value.astimezone().strftime("%Y-%m-%d %H:%M:%S")
    if isinstance(value, (list, tuple)):
        return printable(", ".join(str(item) for item in value))
    return printable(str(value))


def printable(text: str) -> str:
    """Return a text with its control characters spelled out: titles and paths must not steer the terminal."""
    return "".join(letter if letter.isprintable() else letter.encode("unicode_escape").decode() for letter in text)


def counted(number: int, what: str = "file") -> str:
    """Return a number of files, or of something else, in words."""
    return f"1 {what}" if number == 1 else f"{number} {what}s"


def facts_of_dataset(dataset: Any) -> dict[str, Any]:
    """Return what a dataset's handle knows, in the words of the client; metadata as Extended JSON."""
    from measurand.client.values import to_text

    return {
        "id": dataset.id,
        "catalog": dataset.catalog,
        "title": dataset.title,
        "kind": dataset.kind,
        "tags": list(dataset.tags),
        "parents": list(dataset.parents),
        "state": dataset.state,
        "revision": dataset.revision,
        "etag": dataset.etag,
        "created": dataset.created,
        "created_by": dataset.created_by,
        "updated": dataset.updated,
        "started": dataset.started,
        "ended": dataset.ended,
        "deleted": dataset.deleted,
        "purge_time": dataset.purge_time,
        "files": dataset.file_count,
        "bytes": dataset.stored_bytes,
        "storage": None if dataset.storage is None else str(dataset.storage),
        "metadata": json.loads(to_text(dataset.metadata)),
    }


def facts_of_file(file: Any) -> dict[str, Any]:
    """Return what is known about a file."""
    return {
        "path": file.path,
        "size": file.size,
        "blake3": file.blake3,
        "crc32c": file.crc32c,
        "generation": file.generation,
        "content_type": file.content_type,
        "attributes": dict(file.attributes),
        "created": file.created,
        "creator": file.creator,
        "is_superseded": file.is_superseded,
    }


def facts_of_array(array: Any) -> dict[str, Any]:
    """Return what the handle of an array knows; attributes as Extended JSON."""
    from measurand.client.values import to_text

    return {
        "array": array.name,
        "shape": list(array.shape),
        "dtype": str(array.dtype),
        "chunks": list(array.chunks),
        "dims": list(array.dims) if any(array.dims) else [],
        "size": array.nbytes,
        "growing": array.growing or None,
        "etag": array.etag,
        "created": array.created,
        "updated": array.updated,
        "attrs": json.loads(to_text(array.attrs)),
    }
