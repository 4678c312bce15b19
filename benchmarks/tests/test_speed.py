from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from selfsup.errors import BenchmarkError
from selfsup_bench.speed import __main__ as program
from selfsup_bench.speed.images import images, write_folder
from selfsup_bench.speed.measure import Figure, in_turn, peer, ratio_figure
from selfsup_bench.speed.probes import embeddings


def test_both_sides_are_measured_in_turn() -> None:
    order: list[str] = []

    def side(name: str, value: float) -> float:
        order.append(name)
        return value

    ours, theirs = in_turn(lambda: side("a", 1.0), lambda: side("b", 2.0), repeats=3)
    assert (ours, theirs) == ([1.0] * 3, [2.0] * 3)
    assert order == ["a", "b", "b", "a", "a", "b"]


@pytest.mark.parametrize(
    ("compare", "goal", "reached"), [(">=", 2.0, True), (">=", 3.1, False), ("<=", 3.0, True), ("<=", 2.9, False)]
)
def test_a_figure_is_the_ratio_of_medians(compare: str, goal: float, reached: bool) -> None:
    figure = ratio_figure("x", "y", [30, 1, 100], [10, 9, 11], unit="s", compare=compare, goal=goal)  # type: ignore[arg-type]
    assert (figure.ours, figure.theirs, figure.value) == (30, 10, 3)
    assert figure.reached is reached


def test_a_missing_peer_says_how_to_install_it() -> None:
    with pytest.raises(BenchmarkError, match=r"pip install no-such-peer; or choose other figures with --only"):
        peer("no_such_peer.part", "no-such-peer")


def test_made_up_images_are_the_same_for_the_same_seed(tmp_path: Path) -> None:
    assert images(3, 32).shape == (3, 32, 32, 3)
    assert np.array_equal(images(3, 32, seed=1), images(3, 32, seed=1))
    assert not np.array_equal(images(3, 32, seed=1), images(3, 32, seed=2))
    assert len(list(write_folder(tmp_path, 7, 8).iterdir())) == 7


def test_made_up_embeddings_have_common_classes() -> None:
    train, labels = embeddings(200, 0, spread=0.1)
    test, wanted = embeddings(50, 1, spread=0.1)
    import torch

    assert (labels[torch.cdist(test, train).argmin(dim=1)] == wanted).all()


def test_names_are_those_of_the_figures() -> None:
    assert tuple(program.vision_figures()) == program.NAMES


def _figure(reached: bool) -> Figure:
    return Figure(
        name="help", what="start", ours=0.1, theirs=None, unit="s", value=0.1, compare="<=", goal=0.25 if reached else 0.05
    )


@pytest.mark.parametrize("reached", [True, False])
def test_exit_status_says_whether_the_goals_are_reached(monkeypatch: pytest.MonkeyPatch, reached: bool) -> None:
    monkeypatch.setattr(program, "vision_figures", lambda: {"help": lambda repeats: _figure(reached)})
    result = CliRunner().invoke(program.main, ["vision", "--only", "help", "--here", "--json"])
    assert result.exit_code == (0 if reached else 1)
    assert json.loads(result.stdout)[0]["reached"] is reached


def test_a_figure_that_cannot_be_measured_is_a_line_of_the_table(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(repeats: int) -> Figure:
        raise BenchmarkError("install it")

    monkeypatch.setattr(program, "vision_figures", lambda: {"knn": missing})
    result = CliRunner().invoke(program.main, ["vision", "--only", "knn", "--here"])
    assert result.exit_code == 1
    assert "| knn | – | – | – | – | install it |" in result.stdout


def test_help_figure_from_the_command_line() -> None:
    command = [sys.executable, "-m", "selfsup_bench.speed", "vision", "--only", "help", "--repeats", "1", "--json"]
    done = subprocess.run(command, capture_output=True, text=True)
    figure = json.loads(done.stdout)[0]
    assert figure["name"] == "help"
    assert 0.01 < figure["ours"] < 30
