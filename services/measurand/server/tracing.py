"""Traces for OpenTelemetry: a span for each call, and below it one for each verb of a store that the call came to.

Imported only where an endpoint is configured, so a server without one has neither the packages nor their cost. What a
caller sends as W3C `traceparent` is gone on with; sampling, headers and the like are the `OTEL_…` variables' matter.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable, Mapping
from importlib.metadata import version
from typing import Any, TypeAlias, cast

import grpc
import grpc.aio
from google.rpc.error_details_pb2 import ErrorInfo
from google.rpc.status_pb2 import Status as RpcStatus
from opentelemetry.context import attach, detach, get_value, set_value
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import Span, SpanKind, Status, StatusCode, Tracer, set_span_in_context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from opentelemetry.util.types import AttributeValue

from measurand.server.metrics import Metrics
from measurand.services.status import DETAILS_KEY

__all__ = ["MOST_STORE_SPANS", "Traces", "TracingMeter", "open_traces"]

MOST_STORE_SPANS = 100
"""An upload of some gigabytes comes to its store thousands of times: a call shows the first of them."""
LAST_SECONDS = 5.0
"""How long a collector that does not answer may hold up the end of the server."""

_QUIET = ("/grpc.health.v1.Health/", "/grpc.reflection.")
"""Methods that are asked all the time and tell nothing."""
_FAULTS = ("UNKNOWN", "DEADLINE_EXCEEDED", "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS")
"""Codes that are the server's fault and not the caller's, by OpenTelemetry's conventions for gRPC."""
_TALLY = "measurand-store-calls"

Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"
Behaviour: TypeAlias = "Callable[[Any, Context], Awaitable[Any]]"
Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"


class _Tally:
    """How often a call came to a store."""

    __slots__ = ("calls",)

    def __init__(self) -> None:
        self.calls = 0


class Traces:
    """The spans of one server.

    Parameters
    ----------
    processor : SpanProcessor
        Where finished spans go.
    instance_id : str
        The server's, as it also stands in the trailers of each call.
    """

    def __init__(self, processor: SpanProcessor, *, instance_id: str) -> None:
        own = {
            "service.name": "measurand",
            "service.version": version("measurand"),
            "service.instance.id": instance_id,
        }
        # OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES win over our own words.
        resource = Resource(own).merge(OTELResourceDetector().detect())
        self._provider = TracerProvider(resource=resource, shutdown_on_exit=False)
        self._provider.add_span_processor(processor)
        self._tracer = self._provider.get_tracer("measurand")

    def around(self, calls: grpc.aio.ServerInterceptor) -> grpc.aio.ServerInterceptor:
        """Return an interceptor that does what `calls` does, within a span."""
        return _Traced(calls, self._tracer)

    def meter(self, metrics: Metrics) -> TracingMeter:
        """Return what takes the figures of both stores in the place of `metrics`, and passes them on."""
        return TracingMeter(metrics, self._tracer)

    def close(self) -> None:
        """Send what is left. Blocks, though never for long."""
        ending = threading.Thread(target=self._provider.shutdown, name="last spans", daemon=True)
        ending.start()
        ending.join(LAST_SECONDS)


def open_traces(endpoint: str, *, instance_id: str) -> Traces:
    """Return traces that go to an OTLP collector over HTTP.

    Parameters
    ----------
    endpoint : str
        Its URL without a path, such as `http://collector:4318`. Empty: what `OTEL_EXPORTER_OTLP_ENDPOINT` says.
    """
    exporter = OTLPSpanExporter(endpoint=f"{endpoint.rstrip('/')}/v1/traces" if endpoint else None)
    return Traces(BatchSpanProcessor(exporter), instance_id=instance_id)


