from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import selfsup
from selfsup.artifacts import RunDirectory
from selfsup.backbones import Backbone, Encoded, fit_channels, fit_weights, resample_sequence
from selfsup.errors import ArtifactError, ConfigError
from selfsup.training.loop.stepper import Stepper
from selfsup.training.run.resolve_origin import told_start
from selfsup.training.settings.values import Unread

pytestmark = pytest.mark.usefixtures("toy")

OPTIONS: dict[str, Any] = {
    "data": "toy-sequences",
    "batch_size": 64,
    "precision": "32",
    "progress": False,
    "overrides": {"objective.hidden_dim": 16, "objective.output_dim": 8},
}


def pretrain(out: Path, task: str = "sequence/vicreg", **options: Any) -> selfsup.Run:
    if task != "sequence/vicreg":
        options = {"overrides": {}, **options}
    return selfsup.pretrain(task, **{**OPTIONS, "out": out, "steps": 3, **options})


def weights(run: selfsup.Run) -> dict[str, Tensor]:
    return run.encoder.backbone.state_dict()


def same(first: dict[str, Tensor], second: dict[str, Tensor]) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[key], second[key]) for key in first)


@pytest.fixture(scope="module")
def former(tmp_path_factory: pytest.TempPathFactory) -> selfsup.Run:
    """A run of a backbone that is not the modality's default."""
    folder = tmp_path_factory.mktemp("former")
    return pretrain(folder / "run", backbone="sequence/conv", seed=5, overrides={**OPTIONS["overrides"], "backbone.dim": 24})


def test_no_step_leaves_what_it_started_from(former: selfsup.Run, tmp_path: Path) -> None:
    run = pretrain(tmp_path / "run", init=former, steps=0, seed=1)
    assert (run.config.backbone, run.config.backbone_options["dim"]) == ("sequence/conv", 24)
    assert same(weights(run), weights(former))
    assert run.encoder.digest() == former.encoder.digest()
    of_encoder = pretrain(tmp_path / "other", init=str(former.dir / "encoder"), steps=0)
    assert same(weights(of_encoder), weights(former))


