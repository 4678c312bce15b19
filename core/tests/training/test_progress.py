from __future__ import annotations

import io

import pytest
from rich.console import Console

from selfsup.errors import DataWarning
from selfsup.runtime import progress
from selfsup.runtime.progress import Bar, Lines, Silent, make_reporter, shown_metrics, tell_remarks, time_left


def test_lines_show_the_first_numbers_and_the_last_and_little_between() -> None:
    out = io.StringIO()
    with Lines(Console(file=out, width=200)) as reporter:
        reporter.start("pretraining", 1000)
        for step in range(1, 1001):
            if step % 10 == 0 or step == 1:
                reporter.metrics(step, {"loss": 5.0 / step, "samples_per_second": 1234.5})
            reporter.advance(step)
    lines = out.getvalue().splitlines()
    assert len(lines) == 2
    assert lines[0].startswith("pretraining 1/1000 steps  loss 5")
    assert lines[1].startswith("pretraining 1000/1000 steps  loss 0.005  1,234 samples/s")


def test_lines_come_again_after_ten_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr(progress.time, "monotonic", lambda: now)
    out = io.StringIO()
    with Lines(Console(file=out, width=200)) as reporter:
        reporter.start("pretraining", 100)
        for step in range(1, 31):
            now += 1
            reporter.metrics(step, {"loss": 1.0})
            reporter.advance(step)
    assert [line.split()[1] for line in out.getvalue().splitlines()] == ["1/100", "11/100", "21/100", "30/100"]
    assert "1 min 10 s left" in out.getvalue().splitlines()[-1]


def test_the_bar_shows_numbers_and_is_redrawn_at_most_twice_a_second(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr(progress.time, "monotonic", lambda: now)
    out = io.StringIO()
    bar = Bar(Console(file=out, width=120, force_terminal=True, highlight=False))
    drawn = 0
    refresh = bar._progress.refresh

    def counted() -> None:
        nonlocal drawn
        drawn += 1
        refresh()

    monkeypatch.setattr(bar._progress, "refresh", counted)
    with bar:
        bar.start("pretraining", 1000)
        drawn = 0
        for step in range(1, 1001):
            now += 0.01
            bar.metrics(step, {"loss": 0.25, "probe_accuracy": 0.5})
            bar.advance(step)
        assert drawn <= 22
        bar.message("Warning: [brackets] stay")
    text = out.getvalue()
    assert "1000/1000" in text
    assert "loss 0.25" in text
    assert "probe 50.0 %" in text
    assert "Warning: [brackets] stay" in text


def test_silence_is_silent(capsys: pytest.CaptureFixture[str]) -> None:
    with make_reporter(False) as reporter:
        assert isinstance(reporter, Silent)
        reporter.start("pretraining", 10)
        reporter.advance(1)
        reporter.metrics(1, {"loss": 1.0})
        reporter.message("nothing")
    assert capsys.readouterr() == ("", "")


def test_without_a_terminal_there_are_lines_on_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    with make_reporter() as reporter:
        reporter.message("hello")
    assert capsys.readouterr() == ("", "hello\n")


def test_numbers_and_times_are_written_for_people() -> None:
    assert shown_metrics({"loss": 0.123456, "lr": 1.0}) == ["loss 0.1235"]
    assert time_left(10, 10, 50) == "50 s left"
    assert time_left(10, 10, 125) == "2 min 05 s left"
    assert time_left(10, 10, 7300) == "2 h 01 min left"
    assert time_left(10, 0, 10) == time_left(10, 10, 0) == ""


def test_remarks_are_lines_or_warnings_where_nobody_sees_lines(capsys: pytest.CaptureFixture[str]) -> None:
    with make_reporter(True) as reporter:
        tell_remarks(reporter, {"values are clipped": 3}, "40 rows of photos")
    assert "Warning: 3 of the 40 rows of photos: values are clipped." in capsys.readouterr().err
    with pytest.warns(DataWarning, match=r"^3 of the 40 rows of photos: values are clipped\.$"):
        tell_remarks(make_reporter(False), {"values are clipped": 3}, "40 rows of photos")
