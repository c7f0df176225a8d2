"""What an S3 store refuses, and what goes wrong on the way to it, in the words of the port."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from xml.etree.ElementTree import ParseError

from botocore.exceptions import (
    BotoCoreError,
    ConnectionClosedError,
    ConnectTimeoutError,
    HTTPClientError,
    ReadTimeoutError,
    ResponseStreamingError,
    SSLError,
)

from measurand.wire.errors import MeasurandError, StoreFull, Unavailable

__all__ = ["BROKEN", "Refused", "translating"]

BROKEN = (ConnectionClosedError, ResponseStreamingError)
"""The connection has ended in the middle of something."""

_FULL_CODES = {"QuotaExceeded", "InsufficientStorage", "XMinioStorageFull", "XMinioAdminBucketQuotaExceeded"}
_KEYS_CODES = {"InvalidAccessKeyId", "SignatureDoesNotMatch", "InvalidToken", "ExpiredToken", "InvalidSecurity"}
_CLOCK_CODES = {"RequestTimeTooSkewed", "RequestExpired"}
_REGION_CODES = {"AuthorizationHeaderMalformed", "PermanentRedirect", "TemporaryRedirect", "IllegalLocationConstraint"}
_BUSY_CODES = {"SlowDown", "SlowDownRead", "SlowDownWrite", "ServiceUnavailable", "RequestTimeout", "TooManyRequests"}
_LONGEST_CODE = 60


class Refused(Exception):
    """An answer that is no success.

    Parameters
    ----------
    status : int
        Of HTTP.
    code : str
        The word of S3 for it; "" where the answer has no body, as that to a HEAD.
    """

    def __init__(self, status: int, code: str) -> None:
        super().__init__(status, code)
        self.status = status
        self.code = code[:_LONGEST_CODE]

    @property
    def is_missing(self) -> bool:
        """There is no such object; to a HEAD, a bucket that is gone says the same."""
        return self.code == "NoSuchKey" or (self.status == 404 and not self.code)

    @property
    def is_upload_gone(self) -> bool:
        return self.code == "NoSuchUpload"

    @property
    def is_taken(self) -> bool:
        """There is an object with this name already."""
        return self.status == 412


@contextmanager
def translating(subject: str) -> Iterator[None]:
    """Turn what goes wrong in the block into the port's errors; `subject` is the blob or the place it is about."""
    try:
        yield
    except Refused as error:
        raise _of_answer(error, subject) from error
    except (BotoCoreError, OSError) as error:
        raise _of_network(error, subject) from error
    except (ParseError, ValueError) as error:
        raise _unavailable(subject, "what answers is no S3 service; see the endpoint", 30.0) from error


def _of_answer(error: Refused, subject: str) -> MeasurandError:
    status, code = error.status, error.code
    if status == 507 or code in _FULL_CODES:
        return StoreFull(f"{subject}: the S3 store has no room for it ({code or status}); make room there, or a quota")
    if code == "NoSuchBucket":
        return _unavailable(subject, "the bucket does not exist; create it or name another", 30.0)
    if code in _CLOCK_CODES:
        return _unavailable(subject, "the clocks of this machine and the S3 store are too far apart; set them", 30.0)
    if code in _REGION_CODES or 300 <= status < 400:
        return _unavailable(subject, "the bucket is in another region or behind another endpoint; name that", 30.0)
    if code in _KEYS_CODES or status == 401:
        return _unavailable(
            subject,
            f"the S3 store does not know these credentials ({code}); see AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, "
            "or the profile that they come from",
            30.0,
        )
    if status == 403:
        return _unavailable(
            subject, f"these credentials may not do this in the S3 store ({code or status}); allow it there", 30.0
        )
    if status >= 500 or status == 429 or code in _BUSY_CODES:
        return _unavailable(subject, f"the S3 store cannot do it just now ({code or status})", 1.0)
    if not code:
        return _unavailable(subject, f"what answers is no S3 service (status {status}); see the endpoint", 30.0)
    return _unavailable(subject, f"the S3 store refuses it ({status} {code}); see its log", 30.0)


def _of_network(error: Exception, subject: str) -> Unavailable:
    # Never the text of the error: it may quote what was sent.
    if isinstance(error, ReadTimeoutError | ConnectTimeoutError):
        return _unavailable(subject, "the S3 store does not answer in time", 2.0)
    if isinstance(error, SSLError):
        return _unavailable(subject, "the S3 store is not trusted; see its certificate and AWS_CA_BUNDLE", 30.0)
    if isinstance(error, HTTPClientError):
        return _unavailable(subject, f"the connection to the S3 store broke ({type(error).__name__})", 1.0)
    return _unavailable(subject, f"the S3 store cannot be reached ({type(error).__name__})", 1.0)


def _unavailable(subject: str, what: str, retry_seconds: float) -> Unavailable:
    return Unavailable(f"{subject}: {what}", retry_seconds=retry_seconds, store="s3")
