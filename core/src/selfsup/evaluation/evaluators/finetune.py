"""Fine-tune all weights of a copy of an encoder, and a linear head, on all or some labels."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from selfsup.backbones import Backbone, Finetuning, part_networks, unfreeze
from selfsup.data import EpochSampler, Loader
from selfsup.data.batches.permutation import IndexArray
from selfsup.data.batches.windows import read_windows
from selfsup.data.sources.columns.labels import standard_scale
from selfsup.errors import ConfigError, DataError
from selfsup.evaluation.base import EvaluatorRecipe, Split
from selfsup.evaluation.checks import output_count
from selfsup.evaluation.evaluators.finetune_config import FinetuneConfig
from selfsup.evaluation.evaluators.linear import LinearConfig, fit_probe
from selfsup.evaluation.finetuned_model import FinetunedModel, Head
from selfsup.evaluation.maths.class_weights import row_weights, weight_table
from selfsup.evaluation.maths.metrics import label_metrics
from selfsup.evaluation.subsets import labelled_subset
from selfsup.runtime.distributed import convert_sync_batchnorm
from selfsup.runtime.module_mode import evaluation_mode
from selfsup.runtime.precision import resolve_precision
from selfsup.runtime.progress import Reporter, Silent
from selfsup.runtime.randomness import preserved, seed_of_rank
from selfsup.tasks import PretextTask, StepOutput, Views
from selfsup.tasks.parts.label_loss import label_loss
from selfsup.training.device.devices import devices_here
from selfsup.training.device.fabric import Fabric
from selfsup.training.device.recompute import recomputing
from selfsup.training.device.tune import tune_for_device
from selfsup.training.loop.optimizers import finetuning_scales
from selfsup.training.loop.stepper import Stepper
from selfsup.training.run.config import OptimizationConfig
from selfsup.types import Batch
from selfsup.validation import validated

if TYPE_CHECKING:
    from selfsup.artifacts import Encoder

_BATCH_SIZE = 128
_SETTLED = 100
"""After this many steps, running means (momentum 0.1) have caught up with the network."""


def finetune_encoder(
    encoder: Encoder,
    train: Split,
    config: FinetuneConfig,
    *,
    seed: int,
    rows: IndexArray | None = None,
    reporter: Reporter | None = None,
) -> FinetunedModel:
    """Train a copy of ``encoder`` and a linear head on labelled rows; ``encoder`` itself stays unchanged.

    If torchrun or srun started several processes, all of them must call this together: they share each batch, and each returns
    the same model. It differs from that of one process: each takes ``batch_size // processes`` rows of a batch, and draws
    augmentation and dropout from a seed of its own.

    Differs from SimCLR's protocol (AdamW and a warm-up instead of SGD with Nesterov momentum), so that one setting fits
    convolutional networks and transformers of every modality.

    Args:
        encoder: has the initial weights.
        train: labelled rows.
        config: options.
        seed: of the choice of rows, their order, augmentation and dropout.
        rows: indices into ``train`` of the rows to use, instead of ``fraction``.
        reporter: shows the progress.

    Raises:
        ConfigError: ``fraction`` leaves a class without a row, ``layer_decay`` or ``checkpoint_activations`` is set for a
            network without blocks, or class weights or label smoothing for labels without classes.
        DataError: there are fewer rows than processes.
        NonFiniteLossError: the loss became NaN or infinite.
    """
    n_outputs = output_count("finetune", train, train)
    if train.label_kind == "number" and config.label_smoothing:
        raise ConfigError(f"finetune.label_smoothing={config.label_smoothing} is not allowed: the labels are numbers.")
    config = _with_rates(config, encoder)
    reporter = reporter or Silent()
    labels = train.targets().numpy()
    rows = labelled_subset(labels, config.fraction, seed=seed) if rows is None else rows
    names = train.class_names
    if not names and train.label_kind != "number":
        names = tuple(str(c) for c in range(n_outputs))
    chosen = torch.from_numpy(labels[rows])
    table = weight_table(config.class_weight, chosen, n_outputs, names, what="finetune")
    mean, scale = 0.0, 1.0
    if train.label_kind == "number":
        mean, scale = standard_scale(labels[rows])
        labels = (labels - mean) / scale
    with preserved():  # a linear layer draws its first weights, which are replaced
        head = Head(encoder.embed_dim, n_outputs)
    if config.head == "probe":
        known, linear = _embeddings_of(encoder, train, rows).cpu(), LinearConfig(class_weight=config.class_weight)
        head.start_from(fit_probe(known, torch.from_numpy(labels[rows]), n_outputs, linear, seed=seed, names=names))
    model = FinetunedModel(copy.deepcopy(encoder), head, names, label_kind=train.label_kind, mean=mean, scale=scale)
    unfreeze(model)  # that a task or the backbone froze, except those that nothing trains (hold_fixed)
    _freeze_spare_parts(model.encoder.backbone)
    devices = devices_here(encoder.device, resolve_precision(config.precision, encoder.device.type))
    if len(rows) < devices.processes:
        raise DataError(
            f"{len(rows)} labelled row{'' if len(rows) == 1 else 's'} cannot be shared by {devices.processes} processes, which "
            "fine-tune together: each of them needs one. Start fewer (--devices), or give more labels."
        )
    fabric = devices.connect()
    device = encoder.device if devices.processes == 1 else fabric.device
    batch_size = min(config.batch_size or min(_BATCH_SIZE, encoder.processor.batch_size), len(rows))
    share = max(batch_size // devices.processes, 1)
    sampler = _Subset(rows, EpochSampler(len(rows), share, seed, rank=fabric.global_rank, world_size=fabric.world_size))
    views = _augmentation(encoder, config.views) if config.augment else None
    loader = Loader(
        train.store,
        encoder.processor,
        sampler,
        device,
        labels=labels,
        window_seed=seed if config.augment else None,
        whole=views is not None and views.takes_whole,
    )
    task = _Finetuning(model, views, config.label_smoothing, table)
    if devices.processes > 1:
        convert_sync_batchnorm(task)
    tune_for_device(task, device, devices.precision)
    own_seed = seed_of_rank(seed, fabric.global_rank)
    with preserved():
        torch.manual_seed(own_seed)
        _train(fabric, task, loader, config, own_seed, reporter)
    if config.total_steps(len(loader)) < _SETTLED:
        head.settle(_embeddings_of(model.encoder, train, rows))
    return model.eval()


def _freeze_spare_parts(backbone: Backbone) -> None:
    """Leave out of training what only a pretext task uses (a vocabulary head): DDP fails where a weight has no gradient."""
    for network in (backbone, *part_networks(backbone)):
        spare = tuple(f"{name}." for name in network.spare_parts())
        everywhere = list(network.named_parameters(remove_duplicate=False))
        shared = {id(parameter) for name, parameter in everywhere if not name.startswith(spare)}
        for _, parameter in everywhere:
            if id(parameter) not in shared:
                parameter.requires_grad_(False)


def _with_rates(config: FinetuneConfig, encoder: Encoder) -> FinetuneConfig:
    """Fill in the learning rates that the config leaves to the network."""
    if config.layer_decay not in (None, 1.0) and not encoder.backbone.blocks():
        raise ConfigError(
            f"finetune.layer_decay={config.layer_decay}: {encoder.backbone_id} has no blocks whose learning rates could "
            "differ. Leave the option out."
        )
    # A low rate keeps what was learned; an untrained network has learned nothing.
    own = Finetuning() if encoder.task.endswith("/random-init") else encoder.backbone.finetuning
    return config.model_copy(update={"lr": config.lr or own.lr, "layer_decay": config.layer_decay or own.layer_decay})


class _Finetuning(PretextTask):
    """The loss of a model on labelled batches, for the stepper.

    Args:
        model: what is trained.
        views: light augmentation; None: none.
        label_smoothing: see :func:`~selfsup.tasks.parts.label_loss.label_loss`.
        table: weights by class, see :func:`~selfsup.evaluation.maths.class_weights.row_weights`; None: all are 1.
    """

    table: Tensor | None

    def __init__(self, model: FinetunedModel, views: Views | None, label_smoothing: float, table: Tensor | None) -> None:
        super().__init__()
        self.model, self.views = model, views
        self.label_smoothing = label_smoothing
        self.register_buffer("table", table)

    def forward(self, batch: Batch, generator: torch.Generator | None) -> StepOutput:
        """The loss of one batch, which has the key ``label``."""
        inputs = {key: value for key, value in batch.items() if key != "label"}
        outputs = self.model(inputs if self.views is None else self.views(inputs, generator)[0])
        target = batch["label"]
        weights = None if self.table is None else row_weights(self.table, target)
        smoothing = self.label_smoothing
        return StepOutput(label_loss(self.model.label_kind, outputs, target, label_smoothing=smoothing, weights=weights), {})

    def encoder_backbone(self) -> Backbone:
        """The network that is fine-tuned."""
        return self.model.encoder.backbone


def _train(fabric: Fabric, task: _Finetuning, loader: Loader, config: FinetuneConfig, seed: int, reporter: Reporter) -> None:
    total = config.total_steps(len(loader))
    model = task.model
    scales = finetuning_scales(task, model.encoder.backbone, config.layer_decay or 1.0, head=model.head)
    stepper = Stepper(
        fabric,
        task.train(),
        OptimizationConfig(lr=config.lr, weight_decay=config.weight_decay, clip=config.clip),
        total_steps=total,
        warmup_steps=total // 10,
        generator=torch.Generator(model.encoder.device).manual_seed(seed),
        scales=scales,
        advice=f"Lower the learning rate (--set finetune.lr=..., now {config.lr}), or use --set finetune.precision=32.",
    )
    reporter.start("fine-tuning", total)
    named = {"option": "finetune.checkpoint_activations", "instead": "lower finetune.batch_size"}
    with recomputing(task, config.checkpoint_activations, **named):
        for epoch in range(math.ceil(total / len(loader))):
            for batch in loader.epoch(epoch):
                if stepper.step == total:
                    break
                stepper.take(batch)
                reporter.advance(stepper.step)
            losses = stepper.drain()  # the only wait for the device in an epoch
            reporter.metrics(stepper.step, {"loss": losses[-1]})


def _embeddings_of(encoder: Encoder, train: Split, rows: IndexArray) -> Tensor:
    """[n, D] float32 of n rows, on the encoder's device."""
    parts = []
    with evaluation_mode(encoder):
        for start in range(0, len(rows), size := encoder.processor.batch_size):
            batch = encoder.processor.collate(read_windows(train.store, encoder.processor, rows[start : start + size]))
            parts.append(encoder({key: value.to(encoder.device) for key, value in batch.items()}).float())
    return torch.cat(parts)


