"""Some rounds of what `scripts/soak` does for hours."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.end_to_end import kill_rounds

SIZE = 32 * 1024 * 1024


@pytest.fixture(autouse=True)
def _own_journal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


@pytest.mark.parametrize("seed", range(3))
def test_an_upload_completes_over_the_death_of_its_server(tmp_path: Path, seed: int) -> None:
    kill_rounds.check(kill_rounds.server_round(tmp_path, SIZE, seed), SIZE)


@pytest.mark.parametrize("seed", range(2))
def test_an_upload_goes_on_when_its_client_is_run_again(tmp_path: Path, seed: int) -> None:
    kill_rounds.check(kill_rounds.client_round(tmp_path, SIZE, seed), SIZE)
