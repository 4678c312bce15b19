import numpy as np
import pytest

from selfsup.data import CurvePreview
from selfsup_audio.processor import AudioProcessor, AudioProcessorConfig


def shown(samples: np.ndarray, **options: object) -> tuple[float, ...]:
    config = AudioProcessorConfig.model_validate({"sample_rate": 1000, "clip_seconds": 1.0, **options})
    (preview,) = AudioProcessor(config).preview({"audio": {"array": samples, "sampling_rate": 1000}})
    assert isinstance(preview, CurvePreview)
    return preview.values


def test_a_waveform_is_shown_by_its_lowest_and_highest_values() -> None:
    values = shown(np.repeat([0.5, -0.25], 600), clip_seconds=1.2)
    assert len(values) == 120
    assert values[:60] == pytest.approx([0.5] * 60, abs=1e-3)
    assert values[60:] == pytest.approx([-0.25] * 60, abs=1e-3)


def test_filling_is_not_shown_and_of_long_recordings_the_embedded_clip_is() -> None:
    assert shown(np.full(240, 0.5)) == pytest.approx([0.5] * 120, abs=1e-3)
    long = np.concatenate([np.zeros(1000), np.full(1000, 0.5), np.zeros(1000)])
    assert shown(long, keep=3) == pytest.approx([0.5] * 120, abs=1e-3)
