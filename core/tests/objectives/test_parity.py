"""Losses and their gradients against lightly 1.6.0, and against the papers' formulas written out by hand."""

from __future__ import annotations

from collections.abc import Callable

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


def same(ours: Callable[..., Tensor], theirs: Callable[..., Tensor], *inputs: Tensor) -> bool:
    """Whether two losses agree, and the gradients of every input too; an input that neither looks at has none."""
    found = []
    for loss in (ours, theirs):
        leaves = [tensor.detach().clone().requires_grad_() for tensor in inputs]
        value = loss(*leaves)
        gradients = torch.autograd.grad(value, leaves, allow_unused=True, materialize_grads=True)
        found.append((value, gradients))
    (value, gradients), (other, others) = found
    assert max(float(gradient.abs().max()) for gradient in others) > 1e-4, "no gradient to compare"
    scales = [float(its.abs().max()) or 1.0 for its in others]
    apart = [float((mine - its).abs().max()) / scale for mine, its, scale in zip(gradients, others, scales, strict=True)]
    return close(value, other) and max(apart) < TOLERANCE


def given(objective: objectives.JointEmbeddingObjective, n_target: int, **fields: object) -> Callable[..., Tensor]:
    """The loss of an objective as a function of the views, those of the target network last (they arrive without gradient)."""

    def loss(*views: Tensor) -> Tensor:
        online, target = views[: len(views) - n_target], [view.detach() for view in views[len(views) - n_target :]]
        return objective(ViewEmbeddings(online=list(online), target=target, n_global=2, **fields)).loss

    return loss


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
    views = random_views(2, *shape, seed=sum(shape))
    assert same(lambda a, b: objectives.nt_xent(a, b, 0.2), lightly.NTXentLoss(temperature=0.2), *views)
    assert same(lambda a, b: objectives.barlow_twins(a, b, 0.02), lightly.BarlowTwinsLoss(lambda_param=0.02), *views)
    assert same(lambda a, b: objectives.vicreg(a, b, 10.0, 5.0, 2.0), lightly.VICRegLoss(10.0, 5.0, 2.0), *views)
    cosine = lightly.NegativeCosineSimilarity()
    assert same(objectives.negative_cosine, lambda prediction, target: cosine(prediction, target.detach()), *views)
    assert same(lambda a, b: objectives.dcl(a, b, 0.3), lightly.DCLLoss(temperature=0.3), *views)


def test_whole_objectives_equal_lightly():
    lightly = pytest.importorskip("lightly.loss")
    views, targets = random_views(2), random_views(2, seed=8)
    ntxent = lightly.NTXentLoss(temperature=0.1)
    assert same(given(objectives.SimCLR(objectives.SimCLRConfig()), 0), ntxent, *views)
    assert same(given(objectives.DCL(objectives.DCLConfig()), 0), lightly.DCLLoss(temperature=0.1), *views)
    assert same(given(objectives.BarlowTwins(objectives.BarlowTwinsConfig()), 0), lightly.BarlowTwinsLoss(), *views)
    assert same(given(objectives.VICReg(objectives.VICRegConfig()), 0), lightly.VICRegLoss(), *views)
    cosine = lightly.NegativeCosineSimilarity()
    assert same(
        given(objectives.SimSiam(objectives.SimSiamConfig()), 2),
        lambda p, q, x, y: (cosine(p, y.detach()) + cosine(q, x.detach())) / 2,
        *views,
        *targets,
    )


def test_dcl_with_weighted_positives_is_equation_7():
    tau, sigma = 0.1, 0.5

    def by_hand(*views: Tensor) -> Tensor:
        a, b = (F.normalize(view, dim=1) for view in views)
        n, total = len(a), torch.zeros((), dtype=torch.float64)
        for mine, other in ((a, b), (b, a)):
            # The weights are constants: as in the authors' code and in lightly, no gradient flows through them.
            shares = torch.stack([(mine[j] @ other[j]).detach() / sigma for j in range(n)]).exp()
            for i in range(n):
                weight = 2 - n * shares[i] / shares.sum()
                negatives = torch.stack([mine[i] @ x[j] / tau for x in (a, b) for j in range(n) if j != i])
                total = total - weight * (mine[i] @ other[i]) / tau + negatives.exp().sum().log()
        return total / (2 * n)

    assert same(lambda a, b: objectives.dcl(a, b, tau, sigma), by_hand, *random_views(2))


def test_tico_equals_lightly_over_several_batches():
    """The second moment that a batch is contrasted with holds the batch's own, and no gradient flows through it."""
    lightly = pytest.importorskip("lightly.loss")
    theirs = lightly.TiCoLoss(beta=0.8, rho=5.0)
    ours = objectives.TiCo(objectives.TiCoConfig(beta=0.8, rho=5.0, output_dim=12)).double()
    for seed in range(3):
        assert same(given(ours, 1), lambda a, b: theirs(a, b.detach()), *random_views(2, seed=seed))
    assert torch.allclose(ours.covariance, theirs.C)


def test_queue_contrast_equals_lightly_while_the_ring_goes_round():
    lightly = pytest.importorskip("lightly.loss")
    theirs = lightly.NTXentLoss(temperature=0.2, memory_bank_size=(48, 12)).double()
    ours = objectives.MoCoV2(objectives.MoCoV2Config(queue_size=48, output_dim=12)).double()
    ours.queue.embeddings.copy_(theirs.memory_bank.bank)
    ours.queue.filled.fill_(1)  # theirs counts the noise that it starts with
    for seed in range(5):
        assert same(given(ours, 1), lambda query, key: theirs(query, key.detach()), *random_views(2, seed=seed))
    assert torch.allclose(ours.queue.embeddings, theirs.memory_bank.bank)


