"""The config of a run: data, devices, optimizer, budget."""

from __future__ import annotations

from typing import Any, Literal, Self

from pydantic import Field, model_validator

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
    """Peak learning rate as it is; None takes ``base_lr * batch_size / 256``. The course and the warm-up stay."""
    base_lr: float = Field(default=1e-3, gt=0)
    """Peak learning rate for a batch of 256, scaled linearly with the batch size."""
    final_lr_fraction: float = Field(default=0.0, ge=0, le=1)
    """Where the cosine ends, as a fraction of the peak; to set it replaces a recipe's constant schedule by the cosine."""
    schedule: Literal["cosine", "constant"] = "cosine"
    """Course of the learning rate after the warm-up; to set it drops the recipe's warm-up and end."""
    warmup_fraction: float = Field(default=0.05, ge=0, lt=1)
    """Part of all steps in which the learning rate rises linearly from 0 to its peak."""
    warmup_epochs: float | None = Field(default=None, ge=0)
    """Length of the warm-up in epochs, at most half of the run; None takes ``warmup_fraction``."""
    weight_decay: float = Field(default=0.05, ge=0)
    """Weight decay; biases, norms and all other parameters of one dimension have none. To set it drops ``weight_decay_end``."""
    weight_decay_end: float | None = Field(default=None, ge=0)
    """Weight decay at the end, reached along a cosine (DINO: .04 to .4); None keeps it constant."""
    betas: tuple[float, float] = (0.9, 0.999)
    """Decay rates of Adam's two moments."""
    eps: float = Field(default=1e-8, gt=0)
    """Added to Adam's denominator."""
    momentum: float = Field(default=0.9, ge=0, lt=1)
    """Momentum of ``sgd`` and ``lars``."""
    trust_coefficient: float = Field(default=1e-3, gt=0)
    """LARS's eta, the size of a layer's step against the size of its weights (paper: 0.001)."""
    bias_lr_scale: float = Field(default=1.0, ge=0)
    """Learning rate of biases and norms as a fraction of that of the weights (Barlow Twins' authors: 0.0048 / 0.2)."""
    adapt_biases: bool = False
    """Whether LARS adapts the rate of biases and norms, too (LARS's paper, SwAV: yes; SimCLR, BYOL and Barlow Twins: no)."""
    clip: float | None = Field(default=None, gt=0)
    """Largest 2-norm of the gradient; None does not clip."""
    clip_per_parameter: bool = False
    """Clip the gradient of each parameter on its own, as the authors of DINO do, and not all of them together."""
    batch_size: int = Field(default=256, ge=2)
    """Samples of one optimizer step, over all devices and accumulated chunks together; tasks and modalities may have others."""
    accumulate: int = Field(default=1, ge=1)
    """Chunks that each device's share of a batch is cut into, one after the other, to need the memory of one.

    The gradient is that of the whole batch. Tasks that compare samples (contrasts, covariances, assignments) embed each chunk
    twice for that, which costs one more forward pass (GradCache, Gao et al. 2021, arXiv:2101.06983). Batch norm sees chunk by
    chunk, and so do views that take values from other rows. The batch itself lies on the device as a whole.
    """
    epochs: int | None = Field(default=None, ge=1)
    """Budget in passes over the data; 100 if neither this nor ``steps`` is given."""
    steps: int | None = Field(default=None, ge=0)
    """Budget in optimizer steps, instead of ``epochs``."""
    max_steps: int | None = Field(default=None, ge=1)
    """Upper limit of the budget in optimizer steps, whatever ``epochs`` comes to."""
    ema: float = Field(default=0.0, ge=0, lt=1)
    """Decay per step of a moving average of the encoder's weights, which is then what is saved; 0 keeps none.

    It begins lower and rises over the first steps, so that short runs do not keep their random start.
    """
    compile: str = "off"
    """Backend of ``torch.compile`` for the backbone (``inductor``, ...); ``off`` does not compile."""
    channels_last: bool | None = None
    """Keep convolution weights in channels-last order; None does so for 2-d convolutions, but not in float32 on a CPU."""

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
    """How rows are streamed; of effect where ``stream`` is on."""

    buffer: int = Field(default=1000, ge=1)
    """Rows that lie in memory, as the source holds them, and are shuffled among each other; 1 keeps the order of the shards.

    Shards are read in another order in each epoch, too.
    """
    sample_rows: int = Field(default=10_000, ge=2)
    """Rows that processors are fitted on: the first ones, no more than 256 MB; of folders and tables rows spread over all.

    Of single files at a URL: 512 at most, for each is a request.
    """
    rows: int | None = Field(default=None, ge=2)
    """Rows of an epoch, where the source does not say how many it has (archives, lines); needed for a budget in epochs.

    Of texts that are joined into blocks, the number of blocks is estimated from it and the lengths of rows in the sample.
    """
    split: Literal["auto", "rows", "shards"] = "auto"
    """Which rows are whose on several devices.

    ``rows``: each device reads all shards and takes its part of each batch, so that uneven shards make no difference; where
    devices meet more bad or held-out rows than others, an epoch ends with the first one that has no full batch left.
    ``shards``: each reads shards of its own, and an epoch ends in the same way. What is left is said.
    ``auto``: shards for sources in a network that have one for each device, else rows; a run keeps what it began with.
    """
    workers: int | None = Field(default=None, ge=0)
    """Processes that decode rows, for each device; 0: a thread of the run does. None: one for each core but one, 8 at most."""
    above_gb: float = Field(default=50.0, gt=0)
    """Size of a source on this machine, in gigabytes (10^9 bytes), above which it is streamed where ``stream`` does not say."""


