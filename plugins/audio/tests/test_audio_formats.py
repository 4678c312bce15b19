"""Files of every format that libsndfile or FFmpeg reads, and messages for the others."""

from __future__ import annotations

import io
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from selfsup.data import load_source
from selfsup.data.sources.columns.segments import Segment
from selfsup.errors import BadRowError
from selfsup.registry import registry
from selfsup_audio.decoding import decode, ffmpeg, read_header
from selfsup_audio.plugin import selfsup_modalities

RATE = 48000
TIMES = np.arange(13 * RATE) / RATE
SWEEP = 0.5 * np.sin(2 * np.pi * (200 + 20 * TIMES) * TIMES)
"""13 s of a rising tone: no two moments are alike."""


def encoded_by_ffmpeg(format: str, codec: str, samples: np.ndarray[Any, Any] = SWEEP, rate: int = RATE) -> bytes:
    """Mono samples in -1..1 as a file."""
    av = pytest.importorskip("av")
    out = io.BytesIO()
    with av.open(out, "w", format=format) as container:
        stream = container.add_stream(codec, rate=rate)
        stream.layout = "mono"
        frame = av.AudioFrame.from_ndarray(samples.reshape(1, -1).astype(np.float32), format="fltp", layout="mono")
        frame.sample_rate, frame.pts, frame.time_base = rate, 0, Fraction(1, rate)
        waiting = av.AudioFifo()
        for part in av.AudioResampler(format=stream.codec_context.format.name, layout="mono", rate=rate).resample(frame):
            waiting.write(part)
        while (part := waiting.read(stream.codec_context.frame_size or 1024)) is not None:
            container.mux(stream.encode(part))
        if waiting.samples:
            container.mux(stream.encode(waiting.read(0, True)))
        container.mux(stream.encode(None))
    return out.getvalue()


@pytest.mark.parametrize(
    ("format", "subtype"),
    [
        ("AIFF", "PCM_16"), ("AIFF", "FLOAT"), ("AU", "PCM_16"), ("AU", "ULAW"), ("CAF", "ALAC_16"), ("W64", "PCM_24"),
        ("RF64", "PCM_16"), ("OGG", "OPUS"), ("VOC", "PCM_16"), ("NIST", "PCM_16"), ("WAV", "PCM_U8"), ("WAV", "MS_ADPCM"),
        ("WAVEX", "PCM_32"), ("FLAC", "PCM_24"),
    ],
)  # fmt: skip
def test_what_libsndfile_writes_is_read(tmp_path: Path, format: str, subtype: str) -> None:
    path = tmp_path / f"tone.{format.lower()}"
    soundfile.write(path, SWEEP[:RATE], RATE, format=format, subtype=subtype)
    waveform = decode(str(path), RATE, 2 * RATE)[:RATE] / 32768
    assert len(waveform) == RATE
    assert np.sqrt(np.mean((waveform - SWEEP[:RATE]) ** 2)) < 0.05


@pytest.mark.parametrize(
    ("format", "codec", "lag"),
    [
        ("ipod", "aac", 0), ("adts", "aac", 1024), ("matroska", "flac", 0), ("webm", "libopus", 0), ("mp4", "alac", 0),
        ("wv", "wavpack", 0),
    ],
)  # fmt: skip
def test_what_only_ffmpeg_reads_is_read_to_the_sample(format: str, codec: str, lag: int) -> None:
    """ADTS does not say how many samples the encoder put in front; the others do."""
    content = encoded_by_ffmpeg(format, codec)
    assert isinstance(ffmpeg.FFmpegReader(io.BytesIO(content)).frames, int)
    header = read_header(content)
    assert header.sample_rate == RATE
    assert header.seconds == pytest.approx(13, abs=0.05)
    waveform = decode(content, RATE, 14 * RATE) / 32768
    inner = slice(RATE, 12 * RATE)
    assert np.sqrt(np.mean((waveform[RATE + lag : 12 * RATE + lag] - SWEEP[inner]) ** 2)) < 0.05
    # Behind ten seconds a place is sought where timestamps count samples; what is decoded there is the same.
    segment = decode(content, RATE, RATE, segment=Segment(11.5, 12.5)) / 32768
    np.testing.assert_allclose(segment, waveform[round(11.5 * RATE) : round(12.5 * RATE)], atol=1e-3)


def test_several_channels_and_another_rate_by_ffmpeg(tmp_path: Path) -> None:
    path = tmp_path / "tone.m4a"
    path.write_bytes(encoded_by_ffmpeg("ipod", "aac", SWEEP[: 2 * RATE]))
    waveform = decode({"bytes": None, "path": str(path)}, 16000, 32000) / 32768
    assert len(waveform) == pytest.approx(32000, abs=400)
    assert np.abs(np.fft.rfft(waveform[:16000])).argmax() == pytest.approx(220, abs=20)


