from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from selfsup.errors import ConfigError
from selfsup.tasks.masked.cluster_prediction import ClusterFeatures, ClusterPrediction, cluster_prediction_recipe
from selfsup.tasks.parts.span_masking import span_mask
from selfsup.testing.kit.gradients import assert_same_loss
from selfsup.testing.kit.task_checks import generator
from selfsup.testing.toy.sequences.shortcuts import Kind, toy_backbone, toy_batch, toy_info
from selfsup.types import Batch, Info


class Place(ClusterFeatures):
    """What is clustered is where a token lies, so that the right labels are known."""

    dim = 1

    def __init__(self, info: Info) -> None:
        super().__init__()

    def forward(self, batch: Batch, grid: tuple[int, ...]) -> Tensor:
        return torch.arange(grid[0], dtype=torch.float32).view(1, -1, 1).expand(len(batch["sequence"]), -1, -1) // 4


def task_of(kind: Kind = "frames", features: Any = None, **options: Any) -> ClusterPrediction:
    recipe = cluster_prediction_recipe(
        features=features, **{"n_clusters": 6, "n_latent_clusters": 9, "projection_dim": 8, **options}
    )
    torch.manual_seed(0)
    task = recipe.build(recipe.config(), toy_backbone(kind), toy_info(kind))
    assert isinstance(task, ClusterPrediction)
    return task


def run(task: ClusterPrediction, steps: int, begin: float = 0.0, end: float = 1.0, lr: float = 1e-3) -> list[float]:
    optimizer = torch.optim.SGD([p for p in task.parameters() if p.requires_grad], lr=lr)
    losses = []
    for step in range(steps):
        loss = task(toy_batch("frames", seed=step), generator(step)).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        task.after_step(begin + (end - begin) * (step + 1) / steps)
        losses.append(loss.item())
    return losses


def test_defaults_are_the_papers() -> None:
    assert cluster_prediction_recipe().config().model_dump() == {
        "n_clusters": 100, "n_latent_clusters": 500, "recluster": (0.4,), "layer": None, "fit": 0.05, "start_share": 0.08,
        "span": 10, "masked_weight": 1.0, "temperature": 0.1, "projection_dim": 256,
    }  # fmt: skip


@pytest.mark.parametrize("masked_weight", [1.0, 0.6])
@pytest.mark.parametrize("kind", ["ids", "frames"])
def test_the_loss_put_together_by_hand(kind: Kind, masked_weight: float) -> None:
    task, batch = task_of(kind, masked_weight=masked_weight).double(), toy_batch(kind)
    task.first.fitting.zero_()
    assert task.snapshot is not None
    content = task.snapshot.module.tokenize(batch).embeddings
    label = torch.cdist(content.flatten(0, 1), task.first.centroids).argmin(dim=1).view(content.shape[:2])
    found = task(batch, generator(3))
    g = generator(3)
    tokens = task.backbone.tokenize(batch)
    # k-means draws from the generator, too, before the mask does.
    torch.rand(label.numel(), generator=g)
    mask = span_mask(8, tokens.grid, 0.08, 10, padding=tokens.padding, generator=g).mask
    o = task.project(task.backbone.encode(tokens.masked(mask, task.mask_token)))
    cosine = F.cosine_similarity(o.unsqueeze(2), task.clusters.weight[:6].view(1, 1, 6, -1), dim=-1)
    losses = F.cross_entropy((cosine / 0.1).flatten(0, 1), label.flatten(), reduction="none").view(label.shape)
    real = ~mask if tokens.padding is None else ~mask & ~tokens.padding
    wanted = masked_weight * losses[mask].mean() + (1 - masked_weight) * losses[real].mean()
    assert_same_loss(task, found.loss, wanted)
    assert found.metrics["accuracy"].item() == pytest.approx((cosine.argmax(-1) == label)[mask].float().mean().item())
    assert found.metrics["chance_loss"].item() == pytest.approx(math.log(6))


def test_given_features_are_what_is_clustered_first() -> None:
    task = task_of(features=Place, n_clusters=4, recluster=())
    assert task.snapshot is None, "nothing needs a copy of the network"
    run(task, 12, end=0.04)
    labels, k = task._labels(toy_batch("frames"), task.backbone.tokenize(toy_batch("frames")), generator())
    assert k == 4
    assert (labels.view(8, 4, 4) == labels[0].view(4, 4)[:, :1]).all(), "tokens with one feature have several clusters"
    assert len(set(labels[0].tolist())) == 4


