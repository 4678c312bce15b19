"""Convolutions of small maps: the same numbers and gradients as torch's own, whatever the geometry."""

import copy

import pytest
import torch
from torch import nn

from selfsup.training.device.small_feature_maps import SmallMapConv2d, multiply_small_maps


@pytest.mark.parametrize("size", [(1, 1), (2, 2), (1, 3), (2, 1), (4, 1), (3, 3)])
@pytest.mark.parametrize(
    "options",
    [
        {"kernel_size": 3, "padding": 1},
        {"kernel_size": 3, "padding": 1, "stride": 2, "bias": False},
        {"kernel_size": 1, "stride": 2},
        {"kernel_size": (1, 3), "padding": (0, 2)},
        {"kernel_size": 3, "padding": 2, "dilation": 2},
        {"kernel_size": 5, "padding": 2},
    ],
)
def test_same_as_the_convolution(size, options):
    torch.manual_seed(0)
    plain = nn.Conv2d(3, 5, **options).double()
    fast = copy.deepcopy(plain)
    multiply_small_maps(fast)
    assert type(fast) is SmallMapConv2d
    inputs = [torch.randn(4, 3, *size, dtype=torch.float64, requires_grad=True) for _ in range(2)]
    inputs[1].data.copy_(inputs[0].data)
    outputs = [plain(inputs[0]), fast(inputs[1])]
    torch.testing.assert_close(outputs[1], outputs[0])
    for output in outputs:
        output.square().sum().backward()
    torch.testing.assert_close(inputs[1].grad, inputs[0].grad)
    for mine, theirs in zip(fast.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(mine.grad, theirs.grad)


def test_small_maps_are_products_and_large_ones_are_not(monkeypatch):
    part = nn.Conv2d(3, 4, 3, padding=1)
    multiply_small_maps(part)
    convolved = []
    monkeypatch.setattr(nn.Conv2d, "forward", lambda self, input: convolved.append(input.shape[-1]))
    part(torch.randn(2, 3, 2, 2))
    part(torch.randn(2, 3, 8, 8))
    assert convolved == [8]


def test_what_has_no_plain_geometry_stays():
    module = nn.Sequential(
        nn.Conv2d(4, 4, 3, groups=2), nn.Conv2d(4, 4, 3, padding="same"), nn.Conv2d(4, 4, 3, padding=1, padding_mode="reflect")
    )
    multiply_small_maps(module)
    assert {type(part) for part in module} == {nn.Conv2d}


def test_copies_and_weights_are_those_of_a_convolution():
    part = nn.Sequential(nn.Conv2d(2, 2, 3, padding=1))
    names = list(part.state_dict())
    multiply_small_maps(part)
    twin = copy.deepcopy(part)
    assert list(twin.state_dict()) == names
    with torch.no_grad():
        twin[0].weight.zero_()
    image = torch.randn(1, 2, 2, 2)
    assert part(image).abs().sum() > 0
    torch.testing.assert_close(twin(image), twin[0].bias.view(1, 2, 1, 1).expand(1, 2, 2, 2))
