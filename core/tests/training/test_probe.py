from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from selfsup.backbones import Backbone, Encoded
from selfsup.errors import DataError
from selfsup.training.observe.online_probe import MAX_ROWS, OnlineProbe, batches_of, embed
from selfsup.types import Batch


def _clusters(n: int, dim: int, spread: float) -> tuple[torch.Tensor, np.ndarray]:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 4, n)
    centres = rng.standard_normal((4, dim)) * spread
    return torch.from_numpy(centres[labels] + rng.standard_normal((n, dim))).float(), labels


@pytest.mark.parametrize("dim", [8, 400])
def test_accuracy_is_high_where_classes_part_and_chance_where_not(dim: int) -> None:
    for spread, low, high in ((3.0, 0.97, 1.0), (0.0, 0.1, 0.4)):
        embeddings, labels = _clusters(400, dim, spread)
        probe = OnlineProbe(labels, seed=0)
        assert low <= probe.score(embeddings[probe.indices]) <= high


def test_the_rows_that_are_fitted_are_not_those_that_are_scored() -> None:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, 300)
    probe = OnlineProbe(labels, seed=0)
    assert len(np.unique(probe.indices)) == 300
    # One-hot rows can be learned by heart, and tell nothing of other rows.
    assert probe.score(torch.eye(300)[probe.indices]) < 0.65


def test_at_most_two_thousand_rows_are_used_and_classes_are_parted_evenly() -> None:
    labels = np.repeat(np.arange(5), 1000)
    probe = OnlineProbe(labels, seed=3)
    assert len(probe.indices) == MAX_ROWS
    fit = labels[probe.indices[: MAX_ROWS // 2]]
    score = labels[probe.indices[MAX_ROWS // 2 :]]
    assert np.abs(np.bincount(fit) - np.bincount(score)).max() <= 1


def test_one_class_is_refused() -> None:
    with pytest.raises(DataError, match="have 1 class"):
        OnlineProbe(np.zeros(10, dtype=np.int64), seed=0)


def test_numbers_and_several_classes_have_probes_of_their_own() -> None:
    rng = np.random.default_rng(0)
    features = torch.from_numpy(rng.standard_normal((300, 6)))
    numbers = (features @ torch.tensor([3.0, -1, 0, 0, 2, 0], dtype=torch.float64)).numpy() * 1e3 + 1e6
    probe = OnlineProbe(numbers, seed=0)
    assert probe.metric == "probe_r2"
    assert probe.score(features[probe.indices]) > 0.99
    assert probe.score(torch.from_numpy(rng.standard_normal((300, 6)))) < 0.1
    several = (features[:, :3] > 0.5).numpy().astype(np.int8)
    probe = OnlineProbe(several, seed=0)
    assert probe.metric == "probe_map"
    assert probe.score(features[probe.indices]) > 0.95
    for labels in (np.full(20, 1.5), np.ones((20, 2), dtype=np.int8)):
        with pytest.raises(DataError, match="all equal"):
            OnlineProbe(labels, seed=0)


class Noisy(Backbone):
    modality = "sequence"
    embed_dim = 3

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(3)
        self.dropout = nn.Dropout(0.5)
        self.frozen = nn.BatchNorm1d(3).eval()

    def forward(self, batch: Batch) -> Encoded:
        if self.training:
            torch.rand(1)
        return Encoded(self.frozen(self.dropout(self.norm(batch["x"]))))


def test_a_look_leaves_state_modes_and_random_numbers_as_they_were() -> None:
    backbone = Noisy()
    before = {name: value.clone() for name, value in backbone.state_dict().items()}
    random = torch.get_rng_state()
    x = torch.arange(12.0).reshape(4, 3)
    embeddings = embed(backbone, [{"x": x[:2]}, {"x": x[2:]}])[""]
    assert embeddings.shape == (4, 3)
    assert not embeddings.requires_grad
    assert torch.equal(torch.get_rng_state(), random)
    assert all(torch.equal(value, before[name]) for name, value in backbone.state_dict().items())
    assert [backbone.norm.training, backbone.dropout.training, backbone.frozen.training] == [True, True, False]


def test_indices_are_cut_into_pieces() -> None:
    assert [part.tolist() for part in batches_of(np.arange(5), 2)] == [[0, 1], [2, 3], [4]]
