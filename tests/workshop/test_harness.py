"""The harness of the benchmarks: fair turns, processes apart, ratios the right way round."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from benchmarks.harness import PRODUCT, Contender, Figures, Row, measure, table, write_json
from tests.workshop.contenders import failing, noting


def row(diary: Path, **settings: int) -> Row:
    contenders = (
        Contender(PRODUCT, noting, (PRODUCT, str(diary), 9.0, 2.0, 4.0, 3.0)),
        Contender("peer", noting, ("peer", str(diary), 9.0, 1.0, 1.0, 1.0), **settings),
    )
    return Row("row", "what is done", "GB/s", contenders, rounds=3, targets={"peer": 2.0})


def test_contenders_take_turns_and_neither_is_always_first(tmp_path: Path) -> None:
    figures = measure(row(tmp_path / "diary"))
    lines = [line.split() for line in (tmp_path / "diary").read_text().splitlines()]
    us, peer = PRODUCT, "peer"
    assert [name for name, what in lines if what != "down"] == [us, peer, us, peer, peer, us, us, peer]
    assert figures.figures == {us: [2.0, 4.0, 3.0], peer: [1.0, 1.0, 1.0]}


def test_each_contender_has_a_process_of_its_own_and_is_taken_down(tmp_path: Path) -> None:
    measure(row(tmp_path / "diary"))
    lines = [line.split() for line in (tmp_path / "diary").read_text().splitlines()]
    assert len({what for _, what in lines if what != "down"}) == 2
    assert sorted(name for name, what in lines if what == "down") == [PRODUCT, "peer"]


def test_a_slow_peer_may_take_fewer_turns(tmp_path: Path) -> None:
    assert measure(row(tmp_path / "diary", every=5)).figures["peer"] == [1.0]


def test_a_failing_contender_is_told_with_its_reason(tmp_path: Path) -> None:
    broken = Row("row", "", "GB/s", (Contender(PRODUCT, failing, ("luck",)),))
    with pytest.raises(RuntimeError, match=r"measurand failed:(?s:.*)ValueError: no luck"):
        measure(broken)


@pytest.mark.parametrize(("smaller_is_better", "ratio", "best"), [(False, 2.0, 4.0), (True, 0.5, 2.0)])
def test_a_ratio_above_one_means_better_than_the_peer(smaller_is_better: bool, ratio: float, best: float) -> None:
    figures = {PRODUCT: [2.0, 4.0, 2.0], "peer": [1.0, 1.0, 1.0]}
    row = Figures("row", "", "s", smaller_is_better, figures, {})
    assert row.ratio("peer", row.median) == ratio
    assert row.best(PRODUCT) == best


def test_figures_are_printed_with_their_targets_and_kept_whole(tmp_path: Path) -> None:
    figures = Figures("put", "", "GB/s", False, {PRODUCT: [1.5], "peer": [1.0]}, {PRODUCT: 1.2, "peer": 1.0})
    assert table([figures]).splitlines()[2:] == [
        "| `put` | measurand | 1.5 | 1.5 | GB/s |  |  | ≥ 1.2 |",
        "| `put` | peer | 1 | 1 | GB/s | 1.50 | 1.50 | ≥ 1 |",
    ]
    write_json(tmp_path / "figures.json", [figures])
    content = json.loads((tmp_path / "figures.json").read_text())
    assert content["rows"][0]["figures"] == {PRODUCT: [1.5], "peer": [1.0]}
    assert content["machine"]["cores"] > 0
