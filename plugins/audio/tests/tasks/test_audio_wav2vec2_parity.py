"""The core's wav2vec 2.0 against transformers': quantizer, and losses, on the same numbers."""

import numpy as np
import pytest
import torch
from transformers import Wav2Vec2Config, Wav2Vec2ForPreTraining
from transformers.models.wav2vec2 import modeling_wav2vec2

from selfsup.objectives.masked_contrast import masked_contrast
from selfsup.objectives.parts.quantizer import (
    ProductQuantizer,
    QuantizerConfig,
    diversity_loss,
    gumbel_noise,
    perplexity,
    usage,
)

FRAMES = 40


def their_config() -> Wav2Vec2Config:
    return Wav2Vec2Config(
        hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32, do_stable_layer_norm=False,
        conv_dim=(24, 24), conv_kernel=(10, 8), conv_stride=(5, 4), num_feat_extract_layers=2,
        num_conv_pos_embeddings=4, num_conv_pos_embedding_groups=2, feat_quantizer_dropout=0.0, final_dropout=0.0,
        num_codevectors_per_group=12, num_codevector_groups=2, codevector_dim=16, proj_codevector_dim=10,
        num_negatives=7, contrastive_logits_temperature=0.1, diversity_loss_weight=0.1,
    )  # fmt: skip


def quantizers(seed: int = 0) -> tuple[ProductQuantizer, torch.nn.Module]:
    """Ours and theirs with the same weights."""
    torch.manual_seed(seed)
    ours = ProductQuantizer(24, QuantizerConfig(groups=2, entries=12, dim=16))
    theirs = modeling_wav2vec2.Wav2Vec2GumbelVectorQuantizer(their_config())
    with torch.no_grad():
        theirs.weight_proj.weight.copy_(ours.choose.weight)
        theirs.weight_proj.bias.copy_(ours.choose.bias)
        theirs.codevectors.copy_(ours.codebooks.flatten(0, 1).unsqueeze(0))
    return ours, theirs


def tokens() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(3, FRAMES, 24, generator=generator)
    # Ours normalises what it is given; theirs has been given it normalised.
    return torch.nn.functional.layer_norm(x, (24,)), torch.rand(3, FRAMES, generator=generator) < 0.5


def test_quantizer_in_evaluation_mode() -> None:
    ours, theirs = (module.eval() for module in quantizers())
    x, mask = tokens()
    found = ours(x, None)
    vectors, total = theirs(x, mask)
    torch.testing.assert_close(found.vectors, vectors, atol=1e-4, rtol=1e-4)
    hard = torch.nn.functional.one_hot(found.codes, 12).float()
    torch.testing.assert_close(perplexity(usage(hard, mask.float())).sum(), total)


def test_quantizer_in_training_with_its_gradient(monkeypatch: pytest.MonkeyPatch) -> None:
    ours, theirs = (module.double() for module in quantizers())
    x, mask = tokens()
    x = x.double()

    def gumbel_softmax(logits: torch.Tensor, tau: float, hard: bool) -> torch.Tensor:
        # Theirs comes in float32 whatever the module is in.
        logits = logits.double()
        noise = gumbel_noise(logits.view(3, FRAMES, 2, 12), torch.Generator().manual_seed(5)).view_as(logits)
        soft = ((logits + noise) / tau).softmax(dim=-1)
        return torch.nn.functional.one_hot(soft.argmax(dim=-1), 12) - soft.detach() + soft

    monkeypatch.setattr(modeling_wav2vec2.nn.functional, "gumbel_softmax", gumbel_softmax)
    found = ours(x, torch.Generator().manual_seed(5))
    vectors, total = theirs(x, mask)
    torch.testing.assert_close(found.vectors, vectors.double(), atol=1e-6, rtol=0)
    distribution = usage(found.logits.softmax(dim=-1), mask.double())
    # Theirs adds 1e-7 inside of the logarithm.
    torch.testing.assert_close(perplexity(distribution).sum(), total.double(), rtol=2e-6, atol=1e-5)
    weight = torch.randn(vectors.shape, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    ((found.vectors * weight).sum() + diversity_loss(distribution)).backward()
    ((vectors * weight).sum() + (24 - total) / 24).backward()
    # Theirs takes the softmax in float32.
    torch.testing.assert_close(ours.choose.weight.grad, theirs.weight_proj.weight.grad, atol=1e-5, rtol=0)
    torch.testing.assert_close(ours.choose.bias.grad, theirs.weight_proj.bias.grad, atol=1e-5, rtol=0)
    torch.testing.assert_close(ours.codebooks.grad.flatten(0, 1), theirs.codevectors.grad[0], atol=1e-6, rtol=1e-6)


def test_contrastive_and_diversity_loss_of_a_whole_model() -> None:
    torch.manual_seed(0)
    model = Wav2Vec2ForPreTraining(their_config()).eval()
    waveform = torch.randn(1, 1600)
    length = int(model._get_feat_extract_output_lengths(1600))
    mask = np.zeros((1, length), dtype=bool)
    mask[0, 5:15] = mask[0, 30:42] = True
    negatives = modeling_wav2vec2._sample_negative_indices((1, length), 7, mask)
    out = model(waveform, mask_time_indices=torch.from_numpy(mask), sampled_negative_indices=torch.from_numpy(negatives).long())
    with torch.no_grad():
        features = model.wav2vec2(waveform).extract_features
        logits = model.quantizer.weight_proj(features).view(1, length, 2, 12)
    hidden = torch.from_numpy(mask[0]).nonzero().squeeze(1)
    number = torch.zeros(length, dtype=torch.long)
    number[hidden] = torch.arange(len(hidden))
    own_negatives = number[torch.from_numpy(negatives).long()[0, hidden]].unsqueeze(0)
    codes = logits.argmax(dim=-1)[:, hidden]
    contrast = masked_contrast(
        out.projected_states[:, hidden], out.projected_quantized_states[:, hidden], codes, own_negatives, temperature=0.1
    )
    # Theirs is a sum over the hidden frames.
    torch.testing.assert_close(contrast.loss.sum(), out.contrastive_loss, rtol=1e-6, atol=0)
    inputs = (out.projected_states, out.projected_quantized_states)
    found = torch.autograd.grad(contrast.loss.sum(), inputs, retain_graph=True)
    for ours, theirs in zip(found, torch.autograd.grad(out.contrastive_loss, inputs, retain_graph=True), strict=True):
        assert float(theirs.abs().max()) > 0.1
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5 * float(theirs.abs().max()))
    hard = torch.nn.functional.one_hot(codes, 12).float()
    torch.testing.assert_close(diversity_loss(usage(hard, None)) * len(hidden), out.diversity_loss, rtol=1e-4, atol=1e-4)
