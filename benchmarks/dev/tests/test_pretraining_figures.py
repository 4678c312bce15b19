"""Figures of pretraining, in the small size that a CPU can train."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
import torch

from selfsup.data.batches import loader
from selfsup.training.loop.trainer import Trainer
from speed.measure import Settings, Stretches
from speed.pretraining import figure, peer_loops
from speed.pretraining.figure import pretraining_figures
from speed.pretraining.profiling import PARTS, Profile, peak
from speed.pretraining.workloads import WORKLOADS

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SELFSUP_CACHE", str(tmp_path))


@pytest.mark.parametrize(("modality", "name"), [("vision", "simclr-resnet18"), ("multimodal", "clip-vit-b-32")])
def test_a_figure_tells_the_share_of_the_peak_and_where_the_time_goes(
    modality: str, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("speed.pretraining.figure.cpu_count", lambda: 1)
    share = loader._DEVICE_SHARE
    (found,) = pretraining_figures(modality)[name](Settings(repeats=1, steps=4, alone=True, profile=True))
    assert found.theirs is None
    assert found.value == found.ours > 1
    assert found.name == name
    assert "compile=off" in found.what
    assert "compile=off, first step" in found.note
    assert all(f"{part} " in found.note for part in PARTS)
    share_of_peak = float(found.note.partition("TFLOP/s, ")[2].partition(" %")[0])
    assert 0 <= share_of_peak < 100
    assert share == loader._DEVICE_SHARE


def test_the_parts_of_a_profile_add_up(monkeypatch: pytest.MonkeyPatch) -> None:
    from selfsup.training.loop.stepper import Stepper

    own = {name: getattr(Stepper, name) for name in ("take", "backward", "_forward")}
    profile = Profile("cpu")
    assert profile.shares() == {}
    with profile.measuring():
        assert all(getattr(Stepper, name) is not method for name, method in own.items())
    assert all(getattr(Stepper, name) is method for name, method in own.items())
    assert peak("cpu") > 1e6


def _peers() -> list[tuple[str, str, Callable[..., float]]]:
    needs = {"lightly_simclr": "lightly", "trainer_mlm": "accelerate", "open_clip_pairs": "open_clip"}
    works = [work for make in WORKLOADS.values() for work in make(True) if work.peer is not None]
    first = {work.peer: work for work in reversed(works)}
    return [(work.name, needs.get(peer.__name__, "transformers"), peer) for peer, work in first.items() if peer is not None]


@pytest.mark.parametrize(("name", "needed", "peer"), _peers(), ids=lambda value: value if isinstance(value, str) else "")
def test_the_loops_of_the_peers_train(
    name: str, needed: str, peer: Callable[..., float], monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip(needed, reason=f"needs {needed}")
    import numpy as np

    monkeypatch.setattr(peer_loops, "cores", lambda: 1)
    stepped: list[int] = []
    monkeypatch.setattr(peer_loops, "bf16", lambda device: stepped.append(1) or torch.autocast(device, torch.bfloat16))
    work = next(work for make in WORKLOADS.values() for work in make(True) if work.name == name)
    options = dict(work.peer_options)
    if peer is peer_loops.trainer_mlm:
        info = {"vocab_size": 50, "pad_id": 0, "unk_id": 1, "cls_id": 2, "sep_id": 3, "mask_id": 4}
        options |= {"blocks": (np.arange(20 * 14).reshape(20, 14) % 45 + 5).astype(np.int32), "info": info}
    assert peer(device="cpu", **options) > 0
    assert len(stepped) == (0 if peer is peer_loops.trainer_mlm else 6)


def test_timing_leaves_the_first_steps_out() -> None:
    taken: list[int] = []
    rate = peer_loops.timed(iter(range(100)), taken.append, steps=10, batch=4, device="cpu")
    assert taken == list(range(10))
    assert rate > 7 * 4


def test_both_settings_of_the_compiler_are_measured_and_named(monkeypatch: pytest.MonkeyPatch) -> None:
    assert figure.compilers(Settings(device="cuda")) == ["off", "inductor"]
    assert figure.compilers(Settings(device="cuda", compile="eager")) == ["eager"]
    assert figure.compilers(Settings()) == ["off"]
    monkeypatch.setattr(figure, "cpu_count", lambda: 1)
    monkeypatch.setattr(figure, "compilers", lambda settings: ["off", "eager"])
    monkeypatch.setattr(figure, "_operations", lambda *_: 1e6)
    measured: list[str] = []

    def our_speed(*_: object, compiled: str, **options: object) -> tuple[float, float]:
        measured.append(compiled)
        return (10.0 if compiled == "off" else 20.0), 1.5

    monkeypatch.setattr(figure, "_our_speed", our_speed)
    plain, compiled = pretraining_figures("vision")["simclr-resnet18-256-read"](Settings(repeats=2, steps=4, alone=True))
    assert measured == ["off", "eager", "off", "eager"]
    assert (plain.ours, compiled.ours) == (10.0, 20.0)
    assert (plain.name, compiled.name) == ("simclr-resnet18-256-read", "simclr-resnet18-256-read-eager")
    assert "batches read by threads, compile=off" in plain.what
    assert "batches read by threads, compile=eager" in compiled.what
    assert "compile=eager, first step" in compiled.note


@pytest.mark.parametrize("steps", [24, 4])
def test_both_sides_are_timed_over_the_same_stretches(monkeypatch: pytest.MonkeyPatch, steps: int) -> None:
    now = [0.0]
    monkeypatch.setattr("speed.measure.time.perf_counter", lambda: now[0])
    stretches = Stretches("cpu", steps=steps, batch=5)
    for step in range(1, steps + 1):
        now[0] += 100.0 if step <= steps // 4 else 0.5  # the first steps take longer
        now[0] += 30.0 if step == steps - 2 and steps > 4 else 0.0  # once another program is in the way
        stretches.ended(step)
    assert stretches.rate() == pytest.approx(10.0)


def test_waiting_is_the_wait_for_a_batch_and_not_for_logs_and_checks(monkeypatch: pytest.MonkeyPatch) -> None:
    from selfsup.training.observe.journal import Journal

    own, now = Journal.record, [0.0]

    def slow(self: Journal, *args: object) -> None:
        now[0] += 60.0
        own(self, *args)  # type: ignore[arg-type]

    def read(self: object, batches: Iterable[Any], stop: object) -> Iterator[Any]:
        for batch in batches:
            now[0] += 0.25
            yield batch

    monkeypatch.setattr(Journal, "record", slow)
    monkeypatch.setattr(Trainer, "_given", read)
    monkeypatch.setattr(figure, "cpu_count", lambda: 1)
    work = next(work for work in WORKLOADS["vision"](True) if work.name == "simclr-resnet18")
    profile = Profile("cpu")
    monkeypatch.setattr(profile, "_clock", lambda: now[0])
    with TemporaryDirectory() as folder, profile.measuring():
        figure._pretrain(work, work.data(Path(folder)), Path(folder) / "run", steps=4, device="cpu", compiled="off")
    assert profile.shares() == {**dict.fromkeys(PARTS, 0.0), "waiting for input": 250.0}
    assert now[0] > 4 * 60
