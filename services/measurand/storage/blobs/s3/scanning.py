"""Everything that lies in the place, by its key: finished, staged, or left behind. Blocking."""

from __future__ import annotations

from measurand.core.ports import StoredBlob
from measurand.storage.blobs.s3.faults import translating
from measurand.storage.blobs.s3.layout import Names
from measurand.storage.blobs.s3.objects import Objects
from measurand.storage.blobs.s3.staging import Seen, Staging

__all__ = ["Scanning"]


class Scanning:
    """Lists one place."""

    def __init__(self, objects: Objects, names: Names, staging: Staging) -> None:
        self._objects = objects
        self._names = names
        self._staging = staging

    def staged(self, prefix: str) -> dict[str, Seen]:
        """Return what is staged by key, also what has no record: puts that were never ended, pieces that came late."""
        seen: dict[str, Seen] = {}
        with translating(prefix or "the scan of the blobs"):
            # Before the records: whatever has begun by now and is staged has one.
            for upload in self._objects.uploads(self._names.blob(prefix)):
                item = seen.setdefault(self._names.key_of(upload.name), Seen(upload.started_time))
                item.upload = upload.id
            for found in self._objects.all(self._names.record(prefix)):
                item = seen.setdefault(self._names.key_of(found.name), Seen(found.modified_time))
                item.modified_time = max(item.modified_time, found.modified_time)
                if "!" in found.name:
                    item.beside.append(found.name)
                else:
                    item.has_record = True
        return seen

    def finished(self, prefix: str, after: str) -> tuple[list[StoredBlob], str | None]:
        """Return a page of finished blobs and what to ask for the next with; None: that was the last."""
        with translating(prefix or "the scan of the blobs"):
            found, after = self._objects.page(self._names.blob(prefix), after)
        blobs = [StoredBlob(self._names.key_of(each.name), each.size, each.modified_time) for each in found]
        return blobs, after or None

    def stored(self, key: str, seen: Seen) -> StoredBlob | None:
        """Return what there is of a staged write, or of the blob that it has become; None: it is gone."""
        return self._staging.stored(key, seen)
