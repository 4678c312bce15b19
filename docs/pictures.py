"""Draw the pictures of the site by real commands: ``python docs/pictures.py DIR``, with the folder of a finished benchmark.

The printed ones are SVG; the page of a report is photographed by chromium, which has to be installed.
"""

from __future__ import annotations

import io
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import matplotlib as mpl
import numpy as np
import torch
from PIL import Image
from rich.console import Console
from rich.text import Text

from selfsup.data import load_source
from selfsup.registry import registry

mpl.use("Agg")
from matplotlib import pyplot as plt

PICTURES = Path(__file__).parent / "pictures"
COLUMNS = 104


def printed(name: str, command: list[str], output: str) -> None:
    """Draw what a command prints, as a terminal shows it."""
    console = Console(record=True, width=COLUMNS, file=io.StringIO())
    console.print(Text(f"$ {' '.join(command)}\n", style="bold"))
    console.print(Text(output.rstrip()))
    drawing = console.export_svg(title="selfsup")
    start, end = drawing.index("@font-face"), drawing.index(".terminal-", drawing.rindex("@font-face"))
    (PICTURES / f"{name}.svg").write_text(drawing[:start] + drawing[end:], encoding="utf-8")  # fonts would be fetched


def run(folder: Path, *command: str) -> str:
    """Both outputs of a command of selfsup."""
    environment = {**os.environ, "COLUMNS": str(COLUMNS)}
    done = subprocess.run(
        [sys.executable, "-m", *command], cwd=folder, env=environment, check=True, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    return done.stdout


def draw_run() -> None:
    """A pretraining on striped pictures."""
    generator = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for number in range(288):
            pixels = generator.integers(0, 120, (32, 32, 3), dtype=np.uint8)
            pixels[(slice(None, None, 4), slice(None))[:: 1 if number % 2 else -1]] += 120
            home = folder / "photos" / ("across", "along")[number % 2]
            home.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(home / f"{number:03}.png")
        command = ["selfsup", "pretrain", "vision/simclr", "--data", "photos/", "--epochs", "20", "--out", "runs/photos"]
        lines = run(folder, *command).splitlines()
        steps = [line for line in lines if line.startswith("pretraining")]
        dropped = {*steps} - {steps[0], *steps[len(steps) // 3 :: len(steps) // 3]}
        shown = [re.sub(r" +\d+ samples/s.*", "", line) for line in lines if line not in dropped]
        output = re.sub(r"Warning: this machine is busy.*?at a time\.\n", "", "\n".join(shown), flags=re.DOTALL)
        printed("run", command, output)  # without what tells of this machine alone


def draw_verdict(benchmark: Path) -> None:
    """The leaderboard of the first data set, of ``selfsup benchmark --modality vision --seeds 1``."""
    board = run(benchmark.parent, "selfsup", "report", benchmark.name)
    lines = board.splitlines()
    end = next(place for place, line in enumerate(lines) if line.startswith("±"))
    printed("verdict", ["selfsup", "benchmark", "--modality", "vision", "--seeds", "1"], "\n".join(lines[:end]))


def draw_report(benchmark: Path) -> None:
    """The top of ``report.html``."""
    with tempfile.TemporaryDirectory() as name:
        target = Path(name) / "page.png"
        page = (benchmark / "report.html").resolve().as_uri()
        size = "--window-size=1200,900"
        options = ["--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", size, f"--screenshot={target}"]
        subprocess.run(["chromium", *options, page], check=True, capture_output=True)
        Image.open(target).convert("RGB").quantize(64).save(PICTURES / "report.png", optimize=True)


def draw_views(modality: str, dataset: str, n_rows: int = 5) -> None:
    """Rows of a data set above two views of each."""
    house = registry()
    spec = house.get("modality", modality)
    rows = load_source(dataset, modality=spec, split="train")
    chosen = rows.read(range(n_rows))
    kind = house.processor_class(modality)
    processor = kind(kind.Config()).fit(chosen)
    batch = processor(chosen)
    recipe = house.resolve(spec, "views")
    views = recipe.build(recipe.config(), processor.info())(batch, torch.Generator().manual_seed(1))
    show = {"vision": _image, "audio": _spectrogram, "video": _frames}[modality]
    figure, axes = plt.subplots(3, n_rows, figsize=(1.7 * n_rows, 4.6), squeeze=False)
    for line, (title, shown) in enumerate(zip(("a row", "view 1", "view 2"), [batch, *views[:2]], strict=True)):
        for place in range(n_rows):
            show(axes[line][place], shown, place)
            axes[line][place].set(xticks=[], yticks=[])
        axes[line][0].set_ylabel(title)
    figure.tight_layout(pad=0.3)
    target = io.BytesIO()
    figure.savefig(target, dpi=70)
    Image.open(target).convert("RGB").quantize(32).save(PICTURES / f"{modality}-views.png", optimize=True)


def _pixels(x: torch.Tensor) -> np.ndarray:
    x = x.float() / 255 if x.dtype == torch.uint8 else x
    return x.clamp(0, 1).movedim(-3, -1).numpy()


def _image(axes: plt.Axes, batch: dict[str, torch.Tensor], place: int) -> None:
    axes.imshow(_pixels(batch["image"][place]))


def _frames(axes: plt.Axes, batch: dict[str, torch.Tensor], place: int) -> None:
    frames = _pixels(batch["video"][place])
    picked = frames[np.linspace(0, len(frames) - 1, 4).astype(int)]
    axes.imshow(np.concatenate([np.concatenate(picked[:2], axis=1), np.concatenate(picked[2:], axis=1)]))


def _spectrogram(axes: plt.Axes, batch: dict[str, torch.Tensor], place: int) -> None:
    wave = batch["waveform"][place].float()
    window = torch.hann_window(256)
    axes.imshow(torch.stft(wave / wave.abs().max(), 256, 64, window=window, return_complex=True).abs().add(1e-3).log().flip(0))


if __name__ == "__main__":
    PICTURES.mkdir(exist_ok=True)
    (finished,) = map(Path, sys.argv[1:])
    draw_verdict(finished)
    draw_report(finished)
    draw_run()
    for pair in (("vision", "mnist-5k"), ("audio", "sound-trends"), ("video", "moving-shapes")):
        draw_views(*pair)