def _augmentation(encoder: Encoder, options: Mapping[str, Any]) -> Views | None:
    """The modality's light augmentation for supervised training, or None.

    Raises:
        ConfigError: there are options and no augmentation, or an option is unknown.
    """
    from selfsup.registry import registry

    recipe = registry().modality_objects(encoder.modality).supervised_views
    if recipe is None:
        if options:
            raise ConfigError(
                f"finetune.views has no effect: {encoder.modality} has no augmentation for labelled rows. Leave it out."
            )
        return None
    config = validated(recipe.config, options, what="finetune.views")
    return recipe.build(config, encoder.processor.info())


class _Subset:
    """Batches of some rows of a store."""

    def __init__(self, rows: IndexArray, sampler: EpochSampler) -> None:
        self._rows, self._sampler = rows, sampler

    def __len__(self) -> int:
        return len(self._sampler)

    def batches(self, epoch: int) -> list[np.ndarray[tuple[int, ...], np.dtype[np.int64]]]:
        """Indices into the store."""
        return [self._rows[batch] for batch in self._sampler.batches(epoch)]


@dataclass(frozen=True)
class Finetune:
    """Trains all weights on training rows and scores the result on test rows."""

    config: FinetuneConfig

    def evaluate(self, encoder: Encoder, train: Split, test: Split, *, seed: int) -> dict[str, float]:
        """The metrics on ``test`` that suit the kind of labels: accuracy, mAP or R² first."""
        output_count("finetune", train, test)
        return score(finetune_encoder(encoder, train, self.config, seed=seed), test)


def score(model: FinetunedModel, test: Split) -> dict[str, float]:
    """The metrics of a fine-tuned model on labelled rows that suit the kind of labels."""
    embeddings = model.encoder.embed_store(test.store, precision=test.precision)
    return label_metrics(model.label_kind, model.outputs(embeddings), test.targets())


RECIPE = EvaluatorRecipe(FinetuneConfig, Finetune)
