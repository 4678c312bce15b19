"""Losses of pairs: CLIP's and SigLIP's against open_clip, correspondence by hand, and samples that show the same."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from selfsup import objectives
from selfsup.objectives import ViewEmbeddings
from selfsup.objectives.correspondence import ConcatHead, mismatched
from selfsup.objectives.parts.pairwise import Pairwise
from selfsup.objectives.parts.valid_rows import duplicates, not_compared
from selfsup.registry import registry
from selfsup.testing.kit.objective_checks import draw, small_objective, take_step
from selfsup.training.loop.optimizers import build_optimizer
from selfsup.training.run.config import OptimizationConfig

ROWS, WIDTH = 9, 6
TOLERANCE = 1e-9


def pair(seed: int = 0, rows: int = ROWS) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    a = torch.randn(rows, WIDTH, generator=generator, dtype=torch.float64)
    return [a.requires_grad_(), (a.detach() + torch.randn(a.shape, generator=generator, dtype=a.dtype)).requires_grad_()]


def clip(**options: object) -> objectives.CLIP:
    return objectives.CLIP(objectives.CLIPConfig(**options)).double()


def siglip(**options: object) -> objectives.SigLIP:
    return objectives.SigLIP(objectives.SigLIPConfig(**options)).double()


def loss_and_gradients(objective: nn.Module, views: list[Tensor], **given: object) -> tuple[Tensor, list[Tensor]]:
    loss = objective(ViewEmbeddings(views, [], 2, **given)).loss
    return loss.detach(), list(torch.autograd.grad(loss, [*views, *objective.parameters()]))


def same(found: list[Tensor], wanted: list[Tensor], tolerance: float = TOLERANCE) -> None:
    for one, other in zip(found, wanted, strict=True):
        assert float(other.abs().max()) > 1e-6, "no gradient to compare"
        torch.testing.assert_close(one, other, rtol=0, atol=tolerance)


@pytest.mark.parametrize("temperature", [0.07, 0.5])
def test_clip_equals_open_clip(temperature):
    theirs = pytest.importorskip("open_clip.loss").ClipLoss()
    objective, views = clip(temperature=temperature), pair()
    loss, gradients = loss_and_gradients(objective, views)
    unit = [F.normalize(view, dim=1) for view in views]
    wanted = theirs(*unit, objective.log_scale.exp())
    torch.testing.assert_close(loss, wanted.detach(), rtol=0, atol=TOLERANCE)
    same(gradients, list(torch.autograd.grad(wanted, [*views, objective.log_scale])))


@pytest.mark.parametrize("start", [{}, {"scale": 3.0, "bias": -1.0}])
def test_siglip_equals_open_clip(start):
    theirs = pytest.importorskip("open_clip.loss").SigLipLoss()
    objective, views = siglip(**start), pair()
    loss, gradients = loss_and_gradients(objective, views)
    unit = [F.normalize(view, dim=1) for view in views]
    wanted = theirs(*unit, objective.log_scale.exp(), objective.logit_bias)
    torch.testing.assert_close(loss, wanted.detach(), rtol=0, atol=TOLERANCE)
    same(gradients, list(torch.autograd.grad(wanted, [*views, objective.log_scale, objective.logit_bias])))


def test_scales_start_as_in_the_papers_and_clips_is_cut_after_a_step():
    assert math.isclose(float(clip().log_scale.detach().exp()), 1 / 0.07, rel_tol=1e-6)
    assert math.isclose(float(siglip().log_scale.detach().exp()), 10, rel_tol=1e-6)
    assert float(siglip().logit_bias.detach()) == -10
    objective = clip(max_scale=50.0)
    with torch.no_grad():
        objective.log_scale.fill_(6.0)
    assert float(objective(ViewEmbeddings(pair(), [], 2)).metrics["scale"]) == pytest.approx(math.exp(6))
    objective.after_step(0.5)
    assert float(objective.log_scale.detach().exp()) == pytest.approx(50)
    objective.after_step(0.6)
    assert float(objective.log_scale.detach().exp()) == pytest.approx(50)


@pytest.mark.parametrize("name", ["clip", "siglip", "correspondence"])
def test_learned_scales_and_biases_have_no_weight_decay(name):
    recipe = registry().load(registry().get("objective", name))
    objective = small_objective(recipe, {"head": "distance"} if name == "correspondence" else {})
    config = OptimizationConfig(**{**recipe.optimization, "weight_decay": 0.2})
    groups = build_optimizer(objective, config).param_groups
    assert [group["weight_decay"] for group in groups] == [0.0]
    assert {id(each) for each in groups[0]["params"]} == {id(each) for each in objective.parameters()}


@pytest.mark.parametrize("make", [clip, siglip, lambda: objectives.Correspondence(objectives.CorrespondenceConfig())])
def test_a_joint_space_is_compared_as_it_is(make):
    objective = make()
    assert isinstance(objective.build_joint_projector(7), nn.Identity)
    assert objective.build_projector(7)(torch.zeros(3, 7, dtype=torch.float32).to(torch.float32)).shape == (3, 512)


def test_chance_is_what_alike_pairs_come_to():
    alike = [torch.ones(ROWS, WIDTH, dtype=torch.float64)] * 2
    output = clip()(ViewEmbeddings(alike, [], 2))
    torch.testing.assert_close(output.loss, output.metrics["chance_loss"].double())
    objective = siglip()
    with torch.no_grad():  # the bias that suits: all pairs then have the odds 1 to N - 1
        objective.logit_bias.copy_(math.log(1 / (ROWS - 1)) - objective.log_scale.exp())
    output = objective(ViewEmbeddings(alike, [], 2))
    torch.testing.assert_close(output.loss, output.metrics["chance_loss"])
    (slope,) = torch.autograd.grad(output.loss, objective.logit_bias)
    assert abs(float(slope)) < 1e-9
    head = objectives.Correspondence(objectives.CorrespondenceConfig(output_dim=WIDTH)).double()
    with torch.no_grad():
        head.head.layers[-1].weight.zero_()
        head.head.layers[-1].bias.zero_()
    output = head(ViewEmbeddings(alike, [], 2))
    torch.testing.assert_close(output.loss, output.metrics["chance_loss"])
    assert math.isclose(float(output.loss.detach()), math.log(2))


@pytest.mark.parametrize("rows", [2, 3, 8])
def test_each_sample_meets_another_and_each_pair_as_often(rows):
    met = torch.zeros(rows, rows)
    for seed in range(300):
        other, there = mismatched(torch.ones(rows, dtype=torch.bool), torch.Generator().manual_seed(seed))
        assert there.all()
        assert sorted(other.tolist()) == list(range(rows))
        met[torch.arange(rows), other] += 1
    assert not met.diagonal().any()
    assert float(met.sum(dim=0).min()) == 300
    off = met[~torch.eye(rows, dtype=torch.bool)]
    assert float(off.min()) > 0.5 * 300 / (rows - 1)
    valid = torch.arange(rows) != 1
    other, there = mismatched(valid, torch.Generator().manual_seed(1))
    assert there.tolist() == (valid if rows > 2 else torch.zeros(2, dtype=torch.bool)).tolist()
    assert 1 not in other[there].tolist()


@pytest.mark.parametrize("head", ["concat", "distance"])
def test_correspondence_is_cross_entropy_of_matched_and_mixed_up_pairs(head):
    torch.manual_seed(0)
    objective = objectives.Correspondence(objectives.CorrespondenceConfig(output_dim=WIDTH, head=head)).double()
    a, b = pair()
    draws = torch.Generator().manual_seed(3)
    other, _ = mismatched(torch.ones(ROWS, dtype=torch.bool), torch.Generator().manual_seed(3))
    output = objective(ViewEmbeddings([a, b], [], 2, generator=draws))

    def score(x: Tensor, y: Tensor) -> Tensor:
        if isinstance(objective.head, ConcatHead):
            first, _, second = objective.head.layers
            return second(first(torch.cat([x, y])).relu()).squeeze()
        distance = (F.normalize(x, dim=0) - F.normalize(y, dim=0)).norm()
        return (objective.head.weight * distance + objective.head.bias).squeeze()

    right = [score(a[i], b[i]) for i in range(ROWS)]
    wrong = [score(a[i], b[other[i]]) for i in range(ROWS)]
    by_hand = torch.stack([*(-s.sigmoid().log() for s in right), *(-(-s).sigmoid().log() for s in wrong)]).mean()
    torch.testing.assert_close(output.loss, by_hand, rtol=0, atol=TOLERANCE)
    leaves = [a, b, *objective.parameters()]
    same(list(torch.autograd.grad(output.loss, leaves)), list(torch.autograd.grad(by_hand, leaves)))
    hits = sum(bool(s > 0) for s in right) + sum(bool(s <= 0) for s in wrong)
    assert float(output.metrics["accuracy"]) == pytest.approx(hits / (2 * ROWS))


GROUPS = torch.tensor([[1, -1], [2, -1], [1, -1], [3, 5], [4, 5], [6, -1], [7, -1], [8, 0], [9, 0]])
"""Rows 0 and 2 show the same in the first view, rows 3 and 4, and 7 and 8, in the second; -1 is like nothing."""
SAME = {(0, 2), (2, 0), (3, 4), (4, 3), (7, 8), (8, 7)}


def test_rows_with_an_equal_number_in_a_column_are_duplicates():
    assert {tuple(place) for place in duplicates(GROUPS).nonzero().tolist()} == SAME
    valid = torch.arange(ROWS) != 4
    left_out = not_compared(valid, GROUPS)
    assert {tuple(place) for place in left_out.nonzero().tolist()} == SAME | {(row, 4) for row in range(ROWS)}
    assert not_compared(None, None) is None


def negatives(row: int) -> list[int]:
    return [other for other in range(ROWS) if other != row and (row, other) not in SAME]


def info_nce(queries: Tensor, own: Tensor, candidates: list[Tensor], temperature: float, positive: bool = True) -> Tensor:
    """The mean of -log softmax of each query's own candidate among all of them but duplicates; ``own`` left out for DCL."""
    losses = []
    for row, query in enumerate(queries):
        scores = torch.stack([query @ each[other] for each in candidates for other in negatives(row)]) / temperature
        mine = query @ own[row] / temperature
        every = torch.cat([scores, mine[None]]) if positive else scores
        losses.append(every.logsumexp(dim=0) - mine)
    return torch.stack(losses).mean()


