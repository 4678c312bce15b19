from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from selfsup.errors import ConfigError, UnknownIdError
from selfsup.registry.builtin.loggers import SPECS
from selfsup.training.observe import loggers
from selfsup.training.observe.loggers import Loggers, TensorBoardLogger, TrackioLogger, WandbLogger, check_loggers, unique_name


class Recorder(ModuleType):
    """Stands for ``wandb`` and for ``trackio``: keeps what it is told."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.told: list[Any] = []

    def init(self, **options: Any) -> Recorder:
        self.told.append(options)
        return self

    def log(self, metrics: dict[str, float], step: int) -> None:
        self.told.append((metrics, step))

    def finish(self) -> None:
        self.told.append("finished")


def test_tensorboard_writes_event_files_and_hides_what_a_resumed_run_repeats(tmp_path: Path) -> None:
    events = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    first = TensorBoardLogger(tmp_path, {}, 0)
    for step in (1, 2, 3):
        first.log({"loss": float(step)}, step)
    first.close()
    second = TensorBoardLogger(tmp_path, {}, 1)
    second.log({"loss": 20.0}, 2)
    second.close()
    accumulator = events.EventAccumulator(str(tmp_path / "tensorboard"))
    accumulator.Reload()
    assert [(event.step, event.value) for event in accumulator.Scalars("loss")] == [(1, 1.0), (2, 20.0)]


@pytest.mark.parametrize(
    ("kind", "name", "variable"), [(WandbLogger, "wandb", "WANDB_PROJECT"), (TrackioLogger, "trackio", "TRACKIO_PROJECT")]
)
def test_services_get_config_metrics_and_an_end(
    kind: Any, name: str, variable: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    service = Recorder(name)
    monkeypatch.setitem(sys.modules, name, service)
    monkeypatch.setenv(variable, "mine")
    logger = kind(tmp_path, {"seed": 3}, 0)
    logger.log({"loss": 0.5}, 7)
    logger.close()
    options, logged, end = service.told
    assert (options["project"], options["config"], options["resume"]) == ("mine", {"seed": 3}, "allow")
    assert options.get("id", options["name"]) == unique_name(tmp_path)
    assert logged == ({"loss": 0.5}, 7)
    assert end == "finished"


def test_a_run_has_one_name_and_another_run_another(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    assert unique_name(tmp_path / "a") == unique_name(tmp_path / "a") != unique_name(tmp_path / "b")


def test_every_logger_of_the_core_says_what_it_needs() -> None:
    assert {spec.id for spec in SPECS} == {"tensorboard", "wandb", "trackio"}
    for spec in SPECS:
        assert spec.requires == (spec.id,)
        assert spec.install == f'pip install "selfsup[{spec.id}]"'
        assert hasattr(loggers, spec.target.partition(":")[2])


def test_a_logger_that_is_not_installed_is_refused_with_its_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loggers.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"'wandb' needs wandb, which is not installed: pip install \"selfsup\[wandb\]\""):
        check_loggers(["wandb"])
    with pytest.raises(UnknownIdError, match="tensorboard"):
        check_loggers(["tensorbord"])


def test_a_logger_that_fails_is_named_once_and_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    service = Recorder("trackio")
    monkeypatch.setitem(sys.modules, "trackio", service)
    warnings: list[str] = []
    many = Loggers(["trackio"], tmp_path, {}, 0, warnings.append)

    def fail(metrics: dict[str, float], step: int) -> None:
        raise ConnectionError("no network")

    monkeypatch.setattr(service, "log", fail)
    many.log({"loss": 1.0}, 5)
    many.log({"loss": 1.0}, 6)
    many.close()
    assert warnings == ["Warning: the logger trackio failed at step 5 and is left out from now on: no network"]
