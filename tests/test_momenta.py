"""No task of any plugin keeps its random start in a moving average, however short the run."""

from __future__ import annotations

from collections.abc import Iterator

from pydantic import BaseModel
from torch import nn

from selfsup.registry import registry
from selfsup.tasks.latent.teacher import TeacherConfig, linear_momentum
from selfsup.tasks.parts.moving_average import MomentumConfig, MomentumEncoder


def averages(config: BaseModel) -> Iterator[MomentumConfig]:
    for name in type(config).model_fields:
        value = getattr(config, name)
        if isinstance(value, MomentumConfig):
            yield value
        elif isinstance(value, BaseModel):
            yield from averages(value)


class Average(MomentumEncoder[nn.Module]):
    """The momenta of a config, around a network that does not matter."""

    def __init__(self, config: MomentumConfig) -> None:
        super().__init__(nn.Identity(), config.start, config.end, config.initial_share)
        self.config = config

    def course(self, progress: float) -> float:
        if isinstance(self.config, TeacherConfig):
            return linear_momentum(progress, self.start, self.end, self.config.ramp)
        return super().course(progress)


def test_every_average_forgets_its_start_in_200_steps() -> None:
    found = 0
    with_averages = ("joint-embedding", "latent-prediction")
    for spec in [task for task in registry().tasks.values() if task.family in with_averages]:
        for config in averages(registry().task_recipe(spec).config()):
            made = Average(config)
            made.fit_to_run(200)
            assert made.share_left(200) <= 0.02 + 1e-9, spec.id
            found += 1
    assert found > 20
