"""Convolutions of short clips: the same numbers as torch's own, and gradients in bfloat16 that are those of float32."""

import copy

import pytest
import torch
from torch import nn

from selfsup.training.device.short_clips import ShortClipConv3d, pad_short_clips
from selfsup.training.device.tune import put_channels_last

GEOMETRIES = [
    {"kernel_size": (3, 1, 1), "padding": (1, 0, 0)},
    {"kernel_size": (3, 1, 1), "padding": (1, 0, 0), "stride": (2, 1, 1), "bias": False},
    {"kernel_size": 3, "padding": 1, "groups": 2},
    {"kernel_size": (3, 5, 5), "padding": (1, 2, 2), "stride": (1, 2, 2)},
    {"kernel_size": (5, 1, 1), "padding": (2, 0, 0)},
    {"kernel_size": (3, 1, 1), "padding": (2, 0, 0), "dilation": (2, 1, 1)},
    {"kernel_size": (1, 3, 3), "padding": (0, 1, 1)},
]


@pytest.mark.parametrize("time", [1, 2, 3, 5])
@pytest.mark.parametrize("options", GEOMETRIES)
def test_same_as_the_convolution(options, time):
    torch.manual_seed(0)
    plain = nn.Conv3d(4, 6, **options).double()
    padded = copy.deepcopy(plain)
    pad_short_clips(padded)
    assert type(padded) is ShortClipConv3d
    inputs = [torch.randn(2, 4, time, 6, 6, dtype=torch.float64, requires_grad=True) for _ in range(2)]
    inputs[1].data.copy_(inputs[0].data)
    outputs = [plain(inputs[0]), padded(inputs[1])]
    torch.testing.assert_close(outputs[1], outputs[0])
    for output in outputs:
        output.square().sum().backward()
    torch.testing.assert_close(inputs[1].grad, inputs[0].grad)
    for mine, theirs in zip(padded.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(mine.grad, theirs.grad)


@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize("time", [2, 3])
@pytest.mark.parametrize("options", GEOMETRIES)
def test_gradients_in_bfloat16_are_those_of_float32(options, time, channels_last):
    torch.manual_seed(0)
    for _ in range(4):
        part = nn.Conv3d(16, 16, **{**options, "groups": 1})
        pad_short_clips(part)
        if channels_last:
            put_channels_last(part)
        clips = torch.randn(8, 16, time, 8, 8)
        gradient = torch.randn_like(part(clips))
        found = []
        for dtype in (torch.float32, torch.bfloat16):
            part.zero_grad()
            with torch.autocast("cpu", torch.bfloat16, enabled=dtype is torch.bfloat16):
                output = part(clips)
            (output.float() * gradient).sum().backward()
            found.append(part.weight.grad.clone())
        assert (found[1] - found[0]).abs().max() < 0.02 * found[0].abs().max()


def test_long_clips_go_the_usual_way(monkeypatch):
    part = nn.Conv3d(3, 4, 3, padding=1)
    pad_short_clips(part)
    usual = []
    monkeypatch.setattr(nn.Conv3d, "forward", lambda self, input: usual.append(input.shape[2]))
    part(torch.randn(2, 3, 2, 4, 4))
    part(torch.randn(2, 3, 3, 4, 4))
    assert usual == [3]


def test_what_has_no_plain_geometry_stays():
    module = nn.Sequential(nn.Conv3d(4, 4, 3, padding="same"), nn.Conv3d(4, 4, 3, padding=1, padding_mode="reflect"))
    pad_short_clips(module)
    assert {type(part) for part in module} == {nn.Conv3d}
