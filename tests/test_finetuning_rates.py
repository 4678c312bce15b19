"""Each network says at which learning rates it is fine-tuned, and which of its modules the layer-wise ones count."""

import pytest

from selfsup.backbones import Finetuning
from selfsup.registry import registry

TEXT = {"vocab_size": 64, "max_length": 16, "pad_id": 0, "mask_id": 1, "cls_id": 2, "sep_id": 3, "unk_id": 4}
AUDIO = {"sample_rate": 16000, "clip_samples": 16000, "n_samples": 16000}
VIT = Finetuning(2.5e-4, 0.75)
SMALL_VIT = Finetuning(1e-3, 0.75)
BERT = Finetuning(3e-5, 1.0)
ONE_RATE = Finetuning(1e-3, 1.0)

CASES = {
    "resnet-narrow": ({}, {"image_size": 32}, ONE_RATE, 0),
    "timm/resnet18": ({}, {"image_size": 32}, ONE_RATE, 0),
    "timm/vit_base_patch16_224": ({}, {"image_size": 32}, VIT, 12),
    "timm/vit_tiny_patch16_224": ({}, {"image_size": 32}, SMALL_VIT, 12),
    "timm/beit_base_patch16_224": ({}, {"image_size": 224}, VIT, 12),
    "transformers/bert": ({"hidden_size": 768, "layers": 2, "heads": 12}, TEXT, BERT, 2),
    "transformers/gpt2": ({"hidden_size": 768, "layers": 3, "heads": 12}, TEXT, BERT, 3),
    "text-encoder-small": ({}, TEXT, ONE_RATE, 2),
    "text-decoder-small": ({"hidden_size": 384, "heads": 6}, TEXT, Finetuning(1.2e-4, 1.0), 2),
    "transformers-audio/wav2vec2": ({"hidden_size": 768, "layers": 1, "heads": 12}, AUDIO, BERT, 1),
    "mel-vit": ({}, AUDIO, SMALL_VIT, None),
    "mel-cnn": ({}, AUDIO, ONE_RATE, 0),
    "video-vit-small": ({}, {"image_size": 32, "frames": 8, "clips": 1}, SMALL_VIT, 6),
}


@pytest.mark.parametrize("backbone", CASES)
def test_rates_and_blocks(backbone):
    options, info, rates, depth = CASES[backbone]
    network, _ = registry().build_backbone(backbone, options, info)
    assert network.finetuning.lr == pytest.approx(rates.lr)
    assert network.finetuning.layer_decay == rates.layer_decay
    blocks = network.blocks()
    if depth is not None:
        assert len(blocks) == depth
    own = {id(parameter) for parameter in network.parameters()}
    inside = [id(parameter) for block in blocks for parameter in block.parameters()]
    assert set(inside) <= own
    assert len(inside) == len(set(inside))
