"""The commands and the code of the README do what they say, in its order, on pictures, texts, tables, ... made for the test."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import numpy as np
import pytest
import soundfile
from PIL import Image

from selfsup_bench.commands import benchmark

README = Path(__file__).parents[1] / "README.md"
INSTALLS = ("pip ", "pytest", "uv ")
"""Commands of the README that the CI runs itself before it comes here."""
LONG = "selfsup benchmark"
"""Takes minutes; cells of it, and benchmarks of own data, run in the benchmark's own tests."""


def blocks(language: str) -> list[str]:
    """The README's fenced blocks of a language."""
    return re.findall(rf"```{language}\n(.*?)```", README.read_text(), flags=re.DOTALL)


def test_the_first_commands_install_and_benchmark():
    assert blocks("console")[0].splitlines() == ["pip install .", "selfsup benchmark"]


@pytest.fixture
def folders(tmp_path):
    """``photos/`` and ``labelled/`` of the README: 288 small pictures of two kinds."""
    generator = np.random.default_rng(0)
    for name in ("photos", "labelled"):
        for number in range(288):
            kind = number % 2
            pixels = generator.integers(0, 120, (16, 16, 3), dtype=np.uint8)
            pixels[(slice(None, None, 4), slice(None))[:: 1 if kind else -1]] += 120
            folder = tmp_path / name / ("horizontal", "vertical")[kind]
            folder.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(folder / f"{number:03}.png")
    (tmp_path / "photos" / "one.jpg").write_bytes(next((tmp_path / "photos").rglob("*.png")).read_bytes())


@pytest.fixture
def tables(tmp_path):
    """``corpus.txt``, ``headlines.csv`` and ``table.csv`` of the README: made-up sentences of two kinds, and made-up people."""
    generator = np.random.default_rng(0)
    words = {"good": ["fine", "warm", "bright", "kind"], "bad": ["dull", "cold", "grey", "harsh"]}
    common = ["the", "film", "was", "a", "day", "and", "so", "very", "story", "of"]
    reviews = []
    for number in range(3000):
        kind = ("good", "bad")[number % 2]
        reviews.append((" ".join(generator.choice([*common, *words[kind]], 20)), kind))
    (tmp_path / "corpus.txt").write_text("\n".join(text for text, _ in reviews[200:]))
    (tmp_path / "headlines.csv").write_text("text,label\n" + "\n".join(f"{text},{kind}" for text, kind in reviews[:200]))
    ages, jobs = generator.integers(18, 80, 600), generator.choice(["nurse", "smith", "clerk"], 600)
    people = [f"{age},{job},{'high' if age > 40 and job != 'clerk' else 'low'}" for age, job in zip(ages, jobs, strict=True)]
    (tmp_path / "table.csv").write_text("age,job,income\n" + "\n".join(people))


@pytest.fixture
def clips(tmp_path):
    """``clips/`` of the README: short films of a bar that moves up or down, as files and as folders of frames."""
    for number in range(48):
        frames = []
        for step in range(8):
            pixels = np.zeros((16, 16), dtype=np.uint8)
            pixels[(number - step if number % 2 else number + step) % 16] = 255
            frames.append(Image.fromarray(pixels))
        folder = tmp_path / "clips" / ("up", "down")[number % 2]
        folder.mkdir(parents=True, exist_ok=True)
        if number % 3:
            frames[0].save(folder / f"{number}.gif", save_all=True, append_images=frames[1:], duration=40)
            continue
        (folder / str(number)).mkdir()
        for place, frame in enumerate(frames):
            frame.save(folder / str(number) / f"{place}.png")


@pytest.fixture
def recordings(tmp_path):
    """``recordings/`` of the README: low and high tones in noise, of two rates."""
    generator = np.random.default_rng(0)
    for number in range(288):
        name, hertz = (("low", 300), ("high", 1200))[number % 2]
        rate = 8000 if number % 3 else 16000
        times = np.arange(int(generator.uniform(0.1, 0.3) * rate)) / rate
        tone = 0.3 * np.sin(2 * np.pi * hertz * generator.uniform(0.8, 1.2) * times) + generator.normal(0, 0.01, len(times))
        folder = tmp_path / "recordings" / name
        folder.mkdir(parents=True, exist_ok=True)
        soundfile.write(folder / f"{number:03}.wav", tone, rate)


@pytest.fixture
def pairs(tmp_path):
    """``pairs/`` of the README: pictures of three greys, each with a text beside it."""
    generator = np.random.default_rng(0)
    (tmp_path / "pairs").mkdir()
    for number in range(160):
        kind = number % 3
        pixels = np.clip(generator.normal(50 + 60 * kind, 25, (16, 16, 3)), 0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(tmp_path / "pairs" / f"{number:03}.png")
        (tmp_path / "pairs" / f"{number:03}.txt").write_text(f"a {('dark', 'grey', 'light')[kind]} thing, number {number}")


def test_benchmarks_of_own_data_have_options_that_there_are():
    lines = [line for block in blocks("console") for line in block.splitlines() if line.startswith(f"{LONG} ")]
    assert len(lines) >= 3
    for line in lines:
        assert benchmark.make_context("benchmark", shlex.split(line)[2:]).params["data"], line


@pytest.mark.usefixtures("folders", "tables", "recordings", "clips", "pairs")
def test_commands(cli):
    commands = [
        line
        for block in blocks("console")
        for line in block.splitlines()
        if line.startswith("selfsup") and not line.startswith(LONG)
    ]
    assert len(commands) >= 8
    for command in commands:
        outcome = cli(*shlex.split(command)[1:])
        assert outcome.status == 0, f"{command}: {outcome.err}"
        assert "were pretrained on" not in " ".join(outcome.err.split()), f"{command} tests on rows that were pretrained on"
    names = ("photos", "texts", "transformer", "table", "recordings", "clips", "pairs")
    runs = [f"runs/{name}/encoder/model.safetensors" for name in names]
    for left in (*runs, "embeddings.parquet", "backbone.safetensors", "encoder/tokenizer.json", "pictures/model.safetensors"):
        assert Path(left).is_file(), left


@pytest.mark.usefixtures("folders")
def test_python(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SELFSUP_CACHE", str(tmp_path / "cache"))
    (code,) = blocks("python")
    names: dict[str, object] = {}
    exec(code, names)
    assert np.shape(names["embeddings"])[0] == 1
    assert {score.evaluator for score in names["scores"]} == {"knn", "linear"}
