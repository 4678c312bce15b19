"""Fixtures shared by the tests that cross packages: the command line, and folders of small pictures."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from selfsup.cli.main import main

TINY = [
    "--backbone", "resnet-narrow", "--set", "backbone.width=8", "--batch-size", "8", "--steps", "2", "--precision", "32",
]  # fmt: skip
"""Options of a pretraining that takes a second."""


FAST_CHECKS = ("check_gradients", "check_fake_cuda")
"""Checks of the kit that tell whether a task works with the installed releases at all; the others are slow together."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the kit's slow checks here; the kit itself cannot, since a mark must be known where it is used."""
    for item in items:
        check = getattr(item, "callspec", None) and item.callspec.params.get("check")
        if check and getattr(check, "__name__", "") not in FAST_CHECKS:
            item.add_marker(pytest.mark.slow)


@dataclass(frozen=True)
class Outcome:
    """What a command left: exit status and both outputs."""

    status: int
    out: str
    err: str


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str], monkeypatch, tmp_path) -> Callable[..., Outcome]:
    """Run ``selfsup`` in this process, in an empty folder and with a cache of its own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SELFSUP_CACHE", str(tmp_path / "cache"))

    def run(*arguments: object) -> Outcome:
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return Outcome(int(ended.value.code or 0), captured.out, captured.err)

    return run


@pytest.fixture
def tiny() -> list[str]:
    """Options of a pretraining that takes a second."""
    return list(TINY)


def draw(seed: int, kind: int, size: tuple[int, int]) -> Image.Image:
    """A noisy picture with bright stripes: horizontal for kind 0, vertical for kind 1."""
    generator = np.random.default_rng(seed)
    pixels = generator.integers(0, 120, (size[1], size[0], 3), dtype=np.uint8)
    stripes = (slice(None, None, 4), slice(None)) if kind == 0 else (slice(None), slice(None, None, 4))
    pixels[stripes] += 120
    return Image.fromarray(pixels)


def draw_folder(folder: Path, per_class: int = 12) -> Path:
    """A folder per class, pictures of mixed sizes and formats."""
    sizes = [(32, 32), (40, 36), (36, 48)]
    for kind, name in enumerate(("horizontal", "vertical")):
        (folder / name).mkdir(parents=True)
        for number in range(per_class):
            suffix = ".png" if number % 2 else ".jpg"
            draw(number + 1000 * kind, kind, sizes[number % 3]).save(folder / name / f"{number:03}{suffix}")
    return folder


@pytest.fixture
def photos(tmp_path) -> Path:
    """Two classes of twelve pictures each."""
    return draw_folder(tmp_path / "photos")


@pytest.fixture(scope="session")
def pretrained(tmp_path_factory) -> Path:
    """A finished run of ``vision/simclr`` on such pictures."""
    base = tmp_path_factory.mktemp("pretrained")
    folder = draw_folder(base / "photos")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SELFSUP_CACHE", str(base / "cache"))
        with pytest.raises(SystemExit) as ended:
            main(["pretrain", "vision/simclr", "--data", str(folder), "--out", str(base / "run"), *TINY])
    assert not ended.value.code
    return base / "run"
