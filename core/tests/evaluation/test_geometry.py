import math

import pytest
import torch
from scipy.spatial.distance import pdist

from selfsup.evaluation.evaluators import geometry
from selfsup.evaluation.evaluators.geometry import alignment, effective_dimension, rankme, uniformity


def _cloud(n=200, dim=16, seed=0):
    return torch.randn(n, dim, generator=torch.Generator().manual_seed(seed)) * torch.logspace(0, -3, dim) + 1


@pytest.mark.parametrize("shape", [(200, 16), (12, 30)])
def test_rankme_is_the_papers_formula_on_singular_values(shape):
    z = _cloud(*shape)
    sigma = torch.linalg.svdvals(z.double())
    p = sigma / sigma.sum() + 1e-7
    assert rankme(z) == pytest.approx(math.exp(-float((p * p.log()).sum())), rel=1e-6)


def test_rankme_of_known_clouds():
    assert rankme(torch.eye(8)) == pytest.approx(8, rel=1e-4)
    assert rankme(torch.ones(50, 8)) == pytest.approx(1, abs=1e-3)
    assert math.isfinite(rankme(torch.zeros(5, 4)))


@pytest.mark.parametrize("shape", [(200, 16), (12, 30)])
def test_effective_dimension_is_the_participation_ratio_of_the_eigenvalues(shape):
    z = _cloud(*shape)
    eigenvalues = torch.linalg.eigvalsh(torch.cov(z.double().T))
    expected = float(eigenvalues.sum() ** 2 / eigenvalues.square().sum())
    assert effective_dimension(z) == pytest.approx(expected, rel=1e-9)
    assert effective_dimension(torch.ones(9, 4)) == 0


def test_alignment_and_uniformity_are_the_papers_formulas(monkeypatch):
    a, b = _cloud(), _cloud(seed=1)
    na, nb = (torch.nn.functional.normalize(z.double(), dim=1) for z in (a, b))
    assert alignment(a, b) == pytest.approx(float((na - nb).norm(dim=1).pow(2).mean()), rel=1e-9)
    assert alignment(a, 3 * a) == pytest.approx(0, abs=1e-12)
    # The authors' code: torch.pdist(x, p=2).pow(2).mul(-t).exp().mean().log()
    expected = math.log(float(torch.from_numpy(pdist(na.numpy())).pow(2).mul(-2).exp().mean()))
    assert uniformity(a) == pytest.approx(expected, rel=1e-5)
    monkeypatch.setattr(geometry, "_CHUNK", 37)
    assert uniformity(a) == pytest.approx(expected, rel=1e-5)


def test_collapse_is_the_worst_uniformity():
    assert uniformity(torch.ones(50, 4)) == pytest.approx(0, abs=1e-6)
    assert uniformity(_cloud()) < 0
