"""The converter behind the sync twin."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "scripts/unasync.py"


@pytest.fixture(scope="module")
def unasync() -> ModuleType:
    spec = importlib.util.spec_from_file_location("unasync", SCRIPT)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("async def f(): await g()\n", "def f(): g()\n"),
        ("async with aio.ahead(x) as y:\n    pass\n", "with threads.ahead(x) as y:\n    pass\n"),
        ("x = [y async for y in AsyncThing()]\n", "x = [y for y in Thing()]\n"),
        ("f: Callable[[int], Awaitable[dict[str, list[int]]]]\n", "f: Callable[[int], dict[str, list[int]]]\n"),
        ("from collections.abc import Awaitable, Callable\n", "from collections.abc import Callable\n"),
        ("x = 'async and await stay in text'  # await too\n", "x = 'async and await stay in text'  # await too\n"),
        ("__all__ = ['AsyncThing']\n", "__all__ = ['Thing']\n"),
        ('"""Use `async with AsyncThing()` or `await it`."""\n', '"""Use `with Thing()` or `it`."""\n'),
        ("class AsyncThing:\n    async def __aenter__(self): ...\n", "class Thing:\n    def __enter__(self): ...\n"),
    ],
)
def test_async_code_has_its_sync_form(unasync: ModuleType, written: str, expected: str) -> None:
    assert unasync.convert(written) == expected


def test_a_name_in_the_table_that_no_file_holds_is_an_error(unasync: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "_async").mkdir()
    (tmp_path / "_async/x.py").write_text("x = 1\n")
    with pytest.raises(unasync.Unused, match="aclosing"):
        unasync.convert_trees([(tmp_path / "_async", tmp_path / "_sync")])
