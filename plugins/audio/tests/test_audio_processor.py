import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from datasets import Dataset
from pydantic import ValidationError

from selfsup.data import EpochSampler, Loader, Rows, prepare
from selfsup.errors import ArtifactError, BadRowError, SourceError
from selfsup_audio.decoding import decode, read_header
from selfsup_audio.processor import AudioProcessor, AudioProcessorConfig, auto_rate, auto_seconds


def tone(seconds: float = 0.5, rate: int = 8000, hertz: float = 440.0, level: float = 0.5) -> np.ndarray[Any, Any]:
    return level * np.sin(2 * np.pi * hertz * np.arange(round(seconds * rate)) / rate)


def encoded(samples: np.ndarray[Any, Any], rate: int = 8000, format: str = "WAV", subtype: str | None = None) -> bytes:
    stream = io.BytesIO()
    soundfile.write(stream, samples, rate, format=format, subtype=subtype)
    return stream.getvalue()


def processor(rate: int = 8000, seconds: float = 0.5, **options: Any) -> AudioProcessor:
    return AudioProcessor(AudioProcessorConfig(sample_rate=rate, clip_seconds=seconds, **options))


def test_every_kind_of_value_gives_the_same_waveform(tmp_path: Path) -> None:
    samples = np.round(tone() * 32767).astype(np.int16)
    content = encoded(samples)
    path = tmp_path / "tone.wav"
    path.write_bytes(content)
    values = [
        {"bytes": content, "path": None}, {"bytes": None, "path": str(path)}, content, str(path), path,
        {"array": samples, "sampling_rate": 8000}, {"array": samples.astype(np.int32) * 2**16, "sampling_rate": 8000},
        {"array": samples / 2**15, "sampling_rate": 8000.0}, encoded(samples, format="FLAC"),
        encoded(np.stack([samples, samples], axis=1)),
    ]  # fmt: skip
    batch = processor()([{"audio": value} for value in values])
    assert batch["waveform"].shape == (10, 4000)
    assert batch["waveform"].dtype == torch.int16
    assert batch["length"].tolist() == [4000] * 10
    assert all(torch.equal(each, torch.from_numpy(samples)) for each in batch["waveform"])


@pytest.mark.parametrize(
    ("format", "subtype"), [("OGG", "VORBIS"), ("MP3", "MPEG_LAYER_III"), ("WAV", "PCM_24"), ("WAV", "FLOAT")]
)
def test_files_of_all_formats_are_read(format: str, subtype: str) -> None:
    content = encoded(tone(1.0, 16000), 16000, format, subtype)
    (waveform,) = processor(16000, 0.5)([{"audio": content}])["waveform"].numpy().astype(float)
    spectrum = np.abs(np.fft.rfft(waveform))
    assert spectrum.argmax() == 220  # bins of 2 Hz
    assert np.abs(waveform).max() == pytest.approx(2**14, rel=0.05)


@pytest.mark.parametrize("rate", [8000, 22050, 44100])
def test_resampling_keeps_the_pitch(rate: int) -> None:
    waveform = decode(encoded(tone(0.5, rate), rate), 16000, 8000).astype(float)
    assert abs(len(waveform) - 8000) <= 1
    spectrum = np.abs(np.fft.rfft(waveform, n=8000))
    assert spectrum.argmax() == 220
    inner = waveform[500:7500] - 2**14 * np.sin(2 * np.pi * 440 * np.arange(500, 7500) / 16000)
    assert np.abs(inner).max() < 0.02 * 2**14


def test_what_is_too_high_for_the_new_rate_is_gone_and_not_folded() -> None:
    waveform = decode(encoded(tone(0.5, 44100, hertz=6000), 44100), 8000, 4000)
    assert np.abs(waveform[200:-200]).max() < 0.01 * 2**14


@pytest.mark.parametrize(("cut", "start"), [("center", 500), ("start", 0)])
@pytest.mark.parametrize("form", ["file", "array"])
def test_long_recordings_are_cut(cut: str, start: int, form: str) -> None:
    samples = np.arange(2000, dtype=np.int16)
    value = encoded(samples) if form == "file" else {"array": samples, "sampling_rate": 8000}
    (waveform,) = processor(8000, 0.125, cut=cut)([{"audio": value}])["waveform"]
    assert waveform.tolist() == list(range(start, start + 1000))


def test_short_recordings_are_padded_with_zeros() -> None:
    row = {"audio": encoded(np.full(100, 7, dtype=np.int16))}
    assert [made.encode(row)["waveform"].shape for made in (processor(), processor(keep=1))] == [(4000,)] * 2
    batch = processor()([row])
    assert batch["length"].tolist() == [100]
    assert batch["waveform"][0, :100].tolist() == [7] * 100
    assert batch["waveform"][0, 100:].count_nonzero() == 0


