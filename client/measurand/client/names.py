"""Names and ids as the client makes them."""

from __future__ import annotations

import random
import threading
import time
import uuid

from measurand.wire.errors import NameInvalid

__all__ = ["Ulids", "array_name", "array_path", "checked_path", "file_name", "last_part", "path_of", "request_id"]

_ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"


class Ulids:
    """Makes ids that sort by the time at which they were made (github.com/ulid/spec).

    Those of one maker keep their order within a millisecond as well, so that what one program makes in a row is found
    in that row.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._last = 0

    def make(self) -> str:
        """Return the next id."""
        fresh = time.time_ns() // 1_000_000 << 80 | random.getrandbits(80)  # unique, not secret
        with self._lock:
            # Within a millisecond the random part counts on; the same should the clock be set back.
            if fresh >> 80 <= self._last >> 80:
                fresh = self._last + 1 + random.getrandbits(32)
            self._last = fresh
        return "".join(_ALPHABET[fresh >> shift & 31] for shift in range(125, -1, -5))


def request_id() -> str:
    """Return an id for one intended change, by which the server knows its repetition."""
    # Unique, not secret: the system's own randomness costs as much as a whole small call. Forked processes differ.
    return str(uuid.UUID(int=random.getrandbits(128), version=4))


def last_part(name: str) -> str:
    """Return the id at the end of a name: `lab` of `catalogs/lab`."""
    return name.rpartition("/")[2]


def file_name(dataset: str, path: str) -> str:
    """Return the name of a file of a dataset. The server judges the path; only what UTF-8 cannot hold stops here."""
    return f"{dataset}/files/{checked_path(path, 'file')}"


def array_name(dataset: str, path: str) -> str:
    """Return the resource name of an array of a dataset."""
    return f"{dataset}/arrays/{checked_path(path, 'array')}"


def checked_path(path: str, kind: str) -> str:
    """Return the path of a file or the name of an array; only what no message can hold stops here."""
    if not isinstance(path, str):
        raise NameInvalid(f"the name of the {kind} is {path!r}; give a str", field="name", name=repr(path))
    try:
        path.encode()
    except UnicodeEncodeError:
        raise NameInvalid(
            f"the {kind} path {path!a} is no valid Unicode; rename the {kind}", field="name", name=ascii(path)
        ) from None
    return path


def array_path(name: str) -> str:
    """Return an array's own name, from its resource name."""
    return name.split("/arrays/", 1)[1]


def path_of(name: str) -> str:
    """Return the path in the name of a file."""
    return name.split("/files/", 1)[1]
