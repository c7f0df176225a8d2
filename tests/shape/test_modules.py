"""One idea a module: what has grown beyond a page or two has to say why."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
MOST_LINES = 400


def written() -> Iterator[Path]:
    """Yield the modules that people write: all but what is generated."""
    for root in ("client", "services", "tests", "benchmarks", "examples", "scripts"):
        for path in sorted((ROOT / root).rglob("*.py")):
            if "_sync" not in path.parts:
                yield path


def test_a_long_module_has_its_reason_in_the_decisions() -> None:
    decisions = (ROOT / "docs/decisions.md").read_text()
    long = {str(path.relative_to(ROOT)) for path in written() if len(path.read_text().splitlines()) > MOST_LINES}
    assert not {name for name in long if f"`{name}`" not in decisions}


def test_no_package_init_hides_the_other_roots() -> None:
    assert not list(ROOT.glob("*/measurand/__init__.py"))


def test_package_inits_only_re_export() -> None:
    for root in ("client", "services"):
        for path in (ROOT / root).rglob("__init__.py"):
            if "_sync" in path.parts or "_async" in path.parts:
                continue
            allowed = (ast.Import, ast.ImportFrom, ast.Assign, ast.Expr)
            odd = [node for node in ast.parse(path.read_text()).body if not isinstance(node, allowed)]
            assert not odd, path.relative_to(ROOT)


def test_every_package_ships_its_types() -> None:
    packages = {path.parent for root in ("client", "services") for path in (ROOT / root).rglob("__init__.py")}
    assert not {str(package.relative_to(ROOT)) for package in packages if not (package / "py.typed").exists()}
