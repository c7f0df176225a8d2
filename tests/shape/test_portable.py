"""Every desk: the client, the command line and `wire` import nothing that only POSIX has, so they run on Windows."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2] / "client" / "measurand"
ROOMS = ("client", "cli", "wire")

POSIX_MODULES = {
    "crypt", "curses", "fcntl", "grp", "nis", "ossaudiodev", "posix", "pty", "pwd", "readline", "resource", "spwd",
    "syslog", "termios", "tty", "uvloop",
}  # fmt: skip
POSIX_NAMES = {
    "os": {
        "chown", "chroot", "fchmod", "fchown", "fdatasync", "fork", "forkpty", "getegid", "geteuid", "getgid",
        "getgroups",
        "getloadavg", "getpgid", "getpgrp", "getuid", "initgroups", "killpg", "lchown", "mkfifo", "mknod", "nice",
        "openpty", "posix_fadvise", "posix_fallocate", "posix_spawn", "pread", "preadv", "pwrite",
        "pwritev", "sched_getaffinity",
        "sendfile", "setegid", "seteuid", "setgid", "setpgid", "setpriority", "setsid", "setuid", "statvfs", "sync",
        "sysconf", "uname", "wait", "wait3", "wait4", "waitid",
    },
    "signal": {"SIGHUP", "SIGKILL", "SIGQUIT", "SIGSTOP", "SIGUSR1", "SIGUSR2", "alarm", "pause", "sigwait"},
    "socket": {"AF_UNIX", "fromfd", "socketpair"},
    "time": {"tzset"},
}  # fmt: skip
"""Names in portable modules that Windows has not, or not in the same way."""


def modules() -> list[Path]:
    return sorted(path for room in ROOMS for path in (ROOT / room).rglob("*.py"))


def imports_of(tree: ast.AST) -> set[str]:
    """Return the top names of everything that is imported, wherever the import stands."""
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.add(node.module.split(".")[0])
    return found


def guarded(tree: ast.AST) -> set[ast.AST]:
    """Return what stands in an `if` that asks for the platform."""
    return {
        inner
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and "platform" in ast.dump(node.test)
        for inner in ast.walk(node)
    }


def posix_names_of(tree: ast.AST) -> set[str]:
    """Return the names of portable modules that only POSIX has, outside of a question for the platform."""
    apart = guarded(tree)
    found: set[str] = set()
    for node in ast.walk(tree):
        if node in apart:
            continue
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            if node.attr in POSIX_NAMES.get(node.value.id, ()):
                found.add(f"{node.value.id}.{node.attr}")
        elif isinstance(node, ast.ImportFrom) and node.module in POSIX_NAMES:
            found |= {f"{node.module}.{alias.name}" for alias in node.names if alias.name in POSIX_NAMES[node.module]}
    return found


@pytest.mark.parametrize("path", modules(), ids=lambda path: path.relative_to(ROOT).as_posix())
def test_a_module_runs_on_every_desk(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    assert not imports_of(tree) & POSIX_MODULES
    assert not posix_names_of(tree)


def test_all_three_rooms_are_walked() -> None:
    assert {path.relative_to(ROOT).parts[0] for path in modules()} == set(ROOMS)


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("import fcntl", {"fcntl"}),
        ("def f():\n    from resource import getrusage", {"resource"}),
        ("import os.path", {"os"}),
        ("from . import pwd", set()),
    ],
)
def test_the_walk_finds_imports_wherever_they_stand(source: str, expected: set[str]) -> None:
    assert imports_of(ast.parse(source)) == expected


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("import os\nos.fork()", {"os.fork"}),
        ("from os import pread", {"os.pread"}),
        ("import os\nos.replace('a', 'b')", set()),
        ("import os, sys\nif sys.platform != 'win32':\n    os.setsid()", set()),
    ],
)
def test_the_walk_finds_names_that_windows_has_not(source: str, expected: set[str]) -> None:
    assert posix_names_of(ast.parse(source)) == expected
