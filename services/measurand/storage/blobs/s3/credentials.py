"""Who we are to the S3 store: found, and renewed in time, as every AWS tool does it.

Variables such as AWS_ACCESS_KEY_ID, profiles, web identities, containers and instances: botocore knows them all.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from botocore.credentials import ReadOnlyCredentials
from botocore.exceptions import BotoCoreError
from botocore.session import Session

from measurand.wire.errors import Unavailable

__all__ = ["GetKeys", "from_environment"]

GetKeys = Callable[[], ReadOnlyCredentials]
"""Returns what to sign with now. May take its time: it may have to ask somebody."""


def from_environment() -> GetKeys:
    """Return what finds the credentials of this process.

    Raises Unavailable when there are none, or whoever has them does not answer.
    """
    lock = threading.Lock()
    found: list[Any] = []

    def get_keys() -> ReadOnlyCredentials:
        try:
            with lock:
                if not found:
                    found.append(_find())
            return found[0].get_frozen_credentials()
        except BotoCoreError as error:
            # Not the text of the error itself: it may quote what it has read.
            raise Unavailable(
                f"the credentials for the S3 store cannot be had ({type(error).__name__}); see AWS_PROFILE and the "
                "files in ~/.aws, or set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
                retry_seconds=30.0,
                store="s3",
            ) from error

    return get_keys


def _find() -> Any:
    credentials = Session().get_credentials()
    if credentials is None:
        raise Unavailable(
            "there are no credentials for the S3 store; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or "
            "AWS_PROFILE",
            retry_seconds=30.0,
            store="s3",
        )
    return credentials
