"""The part of a dataset's handle that lets arrays grow while they are measured."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from measurand.client import names, retries
from measurand.client._async.calls import AsyncCalls

if TYPE_CHECKING:
    import numpy.typing as npt

    from measurand.client._async.array_streams import AsyncArrayStream

__all__ = ["AsyncDatasetStreams"]


class AsyncDatasetStreams:
    """What a dataset can do with streams of frames."""

    _calls: AsyncCalls
    name: str

    def stream_array(
        self,
        name: str,
        frame_shape: int | Sequence[int],
        dtype: npt.DTypeLike,
        *,
        length: int | Sequence[int] | None = None,
        chunks: int | Sequence[int] | None = None,
        fill: object = None,
        codec: str | None = None,
        dims: Sequence[str | None] | None = None,
        attrs: Mapping[str, Any] | None = None,
        resume: bool = False,
        spool: str | os.PathLike[str] | None = None,
        spool_bytes: int = 16 << 30,
        window_bytes: int = 64 << 20,
        visible_every: float = 0.1,
        retry_for: float = retries.STREAM_PATIENCE,
    ) -> AsyncArrayStream:
        """Stream frames into an array while they are measured.

        The array is made on entry. Unless a length is given, this stream is its one appender: frames become visible in
        order, as rows of the first axis.

        Parameters
        ----------
        name : str
            Of the array in the dataset.
        frame_shape : int or sequence of int
            Shape of one frame; `()` for single values.
        dtype : dtype_like
            Of the elements.
        length : int or sequence of int, optional
            Make room for so many frames, along one or several axes. They may be written in any order, by several
            streams and processes at once, and an array that is there is gone on with.
        chunks : int or sequence of int, optional
            Length of a chunk along the first axes, or along all. Unless given: frames are grouped to about 1 MiB; one
            frame where a length is given, so that writers do not meet in a chunk.
        fill : scalar, optional
            What unwritten elements read as: NaN, NaT, 0, False or empty unless given.
        codec : str, optional
            `none`, `lz4`, `zstd` or `gzip`, or a Zarr v3 codec chain as JSON. Unless given: LZ4 with bit shuffle.
        dims : sequence of str, optional
            Names of the axes, the leading ones included.
        attrs : mapping, optional
            Units and whatever else is to be said of the array.
        resume : bool
            Go on with the array if it is there: `next_index` of the stream tells where. Whoever appended before is
            fenced.
        spool : path, optional
            A folder on this machine's disk that each frame goes to first. While the server is away, frames gather
            there. A process that was killed goes on by the same call with the same folder: what it had spooled is sent
            first, and `next_index` is behind it; for that the server need not be there, see `Client.dataset`.
        spool_bytes : int
            The spool takes at most so much of the disk.
        window_bytes : int
            At most so much is handed over and not durable; then `write` waits. With a spool, so much is in memory.
        visible_every : float
            A frame that does not fill its chunk is stored after so many seconds all the same, so that others see it.
        retry_for : float
            Give up after so many seconds without progress.

        Examples
        --------
        >>> with run.stream_array("iq", 101, "c8", dims=("sweep", "time")) as iq:  # doctest: +SKIP
        ...     for shot in instrument:
        ...         iq.write(shot)
        """
        from measurand.client._async.array_streams import AsyncArrayStream  # numpy comes with it
        from measurand.client.stream_plans import plan_stream

        plan = plan_stream(
            names.array_name(self.name, name),
            frame_shape,
            dtype,
            length=length,
            chunks=chunks,
            fill=fill,
            codec=codec,
            dims=dims,
            attrs=attrs,
        )
        return AsyncArrayStream(
            self._calls,
            plan,
            resume=resume,
            spool=None if spool is None else Path(spool),
            spool_bytes=spool_bytes,
            window_bytes=window_bytes,
            visible_every=visible_every,
            retry_for=retry_for,
        )