class TracingMeter:
    """The meter of both stores. A store's call is known when it has ended, so its span is made then, with its times."""

    def __init__(self, metrics: Metrics, tracer: Tracer) -> None:
        self._metrics = metrics
        self._tracer = tracer

    def observe(self, store: str, verb: str, seconds: float, error: str) -> None:
        self._metrics.observe(store, verb, seconds, error)
        self._show(f"{verb} blobs", {"measurand.store": store, "measurand.verb": verb}, seconds, error)

    def moved(self, store: str, verb: str, size: int) -> None:
        self._metrics.moved(store, verb, size)

    def asked(self, store: str, collection: str, verb: str, seconds: float, error: str) -> None:
        self._metrics.asked(store, collection, verb, seconds, error)
        attributes = {"db.system.name": store, "db.collection.name": collection, "db.operation.name": verb}
        self._show(f"{verb} {collection}", attributes, seconds, error)

    def _show(self, name: str, attributes: Mapping[str, AttributeValue], seconds: float, error: str) -> None:
        tally = get_value(_TALLY)
        if not isinstance(tally, _Tally):  # no call that is traced: a job of the background, or one not sampled
            return
        tally.calls += 1
        if tally.calls > MOST_STORE_SPANS:
            return
        now = time.time_ns()
        begin = now - round(seconds * 1e9)
        span = self._tracer.start_span(name, kind=SpanKind.CLIENT, attributes=attributes, start_time=begin)
        if error:
            span.set_attribute("error.type", error)
            span.set_status(Status(StatusCode.ERROR))
        span.end(now)


class _Traced(grpc.aio.ServerInterceptor):
    """Stands around the interceptor of calls, so that what it refuses is in a span as well."""

    def __init__(self, inner: grpc.aio.ServerInterceptor, tracer: Tracer) -> None:
        self._inner = inner
        self._tracer = tracer
        self._callers = TraceContextTextMapPropagator()
        self._wrapped: dict[str, Handler] = {}

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Handler | None]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Handler | None:
        method = handler_call_details.method
        wrapped = self._wrapped.get(method)
        if wrapped is None:
            # The stubs promise a handler, yet there is none for a method that nobody serves.
            handler = await self._inner.intercept_service(cast("Any", continuation), handler_call_details)
            if handler is None or method.startswith(_QUIET):
                return handler
            wrapped = self._wrapped[method] = self._wrap(method, handler)
        return wrapped

    def _wrap(self, method: str, handler: Handler) -> Handler:
        parts: Any = handler
        kind = next(k for k in ("unary_unary", "stream_unary", "unary_stream", "stream_stream") if getattr(parts, k))
        behaviour: Behaviour = getattr(parts, kind)  # a coroutine for streams too: `Calls` has made it so

        async def answer(request: Any, context: Context) -> Any:
            return await self._answer(method.removeprefix("/"), behaviour, request, context)

        return cast("Handler", parts._replace(**{kind: answer}))

    async def _answer(self, method: str, behaviour: Behaviour, request: Any, context: Context) -> Any:
        sent = {key: value for key, value in context.invocation_metadata() or () if isinstance(value, str)}
        caller = self._callers.extract(sent)
        attributes = {"rpc.system.name": "grpc", "rpc.method": method}
        span = self._tracer.start_span(method, context=caller, kind=SpanKind.SERVER, attributes=attributes)
        tally = _Tally() if span.is_recording() else None
        token = attach(set_value(_TALLY, tally, set_span_in_context(span, caller)))
        code = grpc.StatusCode.OK
        try:
            return await behaviour(request, context)
        except asyncio.CancelledError:
            code = grpc.StatusCode.CANCELLED
            raise
        except grpc.aio.AbortError:
            code = grpc.StatusCode(context.code())
            raise
        finally:
            detach(token)
            if tally is not None:
                _describe(span, code.name, dict(context.trailing_metadata() or ()), tally)
            span.end()


def _describe(span: Span, code: str, trailers: Mapping[str, str | bytes], tally: _Tally) -> None:
    span.set_attribute("rpc.response.status_code", code)
    span.set_attribute("measurand.store_calls", tally.calls)
    span.set_attribute("measurand.request_id", str(trailers.get("x-request-id", "")))
    if code != "OK":
        span.set_attribute("error.type", _reason(trailers.get(DETAILS_KEY)) or code)
    if code in _FAULTS:
        span.set_status(Status(StatusCode.ERROR))


def _reason(details: str | bytes | None) -> str:
    """Return the reason word that the caller is told."""
    if isinstance(details, bytes):
        for packed in RpcStatus.FromString(details).details:
            info = ErrorInfo()
            if packed.Unpack(info):
                return str(info.reason)
    return ""