def test_what_a_run_says_of_its_start(former: selfsup.Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = pretrain(tmp_path / "run", init=str(former.dir), progress=True, rows=100)
    told = RunDirectory(run.dir).info()["init"]
    assert told["source"] == str(former.dir)
    assert told["share"] == 1
    assert len(told["weights"]) == 64
    assert f"The network starts from {former.dir}." in capsys.readouterr().err
    assert run.encoder.metadata["started_from_weights"] == told["weights"]
    assert told["weights"] in (run.dir / "encoder" / "README.md").read_text()
    learned, before = run.encoder.pretraining_rows, former.encoder.pretraining_rows
    assert learned is not None
    assert before is not None
    assert before.different == 256  # they all count, though this run saw 100
    assert learned.different == 256
    assert learned.seen(before.hashes).all()
    untrained = pretrain(tmp_path / "untrained", init=str(former.dir), steps=0)
    assert untrained.encoder.pretraining_rows is not None
    assert untrained.encoder.pretraining_rows.different == 256


def test_the_average_starts_from_the_same_weights(former: selfsup.Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[dict[str, Tensor], dict[str, Tensor]]] = []
    made = Stepper.__init__

    def watched(self: Stepper, fabric: Any, task: Any, *arguments: Any, **options: Any) -> None:
        target = task.momentum.module.backbone
        seen.append(tuple({k: v.clone() for k, v in part.state_dict().items()} for part in (task.backbone, target)))
        made(self, fabric, task, *arguments, **options)

    monkeypatch.setattr(Stepper, "__init__", watched)
    pretrain(tmp_path / "run", "sequence/byol", init=str(former.dir), steps=1)
    ((online, target),) = seen
    assert same(online, weights(former))
    assert same(target, weights(former))


@pytest.mark.parametrize(
    ("options", "former", "counts", "anew"),
    [
        ({}, "a", "a", None),
        ({"init": "b"}, "a", "b", "b"),
        ({"init": "a"}, "a", "a", None),
        ({"init": Unread("b")}, None, "b", "b"),
        ({"init": Unread("null")}, "a", None, ""),
        ({"init": None}, {"x": "a"}, None, {"x": ""}),
        ({"init": {"y": "b"}}, {"x": "a"}, {"x": "a", "y": "b"}, {"y": "b"}),
        ({"init.y": Unread("b"), "init.x": "a"}, {"x": "a"}, {"x": "a", "y": "b"}, {"y": "b"}),
        ({"init": {"x": "a"}, "init.y": "b"}, "c", {"x": "a", "y": "b"}, {"x": "a", "y": "b"}),
    ],
)
def test_a_caller_and_a_file_say_what_to_start_from(options: Any, former: Any, counts: Any, anew: Any) -> None:
    assert told_start(options, {"init": former}) == (counts, anew)


def test_a_set_key_is_as_good_as_the_option(former: selfsup.Run, tmp_path: Path) -> None:
    run = pretrain(tmp_path / "run", steps=0, overrides={**OPTIONS["overrides"], "init": Unread(str(former.dir))})
    assert (run.config.backbone, run.config.init) == ("sequence/conv", str(former.dir))
    again = selfsup.pretrain(config=run.dir / "run.json", out=tmp_path / "again", progress=False, overrides={"init": None})
    assert again.config.init is None
    assert "init" not in RunDirectory(again.dir).info()


@pytest.mark.parametrize("init", ["", " ", {"first": ""}])
def test_an_empty_source_is_no_silent_fresh_start(init: Any, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"init( of first)? is an empty text: name what to start from"):
        pretrain(tmp_path / "run", init=init)


class BrokenOffError(Exception):
    """What breaks a run off."""


def broken_off(out: Path, monkeypatch: pytest.MonkeyPatch, task: str = "sequence/vicreg", **options: Any) -> None:
    """A run that breaks off in its fifth step, with a checkpoint of the fourth."""
    take = Stepper.take

    def breaking(self: Stepper, batch: Any) -> None:
        if self.step == 4:
            raise BrokenOffError
        take(self, batch)

    with monkeypatch.context() as patch:
        patch.setattr(Stepper, "take", breaking)
        with pytest.raises(BrokenOffError):
            pretrain(out, task, checkpoint_every=2, **options)


def test_a_run_goes_on_where_its_start_is_gone(former: selfsup.Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = tmp_path / "source"
    shutil.copytree(former.dir, source)
    options: dict[str, Any] = {"init": str(source), "steps": 6, "seed": 2, "rows": 128}
    whole = pretrain(tmp_path / "whole", **options, checkpoint_every=2)
    broken_off(tmp_path / "broken", monkeypatch, **options)
    shutil.rmtree(source)
    run = selfsup.pretrain(out=tmp_path / "broken", resume=True, progress=False)
    assert same(weights(run), weights(whole))
    rows = [each.encoder.pretraining_rows for each in (run, whole)]
    assert rows[0] is not None
    assert rows[1] is not None
    assert rows[0].as_dict() == rows[1].as_dict()
    assert rows[0].different == 256
    assert run.encoder.metadata == whole.encoder.metadata
    assert run.encoder.metadata["started_from"] == str(source)


def test_the_best_checkpoint_loads_where_the_start_is_gone(former: selfsup.Run, tmp_path: Path) -> None:
    source = tmp_path / "source"
    shutil.copytree(former.dir, source)
    run = pretrain(tmp_path / "run", init=str(source), val="toy-sequences:test", probe_every=1)
    shutil.rmtree(source)
    best = selfsup.load(run.dir, checkpoint="best")
    assert best.metadata["checkpoint"] == "best"
    assert best.backbone_options == run.encoder.backbone_options


def test_the_processor_comes_along(former: selfsup.Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = pretrain(tmp_path / "run", init=str(former.dir), rows=4, batch_size=4)
    assert run.encoder.processor.info() == former.encoder.processor.info()  # fitted on 256 rows and not on 4
    shorter = {**OPTIONS["overrides"], "processor.max_length": 8}
    other = pretrain(tmp_path / "other", init=str(former.dir), overrides=shorter, progress=True)
    assert other.encoder.processor.config.max_length == 8  # type: ignore[attr-defined]  # the toy's
    assert "with processor.max_length=8 (theirs: 64)" in capsys.readouterr().err


def test_options_go_before_what_the_weights_bring(former: selfsup.Run, tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=r"do not fit this .* \(left as drawn: "):
        pretrain(tmp_path / "narrow", init=str(former.dir), overrides={**OPTIONS["overrides"], "backbone.dim": 8})
    assert not (tmp_path / "narrow" / "run.json").exists()
    with pytest.raises(ArtifactError, match="do not fit"):
        pretrain(tmp_path / "other", init=str(former.dir), backbone="sequence/transformer")


@pytest.mark.parametrize(
    ("init", "error", "text"),
    [
        ("nowhere", ConfigError, "nowhere does not exist, and is no backbone"),
        ("empty", ArtifactError, "is no encoder and no run"),
        ("foreign", ConfigError, r"holds a model of another library \(bert\), and no backbone for sequence can load it"),
        ("broken", ArtifactError, "config.json cannot be read"),
        ("weights.safetensors", ConfigError, "which does not name its network: name it with --backbone"),
        ("notes.txt", ConfigError, "is an unknown kind of file"),
        ("sequence/conv", ConfigError, "no library has weights for the backbone sequence/conv"),
    ],
)
def test_what_is_nothing_to_start_from(init: str, error: type[Exception], text: str, tmp_path: Path) -> None:
    for name, content in (("foreign", json.dumps({"model_type": "bert"})), ("broken", "{")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.json").write_text(content)
    (tmp_path / "empty").mkdir()
    (tmp_path / "weights.safetensors").touch()
    (tmp_path / "notes.txt").touch()
    source = init if "/" in init else str(tmp_path / init)
    with pytest.raises(error, match=text):
        pretrain(tmp_path / "run", init=source)
    assert not (tmp_path / "run").exists()


def test_an_encoder_in_memory_has_no_path(former: selfsup.Run, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"save the encoder first \(encoder.save\(DIR\)\)"):
        pretrain(tmp_path / "run", init=former.encoder)


def test_an_encoder_of_another_modality(former: selfsup.Run, tmp_path: Path) -> None:
    shutil.copytree(former.dir / "encoder", tmp_path / "encoder")
    path = tmp_path / "encoder" / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "modality": "smell"}))
    with pytest.raises(ConfigError, match="is an encoder for smell, not for sequence"):
        pretrain(tmp_path / "run", init=str(tmp_path / "encoder"))


def test_a_file_of_weights_with_its_backbone(former: selfsup.Run, tmp_path: Path) -> None:
    torch.save({"state_dict": former.encoder.backbone.state_dict()}, tmp_path / "weights.pth")
    overrides = {**OPTIONS["overrides"], "backbone.dim": 24}
    run = pretrain(tmp_path / "run", init=str(tmp_path / "weights.pth"), backbone="sequence/conv", steps=0, overrides=overrides)
    assert same(weights(run), weights(former))
    (tmp_path / "broken.pth").write_bytes(b"no tensors")
    with pytest.raises(ArtifactError, match="cannot be read as tensors"):
        pretrain(tmp_path / "other", init=str(tmp_path / "broken.pth"), backbone="sequence/conv")


class Two(Backbone):
    """A network of two layers."""

    modality = "sequence"

    def __init__(self, wide: int = 6) -> None:
        super().__init__()
        self.embed_dim = 4
        self.model = torch.nn.Sequential(torch.nn.Linear(3, wide), torch.nn.Linear(wide, 4), torch.nn.Linear(4, 2))

    def forward(self, batch: dict[str, Tensor]) -> Encoded:
        """[B, 2]."""
        return Encoded(self.model(batch["x"]))

    def fit_weight(self, name: str, weight: Tensor, own: Tensor) -> Tensor | None:
        """The last layer takes what fits of other outputs."""
        return weight[: len(own)] if name.startswith("model.2.") else None


def test_each_weight_is_taken_made_to_fit_or_named() -> None:
    own, theirs = Two(), Two().model.state_dict()
    theirs["2.weight"], theirs["2.bias"] = torch.randn(5, 4), torch.randn(5)
    theirs["0.bias"] = torch.randn(9)
    theirs["head.weight"] = torch.randn(1)
    drawn = own.model[0].bias.detach().clone()
    report = fit_weights(own, theirs)  # the names lack the prefix
    assert report.fitted == ("model.0.weight", "model.1.weight", "model.1.bias")
    assert report.adapted == {"model.2.weight": ((5, 4), (2, 4)), "model.2.bias": ((5,), (2,))}
    assert report.left == {"model.0.bias": ((6,), (9,))}
    assert report.unused == ("model.head.weight",)
    assert report.share == pytest.approx((18 + 24 + 4 + 8 + 2) / (18 + 6 + 24 + 4 + 8 + 2))
    assert report.describe() == [
        "made to fit: model.2.weight (5x4 to 2x4), model.2.bias (5 to 2)",
        "left as drawn: model.0.bias (6, theirs 9)",
        "of no use here: model.head.weight",
    ]
    assert torch.equal(own.model[0].bias, drawn)
    assert torch.equal(own.model[1].weight, theirs["1.weight"])
    assert torch.equal(own.model[2].weight, theirs["2.weight"][:2])
    with pytest.raises(ArtifactError, match=r": 16.3 % of its parameters .*left as drawn: model.0.weight \(9x3, theirs 6x3\)"):
        fit_weights(Two(wide=9), Two().state_dict())


def test_filters_for_other_channels() -> None:
    weight, image = torch.randn(4, 3, 2, 2, dtype=torch.float64), torch.randn(5, 1, 2, 2, dtype=torch.float64)
    conv = torch.nn.functional.conv2d
    for channels in (1, 2, 3, 5, 7):
        fitted = fit_channels(weight, channels)
        assert fitted.shape == (4, channels, 2, 2)
        if channels in (1, 3):
            grey = conv(image.expand(-1, channels, -1, -1), fitted)
            assert torch.allclose(grey, conv(image.expand(-1, 3, -1, -1), weight))
    assert torch.equal(fit_channels(weight, 6), torch.cat([weight, weight], dim=1) / 2)


def test_positions_for_other_lengths() -> None:
    table = torch.cat([torch.full((1, 2), 9.0), torch.arange(4.0).view(4, 1).expand(4, 2)])
    assert torch.equal(resample_sequence(table, 3), table[:3])
    longer = resample_sequence(table, 8, first=1)
    assert torch.equal(longer[0], table[0])
    assert torch.allclose(longer[1:, 0], torch.arange(7.0) / 2)


def test_the_command_takes_it(former: selfsup.Run, tmp_path: Path) -> None:
    from click.testing import CliRunner

    from selfsup.cli.pretrain import command

    arguments = ["sequence/vicreg", "--data", "toy-sequences", "--init", str(former.dir), "--out", str(tmp_path / "run")]
    done = CliRunner().invoke(command, [*arguments, "--steps", "0", "--batch-size", "64", "--json"])
    assert done.exit_code == 0, done.output
    assert same(selfsup.load(tmp_path / "run").backbone.state_dict(), weights(former))
    assert "--init SRC" in CliRunner().invoke(command, ["--help"]).output