def test_without_pyav_the_message_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    content = encoded_by_ffmpeg("ipod", "aac", SWEEP[:RATE])
    monkeypatch.setattr(ffmpeg, "is_installed", lambda: False)
    with pytest.raises(BadRowError, match=r"not an audio file that libsndfile can read.*pip install 'selfsup-audio\[av\]'"):
        decode(content, RATE, RATE)


def test_a_video_without_sound_says_so(tmp_path: Path) -> None:
    av = pytest.importorskip("av")
    path = tmp_path / "silent.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.width = stream.height = 32
        container.mux(stream.encode(av.VideoFrame.from_ndarray(np.zeros((32, 32, 3), np.uint8), format="rgb24")))
        container.mux(stream.encode(None))
    with pytest.raises(BadRowError, match="the file holds no sound"):
        decode(str(path), RATE, RATE)


def test_files_are_recognised_by_their_suffix(tmp_path: Path) -> None:
    suffixes = (".opus", ".aiff", ".au", ".w64", ".caf", ".m4a", ".aac", ".wma", ".mp4", ".WAV", ".oga")
    for number, suffix in enumerate(suffixes):
        (tmp_path / f"{number}{suffix}").write_bytes(b"x")
    assert len(load_source(str(tmp_path), modality=registry().get("modality", "audio"))) == len(suffixes)
    (modality,) = selfsup_modalities()
    assert len(set(modality.suffixes)) == len(modality.suffixes)
    assert all(suffix.startswith(".") and suffix == suffix.lower() for suffix in modality.suffixes)
    # What holds other things than sound, has no header, or needs a second file is not read.
    formats = set(soundfile.available_formats()) - {"RAW", "MAT4", "MAT5", "SD2", "WAVEX"}
    assert {f".{format.lower()}" for format in formats} <= set(modality.suffixes)


def test_arrays_of_every_type_have_their_scale() -> None:
    for kind in ("uint8", "int8", "int16", "int32", "float16", "float32", "float64"):
        samples = SWEEP[:4800]
        if np.issubdtype(np.dtype(kind), np.integer):
            limits = np.iinfo(kind)
            samples = np.rint((limits.max + limits.min + 1) / 2 + samples * (limits.max - limits.min) / 2)
        waveform = decode({"array": samples.astype(kind), "sampling_rate": RATE}, RATE, RATE) / 32768
        np.testing.assert_allclose(waveform, SWEEP[:4800], atol=0.01)


def test_a_wrong_header_is_a_bad_row_and_takes_no_memory() -> None:
    stream = io.BytesIO()
    soundfile.write(stream, SWEEP[:RATE], RATE, format="WAV")
    content = bytearray(stream.getvalue())
    content[40:44] = (0xFFFFFFF0).to_bytes(4, "little")  # the size of the data: 4 GB
    assert len(decode(bytes(content), RATE, 10 * RATE)) == RATE
    content[24:28] = (0).to_bytes(4, "little")  # the sample rate
    with pytest.raises(BadRowError):
        decode(bytes(content), RATE, RATE)
    content[24:28] = (0x7FFFFFFF).to_bytes(4, "little")
    with pytest.raises(BadRowError, match="2147483647"):
        decode(bytes(content), RATE, RATE)


def test_a_file_of_many_rows_is_scanned_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    av = pytest.importorskip("av")
    path = tmp_path / "long.m4a"
    path.write_bytes(encoded_by_ffmpeg("ipod", "aac", SWEEP[: 4 * RATE]))
    opened, before = [], av.open
    monkeypatch.setattr(av, "open", lambda *given, **options: opened.append(1) or before(*given, **options))
    for start in range(3):
        decode(str(path), RATE, RATE, segment=Segment(start, start + 0.5))
    assert len(opened) == 1 + 3


@pytest.mark.parametrize(("rate", "channels"), [(192_000, 1), (44_100, 6), (8000, 2), (96_000, 8), (100, 1)])
def test_every_rate_and_number_of_channels(rate: int, channels: int) -> None:
    """Only the first channel holds a tone, so the mean of all is the tone at a fraction of its level."""
    stream = io.BytesIO()
    samples = np.zeros((2 * rate, channels))
    samples[:, 0] = 0.5 * np.sin(2 * np.pi * 20 * np.arange(2 * rate) / rate)
    soundfile.write(stream, samples, rate, format="WAV", subtype="FLOAT")
    waveform = decode(stream.getvalue(), 16000, 32000) / 32768
    assert len(waveform) == pytest.approx(32000, abs=2)
    wanted = 0.5 / channels * np.sin(2 * np.pi * 20 * np.arange(len(waveform)) / 16000)
    np.testing.assert_allclose(waveform[8000:24000], wanted[8000:24000], atol=0.01)
