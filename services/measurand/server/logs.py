"""Log lines: one for each event, key=value, on standard error, with the id of the request that they belong to."""

from __future__ import annotations

import json
import logging
import re
import sys
import textwrap
from datetime import UTC, datetime
from typing import TextIO

from measurand.services.principal import request_id

__all__ = ["LEVELS", "KeyValue", "set_up_logs"]

LEVELS = ("debug", "info", "warning", "error")

_PLAIN = re.compile(r"[\w.:/\[\]@+-]+")


class KeyValue(logging.Formatter):
    """Writes a record as `time=… level=… event=…`. A traceback follows on lines of its own, indented."""

    def format(self, record: logging.LogRecord) -> str:
        time = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        message = record.getMessage()
        if not message.startswith("event="):  # written by somebody else
            message = f"event={quoted(record.name)} message={quoted(message)}"
        parts = [f"time={time}", f"level={record.levelname.lower()}", message.replace("\n", " ")]
        if call := request_id():
            parts.append(f"request={call}")
        line = " ".join(parts)
        if record.exc_info:
            line += "\n" + textwrap.indent(self.formatException(record.exc_info), "    ")
        return line


def quoted(value: object) -> str:
    """Return a value as it stands behind the `=`: in quotes unless it is one plain word."""
    text = str(value)
    return text if _PLAIN.fullmatch(text) else json.dumps(text, ensure_ascii=False)


def set_up_logs(level: str, stream: TextIO | None = None) -> None:
    """Send log lines from `level` on to the stream (standard error). For the process's own start, not for tests.

    Of others only warnings: drivers of stores, when asked for more, write down documents and what signs requests.
    """
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(KeyValue())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(max(logging.WARNING, logging.getLevelName(level.upper())))
    logging.getLogger("measurand").setLevel(level.upper())
