"""``selfsup list options``: every key with type, default, the paper's value and meaning."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from selfsup.cli.main import main
from selfsup.testing.toy.sequences.installed import installed


@pytest.fixture(scope="module", autouse=True)
def toy_modality(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SELFSUP_PLUGINS", "sequences")
        with installed(tmp_path_factory.mktemp("toy")):
            yield


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as ended:
        main(["list", *arguments])
    shown = capsys.readouterr()
    return int(ended.value.code or 0), shown.out, shown.err


def options(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, dict[str, Any]]:
    status, out, _ = run(capsys, "options", *arguments, "--json")
    assert status == 0
    return {item["key"]: item for item in json.loads(out)}


def test_every_section_is_there(capsys: pytest.CaptureFixture[str]) -> None:
    found = options(capsys, "sequence/simclr")
    for prefix in ("optimization", "processor", "backbone", "objective", "views", "knn", "linear", "finetune"):
        assert any(key.startswith(f"{prefix}.") for key in found), prefix
    assert {found[key]["command"] for key in ("seed", "knn.k", "finetune.epochs")} == {"pretrain", "evaluate", "finetune"}
    assert "task" not in found


def test_a_line_says_type_default_paper_and_meaning(capsys: pytest.CaptureFixture[str]) -> None:
    found = options(capsys, "sequence/simclr")
    temperature = found["objective.temperature"]
    assert (temperature["type"], temperature["default"]) == ("float > 0", 0.1)
    assert temperature["paper"] == "0.1 on ImageNet, 0.5 on CIFAR-10"
    assert temperature["meaning"].startswith("Divides the cosines")
    assert (found["optimization.optimizer"]["default"], found["optimization.optimizer"]["paper"]) == ("lars", "lars")
    assert (found["label"]["type"], found["label"]["default"]) == ("text or null", None)
    assert found["backbone"]["default"] == "sequence/transformer"


def test_the_backbone_decides_its_options(capsys: pytest.CaptureFixture[str]) -> None:
    default, other = options(capsys, "sequence/simclr"), options(capsys, "sequence/simclr", "--backbone", "sequence/conv")
    of = {key for key in default if key.startswith("backbone.")}, {key for key in other if key.startswith("backbone.")}
    assert of[0] - of[1]
    assert default.keys() - of[0] == other.keys() - of[1]


def test_the_filter_and_the_table(capsys: pytest.CaptureFixture[str]) -> None:
    status, out, _ = run(capsys, "options", "sequence/simclr", "--filter", "TEMPERATURE")
    lines = [line.split("\t") for line in out.splitlines()]
    assert status == 0
    assert lines[0] == ["KEY", "TYPE", "DEFAULT", "PAPER", "MEANING"]
    assert {line[0] for line in lines[1:]} == {"objective.temperature", "geometry.t", "knn.tau"}
    assert options(capsys, "knn").keys() == {"knn.k", "knn.tau"} <= options(capsys, "sequence/mae").keys()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["options"], "name the task"),
        (["options", "sequence/simcrl"], "Did you mean 'sequence/simclr'"),
        (["options", "sequence/simclr", "--backbone", "sequence/con"], "Did you mean 'sequence/conv'"),
        (["options", "sequence/mae", "--backbone", "sequence/conv"], "has none. Take sequence/transformer"),
        (["options", "sequence/simclr", "--modality", "sequence"], "leave --modality out"),
        (["options", "knn", "--backbone", "sequence/conv"], "leave --backbone out"),
        (["tasks", "sequence/simclr"], "goes with `selfsup list options TASK` only"),
        (["loggers", "--modality", "sequence"], "loggers are of no modality"),
        (["tasks", "--backbone", "sequence/conv"], "goes with `selfsup list options TASK` only"),
    ],
)
def test_what_would_be_ignored_is_refused(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    status, out, err = run(capsys, *arguments)
    assert (status, out) == (2, "")
    assert message in " ".join(err.split())
