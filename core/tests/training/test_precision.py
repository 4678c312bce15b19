from __future__ import annotations

from typing import Any

import pytest
import torch

from selfsup.errors import ConfigError
from selfsup.runtime import precision


@pytest.mark.parametrize(("speedup", "chosen"), [(5.0, "bf16"), (1.4, "32")])
def test_auto_takes_what_is_faster_on_this_cpu(monkeypatch: pytest.MonkeyPatch, speedup: float, chosen: str) -> None:
    monkeypatch.setattr(precision, "cpu_bf16_speedup", lambda: speedup)
    assert precision.resolve_precision("auto", "cpu") == chosen


@pytest.mark.parametrize(("supported", "chosen"), [(True, "bf16"), (False, "32")])
def test_auto_takes_bf16_on_gpus_that_have_it(monkeypatch: pytest.MonkeyPatch, supported: bool, chosen: str) -> None:
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: supported)
    assert precision.resolve_precision("auto", "cuda") == chosen


@pytest.mark.parametrize("choice", ["32", "bf16"])
def test_what_is_told_is_taken(choice: Any) -> None:
    assert precision.resolve_precision(choice, "cpu") == choice


def test_fp16_needs_a_gpu() -> None:
    with pytest.raises(ConfigError, match="precision 16 needs a CUDA GPU"):
        precision.resolve_precision("16", "cpu")


def test_the_measurement_is_positive_kept_and_draws_nothing() -> None:
    before = torch.get_rng_state()
    speedup = precision.cpu_bf16_speedup()
    assert speedup > 0
    assert precision.cpu_bf16_speedup() == speedup
    assert torch.equal(torch.get_rng_state(), before)
