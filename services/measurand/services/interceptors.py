"""What every call passes on its way in and out: who calls, the request id, one log line, the error as a status.

A handler is wrapped once, when its method is first called. A stream's messages are not touched here: the loop that
hands a servicer's answers to gRPC stands in `_write_all` instead of in gRPC, so it costs nothing more.
"""

from __future__ import annotations

import asyncio
import inspect
import itertools
import logging
import re
import secrets
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias, cast

import grpc
import grpc.aio

from measurand.services.principal import Call, Resolver, begin
from measurand.services.status import DETAILS_KEY, code_of, status_of
from measurand.wire.errors import Busy, Internal, MeasurandError, ShuttingDown, Timeout

__all__ = ["Calls", "Recorder"]

# gRPC's own classes cannot be subscripted at run time, hence the quotes. Messages are Any here: of every kind there is.
Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"
Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"
Behaviour: TypeAlias = "Callable[[Any, Context], Awaitable[Any]]"

_REQUEST_ID = re.compile(r"[!-~]{1,128}")
_ENDLESS = ("Watch", "Wait", "Poll", "Tail", "ReadRecords", "ListBufferEvents", "KeepOpen", "ServerReflectionInfo")
"""How the names of methods begin whose calls only wait, idle or read again, and so need not be waited for."""
_FREE = ("/grpc.health.v1.Health/",)
"""Answered however busy the server is."""

logger = logging.getLogger(__name__)


class Recorder(Protocol):
    """Counts calls."""

    def begin(self, method: str) -> None:
        """Note that a call of `/package.Service/Method` has begun."""
        ...

    def end(self, method: str, code: str, reason: str, seconds: float) -> None:
        """Note that it has ended, with which status code, with which reason if it failed, and after how long."""
        ...

    def received(self, size: int) -> None:
        """Note that a message of so many bytes came in."""
        ...

    def sent(self, size: int) -> None:
        """Note that a message of so many bytes goes out."""
        ...


@dataclass(frozen=True, slots=True)
class _Outcome:
    """How a call ends that does not end well."""

    code: grpc.StatusCode
    message: str = ""
    reason: str = ""
    details: bytes = b""


class Calls(grpc.aio.ServerInterceptor):
    """The calls of one server.

    Parameters
    ----------
    resolve : Resolver
        Finds out who is calling.
    recorder : Recorder
        Counts calls.
    instance_id : str
        Sent with each answer.
    most_at_once : int
        More calls than this at once are refused as SERVER_BUSY.
    unary_seconds : float
        The deadline of unary calls that come with a later one or none.
    """

    def __init__(
        self, *, resolve: Resolver, recorder: Recorder, instance_id: str, most_at_once: int, unary_seconds: float
    ) -> None:
        self._resolve = resolve
        self._recorder = recorder
        self._instance_id = instance_id
        self._most_at_once = most_at_once
        self._unary_seconds = unary_seconds
        self._wrapped: dict[str, Handler] = {}
        self._made_ids = itertools.count(1)
        self._running = 0
        self._endless: set[asyncio.Task[object]] = set()
        self._is_draining = False

    @property
    def running(self) -> int:
        """How many calls are being answered."""
        return self._running

    def drain(self) -> None:
        """End the calls that only wait, with SHUTTING_DOWN; the others see the server's draining event themselves."""
        self._is_draining = True
        for task in self._endless:
            task.cancel()

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Handler | None]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Handler | None:
        method = handler_call_details.method
        wrapped = self._wrapped.get(method)
        if wrapped is None:
            handler = await continuation(handler_call_details)
            if handler is None:  # not a method of ours: gRPC answers UNIMPLEMENTED
                return None
            wrapped = self._wrapped[method] = self._wrap(method, handler)
        return wrapped

    def _wrap(self, method: str, handler: Handler) -> Handler:
        parts: Any = handler
        behaviour: Any = parts.unary_unary or parts.stream_unary or parts.unary_stream or parts.stream_stream
        if inspect.isasyncgenfunction(behaviour):
            behaviour = _write_all(behaviour)
        if parts.unary_unary and not method.rpartition("/")[2].startswith(_ENDLESS):
            behaviour = self._within_deadline(behaviour)

        async def answer(request: Any, context: Context) -> Any:
            return await self._answer(method, behaviour, request, context)

        kind = next(k for k in ("unary_unary", "stream_unary", "unary_stream", "stream_stream") if getattr(parts, k))
        counted = {
            "request_deserializer": _counted_in(parts.request_deserializer, self._recorder.received),
            "response_serializer": _counted_out(parts.response_serializer, self._recorder.sent),
        }
        return cast("Handler", parts._replace(**{kind: answer}, **counted))

    async def _answer(self, method: str, behaviour: Behaviour, request: Any, context: Context) -> Any:
        metadata = tuple(context.invocation_metadata() or ())
        trailers = (("x-request-id", self._request_id(metadata)), ("measurand-instance", self._instance_id))
        context.set_trailing_metadata(trailers)
        started = time.perf_counter()
        task = _current_task()
        endless = method.rpartition("/")[2].startswith(_ENDLESS)
        outcome = _Outcome(grpc.StatusCode.OK)
        self._running += 1
        self._recorder.begin(method)
        if endless:
            self._endless.add(task)
        try:
            self._check_room(method, is_endless=endless)
            begin(Call(await self._resolve(metadata), trailers[0][1]))
            return await behaviour(request, context)
        except asyncio.CancelledError:
            if not (endless and self._is_draining):
                outcome = _Outcome(grpc.StatusCode.CANCELLED)  # the caller went away
                raise
            task.uncancel()
            outcome = _failed(_shutting_down())
        except grpc.aio.AbortError:
            outcome = _Outcome(grpc.StatusCode(context.code()))
            raise
        except MeasurandError as error:
            outcome = _failed(error)
        except grpc.aio.InternalError as error:  # what was written to a caller that has gone
            outcome = _Outcome(grpc.StatusCode.CANCELLED)
            raise asyncio.CancelledError from error
        except Exception as error:
            outcome = _failed(_fault(method, error))
        finally:
            self._running -= 1
            self._endless.discard(task)
            seconds = time.perf_counter() - started
            self._recorder.end(method, outcome.code.name, outcome.reason, seconds)
            _log(method, outcome, seconds)
        details = [(DETAILS_KEY, outcome.details)] if outcome.details else []
        return await context.abort(outcome.code, outcome.message, (*trailers, *details))

    def _request_id(self, metadata: Sequence[tuple[str, str | bytes]]) -> str:
        """Return the id that the caller has given, or a new one: of this process, and counted."""
        for key, value in metadata:
            if key == "x-request-id" and isinstance(value, str) and _REQUEST_ID.fullmatch(value):
                return value
        return f"{self._instance_id}-{next(self._made_ids):x}"

    def _check_room(self, method: str, *, is_endless: bool) -> None:
        if is_endless and self._is_draining:
            raise _shutting_down()
        if self._running > self._most_at_once and not method.startswith(_FREE):
            raise Busy(
                f"the server answers {self._most_at_once} calls already; try again soon",
                retry_seconds=0.5 + secrets.randbelow(500) / 1000,
            )

    def _within_deadline(self, behaviour: Behaviour) -> Behaviour:
        async def answer(request: Any, context: Context) -> Any:
            deadline = asyncio.timeout(self._unary_seconds)
            try:
                async with deadline:
                    return await behaviour(request, context)
            except TimeoutError as error:
                if not deadline.expired():
                    raise
                raise Timeout(f"the call took longer than the {self._unary_seconds:g} s of this server") from error

        return answer


