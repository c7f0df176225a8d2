"""The files of a dataset, page by page."""

from __future__ import annotations

from collections.abc import AsyncGenerator

from measurand.client import methods
from measurand.client._async.calls import AsyncCalls
from measurand.client.results import File
from measurand.v1 import files_pb2

__all__ = ["list_files"]


async def list_files(
    calls: AsyncCalls, dataset: str, *, prefix: str = "", show_superseded: bool = False, file_name: str = ""
) -> AsyncGenerator[File, None]:
    """Yield the files of a dataset whose paths begin so, or whose last segment is so, by path."""
    request = files_pb2.ListFilesRequest(
        parent=dataset, page_size=1000, prefix=prefix, show_superseded=show_superseded, file_name=file_name
    )
    while True:
        page = await calls.unary(methods.LIST_FILES, request)
        for message in page.files:
            yield File.of(message)
        request.page_token = page.next_page_token
        if not page.next_page_token:
            return
