from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from selfsup.errors import BadRowError
from selfsup_video.decoding import decode, read_header
from selfsup_video.decoding.frames import FRAME_SUFFIXES, frame_paths
from selfsup_video.plugin import selfsup_modalities


def clip(n: int = 12, height: int = 40, width: int = 48) -> np.ndarray:
    frames = np.zeros((n, height, width, 3), dtype=np.uint8)
    frames[:] = (np.arange(n) * 20)[:, None, None, None]
    return frames


def folder_of(frames: np.ndarray, path: Path) -> Path:
    path.mkdir(parents=True)
    for number, frame in enumerate(frames):
        Image.fromarray(frame).save(path / f"frame{number}.png")
    (path / "notes.txt").write_text("not a frame")
    (path / ".hidden.png").write_text("neither")
    return path


def every(n):
    return np.arange(n)


def test_folders_arrays_and_lists_give_the_same_frames(tmp_path) -> None:
    frames = clip()
    folder = folder_of(frames, tmp_path / "clip")
    assert [path.name for path in frame_paths(folder)] == [f"frame{number}.png" for number in range(12)]  # 2 before 10
    np.save(tmp_path / "clip.npy", frames)
    values = [
        tmp_path / "clip.npy", {"bytes": (tmp_path / "clip.npy").read_bytes(), "path": None},
        frames, frames[..., :1], frames[..., 0], frames.astype(np.float32) / 255, folder, str(folder), list(frames),
        {"bytes": None, "path": folder}, [Image.fromarray(frame) for frame in frames], frame_paths(folder),
        [path.read_bytes() for path in frame_paths(folder)],
    ]  # fmt: skip
    for value in values:
        video = decode(value, 20, every)
        assert video.shape == (12, 3, 20, 20)
        assert video[:, 0, 5, 5].tolist() == [20 * number for number in range(12)]
        assert read_header(value).shorter_side == 40


def test_only_the_wanted_frames_are_read(tmp_path) -> None:
    folder = folder_of(clip(), tmp_path / "clip")
    (folder / "frame5.png").write_bytes(b"damaged")
    video = decode(folder, 16, lambda n: np.array([0, 4, 4, 11]))
    assert video[:, 0, 0, 0].tolist() == [0, 80, 80, 220]
    with pytest.raises(BadRowError, match="frame 5 cannot be read"):
        decode(folder, 16, every)


def test_the_frame_suffixes_are_those_of_the_modality() -> None:
    assert selfsup_modalities()[0].frame_suffixes == FRAME_SUFFIXES


def test_bad_frames_say_why(tmp_path) -> None:
    (tmp_path / "empty").mkdir()
    deep = tmp_path / "deep"
    deep.mkdir()
    Image.fromarray(np.full((8, 8), 4000, dtype=np.uint16)).save(deep / "0.png")
    (tmp_path / "damaged.npy").write_bytes(b"\x93NUMPY\x01\x00 and an end")
    bad = {
        "holds no frames": tmp_path / "empty",
        r"more than 8 bits a channel \(Pillow's mode I.*convert all frames to 8 bits": deep,
        "the npy file cannot be read": tmp_path / "damaged.npy",
        r"shape \(4, 4\) is no video": np.zeros((4, 4), dtype=np.uint8),
        r"shape \(2, 4, 4, 7\) is no video": np.zeros((2, 4, 4, 7), dtype=np.uint8),
        r"shape \(0, 4, 4, 3\) is no video": np.zeros((0, 4, 4, 3), dtype=np.uint8),
        "type int64": np.zeros((2, 4, 4), dtype=np.int64),
        "not finite": np.full((2, 4, 4), np.nan),
        r"must be in 0..1; this one spans 0..9": np.arange(10.0).reshape(1, 2, 5),
        "list of frames is empty": [],
        "frame 0 cannot be read": [b"no image"],
    }
    for message, value in bad.items():
        with pytest.raises(BadRowError, match=message):
            decode(value, 16, every)
    with pytest.raises(BadRowError, match="frame 0 cannot be read"):
        read_header([b"no image"])
