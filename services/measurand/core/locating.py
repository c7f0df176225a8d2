"""Where the bytes of a file lie, for readers that can reach the store themselves."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from measurand.core.extents import Extent
from measurand.core.file_documents import File
from measurand.core.files import Files
from measurand.core.means import Means
from measurand.core.names import FileName
from measurand.core.ports import Blob
from measurand.core.principal import Principal
from measurand.wire.errors import FailedPrecondition, FeatureDisabled, InvalidArgument

__all__ = ["Locating", "Location", "Presign", "Span"]

Presign = Callable[[Blob, float], str]
"""Makes a URL by which anybody can read a blob for so many seconds."""


@dataclass(frozen=True, slots=True)
class Span:
    """The first `size` bytes of what a URL gives."""

    url: str
    size: int


@dataclass(frozen=True, slots=True)
class Location:
    """A file, where its bytes lie in order, and until when the URLs are good."""

    file: File
    spans: Sequence[Span]
    expire_time: datetime


class Locating:
    """Tells where bytes lie.

    Parameters
    ----------
    presign : callable, optional
        The store's maker of URLs. None: it has none, or the operator does not want them given away.
    longest : timedelta
        The longest that a URL is good for.
    are_elsewhere : callable, optional
        Tells whether one of these blobs is not in that store.
    """

    def __init__(
        self,
        files: Files,
        means: Means,
        *,
        presign: Presign | None,
        longest: timedelta,
        are_elsewhere: Callable[[Collection[str]], Awaitable[bool]] | None = None,
    ) -> None:
        self._files = files
        self._means = means
        self._presign = presign
        self._longest = longest
        self._are_elsewhere = are_elsewhere

    async def locate(
        self, principal: Principal, name: FileName, *, generation: int = 0, lifetime: timedelta | None = None
    ) -> Location:
        """Return where the bytes of a file lie.

        Parameters
        ----------
        lifetime : timedelta, optional
            For how long the URLs shall be good; shortened to what the operator allows.

        Raises
        ------
        FeatureDisabled
            FEATURE_DISABLED: the store has no URLs, or the operator does not want them given away.
        FailedPrecondition
            STATE_WRONG: other files lie in the same object, and a URL would give them away as well; or it lies in
            containers.
        """
        if self._presign is None:
            raise FeatureDisabled("this server gives no URLs of the store; read the file through it")
        if lifetime is not None and lifetime <= timedelta(0):
            raise InvalidArgument("lifetime: it must be longer than nothing", field="lifetime")
        file = await self._files.get(principal, name, generation)
        if any(not _is_own(extent) for extent in file.extents):
            raise FailedPrecondition(
                f"{name} is small and lies in one object with other files; read it through the server",
                resource=str(name),
            )
        keys = {extent.blob.key for extent in file.extents}
        if self._are_elsewhere is not None and keys and await self._are_elsewhere(keys):
            raise FailedPrecondition(
                f"{name} lies in containers; read it through the server", resource=str(name), state="spread"
            )
        wanted = min(lifetime or self._longest, self._longest)
        now = self._means.now()
        spans = [Span(self._presign(extent.blob, wanted.total_seconds()), extent.size) for extent in file.extents]
        return Location(file, spans, now + wanted)


def _is_own(extent: Extent) -> bool:
    """Tell whether a piece is the whole of its blob. Those of packs carry no checks and know no size but their own."""
    return extent.offset == 0 and extent.blob.checks is not None and extent.blob.size == extent.size