def by_hand(id: str, a: Tensor, b: Tensor) -> Tensor:
    a, b = F.normalize(a, dim=1), F.normalize(b, dim=1)
    match id:
        case "clip":
            return (info_nce(a, b, [b], 0.07) + info_nce(b, a, [a], 0.07)) / 2
        case "simclr" | "dcl":
            both = [info_nce(x, y, [x, y], 0.1, positive=id == "simclr") for x, y in ((a, b), (b, a))]
            return torch.stack(both).mean()
    logits = [
        (10 * a[i] @ b[j] - 10) * (1 if i == j else -1)
        for i in range(ROWS)
        for j in range(ROWS)
        if i == j or (i, j) not in SAME
    ]
    return -F.logsigmoid(torch.stack(logits)).sum() / ROWS


@pytest.mark.parametrize("id", ["clip", "siglip", "simclr", "dcl"])
def test_duplicates_are_no_negatives_of_each_other(id):
    recipe = registry().load(registry().get("objective", id))
    objective, (a, b) = recipe.build(recipe.config()).double(), pair()
    loss = objective(ViewEmbeddings([a, b], [], 2, groups=GROUPS)).loss
    wanted = by_hand(id, a, b)
    torch.testing.assert_close(loss, wanted, rtol=0, atol=1e-6)
    same(list(torch.autograd.grad(loss, [a, b])), list(torch.autograd.grad(wanted, [a, b])), 1e-6)
    assert abs(float((objective(ViewEmbeddings([a, b], [], 2)).loss - wanted).detach())) > 1e-4
    if "ignore_duplicates" in recipe.config.model_fields:
        counted = recipe.build(recipe.config(ignore_duplicates=False)).double()
        plain = objective(ViewEmbeddings([a, b], [], 2)).loss
        assert torch.equal(counted(ViewEmbeddings([a, b], [], 2, groups=GROUPS)).loss, plain)


