import pytest
import torch
from torch.nn import functional as F

from selfsup.evaluation.maths import neighbours
from selfsup.evaluation.maths.neighbours import nearest

DTYPES = [torch.bfloat16, torch.float32]


def _clouds():
    g = torch.Generator().manual_seed(0)
    base = torch.randn(3200, 24, generator=g)
    centres = torch.randn(8, 24, generator=g)
    return {
        "isotropic": base,
        "narrow cone": base + 30 * torch.randn(24, generator=g),
        "tight clusters": centres[torch.randint(8, (3200,), generator=g)] + 0.01 * base,
        "few dimensions": base[:, :3] @ torch.randn(3, 24, generator=g),
        "not normalised": base * torch.rand(3200, 1, generator=g) * 100,
    }


@pytest.mark.parametrize("name", list(_clouds()))
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("k", [1, 20])
def test_scores_are_those_of_exact_search(name, dtype, k):
    cloud = _clouds()[name] if name == "not normalised" else F.normalize(_clouds()[name], dim=1)
    database, queries = cloud[:3000], cloud[3000:]
    found = nearest(queries, database, k, dtype=dtype)
    exact = queries.double() @ database.double().T
    expected = exact.topk(k, dim=1).values
    scale = float(expected.abs().max())
    assert torch.allclose(found.scores.double(), expected, atol=2e-6 * scale, rtol=0)
    assert torch.allclose(exact.gather(1, found.indices), expected, atol=2e-6 * scale, rtol=0)
    assert all(len(set(row)) == k for row in found.indices.tolist())


def test_neighbours_that_bfloat16_cannot_tell_apart_are_found():
    # All rows lie within 1e-4 of each other: bfloat16, whose numbers near 1 are 0.004 apart, sees one point.
    g = torch.Generator().manual_seed(0)
    direction = F.normalize(torch.randn(32, generator=g), dim=0)
    database = F.normalize(direction + 1e-4 * torch.randn(2000, 32, generator=g), dim=1)
    query = F.normalize(direction + 1e-4 * torch.randn(10, 32, generator=g), dim=1)
    assert len((query @ database.T).bfloat16().unique()) == 1
    found = nearest(query, database, 5, dtype=torch.bfloat16)
    exact = query.double() @ database.double().T
    # float32 itself rounds scores near 1 to 6e-8
    assert (exact.topk(5, dim=1).values - exact.gather(1, found.indices) < 3e-7).all()


def test_queries_that_rounding_could_have_misled_are_searched_again(monkeypatch):
    rounds = []
    search = neighbours._search
    monkeypatch.setattr(neighbours, "_search", lambda *args: rounds.append((len(args[0]), args[4])) or search(*args))
    g = torch.Generator().manual_seed(0)
    clear, blurred = (
        torch.randn(50, 16, generator=g),
        torch.randn(1, 16, generator=g) + 1e-3 * torch.randn(500, 16, generator=g),
    )
    database = F.normalize(torch.cat([clear, blurred]), dim=1)
    queries = database[[60, 70]]  # 500 rows are as near to them as bfloat16 can tell
    found = nearest(queries, database, 3, dtype=torch.bfloat16)
    assert rounds == [(2, torch.bfloat16), (2, torch.float32)]
    assert found.indices[:, 0].tolist() == [60, 70]


@pytest.mark.parametrize("dtype", DTYPES)
def test_equal_rows_come_in_the_order_of_their_index(dtype):
    g = torch.Generator().manual_seed(0)
    rows = F.normalize(torch.randn(40, 8, generator=g), dim=1)
    database = rows.repeat(5, 1)[torch.randperm(200, generator=g)]
    found = nearest(rows, database, 12, dtype=dtype)
    for query, scores, indices in zip(rows, found.scores, found.indices, strict=True):
        same = (database == query).all(dim=1).nonzero().squeeze(1)
        assert indices[:5].tolist() == same.tolist()
        assert scores[:5].unique().numel() == 1
        assert all(a < b for a, b, s, t in zip(indices, indices[1:], scores, scores[1:], strict=False) if s == t)


@pytest.mark.parametrize("dtype", DTYPES)
def test_blocks_and_chunks_change_nothing(monkeypatch, dtype):
    g = torch.Generator().manual_seed(0)
    database, queries = torch.randn(1000, 16, generator=g), torch.randn(70, 16, generator=g)
    whole = nearest(queries, database, 10, dtype=dtype)
    monkeypatch.setattr(neighbours, "_BLOCK", 64)  # narrower than the candidates of a query
    monkeypatch.setattr(neighbours, "_CHUNK", 32)
    parts = nearest(queries, database, 10, dtype=dtype)
    assert torch.equal(whole.indices, parts.indices)
    assert torch.equal(whole.scores, parts.scores)


@pytest.mark.parametrize("dtype", DTYPES)
def test_all_rows_may_be_asked_for(dtype):
    database = torch.randn(30, 4, generator=torch.Generator().manual_seed(0))
    found = nearest(database[:3], database, 30, dtype=dtype)
    assert torch.equal(found.indices.sort(dim=1).values, torch.arange(30).expand(3, 30))
    assert (found.scores.diff(dim=1) <= 0).all()


def test_collapsed_embeddings_are_searched():
    database = F.normalize(torch.ones(500, 8), dim=1)
    found = nearest(database[:4], database, 7, dtype=torch.bfloat16)
    assert torch.allclose(found.scores, torch.ones(4, 7))
    assert all(len(set(row)) == 7 for row in found.indices.tolist())


@pytest.mark.parametrize("k", [0, 6])
def test_k_out_of_range_is_refused(k):
    with pytest.raises(ValueError, match=rf"k={k} is not in 1\.\.5"):
        nearest(torch.ones(1, 2), torch.ones(5, 2), k)
