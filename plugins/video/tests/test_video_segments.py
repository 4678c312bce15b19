"""Rows that are a part of a video, from when to when in seconds."""

from __future__ import annotations

import io
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pandas as pd
import pytest

from selfsup.artifacts import Encoder
from selfsup.data import Rows, load_source, prepare
from selfsup.errors import BadRowError
from selfsup.registry import registry
from selfsup_video.processor import VideoProcessor, VideoProcessorConfig

CUTS = [(0.0, 1.0), (1.2, 3.4), (3.0, 6.0), (5.9, 6.0)]
"""Seconds of a video of 60 frames at 10 a second."""


def lossless(first: int, last: int, format: str = "matroska", codec: str = "ffv1", begin: int = 0) -> bytes:
    """Losslessly encoded frames of noise, in a file whose first frame is shown at frame ``begin``."""
    out = io.BytesIO()
    with av.open(out, "w", format=format) as container:
        stream = container.add_stream(codec, rate=10)
        stream.width, stream.height, stream.pix_fmt = 40, 32, "yuv420p"
        for number in range(first, last):
            pixels = np.random.default_rng(number).integers(0, 256, (32, 40, 3), dtype=np.uint8)
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24").reformat(format="yuv420p")
            frame.pts, frame.time_base = number - first + begin, Fraction(1, 10)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return out.getvalue()


@pytest.fixture
def long(tmp_path: Path) -> Path:
    """A video of 6 s, files that hold its parts, and a table of them."""
    (tmp_path / "long.mkv").write_bytes(lossless(0, 60))
    (tmp_path / "cut").mkdir()
    for place, (start, end) in enumerate(CUTS):
        (tmp_path / "cut" / f"{place}.mkv").write_bytes(lossless(round(10 * start), round(10 * end)))
    table = pd.DataFrame({"video": "long.mkv", "offset": [cut[0] for cut in CUTS], "duration": [b - a for a, b in CUTS]})
    table.to_csv(tmp_path / "manifest.csv", index=False)
    return tmp_path


def rows_of(source: Any, **options: Any) -> Rows:
    return load_source(str(source), modality=registry().get("modality", "video"), **options)


def test_segments_give_what_the_cut_files_give(long: Path) -> None:
    rows, files = rows_of(long / "manifest.csv"), rows_of(long / "cut")
    assert set(rows.columns) == {"video", "offset", "duration"}
    assert "videos have 1 to 30 frames" in VideoProcessor().fit(rows).findings().facts["clips"]
    for options in ({"frames": 4}, {"frames": 8, "stride": 1}, {"frames": 4, "clips": 2}, {"frames": 16}):
        processor = VideoProcessor(VideoProcessorConfig(image_size=16, **options))
        for row, file in zip(rows, files, strict=True):
            cut, whole = processor.encode(row), processor.encode(file)
            np.testing.assert_array_equal(cut["video"], whole["video"])
            assert cut["length"] == whole["length"]


def test_embeddings_of_segments_are_those_of_the_cut_files(long: Path) -> None:
    processor = VideoProcessor(VideoProcessorConfig(image_size=16, frames=4))
    backbone, options = registry().build_backbone("conv3d-small", {"stages": 2}, processor.info())
    encoder = Encoder(processor, backbone, backbone_id="conv3d-small", backbone_options=options)
    embeddings = [encoder.embed(rows_of(long / source)) for source in ("manifest.csv", "cut")]
    np.testing.assert_allclose(*embeddings, atol=1e-6)
    assert np.abs(embeddings[0] - embeddings[0][:1]).max() > 1e-3


@pytest.mark.parametrize(("format", "codec"), [("avi", "ffv1"), ("mp4", "mpeg4"), ("gif", "gif"), ("matroska", "libx264")])
def test_times_are_counted_from_the_first_frame_in_every_container(format: str, codec: str) -> None:
    if codec == "gif":
        out = io.BytesIO()
        with av.open(out, "w", format="gif") as container:
            stream = container.add_stream("gif", rate=10)
            stream.width, stream.height, stream.pix_fmt = 40, 32, "gray"
            for number in range(60):
                frame = av.VideoFrame.from_ndarray(np.full((32, 40), 4 * number, np.uint8), format="gray")
                frame.pts, frame.time_base = number, Fraction(1, 10)
                container.mux(stream.encode(frame))
            container.mux(stream.encode(None))
        content = out.getvalue()
    else:
        content = lossless(0, 60, format, codec, begin=0 if format == "avi" else 25)
    processor = VideoProcessor(VideoProcessorConfig(image_size=16, frames=60, stride=1, keep=1))
    whole = processor.encode({"video": content})["video"]
    part = processor.encode({"video": content, "start": 2.0, "end": 5.0})
    assert part["length"] == 30
    np.testing.assert_array_equal(part["video"][:30], whole[20:50])


def test_segments_outside_the_file_are_bad_rows(long: Path) -> None:
    spans = [(0, 1), (5.5, 6.05), (5, 7), (6.5, 7), (2, 1), (3.01, 3.02)]
    table = pd.DataFrame({"video": "long.mkv", "start": [a for a, _ in spans], "end": [b for _, b in spans]})
    table.to_csv(long / "outside.csv", index=False)
    store = prepare(rows_of(long / "outside.csv"), VideoProcessor(VideoProcessorConfig(image_size=16)), max_bad_rows=0.5)
    assert store.kept.tolist() == [0, 1, 5]
    name = "row 2 (long.mkv, start 5.0, end 7.0)"
    assert store.bad_rows[0][1] == f"{name}: its segment of 5 to 7 s is outside the video, which has 6 s"


def test_single_frames_have_no_times() -> None:
    with pytest.raises(BadRowError, match="single frames have no times"):
        VideoProcessor(VideoProcessorConfig(image_size=16)).encode({"video": np.zeros((8, 16, 16), np.uint8), "start": 1.0})


def test_files_are_recognised_by_their_suffix(tmp_path: Path) -> None:
    suffixes = (".m4v", ".mpg", ".mpeg", ".ts", ".mts", ".flv", ".wmv", ".3gp", ".ogv", ".MOV", ".gif", ".mxf")
    for number, suffix in enumerate(suffixes):
        (tmp_path / f"{number}{suffix}").write_bytes(b"x")
    assert len(rows_of(tmp_path)) == len(suffixes)


def test_a_file_of_many_rows_is_scanned_once(long: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened, before = [], av.open
    monkeypatch.setattr(av, "open", lambda *given, **options: opened.append(1) or before(*given, **options))
    processor = VideoProcessor(VideoProcessorConfig(image_size=16, frames=4))
    for start in range(3):
        processor.encode({"video": str(long / "long.mkv"), "start": start, "end": start + 1})
    assert len(opened) == 1 + 3
