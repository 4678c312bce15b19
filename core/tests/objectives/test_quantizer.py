from __future__ import annotations

import math

import pytest
import torch

from selfsup.objectives.parts.quantizer import (
    ProductQuantizer,
    QuantizerConfig,
    code_perplexity,
    diversity_loss,
    gumbel_noise,
    perplexity,
    straight_through,
    usage,
)
from selfsup.testing.kit.task_checks import generator


def quantizer(**options: object) -> ProductQuantizer:
    torch.manual_seed(0)
    return ProductQuantizer(6, QuantizerConfig(**{"groups": 2, "entries": 5, "dim": 8, **options}))


def test_gumbel_noise_has_the_moments_of_the_distribution() -> None:
    noise = gumbel_noise(torch.empty(200_000, dtype=torch.float64), generator())
    assert noise.mean().item() == pytest.approx(0.5772, abs=0.02)
    assert noise.var().item() == pytest.approx(math.pi**2 / 6, abs=0.04)
    assert torch.isfinite(gumbel_noise(torch.empty(1_000_000), generator())).all()


def test_entries_are_chosen_as_often_as_the_softmax_says() -> None:
    logits = torch.tensor([0.0, 1.0, 2.0]).expand(60_000, 3)
    drawn = (logits + gumbel_noise(logits, generator())).argmax(dim=1)
    share = torch.bincount(drawn, minlength=3) / 60_000
    torch.testing.assert_close(share, logits[0].softmax(dim=0), atol=0.01, rtol=0)


def test_straight_through_is_one_hot_with_the_gradient_of_the_softmax() -> None:
    logits = torch.randn(4, 5, generator=generator(), dtype=torch.float64, requires_grad=True)
    weight = torch.randn(4, 5, generator=generator(1), dtype=torch.float64)
    hard = straight_through(logits, torch.tensor(0.7))
    torch.testing.assert_close(hard.detach(), torch.nn.functional.one_hot(logits.argmax(dim=1), 5).double())
    (hard * weight).sum().backward()
    found = logits.grad
    other = logits.detach().clone().requires_grad_()
    ((other / 0.7).softmax(dim=1) * weight).sum().backward()
    torch.testing.assert_close(found, other.grad)


def test_a_token_becomes_its_entries_joined() -> None:
    module = quantizer().eval()
    tokens = torch.randn(3, 4, 6, generator=generator())
    out = module(tokens, None)
    assert out.vectors.shape == (3, 4, 8)
    assert out.codes.shape == (3, 4, 2)
    assert torch.equal(out.codes, out.logits.argmax(dim=-1))
    wanted = torch.cat([module.codebooks[0][out.codes[1, 2, 0]], module.codebooks[1][out.codes[1, 2, 1]]])
    torch.testing.assert_close(out.vectors[1, 2], wanted)


def test_noise_is_drawn_in_training_alone_and_from_the_generator() -> None:
    module, tokens = quantizer(), torch.randn(50, 6, generator=generator())
    a, b, c = (module(tokens, generator(seed)).codes for seed in (1, 1, 2))
    assert torch.equal(a, b)
    assert not torch.equal(a, c)
    module.eval()
    assert torch.equal(module(tokens, generator(1)).codes, module(tokens, generator(2)).codes)


def test_the_scale_of_the_input_does_not_matter() -> None:
    module, tokens = quantizer().eval(), torch.randn(50, 6, generator=generator())
    assert torch.equal(module(tokens, None).codes, module(100 * tokens + 3, None).codes)


def test_the_temperature_falls_exponentially_and_stays() -> None:
    module = quantizer()
    seen = []
    for progress in (0.0, 0.35, 0.7, 1.0):
        module.after_step(progress)
        seen.append(module.temperature.item())
    assert seen == pytest.approx([2.0, 1.0, 0.5, 0.5])
    tokens = torch.randn(1000, 6, generator=generator())
    module.after_step(0.0)
    warm = module(tokens, generator()).vectors.sum()
    (grad_warm,) = torch.autograd.grad(warm, module.choose.weight)
    module.after_step(1.0)
    (grad_cold,) = torch.autograd.grad(module(tokens, generator()).vectors.sum(), module.choose.weight)
    assert not torch.allclose(grad_warm, grad_cold)


def test_perplexity_and_diversity_by_hand() -> None:
    even, single = torch.full((2, 4), 0.25), torch.tensor([[1.0, 0, 0, 0], [0, 0, 1.0, 0]])
    assert perplexity(even).tolist() == pytest.approx([4, 4])
    assert perplexity(single).tolist() == pytest.approx([1, 1])
    assert diversity_loss(even).item() == pytest.approx(0)
    assert diversity_loss(single).item() == pytest.approx((8 - 2) / 8)


def test_usage_counts_what_has_weight() -> None:
    distribution = torch.rand(2, 3, 2, 4, generator=generator())
    weight = torch.tensor([[1.0, 0, 1], [0, 0, 1]])
    wanted = (distribution[0, 0] + distribution[0, 2] + distribution[1, 2]) / 3
    torch.testing.assert_close(usage(distribution, weight), wanted)
    torch.testing.assert_close(usage(distribution, None), distribution.mean(dim=(0, 1)))


def test_code_perplexity_counts_codes() -> None:
    codes = torch.tensor([[[0, 3], [1, 3]], [[0, 3], [1, 3]]])
    assert code_perplexity(codes, 4, None).item() == pytest.approx((2 + 1) / 2)
    weight = torch.tensor([[1.0, 0], [1, 0]])
    assert code_perplexity(codes, 4, weight).item() == pytest.approx(1)


def test_a_width_that_cannot_be_shared_out_is_refused() -> None:
    with pytest.raises(ValueError, match="dim=7 is no multiple of groups=2"):
        quantizer(dim=7)
