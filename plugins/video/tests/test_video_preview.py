import numpy as np

from selfsup.data import ImagePreview
from selfsup_video.processor import VideoProcessor, VideoProcessorConfig


def shown(frames: int, **options: object) -> np.ndarray:
    """The upper row of the preview's pixels, of a video whose i-th frame is i everywhere."""
    video = np.arange(frames, dtype=np.uint8)[:, None, None, None].repeat(16, 1).repeat(16, 2).repeat(3, 3)
    config = VideoProcessorConfig.model_validate({"frames": 5, "stride": 1, "image_size": 16, **options})
    (preview,) = VideoProcessor(config).preview({"video": video})
    assert isinstance(preview, ImagePreview)
    assert preview.pixels.shape[0] == 16
    assert preview.pixels.shape[2] == 3
    return preview.pixels[0, :, 0]


def test_the_first_middle_and_last_real_frame_are_side_by_side() -> None:
    assert shown(5).tolist() == [0] * 16 + [2] * 16 + [4] * 16
    assert shown(2).tolist() == [0] * 16 + [1] * 16
    assert shown(1).tolist() == [0] * 16
