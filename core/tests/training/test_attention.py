from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from selfsup.training.device import attention
from selfsup.training.device.tune import tune_for_device


class Attention(nn.Module):
    def forward(self, dtype: torch.dtype, **options: object) -> Tensor:
        generator = torch.Generator().manual_seed(0)
        q, k, v = (torch.randn(2, 2, 9, 8, generator=generator).bfloat16().to(dtype) for _ in range(3))
        self.used = F.scaled_dot_product_attention
        return F.scaled_dot_product_attention(q, k, v, **options)


def tuned(module: nn.Module, device: str = "cpu") -> nn.Module:
    tune_for_device(module, torch.device(device), "bf16")
    return copy.deepcopy(module)


@pytest.mark.parametrize("options", [{}, {"is_causal": True}, {"attn_mask": torch.zeros(9, 9, dtype=torch.bfloat16)}])
def test_attention_under_autocast_is_that_of_float32_rounded_once(options: dict[str, object]) -> None:
    wide = {name: value.float() if isinstance(value, Tensor) else value for name, value in options.items()}
    exact = Attention()(torch.float32, **wide)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = tuned(Attention())(torch.bfloat16, **options)
    assert found.dtype == torch.bfloat16
    assert torch.equal(found, exact.bfloat16())


def test_attention_without_autocast_elsewhere_and_after_the_forward_pass_is_torchs() -> None:
    torchs = F.scaled_dot_product_attention
    module = tuned(Attention())
    found = module(torch.bfloat16)
    assert module.used is not torchs
    assert F.scaled_dot_product_attention is torchs
    assert torch.equal(found, Attention()(torch.bfloat16))
    elsewhere = tuned(Attention(), "meta")
    elsewhere(torch.bfloat16)
    assert elsewhere.used is torchs
    with pytest.raises(IndexError):
        module(torch.bfloat16, attn_mask=torch.zeros(5))
    assert F.scaled_dot_product_attention is torchs


def test_layers_of_torch_compute_attention_in_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[torch.dtype] = []
    torchs = attention._attention

    def spy(query: Tensor, *args: object, **kwargs: object) -> Tensor:
        seen.append(query.dtype)
        return torchs(query, *args, **kwargs)

    monkeypatch.setattr(attention, "_attention", spy)
    layer = tuned(nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, batch_first=True))
    x = torch.randn(3, 5, 8, generator=torch.Generator().manual_seed(1))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = layer(x).square().mean()
    loss.backward()
    assert seen == [torch.float32]
    gradient = layer.self_attn.in_proj_weight.grad
    assert gradient is not None
    assert float(gradient.abs().sum()) > 0
