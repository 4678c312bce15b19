from typing import Any

import pytest
import torch
from pydantic import ValidationError

from selfsup_audio.augmentations import AudioViews, AudioViewsConfig, SupervisedAudioViewsConfig

INFO = {"sample_rate": 8000, "n_samples": 4000}
PLAIN: dict[str, Any] = {"mixup": 0.0, "equalizer_db": 0.0, "noise_p": 0.0, "gain_db": 0.0, "speed": (1.0, 1.0)}


def views(recordings: dict[str, torch.Tensor], seed: int = 0, **options: Any) -> list[dict[str, torch.Tensor]]:
    return AudioViews(AudioViewsConfig(**options), INFO)(recordings, torch.Generator().manual_seed(seed))


def test_shapes_and_types(batch) -> None:
    recordings = batch(6)
    made = views(recordings, n_global=2, n_local=3)
    assert [tuple(view["waveform"].shape) for view in made] == [(6, 4000)] * 2 + [(6, 2000)] * 3
    for view in made:
        assert view.keys() == {"waveform", "length", "crop"}
        assert view["waveform"].dtype == torch.float32
        assert view["length"].dtype == torch.long
        assert view["crop"].shape == (6, 1, 2)
        behind = torch.arange(view["waveform"].shape[1]) >= view["length"].unsqueeze(1)
        assert view["waveform"][behind].count_nonzero() == 0
        assert (view["length"] >= 1).all()
        assert (view["length"] <= view["waveform"].shape[1]).all()


def test_plain_views_are_windows_of_the_recording(batch) -> None:
    recordings = batch(6)
    (view,) = views(recordings, n_global=1, **PLAIN)
    source = recordings["waveform"].float() / 32768
    for row, crop, each, length in zip(view["waveform"], view["crop"], source, view["length"], strict=True):
        start = round(float(crop[0, 0]) * 4000)
        assert torch.equal(row[:length], each[start : start + length])
    shares = view["length"] / recordings["length"]
    assert (shares >= 0.59).all()
    assert (shares <= 1).all()
    assert (view["crop"][:, 0, 1] == 1).all()


def test_every_option_changes_the_view(batch) -> None:
    recordings = batch(6)
    (plain,) = views(recordings, n_global=1, **PLAIN)
    changes = {
        "mixup": 0.4,
        "equalizer_db": 6.0,
        "noise_p": 1.0,
        "gain_db": 6.0,
        "speed": (0.9, 1.1),
        "global_share": (0.3, 0.5),
    }
    for name, value in changes.items():
        (changed,) = views(recordings, n_global=1, **{**PLAIN, name: value})
        assert changed["waveform"].shape != plain["waveform"].shape or not torch.equal(changed["waveform"], plain["waveform"])
    loud, soft = (views(recordings, n_global=1, **{**PLAIN, "noise_p": 1.0, "noise_snr": (snr, snr)})[0] for snr in (0.0, 40.0))
    errors = [float((view["waveform"] - plain["waveform"]).std()) for view in (loud, soft)]
    assert errors[0] > 50 * errors[1]


def test_the_same_seed_gives_the_same_views_and_another_gives_others(batch) -> None:
    recordings = batch(6)
    first, second, other = views(recordings, 1), views(recordings, 1), views(recordings, 2)
    assert torch.equal(first[0]["waveform"], second[0]["waveform"])
    assert not torch.equal(first[0]["waveform"], other[0]["waveform"])
    assert not torch.equal(first[0]["waveform"], first[1]["waveform"])


def test_silence_stays_finite_and_a_sample_is_enough() -> None:
    recordings = {"waveform": torch.zeros(4, 4000, dtype=torch.int16), "length": torch.tensor([4000, 1, 2, 100])}
    for view in views(recordings, n_local=1):
        assert torch.isfinite(view["waveform"]).all()
        assert (view["length"] >= 1).all()


def test_one_recording_and_views_of_views(batch) -> None:
    (view, _) = views(batch(1))
    assert view["waveform"].shape == (1, 4000)
    (again,) = views(view, n_global=1)
    assert again["waveform"].shape == (1, 4000)


def test_views_of_long_recordings_are_short() -> None:
    info = {"sample_rate": 8000, "n_samples": 40_000}
    recordings = {"waveform": torch.ones(3, 40_000, dtype=torch.int16), "length": torch.tensor([40_000, 40_000, 4000])}
    shapes = {}
    for seconds in (1.0, 2.5, None, 60.0):
        config = AudioViewsConfig(longest_seconds=seconds, n_local=1)
        made = AudioViews(config, info)(recordings, torch.Generator().manual_seed(0))
        shapes[seconds] = [view["waveform"].shape[1] for view in made]
        assert (made[0]["length"][2] <= 4000 / 0.85 + 1).all()
        assert (made[0]["crop"][:, 0].sum(dim=1) <= 1 + 1.2 * shapes[seconds][0] / 40_000).all()
    assert shapes == {
        1.0: [8000, 8000, 4000],
        2.5: [20_000, 20_000, 10_000],
        None: [40_000, 40_000, 20_000],
        60.0: [40_000, 40_000, 20_000],
    }


def test_supervised_views_are_light(batch) -> None:
    recordings = batch(6)
    config = SupervisedAudioViewsConfig()
    (view,) = AudioViews(config, INFO)(recordings, torch.Generator().manual_seed(0))
    assert (config.n_global, config.mixup, config.noise_p, config.equalizer_db) == (1, 0.0, 0.0, 0.0)
    assert (view["length"] >= 0.85 / 1.05 * recordings["length"] - 2).all()


@pytest.mark.parametrize(
    "options",
    [
        {"global_share": (0.0, 1.0)}, {"global_share": (0.5, 1.1)}, {"speed": (1.2, 0.8)}, {"speed": (0.2, 1.0)},
        {"speed": (1.0, 5.0)}, {"noise_snr": (20.0, 10.0)}, {"mixup": 1.5}, {"n_global": 0},
        {"longest_seconds": 0.0},
    ],
)  # fmt: skip
def test_options_that_cannot_be_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        AudioViewsConfig(**options)


def test_views_of_one_segment_overlap() -> None:
    length = torch.tensor([4000, 4000, 2500, 900] * 50)
    recordings = {"waveform": torch.ones(200, 4000), "length": length}
    options = {**PLAIN, "longest_seconds": 0.125, "n_global": 2}
    starts: list[torch.Tensor] = []
    for same in (True, False):
        first, second = views(recordings, same_segment=same, **options)
        begin = torch.stack([(view["crop"][:, 0, 0] * 4000).round() for view in (first, second)])
        end = begin + torch.stack([first["length"], second["length"]])
        assert (begin >= 0).all()
        assert (end <= length).all()
        apart = (begin.amax(dim=0) >= end.amin(dim=0))[length > 1000]
        if same:
            assert not apart.any()
            assert (end.amax(dim=0) - begin.amin(dim=0) <= 1000).all()
            starts += [begin[0, length == 4000]]
        else:
            assert apart.double().mean() > 0.3
    assert starts[0].min() < 300
    assert starts[0].max() > 2700
