"""The leak checks pass a clean transformation on noise, and catch what gives the answer away."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
import torch

from selfsup.tasks import Transformation, Transformed
from selfsup.testing import LEAK_CHECKS, LeakCase, leak_cases, parametrize_leaks
from selfsup.testing.kit.leak_checks import check_linear_leak, check_trained_leak, common_ids, revealed, score, with_all_keys
from selfsup.testing.toy.sequences.installed import installed
from selfsup.types import Batch


@pytest.fixture(autouse=True)
def _toy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with installed(tmp_path_factory.mktemp("toy")):
        yield


class Planted(Transformation):
    """Segment order, which gives its answer away."""

    def __init__(self, clean: Any, how: str) -> None:
        super().__init__()
        self.clean, self.how = clean, how
        self.kind, self.n_outputs = clean.kind, clean.n_outputs
        if how == "coordinates":
            self.kind, self.n_outputs = "coordinates", 1

    def forward(self, batch: Batch, generator: torch.Generator | None) -> Transformed:
        if self.how == "coordinates":
            level = torch.randint(4, (len(batch["sequence"]),), generator=generator)
            marked = torch.cat([4 * level.unsqueeze(1), batch["sequence"][:, 1:]], dim=1)
            return Transformed({**batch, "sequence": marked}, level.unsqueeze(1).float())
        made, label = self.clean(batch, generator)[:2]
        if self.how == "key":
            made = {**made, "time": label.float() + torch.randn(len(label), generator=generator)}
        if self.how == "token":
            told = torch.rand(len(label), generator=generator) < 0.7
            first = torch.where(told, label, made["sequence"][:, 0])
            made = {**made, "sequence": torch.cat([first.unsqueeze(1), made["sequence"][:, 1:]], dim=1)}
        return Transformed(made, label)


@dataclass(frozen=True)
class PlantedCase(LeakCase):
    how: str = ""

    def build(self, seed: int = 0) -> Any:
        task: Any = LeakCase.build(self, seed)
        task.transformation = Planted(task.transformation, self.how)
        if self.how == "coordinates":
            task.out = torch.nn.Linear(task.out.in_features, 1)
        return task


def case(noise: str = "6 ids", how: str = "") -> LeakCase:
    (clean,) = (each for each in leak_cases("sequence") if each.noise == noise)
    return PlantedCase(clean.spec, noise=noise, how=how) if how else clean


@pytest.mark.parametrize("noise", ["6 ids", "2 to 90 ids"])
@pytest.mark.parametrize("check", LEAK_CHECKS)
def test_a_clean_transformation_stays_at_chance(check: Any, noise: str) -> None:
    check(case(noise))


@pytest.mark.parametrize("how", ["token", "coordinates"])
@pytest.mark.parametrize("check", LEAK_CHECKS)
def test_a_planted_leak_is_caught(check: Any, how: str) -> None:
    with pytest.raises(AssertionError, match="the batch gives the answer away"):
        check(case(how=how))


def test_a_key_that_no_network_looks_at_is_a_leak_all_the_same() -> None:
    check_trained_leak(case(how="key"))
    with pytest.raises(AssertionError, match="a linear probe reaches an accuracy of"):
        check_linear_leak(case(how="key"))


def test_a_modality_without_noise_fails() -> None:
    (first, *_) = leak_cases("sequence")
    for check in LEAK_CHECKS:
        with pytest.raises(AssertionError, match="'sequence' registers no noise rows"):
            check(LeakCase(first.spec))


def test_every_kind_of_noise_and_check_is_a_parameter_and_failures_must_be_of_one() -> None:
    params = parametrize_leaks(modality="sequence").args[1]
    names = [f"sequence/segment-order-{noise}-{check.__name__}" for noise in ("6 ids", "2 to 90 ids") for check in LEAK_CHECKS]
    assert [param.id for param in params] == names
    with pytest.raises(ValueError, match="sequence/none"):
        parametrize_leaks(modality="sequence", expected_failures={("sequence/none", "check_linear_leak"): "why"})


def test_batches_may_differ_in_keys_and_lengths() -> None:
    batches = with_all_keys([{"x": torch.ones(4, 5)}, {"x": torch.ones(4, 40), "length": torch.tensor([3, 1, 2, 2])}])
    assert batches[0]["length"].tolist() == [0] * 4
    assert len({revealed(batch, 2, {}).shape[1] for batch in batches}) == 1


def test_what_is_revealed_by_hand() -> None:
    x = torch.tensor([[[1.0, 3.0], [1.0, 7.0]], [[2.0, 2.0], [0.0, 0.0]]])
    found = revealed({"x": x, "length": torch.tensor([2, 1])}, 2, {})
    # The length; mean and deviation; first and last change, mean, deviation and change along either axis.
    first = [2, 3, 6**0.5, 2, 2, 2, 4, 1, 3, 2, 4, 4, 1, 5, 0, 2, 4]
    second = [1, 1, 1, 2, 2, 2, 0, 0, 0, 2, 0, 0, 1, 1, 1, 1, 0]
    # Columns that are zero for both only fill profiles up to one width.
    told = found[:, (found != 0).any(dim=0)]
    torch.testing.assert_close(told, torch.tensor([first, second], dtype=torch.float64))
    batch = {"ids": torch.tensor([[5, 5, 9], [9, 5, 9]])}
    common = common_ids([batch])
    assert common["ids"].tolist() == [5, 9]
    ids = revealed(batch, 2, common)
    # Of 5 and 9: how often, at which mean place, whether first, whether last.
    wanted = torch.tensor([[2 / 3, 1 / 3, 0.25, 1, 1, 0, 0, 1], [1 / 3, 2 / 3, 0.5, 0.5, 0, 1, 0, 1]])
    torch.testing.assert_close(ids[:, :8], wanted.double())


def test_scores_are_accuracy_and_correlation_beside_chance() -> None:
    label = torch.tensor([0, 1, 1, 0])
    found = score(torch.tensor([[1.0, 0], [0, 1], [1, 0], [1, 0]]), label, "class", 2)
    assert (found.value, found.chance, found.margin) == (0.75, 0.5, 4 * 0.25)
    assert score(torch.zeros(4, 2), label, "class", 2, answers_a_row=4).margin == 4 * 0.5
    level = torch.randn(500, 2, generator=torch.Generator().manual_seed(0))
    other = torch.randn(500, 2, generator=torch.Generator().manual_seed(1))
    assert score(3 * level + 1, level, "coordinates", 2).value == pytest.approx(1)
    same = score(other, level, "coordinates", 2)
    assert abs(same.value) < same.margin < 0.2
