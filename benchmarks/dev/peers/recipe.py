"""The one SimCLR recipe that is trained both here and with lightly's parts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from selfsup.config import Config

TEMPERATURE = 0.2
HIDDEN, OUTPUT = 512, 128


class Recipe(Config):
    """Everything that both sides share."""

    dataset: str = "cifar10"
    """Name of the data set, below SELFSUP_DATA or registered."""
    backbone: str = "resnet-narrow"
    """Id of the backbone."""
    width: int = 32
    """Channels of its first stage."""
    blocks: int = 1
    """Residual blocks of each stage."""
    steps: int = 1500
    """Optimizer steps."""
    batch: int = 256
    """Images of a step."""
    lr: float = 2e-3
    """Peak learning rate of AdamW, after a warm-up over a tenth of the steps, then along a cosine to 0."""
    weight_decay: float = 1e-4
    """Of all but biases and norms."""

    @property
    def backbone_options(self) -> dict[str, Any]:
        """As the registry takes them."""
        return {"width": self.width, "blocks": self.blocks}

    def overrides(self) -> dict[str, Any]:
        """For ``selfsup.pretrain``. lightly's CIFAR-10 settings: half the colour jitter, no blur."""
        return {
            **{f"backbone.{name}": value for name, value in self.backbone_options.items()},
            "objective.temperature": TEMPERATURE,
            "objective.hidden_dim": HIDDEN,
            "objective.output_dim": OUTPUT,
            "optimization.optimizer": "adamw",
            "optimization.lr": self.lr,
            "optimization.weight_decay": self.weight_decay,
            "optimization.warmup_fraction": 0.1,
            "optimization.batch_size": self.batch,
        }


def train_here(recipe: Recipe, seed: int, folder: Path, *, trained: bool = True) -> Any:
    """An encoder by ``selfsup.pretrain``; with ``trained=False`` as it is initialised."""
    import selfsup

    options = {f"backbone.{name}": value for name, value in recipe.backbone_options.items()}
    run = selfsup.pretrain(
        "vision/simclr" if trained else "vision/random-init",
        recipe.dataset,
        out=folder,
        backbone=recipe.backbone,
        seed=seed,
        steps=recipe.steps if trained else 0,
        probe_every=recipe.steps + 1,
        progress=False,
        overrides=recipe.overrides() if trained else options,
    )
    return run.encoder