def test_only_the_kept_part_of_a_long_file_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    content, asked = encoded(np.zeros(800_000, dtype=np.int16)), []
    read = soundfile.SoundFile.read

    def counted(self: Any, frames: int = -1, *rest: Any, **options: Any) -> Any:
        asked.append(frames)
        return read(self, frames, *rest, **options)

    monkeypatch.setattr(soundfile.SoundFile, "read", counted)
    assert len(decode(content, 4000, 500)) == 500
    assert asked == [1000]


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (None, "neither bytes nor a path"),
        ({"bytes": None, "path": None}, "neither bytes nor a path"),
        (b"", r"empty \(0 bytes\)"),
        (encoded(np.zeros(0)), r"empty \(0 samples\)"),
        (b"no sound at all", "not an audio file"),
        (encoded(tone())[:30], "not an audio file"),
        ("nowhere.wav", "no such file"),
        (3, "type int is no recording"),
        (np.zeros(10), "no sample rate"),
        ({"array": np.zeros(10), "sampling_rate": None}, "sampling_rate=None"),
        ({"array": np.zeros(0), "sampling_rate": 8000}, r"empty \(0 samples\)"),
        ({"array": np.zeros((2, 3, 4)), "sampling_rate": 8000}, "shape"),
        ({"array": np.zeros((2, 800)), "sampling_rate": 8000}, "shape"),
        ({"array": np.array(["a"]), "sampling_rate": 8000}, "type <U1"),
        ({"array": np.array([0.0, np.nan]), "sampling_rate": 8000}, "not finite"),
        (encoded(np.array([0.0, np.inf]), subtype="FLOAT"), "not finite"),
    ],
    ids=lambda value: type(value).__name__,  # the bytes of a WAV file hold the time of its making
)
def test_what_cannot_be_used_says_why(value: Any, reason: str) -> None:
    with pytest.raises(BadRowError, match=reason):
        processor()([{"audio": value}])


def test_a_wrong_suffix_does_not_matter_but_another_kind_of_file_does(tmp_path: Path) -> None:
    named = tmp_path / "tone.mp3"
    named.write_bytes(encoded(tone()))
    assert read_header(str(named)).frames == 4000
    (tmp_path / "picture.wav").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(100))
    with pytest.raises(BadRowError, match="not an audio file"):
        decode(str(tmp_path / "picture.wav"), 8000, 4000)
    (tmp_path / "empty.wav").touch()
    with pytest.raises(BadRowError, match=r"empty \(0 bytes\)"):
        decode(str(tmp_path / "empty.wav"), 8000, 4000)


def test_a_truncated_file_gives_what_is_left_of_it() -> None:
    content = encoded(np.full(4000, 9, dtype=np.int16))
    assert decode(content[: 44 + 2 * 1000], 8000, 4000).tolist() == [9] * 1000


def test_the_rate_is_the_commonest_and_the_length_holds_nearly_all() -> None:
    assert [auto_rate(rates) for rates in ([8000, 8000, 44100], [8000, 11025], [44100], [100])] == [8000, 11025, 16000, 1000]
    assert auto_seconds([float(second) for second in range(6)]) == pytest.approx(4.75)
    assert [auto_seconds(durations) for durations in ([0.01], [60.0], [])] == [0.25, 10.0, 10.0]


def test_fitting_reads_headers_and_skips_bad_rows() -> None:
    rows = [{"audio": encoded(tone(0.5))}, {"audio": b"broken"}, {"audio": encoded(tone(1.0))}]
    fitted = AudioProcessor().fit(rows)
    assert fitted.info() == {"sample_rate": 8000, "n_samples": 7800}
    with pytest.raises(SourceError, match="no readable recording"):
        AudioProcessor().fit([{"audio": b"broken"}])
    with pytest.raises(SourceError, match="there are no rows"):
        AudioProcessor().fit([])


def test_what_is_given_is_not_chosen() -> None:
    assert processor(4000, 2.0).fit([]).info() == {"sample_rate": 4000, "n_samples": 8000}
    half = AudioProcessor(AudioProcessorConfig(sample_rate=4000)).fit([{"audio": encoded(tone(0.5))}])
    assert half.info() == {"sample_rate": 4000, "n_samples": 2000}


def test_processor_is_saved_and_loaded(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="call fit"):
        AudioProcessor().info()
    with pytest.raises(ArtifactError, match="not a saved audio processor"):
        AudioProcessor.load(tmp_path)
    rows = [{"audio": encoded(tone(0.3))}, {"audio": encoded(tone(0.437))}]
    fitted = AudioProcessor(AudioProcessorConfig(cut="start")).fit(rows)
    fitted.save(tmp_path)
    loaded = AudioProcessor.load(tmp_path)
    assert loaded.info() == fitted.info()
    assert loaded.config == fitted.config
    assert torch.equal(loaded(rows)["waveform"], fitted(rows)["waveform"])
    (tmp_path / "audio_processor.json").write_text('{"config": {}, "sample_rate": 0, "n_samples": 1}')
    with pytest.raises(ArtifactError, match="not a saved audio processor"):
        AudioProcessor.load(tmp_path)


