"""The two tutorials work word by word: their files and commands, in an empty folder, to a row of the leaderboard."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from selfsup_bench.report.markdown_page import render_markdown
from selfsup_bench.runner import read_results

PAGES = Path(__file__).parents[1] / "docs" / "extend"
STEP = re.compile(r"^(?:`(?P<file>[^`\n]+)`:\n\n)?```(?P<language>console|python|toml)\n(?P<text>.*?)^```$", re.M | re.S)

pytestmark = pytest.mark.slow


def steps(page: Path) -> list[tuple[str, str]]:
    """File name and content, or an empty name and commands, in the order of the page."""
    found = [(match["file"] or "", match["text"]) for match in STEP.finditer(page.read_text(encoding="utf-8"))]
    assert sum(not name for name, _ in found) >= 4
    return found


def install(folder: Path, site: Path) -> None:
    """What ``pip install`` does, without the network: build a wheel and unpack it."""
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder / "dist")]
    subprocess.run(command, cwd=folder, check=True, capture_output=True)
    (wheel,) = (folder / "dist").glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(site)


@pytest.fixture
def follow(tmp_path: Path) -> Callable[[str, str], dict[str, str]]:
    """Do what a page says; gives what each command printed."""

    def run(page: str, plugins: str) -> dict[str, str]:
        folder, site = tmp_path, tmp_path / "site"
        path = os.pathsep.join([str(site), os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep)
        cache = str(tmp_path / "cache")
        environment = {**os.environ, "PYTHONPATH": path, "SELFSUP_PLUGINS": plugins, "SELFSUP_CACHE": cache}
        environment |= {"OMP_NUM_THREADS": "1", "COLUMNS": "200"}
        printed: dict[str, str] = {}
        for name, text in steps(PAGES / page):
            if name:
                (folder / name).write_text(text, encoding="utf-8")
                continue
            for line in text.splitlines():
                if line.startswith("cd "):
                    folder = folder / line.removeprefix("cd ")
                elif line == "pip install -e .":
                    install(folder, site)
                else:
                    command = [sys.executable, "-m", *line.split()] if line.startswith("selfsup ") else line.split()
                    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
                    assert done.returncode == 0, f"{line}\n{done.stdout}\n{done.stderr}"
                    printed[line] = done.stdout
        return printed

    return run


def test_an_objective_becomes_a_row_of_the_leaderboard(follow: Callable[[str, str], dict[str, str]], tmp_path: Path) -> None:
    printed = follow("objective.md", "alignment,tabular,bench")
    assert "tabular/alignment" in printed["selfsup list tasks --filter alignment"]
    assert " checks passed, 0 failed." in printed["selfsup plugins check alignment"]
    board = printed["selfsup benchmark --suite alignment --seeds 1 --out results"]
    assert re.search(r"^ *1 +Alignment and uniformity +\d+\.\d ± \d+\.\d +\d+\.\d", board, re.M), board
    written = render_markdown(*read_results(tmp_path / "selfsup-alignment" / "results"))
    assert "## digits-table\n\nWith 10 labels a class Alignment and uniformity reaches " in written
    assert re.search(r"^\| Alignment and uniformity \| mlp \| \d+\.\d ± \d+\.\d \|", written, re.M), written


def test_a_modality_becomes_a_row_of_the_leaderboard(follow: Callable[[str, str], dict[str, str]]) -> None:
    printed = follow("modality.md", "points,bench")
    tasks = printed["selfsup list tasks --modality points"]
    assert {"points/simclr", "points/byol", "points/dino"} <= set(tasks.split())
    assert " checks passed, 0 failed." in printed["selfsup plugins check points"]
    board = printed["selfsup benchmark --suite points --seeds 1 --out results"]
    assert re.search(r"^ *1 +SimCLR +\d+\.\d ± \d+\.\d +\d+\.\d", board, re.M), board
