"""docs/weights.md is what the registry says."""

from pathlib import Path

from pipeline.weights_page import page
from stages.weights import BUNDLES, REGISTRY


def test_the_weights_page_is_current() -> None:
    assert Path("docs/weights.md").read_text() == page(), "run: python -m pipeline.weights_page > docs/weights.md"


def test_the_weights_page_has_every_file_with_its_licence_and_no_broken_row() -> None:
    rows = [line for line in page().splitlines() if line.startswith("| `")]
    assert len(rows) == len(REGISTRY) + len(BUNDLES)
    for row, weight in zip(rows, REGISTRY.values(), strict=False):
        columns = [column.strip() for column in row.strip("|").split("|")]
        assert columns[:2] == [f"`{weight.name}`", f"`{weight.file}`"]
        assert columns[4:6] == [weight.commercial_use, weight.licence]
        assert len(columns) == 7