def test_moco_v3_is_scaled_cross_entropy_over_the_keys():
    tau = 0.3

    def by_hand(query: Tensor, key: Tensor) -> Tensor:
        q, k = F.normalize(query, dim=1), F.normalize(key, dim=1)
        return -2 * tau * sum(F.log_softmax(q[i] @ k.T / tau, dim=0)[i] for i in range(len(q))) / len(q)

    assert same(lambda query, key: objectives.batch_contrast(query, key, tau), by_hand, *random_views(2))
    ours = given(objectives.MoCoV3(objectives.MoCoV3Config(temperature=tau)), 2)
    both = lambda q1, q2, k1, k2: by_hand(q1, k2.detach()) + by_hand(q2, k1.detach())  # noqa: E731
    assert same(ours, both, *random_views(4))


def test_byol_is_the_squared_distance_of_unit_vectors():
    def by_hand(prediction: Tensor, target: Tensor) -> Tensor:
        return (F.normalize(prediction, dim=1) - F.normalize(target, dim=1)).square().sum(dim=1).mean()

    ours = given(objectives.BYOL(objectives.BYOLConfig()), 2)
    both = lambda p, q, x, y: by_hand(p, y.detach()) + by_hand(q, x.detach())  # noqa: E731
    assert same(ours, both, *random_views(4))


@pytest.mark.parametrize("n_local", [0, 3])
def test_dino_equals_lightly_and_moves_its_center_alike(n_local):
    lightly = pytest.importorskip("lightly.loss")
    theirs = lightly.DINOLoss(output_dim=12, teacher_temp=0.04).double()
    config = objectives.DINOConfig(output_dim=12, warmup_fraction=0.0, teacher_temperature=0.04)
    ours = objectives.DINO(config).double()
    for seed in range(3):
        views = [*random_views(2 + n_local, seed=seed), *random_views(2, seed=seed + 100)]
        assert same(given(ours, 2), lambda *views: theirs([view.detach() for view in views[-2:]], list(views[:-2])), *views)
    assert torch.allclose(ours.center, theirs.center.flatten())
    assert float(ours.center.abs().max()) > 0.01


@pytest.mark.parametrize("n_local", [0, 3])
def test_swav_loss_equals_lightly(n_local):
    lightly = pytest.importorskip("lightly.loss")
    scores = [view.tanh() for view in random_views(2 + n_local)]
    theirs = lightly.SwaVLoss(temperature=0.1)

    def ours(*scores: Tensor) -> Tensor:
        codes = [objectives.sinkhorn(score.detach(), 0.05, 3) for score in scores[:2]]
        return objectives.swapped_prediction(list(scores), codes, 0.1)

    assert same(ours, lambda *scores: theirs(list(scores[:2]), list(scores[2:])), *scores)


def test_swav_queue_balances_codes_as_in_lightly():
    lightly = pytest.importorskip("lightly.loss")
    former = [view.tanh() for view in random_views(2, batch=40, seed=8)]
    theirs = lightly.SwaVLoss(temperature=0.1)

    def ours(*scores: Tensor) -> Tensor:
        balanced = [torch.cat([now.detach(), past]) for now, past in zip(scores, former, strict=True)]
        codes = [objectives.sinkhorn(both, 0.05, 3)[: len(scores[0])] for both in balanced]
        return objectives.swapped_prediction(list(scores), codes, 0.1)

    assert same(ours, lambda *scores: theirs(list(scores), [], former), *[view.tanh() for view in random_views(2)])


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

    def by_hand(x: Tensor) -> Tensor:
        statistics = []
        for direction in directions.T:
            sketch = x @ direction
            empirical = torch.stack([torch.polar(torch.ones_like(sketch), s * sketch).mean() for s in t])
            gaussian = (-t.square() / 2).exp()
            statistics.append(len(x) * torch.trapezoid(gaussian * (empirical - gaussian).abs().square(), t))
        return torch.stack(statistics).mean()

    assert same(lambda x: objectives.sigreg(x, directions), by_hand, x)


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
    objective = objectives.LeJEPA(objectives.LeJEPAConfig(n_slices=16))
    theirs = loss_class(lambda_param=0.05, sigreg_num_vectors=16).double()

    def ours(*views: Tensor) -> Tensor:
        return given(objective, 0, generator=torch.Generator().manual_seed(4))(*views)

    def seeded(*views: Tensor) -> Tensor:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(4)
            return theirs(local_proj=torch.stack(views[2:]), global_proj=torch.stack(views[:2]))

    assert same(ours, seeded, *random_views(5))


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
    objective, theirs = objectives.VICRegL(objectives.VICRegLConfig(alpha=alpha)), loss_class(alpha=alpha)
    grids = [place.view(batch, side, side, 2) for place in places]

    def ours(*tensors: Tensor) -> Tensor:
        return given(objective, 0, online_tokens=list(tensors[2:]), locations=places)(*tensors[:2])

    def its(*tensors: Tensor) -> Tensor:
        features = [(w, t.view(batch, side, side, -1)) for w, t in zip(tensors[:2], tensors[2:], strict=True)]
        return theirs(features, grids)

    assert same(ours, its, *whole, *tokens)


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