def test_clusters_are_learned_at_first_and_then_stay() -> None:
    task = task_of(fit=0.1, recluster=(0.5,))
    run(task, 4, end=0.09)
    learned = task.first.centroids.clone()
    run(task, 1, 0.09, 0.1)
    assert not torch.equal(task.first.centroids, learned)
    learned = task.first.centroids.clone()
    run(task, 4, 0.1, 0.49)
    assert torch.equal(task.first.centroids, learned)
    assert task.latent is not None
    assert task.latent.counts.sum() == 0


def test_evaluation_mode_learns_no_clusters() -> None:
    task = task_of().eval()
    before = task.first.centroids.clone()
    task(toy_batch("frames"), generator())
    assert torch.equal(task.first.centroids, before)


def test_after_reclustering_the_outputs_of_the_network_of_then_are_clustered() -> None:
    task = task_of(fit=0.2, recluster=(0.5,), layer=1)
    batch = toy_batch("frames")
    run(task, 4, 0.0, 0.45)
    assert task.snapshot is not None
    assert task.latent is not None
    initial = [p.clone() for p in task.snapshot.module.parameters()]
    assert any(not torch.equal(a, b) for a, b in zip(initial, task.backbone.parameters(), strict=True))
    run(task, 1, 0.45, 0.5)
    kept = [p.clone() for p in task.snapshot.module.parameters()]
    assert all(torch.equal(a, b) for a, b in zip(kept, task.backbone.parameters(), strict=True))
    assert task.stage == 1
    run(task, 3, 0.5, 0.8)
    assert all(torch.equal(a, b) for a, b in zip(kept, task.snapshot.module.parameters(), strict=True))
    found = task._clustered(batch, (16,))
    network = task.snapshot.module
    torch.testing.assert_close(found, network.layer_outputs(network.tokenize(batch))[0])
    assert task.latent.counts.sum() > 0
    assert task.latent.fitting == 0
    assert task(batch, generator()).metrics["chance_loss"].item() == pytest.approx(math.log(9))


def test_the_middle_layer_is_the_default() -> None:
    task = task_of(recluster=(0.5,))
    task.after_step(0.5)
    assert task.snapshot is not None
    network = task.snapshot.module
    layers = network.layer_outputs(network.tokenize(toy_batch("frames")))
    assert len(layers) == 2
    torch.testing.assert_close(task._clustered(toy_batch("frames"), (16,)), layers[0])


def test_several_reclusterings_forget_the_clusters_of_before() -> None:
    task = task_of(recluster=(0.3, 0.6), fit=0.1)
    run(task, 4, 0.0, 0.45)
    assert task.latent is not None
    seen = task.latent.seen.clone()
    assert seen > 0
    task.after_step(0.6)
    assert task.stage == 2
    assert task.latent.seen == 0
    assert task.latent.fitting == 1


@pytest.mark.parametrize("stopped_at", [0.2, 0.42, 0.8])
def test_a_run_goes_on_as_if_it_had_not_stopped(stopped_at: float) -> None:
    whole, first = task_of(recluster=(0.4,), fit=0.1), task_of(recluster=(0.4,), fit=0.1)
    for task in (whole, first):
        run(task, 4, 0.0, stopped_at)
    torch.manual_seed(9)
    second = task_of(recluster=(0.4,), fit=0.1)
    second.load_state_dict(first.state_dict())
    a, b = (run(task, 4, stopped_at, 1.0) for task in (whole, second))
    assert a == b
    assert all(torch.equal(x, y) for x, y in zip(whole.state_dict().values(), second.state_dict().values(), strict=True))


def test_one_cluster_for_all_is_seen() -> None:
    task = task_of()
    task.first.fitting.zero_()
    task.first.centroids.copy_(torch.cat([torch.zeros(1, 32), torch.full((5, 32), 1e3)]))
    assert task(toy_batch("frames"), generator()).metrics["codebook_perplexity"].item() == pytest.approx(1)


def test_clusters_are_named_better_and_better() -> None:
    task = task_of(features=Place, n_clusters=4, recluster=())
    run(task, 12, end=0.04)
    optimizer = torch.optim.AdamW([p for p in task.parameters() if p.requires_grad], lr=3e-3)
    outputs = []
    for step in range(60):
        outputs.append(task(toy_batch("frames", seed=step), generator(step)))
        optimizer.zero_grad()
        outputs[-1].loss.backward()
        optimizer.step()
    assert sum(out.loss.item() for out in outputs[-5:]) < 0.5 * sum(out.loss.item() for out in outputs[:5])
    assert outputs[-1].metrics["accuracy"] > 0.8


@pytest.mark.parametrize("recluster", [(0.5, 0.4), (0.0,), (1.0,), (0.3, 0.3)])
def test_reclusterings_that_do_not_rise_are_refused(recluster: tuple[float, ...]) -> None:
    with pytest.raises(ConfigError, match="must rise between 0 and 1"):
        cluster_prediction_recipe(recluster=recluster)