@pytest.mark.parametrize("id", ["mocov2", "mocov3", "cola"])
def test_duplicates_do_not_reach_the_other_contrasts(id):
    """What a row's duplicates hold changes neither its loss nor its gradient: with one other row there is no negative left."""
    recipe = registry().load(registry().get("objective", id))
    objective = small_objective(recipe)
    twins = torch.arange(12)[:, None].expand(12, 2) // 2 * 0
    found = take_step(objective, draw(objective, 0), groups=twins.clone())
    assert abs(float(found.output.loss.detach())) < 1e-12
    assert not any(gradient.abs().max() > 1e-12 for gradient in found.gradients)
    apart = take_step(small_objective(recipe), draw(objective, 0), groups=torch.arange(24).view(12, 2))
    plain = take_step(small_objective(recipe), draw(objective, 0))
    assert torch.equal(apart.output.loss, plain.output.loss)
    assert float(plain.output.loss.detach()) > 1e-3


def test_a_pair_that_shows_the_same_is_not_mixed_up():
    torch.manual_seed(0)
    objective = objectives.Correspondence(objectives.CorrespondenceConfig(output_dim=WIDTH)).double()
    views = pair()

    def run(**given: object) -> objectives.LossOutput:
        return objective(ViewEmbeddings(views, [], 2, generator=torch.Generator().manual_seed(0), **given))

    scores = objective.head(*views)
    alone = F.binary_cross_entropy_with_logits(scores, torch.ones_like(scores))
    all_same = run(groups=torch.zeros(ROWS, 2, dtype=torch.long))
    torch.testing.assert_close(all_same.loss, alone)
    assert int(all_same.weight) == ROWS
    assert int(run(groups=torch.arange(2 * ROWS).view(ROWS, 2)).weight) == 2 * ROWS
    assert torch.equal(run(groups=torch.full((ROWS, 2), -1)).loss, run().loss)


