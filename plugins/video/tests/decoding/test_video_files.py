import io
import struct
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from selfsup.errors import BadRowError
from selfsup_video.clips import clip_indices
from selfsup_video.decoding import decode, files, read_header

CONTAINERS = {
    "mp4": {},
    "mov": {"format": "mov"},
    "mkv": {"format": "matroska"},
    "avi": {"format": "avi", "codec": "mjpeg", "pixel_format": "yuvj420p"},
    "avi-b-frames": {"format": "avi", "codec": "libx264"},
    "webm": {"format": "webm", "codec": "libvpx"},
    "gif": {"format": "gif", "codec": "gif", "pixel_format": "rgb8"},
    "apng": {"format": "apng", "codec": "apng", "pixel_format": "rgb24"},
}


def numbers(video):
    """Numbers of the frames, read from the greys of their lower half."""
    half = video.shape[-1] // 2
    left, right = video[:, :, half:, 2 : half - 2], video[:, :, half:, half + 2 : -2]
    sixteens, ones = ((part.mean(axis=(1, 2, 3)) / 16).round().astype(int) for part in (left, right))
    return (16 * sixteens + ones).tolist()


def fixed(*wanted):
    return lambda n: np.array(wanted)


@pytest.mark.parametrize("name", CONTAINERS)
@pytest.mark.filterwarnings("ignore")
def test_every_container_gives_the_wanted_frames(make_video, name):
    content = make_video(**CONTAINERS[name])
    seen = []

    def choose(n):
        seen.append(n)
        return np.array([2, 3, 19, 39, 39])

    video = decode(content, 32, choose)
    assert seen == [40]
    assert video.shape == (5, 3, 32, 32)
    assert numbers(video) == [2, 3, 19, 39, 39]
    assert read_header(content).shorter_side == 48


def test_every_kind_of_value_gives_the_same_video_and_converts_only_the_wanted_frames(make_video, tmp_path, monkeypatch):
    content = make_video()
    path = tmp_path / "a video.mp4"
    path.write_bytes(content)
    wanted, converted, plain = fixed(0, 5, 5, 30), [], files._square
    monkeypatch.setattr(files, "_square", lambda *arguments: converted.append(1) or plain(*arguments))
    first = decode(content, 24, wanted)
    assert len(converted) == 3
    for value in ({"bytes": content, "path": None}, {"bytes": None, "path": str(path)}, path, str(path), bytearray(content)):
        np.testing.assert_array_equal(decode(value, 24, wanted), first)


def test_seeking_to_key_frames_changes_no_frame_and_saves_decoding(make_video, monkeypatch):
    content = make_video(frames=240, key_every=10, size=(32, 32))
    wanted = fixed(*clip_indices(240, 4, 2, 3))
    monkeypatch.setattr(files, "_WORTH_A_SEEK", 10**9)
    slow, decoded_slow = _counted(content, wanted, monkeypatch)
    monkeypatch.setattr(files, "_WORTH_A_SEEK", 16)
    fast, decoded_fast = _counted(content, wanted, monkeypatch)
    np.testing.assert_array_equal(fast, slow)
    assert numbers(fast) == [0, 2, 4, 6, 116, 118, 120, 122, 233, 235, 237, 239]
    assert decoded_slow == 240
    assert decoded_fast < 60


def _counted(content, wanted, monkeypatch):
    """The video, and how many frames were decoded for it."""
    count = 0
    plain = files._frames

    def counted(*arguments):
        nonlocal count
        for item in plain(*arguments):
            count += 1
            yield item

    with monkeypatch.context() as patch:
        patch.setattr(files, "_frames", counted)
        return decode(content, 32, wanted), count


