import subprocess
import sys
from importlib import import_module

import pytest
import torch

from selfsup.registry import specs
from selfsup_video import plugin
from selfsup_video.features import frame_pixels
from selfsup_video.mock import mock_rows
from selfsup_video.processor import VideoProcessor
from selfsup_video.sizes import local_size_for, patch_size_for, window_for


@pytest.mark.parametrize("spec", [*plugin.selfsup_tasks(), *plugin.selfsup_backbones()], ids=lambda spec: spec.id)
def test_every_target_is_there(spec: specs.TargetSpec) -> None:
    module, attribute = spec.target.split(":")
    assert hasattr(import_module(module), attribute)


def test_importing_the_entry_module_imports_nothing_heavy() -> None:
    heavy = ("torch", "timm", "torchvision", "av", "PIL", "numpy", "datasets")
    code = f"import sys, selfsup_video.plugin; print([m for m in {heavy} if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"


def test_no_package_of_another_modality_is_imported() -> None:
    code = (
        "import sys, pkgutil, importlib, selfsup_video\n"
        "for m in pkgutil.walk_packages(selfsup_video.__path__, 'selfsup_video.'): importlib.import_module(m.name)\n"
        "print([m for m in ('torchaudio', 'transformers', 'selfsup_vision', 'selfsup_audio') if m in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"


def test_sizes_fit_each_other() -> None:
    assert [patch_size_for(size) for size in (16, 24, 32, 48, 64, 96, 112, 224)] == [4, 4, 4, 8, 8, 16, 16, 16]
    assert [local_size_for(size) for size in (16, 32, 64, 112)] == [8, 12, 24, 48]
    assert [window_for(frames) for frames in (1, 2, 3, 4, 8, 10, 16)] == [1, 1, 1, 2, 4, 4, 8]


def test_raw_features_are_the_mean_image_and_the_mean_change() -> None:
    video = torch.rand(2, 5, 3, 32, 32)
    features = frame_pixels({"video": video}, {})
    assert features.shape == (2, 2 * 3 * 16 * 16)
    mean, change = features.view(2, 2, 3, 16, 16).unbind(1)
    shrunk = lambda x: x.view(2, 3, 16, 2, 16, 2).mean(dim=(3, 5))  # noqa: E731
    torch.testing.assert_close(mean, shrunk(video.mean(dim=1)))
    torch.testing.assert_close(change, shrunk(video.diff(dim=1).abs().mean(dim=1)))
    still = frame_pixels({"video": (video[:, :1] * 255).to(torch.uint8)}, {})
    assert torch.equal(still[:, 768:], torch.zeros(2, 768))


def test_mock_rows_follow_their_seed_and_move() -> None:
    processor = VideoProcessor().fit(mock_rows(4, 0))
    video, again, other = (processor(mock_rows(4, seed))["video"] for seed in (0, 0, 1))
    assert video.shape == (4, 16, 3, 16, 16)
    assert torch.equal(video, again)
    assert not torch.equal(video, other)
    light = video.float().mean(dim=(2, 3, 4))
    assert bool((light[:, -1] > light[:, 0]).all())
