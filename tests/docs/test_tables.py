"""The tables of docs/ are as true as the tests they name: each row names one, and it is there."""

import ast
import re
from pathlib import Path

import pytest

_ROOT = Path(__file__).parents[2]
_ROW = re.compile(r"\| (?P<what>[^|]+) \| .+ \| `(?P<file>tests/[\w/]+\.py)::(?P<test>test_\w+)` \|")
_LEAST = {"inputs.md": 90, "crashes.md": 18}
"""Rows of each page at least."""


def _rows(name: str) -> list[re.Match[str]]:
    """The rows of a page's tables. A line that looks like a row and names no test fails."""
    page = _ROOT / "docs" / name
    if not page.exists():
        pytest.skip(f"docs/{name} is not written yet")
    lines = [line for line in page.read_text().splitlines() if line.startswith("|")]
    heads = {n - 1 for n, line in enumerate(lines) if line.startswith("|---")}
    rows = []
    for n, line in enumerate(lines):
        if n not in heads and not line.startswith("|---"):
            match = _ROW.fullmatch(line)
            assert match, f"docs/{name}: the last cell is not `tests/file.py::test_name`: {line}"
            rows.append(match)
    return rows


@pytest.mark.parametrize("name", _LEAST)
def test_every_row_names_a_test_that_exists(name: str) -> None:
    for row in _rows(name):
        tree = ast.parse((_ROOT / row["file"]).read_text())
        names = {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}
        assert row["test"] in names, f"docs/{name}: {row['file']} has no {row['test']}"


@pytest.mark.parametrize("name", _LEAST)
def test_there_are_as_many_rows_as_promised_and_none_twice(name: str) -> None:
    rows = [row["what"] for row in _rows(name)]
    assert len(rows) >= _LEAST[name]
    assert len(rows) == len(set(rows))
