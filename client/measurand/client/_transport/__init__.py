"""Where gRPC and waiting are: `aio` for the async client, `threads` for its twin, the same names in both.

Nothing else in the client imports `grpc` or `asyncio`. The allocator is set here because this runs before either of
them, and it must be set before gRPC is loaded.
"""

from measurand.wire import malloc

malloc.tune()
