from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from pydantic import ValidationError

from selfsup.data import load_source, prepare
from selfsup.data.batches.windows import read_windows
from selfsup.data.store.format import Store
from selfsup.data.store.writer import StoreWriter
from selfsup.errors import ArtifactError, SourceError, TooManyBadRowsError
from selfsup.registry import registry
from selfsup_images.processor import auto_size
from selfsup_video.processor import VideoProcessor, VideoProcessorConfig


def array(n: int = 40, side: int = 24) -> np.ndarray:
    return np.arange(n, dtype=np.uint8)[:, None, None, None].repeat(side, 1).repeat(side + 8, 2).repeat(3, 3) * 6


def processor(**options) -> VideoProcessor:
    return VideoProcessor(VideoProcessorConfig(**{"frames": 4, "image_size": 16, **options}))


def test_a_batch_holds_clips_joined_along_time() -> None:
    batch = processor(clips=2)([{"video": array()}, {"video": array(5)}])
    assert batch["video"].shape == (2, 8, 3, 16, 16)
    assert batch["video"].dtype == torch.uint8
    assert (batch["video"][:, :, 0, 0, 0] // 6).tolist() == [[0, 2, 4, 6, 33, 35, 37, 39], [0, 1, 2, 3, 1, 2, 3, 4]]
    assert set(batch) == {"video"}


def test_info_and_the_size_that_is_found() -> None:
    fitted = VideoProcessor().fit([{"video": array(3, side)} for side in (20, 40, 400)] + [{"video": b"no"}])
    assert fitted.info() == {"frames": 16, "clips": 1, "image_size": 40, "channels": 3}
    sizes = {3: 16, 16: 16, 64: 64, 65: 64, 79: 64, 80: 80, 111: 96, 112: 112, 4000: 112}
    assert [auto_size([side], *VideoProcessor.auto_sizes) for side in sizes] == list(sizes.values())


def test_fit_reads_at_most_64_rows_and_needs_one(make_video) -> None:
    seen = 0

    def rows():
        nonlocal seen
        while True:
            seen += 1
            yield {"video": b"bad" if seen % 2 else make_video(frames=2)}

    assert VideoProcessor().fit(rows()).info()["image_size"] == 48
    assert seen == 64
    with pytest.raises(SourceError, match=r"no readable video among the 1 rows that were tried .*Invalid data"):
        VideoProcessor().fit([{"video": b"bad"}])
    with pytest.raises(ValueError, match="has not been fitted"):
        VideoProcessor().info()


def test_processor_is_saved_and_loaded(tmp_path) -> None:
    fitted = VideoProcessor(VideoProcessorConfig(frames=8, clips=3)).fit([{"video": array()}])
    fitted.save(tmp_path)
    again = VideoProcessor.load(tmp_path)
    assert again.info() == fitted.info()
    assert again.config == fitted.config
    next(tmp_path.iterdir()).write_text("{}")
    with pytest.raises(ArtifactError, match="not a saved video processor"):
        VideoProcessor.load(tmp_path)


def test_sizes_out_of_range_are_refused() -> None:
    with pytest.raises(ValidationError, match=r"16\.\.1024"):
        VideoProcessorConfig(image_size=8)
    with pytest.raises(ValidationError):
        VideoProcessorConfig(frames=0)


@pytest.fixture
def clips(tmp_path, make_video) -> Path:
    """Videos and folders of frames in two classes, with one broken file."""
    for number in range(3):
        (tmp_path / "clips/still").mkdir(parents=True, exist_ok=True)
        (tmp_path / f"clips/still/{number}.mp4").write_bytes(make_video(frames=6))
        frames = tmp_path / f"clips/moving/take{number}"
        frames.mkdir(parents=True)
        for frame in range(6):
            Image.new("RGB", (30, 20), (40 * frame, 0, 0)).save(frames / f"{frame}.png")
    (tmp_path / "clips/still/broken.avi").write_bytes(b"RIFF....")
    return tmp_path / "clips"


def test_a_folder_of_videos_and_of_frames_is_prepared_and_the_broken_file_named(clips, tmp_path) -> None:
    rows = load_source(str(clips), modality=registry().modalities["video"])
    assert len(rows) == 7
    assert rows.class_names == ("moving", "still")
    store = prepare(rows.without_labels(), processor(), max_bad_rows=0.2, cache_dir=tmp_path / "cache")
    assert len(store) == 6
    video = processor().collate(store.read(np.arange(6)))["video"]
    assert video.shape == (6, 4, 3, 16, 16)
    assert video[0, :, 0, 0, 0].tolist() == [40, 80, 120, 160]
    with pytest.raises(TooManyBadRowsError, match=r"still/broken\.avi.*cannot be read"):
        prepare(rows.without_labels(), processor(), cache_dir=tmp_path / "other")


def test_a_short_video_says_how_many_of_its_frames_are_real() -> None:
    made = processor(frames=8)
    batch = made([{"video": array(n)} for n in (3, 8, 40)])
    assert batch["video"].shape == (3, 8, 3, 16, 16)
    assert batch["length"].tolist() == [3, 8, 8]
    assert made([{"video": array(n)} for n in (8, 40)]).keys() == {"video"}
    assert processor(frames=8, clips=3)([{"video": array(3)}])["length"].tolist() == [3]
    assert made([{"video": array(1)}])["video"].shape == (1, 8, 3, 16, 16)


def test_a_part_of_a_long_video_is_stored_and_its_middle_embedded(tmp_path: Path) -> None:
    frames = np.arange(200, dtype=np.uint8)[:, None, None, None].repeat(16, 1).repeat(16, 2).repeat(3, 3)
    made, once = processor(frames=8), processor(frames=8, keep=1)
    stored = made.encode({"video": frames})["video"][:, 0, 0, 0]
    assert stored.tolist() == list(range(68, 132, 2)), "four clips of 8 at a stride of 2, around the middle"
    embedded = [each([{"video": frames}])["video"][0, :, 0, 0, 0].tolist() for each in (made, once)]
    assert embedded == [list(range(92, 108, 2))] * 2
    writer = StoreWriter(tmp_path)
    for number in range(4):
        writer.add(number, made.encode({"video": frames}))
    writer.finish(source_rows=4, bad_rows=[], fingerprint="f", processor="p")
    store = Store(tmp_path)
    firsts = set()
    for epoch in range(12):
        video = made.collate(read_windows(store, made, np.arange(4), (0, epoch)))["video"][:, :, 0, 0, 0]
        assert bool((video.long().diff(dim=1) == 2).all())
        firsts |= set(video[:, 0].tolist())
    assert len(firsts) > 12
    assert min(firsts) >= 68
    assert max(firsts) <= 116


def test_the_size_is_chosen_from_rows_of_all_classes_of_a_sorted_source() -> None:
    rows = [{"video": array(2, side=16)}] * 100 + [{"video": array(2, side=48)}] * 300
    assert VideoProcessor().fit(rows).image_size == 48
    assert VideoProcessor().fit(iter(rows)).image_size == 16, "a stream has no other rows than the first"


def test_findings_name_the_options(make_video) -> None:
    fitted = VideoProcessor().fit([{"video": make_video(frames=20)}, {"video": array(50, side=32)}])
    facts = fitted.findings().facts
    assert facts["image size"] == "40 pixels; shorter sides of 32 to 48 (--set processor.image_size=)"
    assert "videos have 20 to 50 frames, 1 of 2 too few for the stride" in facts["clips"]
    assert facts["frame rate"] == "10 to 10 a second; a clip lasts 3.1 to 3.1 s"
    assert fitted.findings().warnings == []
