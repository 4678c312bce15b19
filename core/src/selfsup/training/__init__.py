"""Training: config, optimizer, schedule and the training loop. Start it with :func:`selfsup.pretrain`.

Names are imported on first use.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from selfsup.public_names import lazy_names

if TYPE_CHECKING:
    from selfsup.training.device.devices import devices_here
    from selfsup.training.loop.optimizers import build_optimizer, set_hyperparameters
    from selfsup.training.loop.schedule import learning_rate
    from selfsup.training.loop.stepper import Stepper
    from selfsup.training.run.config import OptimizationConfig, RunConfig
    from selfsup.training.run.pretrain import Run, pretrain
    from selfsup.training.run.resolve import resolve_config
else:
    __getattr__ = lazy_names(
        __name__,
        {
            "selfsup.training.device.devices": ["devices_here"],
            "selfsup.training.loop.stepper": ["Stepper"],
            "selfsup.training.loop.optimizers": ["build_optimizer", "set_hyperparameters"],
            "selfsup.training.loop.schedule": ["learning_rate"],
            "selfsup.training.run.config": ["OptimizationConfig", "RunConfig"],
            "selfsup.training.run.pretrain": ["Run", "pretrain"],
            "selfsup.training.run.resolve": ["resolve_config"],
        },
    )

__all__ = [
    "OptimizationConfig",
    "Run",
    "RunConfig",
    "Stepper",
    "build_optimizer",
    "devices_here",
    "learning_rate",
    "pretrain",
    "resolve_config",
    "set_hyperparameters",
]
