"""Metadata as it is typed: `--meta temperature=0.012`, `--set device.wafer=W1`."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import click

from measurand.wire.documents import decode, merge_patch
from measurand.wire.errors import DocumentInvalid, InvalidArgument
from measurand.wire.patches import parse_path

__all__ = ["document_of", "patch_of", "read_file"]


def document_of(pairs: Iterable[str]) -> dict[str, Any]:
    """Return the document that `key=value` pairs make, each key a path, each value JSON or else a text.

    Raises
    ------
    click.UsageError
        A pair has no `=`, or its key is no path.
    """
    document: dict[str, Any] = {}
    for pair in pairs:
        key, equals, text = pair.partition("=")
        if not equals:
            raise click.UsageError(f"{pair!r} is no pair; write KEY=VALUE")
        place(document, path_of(key), value_of(text), pair)
    return document


def patch_of(pairs: Iterable[str], removed: Iterable[str]) -> dict[str, Any]:
    """Return the merge patch that sets pairs and removes keys. Errors: as `document_of`."""
    patch = document_of(pairs)
    if holds_null(patch):
        raise click.UsageError("null cannot be set by --set; use --unset to remove a key")
    for key in removed:
        place(patch, path_of(key), None, key)
    return patch


def read_file(path: Path) -> dict[str, Any]:
    """Return the document of a file of Extended JSON.

    Raises
    ------
    click.UsageError
        It holds no document; the text says where.
    """
    try:
        return dict(decode(path.read_text("utf-8")))
    except DocumentInvalid as error:
        raise click.UsageError(f"{path}: {error.message}") from error
    except UnicodeDecodeError as error:
        raise click.UsageError(f"{path}: it is no UTF-8: {error.reason} at byte {error.start}") from error


def merged(first: dict[str, Any], second: dict[str, Any]) -> dict[str, Any]:
    """Return one document with another merged over it."""
    return merge_patch(first, second)


def path_of(key: str) -> tuple[str, ...]:
    try:
        return parse_path(key)
    except InvalidArgument as error:
        raise click.UsageError(f"{key!r} is no key; quote odd ones, as in '\"gain (dB)\".mean=1': {error}") from error


def value_of(text: str) -> Any:
    try:
        return decode(f'{{"value":{text}}}')["value"]
    except (DocumentInvalid, KeyError):
        return text


def place(document: dict[str, Any], path: tuple[str, ...], value: Any, pair: str) -> None:
    for segment in path[:-1]:
        inner = document.setdefault(segment, {})
        if not isinstance(inner, dict):
            raise click.UsageError(f"{pair!r} sets a key below one that has a value already")
        document = inner
    if path[-1] in document:
        raise click.UsageError(f"{pair!r} sets a key for the second time")
    document[path[-1]] = value


def holds_null(value: Any) -> bool:
    return value is None or (isinstance(value, dict) and any(map(holds_null, value.values())))
