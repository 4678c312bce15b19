"""The toy of pairs meets the kit, and the kit finds what goes wrong with rows that lack a part."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from selfsup.objectives.base import LossOutput, ViewEmbeddings
from selfsup.objectives.nt_xent import SimCLR
from selfsup.registry import registry
from selfsup.tasks.joint_embedding import task as joint_embedding
from selfsup.testing import (
    BACKBONE_CHECKS,
    PART_BACKBONE_CHECKS,
    PART_TASK_CHECKS,
    TASK_CHECKS,
    BackboneCase,
    TaskCase,
    backbone_cases,
    check_two_processes,
    task_cases,
)
from selfsup.testing.kit.conformance import task_checks
from selfsup.testing.kit.parts_checks import (
    check_absent_content,
    check_absent_is_not_compared,
    check_every_part_learns,
    check_parts_alone,
    check_parts_of_embedding,
)
from selfsup.testing.toy.pairs import backbones, rows
from selfsup.testing.toy.sequences.installed import installed

OF_ALL = {"check_gradients", "check_accumulated_chunks", *(check.__name__ for check in PART_TASK_CHECKS)}
"""Checks that every task is held to; the others are what all modalities are held to, and one task of each kind shows them."""
SOME = ("byol", "mocov2", "simclr", "swav", "vicreg", "mae", "data2vec")
SEPARATE = ("barlow-twins", "byol", "mocov2", "swav")


@pytest.fixture(scope="module", autouse=True)
def toy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch, installed(tmp_path_factory.mktemp("plugin")):
        patch.setenv("SELFSUP_PLUGINS", "sequences")
        yield


def case(objective: str) -> TaskCase:
    return TaskCase(registry().tasks[f"sequence-pair/{objective}"])


class Separate(TaskCase):
    """A task on towers without a joint space."""

    def backbone_id(self) -> str:
        return "sequence-pair/separate"


def failures(check: Callable[[Any], None], cases: list[Any]) -> dict[str, str]:
    """What does not pass, by its name."""
    found = {}
    for each in cases:
        try:
            check(each)
        except Exception as error:
            found[str(each)] = f"{type(error).__name__}: {error}"
    return found


@pytest.mark.parametrize(
    "check",
    [
        pytest.param(check, marks=[] if check.__name__ == "check_gradients" else [pytest.mark.slow], id=check.__name__)
        for check in (*TASK_CHECKS, *PART_TASK_CHECKS)
    ],
)
def test_tasks_of_pairs(check: Callable[[TaskCase], None]) -> None:
    cases = task_cases("sequence-pair")
    families = {each.spec.family for each in cases}
    assert {"joint-embedding", "masked-modeling", "latent-prediction", "reference"} <= families
    assert check in task_checks(cases[0])
    if check.__name__ not in OF_ALL:
        cases = [case(name) for name in SOME]
    assert failures(check, cases) == {}


@pytest.mark.parametrize("check", PART_TASK_CHECKS)
def test_tasks_on_towers_with_spaces_of_their_own(check: Callable[[TaskCase], None]) -> None:
    assert failures(check, [Separate(registry().tasks[f"sequence-pair/{name}"]) for name in SEPARATE]) == {}


@pytest.mark.parametrize("check", [*BACKBONE_CHECKS, *PART_BACKBONE_CHECKS])
def test_backbones_of_pairs(check: Callable[[BackboneCase], None]) -> None:
    cases = backbone_cases("sequence-pair")
    assert len(cases) == 3
    assert failures(check, cases) == {}


@pytest.mark.slow
def test_two_processes_with_uneven_absences_give_the_gradients_of_one() -> None:
    cases = [case(name) for name in ("byol", "simclr", "swav", "mae")]
    present = cases[0].batch()["first/present"] & cases[0].batch()["second/present"]
    assert present[:7].sum() != present[7:].sum()
    assert check_two_processes(cases) == {}


def test_plain_modalities_have_no_such_checks() -> None:
    plain = TaskCase(registry().tasks["sequence/simclr"])
    assert task_checks(plain) == TASK_CHECKS


def test_blanks_in_batch_norm_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backbones, "fill_absent", lambda batch, present: batch)
    with pytest.raises(AssertionError, match=r"stands in the place of a part that rows lack changes backbone\.towers\.first"):
        check_absent_content(case("simclr"))


def test_blanks_as_negatives_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    original = SimCLR.forward

    def forgetful(self: SimCLR, embeddings: ViewEmbeddings) -> LossOutput:
        return original(self, replace(embeddings, valid=None))

    monkeypatch.setattr(SimCLR, "forward", forgetful)
    with pytest.raises(AssertionError, match="gradient reaches the embedding of a part that a row lacks"):
        check_absent_is_not_compared(case("simclr"))


def test_a_part_that_learns_nothing_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    check_every_part_learns(case("mocov2"))
    monkeypatch.setattr(joint_embedding, "Pairwise", lambda objective, n_views: objective)
    with pytest.raises(AssertionError, match="no gradient reaches the network of the part 'second'"):
        check_every_part_learns(replace(case("mocov2"), rows=12))  # another case, which is built anew


def test_zeros_in_the_mean_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    towers = BackboneCase("sequence-pair/towers", "sequence-pair")

    def plain_mean(parts: dict[str, Any], *, shares_space: bool) -> Tensor:
        return torch.stack([own.pooled for own in parts.values()]).mean(dim=0)

    monkeypatch.setattr(backbones, "pooled_over_parts", plain_mean)
    with pytest.raises(AssertionError, match="of rows that have 'first' alone is not that part's"):
        check_parts_of_embedding(towers)


def test_a_network_that_is_not_used_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    towers = BackboneCase("sequence-pair/towers", "sequence-pair")
    original = backbones.PairTowers.part
    monkeypatch.setattr(
        backbones.PairTowers, "part", lambda self, name: original(self, "second" if name == "first" else "first")
    )
    with pytest.raises(AssertionError, match=r"does not call part\('first'\)"):
        check_parts_alone(towers)


def test_mock_rows_that_lack_nothing_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    full = [{key: value for key, value in row.items() if key != "label"} for row in rows.pair_rows(14, 0, lacking=False)]
    processor = case("simclr").processor()
    monkeypatch.setattr(TaskCase, "batch", lambda self, part=0: processor(full))
    with pytest.raises(AssertionError, match="no mock row lacks a part"):
        check_absent_content(case("simclr"))
