"""The setting of malloc, in a process of its own: it lasts as long as the process."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

HEAP = """
import sys
from pathlib import Path
from measurand.wire import malloc
if sys.argv[1] == "tuned":
    assert malloc.tune()
    assert malloc.tune(), "it may be called again"
message = b"x" * (16 << 20)
for line in Path("/proc/self/maps").read_text().splitlines():
    first, last = (int(address, 16) for address in line.split()[0].split("-"))
    if first <= id(message) < last:
        print("heap" if line.endswith("[heap]") else "mapping")
"""


def place(mode: str) -> str:
    """Return where a message of 16 MiB lies in a fresh process."""
    command = [sys.executable, "-c", HEAP, mode]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout.strip()


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the setting is one of glibc's")
def test_large_messages_come_from_the_heap() -> None:
    assert (place("untuned"), place("tuned")) == ("mapping", "heap")


def test_elsewhere_nothing_happens(monkeypatch: pytest.MonkeyPatch) -> None:
    from measurand.wire import malloc

    monkeypatch.setattr(sys, "platform", "win32")
    assert malloc.tune() is False
