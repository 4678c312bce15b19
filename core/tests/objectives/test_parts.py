"""Heads, the queue and the synchronised batch norm."""

from __future__ import annotations

import torch
from torch import nn

from selfsup.objectives import CosineLinear, EmbeddingQueue, TokenHead, mlp
from selfsup.runtime import convert_sync_batchnorm
from selfsup.runtime.distributed import SynchronizedBatchNorm


def kinds(module):
    return [type(layer).__name__ for layer in module]


def test_mlp_has_the_layers_of_the_papers():
    assert kinds(mlp([3, 4, 5])) == ["Linear", "BatchNorm1d", "ReLU", "Linear"]
    assert kinds(mlp([3, 4, 4, 5], norm=False)) == ["Linear", "ReLU", "Linear", "ReLU", "Linear"]
    plain, affine = mlp([3, 4, 5], last_norm="plain"), mlp([3, 4, 5], last_norm="affine")
    assert plain[-1].weight is None
    assert affine[-1].weight is not None
    assert plain[-2].bias is None
    assert mlp([3, 4, 5])[-1].bias is not None
    assert mlp([3, 4, 5])(torch.randn(6, 3)).shape == (6, 5)


def test_token_head_counts_tokens_as_samples():
    head = mlp([3, 4, 5])
    tokens = torch.randn(6, 7, 3)
    assert torch.allclose(TokenHead(head)(tokens)[2, 4], head(tokens.view(42, 3))[2 * 7 + 4])


def test_cosine_linear_gives_cosines():
    layer = CosineLinear(4, 3)
    x = torch.randn(5, 4)
    assert torch.allclose(layer(x)[1, 2], torch.cosine_similarity(x[1], layer.weight[2], dim=0), atol=1e-6)


def test_queue_goes_round_and_forgets_the_oldest():
    queue = EmbeddingQueue(5, 1)
    queue.push(torch.tensor([[1.0], [2.0], [3.0]]))
    assert queue.filled.tolist() == [1, 1, 1, 0, 0]
    queue.push(torch.tensor([[4.0], [5.0], [6.0]]))
    assert queue.embeddings.flatten().tolist() == [6, 2, 3, 4, 5]
    assert int(queue.position) == 1
    queue.push(torch.arange(10.0, 17.0).view(7, 1))
    assert sorted(queue.embeddings.flatten().tolist()) == [12, 13, 14, 15, 16]


def test_converted_batch_norm_keeps_names_weights_and_output():
    module = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU())
    with torch.no_grad():
        module[1].weight.uniform_()
    x = torch.randn(5, 3, 8, 8)
    module.eval()
    expected, names = module(x), list(module.state_dict())
    converted = convert_sync_batchnorm(module)
    assert isinstance(converted[1], SynchronizedBatchNorm)
    assert not converted[1].training
    assert list(converted.state_dict()) == names
    assert torch.equal(converted(x), expected)
    assert isinstance(convert_sync_batchnorm(nn.BatchNorm1d(3)), SynchronizedBatchNorm)


def test_converted_batch_norm_keeps_a_fused_activation():
    class Fused(nn.BatchNorm2d):
        def __init__(self, n):
            super().__init__(n)
            self.act = nn.ReLU()

        def forward(self, x):
            return self.act(super().forward(x))

    fused, x = Fused(4), torch.randn(5, 4, 6, 6)
    expected = fused(x)
    assert torch.allclose(convert_sync_batchnorm(fused)(x), expected)
    assert float(expected.detach().min()) == 0
