from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from selfsup.training.device import attention
from selfsup.training.device.attention import float32_attention


def attend(dtype: torch.dtype, **options: object) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    q, k, v = (torch.randn(2, 2, 9, 8, generator=generator).bfloat16().to(dtype) for _ in range(3))
    return F.scaled_dot_product_attention(q, k, v, **options)


@pytest.mark.parametrize("options", [{}, {"is_causal": True}, {"attn_mask": torch.zeros(9, 9, dtype=torch.bfloat16)}])
def test_attention_under_autocast_is_that_of_float32_rounded_once(options: dict[str, object]) -> None:
    wide = {name: value.float() if isinstance(value, torch.Tensor) else value for name, value in options.items()}
    exact = attend(torch.float32, **wide)
    with torch.autocast("cpu", dtype=torch.bfloat16), float32_attention("cpu"):
        found = attend(torch.bfloat16, **options)
    assert found.dtype == torch.bfloat16
    assert torch.equal(found, exact.bfloat16())


def test_attention_without_autocast_and_after_the_block_is_torchs() -> None:
    torchs = F.scaled_dot_product_attention
    with float32_attention("cpu"):
        found = attend(torch.bfloat16)
        assert F.scaled_dot_product_attention is not torchs
    assert torch.equal(found, attend(torch.bfloat16))
    with float32_attention("cuda"):
        assert F.scaled_dot_product_attention is torchs
    with pytest.raises(RuntimeError), float32_attention("cpu"):
        raise RuntimeError
    assert F.scaled_dot_product_attention is torchs


def test_layers_of_torch_compute_attention_in_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[torch.dtype] = []
    torchs = attention._attention

    def spy(query: torch.Tensor, *args: object, **kwargs: object) -> torch.Tensor:
        seen.append(query.dtype)
        return torchs(query, *args, **kwargs)

    monkeypatch.setattr(attention, "_attention", spy)
    layer = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, batch_first=True)
    x = torch.randn(3, 5, 8, generator=torch.Generator().manual_seed(1))
    with torch.autocast("cpu", dtype=torch.bfloat16), float32_attention("cpu"):
        loss = layer(x).square().mean()
    loss.backward()
    assert seen == [torch.float32]
    gradient = layer.self_attn.in_proj_weight.grad
    assert gradient is not None
    assert float(gradient.abs().sum()) > 0