def _counted_in(deserialize: Callable[[bytes], Any], count: Callable[[int], None]) -> Callable[[bytes], Any]:
    def counted(raw: bytes) -> Any:
        count(len(raw))
        return deserialize(raw)

    return counted


def _counted_out(serialize: Callable[[Any], bytes], count: Callable[[int], None]) -> Callable[[Any], bytes]:
    def counted(message: Any) -> bytes:
        raw = serialize(message)
        count(len(raw))
        return raw

    return counted


def _write_all(behaviour: Callable[[Any, Context], AsyncGenerator[Any, None]]) -> Behaviour:
    """Return a servicer's generator as a coroutine that writes what it yields, as gRPC itself would."""

    async def answer(request: Any, context: Context) -> None:
        write = context.write
        async with aclosing(behaviour(request, context)) as responses:
            async for response in responses:
                await write(response)

    return answer


def _failed(error: MeasurandError) -> _Outcome:
    status = status_of(error)
    if isinstance(error, Timeout):  # the transport's word, which has no details
        return _Outcome(grpc.StatusCode.DEADLINE_EXCEEDED, status.message)
    return _Outcome(code_of(error), status.message, error.reason, status.SerializeToString())


def _fault(method: str, error: Exception) -> Internal:
    """Return what the caller is told of an error that nobody expected. The log has the rest."""
    incident = secrets.token_hex(6)
    logger.error("event=fault method=%s incident=%s", method, incident, exc_info=error)
    return Internal(
        f"the server failed; its log tells more under incident {incident}. Trying again may help; if not, report it",
        incident=incident,
    )


def _log(method: str, outcome: _Outcome, seconds: float) -> None:
    """One line a call, for debugging: a server's log is not its metrics."""
    if not logger.isEnabledFor(logging.DEBUG):
        return
    text = "event=call method=%s code=%s reason=%s ms=%.2f"
    logger.debug(text, method, outcome.code.name, outcome.reason or "-", seconds * 1000)


def _shutting_down() -> ShuttingDown:
    return ShuttingDown("the server is going away; try again, another will answer", retry_seconds=0.2)


def _current_task() -> asyncio.Task[object]:
    task = asyncio.current_task()
    assert task is not None
    return task
