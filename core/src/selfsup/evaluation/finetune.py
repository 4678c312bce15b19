"""Fine-tuning: all weights of a copy of the encoder, and a linear head, are trained on (a part of) the labels."""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from pydantic import Field, field_validator
from torch import Tensor, nn
from torch.nn import functional as F

from selfsup.backbones import Finetuning
from selfsup.config import Config
from selfsup.data import EpochSampler, Loader
from selfsup.data.sampler import IndexArray
from selfsup.errors import ConfigError, NonFiniteLossError
from selfsup.evaluation.base import EvaluatorRecipe, Split
from selfsup.evaluation.checks import class_count
from selfsup.evaluation.classifier import Classifier, Head
from selfsup.evaluation.linear import LinearConfig, fit_probe
from selfsup.evaluation.metrics import classification_metrics
from selfsup.evaluation.subsets import balanced_subset
from selfsup.tasks import Views
from selfsup.training.attention import float32_attention
from selfsup.training.config import OptimizationConfig
from selfsup.training.memory_order import put_channels_last, wants_channels_last
from selfsup.training.optimizers import build_optimizer, layer_scales, set_hyperparameters
from selfsup.training.precision import resolve_precision
from selfsup.training.progress import Reporter, Silent
from selfsup.training.randomness import preserved
from selfsup.training.schedule import learning_rate
from selfsup.training.short_clips import mend_short_clips
from selfsup.training.small_maps import speed_up_small_maps

if TYPE_CHECKING:
    from selfsup.artifacts import Encoder

_EPOCHS, _MIN_STEPS, _BATCH_SIZE = 30, 200, 128


class FinetuneConfig(Config):
    """Options of fine-tuning."""

    fraction: float = Field(default=1.0, gt=0, le=1)
    """Share of the training labels that is used, as many of each class as of every other (SimCLR: 0.01, 0.1, 1)."""
    epochs: int | None = Field(default=None, ge=1)
    """Passes over the labelled rows; None: 30 (SimCLR: 30 for 10 % of the labels, 60 for 1 %)."""
    min_steps: int | None = Field(default=None, ge=0)
    """At least so many optimizer steps; None: 200 (where labels are few, passes are short), or 0 where ``epochs`` is given."""
    batch_size: int | None = Field(default=None, ge=2)
    """Rows of a step, at most as many as there are; None: 128, or what suits the modality where that is less."""
    lr: float | None = Field(default=None, gt=0)
    """Peak learning rate of AdamW; it rises over the first tenth of the steps and falls along a cosine to 0.

    None: what the backbone says suits it (BERT 3e-5, ViT-B 2.5e-4, most small networks 1e-3), and 1e-3 for untrained networks.
    """
    layer_decay: float | None = Field(default=None, gt=0, le=1)
    """Factor of the learning rate from each block to the one before it; what lies before the first block has the lowest rate.

    None: what the backbone says suits it (vision transformers 0.75, all others 1), and 1 for an untrained network. Clark et al.
    2020 (ELECTRA, arXiv 2003.10555, section 3.1) and Bao et al. 2021 (BEiT, arXiv 2106.08254) fine-tune in this way.
    """
    weight_decay: float = Field(default=0.05, ge=0)
    """Weight decay of all but biases and norms."""
    label_smoothing: float = Field(default=0.0, ge=0, lt=1)
    """Share of the target that is spread over all classes."""
    clip: float | None = Field(default=1.0, gt=0)
    """Largest 2-norm of the gradient; None does not clip."""
    augment: bool = True
    """Whether the modality's light supervised augmentation is applied, where it has one, and long rows get random windows."""
    head: Literal["probe", "zeros"] = "probe"
    """Where the head starts: from a linear probe (Kumar et al. 2022, LP-FT, arXiv 2202.10054), or from zeros."""
    precision: Literal["auto", "32", "bf16"] = "auto"
    """Arithmetic of the training; ``auto`` takes bf16 where the device is faster with it."""

    @field_validator("precision", mode="before")
    @classmethod
    def _as_text(cls, value: Any) -> Any:
        return str(value) if value == 32 else value  # ``--set precision=32`` gives a number


