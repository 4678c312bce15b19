"""Figures of pretraining, in the small size that a CPU can train."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from selfsup.data.batches import loader
from speed import peer_loops
from speed.measure import Settings
from speed.pretraining import pretraining_figures
from speed.profiling import PARTS, Profile, peak
from speed.workloads import WORKLOADS

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SELFSUP_CACHE", str(tmp_path))


@pytest.mark.parametrize(("modality", "name"), [("vision", "simclr-resnet18"), ("multimodal", "clip-vit-b-32")])
def test_a_figure_tells_the_share_of_the_peak_and_where_the_time_goes(
    modality: str, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("speed.pretraining.cpu_count", lambda: 1)
    share = loader._DEVICE_SHARE
    figure = pretraining_figures(modality)[name](Settings(repeats=1, steps=4, alone=True, profile=True))
    assert figure.theirs is None
    assert figure.value == figure.ours > 1
    assert "compile=off, first step" in figure.note
    assert all(f"{part} " in figure.note for part in PARTS)
    share_of_peak = float(figure.note.partition("TFLOP/s, ")[2].partition(" %")[0])
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
