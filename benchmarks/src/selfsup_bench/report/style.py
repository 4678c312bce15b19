"""The report's style sheet, which is put into the page."""

from __future__ import annotations

from importlib import resources


def style_sheet() -> str:
    """The text of ``style.css``."""
    return (resources.files("selfsup_bench.report") / "style.css").read_text(encoding="utf-8")
