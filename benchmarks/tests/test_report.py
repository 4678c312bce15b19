from __future__ import annotations

import re
import shutil
import subprocess
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest

from selfsup_bench.leaderboard import build
from selfsup_bench.plan import Plan
from selfsup_bench.records import Record
from selfsup_bench.report import render
from selfsup_bench.report.charts import Series, line_chart
from selfsup_bench.report.style import style_sheet
from selfsup_bench.report.svg import Scale, short, tick_label, ticks

VOID = {"meta", "link", "br", "path", "line", "circle", "svg"}


class Balance(HTMLParser):
    """Checks that every element is closed, and collects attributes that could fetch something."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.links: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.links.extend(value or "" for name, value in attrs if name in ("src", "href", "srcset", "xlink:href"))
        if tag not in {"meta", "link", "br"}:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """An SVG element without children."""

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


@pytest.fixture
def page(plan: Plan, records: dict[str, Record]) -> str:
    key = plan.key(plan.lines[1].cells["task"][2])
    found = {**records, key: replace(records[key], status="failed", error="<script>alert(1)</script>", projection=None)}
    return render(build(plan, found), plan, found)


def test_page_is_well_formed_and_fetches_nothing(page: str) -> None:
    parser = Balance()
    parser.feed(page)
    assert parser.open == []
    assert parser.links == ["data:,"]
    assert "http://" not in page
    assert "https://" not in page
    assert "url(" not in page
    assert "@import" not in page
    assert "<script" not in page
    assert "Content-Security-Policy" in page


def test_page_holds_every_part(page: str) -> None:
    for heading in (
        "Leaderboard: toyset",
        "Label efficiency: toyset",
        "Embeddings: toyset",
        "Loss curves: toyset",
        "Circumstances",
    ):
        assert f"<h2>{heading}</h2>" in page
    assert page.count("before pretraining</figcaption>") == page.count("after pretraining</figcaption>") == 2
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert "the raw input is better" not in page
    assert "class &lt;3&gt;: 20 samples" in page


def test_page_of_a_benchmark_without_results(plan: Plan) -> None:
    page = render(build(plan, {}), plan, {})
    assert f"Without a result: {len(plan.cells())}" in page
    assert "Embeddings" not in page


def _luminance(colour: str) -> float:
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [p / 12.92 if p <= 0.03928 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_colours_stand_out_from_their_background(theme: str) -> None:
    blocks = re.findall(r":root \{(.*?)\}", style_sheet(), flags=re.DOTALL)
    colours = dict(re.findall(r"--(\w+): (#[0-9a-f]{6})", blocks[theme == "dark"]))
    ground = _luminance(colours["card"])

    def contrast(name: str) -> float:
        high, low = sorted((_luminance(colours[name]), ground), reverse=True)
        return (high + 0.05) / (low + 0.05)

    # WCAG 2.2: 4.5 for text, 3 for the parts of a chart.
    assert all(contrast(name) >= 4.5 for name in ("ink", "soft", "bad"))
    assert all(contrast(f"c{i}") >= 3 for i in range(10))
    assert len({colours[f"c{i}"] for i in range(10)}) == 10


def test_ticks_are_round_and_inside() -> None:
    assert ticks(0, 1, 4) == [0, 0.25, 0.5, 0.75, 1.0]
    assert ticks(0.63, 0.98, 4) == [0.7, 0.8, 0.9]
    assert ticks(3, 3) == [3]
    assert [tick_label(v) for v in (0.25, 4000, 2.5e6)] == ["0.25", "4k", "2.5M"]


def test_scale_is_linear_or_logarithmic() -> None:
    assert Scale(0, 10, 0, 100)(2.5) == 25
    assert Scale(1, 100, 0, 100, log=True)(10) == pytest.approx(50)
    assert Scale(5, 5, 0, 100)(5) == 50
    assert Scale(5, 5, 0, 100, log=True)(5) == pytest.approx(50)


def test_coordinates_are_short() -> None:
    assert [short(v) for v in (1.0, 1.25, -0.01, 0.04, 12.345)] == ["1", "1.2", "0", "0", "12.3"]


def test_line_chart_leaves_out_what_is_not_finite() -> None:
    chart = line_chart([Series("a", [(0, 1.0), (1, float("nan")), (2, 3.0)], "c0")], label="x", x_title="s", y_title="l")
    assert "nan" not in chart
    empty = line_chart([Series("a", [(0, float("inf"))], "c0")], label="x", x_title="s", y_title="l")
    assert empty == '<p class="empty">No values were logged.</p>'


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_page_renders_in_a_browser(page: str, theme: str, tmp_path: Path) -> None:
    browser = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if browser is None:
        pytest.skip("no chromium is installed")
    (tmp_path / "report.html").write_text(page)
    shot = tmp_path / "shot.png"
    command = [
        browser, "--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--hide-scrollbars",
        f"--user-data-dir={tmp_path / 'profile'}", f"--blink-settings=preferredColorScheme={int(theme == 'light')}",
        f"--screenshot={shot}", "--window-size=1200,1800", (tmp_path / "report.html").as_uri(),
    ]  # fmt: skip
    subprocess.run(command, check=True, capture_output=True, timeout=120)
    from PIL import Image

    image = Image.open(shot).convert("RGB")
    assert image.size == (1200, 1800)
    corner = sum(image.getpixel((2, 2)))  # type: ignore[arg-type]  # a tuple for RGB
    assert corner > 600 if theme == "light" else corner < 150
    # Ten class colours, text and lines: a page that failed to draw has a handful of colours.
    colours = image.getcolors(maxcolors=1 << 24)
    assert colours is not None
    assert len(colours) > 200