def finetune_classifier(
    encoder: Encoder, train: Split, config: FinetuneConfig, *, seed: int, reporter: Reporter | None = None
) -> Classifier:
    """Train a copy of ``encoder`` and a linear head on labelled rows; ``encoder`` itself is left as it is.

    Differs from SimCLR's protocol (AdamW and a warm-up in place of SGD with Nesterov momentum), so that one setting fits
    convolutional networks and transformers of every modality.

    Args:
        encoder: where the weights start.
        train: labelled rows.
        config: options.
        seed: of the rows that are used, their order, augmentation and dropout.
        reporter: is told of the progress.

    Raises:
        ConfigError: ``fraction`` leaves a class without a row, or ``layer_decay`` is asked of a network without blocks.
        NonFiniteLossError: the loss became NaN or infinite.
    """
    n_classes = class_count("finetune", train, train)
    config = _with_rates(config, encoder)
    reporter = reporter or Silent()
    labels = train.targets().numpy()
    rows = balanced_subset(labels, config.fraction, seed=seed)
    device = encoder.device
    with preserved():  # a linear layer draws its first weights, which are replaced
        head = Head(encoder.embed_dim, n_classes)
    if config.head == "probe":
        _start_from_probe(head, encoder, train, rows, n_classes, seed)
    names = train.class_names or tuple(str(c) for c in range(n_classes))
    classifier = Classifier(copy.deepcopy(encoder), head, names).to(device)
    for parameter in classifier.parameters():
        parameter.requires_grad_(True)  # a task may have frozen some
    precision = resolve_precision(config.precision, device.type)
    if wants_channels_last(classifier, None, device_type=device.type, precision=precision):
        put_channels_last(classifier)
    speed_up_small_maps(classifier, device_type=device.type)
    mend_short_clips(classifier, device_type=device.type)
    batch_size = config.batch_size or min(_BATCH_SIZE, encoder.processor.batch_size)
    sampler = _Subset(rows, EpochSampler(len(rows), min(batch_size, len(rows)), seed))
    views = _augmentation(encoder) if config.augment else None
    loader = Loader(
        train.store,
        encoder.processor,
        sampler,
        device,
        labels=labels,
        window_seed=seed if config.augment else None,
        whole=views is not None and views.takes_whole,
    )
    with preserved():
        torch.manual_seed(seed)
        _train(classifier, loader, views, config, seed, reporter)
    return classifier.eval()


def _with_rates(config: FinetuneConfig, encoder: Encoder) -> FinetuneConfig:
    """The config with the rates that are left to the network filled in."""
    if config.layer_decay not in (None, 1.0) and not encoder.backbone.blocks():
        raise ConfigError(
            f"finetune.layer_decay={config.layer_decay}: {encoder.backbone_id} has no blocks whose learning rates could "
            "differ. Leave the option out."
        )
    # Low rates keep what was learned; a network that has learned nothing is trained from scratch.
    own = Finetuning() if encoder.task.endswith("/random-init") else encoder.backbone.finetuning
    return config.model_copy(update={"lr": config.lr or own.lr, "layer_decay": config.layer_decay or own.layer_decay})


def total_steps(config: FinetuneConfig, steps_per_epoch: int) -> int:
    """Optimizer steps of a fine-tuning."""
    default = 0 if config.epochs else _MIN_STEPS
    return max((config.epochs or _EPOCHS) * steps_per_epoch, default if config.min_steps is None else config.min_steps)


