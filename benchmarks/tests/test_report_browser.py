from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from selfsup_bench.leaderboard.build import build
from selfsup_bench.planning.plan import Plan
from selfsup_bench.records.record import Record
from selfsup_bench.report import render


@pytest.mark.slow
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_page_renders_in_a_browser(plan: Plan, records: dict[str, Record], theme: str, tmp_path: Path) -> None:
    browser = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if browser is None:
        pytest.skip("no chromium is installed")
    page = render(build(plan, records), plan, records)
    (tmp_path / "report.html").write_text(page, encoding="utf-8")
    shot = tmp_path / "shot.png"
    command = [
        browser, "--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--hide-scrollbars",
        f"--user-data-dir={tmp_path / 'profile'}", f"--blink-settings=preferredColorScheme={int(theme == 'light')}",
        "--window-size=1200,1800",
    ]  # fmt: skip
    url = (tmp_path / "report.html").as_uri()
    subprocess.run([*command, f"--screenshot={shot}", url], check=True, capture_output=True, timeout=120)
    from PIL import Image

    image = Image.open(shot).convert("RGB")
    assert image.size == (1200, 1800)
    corner = sum(image.getpixel((2, 2)))  # type: ignore[arg-type]  # a tuple for RGB
    assert corner > 600 if theme == "light" else corner < 150
    # Ten class colours, text and lines: a page that failed to draw has a handful of colours.
    drawn = image.getcolors(maxcolors=1 << 24)
    assert drawn is not None
    assert len(drawn) > 200
    # What the script adds tells that the policy lets it run.
    dom = subprocess.run([*command, "--dump-dom", url], check=True, capture_output=True, timeout=120).stdout.decode()
    assert dom.count('<button class="sort"') == page.count(' data-sort="'), "each head of both tables can be pressed"
    assert 'aria-sort="descending"' in dom
    assert dom.count('class="ring"') == page.count('class="chart scatter"')
    assert ("Switch to dark colours" if theme == "light" else "Switch to light colours") in dom