@pytest.mark.parametrize("options", [{"sample_rate": 10}, {"clip_seconds": 0.0}, {"cut": "end"}, {"rate": 8000}])
def test_options_that_cannot_be_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        AudioProcessorConfig(**options)


@pytest.mark.parametrize("cut", ["center", "start"])
@pytest.mark.parametrize("form", ["file", "array"])
@pytest.mark.parametrize("samples", [1001, 9000])
def test_the_embedded_clip_does_not_depend_on_how_much_is_kept(cut: str, form: str, samples: int) -> None:
    ramp = np.arange(samples, dtype=np.int16)
    value = encoded(ramp) if form == "file" else {"array": ramp, "sampling_rate": 8000}
    kept, alone = processor(8000, 0.125, cut=cut), processor(8000, 0.125, cut=cut, keep=1)
    stored = kept.encode({"audio": value})
    assert len(stored["waveform"]) == stored["length"] in (min(samples, 4000), min(samples, 4000) - 1)
    assert len(alone.encode({"audio": value})["waveform"]) == 1000
    whole, clip = kept([{"audio": value}]), alone([{"audio": value}])
    assert torch.equal(whole["waveform"], clip["waveform"])
    assert torch.equal(whole["length"], clip["length"])


@pytest.mark.parametrize(("rate", "sample_rate"), [(44100, 16000), (8000, 16000)])
def test_the_embedded_clip_of_a_resampled_recording_is_the_same_but_for_its_ends(rate: int, sample_rate: int) -> None:
    noise = np.random.default_rng(0).normal(0, 0.1, 3 * rate)
    whole, clip = (processor(sample_rate, 0.5, keep=keep)([{"audio": encoded(noise, rate)}])["waveform"] for keep in (4, 1))
    np.testing.assert_allclose(whole[0, 200:-200], clip[0, 200:-200], atol=1)


def test_training_draws_a_clip_of_a_long_recording_in_every_epoch(tmp_path: Path) -> None:
    lengths = (3000, 1000, 600, 9000)
    listed = [{"audio": {"bytes": encoded(np.arange(n, dtype=np.int16))}} for n in lengths]
    rows = Rows(Dataset.from_list(listed), {"audio": "audio"})
    made = processor(8000, 0.125)
    store = prepare(rows, made, cache_dir=tmp_path)
    starts: list[set[int]] = [set() for _ in lengths]
    for epoch in range(30):
        loader = Loader(store, made, EpochSampler(4, 4, shuffle=False), window_seed=0)
        (batch,) = loader.epoch(epoch)
        assert batch["waveform"].shape == (4, 1000)
        assert batch["length"].tolist() == [1000, 1000, 600, 1000]
        for place, waveform in enumerate(batch["waveform"].tolist()):
            length = min(lengths[place], 1000)
            assert waveform == [*range(waveform[0], waveform[0] + length), *[0] * (1000 - length)]
            starts[place].add(waveform[0])
    assert [len(each) for each in starts[1:3]] == [1, 1]
    assert len(starts[0]) > 25
    assert len(starts[3]) > 25
    assert 2500 <= min(starts[3]) < 3200, "four clips around the middle of 9,000 samples are kept"
    assert 4800 < max(starts[3]) <= 5500


def test_what_is_auto_is_chosen_from_rows_of_all_classes_of_a_sorted_source() -> None:
    short, long = {"audio": encoded(tone(0.5))}, {"audio": encoded(tone(2.0, 4000), 4000)}
    rows = [short] * 300 + [long] * 900
    fitted = AudioProcessor().fit(rows)
    assert (fitted.sample_rate, fitted.n_samples) == (4000, 8000)
    assert (AudioProcessor().fit(iter(rows)).sample_rate) == 8000, "a stream has no other rows than the first"


def test_findings_name_the_options() -> None:
    stereo = encoded(np.stack([tone(1.5), tone(1.5)], axis=1))
    rows = [{"audio": encoded(tone(0.5))}, {"audio": stereo}, {"audio": encoded(tone(), 4000)}]
    facts = AudioProcessor().fit(rows).findings().facts
    assert facts["sample rate"].startswith("8000 Hz; 8000 Hz in 2, 4000 Hz in 1 of 3 recordings (--set")
    assert facts["clips"] == "1.45 s; recordings last 0.5 to 1.5 s (--set processor.clip_seconds=)"
    assert "1 in 2, 2 in 1 of 3 recordings" in facts["channels"]
    assert "full scale" not in facts


def test_the_most_samples_that_are_read_can_be_set() -> None:
    row = {"audio": encoded(tone(1.0, 16000), 16000)}
    assert processor(1000, 0.5, keep=1, max_samples=8000).encode(row)["waveform"].shape == (500,)
    with pytest.raises(BadRowError, match=r"has 8,000 samples, more than 7,999 \(processor\.max_samples\)"):
        processor(1000, 0.5, keep=1, max_samples=7999).encode(row)
