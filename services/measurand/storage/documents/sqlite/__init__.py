"""The SQLite implementation of `DocumentStore`."""

from measurand.storage.documents.sqlite.store import Sqlite

__all__ = ["Sqlite"]
