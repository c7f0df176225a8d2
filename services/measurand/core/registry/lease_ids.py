"""The secrets of leases: made, shown to the one who asked, and kept as digests only.

That of a request with an id follows from the id and a key of the deployment: so the same request is shown it again,
and neither who can read the documents (which hold no request ids) nor who guesses request ids learns it.
"""

from __future__ import annotations

import base64
import hashlib
import hmac

from measurand.core.means import Means
from measurand.core.ports import Document, DocumentStore
from measurand.core.registry.names import RegistrationName

__all__ = ["SECRETS", "LeaseIds", "digest_of", "proves"]

SECRETS = "secrets"
"""The collection of keys that a deployment makes for itself, and which are no part of backups."""

_KEY = "registry"
_KEY_BYTES = 32


class LeaseIds:
    """Makes the ids of leases."""

    def __init__(self, documents: DocumentStore, means: Means) -> None:
        self._documents = documents
        self._means = means
        self._key: bytes | None = None

    async def make(self, name: RegistrationName | str, epoch: int, request_id: str) -> str:
        """Return the secret of a lease: the same for the same request, where it has an id."""
        if not request_id:
            return _text(self._means.random_bytes(_KEY_BYTES))
        said = f"{name} {epoch} {request_id}".encode()
        return _text(hmac.digest(await self._deployment_key(), said, "sha256"))

    async def _deployment_key(self) -> bytes:
        while self._key is None:
            found = await self._documents.fetch(SECRETS, _KEY)
            if found is not None:
                self._key = bytes.fromhex(str(found.body["key"]))
                break
            made = Document(_KEY, "", {"key": self._means.random_bytes(_KEY_BYTES).hex()})
            await self._documents.insert_many(SECRETS, [made])  # another server may be faster: then its key counts
        return self._key


def digest_of(lease_id: str) -> str:
    """Return what is kept of a secret."""
    return hashlib.sha256(lease_id.encode(errors="surrogatepass")).hexdigest()


def proves(lease_id: str, digest: str) -> bool:
    """Tell whether a secret is the one that was kept."""
    return hmac.compare_digest(digest_of(lease_id), digest)


def _text(secret: bytes) -> str:
    return base64.urlsafe_b64encode(secret).decode().rstrip("=")
