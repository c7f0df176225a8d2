"""The command as a whole: help, shared options, exit codes, completion."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner
from tests.cli.conftest import Desk

from measurand.cli.main import COMMANDS, main
from measurand.cli.status import failure_of
from measurand.wire import errors


def test_without_arguments_it_prints_help() -> None:
    result = CliRunner().invoke(main, [])
    assert result.exit_code == 0
    assert result.output == CliRunner().invoke(main, ["--help"]).output
    for command in [*COMMANDS, "serve"]:
        assert f"\n  {command} " in result.output


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help(command: str) -> None:
    result = CliRunner().invoke(main, [command, "--help"])
    assert result.exit_code == 0
    assert "\\b" not in result.output


def test_help_needs_neither_client_nor_server() -> None:
    script = (
        "import sys; from measurand.cli.main import main; main(['--help'], standalone_mode=False); print(*sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60)
    loaded = set(done.stdout.splitlines()[-1].split())
    assert not loaded & {"grpc", "google.protobuf", "rich", "numpy", "asyncio", "measurand.client", "measurand.v1"}


def test_a_slip_in_a_command_is_a_usage_error_with_advice() -> None:
    result = CliRunner().invoke(main, ["fnd", "lab"])
    assert result.exit_code == 2
    assert "did you mean `find`?" in result.output


@pytest.mark.parametrize(
    ("error", "exit_code"),
    [
        (errors.InvalidArgument("x"), 1),
        (errors.FilterInvalid("x"), 2),
        (errors.NameInvalid("x"), 2),
        (errors.DocumentInvalid("x"), 2),
        (errors.NotFound("x"), 3),
        (errors.ResourceDeleted("x"), 3),
        (errors.Conflict("x"), 4),
        (errors.GenerationMismatch("x"), 4),
        (errors.WriterFenced("x"), 4),
        (errors.AlreadyExists("x"), 4),
        (errors.PermissionDenied("x"), 5),
        (errors.Unavailable("x"), 6),
        (errors.Timeout("x"), 6),
        (errors.Busy("x"), 6),
        (errors.DataLoss("x"), 1),
        (errors.Internal("x"), 1),
    ],
    ids=lambda value: getattr(value, "reason", str(value)),
)
def test_each_error_has_its_exit_code(error: errors.MeasurandError, exit_code: int) -> None:
    assert failure_of(error).exit_code == exit_code


def test_without_a_server_the_exit_code_is_6(home: dict[str, str]) -> None:
    code, error = Desk({**home, "MEASURAND_URL": "127.0.0.1:1"}).fail("ls")
    assert code == 6
    assert "127.0.0.1:1" in error["message"]


def test_shared_options_stand_before_and_behind_the_command(desk: Desk) -> None:
    address = desk.environment["MEASURAND_URL"]
    elsewhere = Desk({**desk.environment, "MEASURAND_URL": "127.0.0.1:1"})
    before = json.loads(elsewhere.do("--url", address, "--json", "catalog", "ls"))
    assert before == json.loads(elsewhere.do("catalog", "ls", "--json", "--url", address))


def test_the_settings_file_names_the_server(desk: Desk) -> None:
    folder = Path(desk.environment["XDG_CONFIG_HOME"]) / "measurand"
    folder.mkdir(parents=True)
    (folder / "client.toml").write_text(f'url = "{desk.environment["MEASURAND_URL"]}"\n')
    by_file = Desk({name: value for name, value in desk.environment.items() if name != "MEASURAND_URL"})
    assert by_file.ask("version", "--server")["server"]["document_store"] == "sqlite"


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_prints_a_script_for_the_shell(shell: str) -> None:
    result = CliRunner().invoke(main, ["completion", shell], prog_name="measurand")
    assert result.exit_code == 0
    assert "_MEASURAND_COMPLETE" in result.output


def complete(desk: Desk, words: str) -> list[str]:
    """Return what a shell would offer for the last of the words."""
    environment = {**os.environ, **desk.environment, "_MEASURAND_COMPLETE": "zsh_complete"}
    environment |= {"COMP_WORDS": words, "COMP_CWORD": str(words.count(" "))}
    command = [sys.executable, "-m", "measurand.cli.main"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=60)
    return done.stdout.splitlines()[1::3]


def test_catalogs_and_datasets_are_completed(desk: Desk, catalog: str, tmp_path: Path) -> None:
    (tmp_path / "a").write_text("a")
    dataset = desk.ask("put", str(tmp_path / "a"), catalog)["dataset"]["id"]
    assert complete(desk, f"measurand find {catalog[:-2]}") == [catalog]
    assert complete(desk, f"measurand show {catalog}/") == [f"{catalog}/{dataset}"]
    assert complete(desk, "measurand watch no-such-catalog") == []
    assert complete(Desk({**desk.environment, "MEASURAND_URL": "127.0.0.1:1"}), "measurand find a") == []
