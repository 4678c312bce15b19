from __future__ import annotations

import math
from pathlib import Path

import pytest

import selfsup
from selfsup.training.observe.collapse_monitor import describe_chance, describe_codebook
from selfsup.training.observe.learning_warnings import MetricWatch


def warnings(lines: list[tuple[int, dict[str, float]]], total: int = 100) -> list[str]:
    told: list[str] = []
    watch = MetricWatch(total, told.append)
    for step, metrics in lines:
        watch(step, metrics)
    return told


def test_a_collapsed_codebook_is_told_once() -> None:
    told = warnings([(step, {"loss": 1.0, "codebook_perplexity": 1.02}) for step in range(10, 100, 10)])
    assert len(told) == 1
    assert "codebook has collapsed: its perplexity is 1.02" in told[0]
    assert told[0].endswith("(step 40)")


@pytest.mark.parametrize("perplexity", [1.6, 30.0])
def test_a_codebook_in_use_is_fine(perplexity: float) -> None:
    assert warnings([(step, {"codebook_perplexity": perplexity}) for step in range(10, 100, 10)]) == []
    assert describe_codebook(perplexity) == ""


def test_a_loss_pinned_at_chance_is_told_once() -> None:
    chance = math.log(101)
    told = warnings([(step, {"loss": chance * 1.005, "chance_loss": chance}) for step in range(10, 100, 10)])
    assert len(told) == 1
    assert "stays at 4.638, which is what guessing among the candidates gives (4.615)" in told[0]


def test_the_contrastive_part_of_a_loss_is_what_is_compared() -> None:
    chance = math.log(101)
    pinned = {"loss": chance + 0.5, "contrastive_loss": chance, "chance_loss": chance}
    assert len(warnings([(step, pinned) for step in range(10, 100, 10)])) == 1
    learning = {"loss": chance, "contrastive_loss": chance - 0.5, "chance_loss": chance}
    assert warnings([(step, learning) for step in range(10, 100, 10)]) == []
    assert describe_chance(chance - 0.5, chance) == ""


def test_a_begin_at_chance_and_a_single_line_are_no_news() -> None:
    chance = math.log(101)
    pinned, learning = ({"loss": value, "chance_loss": chance} for value in (chance, chance - 1))
    assert warnings([(5, pinned), (10, pinned), (15, pinned), (19, pinned), (50, learning)]) == []
    assert warnings([(30, pinned), (40, pinned), (50, learning), (60, pinned), (70, pinned)]) == []


def test_a_head_that_lost_its_spread_is_told_once_and_one_that_began_without_is_not() -> None:
    fell = [
        (step, {"target_std": 0.8 if step < 20 else 0.1, "output_std": 0.4 if step < 20 else 0.01})
        for step in range(0, 100, 10)
    ]
    told = warnings(fell)
    assert len(told) == 1
    assert "their spread (target_std) is 0.100 and was 0.800 at first" in told[0]
    assert told[0].endswith("(step 40)")
    assert warnings([(step, {"target_std": 0.1}) for step in range(0, 100, 10)]) == []
    assert warnings([(step, {"target_std": 0.3 if step else 0.9}) for step in range(0, 100, 10)]) == []
    line = [(step, {"target_rank": 12.0 if step < 20 else 1.2}) for step in range(0, 100, 10)]
    assert "collapsed to a line: their rank is 1.20 and was 12.00" in warnings(line)[0]
    early = [(step, {"target_std": 0.8 if step in (0, 50) else 0.01}) for step in (0, 5, 10, 15, 30, 40, 50, 60, 70)]
    assert warnings(early) == []


@pytest.mark.parametrize(
    ("entropy", "used", "words"),
    [
        (0.4, 20.0, ""),
        (0.97, 120.0, ""),
        (0.995, 127.0, "assignments are even: their entropy is 99.5 %"),
        (0.1, 1.2, "1.20 of them are in use"),
    ],
)
def test_assignments_that_say_nothing_are_told(entropy: float, used: float, words: str) -> None:
    lines = [(step, {"teacher_entropy": entropy, "prototypes_used": used}) for step in range(0, 100, 10)]
    told = warnings(lines)
    assert len(told) == bool(words)
    assert words in "".join(told)


def test_tasks_without_these_metrics_are_left_alone() -> None:
    assert warnings([(step, {"loss": 0.0, "embedding_std": 1.0}) for step in range(10, 100, 10)]) == []


def test_a_short_run_is_given_time() -> None:
    guessing = [(step, {"loss": 4.0, "chance_loss": 4.0}) for step in range(1, 31)]
    assert warnings(guessing[:19], total=19) == []
    assert len(warnings(guessing, total=30)) == 1


@pytest.mark.usefixtures("toy")
def test_a_run_says_that_nothing_is_told_apart(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = {"objective.hidden_dim": 16, "objective.output_dim": 8, "objective.temperature": 1e4}
    for temperature, count in ((1e4, 1), (0.5, 0)):
        run = selfsup.pretrain(
            "sequence/simclr", data="toy-sequences", backbone="sequence/conv", steps=23, batch_size=64, precision="32",
            out=tmp_path / str(count), log_every=1, overrides={**options, "objective.temperature": temperature},
        )  # fmt: skip
        assert run.metrics[-1]["chance_loss"] == pytest.approx(math.log(127))
        assert capsys.readouterr().err.count("which is what guessing among the candidates gives") == count


def test_samples_that_are_left_out_are_told_of_at_the_first_line_and_once() -> None:
    told = warnings([(step, {"loss": 1.0, "left_out": share}) for step, share in ((1, 0.0), (2, 0.125), (3, 0.2), (50, 0.3))])
    assert len(told) == 1
    assert "12 % of the samples so far are left out of the loss: they are too short for this task" in told[0]
    assert "processor.frames" in told[0]


@pytest.mark.parametrize(("streams", "remedy"), [(True, "--set streaming.workers=N"), (False, "SELFSUP_CACHE=DIR")])
def test_waiting_for_data_is_reported_once_with_a_remedy_that_can_help(streams: bool, remedy: str) -> None:
    told: list[str] = []
    watch = MetricWatch(1000, told.append, streams=streams)
    for step in range(10, 100, 10):
        watch(step, {"loss": 1.0, "data_wait": 0.29 if step < 50 else 0.6})
    assert len(told) == 1
    assert "during 60 % of the time" in told[0]
    assert remedy in told[0]
    assert ("--no-stream" in told[0]) is streams
    assert "step 70" in told[0]
