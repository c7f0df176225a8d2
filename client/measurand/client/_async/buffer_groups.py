"""The part of a buffer's handle that shares records among consumers."""

from __future__ import annotations

from measurand.client import methods, names
from measurand.client._async.calls import AsyncCalls
from measurand.client._async.consumers import AsyncConsumer, consumer_settings
from measurand.client._async.groups import AsyncGroup
from measurand.client.buffer_settings import Span
from measurand.v1 import buffers_pb2

__all__ = ["AsyncBufferGroups"]


class AsyncBufferGroups:
    """What a buffer can do with groups of consumers."""

    _calls: AsyncCalls
    _message: buffers_pb2.Buffer

    def consume(
        self,
        group: str,
        *,
        ack_timeout: Span = 30.0,
        attempts: int = 5,
        ordered: bool = False,
        whole_sets: bool = False,
        part_timeout: Span = 10.0,
        after: int | str = "begin",
        most: int = 100,
        timeout: float | None = None,
        consumer: str | None = None,
    ) -> AsyncConsumer:
        """Share the records with others of a group: each goes to one of them, until it is acknowledged.

        Parameters
        ----------
        group : str
            The group, which is made if need be, and gets these settings.
        ack_timeout : float, str or timedelta
            A record that is not acknowledged in that time is delivered again.
        attempts : int
            A record is given up after so many deliveries; 0: never. `group(…).dead()` lists them.
        ordered : bool
            Deliver in the order of the sequence, to one consumer at a time.
        whole_sets : bool
            Deliver the parts of a set together, to one consumer.
        part_timeout : float, str or timedelta
            Deliver a set that is not complete so long after its first part.
        after : int or str
            Where a new group begins: after a sequence, at the "begin", or with the next record ("end").
        most : int
            At most so many records are with this consumer and not acknowledged.
        timeout : float, optional
            End when no record has come for so many seconds.
        consumer : str, optional
            An id of this consumer in the group; random unless given.

        Examples
        --------
        >>> with strain.consume("train") as records:  # doctest: +SKIP
        ...     for record in records:
        ...         use(record.array)
        ...         record.ack()
        """
        message = consumer_settings(
            f"{self._message.name}/groups/{group}",
            ack_timeout=ack_timeout,
            attempts=attempts,
            ordered=ordered,
            whole_sets=whole_sets,
            part_timeout=part_timeout,
        )
        return AsyncConsumer(
            self._calls, message, after=after, most=most, timeout=timeout, consumer=consumer or names.request_id()
        )

    def group(self, name: str) -> AsyncGroup:
        """Return the handle of a group of consumers."""
        return AsyncGroup(self._calls, self._message.name, name)

    async def groups(self) -> list[str]:
        """Return the ids of the groups."""
        found: list[str] = []
        request = buffers_pb2.ListConsumerGroupsRequest(parent=self._message.name, page_size=1000)
        while True:
            page = await self._calls.unary(methods.LIST_CONSUMER_GROUPS, request)
            found += [names.last_part(group.name) for group in page.groups]
            request.page_token = page.next_page_token
            if not page.next_page_token:
                return found