class RunConfig(Config):
    """All that determines a run. ``run.json`` holds it resolved; ``--config run.json`` repeats the run."""

    task: str
    """Id of the pretext task, such as ``vision/simclr``."""
    data: str
    """Source of the training rows: a registered name, a path, or ``hf://owner/name``."""
    backbone: str = ""
    """Id of the backbone; empty takes the task's own, then the modality's."""
    init: str | dict[str, str] | None = None
    """What to start from: the folder of a run, of an encoder, or of a model of another library; ``hf://owner/name``; the id of
    a backbone whose library has weights (``timm/resnet50``); or a file of weights, with ``backbone``. It chooses the backbone
    and its options where nothing else does, and its processor comes along. By the name of a part of a row: what the network of
    that part starts from (``vision=RUN``). None: weights drawn with the seed.
    """
    columns: dict[str, str] = Field(default_factory=dict)
    """Role to column name, where the feature types do not tell."""
    table: TableFormat = Field(default_factory=TableFormat)
    """Separator, decimal mark, encoding, ... of text tables, where they cannot be found."""
    label: str | None = None
    """Label column; cut off before the task, but for the supervised reference."""
    label_kind: LabelKind | None = None
    """What it holds: ``class``, ``classes`` (several a row) or ``number``; None: what its values look like."""
    unlabelled: tuple[str, ...] = ()
    """Labels that mean that a row has none, beside empty ones; the supervised reference and the probe leave such rows out."""
    rows: int = Field(default=0, ge=0)
    """Train on so many rows, drawn with the seed; 0 takes all."""
    holdout: float = Field(default=0.0, ge=0, lt=1)
    """Share of the rows to leave out, by a hash of what they hold; ``evaluate`` and ``finetune`` then test on them."""
    val: str | None = None
    """Source of labelled rows for the online probe; None runs none.

    Its validation split, else its training split without the rows of ``holdout``; test rows only where the source names them
    (``SRC:test``), since the probe chooses the checkpoint that is kept as the best.
    """
    stream: bool | None = None
    """Decode rows while training goes on, and not all of them before.

    None: only sources that cannot be prepared (``s3://`` and other URLs, patterns of several files) and those that are larger
    than ``streaming.above_gb``.
    """
    streaming: StreamingConfig = Field(default_factory=StreamingConfig)
    """How rows are streamed."""
    seed: int = Field(default=0, ge=0)
    """Seed of the weights, the order of the rows and the views."""
    precision: Literal["auto", "32", "bf16", "16"] = "auto"
    """Arithmetic; ``auto`` takes bf16 where the device is faster with it, which is measured on a CPU."""
    devices: int = Field(default=1, ge=1)
    """Processes on this machine, one a GPU where there are GPUs."""
    nodes: int = Field(default=1, ge=1)
    """Machines; more than one needs srun or torchrun to start the command on each."""
    strategy: Literal["auto", "ddp", "fsdp"] = "auto"
    """How several devices share the work; ``auto`` takes ddp where there are several."""
    accelerator: Literal["auto", "cpu", "gpu"] = "auto"
    """Kind of device; ``auto`` takes the GPU where there is one."""
    workers: int = Field(default=0, ge=0)
    """Threads that decode the rows once before training; 0 takes one a core."""
    max_store_gb: float | None = Field(default=None, gt=0)
    """Gigabytes (10^9 bytes) that the processed rows may take on disk; None: what is free there. A stream takes none.

    Rows that take more are compressed without loss; a run that does not fit even then is refused.
    """
    max_bad_rows: float = Field(default=0.01, ge=0, le=1)
    """Part of the rows that may be unreadable; they are counted, named and skipped."""
    log_every: int = Field(default=10, ge=1)
    """Optimizer steps between two lines of ``metrics.jsonl``."""
    checkpoint_every: int = Field(default=0, ge=0)
    """Optimizer steps between two checkpoints; 0 goes by ``checkpoint_minutes`` alone."""
    checkpoint_minutes: float = Field(default=10.0, gt=0)
    """Longest time between two checkpoints."""
    probe_every: int = Field(default=0, ge=0)
    """Optimizer steps between two looks at the embeddings (probe and collapse monitor).

    0: a twentieth of the run, but no fewer than train on as many rows as a look is at.
    """
    loggers: tuple[str, ...] = ()
    """Where metrics go besides ``metrics.jsonl``: ``tensorboard``, ``wandb``, ``trackio``, or a plugin's."""
    optimization: OptimizationConfig = Field(default_factory=OptimizationConfig)
    """Optimizer, schedule and budget."""
    processor_options: dict[str, Any] = Field(default_factory=dict)
    """Options of the modality's processor (``--set processor.KEY=VALUE``)."""
    backbone_options: dict[str, Any] = Field(default_factory=dict)
    """Options of the backbone (``--set backbone.KEY=VALUE``)."""
    task_options: dict[str, Any] = Field(default_factory=dict)
    """Options of the task (``--set objective.KEY=VALUE``, ``--set views.KEY=VALUE``, ...)."""

    @model_validator(mode="after")
    def _average_of_whole_weights(self) -> Self:
        if self.strategy == "fsdp" and self.optimization.ema:
            raise ValueError("optimization.ema needs whole weights on each device, which strategy=fsdp does not keep; use ddp")
        return self
