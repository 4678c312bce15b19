"""The config of a run: data, devices, optimizer, budget."""

from __future__ import annotations

from typing import Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from selfsup.config import Config, idle
from selfsup.data import TableFormat
from selfsup.data.sources.columns.labels import LabelKind
from selfsup.errors import ConfigError

LR_BATCH = 256
"""The batch size that ``base_lr`` is given for (Goyal et al. 2017, arXiv:1706.02677)."""


class OptimizationConfig(Config):
    """Optimizer, schedule and budget. Each paper's values are in its task's recipe; these are the defaults without one.

    A setting of the caller replaces what belongs to it in the recipe (``config_layers``): the descriptions below say what.
    """

    optimizer: Literal["adamw", "adam", "sgd", "lars"] = "adamw"
    """``adamw``, ``adam`` (its weight decay is L2), ``sgd`` (Nesterov off) or ``lars`` (You et al. 2017).

    Another one than the recipe's drops the recipe's rates, weight decay, betas, eps, momentum and settings of LARS, which
    were made for the recipe's: ``adam`` then has no weight decay, ``sgd`` base_lr 0.05 and 1e-4, ``lars`` base_lr 0.3 and 1e-6.
    """
    lr: float | None = Field(default=None, gt=0)
    """Peak learning rate, not scaled by the batch size; None: ``base_lr * batch_size / 256``. Schedule and warm-up stay."""
    base_lr: float = Field(default=1e-3, gt=0)
    """Peak learning rate for a batch of 256, scaled linearly with the batch size."""
    final_lr_fraction: float = Field(default=0.0, ge=0, le=1)
    """End of the cosine, as a fraction of the peak; setting it replaces a recipe's constant schedule by the cosine."""
    schedule: Literal["cosine", "constant"] = "cosine"
    """Schedule of the learning rate after the warm-up; setting it drops the recipe's warm-up and end."""
    warmup_fraction: float = Field(default=0.05, ge=0, lt=1)
    """Share of all steps in which the learning rate rises linearly from 0 to its peak."""
    warmup_epochs: float | None = Field(default=None, ge=0)
    """Length of the warm-up in epochs, at most half of the run; None: ``warmup_fraction`` decides."""
    weight_decay: float = Field(default=0.05, ge=0)
    """Weight decay, except for biases, norms and other parameters of one dimension. Setting it drops ``weight_decay_end``."""
    weight_decay_end: float | None = Field(default=None, ge=0)
    """Weight decay at the end of a cosine (DINO: .04 to .4); None: constant."""
    betas: tuple[float, float] = (0.9, 0.999)
    """Decay rates of Adam's two moments, each at least 0 and less than 1."""
    eps: float = Field(default=1e-8, gt=0)
    """Added to Adam's denominator."""
    momentum: float = Field(default=0.9, ge=0, lt=1)
    """Momentum of ``sgd`` and ``lars``."""
    trust_coefficient: float = Field(default=1e-3, gt=0)
    """LARS's eta, the size of a layer's step against the size of its weights (paper: 0.001)."""
    bias_lr_scale: float = Field(default=1.0, ge=0)
    """Learning rate of biases and norms as a fraction of that of the weights (Barlow Twins' authors: 0.0048 / 0.2)."""
    adapt_biases: bool = False
    """Whether LARS also adapts the rate of biases and norms (LARS's paper, SwAV: yes; SimCLR, BYOL and Barlow Twins: no)."""
    clip: float | None = Field(default=None, gt=0)
    """Largest 2-norm of the gradient; None does not clip."""
    clip_per_parameter: bool = False
    """Clip the gradient of each parameter separately, as DINO's authors do, instead of all together."""
    batch_size: int = Field(default=256, ge=2)
    """Samples of one optimizer step, over all devices and accumulated chunks; tasks and modalities may have other defaults."""
    accumulate: int = Field(default=1, ge=1)
    """Chunks per device that a batch is cut into, so that activations need the memory of one chunk.

    The gradient equals that of the whole batch. Tasks that compare samples (contrasts, covariances, assignments) embed each
    chunk twice, which costs one more forward pass (GradCache, Gao et al. 2021, arXiv:2101.06983). Batch norm, and views that
    mix rows, work on each chunk separately. The input batch itself is on the device as a whole.
    """
    epochs: int | None = Field(default=None, ge=1)
    """Budget in epochs; 100 if neither this nor ``steps`` is given."""
    steps: int | None = Field(default=None, ge=0)
    """Budget in optimizer steps, instead of ``epochs``."""
    max_steps: int | None = Field(default=None, ge=1)
    """Upper limit of the budget in optimizer steps."""
    ema: float = Field(default=0.0, ge=0, lt=1)
    """Decay per step of a moving average of the encoder's weights, which is saved instead of them; 0: no average.

    It rises from a lower value over the first steps, so that short runs do not keep their random start.
    """
    compile: str = "off"
    """Backend of ``torch.compile`` for networks and views (``inductor``, ...), ``off``, or ``auto``.

    ``auto`` times some steps on one CUDA GPU and compiles where that saves time within the run; ``run.json`` keeps the
    decision, which another run of the same seed may take otherwise. On a CPU or several devices it does not compile.
    """
    checkpoint_activations: bool = False
    """Keep only the inputs of the networks' blocks for the backward pass, and compute the rest again there.

    It saves most of the memory of activations, gives the same gradient, and costs one more forward pass of the blocks (Chen et
    al. 2016, arXiv:1604.06174). Networks without repeated blocks (ResNets) cannot use it.
    """
    channels_last: bool | None = None
    """Store convolution weights channels-last; None: yes for 2-d convolutions, except in float32 on a CPU."""

    @field_validator("betas")
    @classmethod
    def _decay_rates(cls, value: tuple[float, float]) -> tuple[float, float]:
        if not all(0 <= beta < 1 for beta in value):
            raise ValueError("decay rates are at least 0 and less than 1")
        return value

    @model_validator(mode="after")
    def _one_budget(self) -> Self:
        if self.epochs is not None and self.steps is not None:
            raise ValueError("epochs and steps are both set; give one of them")
        return self

    def peak_lr(self) -> float:
        """Learning rate at the end of the warm-up."""
        return self.lr if self.lr is not None else self.base_lr * self.batch_size / LR_BATCH

    def total_steps(self, steps_per_epoch: int | None) -> int:
        """Optimizer steps of the whole run.

        Args:
            steps_per_epoch: None: it is not known.

        Raises:
            ConfigError: the budget is in epochs, and it is not known how many steps one has.
        """
        if self.steps is None and steps_per_epoch is None:
            raise ConfigError(
                "how many rows the data have is not known before they are read, so that the run cannot be counted in epochs. "
                "Give its length in optimizer steps (--steps N), say how many rows there are (--set streaming.rows=N), or have "
                "files of this machine prepared first (--no-stream)."
            )
        steps = self.steps if self.steps is not None else (self.epochs or 100) * (steps_per_epoch or 0)
        return steps if self.max_steps is None else min(steps, self.max_steps)

    def warmup_steps(self, steps_per_epoch: int | None) -> int:
        """Optimizer steps of the warm-up; for arguments and errors see :meth:`total_steps`."""
        total = self.total_steps(steps_per_epoch)
        if self.warmup_epochs is None:
            return int(self.warmup_fraction * total)
        if steps_per_epoch is None:
            raise ConfigError(
                f"the warm-up lasts {self.warmup_epochs:g} epochs, and how many rows the data have is not known before they "
                "are read. Give it as a part of the run (--set optimization.warmup_fraction=0.05), or say how many rows there "
                "are (--set streaming.rows=N)."
            )
        return min(int(self.warmup_epochs * steps_per_epoch), total // 2)

    def without_effect(self) -> dict[str, str]:
        """See :meth:`selfsup.config.Config.without_effect`."""
        adam = self.optimizer in ("adam", "adamw")
        return {
            **idle(f"the optimizer is {self.optimizer}", not adam, "betas", "eps"),
            **idle(f"the optimizer is {self.optimizer}", adam, "momentum"),
            **idle(f"the optimizer is {self.optimizer}", self.optimizer != "lars", "trust_coefficient", "adapt_biases"),
            **idle("optimization.clip is null", self.clip is None, "clip_per_parameter"),
            **idle("the schedule is constant", self.schedule == "constant", "final_lr_fraction"),
        }


class StreamingConfig(Config):
    """How rows are streamed; it has no effect without ``stream``."""

    buffer: int = Field(default=1000, ge=1)
    """Rows in the shuffle buffer, undecoded in memory; 1: no shuffling within shards. Each epoch also shuffles the shards."""
    sample_rows: int = Field(default=10_000, ge=2)
    """Rows that processors are fitted on: the first rows, at most 256 MB; of folders and tables evenly spaced rows.

    Of single files at a URL: at most 512, since each is a request.
    """
    rows: int | None = Field(default=None, ge=2)
    """Rows of an epoch, if the source does not know how many it has (archives, lines); needed for a budget in epochs.

    For texts that are joined into blocks, the number of blocks is estimated from it and from the lengths of the sample's rows.
    """
    split: Literal["auto", "rows", "shards"] = "auto"
    """How rows are divided over devices.

    ``rows``: each device reads all shards and uses its part of each batch, so uneven shards do not matter. An epoch ends when
    a device has no full batch left, since some may meet more bad or held-out rows than others.
    ``shards``: each device reads its own shards; an epoch ends in the same way. A message names the rows that are left over.
    ``auto``: shards for remote sources where each device gets equally many and at most a tenth of the shards is left over, else
    rows; a resumed run keeps its choice.
    """
    workers: int | None = Field(default=None, ge=0)
    """Processes per device that decode rows; 0: a thread of the run decodes. None: the number of cores minus 1, at most 8."""
    above_gb: float = Field(default=50.0, gt=0)
    """Stream sources on this machine that are larger than this, in gigabytes (10^9 bytes), unless ``stream`` is set."""


class RunConfig(Config):
    """Everything that determines a run. ``run.json`` has it resolved; ``--config run.json`` repeats the run."""

    task: str
    """Id of the pretext task, such as ``vision/simclr``."""
    data: str
    """Source of the training rows: a registered name, a path, or ``hf://owner/name``."""
    backbone: str = ""
    """Id of the backbone; empty: the task's default, else the modality's."""
    init: str | dict[str, str] | None = None
    """Source of the initial weights: the folder of a run, an encoder or a model of another library; ``hf://owner/name``; the
    id of a backbone whose library has weights (``timm/resnet50``); or a file of weights, with ``backbone``. It sets the
    backbone and its options unless they are given, and brings its processor. For rows with several parts: part name to source
    (``vision=RUN``). None: weights drawn with the seed.
    """
    columns: dict[str, str] = Field(default_factory=dict)
    """Role to column name, for columns that cannot be found by type."""
    table: TableFormat = Field(default_factory=TableFormat)
    """Separator, decimal mark, encoding, ... of text tables, if they cannot be found."""
    label: str | None = None
    """Label column; removed before the task, except for the supervised reference."""
    label_kind: LabelKind | None = None
    """What the label column holds: ``class``, ``classes`` (several per row) or ``number``; None: found from its values."""
    unlabelled: tuple[str, ...] = ()
    """Labels that mean that a row has no label, as empty ones do; the supervised reference and the probe skip such rows."""
    rows: int = Field(default=0, ge=0)
    """Number of training rows, drawn with the seed; 0: all."""
    holdout: float = Field(default=0.0, ge=0, lt=1)
    """Share of the rows to hold out, by a hash of their content; ``evaluate`` and ``finetune`` test on them."""
    val: str | None = None
    """Source of labelled rows for the online probe; None: no probe.

    Its validation split is used, else its training split without the rows of ``holdout``; test rows only if they are named
    (``SRC:test``), since the probe chooses the best checkpoint.
    """
    stream: bool | None = None
    """Decode rows during training instead of all rows before it.

    None: only for sources that cannot be prepared (``s3://`` and other URLs, patterns of several files) and for sources larger
    than ``streaming.above_gb``.
    """
    streaming: StreamingConfig = Field(default_factory=StreamingConfig)
    """How rows are streamed."""
    seed: int = Field(default=0, ge=0)
    """Seed of the weights, the order of the rows and the views."""
    precision: Literal["auto", "32", "bf16", "bf16-true", "16"] = "auto"
    """Arithmetic; ``auto`` uses bf16 if the device is faster with it (measured on a CPU).

    ``bf16-true`` computes as ``bf16`` and also keeps the backbone's matrices and their gradients in bf16. The optimizer
    computes in float32, with its state in float32, and rounds new weights at random so that small updates count in the mean;
    moving averages, norms, biases, embeddings, heads and saved encoders are in float32. Not with accumulate.

    With ``strategy=fsdp`` each device keeps its share of the weights in float32, and gathers the backbone's blocks in bf16.
    """
    devices: int = Field(default=1, ge=1)
    """Processes on this machine, one per GPU if there are GPUs."""
    nodes: int = Field(default=1, ge=1)
    """Machines; more than one needs srun or torchrun to start the command on each."""
    strategy: Literal["auto", "ddp", "fsdp"] = "auto"
    """How several devices share the work; ``auto``: ddp."""
    accelerator: Literal["auto", "cpu", "gpu"] = "auto"
    """Kind of device; ``auto``: the GPU if there is one."""
    workers: int = Field(default=0, ge=0)
    """Threads that decode the rows before training; 0: one per core."""
    max_store_gb: float | None = Field(default=None, gt=0)
    """Limit of the processed rows on disk, in gigabytes (10^9 bytes); None: the free space. A stream needs none.

    Rows that take more are compressed without loss; a run that does not fit even then is refused.
    """
    max_bad_rows: float = Field(default=0.01, ge=0, le=1)
    """Share of the rows that may be unreadable, 0 to 1; they are counted, named and skipped."""
    log_every: int = Field(default=10, ge=1)
    """Optimizer steps between two lines of ``metrics.jsonl``."""
    checkpoint_every: int = Field(default=0, ge=0)
    """Optimizer steps between two checkpoints; 0: only ``checkpoint_minutes`` decides."""
    checkpoint_minutes: float = Field(default=10.0, gt=0)
    """Longest time between two checkpoints, in minutes."""
    probe_every: int = Field(default=0, ge=0)
    """Optimizer steps between two checks of the embeddings (probe and collapse monitor).

    0: a twentieth of the run, but enough steps to train on as many rows as a check reads.
    """
    loggers: tuple[str, ...] = ()
    """Loggers in addition to ``metrics.jsonl``: ``tensorboard``, ``wandb``, ``trackio``, or a plugin's."""
    optimization: OptimizationConfig = Field(default_factory=OptimizationConfig)
    """Optimizer, schedule and budget."""
    processor_options: dict[str, Any] = Field(default_factory=dict)
    """Options of the modality's processor (``--set processor.KEY=VALUE``)."""
    backbone_options: dict[str, Any] = Field(default_factory=dict)
    """Options of the backbone (``--set backbone.KEY=VALUE``)."""
    task_options: dict[str, Any] = Field(default_factory=dict)
    """Options of the task (``--set objective.KEY=VALUE``, ``--set views.KEY=VALUE``, ...)."""

    @model_validator(mode="after")
    def _bf16_weights(self) -> Self:
        if self.precision == "bf16-true" and self.strategy != "fsdp" and self.optimization.accumulate > 1:
            raise ValueError(
                "precision=bf16-true keeps gradients in bf16, where sums over the chunks of optimization.accumulate would lose "
                "small ones; use precision=bf16, or optimization.checkpoint_activations in place of accumulate"
            )
        return self
