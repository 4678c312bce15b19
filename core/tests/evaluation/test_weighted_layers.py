"""The probe of all layers: it finds the layer that tells the classes apart, and pools over real tokens alone."""

import numpy as np
import pytest
import torch

from selfsup.data import load_source, prepare
from selfsup.errors import ArtifactError
from selfsup.evaluation.evaluators.linear import LinearConfig, fit_probe
from selfsup.evaluation.evaluators.weighted_layers import WeightedLayersConfig, fit_layer_probe
from selfsup.registry import registry

CONFIG = WeightedLayersConfig()


def layers(n: int, seed: int, *, told_by: int = 2) -> tuple[torch.Tensor, torch.Tensor]:
    """[n, 4, 6] features; one layer is shifted by the class, and the classes [n] of three."""
    generator = torch.Generator().manual_seed(seed)
    targets = torch.arange(n) % 3
    made = torch.randn(n, 4, 6, generator=generator)
    made[:, told_by, :3] += 1.5 * torch.nn.functional.one_hot(targets, 3)
    # The size of a layer's numbers says nothing of its use.
    return made * torch.tensor([100.0, 1.0, 0.01, 1.0]).view(1, 4, 1), targets


def test_the_layer_that_tells_the_classes_counts_most():
    train, targets = layers(300, 0)
    probe = fit_layer_probe(train, targets, 3, CONFIG, seed=0)
    assert probe.mixture.sum() == pytest.approx(1.0, abs=1e-5)
    assert int(probe.mixture.argmax()) == 2
    assert probe.mixture[2] > 0.5
    test, wanted = layers(300, 1)
    log_p = probe.log_probabilities(test)
    torch.testing.assert_close(log_p.exp().sum(dim=1), torch.ones(300))
    right = float((log_p.argmax(dim=1) == wanted).float().mean())
    last = fit_probe(train[:, -1], targets, 3, LinearConfig(), seed=0)
    of_last = float((last.outputs(test[:, -1]).argmax(dim=1) == wanted).float().mean())
    alone = fit_probe(train[:, 2], targets, 3, LinearConfig(), seed=0)
    best = float((alone.outputs(test[:, 2]).argmax(dim=1) == wanted).float().mean())
    assert right > of_last + 0.2
    assert right > best - 0.05


def test_one_layer_is_the_linear_probe():
    train, targets = layers(300, 0)
    penalty = 0.03
    mine = fit_layer_probe(train[:, 2:3], targets, 3, WeightedLayersConfig(l2=(penalty,), iterations=200), seed=0)
    other = fit_probe(train[:, 2], targets, 3, LinearConfig(l2=(penalty,), tolerance=1e-9), seed=0)
    test, _ = layers(50, 1)
    torch.testing.assert_close(mine.log_probabilities(test[:, 2:3]), other.outputs(test[:, 2]), atol=2e-3, rtol=1e-3)


def test_a_penalty_is_chosen_that_holds_for_new_rows():
    noise = torch.randn(60, 4, 6, generator=torch.Generator().manual_seed(0))
    targets = torch.arange(60) % 3
    clear, _ = layers(300, 0)
    assert (
        fit_layer_probe(noise, targets, 3, CONFIG, seed=0).l2
        > fit_layer_probe(10 * clear, layers(300, 0)[1], 3, CONFIG, seed=0).l2
    )
    single = fit_layer_probe(noise[:3], targets[:3], 3, CONFIG, seed=0)
    assert single.l2 == sorted(CONFIG.l2)[len(CONFIG.l2) // 2], "nothing can be held out"


def test_layers_are_pooled_over_real_tokens_in_the_order_of_the_store(id_encoder):
    rows = load_source("toy-sequences", modality=registry().get("modality", "sequence"), split="test")
    store = prepare(rows, id_encoder.processor)
    made = id_encoder.embed_layers(store, batch_size=16)
    backbone = id_encoder.backbone
    assert made.shape == (len(store), 1 + len(backbone.transformer.blocks), backbone.embed_dim)
    for place in (0, 7, len(store) - 1):
        tokens = backbone.tokenize(id_encoder.processor.collate(store.read([place])))
        with torch.inference_mode():
            by_hand = [layer.mean(dim=1)[0] for layer in (tokens.embeddings, *backbone.layer_outputs(tokens))]
        torch.testing.assert_close(made[place], torch.stack(by_hand), atol=1e-5, rtol=1e-4)
    assert len(set(store.total_lengths().tolist())) > 1
    np.testing.assert_allclose(made[:, -1], id_encoder.embed_store(store), atol=1e-4)


def test_a_backbone_without_tokens_is_refused(encoder, splits):
    recipe = registry().load(registry().get("evaluator", "weighted-layers"))
    with pytest.raises(ArtifactError, match="'sequence/conv' has no layer outputs"):
        recipe.build(recipe.config()).evaluate(encoder, *splits, seed=0)
