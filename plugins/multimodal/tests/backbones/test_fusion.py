"""One transformer over the tokens of all parts."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from selfsup.backbones import mean_over_tokens
from selfsup.batch_parts import only_part, part_of
from selfsup.errors import ConfigError
from selfsup.registry import registry
from selfsup.types import Batch, Info
from selfsup_multimodal.backbones.fusion import Fusion


def fusion(info: Info, **options: Any) -> Fusion:
    torch.manual_seed(0)
    backbone, _ = registry().build_backbone("fusion", {"dim": 24, "depth": 2, "heads": 2, **options}, info)
    assert isinstance(backbone, Fusion)
    return backbone


def test_tokens_of_all_parts_lie_on_one_axis(info: Info, batch: Batch) -> None:
    tokens = fusion(info).tokenize(batch)
    n_left, n_right = batch["left/sequence"].shape[1], batch["right/sequence"].shape[1]
    assert tokens.embeddings.shape == (10, n_left + n_right, 24)
    assert tokens.grid == (n_left + n_right,)
    assert tokens.spans == {"left": (0, n_left), "right": (n_left, n_left + n_right)}
    assert tokens.padding[3, :n_left].all()
    assert tokens.padding[[0, 7], n_left:].all()
    assert torch.equal(tokens.padding[1, :n_left], batch["left/padding"][1])
    assert not tokens.padding[1, n_left:].any()


def test_only_what_makes_tokens_is_kept_of_a_part(info: Info, batch: Batch) -> None:
    backbone = fusion(info)
    assert {name for name, _ in backbone.named_parameters() if name.startswith("tokenizers")} == {
        "tokenizers.left.embedding.weight",
        "tokenizers.right.embedding.weight",
        "tokenizers.right.embedding.bias",
    }
    backbone.encode(backbone.tokenize(batch)).sum().backward()
    assert all(parameter.grad is not None for parameter in backbone.parameters())


def test_padding_and_absent_parts_change_nothing(info: Info, batch: Batch) -> None:
    backbone = fusion(info).eval()
    whole = backbone(batch)
    for row in (0, 1, 3):
        one = {key: value[row : row + 1] for key, value in batch.items()}
        names = [name for name in ("left", "right") if bool(one[f"{name}/present"])]
        kept = {key: value for name in names for key, value in only_part(one, name).items()}
        real = ~one["left/padding"][0]
        if "left" in names:  # cut off what is padding
            kept |= {key: kept[key][:, real] for key in ("left/sequence", "left/padding")}
        alone = backbone(kept)
        torch.testing.assert_close(alone.pooled[0], whole.pooled[row], rtol=1e-4, atol=1e-5)
        for name in names:
            torch.testing.assert_close(alone.parts[name].pooled[0], whole.parts[name].pooled[row], rtol=1e-4, atol=1e-5)


def test_a_parts_embedding_knows_nothing_of_the_others(info: Info, batch: Batch) -> None:
    backbone = fusion(info).eval()
    changed = {**batch, "left/sequence": batch["left/sequence"].flip(0)}
    before, after = backbone(batch), backbone(changed)
    assert torch.equal(before.parts["right"].pooled, after.parts["right"].pooled)
    assert not torch.allclose(before.pooled[1], after.pooled[1])
    alone = backbone(only_part(batch, "right"))
    assert torch.equal(alone.pooled, before.parts["right"].pooled)
    assert alone.valid.tolist() == batch["right/present"].tolist()


def test_the_row_is_the_mean_over_its_parts_of_their_mean_tokens(info: Info, batch: Batch) -> None:
    backbone = fusion(info).eval()
    tokens, encoded = backbone.tokenize(batch), backbone(batch)
    mixed = backbone.encode(tokens)
    torch.testing.assert_close(encoded.tokens, mixed)
    n = tokens.spans["left"][1]
    left = mean_over_tokens(mixed[:, :n], tokens.padding[:, :n])
    right = mixed[:, n:].mean(dim=1)
    torch.testing.assert_close(encoded.pooled[1], (left[1] + right[1]) / 2)
    torch.testing.assert_close(encoded.pooled[3], right[3])
    torch.testing.assert_close(encoded.pooled[0], left[0])
    assert backbone.part_dims == {"left": 24, "right": 24}
    assert backbone.shares_space
    with pytest.raises(ConfigError, match="no network of its own"):
        backbone.part("left")


def test_kept_tokens_are_encoded_as_if_there_were_no_others(info: Info, batch: Batch) -> None:
    backbone = fusion(info).eval()
    tokens = backbone.tokenize(batch)
    keep = torch.tensor([[1, 0, 30]]).expand(10, -1)
    kept = backbone.encode(tokens, keep=keep)
    hidden = torch.ones_like(tokens.padding)
    hidden[:, [0, 1, 30]] = tokens.padding[:, [0, 1, 30]]
    x = (tokens.embeddings + tokens.positions)[:, [0, 1, 30]]
    wanted = backbone.transformer(x, tokens.padding[:, [0, 1, 30]])[:, [1, 0, 2]]
    torch.testing.assert_close(kept[1], wanted[1])
    apart = backbone.encode_apart(tokens, keep, torch.tensor([0, 0, 1]))
    only_left = backbone.encode(tokens, keep=keep[:, :2])
    torch.testing.assert_close(apart[1, :2], only_left[1])


@pytest.mark.parametrize("distance", ["squared", "absolute"])
def test_targets_and_their_loss_are_the_parts_own(info: Info, batch: Batch, distance: Any) -> None:
    backbone = fusion(info)
    target, n = backbone.targets(batch), batch["left/sequence"].shape[1]
    left, right = backbone.tokenizer("left"), backbone.tokenizer("right")
    assert target.shape == (10, n + 16, 2 + 4)
    assert torch.equal(target[1, :n, 2].long(), batch["left/sequence"][1])
    torch.testing.assert_close(target[1, n:, 2:], right.targets(part_of(batch, "right"))[1])
    head = backbone.target_head(24)
    hidden = torch.randn(10, n + 16, 24)
    prediction = head(hidden)
    index = torch.arange(n + 16).expand(10, -1)
    loss = backbone.target_loss(prediction, target, index, distance=distance)
    place = torch.arange(n).expand(10, -1)
    wanted = left.target_loss(head["left"](hidden[:, :n]), left.targets(part_of(batch, "left")), place, distance=distance)
    torch.testing.assert_close(loss[1, :n], wanted[1])
    own = right.target_loss(head["right"](hidden[:, n:]), right.targets(part_of(batch, "right")), place, distance=distance)
    torch.testing.assert_close(loss[1, n:], own[1])


def test_normalized_targets_are_the_parts_own(info: Info, batch: Batch) -> None:
    backbone = fusion(info)
    target, n = backbone.targets(batch), batch["left/sequence"].shape[1]
    normalized = backbone.normalize_targets(target)
    assert torch.equal(normalized[:, :n], target[:, :n])
    wanted = backbone.tokenizer("right").normalize_targets(target[:, n:, 2:])
    torch.testing.assert_close(normalized[:, n:, 2:], wanted)
    assert torch.equal(normalized[..., :2], target[..., :2])
    assert not torch.allclose(wanted, target[:, n:, 2:])


def test_saved_options_are_in_full(info: Info) -> None:
    options = {"tokenizers": {"left": {"options": {"dim": 16}}}}
    _, full = registry().build_backbone("fusion", options, info)
    own = {"depth": 2, "heads": 2, "causal": False}
    assert full.model_dump()["tokenizers"] == {
        "left": {"backbone": "sequence/transformer", "options": {"dim": 16, **own}},
        "right": {"backbone": "sequence/transformer", "options": {"dim": 32, **own}},
    }


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"tokenizers": {"middle": {}}}, "backbone.tokenizers.middle names no part"),
        ({"tokenizers": {"left": {"backbone": "sequence/conv"}}}, "has no tokens"),
        ({"tokenizers": {"left": {"backbone": "towers"}}}, "for multimodal"),
        ({"dim": 24, "heads": 5}, "backbone.heads=5 does not divide"),
    ],
)
def test_wrong_options_are_named(info: Info, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        registry().build_backbone("fusion", options, info)
