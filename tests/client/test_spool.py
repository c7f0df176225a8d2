from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from measurand.client.errors import DataLoss, FailedPrecondition, InvalidArgument, StoreFull
from measurand.client.spool import HEAD, Spool

ABOUT = {"array": "x"}


def opened(folder: Path, most_bytes: int = 1 << 20) -> Spool:
    return Spool(folder, ABOUT, most_bytes=most_bytes)


def records(spool: Spool) -> Iterator[tuple[int, bytes]]:
    after = 0
    while (record := spool.next(after)) is not None:
        after = record.number
        yield record.number, bytes(record.data)


def segments(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.segment"))


def test_records_come_back_in_order_each_once(tmp_path: Path) -> None:
    spool = opened(tmp_path)
    assert [spool.append(b"a", bytearray(b"bc")), spool.append(memoryview(b"")), spool.append(b"d")] == [1, 2, 3]
    assert list(records(spool)) == [(1, b"abc"), (2, b""), (3, b"d")]
    spool.acknowledge(1)
    assert list(records(spool)) == [(2, b""), (3, b"d")]
    spool.close()


def test_another_process_goes_on_where_one_was(tmp_path: Path) -> None:
    first = opened(tmp_path)
    for number in range(5):
        first.append(bytes([number]))
    first.acknowledge(3)
    first.close()
    second = opened(tmp_path)
    assert (first.is_new, second.is_new) == (True, False)
    assert list(records(second)) == [(4, b"\x03"), (5, b"\x04")]
    assert second.append(b"e") == 6
    second.close()


def test_the_last_record_stays_known_when_all_are_acknowledged(tmp_path: Path) -> None:
    spool = opened(tmp_path, most_bytes=400)
    for number in range(1, 30):
        spool.append(bytes([number]) * 60)
        spool.acknowledge(number)
    spool.close()
    spool = opened(tmp_path, most_bytes=400)
    assert (spool.last, spool.acknowledged) == (29, 29)
    last = spool.last_record()
    assert last is not None
    assert bytes(last.data) == bytes([29]) * 60
    assert spool.append(b"") == 30
    spool.close()


def test_no_more_than_the_bound_is_taken_and_room_comes_back(tmp_path: Path) -> None:
    spool = opened(tmp_path, most_bytes=1000)
    count = 1000 // (100 + HEAD.size)
    for _ in range(count):
        spool.append(bytes(100))
    with pytest.raises(StoreFull) as caught:
        spool.append(bytes(100))
    assert str(tmp_path) in str(caught.value) and "spool_bytes" in str(caught.value)
    assert sum(path.stat().st_size for path in segments(tmp_path)) <= 1000
    assert spool.last == count
    spool.acknowledge(count)
    assert spool.append(bytes(100)) == count + 1
    assert sum(path.stat().st_size for path in segments(tmp_path)) <= 500
    spool.close()


def test_a_folder_is_of_one_process_at_a_time(tmp_path: Path) -> None:
    spool = opened(tmp_path)
    with pytest.raises(FailedPrecondition, match="in use"):
        opened(tmp_path)
    spool.close()
    opened(tmp_path).close()


def test_records_of_something_else_are_refused(tmp_path: Path) -> None:
    spool = opened(tmp_path)
    spool.append(b"1")
    spool.close()
    with pytest.raises(InvalidArgument, match="array"):
        Spool(tmp_path, {"array": "y"}, most_bytes=1000)
    spool = opened(tmp_path)
    spool.acknowledge(1)
    spool.close()
    other = Spool(tmp_path, {"array": "y"}, most_bytes=1000)
    assert (other.is_new, list(records(other)), other.append(b"2")) == (True, [], 1)
    other.remove()
    assert not tmp_path.exists()


def test_a_folder_of_something_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "about.json").write_text("{}")
    with pytest.raises(InvalidArgument, match="no spool"):
        opened(tmp_path)
    assert (tmp_path / "about.json").read_text() == "{}"
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreFull, match="cannot be written"):
        opened(tmp_path / "file" / "spool")


@given(data=st.data(), sizes=st.lists(st.integers(0, 50), min_size=1, max_size=6))
def test_wherever_the_end_was_torn_off_all_records_before_it_are_there(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject, sizes: list[int]
) -> None:
    folder = tmp_path_factory.mktemp("spool")
    spool = opened(folder)
    ends = []
    for number, size in enumerate(sizes):
        spool.append(bytes([number]) * size)
        ends.append(spool.size)
    spool.close()
    (path,) = segments(folder)
    cut = data.draw(st.integers(0, ends[-1]))
    os.truncate(path, cut)
    if data.draw(st.booleans()):  # a file system may leave zeros where it had not come to write
        os.truncate(path, ends[-1])
    again = opened(folder)
    whole = [bytes([number]) * size for number, size in enumerate(sizes) if ends[number] <= cut]
    found = [content for _, content in records(again)]
    assert found[: len(whole)] == whole
    assert all(content == bytes(len(content)) for content in found[len(whole) :])
    assert again.append(b"next") == len(found) + 1
    again.close()


def test_a_flipped_bit_is_told_and_never_returned(tmp_path: Path) -> None:
    spool = opened(tmp_path)
    spool.append(b"frame")
    (path,) = segments(tmp_path)
    with path.open("r+b") as file:
        file.seek(HEAD.size + 2)
        file.write(b"x")
    with pytest.raises(DataLoss, match="record 1"):
        spool.next(0)
    spool.close()


KILLED = """
import sys
from pathlib import Path
from measurand.client.spool import Spool
spool = Spool(Path(sys.argv[1]), {"array": "x"}, most_bytes=1 << 30)
number = spool.last
while True:
    number = spool.append(number.to_bytes(8, "little") * 500)
    if number % 7 == 0:
        spool.acknowledge(number - 5)
    print(number, flush=True)
"""


def test_what_append_has_returned_survives_kill_9(tmp_path: Path) -> None:
    told = 0
    for pause in (20, 300, 1000):
        with subprocess.Popen(
            [sys.executable, "-c", KILLED, str(tmp_path)], stdout=subprocess.PIPE, text=True
        ) as process:
            assert process.stdout is not None
            for _ in range(pause):
                told = int(process.stdout.readline())
            process.send_signal(signal.SIGKILL)
            told = int(([str(told), *process.stdout.read().split()])[-1])
        spool = opened(tmp_path)
        numbers = [number for number, _ in records(spool)]
        assert numbers == list(range(spool.acknowledged + 1, numbers[-1] + 1))
        assert numbers[-1] in (told, told + 1)
        assert all(content == (number - 1).to_bytes(8, "little") * 500 for number, content in records(spool))
        spool.close()


def test_a_disk_without_room_is_said_so_and_nothing_half_stays(tmp_path: Path) -> None:
    script = (
        "import resource, sys; from pathlib import Path; from measurand.client.spool import Spool\n"
        "from measurand.client.errors import StoreFull\n"
        "import signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "spool = Spool(Path(sys.argv[1]), {'array': 'x'}, most_bytes=1 << 30)\n"
        "spool.append(bytes(1000))\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1500, 1500))\n"
        "try: spool.append(bytes(1000))\n"
        "except StoreFull as error: print(error)\n"
        "spool.append(bytes(10)); spool.close()\n"
    )
    done = subprocess.run([sys.executable, "-c", script, str(tmp_path)], capture_output=True, text=True, check=True)
    assert "make room on that disk" in done.stdout
    spool = opened(tmp_path)
    assert [len(content) for _, content in records(spool)] == [1000, 10]
    spool.close()
