"""What is around the stores: versions, limits, and the server that runs over the folder."""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import resource
import sqlite3
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import grpc

from measurand.server import health_probe
from measurand.server.config import Config
from measurand.server.doctor.findings import Report

__all__ = ["check_limits", "check_server", "tell_versions"]

SPARE_FILES = 256
"""Open files of a process beside those of its calls: connections, databases, sockets."""
PACKAGES = ("measurand", "grpcio", "pymongo", "botocore")


def tell_versions(report: Report) -> None:
    """Tell of the programs that take part on this machine."""
    packages = " ".join(f"{name} {found}" for name in PACKAGES if (found := _version(name)))
    python = ".".join(map(str, sys.version_info[:3]))
    report.ok("versions", f"python {python} {packages} sqlite {sqlite3.sqlite_version}")


def check_limits(report: Report, config: Config) -> None:
    """See that a server may have as many files open as it takes calls."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = config.max_calls + SPARE_FILES
    if soft != resource.RLIM_INFINITY and soft < wanted:
        message = f"a process here may have {soft} files open, and {config.max_calls} calls at once may need {wanted}"
        report.warn("open files", message, f"raise it: `ulimit -n {4 * wanted}`, or LimitNOFILE of the service")
    else:
        report.ok("open files", f"a process here may have {soft} files open")


async def check_server(report: Report, folder: Path) -> None:
    """See whether a server runs over the folder, and whether it is well."""
    path = folder / "server.json"
    if not path.exists():
        report.ok("server", f"no server runs over {folder} now")
        return
    try:
        told = json.loads(path.read_text())
        address, pid = str(told["address"]), int(told["pid"])
    except (OSError, ValueError, LookupError, TypeError) as error:
        report.warn("server", f"{path} cannot be read: {error}", "start a server: it writes the file anew")
        return
    if not _is_held(folder / "server.lock"):
        report.ok("server", f"the server that {path} tells of ({address}) was killed; the next one takes its place")
        return
    async with report.trying("server", f"to ask the server at {address} (process {pid}) how it is") as note:
        try:
            is_serving = await asyncio.to_thread(health_probe.is_serving, address)
        except grpc.RpcError as error:
            note.fail(str(error.details()), f"if it stays so, end process {pid} and start another")
        else:
            if is_serving:
                note.message = f"the server at {address} (process {pid}) takes calls"
            else:
                note.fail("it takes no calls", "see the findings on the stores, and its log")


def _is_held(lock: Path) -> bool:
    """Tell whether a process holds the lock of a server, which goes with the process however that ends."""
    try:
        descriptor = os.open(lock, os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(descriptor)
    return False


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""
