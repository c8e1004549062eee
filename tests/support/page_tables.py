"""Tables of the pages in docs/, so that a slow test can hold the numbers that they show."""

from pathlib import Path

PAGES = Path(__file__).resolve().parents[2] / "docs"


def rows_below(page: str, heading: str) -> list[list[str]]:
    """Cells of the table below a second-level heading of a page, without its own heading."""
    text = (PAGES / page).read_text(encoding="utf-8").split(f"## {heading}\n")[1]
    lines = [line.strip() for line in text.split("\n## ")[0].splitlines()]
    rows = [line.strip("|").split("|") for line in lines if line.startswith("|")]
    return [[cell.strip() for cell in row] for row in rows[2:]]
