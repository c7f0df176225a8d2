"""A relay that stands between clients and a server, counts their calls, and loses answers as a test decides."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import grpc

__all__ = ["Relay", "relay"]

OPTIONS = (("grpc.max_send_message_length", 16 << 20), ("grpc.max_receive_message_length", 16 << 20))
THREADS = 64


class Relay(grpc.GenericRpcHandler):
    """Passes every call on as it is, message by message.

    Parameters
    ----------
    address : str
        Of the server.
    loses : callable
        Is asked with the name of the rpc when the server has done all; True: the caller hears that it is gone.
    """

    def __init__(self, address: str, loses: Callable[[str], bool]) -> None:
        self.calls: Counter[str] = Counter()
        """How often each rpc was called."""
        self.lost = 0
        """So many answers never came."""
        self._loses = loses
        self._lock = threading.Lock()
        self._channel = grpc.insecure_channel(address, options=OPTIONS)
        self._server = grpc.server(ThreadPoolExecutor(THREADS), handlers=[self], options=OPTIONS)
        self.address = f"127.0.0.1:{self._server.add_insecure_port('127.0.0.1:0')}"
        self._server.start()

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler[Any, Any]:
        path = str(handler_call_details.method)

        def serve(messages: Iterator[bytes], context: Any) -> Iterator[bytes]:
            return self._pass_on(path, messages, context)

        # On the wire a unary call is a stream of one message each way.
        return grpc.stream_stream_rpc_method_handler(serve)

    def close(self) -> None:
        self._server.stop(None).wait()
        self._channel.close()

    def _pass_on(self, path: str, messages: Iterator[bytes], context: Any) -> Iterator[bytes]:
        name = path.rpartition("/")[2]
        with self._lock:
            self.calls[name] += 1
            loses = self._loses(name)
        call: Any = self._channel.stream_stream(path, _as_it_is, _as_it_is)(
            messages, metadata=context.invocation_metadata()
        )
        context.add_callback(call.cancel)
        try:
            for answer in call:
                if not loses:
                    yield answer
        except grpc.RpcError:
            context.set_trailing_metadata(call.trailing_metadata())
            context.abort(call.code(), call.details())
        if loses:
            with self._lock:
                self.lost += 1
            context.abort(grpc.StatusCode.UNAVAILABLE, "the answer was lost")


def _as_it_is(message: bytes) -> bytes:
    return message


@contextmanager
def relay(address: str, loses: Callable[[str], bool] = lambda _: False) -> Iterator[Relay]:
    """Give a relay to the server at the address."""
    passing = Relay(address, loses)
    try:
        yield passing
    finally:
        passing.close()
