"""The memory that threads hold while they decode images, and the largest image."""

from __future__ import annotations

import io
import pickle
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import pytest
from PIL import Image

from selfsup.errors import BadRowError
from selfsup_vision.decoding import Reading, opened
from selfsup_vision.decoding.pillow_files import DECODING_MEMORY, DecodingMemory
from selfsup_vision.processor import ImageProcessor, ImageProcessorConfig


def _png(width: int, height: int) -> bytes:
    file = io.BytesIO()
    Image.new("1", (width, height)).save(file, "PNG")
    return file.getvalue()


def test_photos_are_open_at_the_same_time() -> None:
    content, both = _png(6000, 4000), threading.Barrier(2, timeout=10)

    def look(_: int) -> int:
        with opened(content):
            both.wait()
            return DECODING_MEMORY.used

    with ThreadPoolExecutor(2) as threads:
        assert list(threads.map(look, range(2))) != [0, 0]
    assert DECODING_MEMORY.used == 0


def test_images_wait_for_memory_and_the_largest_are_alone() -> None:
    memory, most = DecodingMemory(100), []

    def hold(count: int) -> None:
        with memory.hold(count), memory.hold(1):  # a second one of the same thread does not wait for the first
            most.append((count, memory.used))

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(hold, [40, 150, 30, 60, 200, 90] * 20))
    assert memory.used == 0
    assert len(most) == 120
    # Each of the eight threads may hold one more.
    assert all(used <= (100 if count <= 100 else count) + 8 for count, used in most)


def test_jpegs_count_as_they_are_decoded() -> None:
    file = io.BytesIO()
    Image.new("RGB", (1024, 1024)).save(file, "JPEG")
    with opened(file.getvalue()):
        assert DECODING_MEMORY.used == 4 * 1024**2
    with opened(file.getvalue(), size=64):
        assert DECODING_MEMORY.used == 4 * 128**2


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_a_worker_process_allows_the_pixels_of_the_processor(monkeypatch: pytest.MonkeyPatch) -> None:
    processor = pickle.loads(pickle.dumps(ImageProcessor(ImageProcessorConfig(image_size=16, max_pixels=4000))))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)  # a process that only unpickles has Pillow's limit
    assert processor.size({"image": _png(60, 60)}) == (60, 60)


def test_the_size_of_heic_files_is_checked_before_they_are_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    def decoded() -> Image.Image:
        assert DECODING_MEMORY.used >= 4 * 30 * 40
        return Image.new("RGB", (30, 40))

    file = SimpleNamespace(size=(30, 40), to_pillow=decoded)
    monkeypatch.setitem(sys.modules, "pi_heif", SimpleNamespace(open_heif=lambda _: file))
    content = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic"
    with opened(content, Reading(max_pixels=1200)) as image:
        assert isinstance(image, Image.Image)
    assert DECODING_MEMORY.used == 0
    with pytest.raises(BadRowError, match=r"30 x 40 pixels, more than 1,199"), opened(content, Reading(max_pixels=1199)):
        pass
