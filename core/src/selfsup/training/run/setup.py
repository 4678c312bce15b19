"""Build the task of a run, and check its batch size."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import torch
from torch.nn.modules.batchnorm import _BatchNorm

from selfsup.backbones import Backbone, TokenBackbone
from selfsup.config import Config
from selfsup.errors import ConfigError
from selfsup.registry import registry
from selfsup.tasks import ComparesEmbeddings, PretextTask
from selfsup.tasks.joint_embedding.task import JointEmbedding
from selfsup.training.run.config import OptimizationConfig, RunConfig
from selfsup.training.run.initialization import Origin, build_teacher
from selfsup.types import Info
from selfsup.validation import validated


def check_batch(config: OptimizationConfig, n: int | None, processes: int) -> int:
    """Samples of one device's share of a batch.

    Args:
        config: has the batch size.
        n: number of training rows; None: unknown.
        processes: number of devices.

    Raises:
        ConfigError: the batch is larger than the data, or cannot be divided evenly.
    """
    size, chunks = config.batch_size, processes * config.accumulate
    if n is not None and size > n:
        raise ConfigError(
            f"batch_size={size} is larger than the data, which has {n} usable rows. Use --batch-size {n} or less, or give more "
            "data."
        )
    if size % chunks or size // chunks < 2:
        raise ConfigError(
            f"batch_size={size} cannot be divided over {processes} device(s) with accumulate={config.accumulate}: it must be a "
            f"multiple of {chunks}, with at least 2 samples a chunk. Use --batch-size {max(size // chunks, 2) * chunks}."
        )
    return size // processes


def accumulation_warning(task: PretextTask, config: RunConfig, share: int) -> str:
    """A warning if training on chunks of a batch differs from training on the whole batch; else empty.

    Args:
        task: may compare samples or have batch norm.
        config: has the number of chunks.
        share: samples of one device's share of a batch.
    """
    chunks = config.optimization.accumulate
    if chunks == 1:
        return ""
    if task.couples_samples and not isinstance(task, ComparesEmbeddings):
        return (
            f"Warning: accumulate={chunks} changes what {config.task} learns: its loss depends on the other samples of the "
            f"batch, and each chunk of {share // chunks} samples sees only its own samples, because the task cannot embed all "
            "chunks before it compares them. Use accumulate=1 with as large a batch as fits, or more devices."
        )
    if any(isinstance(part, _BatchNorm) and part.training for part in task.modules()):
        return (
            f"accumulate={chunks}: batch norm takes its statistics over each chunk of {share // chunks} samples; everything "
            "else is as with the whole batch."
        )
    return ""


def build_task(
    config: RunConfig, info: Info, origin: Origin | None = None, *, taught: bool = True
) -> tuple[PretextTask, Config]:
    """The pretext task, with initial weights drawn with the run's seed, and all options of the backbone.

    Args:
        config: resolved in full.
        info: of the processor.
        origin: what the backbone starts from; None: the weights that were drawn, or those that its options name.
        taught: whether to read the teacher, if there is one; without it the task cannot be trained.

    Raises:
        ConfigError: the task needs tokens and the backbone has none, or the teacher cannot be used.
    """
    torch.manual_seed(config.seed)
    spec = registry().get("task", config.task)
    recipe = registry().task_recipe(spec)
    backbone, options = registry().build_backbone(config.backbone, config.backbone_options, info)
    if spec.needs_tokens and not isinstance(backbone, TokenBackbone):
        raise ConfigError(f"the task {spec.id!r} hides tokens of its input, and the backbone {config.backbone!r} has none.")
    if origin is not None:
        origin.start(backbone, info)  # before a moving average copies it
    task = recipe.build(validated(recipe.config, config.task_options, what="the task's options"), backbone, info)
    if taught and (teacher := build_teacher(config, info)) is not None:
        assert isinstance(task, JointEmbedding), f"{spec.id} names a teacher, and learns from none"
        task.learn_from(teacher)
    return task, options


def full_backbone_options(config: RunConfig, backbone: Backbone) -> dict[str, Any]:
    """All options of a run's backbone, as its encoder saves them (:meth:`Backbone.full_options`); JSON values."""
    recipe = registry().backbone_recipe(config.backbone)
    given = validated(recipe.config, config.backbone_options, what="the backbone's options")
    return backbone.full_options(given).model_dump(mode="json")


def pretrained_note(config: RunConfig, backbone: Backbone) -> str:
    """A message on the input that pretrained weights were trained with; empty if the weights are not pretrained."""
    recipe = registry().backbone_recipe(config.backbone)
    if recipe.preprocessing is None:
        return ""
    own = recipe.preprocessing(validated(recipe.config, config.backbone_options, what="the backbone's options"))
    if not own:
        return ""
    have = config.processor_options
    taken = [f"processor.{key}={value}" for key, value in own.items() if have.get(key) == value]
    others = [f"processor.{key}={have.get(key)} (theirs: {value})" for key, value in own.items() if have.get(key) != value]
    said = [*taken, *([text] if (text := backbone.describe_input()) else [])]
    parts = [f"With the pretrained weights come {', '.join(said)}."] if said else []
    if others:
        parts.append(f"The weights were trained with other settings than these: {', '.join(others)}.")
    return " ".join(parts)


def identity(config: RunConfig, fingerprint: str, processes: int) -> dict[str, Any]:
    """What a checkpoint must agree on to belong to this run."""
    decides = config.model_dump(
        mode="json",
        include={
            "seed",
            "backbone",
            "optimization",
            "processor_options",
            "backbone_options",
            "task_options",
            "precision",
            "rows",
        },
    )
    digest = hashlib.sha256(json.dumps(decides, sort_keys=True).encode()).hexdigest()[:16]
    return {"task": config.task, "data": fingerprint, "devices": processes, "config": digest}
