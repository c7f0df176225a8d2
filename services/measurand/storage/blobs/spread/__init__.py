"""Blobs in parts, spread over containers, so that some of them may be lost."""

from measurand.storage.blobs.spread.coding import make_coder
from measurand.storage.blobs.spread.store import Spread

__all__ = ["Spread", "make_coder"]
