"""What is registered: one by name, many by name, all of a kind."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Generic, TypeVar

from measurand.core.filters.evaluate import CompilePattern
from measurand.core.filters.parser import parse_filter
from measurand.core.filters.tree import And, Exists, Filter, Not
from measurand.core.limits import Limits
from measurand.core.means import Means
from measurand.core.paging import make_token, open_token, page_size
from measurand.core.ports import DocumentStore, Found, Position
from measurand.core.principal import Principal
from measurand.core.registry.documents import GONE, REGISTRATION_FIELDS, REGISTRATIONS, Registration
from measurand.core.registry.names import RegistrationName, parse_registration
from measurand.core.registry.standing import Standing, look, look_at_many, with_beats
from measurand.wire.errors import InvalidArgument, NotFound, TooLarge

__all__ = ["Finding", "Pack", "RegistrationBatch", "RegistrationPage"]

MAX_NAMES = 1000
AT_ONCE = 50
"""So many registrations are in memory together: each may have 64 KiB."""

Item = TypeVar("Item")
Pack = Callable[[Registration, datetime], tuple[Item, int]]
"""Makes an item of a registration at a time, and tells its bytes."""


@dataclass(frozen=True, slots=True)
class RegistrationPage(Generic[Item]):
    """Some registrations, and the token of the next page (empty: this was the last)."""

    items: Sequence[Item]
    next_page_token: str


@dataclass(frozen=True, slots=True)
class RegistrationBatch(Generic[Item]):
    """Those of the names that are registered, those that are not, and those that did not fit."""

    items: Sequence[Item]
    missing: Sequence[str]
    left_over: Sequence[str]


class Finding:
    """Reads what is registered. What is over is not there, whether or not it was swept."""

    def __init__(
        self, documents: DocumentStore, means: Means, limits: Limits, *, compile_pattern: CompilePattern
    ) -> None:
        self._documents = documents
        self._means = means
        self._limits = limits
        self._compile_pattern = compile_pattern

    async def get(self, principal: Principal, name: RegistrationName) -> Registration:
        """Return one. NotFound: there is none; it says when it was last seen."""
        found = await look(self._documents, name)
        now = self._means.now()
        live = found.live(now)
        if live is None:
            raise _missing(found, now)
        return live

    async def get_many(
        self, principal: Principal, kind: str | None, names: Sequence[str], pack: Pack[Item]
    ) -> RegistrationBatch[Item]:
        """Return those of these names, in their order, as far as they fit into one message."""
        if len(names) > MAX_NAMES:
            raise TooLarge(f"names: {len(names)}; the most is {MAX_NAMES}", limit=MAX_NAMES, actual=len(names))
        parsed = [parse_registration(name, field="names") for name in names]
        for name in parsed:
            if kind is not None and name.kind != kind:
                raise InvalidArgument(f"names: {name} is not of the kind {kind}; use registry/-", field="names")
        items: list[Item] = []
        missing: list[str] = []
        used = 0
        for start in range(0, len(parsed), AT_ONCE):
            part = parsed[start : start + AT_ONCE]
            now = self._means.now()
            for place, standing in enumerate(await look_at_many(self._documents, part), start):
                live = standing.live(now)
                if live is None:
                    missing.append(str(standing.name))
                    continue
                item, weight = pack(live, now)
                if items and used + weight > self._limits.page_bytes:
                    return RegistrationBatch(items, missing, [str(name) for name in parsed[place:]])
                items.append(item)
                used += weight
        return RegistrationBatch(items, missing, ())

    async def find(
        self,
        principal: Principal,
        kind: str | None,
        pack: Pack[Item],
        *,
        size: int = 0,
        page_token: str = "",
        filter_text: str = "",
    ) -> RegistrationPage[Item]:
        """Return a page of those of a kind (None: of all) that the filter holds for, by name.

        Raises
        ------
        FilterInvalid
            FILTER_INVALID, with the position.
        PageTokenInvalid
            PAGE_TOKEN_INVALID: it is malformed or from another request.
        """
        most = page_size(size, self._limits)
        request = ("registrations", str(kind), filter_text)
        start = open_token(page_token, request=request, values=0, now=self._means.now())
        where = self._where(filter_text, start.now)
        after, used = start.after, 0
        items: list[Item] = []
        while True:
            limit = min(AT_ONCE, most - len(items))
            found = await self._found(kind, where, after, limit)
            now = self._means.now()
            standings = await with_beats(self._documents, {item.document.key: item.document for item in found})
            for item in found:
                live = standings[item.document.key].live(now)
                if live is not None:
                    packed, weight = pack(live, now)
                    if items and used + weight > self._limits.page_bytes:
                        assert after is not None
                        return RegistrationPage(items, make_token(after, request=request, now=start.now))
                    items.append(packed)
                    used += weight
                after = item.position
            if len(found) < limit:
                return RegistrationPage(items, "")
            if len(items) == most:
                assert after is not None
                return RegistrationPage(items, make_token(after, request=request, now=start.now))

    async def walk(self, kind: str | None, after: str = "") -> AsyncIterator[Registration]:
        """Yield all of a kind (None: of all kinds) that stand behind a key, by name."""
        position = Position((), after) if after else None
        while True:
            found = await self._found(kind, self._where("", self._means.now()), position, AT_ONCE)
            standings = await with_beats(self._documents, {item.document.key: item.document for item in found})
            for standing in standings.values():
                live = standing.live(self._means.now())
                if live is not None:
                    yield live
            if len(found) < AT_ONCE:
                return
            position = found[-1].position

    async def _found(self, kind: str | None, where: Filter, after: Position | None, limit: int) -> Sequence[Found]:
        scopes = None if kind is None else [f"registry/{kind}"]
        return await self._documents.find(REGISTRATIONS, scopes=scopes, where=where, after=after, limit=limit)

    def _where(self, filter_text: str, now: datetime) -> Filter:
        present: Filter = Not(Exists(GONE))
        asked = parse_filter(filter_text, system=REGISTRATION_FIELDS, now=now, compile_pattern=self._compile_pattern)
        return present if asked is None else And((present, asked))


def _missing(found: Standing, now: datetime) -> NotFound:
    last = found.registration
    if last is None:
        return NotFound(
            f"{found.name}: nothing is registered under this name; list the registrations of {found.name.scope}, or "
            "look for a slip in the name",
            resource=found.name,
        )
    seen = last.renew_time.isoformat().replace("+00:00", "Z")
    ago = max((now - last.renew_time).total_seconds(), 0.0)
    where = f" at {last.endpoint}" if last.endpoint else ""
    return NotFound(
        f"{found.name}: nothing is registered under this name now; it was last seen {seen}, {ago:.0f} s ago{where}; "
        "see whether what it names still runs",
        resource=found.name,
        last_seen=seen,
    )