def test_a_seek_that_fails_changes_nothing(make_video):
    cut = make_video("matroska", frames=200, key_every=10)
    cut = cut[: len(cut) * 9 // 10]  # without its index
    lengths = []

    def choose(n):
        lengths.append(n)
        return np.array([0, n // 2, n - 1])

    video = decode(cut, 32, choose)
    assert 150 < lengths[0] < 200
    assert numbers(video) == [0, lengths[0] // 2, lengths[0] - 1]


def test_frames_are_upright_as_the_file_says(make_video):
    content = bytearray(make_video(size=(48, 48), frames=2))
    place = content.index(b"tkhd") + 4 + 40  # behind version, times, id, duration, layer, volume: the matrix
    assert struct.unpack_from(">9i", content, place) == (0x10000, 0, 0, 0, 0x10000, 0, 0, 0, 0x40000000)
    corners = {}
    for degrees, (a, b, c, d) in {0: (1, 0, 0, 1), 90: (0, 1, -1, 0), 180: (-1, 0, 0, -1), 270: (0, -1, 1, 0)}.items():
        struct.pack_into(">9i", content, place, a << 16, b << 16, 0, c << 16, d << 16, 0, 0, 0, 0x40000000)
        red = decode(bytes(content), 32, fixed(0))[0].astype(int)
        y, x = np.nonzero(red[0] - red[1] > 100)
        corners[degrees] = ("above" if y.mean() < 16 else "below", "left" if x.mean() < 16 else "right")
    # The matrix of a phone held upright turns clockwise.
    assert corners == {0: ("above", "left"), 90: ("above", "right"), 180: ("below", "right"), 270: ("below", "left")}


def test_pixels_that_are_not_square_are_stretched(make_video):
    content = make_video(size=(32, 64), aspect=Fraction(2, 1))
    assert read_header(content).shorter_side == 64
    red = decode(content, 64, fixed(0))[0].astype(int)
    y, x = np.nonzero(red[0] - red[1] > 100)
    assert abs(y.max() - 15) <= 1
    assert abs(x.max() - 15) <= 1


def test_the_shorter_side_is_resized_and_the_centre_cut(make_video):
    for size in ((96, 34), (34, 96)):
        assert decode(make_video(size=size, frames=2), 17, fixed(1)).shape == (1, 3, 17, 17)
    odd = decode(make_video(format="apng", codec="apng", pixel_format="rgb24", size=(51, 33), frames=2), 33, fixed(1))
    # The red corner is 12 pixels wide; 9 of them are outside the centre.
    red = odd[0, 0].astype(int) - odd[0, 1] > 100
    assert red[0].sum() == 3
    assert red[:, 0].sum() == 8


def sound_only():
    out = io.BytesIO()
    with av.open(out, "w", format="wav") as container:
        stream = container.add_stream("pcm_s16le", rate=8000, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 800), dtype=np.int16), format="s16", layout="mono")
        frame.sample_rate = 8000
        container.mux(stream.encode(frame))
    return out.getvalue()


def test_a_broken_file_says_why(make_video):
    good = make_video()
    bad = {
        "0 bytes": b"",
        "Invalid data": b"this is no video at all" * 20,
        "cannot be read": good[: len(good) // 2],
        "no video stream": sound_only(),
        "neither bytes nor a path": {"bytes": None, "path": None},
        "no such file": "/nonexistent/video.mp4",
        "type float is no video": 3.5,
        "no frame": make_video("matroska")[:700],
    }
    for message, value in bad.items():
        with pytest.raises(BadRowError, match=message):
            decode(value, 32, fixed(0))


def test_a_title_that_is_not_utf8_does_no_harm(make_video):
    content = make_video(frames=2, title="XXXXXXXX").replace(b"XXXXXXXX", b"caf\xe9\xff\xfe\xe9X")
    assert b"caf\xe9" in content
    assert len(decode(content, 16, fixed(0, 1))) == 2


def test_damage_within_the_stream_is_found(make_video):
    content = bytearray(make_video(codec="mjpeg", format="avi", pixel_format="yuvj420p"))
    start = content.index(b"\xff\xd8\xff", len(content) // 2)
    content[start : start + 400] = bytes(400)
    with pytest.raises(BadRowError, match="cannot be read"):
        decode(bytes(content), 32, lambda n: np.array([0, n - 1]))


def test_files_are_closed(make_video, tmp_path):
    path = tmp_path / "video.mp4"
    path.write_bytes(make_video())
    before = len(list(Path("/proc/self/fd").iterdir())) if Path("/proc/self/fd").is_dir() else pytest.skip("no /proc here")
    for _ in range(5):
        decode(path, 16, fixed(0, 1))
    assert len(list(Path("/proc/self/fd").iterdir())) <= before + 1


def test_frames_of_more_pixels_than_allowed_are_not_decoded(make_video):
    content = make_video()
    assert decode(content, 32, fixed(0, 1)).shape == (2, 3, 32, 32)
    with pytest.raises(BadRowError, match=r"the header states frames of .* more than 256 \(processor\.max_pixels\)"):
        decode(content, 32, fixed(0, 1), max_pixels=256)
