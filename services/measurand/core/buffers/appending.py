"""Records from their writers: one call by itself, or a stream that is acknowledged bit by bit."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

from measurand.core.buffers.committing import Commits
from measurand.core.buffers.live import Board
from measurand.core.buffers.records import Record
from measurand.core.buffers.submissions import Opened, Stored, Submission
from measurand.core.buffers.writers import Ack, BufferWriter, counted_of
from measurand.core.catalogs import Catalogs
from measurand.core.limits import Limits
from measurand.core.means import Means
from measurand.core.names import BufferName
from measurand.core.principal import Principal
from measurand.core.requests import make_request
from measurand.wire.errors import Busy, InvalidArgument, NotFound, TooLarge

__all__ = ["Ack", "Appending", "BufferWriter", "check_writer"]

MAX_WRITER = 64


def check_writer(writer: str) -> None:
    """Raise InvalidArgument unless it is an id that a writer may have, or empty."""
    if len(writer) > MAX_WRITER or not writer.isascii() or (writer and not writer.isprintable()):
        raise InvalidArgument(
            f"writer: {writer[:80]!r} is not 1 to {MAX_WRITER} printable ASCII characters; use a UUID", field="writer"
        )


class Appending:
    """Stores records for their writers."""

    def __init__(self, catalogs: Catalogs, commits: Commits, board: Board, means: Means, limits: Limits) -> None:
        self._catalogs = catalogs
        self._commits = commits
        self._board = board
        self._means = means
        self._limits = limits

    async def append(
        self,
        principal: Principal,
        name: BufferName,
        records: Sequence[Record],
        *,
        writer: str = "",
        first_number: int = 0,
        request_id: str = "",
    ) -> Stored:
        """Store up to 2 MiB of records next to each other in one window. Durable when it returns.

        Parameters
        ----------
        writer, first_number : str, int
            Id of the writer, and its own number of the first record: each number is stored once.
        request_id : str
            Makes it safe to repeat. Not together with a writer.

        Raises
        ------
        InvalidArgument
            FIELD_INVALID, TOO_LARGE, REQUEST_ID_REUSED.
        Busy
            SERVER_BUSY: too much is waiting to be stored.
        Frozen, FailedPrecondition, WriterSequenceGap, NotFound
            See `Commits.submit`.
        """
        self._check(records, writer, first_number, request_id)
        await self._catalogs.require(principal, name.parent)
        counted = counted_of(records)
        known, queues = self._board.known(name), self._commits.queues
        if not queues.has_room("" if known is None else known.head.uid, counted):
            raise Busy(f"{name}: {queues.total} bytes are waiting to be stored; try again", retry_seconds=0.5)
        request = None
        if request_id:
            asked = repr([(record.crc32c, len(record.data), record.head()) for record in records])
            request = make_request(
                request_id, self._means.now(), self._limits, "append", principal.name, str(name), asked
            )
        submission = Submission(records, counted, principal, writer, first_number, request=request)
        if known is not None:
            try:
                return await self._commits.submit(known.head, submission)
            except NotFound:  # it may have been made anew since it was last heard of
                head = (await self._board.read(name)).head
                if head.uid == known.head.uid:
                    raise
        else:
            head = (await self._board.read(name)).head
        return await self._commits.submit(head, submission)

    async def open_writer(
        self,
        principal: Principal,
        name: BufferName,
        writer: str,
        acknowledge: Callable[[Ack], Awaitable[None]],
        wait_while_frozen: float = 0.0,
    ) -> BufferWriter:
        """Return a writer, which fences earlier ones with its id.

        Parameters
        ----------
        writer : str
            Its id. Empty: none, and no promise over a reconnect.
        acknowledge : callable
            Told how far all is durable; where the writer stands at first is in `opening`.
        wait_while_frozen : float
            Seconds to wait for a frozen buffer to be unfrozen, instead of failing.

        Raises
        ------
        NotFound
            RESOURCE_NOT_FOUND, RESOURCE_DELETED.
        InvalidArgument
            FIELD_INVALID: of the writer's id.
        """
        check_writer(writer)
        await self._catalogs.require(principal, name.parent)
        head = (await self._board.read(name)).head
        opened = await self._commits.open(head, principal, writer) if writer else Opened(0, 0)
        return BufferWriter(
            self._commits, self._board, self._limits, principal, head, writer, opened, acknowledge, wait_while_frozen
        )

    def _check(self, records: Sequence[Record], writer: str, first_number: int, request_id: str) -> None:
        check_writer(writer)
        if not records:
            raise InvalidArgument("records: there are none; append at least one", field="records")
        size = sum([len(record.data) for record in records])
        if size > self._limits.max_data_bytes:
            raise TooLarge(
                f"records: {size} bytes; the most in one call is {self._limits.max_data_bytes}; use a writer",
                limit=self._limits.max_data_bytes,
                actual=size,
            )
        if writer and first_number < 1:
            raise InvalidArgument(
                "first_writer_sequence: a writer numbers its records 1, 2, 3, …; say the number of the first",
                field="first_writer_sequence",
            )
        if writer and request_id:
            raise InvalidArgument(
                "request_id: a writer's numbers make it safe to repeat; leave one of the two out", field="request_id"
            )
