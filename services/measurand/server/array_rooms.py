"""What of a server has to do with arrays, put together."""

from __future__ import annotations

from measurand.core.arrays.appending import Appending
from measurand.core.arrays.arrays import Arrays
from measurand.core.arrays.chunks import Chunks
from measurand.core.arrays.committing import Commits
from measurand.core.arrays.element_reading import ElementReading
from measurand.core.arrays.element_writing import ElementWriting
from measurand.core.arrays.reading import ChunkReading
from measurand.core.arrays.resizing import Resizing
from measurand.core.arrays.watching import ArrayWatch
from measurand.core.arrays.writing import Writing
from measurand.core.datasets import Datasets
from measurand.core.limits import Limits
from measurand.core.means import Means
from measurand.core.ports import BlobStore, DocumentStore
from measurand.server.elements import NumpyElements
from measurand.services.arrays import ArrayRooms

__all__ = ["make_array_rooms"]


def make_array_rooms(
    documents: DocumentStore, blobs: BlobStore, datasets: Datasets, means: Means, limits: Limits
) -> ArrayRooms:
    """Return the rules of arrays over two stores. Elements are decoded and encoded by numpy."""
    elements = NumpyElements()
    arrays = Arrays(documents, datasets, means, limits)
    resizing = Resizing(documents, blobs, datasets, elements, means, limits)
    commits = Commits(documents, blobs, means, limits)
    reading = ChunkReading(documents, blobs, means)
    writing = Writing(documents, datasets, arrays, resizing, commits, means, limits)
    return ArrayRooms(
        arrays=arrays,
        resizing=resizing,
        chunks=Chunks(datasets, arrays, reading, commits, means, limits),
        element_reading=ElementReading(arrays, reading, elements, means, limits),
        element_writing=ElementWriting(datasets, arrays, reading, commits, elements, means),
        appending=Appending(documents, datasets, arrays, reading, writing, commits, elements, means, limits),
        writing=writing,
        watch=ArrayWatch(documents, arrays, means, limits),
    )
