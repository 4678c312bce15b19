from __future__ import annotations

import pytest
import torch
from pydantic import ValidationError

from selfsup.tasks.latent.data2vec import Data2VecConfig
from selfsup.tasks.latent.ijepa import IJEPAConfig
from selfsup.tasks.latent.teacher import Teacher, TeacherConfig, linear_momentum
from selfsup.testing.toy.sequences.shortcuts import toy_backbone


def test_ijepa_momentum_rises_along_a_line_over_the_whole_run() -> None:
    config = IJEPAConfig().teacher
    values = [linear_momentum(progress, config.start, config.end, config.ramp) for progress in (0, 0.25, 0.5, 1)]
    assert values == pytest.approx([0.996, 0.997, 0.998, 1.0], abs=1e-12)


def test_data2vec_momentum_rises_first_and_stays() -> None:
    config = Data2VecConfig().teacher
    ramp = 30_000 / 400_000
    values = [linear_momentum(progress, config.start, config.end, config.ramp) for progress in (0, ramp / 2, ramp, 0.5, 1)]
    assert values == pytest.approx([0.999, 0.99945, 0.9999, 0.9999, 0.9999], abs=1e-12)


def test_momentum_may_not_fall() -> None:
    with pytest.raises(ValidationError, match="may not fall"):
        TeacherConfig(start=0.99, end=0.9)


def test_update_is_the_moving_average() -> None:
    student = toy_backbone("frames")
    teacher = Teacher(student, TeacherConfig(start=0.5, end=0.7))
    before = [p.clone() for p in teacher.module.parameters()]
    with torch.no_grad():
        for parameter in student.parameters():
            parameter.add_(1.0)
        student.standardize.mean.fill_(5.0)
    teacher.update(student, progress=0.5)
    for old, new in zip(before, teacher.module.parameters(), strict=True):
        torch.testing.assert_close(new, old + 0.4)
        assert not new.requires_grad
    assert (teacher.module.standardize.mean == 5.0).all(), "buffers were not taken over"


def test_teacher_stays_in_evaluation_mode() -> None:
    teacher = Teacher(toy_backbone("ids"), TeacherConfig())
    teacher.train()
    assert not any(module.training for module in teacher.modules())
