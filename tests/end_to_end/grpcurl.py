"""The command grpcurl, as a person runs it with no proto files: all of it goes by reflection."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

from tests.servers import Server

__all__ = ["COMMAND", "call", "grpcurl", "refused", "told"]

TOOLS = Path(__file__).parents[2] / ".tools"
COMMAND = shutil.which("grpcurl", path=os.pathsep.join([os.environ.get("PATH", os.defpath), str(TOOLS)]))


def grpcurl(server: Server, *options: str) -> subprocess.CompletedProcess[str]:
    """Run the command; options in front of the address begin with a dash, and their values stand with them."""
    assert COMMAND is not None
    before = [option for option in options if option.startswith("-")]
    after = [option for option in options if not option.startswith("-")]
    command = [COMMAND, "-plaintext", "-max-time=30", *before, server.address, *after]
    return subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)


def told(server: Server, *words: str) -> str:
    done = grpcurl(server, *words)
    assert done.returncode == 0, done.stderr
    return done.stdout


def call(server: Server, method: str, request: dict[str, Any]) -> dict[str, Any]:
    """Call a method that goes well. Fields are named as in the contract: releases of grpcurl differ in their case."""
    said = told(server, f"-d={json.dumps(request)}", method)
    answer: dict[str, Any] = json.loads(
        said,
        object_pairs_hook=lambda pairs: {
            key if key[0] == "$" else re.sub("[A-Z]", lowered, key): value for key, value in pairs
        },
    )
    return answer


def lowered(letter: re.Match[str]) -> str:
    return f"_{letter[0].lower()}"


def refused(server: Server, method: str, request: dict[str, Any]) -> dict[str, Any]:
    """Call a method that fails, and return the status."""
    done = grpcurl(server, "-format-error", f"-d={json.dumps(request)}", method)
    assert done.returncode != 0, done.stdout
    status: dict[str, Any] = json.loads(done.stderr)
    return status
