"""``selfsup list options``: every key with type, default, the paper's value and meaning."""

import json

import pytest

pytestmark = pytest.mark.usefixtures("toy")


@pytest.fixture
def options(cli):
    """The options that a command lists, by key."""
    return lambda *args: {item["key"]: item for item in json.loads(cli("list", "options", *args, "--json").out)}


def test_a_line_says_type_default_paper_and_meaning(options):
    found = options("sequence/simclr")
    for prefix in ("optimization", "processor", "backbone", "objective", "views", "knn", "linear", "finetune"):
        assert any(key.startswith(f"{prefix}.") for key in found), prefix
    assert {found[key]["command"] for key in ("seed", "knn.k", "finetune.epochs")} == {"pretrain", "evaluate", "finetune"}
    assert "task" not in found
    temperature = found["objective.temperature"]
    assert (temperature["type"], temperature["default"]) == ("float > 0", 0.1)
    assert temperature["paper"] == "0.1 on ImageNet, 0.5 on CIFAR-10"
    assert temperature["meaning"].startswith("Divides the cosines")
    assert (found["optimization.optimizer"]["default"], found["optimization.optimizer"]["paper"]) == ("lars", "lars")
    assert (found["label"]["type"], found["label"]["default"]) == ("text or null", None)
    assert found["backbone"]["default"] == "sequence/transformer"
    other = options("sequence/simclr", "--backbone", "sequence/conv")
    of = {key for key in found if key.startswith("backbone.")}, {key for key in other if key.startswith("backbone.")}
    assert of[0] - of[1]
    assert found.keys() - of[0] == other.keys() - of[1]


def test_the_filter_and_the_table(cli, options):
    done = cli("list", "options", "sequence/simclr", "--filter", "TEMPERATURE")
    lines = [line.split("\t") for line in done.out.splitlines()]
    assert lines[0] == ["KEY", "TYPE", "DEFAULT", "PAPER", "MEANING"]
    assert {line[0] for line in lines[1:]} == {"objective.temperature", "geometry.t", "knn.tau"}
    assert options("knn").keys() == {"knn.k", "knn.tau"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["options"], "name the task or evaluator"),
        (["options", "sequence/simcrl"], "Did you mean 'sequence/simclr'"),
        (["options", "sequence/simclr", "--backbone", "sequence/con"], "Did you mean 'sequence/conv'"),
        (["options", "sequence/mae", "--backbone", "sequence/conv"], "has none. Take sequence/transformer"),
        (["options", "sequence/simclr", "--modality", "sequence"], "leave --modality out"),
        (["options", "knn", "--backbone", "sequence/conv"], "leave --backbone out"),
        (["tasks", "sequence/simclr"], "goes with `selfsup list options TASK` only"),
        (["loggers", "--modality", "sequence"], "loggers have no modality"),
        (["tasks", "--backbone", "sequence/conv"], "goes with `selfsup list options TASK` only"),
    ],
)
def test_what_would_be_ignored_is_refused(arguments, message, cli):
    status, out, err = cli("list", *arguments)
    assert (status, out) == (2, "")
    assert message in " ".join(err.split())
