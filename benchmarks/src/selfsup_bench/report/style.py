"""The report's style sheet and script, which are put into the page."""

from __future__ import annotations

import base64
import hashlib
from functools import cache
from importlib import resources

from selfsup_bench.report.palette import root_rules


@cache
def style_sheet() -> str:
    """The colours, and the text of ``style.css``."""
    return root_rules() + _text("style.css")


@cache
def script() -> str:
    """The text of ``script.js``."""
    return _text("script.js")


def content_policy() -> str:
    """What the browser may do: show the page's own pictures, run this one script, and fetch nothing."""
    digest = base64.b64encode(hashlib.sha256(script().encode()).digest()).decode()
    return (
        f"default-src 'none'; style-src 'unsafe-inline'; img-src data:; script-src 'sha256-{digest}'; base-uri 'none'; "
        "form-action 'none'"
    )


def _text(name: str) -> str:
    return (resources.files("selfsup_bench.report") / name).read_text(encoding="utf-8")
