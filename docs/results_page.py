"""Write a page of results from the records of a benchmark: ``python docs/results_page.py DIR FILE``."""

from __future__ import annotations

import sys
from pathlib import Path

from selfsup_bench.leaderboard.tables import markdown
from selfsup_bench.runner import write_report


def page(folder: Path) -> str:
    """The verdict and the table of each data set, as Markdown.

    Args:
        folder: of a benchmark, with its plan and records.
    """
    board = write_report(folder)
    blocks = [f"# Results of {folder.name}"]
    for table in board.tables:
        blocks.append(f"## {table.dataset}")
        if table.verdict is not None:
            blocks.append(table.verdict.sentence)
        blocks.append(markdown(table))
    return "\n\n".join(blocks) + "\n"


if __name__ == "__main__":
    source, target = map(Path, sys.argv[1:])
    target.write_text(page(source), encoding="utf-8")
