"""How handles look: one line in a terminal, a table in a notebook."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from html import escape
from typing import Any

__all__ = ["bytes_text", "line", "table", "tree"]

LONGEST = 120


def line(kind: str, name: str, facts: Mapping[str, Any]) -> str:
    """Return `<Kind name  key=value …>`, without the facts that are empty."""
    shown = [f"{key}={_short(value)}" for key, value in facts.items() if value not in (None, "", [], (), {})]
    return f"<{kind} {' '.join([name, *shown])}>"


def table(title: str, rows: Iterable[tuple[str, Any]]) -> str:
    """Return an HTML table of two columns with a headline; every text is escaped."""
    body = "".join(
        f"<tr><th style='text-align:left'>{escape(key)}</th><td style='text-align:left'>{_html(value)}</td></tr>"
        for key, value in rows
        if value not in (None, "", [], (), {})
    )
    return f"<div><strong>{escape(title)}</strong><table>{body}</table></div>"


def tree(value: Mapping[str, Any]) -> str:
    """Return a document as nested HTML that opens and closes."""
    parts = []
    for key, item in value.items():
        if isinstance(item, Mapping) and item:
            parts.append(
                f"<details><summary>{escape(key)}</summary><div style='margin-left:1em'>{tree(item)}</div></details>"
            )
        else:
            parts.append(f"<div><code>{escape(key)}</code>: {escape(_short(item))}</div>")
    return "".join(parts)


def bytes_text(size: int) -> str:
    """Return a size as people read it: `12.3 MB`."""
    number = float(size)
    for unit in ("B", "kB", "MB", "GB"):
        if number < 1000.0:
            return f"{number:.0f} {unit}" if unit == "B" else f"{number:.1f} {unit}"
        number /= 1000.0
    return f"{number:.1f} TB"


def _short(value: Any) -> str:
    if isinstance(value, datetime):
        return value.isoformat(" ", "seconds")
    text = repr(value)
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"


def _html(value: Any) -> str:
    if isinstance(value, Mapping):
        return tree(value)
    if isinstance(value, datetime):
        return escape(value.isoformat(" ", "seconds"))
    if isinstance(value, (list, tuple)):
        return escape(", ".join(str(item) for item in value))
    return escape(str(value))
