"""Buffers as they are typed, and the limits of their policies."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import click
from click.shell_completion import CompletionItem

from measurand.cli.status import USAGE, failure_of
from measurand.wire.errors import InvalidArgument

__all__ = ["BUFFER", "BufferPlace", "as_typed", "limits_of", "number_or_text"]


@dataclass(frozen=True, slots=True)
class BufferPlace:
    """Which buffer of which catalog."""

    catalog: str
    buffer: str

    def __str__(self) -> str:
        return f"{self.catalog}/{self.buffer}"


class BufferType(click.ParamType[BufferPlace]):
    """A parameter that is a buffer: CATALOG/BUFFER, or its resource name."""

    name = "CATALOG/BUFFER"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> BufferPlace:
        if isinstance(value, BufferPlace):
            return value
        found = re.fullmatch(r"catalogs/([^/]+)/buffers/([^/]+)|([^/]+)/([^/]+)", str(value))
        if found is None:
            self.fail(f"{value!r} names no buffer; write CATALOG/BUFFER", param, ctx)
        return BufferPlace(found[1] or found[3], found[2] or found[4])

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        """Offer catalogs, and the buffers of the one that is typed; nothing if the server does not answer."""
        from measurand.cli.session import Session
        from measurand.wire.errors import MeasurandError

        session = ctx.find_object(Session) or Session()
        catalog, slash, _ = incomplete.partition("/")
        try:
            with session.connect(timeout=1.0) as client:
                if slash:
                    offers = [f"{catalog}/{found.id}" for found in client.catalog(catalog).buffers()]
                else:
                    offers = [f"{found.id}/" for found in client.catalogs()]
        except MeasurandError:
            return []
        return [CompletionItem(offer) for offer in offers if offer.startswith(incomplete)]


BUFFER = BufferType()


def limits_of(pairs: Iterable[str], allowed: tuple[str, ...]) -> dict[str, int | float | str]:
    """Return what `records=1000`, `bytes=2GiB` and the like say, as the client takes it.

    Raises
    ------
    click.UsageError
        A pair has another name, or the name of one before.
    """
    limits: dict[str, int | float | str] = {}
    for pair in pairs:
        name, equals, text = pair.partition("=")
        if not equals or name not in allowed:
            raise click.UsageError(f"{pair!r} is no limit; write {', '.join(f'{key}=…' for key in allowed)}")
        if name in limits:
            raise click.UsageError(f"{pair!r} sets {name} for the second time")
        limits[name] = number_or_text(text)
    return limits


def number_or_text(text: str) -> int | float | str:
    """Return a number where one is typed; else the text, such as `15m` or `2GiB`, which the client reads."""
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            pass
    return text


@contextmanager
def as_typed() -> Iterator[None]:
    """Say of what the client or the server does not take that it was typed wrongly."""
    try:
        yield
    except InvalidArgument as error:
        failure = failure_of(error)
        failure.exit_code = USAGE  # type: ignore[misc]  # see Failure
        raise failure from error
