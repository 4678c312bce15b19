"""Losses against the numbers of lightly 1.6.0, lightly itself on other inputs, and the papers' formulas written out by hand."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from selfsup import objectives
from selfsup.objectives import ViewEmbeddings
from selfsup.objectives.tico import tico

TOLERANCE = 1e-6


def reference_pair() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    a = torch.randn(64, 32, generator=generator, dtype=torch.float64)
    return a, a + 0.5 * torch.randn(64, 32, generator=generator, dtype=torch.float64)


def random_views(n: int, batch: int = 24, dim: int = 12, seed: int = 7) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [2 * torch.randn(batch, dim, generator=generator, dtype=torch.float64) + 0.3 for _ in range(n)]


def close(ours: Tensor, theirs: Tensor | float) -> bool:
    return abs(float(ours.detach()) - float(theirs.detach() if isinstance(theirs, Tensor) else theirs)) < TOLERANCE


def zeros(dim: int) -> Tensor:
    return torch.zeros(dim, dim, dtype=torch.float64)


@pytest.mark.parametrize(
    ("loss", "expected"),
    [
        pytest.param(lambda a, b: objectives.nt_xent(a, b, 0.1), 0.0741713825, id="nt-xent, tau .1"),
        pytest.param(lambda a, b: objectives.nt_xent(a, b, 0.5), 3.1598266580, id="nt-xent, tau .5"),
        pytest.param(lambda a, b: objectives.barlow_twins(a, b, 5e-3), 0.4521040116, id="barlow twins"),
        pytest.param(objectives.vicreg, 7.9415474878, id="vicreg"),
        pytest.param(objectives.negative_cosine, -0.8928979125, id="simsiam"),
        pytest.param(lambda a, b: objectives.dcl(a, b, 0.1), -2.6700316241, id="dcl"),
        pytest.param(lambda a, b: tico(a, b, zeros(32), 0.9, 8.0)[0], 0.1438218776, id="tico"),
    ],
)
def test_losses_give_the_published_numbers(loss, expected):
    assert close(loss(*reference_pair()), expected)


@pytest.mark.parametrize("shape", [(24, 12), (12, 12), (7, 30)])
def test_pairwise_losses_equal_lightly_on_other_inputs(shape):
    lightly = pytest.importorskip("lightly.loss")
    a, b = random_views(2, *shape, seed=sum(shape))
    assert close(objectives.nt_xent(a, b, 0.2), lightly.NTXentLoss(temperature=0.2)(a, b))
    assert close(objectives.barlow_twins(a, b, 0.02), lightly.BarlowTwinsLoss(lambda_param=0.02)(a, b))
    assert close(objectives.vicreg(a, b, 10.0, 5.0, 2.0), lightly.VICRegLoss(10.0, 5.0, 2.0)(a, b))
    assert close(objectives.negative_cosine(a, b), lightly.NegativeCosineSimilarity()(a, b))
    assert close(objectives.dcl(a, b, 0.3), lightly.DCLLoss(temperature=0.3)(a, b))


def test_dcl_with_weighted_positives_is_equation_7():
    a, b = (F.normalize(view, dim=1) for view in random_views(2))
    n, tau, sigma = len(a), 0.1, 0.5
    total = 0.0
    for mine, other in ((a, b), (b, a)):
        for i in range(n):
            positive = float(mine[i] @ other[i])
            weight = 2 - n * math.exp(positive / sigma) / sum(math.exp(float(mine[j] @ other[j]) / sigma) for j in range(n))
            negatives = sum(math.exp(float(mine[i] @ x[j]) / tau) for x in (a, b) for j in range(n) if j != i)
            total += -weight * positive / tau + math.log(negatives)
    assert close(objectives.dcl(a, b, tau, sigma), total / (2 * n))


def test_tico_equals_lightly_over_several_batches():
    lightly = pytest.importorskip("lightly.loss")
    theirs = lightly.TiCoLoss(beta=0.8, rho=5.0)
    moment = zeros(12)
    for seed in range(3):
        a, b = random_views(2, seed=seed)
        loss, moment = tico(a, b, moment, 0.8, 5.0)
        assert close(loss, theirs(a, b))


def test_queue_contrast_equals_lightly_while_the_ring_goes_round():
    lightly = pytest.importorskip("lightly.loss")
    theirs = lightly.NTXentLoss(temperature=0.2, memory_bank_size=(48, 12)).double()
    ours = objectives.MoCoV2(objectives.MoCoV2Config(queue_size=48, output_dim=12)).double()
    ours.queue.embeddings.copy_(theirs.memory_bank.bank)
    for seed in range(5):
        query, key = random_views(2, seed=seed)
        query.requires_grad_()
        loss = ours(ViewEmbeddings(online=[query], target=[key], n_global=2)).loss
        assert close(loss, theirs(query, key))
    assert torch.allclose(ours.queue.embeddings, theirs.memory_bank.bank)


def test_moco_v3_is_scaled_cross_entropy_over_the_keys():
    query, key = random_views(2)
    q, k = F.normalize(query, dim=1), F.normalize(key, dim=1)
    tau = 0.3
    expected = -2 * tau * sum(F.log_softmax(q[i] @ k.T / tau, dim=0)[i] for i in range(len(q))) / len(q)
    assert close(objectives.batch_contrast(query, key, tau), expected)


def test_byol_is_the_squared_distance_of_unit_vectors():
    prediction, target = random_views(2)
    distance = (F.normalize(prediction, dim=1) - F.normalize(target, dim=1)).square().sum(dim=1).mean()
    assert close(objectives.normalized_mse(prediction, target), distance)


@pytest.mark.parametrize("n_local", [0, 3])
def test_dino_equals_lightly_and_moves_its_center_alike(n_local):
    lightly = pytest.importorskip("lightly.loss")
    theirs = lightly.DINOLoss(output_dim=12, teacher_temp=0.04).double()
    config = objectives.DINOConfig(output_dim=12, warmup_fraction=0.0, teacher_temperature=0.04)
    ours = objectives.DINO(config).double()
    for seed in range(3):
        student, teacher = random_views(2 + n_local, seed=seed), random_views(2, seed=seed + 100)
        loss = ours(ViewEmbeddings(online=student, target=teacher, n_global=2)).loss
        assert close(loss, theirs(teacher, student))
    assert torch.allclose(ours.center, theirs.center.flatten())
    assert float(ours.center.abs().max()) > 0.01


@pytest.mark.parametrize("n_local", [0, 3])
def test_swav_loss_equals_lightly(n_local):
    lightly = pytest.importorskip("lightly.loss")
    scores = [view.tanh() for view in random_views(2 + n_local)]
    codes = [objectives.sinkhorn(score, 0.05, 3) for score in scores[:2]]
    expected = lightly.SwaVLoss(temperature=0.1)(scores[:2], scores[2:])
    assert close(objectives.swapped_prediction(scores, codes, 0.1), expected)


def test_swav_queue_balances_codes_as_in_lightly():
    lightly = pytest.importorskip("lightly.loss")
    scores = [view.tanh() for view in random_views(2)]
    former = [view.tanh() for view in random_views(2, batch=40, seed=8)]
    codes = [objectives.sinkhorn(torch.cat([now, past]), 0.05, 3)[: len(now)] for now, past in zip(scores, former, strict=True)]
    expected = lightly.SwaVLoss(temperature=0.1)(scores, [], former)
    assert close(objectives.swapped_prediction(scores, codes, 0.1), expected)


def test_sinkhorn_weights_count_samples_several_times():
    (scores,) = random_views(1, batch=10)
    weights = torch.tensor([1.0] * 8 + [2.0, 0.0], dtype=torch.float64)
    repeated = objectives.sinkhorn(torch.cat([scores[:9], scores[8:9]]), 0.5, 3)[:9]
    assert torch.allclose(objectives.sinkhorn(scores, 0.5, 3, weights)[:9], repeated)


def test_sinkhorn_stays_finite_where_exponentials_would_not():
    codes = objectives.sinkhorn(500 * torch.randn(16, 8, generator=torch.Generator().manual_seed(0)), 0.05, 3)
    assert torch.isfinite(codes).all()


def test_sigreg_is_the_epps_pulley_statistic():
    generator = torch.Generator().manual_seed(3)
    x = torch.randn(20, 5, generator=generator, dtype=torch.float64).exp()
    directions = objectives.random_directions(5, 4, x, generator)
    t = torch.linspace(-3, 3, 33, dtype=torch.float64)
    statistics = []
    for direction in directions.T:
        sketch = x @ direction
        empirical = torch.stack([torch.polar(torch.ones_like(sketch), s * sketch).mean() for s in t])
        gaussian = (-t.square() / 2).exp()
        statistics.append(len(x) * torch.trapezoid(gaussian * (empirical - gaussian).abs().square(), t))
    assert close(objectives.sigreg(x, directions), torch.stack(statistics).mean())


def test_sigreg_statistic_is_small_for_a_gaussian_only():
    generator = torch.Generator().manual_seed(3)
    gaussian = torch.randn(2000, 4, generator=generator, dtype=torch.float64)
    directions = objectives.random_directions(4, 64, gaussian, generator)
    right = float(objectives.sigreg(gaussian, directions))
    assert right < 1
    assert float(objectives.sigreg(2 * gaussian, directions)) > 50 * right
    assert float(objectives.sigreg(torch.zeros_like(gaussian), directions)) > 50 * right


def test_lejepa_equals_lightly():
    loss_class = pytest.importorskip("lightly.loss.lejepa_loss").LeJEPALoss
    views = random_views(5)
    config = objectives.LeJEPAConfig(n_slices=16)
    generator = torch.Generator().manual_seed(4)
    ours = objectives.LeJEPA(config)(ViewEmbeddings(online=views, target=[], n_global=2, generator=generator))
    theirs = loss_class(lambda_param=0.05, sigreg_num_vectors=16).double()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(4)
        expected = theirs(local_proj=torch.stack(views[2:]), global_proj=torch.stack(views[:2]))
    assert close(ours.loss, expected)


def test_directions_come_from_the_generator_and_have_unit_length():
    like = torch.zeros(1, dtype=torch.float64)
    before = torch.get_rng_state()
    first, second = (objectives.random_directions(6, 9, like, torch.Generator().manual_seed(1)) for _ in range(2))
    assert torch.equal(first, second)
    assert torch.allclose(first.norm(dim=0), torch.ones(9, dtype=torch.float64))
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize("alpha", [0.75, 0.0])
@pytest.mark.parametrize("batch", [5, 14])
def test_vicregl_equals_lightly(alpha, batch):
    loss_class = pytest.importorskip("lightly.loss").VICRegLLoss
    generator = torch.Generator().manual_seed(5)
    side = 5
    whole = random_views(2, batch=batch)
    tokens = [torch.randn(batch, side * side, 6, generator=generator, dtype=torch.float64) for _ in range(2)]
    places = [torch.rand(batch, side * side, 2, generator=generator, dtype=torch.float64) for _ in range(2)]
    ours = objectives.VICRegL(objectives.VICRegLConfig(alpha=alpha))(
        ViewEmbeddings(online=whole, target=[], n_global=2, online_tokens=tokens, locations=places)
    )
    features = [(w, t.view(batch, side, side, -1)) for w, t in zip(whole, tokens, strict=True)]
    grids = [place.view(batch, side, side, 2) for place in places]
    assert close(ours.loss, loss_class(alpha=alpha)(features, grids))


def test_matches_are_mutually_nearest_first_and_skip_padding():
    a = torch.tensor([[[0.0], [10.0], [20.0]]])
    b = torch.tensor([[[19.0], [0.5], [4.0], [10.1]]])
    distances = (a - b.mT).abs()
    first, second = objectives.match_tokens(a, b, distances, 2)
    assert first.flatten().tolist() == [10.0, 0.0]
    assert torch.equal(second.flatten(), torch.tensor([10.1, 0.5]))
    padding_a = torch.tensor([[False, True, True]])
    padding_b = torch.tensor([[False, True, False, False]])
    first, second = objectives.match_tokens(a, b, distances, 2, padding_a, padding_b)
    assert first.flatten().tolist() == [0.0, 0.0]
    assert second.flatten().tolist() == [4.0, 4.0]


def test_gradients_equal_those_of_finite_differences():
    a, b = (view[:6, :4].clone().requires_grad_() for view in random_views(2))
    losses = {
        "nt_xent": lambda a, b: objectives.nt_xent(a, b, 0.5),
        "dcl": lambda a, b: objectives.dcl(a, b, 0.5),
        "barlow_twins": lambda a, b: objectives.barlow_twins(a, b, 0.1),
        "vicreg": objectives.vicreg,
        "sigreg": lambda a, b: objectives.sigreg(torch.stack([a, b]), torch.eye(4, dtype=torch.float64)),
    }
    losses["wide vicreg"] = lambda a, b: objectives.vicreg(a[:3], b[:3])
    losses["wide barlow_twins"] = lambda a, b: objectives.barlow_twins(a[:3], b[:3], 0.1)
    for name, loss in losses.items():
        assert torch.autograd.gradcheck(loss, (a, b)), name
