"""Flags that a modality brings to ``selfsup pretrain``."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from selfsup.artifacts import RunDirectory
from selfsup.cli.flags import take_flags
from selfsup.cli.main import main
from selfsup.errors import ConfigError, SpecError
from selfsup.registry import registry
from selfsup.registry.kinds import spec_values
from selfsup.registry.specs import Flag
from selfsup.testing.toy.sequences.installed import installed
from selfsup.training.run.resolve import resolve_config

LENGTH = Flag(name="most-tokens", option="processor.max_length", summary="Tokens kept.", metavar="N")


@pytest.fixture(autouse=True)
def flagged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The toy modality with a flag, and a second modality with one of the same name."""
    monkeypatch.setenv("SELFSUP_PLUGINS", "sequences")
    monkeypatch.setenv("SELFSUP_CACHE", str(tmp_path / "cache"))
    with installed(tmp_path / "site"):
        spec = registry().modalities["sequence"]
        monkeypatch.setitem(registry().modalities, "sequence", replace(spec, flags=(LENGTH,)))
        yield


def run(*args: str | Path) -> int:
    with pytest.raises(SystemExit) as ended:
        main(["pretrain", *map(str, args)])
    return int(ended.value.code or 0)


def other(option: str) -> None:
    spec = registry().modalities["sequence"]
    registry().modalities["other"] = replace(spec, id="other", flags=(replace(LENGTH, option=option),))


def test_a_flag_sets_a_config_key(tmp_path: Path) -> None:
    options = ["--data", "toy-sequences", "--steps", 1, "--batch-size", 8, "--out", tmp_path / "run", "--precision", "32"]
    assert run("sequence/random-init", *options, "--most-tokens", 9) == 0
    assert RunDirectory(tmp_path / "run").info()["config"]["processor_options"]["max_length"] == 9


def test_the_name_of_a_flag_is_a_key_whatever_else_is_called_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    # `rows` is a key of the run, too.
    monkeypatch.setitem(
        registry().modalities, "sequence", replace(registry().modalities["sequence"], flags=(replace(LENGTH, name="rows"),))
    )
    given = {"task": "sequence/random-init", "data": "toy-sequences", "rows": 9}
    assert resolve_config(given).processor_options["max_length"] == 9
    assert resolve_config({**given, "rows": 10}).rows == 0


def test_the_help_shows_the_flag_and_its_modality(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--help") == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "--most-tokens N Tokens kept (sequence)." in shown


def test_a_flag_of_another_modality_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("vision/simclr", "--data", "x", "--most-tokens", 9) == 2
    assert "--most-tokens is a flag of sequence tasks, and this is vision/simclr." in capsys.readouterr().err


def test_the_task_decides_between_flags_of_one_name() -> None:
    other("processor.else")
    options = {"flag_most_tokens": "9", "seed": 1}
    assert take_flags(options, "other/x") == {"processor.else": "9"}
    assert options == {"seed": 1}
    assert take_flags({"flag_most_tokens": "9"}, "sequence/x") == {"processor.max_length": "9"}
    assert take_flags({"flag_most_tokens": None}, "vision/x") == {}
    with pytest.raises(ConfigError, match="of sequence and other tasks, so name the task"):
        take_flags({"flag_most_tokens": "9"}, None)


def test_a_flag_that_the_command_has_already_is_the_plugins_fault(capsys: pytest.CaptureFixture[str]) -> None:
    spec = registry().modalities["sequence"]
    registry().modalities["sequence"] = replace(spec, flags=(replace(LENGTH, name="data"),))
    assert run("--help") == 1
    assert "'sequence' has a flag --data, which the command has already" in capsys.readouterr().err


@pytest.mark.parametrize("wrong", [{"name": "--x"}, {"option": "max_length"}, {"summary": " "}])
def test_a_malformed_flag_is_refused(wrong: dict[str, str]) -> None:
    with pytest.raises(SpecError, match="is not allowed: it needs a name"):
        replace(LENGTH, **wrong)


def test_flags_are_listed_as_plain_values() -> None:
    assert spec_values(registry().modalities["sequence"])["flags"] == [
        {"name": "most-tokens", "option": "processor.max_length", "summary": "Tokens kept.", "metavar": "N"}
    ]
