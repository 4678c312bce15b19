from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
import torch
from torch.nn import functional as F

from selfsup.testing.kit.gradients import assert_same_loss
from selfsup.testing.kit.task_checks import generator
from selfsup_text.backbones.transformers import TransformersConfig, build_transformers
from selfsup_text.tasks.electra import Electra, ElectraConfig, draw
from selfsup_text.tasks.parts.token_masks import hide_tokens


def task_of(encoder: Any, info: Any, **options: Any) -> Electra:
    backbone = encoder()
    torch.manual_seed(1)
    return Electra(ElectraConfig(**options), backbone, info)


def test_draws_follow_the_distribution() -> None:
    logits = torch.tensor([[0.0, 1.0, -1.0, 2.0], [-50.0, 50.0, -50.0, -50.0]]).expand(20000, 2, 4)
    drawn = draw(logits, torch.rand(20000, 2, generator=generator()))
    counts = Counter(drawn[:, 0].tolist())
    for index, probability in enumerate(logits[0, 0].softmax(dim=0).tolist()):
        assert counts[index] / 20000 == pytest.approx(probability, abs=0.01)
    assert (drawn[:, 1] == 1).all()
    assert draw(torch.zeros(5, 3), torch.rand(5, generator=generator())).max() <= 2


def test_electra_loss_by_hand(encoder: Any, texts: Any, info: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    task, batch = task_of(encoder, info, rate=0.3).double(), texts()
    ids, real = batch["ids"], ~batch["padding"]
    # The generator draws the right token or id 11, by turns, so that both answers occur.
    mask = hide_tokens(task.vocabulary.maskable(batch), 0.3, generator(2))
    turns = torch.arange(mask.hidden.numel()).view(mask.hidden.shape) % 2 == 0
    drawn = torch.where(turns, ids.gather(1, mask.hidden), 11)
    monkeypatch.setattr("selfsup_text.tasks.electra.draw", lambda logits, chance: drawn)
    seen: list[Any] = []
    tokenize = task.backbone.tokenize
    task.backbone.tokenize = lambda batch: seen.append(batch["ids"]) or tokenize(batch)  # type: ignore[method-assign]
    output = task(batch, generator(2))
    filled = ids.clone()
    generator_losses = []
    for i, slot in torch.nonzero(mask.weight).tolist():
        place = int(mask.hidden[i, slot])
        filled[i, place] = drawn[i, slot]
        states = task.fill_in({key: value[i : i + 1] for key, value in batch.items()}, mask_of(mask, i))
        logits = task.generator.logits(states, task.backbone.word_embeddings.weight)[0, slot]
        generator_losses.append(F.cross_entropy(logits, ids[i, place]))
    assert torch.equal(seen[0], filled)
    assert (filled != ids).any()
    told = task.head(task.backbone.encode(tokenize({**batch, "ids": filled}))).squeeze(-1).float()
    wrong = F.binary_cross_entropy_with_logits(told, (filled != ids).float(), reduction="none")[real].mean()
    wanted = torch.stack(generator_losses).mean() + 50 * wrong
    assert_same_loss(task, output.loss, wanted, 1e-5)  # of losses in float32
    assert output.metrics["discriminator_loss"].item() == pytest.approx(wrong.item(), rel=1e-6)
    assert output.metrics["generator_loss"].item() == pytest.approx(torch.stack(generator_losses).mean().item(), rel=1e-6)


def mask_of(mask: Any, i: int) -> Any:
    return type(mask)(*(None if part is None else part[i : i + 1] for part in mask))


def test_the_generator_sees_no_hidden_content(encoder: Any, texts: Any, info: Any) -> None:
    task, batch = task_of(encoder, info, rate=0.3), texts()
    mask = hide_tokens(task.vocabulary.maskable(batch), 0.3, generator())
    other = {**batch, "ids": torch.where(mask.mask, 5 + (batch["ids"] + 3) % 55, batch["ids"])}
    assert torch.equal(task.fill_in(batch, mask), task.fill_in(other, mask))
    elsewhere = {**batch, "ids": torch.where(mask.mask | batch["padding"], batch["ids"], 5 + (batch["ids"] + 3) % 55)}
    assert not torch.equal(task.fill_in(batch, mask), task.fill_in(elsewhere, mask))


def test_the_generator_learns_by_likelihood_alone(encoder: Any, texts: Any, info: Any) -> None:
    batch = texts()
    plain, weighted = task_of(encoder, info, discriminator_weight=1.0), task_of(encoder, info, discriminator_weight=9.0)
    for each in (plain, weighted):
        each(batch, generator()).loss.backward()
    for a, b in zip(plain.generator.parameters(), weighted.generator.parameters(), strict=True):
        torch.testing.assert_close(a.grad, b.grad)
    grads = [each.head[0].weight.grad for each in (plain, weighted)]
    torch.testing.assert_close(9 * grads[0], grads[1])


def test_the_generator_adds_positions_before_it_normalises(encoder: Any, texts: Any, info: Any) -> None:
    task, batch = task_of(encoder, info, generator_dim=8), texts()
    mask = hide_tokens(task.vocabulary.maskable(batch), 0.3, generator())
    seen: list[torch.Tensor] = []
    task.generator.transformer.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    task.fill_in(batch, mask)
    embeddings = task.backbone.model.embeddings
    ids = batch["ids"].masked_fill(mask.mask, info["mask_id"])
    # The class token, which the generator does not see, has the first position.
    places = embeddings.position_embeddings.weight[1 : 1 + ids.shape[1]]
    added = task.backbone.word_embeddings(ids) + places
    wanted = task.generator.enter(F.layer_norm(added, added.shape[-1:]))
    torch.testing.assert_close(seen[0], wanted)
    assert task.own_positions is None
    # Words and positions have the same scale, so that neither drowns the other.
    assert 0.5 < float(places.detach().std() / task.backbone.word_embeddings.weight.detach().std()) < 2


def test_the_generator_has_positions_of_its_own_beside_rotary_ones(texts: Any, info: Any) -> None:
    options = TransformersConfig(name="modernbert", hidden_size=32, layers=1, heads=2)
    task, batch = Electra(ElectraConfig(), build_transformers(options, info), info), texts()
    assert task.own_positions is not None
    task(batch, generator()).loss.backward()
    assert task.own_positions.weight.grad is not None
