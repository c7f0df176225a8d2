"""Calls as the rest of the client makes them: connected when first needed, tried again as the protocol allows."""

from __future__ import annotations

import random
import time
from typing import Protocol, TypeVar, cast

from measurand.client import methods, names, retries
from measurand.client._transport import aio
from measurand.client.address import Address
from measurand.client.background import Backgrounds
from measurand.client.methods import Method
from measurand.client.private import Notice, Private
from measurand.v1 import server_pb2
from measurand.wire.errors import FailedPrecondition, MeasurandError, Timeout, Unavailable

__all__ = ["AsyncCalls", "Route"]

Request = TypeVar("Request")
Response = TypeVar("Response")

START_SECONDS = 30.0
"""How long a private server may take to start."""


class Route(Protocol):
    """The way to a server that may move."""

    async def find(self) -> Address:
        """Return where it is."""
        ...

    async def find_anew(self, failed: Address) -> tuple[Address, bool]:
        """Return where to go after a connection failed, and whether that is a place that was not known before."""
        ...

    async def close(self) -> None:
        """Let go of what finds it."""
        ...


class AsyncCalls:
    """Calls to one server.

    Parameters
    ----------
    address : Address
        Where it is; a private one is started or joined with the first call.
    deadlines : Deadlines
        How long calls may take.
    route : Route, optional
        The way to a server that is found in a registry.
    """

    def __init__(self, address: Address, deadlines: retries.Deadlines, route: Route | None = None) -> None:
        self.address = address
        self._route = route
        self.deadlines = deadlines
        self.ulids = names.Ulids()
        self.backgrounds = Backgrounds()
        self._transport: aio.Transport | None = None
        self._private: Private | None = None
        self._connecting = aio.Lock()
        self._is_closed = False

    async def unary(
        self,
        method: Method[Request, Response],
        request: Request,
        *,
        patience: float | None = None,
        gone: type[MeasurandError] | None = None,
    ) -> Response:
        """Make a call, again and again while that is safe and may help.

        Parameters
        ----------
        patience : float, optional
            Go on for so many seconds in all, each try with the deadline of its class. Unless given: that deadline,
            and where it has passed for a change, once more.
        gone : type, optional
            Of a call that removes something: the error that says that it is not there. Where the answer to an earlier
            try was lost, that try has removed it.

        Raises
        ------
        MeasurandError
            The server's word, or how the transport failed in the end.
        """
        transport = await self.transport()
        deadline = self.deadlines.of(method.kind)
        tries = self.tries(patience or deadline)
        has_timed_out = False
        while True:
            try:
                return await transport.unary(method, request, seconds=max(min(deadline, tries.left_seconds), 0.001))
            except MeasurandError as failure:
                error = failure
            if not retries.may_repeat(error, method.kind):
                if tries.failed and gone is not None and isinstance(error, gone):
                    return cast("Response", method.response())
                raise error
            if isinstance(error, Timeout) and patience is None:
                if has_timed_out:
                    raise error
                has_timed_out = True
                tries.progress()
            await self.pause(tries, error)

    async def pause(self, tries: retries.Tries, error: MeasurandError) -> None:
        """Wait before the next try, or raise the error where there is none."""
        transport = await self.transport()
        if self._route is not None and not retries.is_from_server(error):
            place, is_new = await self._route.find_anew(transport.address)
            if place.target != transport.address.target:
                await transport.move(place)
            if is_new:
                return
        seconds = tries.next_pause(error, has_answered=transport.has_answered)
        if seconds is None:
            raise error
        await aio.sleep(seconds)

    def tries(self, patience: float = retries.STREAM_PATIENCE) -> retries.Tries:
        """Return a fresh count of tries."""
        return retries.Tries(time.monotonic, random.random, patience)

    async def transport(self) -> aio.Transport:
        """Return the transport, connected."""
        if self._transport is not None:
            return self._transport
        async with self._connecting:
            if self._is_closed:
                raise FailedPrecondition(f"this client of {self.address} is closed; make a new one", state="closed")
            if self._transport is None:
                self._transport = await self._open()
            return self._transport

    @property
    def reached(self) -> Address:
        """Where another client reaches the same server, as long as this one is open."""
        return self.address if self._transport is None else self._transport.address

    async def close(self) -> None:
        """Close the channel when what goes on in the background is done; a private server ends with its last client."""
        await aio.in_thread(self.backgrounds.close)
        async with self._connecting:
            self._is_closed = True
            transport, self._transport = self._transport, None
            if transport is not None:
                await transport.close()
            if self._private is not None:
                await aio.in_thread(self._private.close)
            if self._route is not None:
                await self._route.close()

    async def _open(self) -> aio.Transport:
        if self._route is not None:
            return aio.Transport(await self._route.find())
        return await self._join() if self.address.private else aio.Transport(self.address)

    async def _join(self) -> aio.Transport:
        """Join the server of a folder, and start it where there is none."""
        private = self._private = Private(self.address)
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            notice = await aio.in_thread(private.read_notice)
            if notice is not None and (transport := await self._hold(notice)) is not None:
                return transport
            await aio.in_thread(private.start)
            await aio.sleep(0.05)
        words = await aio.in_thread(private.last_words)
        raise Unavailable(f"the private server for {self.address} does not answer: {words}", store=str(private.folder))

    async def _hold(self, notice: Notice) -> aio.Transport | None:
        """Return a transport that holds the server open, or None if it has gone and left its notice behind."""
        transport = aio.Transport(Address(notice.target))
        try:
            answer = await transport.unary(methods.GET_CAPABILITIES, server_pb2.GetCapabilitiesRequest(), seconds=5.0)
            if answer.instance_id == notice.instance_id:
                await transport.hold(methods.KEEP_OPEN, server_pb2.KeepOpenRequest())
                return transport
        except MeasurandError:
            pass
        await transport.close()
        return None
