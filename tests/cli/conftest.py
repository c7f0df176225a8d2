"""The command line against a real server, each test with settings and state of its own."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from tests.servers import Server, running

from measurand.cli.main import main


@dataclass(frozen=True)
class Desk:
    """Somebody at a terminal that is piped: runs commands and reads what they said."""

    environment: dict[str, str]

    def run(self, *arguments: str) -> Result:
        """Run a command, whatever comes of it; an exception that is no exit is raised here."""
        result = CliRunner().invoke(main, list(arguments), env=self.environment, prog_name="measurand")
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result

    def do(self, *arguments: str) -> str:
        """Run a command that succeeds, and return what it wrote to standard output."""
        result = self.run(*arguments)
        assert result.exit_code == 0, result.output
        return result.stdout

    def ask(self, *arguments: str) -> Any:
        """Run a command that succeeds, and return its JSON."""
        return json.loads(self.do(*arguments, "--json"))

    def fail(self, *arguments: str) -> tuple[int, dict[str, Any]]:
        """Run a command that fails, and return its exit code and its error in JSON."""
        result = self.run(*arguments, "--json")
        assert result.exit_code != 0, result.output
        return result.exit_code, json.loads(result.stderr)["error"]


@pytest.fixture(scope="session")
def cli_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with running(tmp_path_factory.mktemp("data")) as server:
        yield server


@pytest.fixture
def home(tmp_path: Path) -> dict[str, str]:
    """An environment whose settings and state lie in a folder of this test."""
    names = ("HOME", "XDG_CONFIG_HOME", "XDG_STATE_HOME", "XDG_DATA_HOME", "XDG_CACHE_HOME")
    return {name: str(tmp_path / "home") for name in names}


@pytest.fixture
def desk(cli_server: Server, home: dict[str, str]) -> Desk:
    return Desk({**home, "MEASURAND_URL": cli_server.address})


@pytest.fixture
def catalog(desk: Desk, request: pytest.FixtureRequest) -> str:
    """A new catalog, named after the test."""
    name = "".join(letter if letter.isalnum() else "-" for letter in request.node.name.lower()).strip("-")[:100]
    desk.do("catalog", "create", name)
    return name


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A folder with folders in it, an empty file and an odd name."""
    folder = tmp_path / "out"
    (folder / "raw" / "deep").mkdir(parents=True)
    (folder / "a.csv").write_text("a,b\n1,2\n")
    (folder / "raw" / "b.bin").write_bytes(bytes(range(256)) * 20_000)
    (folder / "raw" / "deep" / "größe 1.txt").write_text("é")
    (folder / "empty").write_bytes(b"")
    return folder


Contents = Callable[[Path], dict[str, bytes]]


@pytest.fixture
def contents() -> Contents:
    """Reads a folder: the bytes of each file by its path."""
    return lambda folder: {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()
    }
