"""Every error that a call can raise: `MeasurandError` and what stands below it."""

from __future__ import annotations

from measurand.wire.errors import *  # noqa: F403  # the whole of it, by its own list
from measurand.wire.errors import __all__ as __all__  # the same list