def _train(
    classifier: Classifier, loader: Loader, views: Views | None, config: FinetuneConfig, seed: int, reporter: Reporter
) -> None:
    device = classifier.encoder.device
    total = total_steps(config, len(loader))
    assert config.lr is not None
    optimization = OptimizationConfig(lr=config.lr, weight_decay=config.weight_decay)
    scales = layer_scales(classifier, classifier.encoder.backbone.blocks(), config.layer_decay or 1.0, head=classifier.head)
    optimizer = build_optimizer(classifier, optimization, scale_of=scales.__getitem__)
    generator = torch.Generator(device).manual_seed(seed)
    bf16 = resolve_precision(config.precision, device.type) == "bf16"
    classifier.train()
    reporter.start("fine-tuning", total)
    step = 0
    for epoch in range(math.ceil(total / len(loader))):
        losses: list[Tensor] = []
        for batch in loader.epoch(epoch):
            if step == total:
                break
            set_hyperparameters(
                optimizer, lr=learning_rate(step, total, peak=config.lr, warmup=total // 10), weight_decay=config.weight_decay
            )
            target = batch.pop("label")
            with torch.autocast(device.type, dtype=torch.bfloat16, enabled=bf16), float32_attention(device.type):
                logits = classifier(batch if views is None else views(batch, generator)[0])
            loss = F.cross_entropy(logits, target, label_smoothing=config.label_smoothing)
            torch.autograd.backward(loss)
            if config.clip is not None:
                nn.utils.clip_grad_norm_(classifier.parameters(), config.clip)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            losses.append(loss.detach())
            step += 1
            reporter.advance(step)
        values = torch.stack(losses).tolist()  # the only wait for the device in an epoch
        if not math.isfinite(sum(values)):
            first = next(i for i, value in enumerate(values) if not math.isfinite(value))
            raise NonFiniteLossError(
                f"Fine-tuning: the loss became {values[first]} at step {step - len(values) + first + 1} of {total}. "
                f"Lower the learning rate (--set finetune.lr=..., now {config.lr}), or use --set finetune.precision=32."
            )
        reporter.metrics(step, {"loss": values[-1]})


def _start_from_probe(head: Head, encoder: Encoder, train: Split, rows: IndexArray, n_classes: int, seed: int) -> None:
    chosen = torch.from_numpy(rows)
    probe = fit_probe(train.embeddings(encoder)[chosen], train.targets()[chosen], n_classes, LinearConfig(), seed=seed)
    scale = probe.standardizer.scale
    with torch.no_grad():
        head.norm.running_mean = probe.standardizer.mean.clone()
        # A feature that does not vary has no weight. Its variance is left at 1, since training may wake it up.
        head.norm.running_var = torch.where(scale > 0, scale.clamp_min(1e-30).pow(-2), 1.0)
        head.linear.weight.copy_(probe.classifier.weight)
        head.linear.bias.copy_(probe.classifier.bias)


def _augmentation(encoder: Encoder) -> Views | None:
    """The light augmentation of supervised training, where the modality has one."""
    from selfsup.registry import registry

    recipe = registry().modality_objects(encoder.modality).supervised_views
    return None if recipe is None else recipe.build(recipe.config(), encoder.processor.info()).to(encoder.device)


class _Subset:
    """Batches of some rows of a store."""

    def __init__(self, rows: IndexArray, sampler: EpochSampler) -> None:
        self._rows, self._sampler = rows, sampler

    def __len__(self) -> int:
        return len(self._sampler)

    def batches(self, epoch: int) -> list[np.ndarray[tuple[int, ...], np.dtype[np.int64]]]:
        """Places in the store."""
        return [self._rows[batch] for batch in self._sampler.batches(epoch)]


@dataclass(frozen=True)
class Finetune:
    """Trains all weights on training rows, and scores the result on test rows."""

    config: FinetuneConfig

    def evaluate(self, encoder: Encoder, train: Split, test: Split, *, seed: int) -> dict[str, float]:
        """Accuracy, macro-F1 and cross-entropy on ``test``."""
        class_count("finetune", train, test)
        return score(finetune_classifier(encoder, train, self.config, seed=seed), test)


def score(classifier: Classifier, test: Split) -> dict[str, float]:
    """Accuracy, macro-F1 and cross-entropy of a classifier on labelled rows."""
    embeddings = classifier.encoder.embed_store(test.store, precision=test.precision)
    return classification_metrics(classifier.log_probabilities(embeddings), test.targets())


RECIPE = EvaluatorRecipe(FinetuneConfig, Finetune)
