"""The call that is being answered: who is calling, and under which request id. Known to everything that runs for it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextvars import ContextVar
from dataclasses import dataclass

from measurand.core.principal import LOCAL_USER, Principal

__all__ = ["Call", "Resolver", "begin", "current", "local_user", "request_id", "said_by"]

Resolver = Callable[[Sequence[tuple[str, str | bytes]]], Awaitable[Principal]]
"""Finds out from the metadata of a call who is calling, or raises the error that the caller gets."""


IDENTITY = frozenset({"authorization"})
"""The keys of metadata that callers say by who they are."""


@dataclass(frozen=True, slots=True)
class Call:
    """What is known of a call before it is answered."""

    principal: Principal
    request_id: str


# A context variable, the one exception to "no globals": gRPC gives each call a context of its own.
_OUTSIDE = Call(LOCAL_USER, "")
_call: ContextVar[Call] = ContextVar("measurand_call", default=_OUTSIDE)


def begin(call: Call) -> None:
    """Say which call is answered from here on, in this context. For the interceptor."""
    _call.set(call)


def current() -> Principal:
    """Return who is calling. Adapters hand it to core as an argument."""
    return _call.get().principal


def request_id() -> str:
    """Return the id of the call for log lines; empty outside of calls."""
    return _call.get().request_id


def said_by(metadata: Iterable[tuple[str, str | bytes]]) -> tuple[tuple[str, str], ...]:
    """Return what of the metadata of a call says who is calling: all that a resolver may look at."""
    return tuple((key, value) for key, value in metadata if key in IDENTITY and isinstance(value, str))


async def local_user(_metadata: Sequence[tuple[str, str | bytes]]) -> Principal:
    """Everybody is the local user: what a server without authentication resolves callers with."""
    return LOCAL_USER
