"""The vocabulary head that scores frozen tokens: the encoder's own, or one fitted on training rows."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Literal, NamedTuple

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from selfsup.backbones import Backbone
from selfsup.config import Config, idle
from selfsup.data import EpochSampler, Loader, Store
from selfsup.errors import ConfigError, DataError
from selfsup.runtime import evaluation_mode, preserved, seed_of_rank
from selfsup.tasks import PretextTask, StepOutput
from selfsup.training import OptimizationConfig, Stepper, devices_here
from selfsup.types import Batch
from selfsup_text.backbones.base import TextBackbone
from selfsup_text.backbones.heads import VocabularyHead

if TYPE_CHECKING:
    from selfsup.artifacts import Encoder

_TOKENS_A_STEP = 1024
"""Most tokens of a batch that the head is fitted on."""
_LOGITS = 16_000_000
"""Most logits in memory (64 MB in float32)."""


class HeadConfig(Config):
    """Which vocabulary head to use, and how to fit one."""

    head: Literal["auto", "own", "fitted"] = "auto"
    """``own``: the language model's, kept by mlm, clm and pretrained models; ``fitted``: trained on frozen tokens of the
    training rows, to compare encoders of any task; ``auto``: its own if the encoder has one."""
    steps: int = Field(default=300, ge=1)
    """Optimizer steps."""
    batch_size: int = Field(default=32, ge=1)
    """Texts per step."""
    lr: float = Field(default=3e-3, gt=0)
    """Peak learning rate of AdamW, with a cosine schedule to 0."""

    def without_effect(self) -> dict[str, str]:
        """See :meth:`selfsup.config.Config.without_effect`."""
        return idle("head is own, so nothing is fitted", self.head == "own", "steps", "batch_size", "lr")


class Examples(NamedTuple):
    """Frozen tokens, and the ids to predict from them."""

    features: Tensor
    """[M, D]."""
    targets: Tensor
    """[M] long."""


MakeExamples = Callable[[TextBackbone, Batch, torch.Generator], Examples]


class Score(NamedTuple):
    """How well a head predicts ids."""

    nats: float
    """Sum of -log p(id)."""
    hits: int
    """How often the likeliest id is correct."""
    tokens: int


def text_backbone_of(encoder: Encoder, evaluator: str, *, causal: bool) -> TextBackbone:
    """Return the encoder's backbone if it is a text backbone, and causal or not as required.

    Raises:
        ConfigError: it is not.
    """
    backbone = encoder.backbone
    if not isinstance(backbone, TextBackbone) or backbone.causal != causal:
        kind = "a decoder (each token sees only earlier ones)" if causal else "an encoder (each token sees all others)"
        other = "pseudo-perplexity" if causal else "perplexity"
        raise ConfigError(
            f"The evaluator {evaluator!r} is for {kind}, which the backbone {encoder.backbone_id!r} is not. Try {other!r}."
        )
    return backbone


def vocabulary_head(
    encoder: Encoder, backbone: TextBackbone, store: Store, make: MakeExamples, config: HeadConfig, seed: int
) -> nn.Module:
    """The head that the config selects; the arguments are those of :func:`fit_head`.

    Raises:
        ConfigError: it selects the encoder's own head, which is missing.
        DataError: the texts are too short to learn from.
    """
    if config.head == "own" and backbone.vocabulary_head is None:
        raise ConfigError(
            "head='own' needs an encoder with its vocabulary head: from text/mlm, text/clm, or text/random-init with "
            "backbone.pretrained. Use head='fitted'."
        )
    if config.head != "fitted" and backbone.vocabulary_head is not None:
        return backbone.vocabulary_head
    return fit_head(encoder, backbone, store, make, config, seed)


def fit_head(
    encoder: Encoder, backbone: TextBackbone, store: Store, make: MakeExamples, config: HeadConfig, seed: int
) -> nn.Module:
    """Fit BERT's vocabulary head on frozen tokens; the backbone with its word embeddings does not change.

    Args:
        encoder: with its processor; its mode is restored.
        backbone: of the encoder.
        store: training texts.
        make: tokens and targets of a batch.
        config: options.
        seed: of the head, the order of texts and the draws of ``make``.

    Raises:
        DataError: the texts are too short to learn from.
    """
    fabric = devices_here(encoder.device, "32").connect()
    with preserved():
        torch.manual_seed(seed)
        head = VocabularyHead(backbone.embed_dim, backbone.word_embeddings).to(encoder.device)
    words = {parameter: parameter.requires_grad for parameter in backbone.parameters()}
    generator = torch.Generator(encoder.device).manual_seed(seed_of_rank(seed, fabric.global_rank))
    try:
        for parameter in words:
            parameter.requires_grad_(False)
        stepper = Stepper(
            fabric,
            _HeadTask(backbone, head),
            OptimizationConfig(lr=config.lr, weight_decay=0.0),
            total_steps=config.steps,
            warmup_steps=config.steps // 20,
            generator=generator,
        )
        seen = 0
        for batch in itertools.islice(
            _endless(encoder, store, config, seed, fabric.global_rank, fabric.world_size), config.steps
        ):
            with evaluation_mode(encoder):
                features, targets = make(backbone, batch, generator)
            chosen = torch.randperm(len(targets), generator=generator, device=encoder.device)[:_TOKENS_A_STEP]
            stepper.take({"features": features[chosen].float(), "targets": targets[chosen]})
            seen += len(chosen)
    finally:
        for parameter, trained in words.items():
            parameter.requires_grad_(trained)
    if not seen:
        raise DataError("The training texts are too short: no token has context to predict it from.")
    return head.eval()


class _HeadTask(PretextTask):
    """The loss of a vocabulary head on frozen tokens, for the stepper."""

    def __init__(self, backbone: TextBackbone, head: nn.Module) -> None:
        super().__init__()
        self.head = head
        self._backbone = (backbone,)  # in a tuple: it is not trained

    def forward(self, batch: Batch, generator: torch.Generator | None) -> StepOutput:
        """The mean over the tokens of a batch, which may be empty."""
        losses = F.cross_entropy(self.head(batch["features"]).float(), batch["targets"], reduction="sum")
        count = losses.new_tensor(float(len(batch["targets"])))
        return StepOutput(losses / count.clamp_min(1), {}, count)

    def lr_scales(self) -> list[tuple[nn.Module, float]]:
        """Empty: all of the head has the same learning rate."""
        return []

    def encoder_backbone(self) -> Backbone:
        """The network that makes the tokens."""
        return self._backbone[0]


def score_head(head: nn.Module, examples: Examples) -> Score:
    """Score the targets by a head, a few tokens at a time."""
    nats, hits, tokens = 0.0, 0, len(examples.targets)
    size = 256
    with torch.no_grad():
        start = 0
        while start < tokens:
            logits = head(examples.features[start : start + size].float()).float()
            targets = examples.targets[start : start + size]
            nats += float(F.cross_entropy(logits, targets, reduction="sum"))
            hits += int((logits.argmax(dim=1) == targets).sum())
            start += size
            size = max(1, _LOGITS // logits.shape[1])
    return Score(nats, hits, tokens)


def _endless(encoder: Encoder, store: Store, config: HeadConfig, seed: int, rank: int, ranks: int) -> Iterator[Batch]:
    """This process's share of shuffled batches, epoch after epoch."""
    size = max(min(config.batch_size, len(store)) // ranks, 1)
    sampler = EpochSampler(len(store), size, seed, rank=rank, world_size=ranks)
    loader = Loader(store, encoder.processor, sampler, encoder.device)
    epoch = 0
    while True:
        yield from loader.epoch(epoch)
        epoch += 1
