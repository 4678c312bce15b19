"""Flags that a modality brings to ``selfsup pretrain``."""

from __future__ import annotations

from dataclasses import replace

import pytest

from selfsup.artifacts import RunDirectory
from selfsup.cli.flags import take_flags
from selfsup.errors import ConfigError, SpecError
from selfsup.registry import registry
from selfsup.registry.kinds import spec_values
from selfsup.registry.specs import Flag
from selfsup.training.run.resolve import resolve_config

LENGTH = Flag(name="most-tokens", option="processor.max_length", summary="Tokens kept.", metavar="N")


@pytest.fixture(autouse=True)
def give(toy, monkeypatch):
    """Gives the toy modality this flag, or another modality; at first :data:`LENGTH`."""

    def give(flag: Flag, modality: str = "sequence") -> None:
        spec = registry().modalities["sequence"]
        monkeypatch.setitem(registry().modalities, modality, replace(spec, id=modality, flags=(flag,)))

    give(LENGTH)
    return give


def test_a_flag_sets_a_config_key(cli, tmp_path):
    options = ["--data", "toy-sequences", "--steps", 1, "--batch-size", 8, "--out", tmp_path / "run", "--precision", "32"]
    assert cli("pretrain", "sequence/random-init", *options, "--most-tokens", 9).status == 0
    assert RunDirectory(tmp_path / "run").info()["config"]["processor_options"]["max_length"] == 9


def test_the_name_of_a_flag_is_a_key_whatever_else_is_called_so(give):
    give(replace(LENGTH, name="rows"))  # `rows` is a key of the run, too
    given = {"task": "sequence/random-init", "data": "toy-sequences", "rows": 9}
    assert resolve_config(given).processor_options["max_length"] == 9
    assert resolve_config({**given, "rows": 10}).rows == 0


def test_the_help_shows_the_flag_and_other_modalities_refuse_it(cli):
    assert "--most-tokens N Tokens kept (sequence)." in " ".join(cli("pretrain", "--help").out.split())
    done = cli("pretrain", "vision/simclr", "--data", "x", "--most-tokens", 9)
    assert done.status == 2
    assert "--most-tokens is a flag of sequence tasks, and this is vision/simclr." in done.err


def test_the_task_decides_between_flags_of_one_name(give):
    give(replace(LENGTH, option="processor.else"), "other")
    options = {"flag_most_tokens": "9", "seed": 1}
    assert take_flags(options, "other/x") == {"processor.else": "9"}
    assert options == {"seed": 1}
    assert take_flags({"flag_most_tokens": "9"}, "sequence/x") == {"processor.max_length": "9"}
    assert take_flags({"flag_most_tokens": None}, "vision/x") == {}
    with pytest.raises(ConfigError, match="of sequence and other tasks, so name the task"):
        take_flags({"flag_most_tokens": "9"}, None)


def test_a_flag_that_the_command_has_already_is_the_plugins_fault(give, cli):
    give(replace(LENGTH, name="data"))
    done = cli("pretrain", "--help")
    assert done.status == 1
    assert "'sequence' has a flag --data, which the command has already" in done.err


@pytest.mark.parametrize("wrong", [{"name": "--x"}, {"option": "max_length"}, {"summary": " "}])
def test_a_malformed_flag_is_refused(wrong):
    with pytest.raises(SpecError, match="is not allowed: it needs a name"):
        replace(LENGTH, **wrong)


def test_flags_are_listed_as_plain_values():
    assert spec_values(registry().modalities["sequence"])["flags"] == [
        {"name": "most-tokens", "option": "processor.max_length", "summary": "Tokens kept.", "metavar": "N"}
    ]