@pytest.mark.parametrize("name", ["clip", "siglip", "correspondence"])
def test_three_parts_are_compared_pair_by_pair_over_the_rows_that_have_both(name):
    recipe = registry().load(registry().get("objective", name))
    objective = Pairwise(recipe.build(recipe.config()), 3)
    assert isinstance(objective.build_joint_projector(WIDTH), nn.Identity)
    objective.double()
    views = [view.detach().requires_grad_() for view in (*pair(0), pair(1)[0])]
    valid = [torch.arange(ROWS) % 3 != part for part in range(3)]
    groups = torch.arange(3 * ROWS).view(ROWS, 3)
    groups[1, 2] = groups[7, 2]
    output = objective(ViewEmbeddings(views, [], 3, valid=valid, groups=groups, generator=torch.Generator().manual_seed(0)))
    found = list(torch.autograd.grad(output.loss, views))
    generator, losses, weights = torch.Generator().manual_seed(0), [], []
    for (a, b), one in zip(((0, 1), (0, 2), (1, 2)), objective.copies, strict=True):
        both = valid[a] & valid[b]
        given = {"groups": groups[both][:, [a, b]], "generator": generator}
        single = one(ViewEmbeddings([views[a][both], views[b][both]], [], 2, **given))
        losses.append(single.loss)
        weights.append(int(both.sum()) if single.weight is None else int(single.weight))
    wanted = torch.stack(losses).mean()
    torch.testing.assert_close(output.loss, wanted, rtol=0, atol=TOLERANCE)
    same(found, list(torch.autograd.grad(wanted, views)))
    assert [int(term.weight) for term in output.terms] == weights
    assert all(gradient[~own].abs().max() == 0 for gradient, own in zip(found, valid, strict=True))
