"""The pages: links lead somewhere, rooms and rows that they name exist, figures agree with one another."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGES = {str(path.relative_to(ROOT)): path for path in [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")]}
TEXT_SUFFIXES = {".md", ".py", ".toml", ".proto", ".sh", ".yaml", ""}


def anchors(page: Path) -> set[str]:
    """Return the anchors that a page's headings make, by the rule of the usual renderers."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", sorted(PAGES))
def test_links_lead_somewhere(page: str) -> None:
    for target in re.findall(r"\]\((?!https?:)([^)]+)\)", PAGES[page].read_text()):
        path, _, anchor = target.partition("#")
        goal = (PAGES[page].parent / path) if path else PAGES[page]
        assert goal.exists(), target
        assert not anchor or anchor in anchors(goal), target


def test_every_page_is_reached_from_the_readme() -> None:
    linked = set(re.findall(r"\]\((docs/[\w-]+\.md)\)", PAGES["README.md"].read_text()))
    assert {name for name in PAGES if name.startswith("docs/")} == linked


def test_the_first_two_commands_are_quickstart_and_test() -> None:
    first = re.search(r"```\n(.+?)```", PAGES["README.md"].read_text(), re.DOTALL)
    assert first is not None
    assert [line.split()[0] for line in first[1].splitlines()] == ["scripts/quickstart", "scripts/test"]


@pytest.mark.parametrize("page", ["docs/map.md", "docs/decisions.md", "docs/reliability.md"])
def test_what_a_page_names_is_there(page: str) -> None:
    named = re.findall(
        r"`((?:services|client|tests|benchmarks|scripts|protos|generated|docs)/[^`]*)`", PAGES[page].read_text()
    )
    assert named
    missing = {name for name in named if not (ROOT / name.split()[0]).exists()}
    assert not missing - {"protos/released.binpb"}


def test_the_map_names_every_room() -> None:
    text = PAGES["docs/map.md"].read_text()
    rooms = [path.parent for path in (ROOT / "services/measurand").glob("*/__init__.py")]
    rooms += [path.parent for path in (ROOT / "client/measurand").glob("*/__init__.py")]
    rooms += [path for path in (ROOT / "tests").iterdir() if path.is_dir() and any(path.glob("**/test_*.py"))]
    assert not {name for room in rooms if (name := str(room.relative_to(ROOT))) not in text}


@pytest.mark.parametrize("page", sorted(PAGES))
def test_examples_in_python_parse(page: str) -> None:
    for example in re.findall(r"```python\n(.+?)```", PAGES[page].read_text(), re.DOTALL):
        ast.parse(example)


def test_no_text_names_the_machine_it_was_written_on() -> None:
    # Put together here, so that this module does not name them either.
    words = ["/" + "root/", "/" + "work/", "site-" + "packages/", "pypi" + ".org", "file:///" + "tmp"]
    for folder in ("docs", "client", "services", "tests", "scripts", "benchmarks", "examples", "protos", ".ci", "."):
        for path in (ROOT / folder).rglob("*") if folder != "." else ROOT.glob("*"):
            if not path.is_file() or path.suffix not in TEXT_SUFFIXES or "__pycache__" in path.parts:
                continue
            text = path.read_text()
            assert not [word for word in words if word in text], path.relative_to(ROOT)


def rows_of(page: str) -> list[list[str]]:
    """Return the cells of the lines of a page's tables that begin with the name of a row of the benchmarks."""
    lines = re.findall(r"^\| (`[\w-]+` \|.*) \|$", PAGES[page].read_text(), re.MULTILINE)
    return [[cell.strip() for cell in line.split("|")] for line in lines]


def test_the_page_of_figures_has_the_rows_that_can_be_run() -> None:
    tables = "".join(path.read_text() for path in (ROOT / "benchmarks").glob("*rows.py"))
    defined = set(re.findall(r"\b(?:Row|asked|in_mongodb)\(\s*\"([\w-]+)\"", tables))
    assert defined
    assert {cells[0].strip("`") for cells in rows_of("docs/performance.md")} == defined


def test_figures_and_their_ratios_agree() -> None:
    ours: dict[str, float] = {}
    for name, who, *cells in rows_of("docs/performance.md"):
        if len(cells) < 5:
            continue  # a line that says what the row is
        median = float(cells[0].replace(",", ""))
        if who == "measurand":
            ours[name] = median
        else:
            ratio = float(cells[3])
            agreeing = {ours[name] / median, median / ours[name]}
            assert any(abs(value - ratio) <= 0.02 * value + 0.01 for value in agreeing), (name, who)
