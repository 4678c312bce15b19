"""The contract of a backbone: a batch in, embeddings out."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Literal, NamedTuple, Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from selfsup.config import Config
from selfsup.errors import ConfigError
from selfsup.runtime.precision import full
from selfsup.types import Batch, Info

FROZEN = "is_frozen"
"""Attribute of a module that stays in evaluation mode, see :func:`selfsup.backbones.freeze`."""
FIXED = "fixed_weights"
"""Attribute of a module with the names of its parameters that nothing trains, see :func:`selfsup.backbones.hold_fixed`."""


class Encoded(NamedTuple):
    """What a backbone makes of a batch (a named tuple, so that DDP and ``torch.export`` pass it through)."""

    pooled: Tensor
    """[B, D], one embedding a sample (D is the backbone's ``pooled_dim`` here)."""
    tokens: Tensor | None = None
    """[B, N, D], one embedding a token or place of the feature map, row-major over ``grid``; or None."""
    grid: tuple[int, ...] | None = None
    """The lattice that the N tokens lie on, for example (H, W); N is its product."""
    padding: Tensor | None = None
    """[B, N] bool, True where a token is padding; or None without padding."""
    parts: dict[str, Encoded] | None = None
    """Of rows that join several parts (a picture and its caption): what each part gives, by its name; None: there are no parts.

    ``pooled`` of the whole is then the mean of the parts that a row has.
    """
    valid: Tensor | None = None
    """[B] bool, False where a row lacks this part and what stands there means nothing; None: no row lacks it."""


@dataclass(frozen=True)
class Tokens:
    """A batch cut into tokens, before the network has mixed them. Special tokens (class, registers) are not among them."""

    embeddings: Tensor
    """[B, N, D], the content of each token without its position."""
    positions: Tensor
    """[B, N, D] or [1, N, D], added to the content by ``encode``; zeros where positions are handled inside the network."""
    grid: tuple[int, ...]
    """The lattice that the N tokens lie on: (T,), (H, W), (T, H, W) or (columns,)."""
    padding: Tensor | None = None
    """[B, N] bool, True where a token is padding; nothing looks at such tokens, and they are never hidden or predicted."""

    def masked(self, mask: Tensor, token: Tensor) -> Tokens:
        """Put ``token`` ([D]) in the place of the content wherever ``mask`` ([B, N] bool) is True; positions stay."""
        embeddings = torch.where(mask.unsqueeze(-1), token.to(self.embeddings.dtype), self.embeddings)
        return replace(self, embeddings=embeddings)


class Finetuning(NamedTuple):
    """How a pretrained network is best fine-tuned; ``--set finetune.lr`` and ``finetune.layer_decay`` go before."""

    lr: float = 1e-3
    """Peak learning rate of AdamW at the last block and the head, for batches of about 128."""
    layer_decay: float = 1.0
    """Factor of the learning rate from each block to the one before it; 1: one rate for all."""


class Backbone(nn.Module, ABC):
    """The network whose representation we want.

    It takes the batches of its modality both as the processor gives them and as the views do, and normalises them itself, so
    that no caller can forget to. It draws nothing at random in evaluation mode, and ignores keys that it does not know.
    """

    modality: ClassVar[str]
    started_from: str = ""
    """Where its weights came from before it was trained; empty: they were drawn at random, or its options say."""
    embed_dim: int
    """D, of the tokens, and of the pooled embedding unless :attr:`pooled_dim` says otherwise."""

    @property
    def pooled_dim(self) -> int:
        """Width of the pooled embedding; override where several poolings are joined."""
        return self.embed_dim

    @abstractmethod
    def forward(self, batch: Batch) -> Encoded:
        """Encode a batch."""

    @property
    def part_dims(self) -> Mapping[str, int]:
        """Name of each part of a row to the width of its pooled embedding; empty where rows are of one kind of data."""
        return {}

    @property
    def shares_space(self) -> bool:
        """Whether the embeddings of all parts lie in one space, so that they can be compared and heads be shared."""
        return False

    def part(self, name: str) -> Backbone:
        """The network of one part, a backbone of that part's own modality.

        Raises:
            ConfigError: there is no such part, or it has no network of its own.
        """
        known = ", ".join(self.part_dims) or "none"
        raise ConfigError(
            f"{type(self).__name__} has no network of its own for the part {name!r}; its parts are {known}. Leave the part "
            "out, or take a backbone with a network a part."
        )

    def part_options(self, name: str) -> tuple[str, dict[str, Any]]:
        """The id and the options in full (plain JSON values) that the registry builds :meth:`part` by.

        Raises:
            ConfigError: as for :meth:`part`.
        """
        self.part(name)
        raise NotImplementedError(f"{type(self).__name__} has a part {name!r} and does not say how it is built.")

    def lr_scales(self) -> list[tuple[nn.Module, float]]:
        """Modules whose learning rate is another than the run's, and the share of it that they take; inner ones last.

        Pretraining and fine-tuning keep to them. A part that is not trained in pretraining is frozen instead
        (:func:`~selfsup.backbones.freeze`); fine-tuning trains it.
        """
        return []

    def train(self, mode: bool = True) -> Self:
        """Set the mode of all of it but the frozen parts, which stay in evaluation mode."""
        super().train(mode)
        for module in self.modules() if mode else ():
            if getattr(module, FROZEN, False):
                module.train(False)
        return self

    def blocks(self) -> list[nn.Module]:
        """The repeated layers, from the input to the output; empty where the network is not made of such.

        Layer-wise learning rates count them. All parameters outside of them count as the input's.
        """
        return []

    def input_projection(self) -> list[nn.Parameter]:
        """Parameters of the linear layer that makes tokens of patches of the input; MoCo v3 leaves them as they are drawn.

        Override in transformers on patches; this gives none, as convolutional networks and word embeddings have no such layer.
        """
        return []

    @property
    def finetuning(self) -> Finetuning:
        """What suits fine-tuning this network where the user says nothing."""
        return Finetuning()

    def full_options(self, given: Config) -> Config:
        """The options as a saved encoder has them, with what they left open and this network chose.

        Here they are what was given. Override it where defaults depend on the data (which networks the parts of a row have), or
        where options are of training alone.

        Args:
            given: the validated options that it was built from.
        """
        return given

    def describe_input(self) -> str:
        """What it does to its input, in a few words, for the line that a run with pretrained weights shows; empty: nothing."""
        return ""

    def spare_parts(self) -> Mapping[str, nn.Module]:
        """Parts that are no part of the network unless a task asks for them, by the name that they then have in it.

        The vocabulary head of a language model is one. Weights of another network are put into them, too. Here there are none.
        """
        return {}

    def fit_weight(self, name: str, weight: Tensor, own: Tensor) -> Tensor | None:
        """Make a weight of another network fit this one, where its shape is another.

        Override it for tables of positions (resample them) and for the layer that sees the input's channels.

        Args:
            name: in the state dict.
            weight: the other network's.
            own: the one in its place.

        Returns:
            A weight of the shape of ``own``, or None where there is no way.
        """
        return None

    def weights_came(self, names: Collection[str]) -> None:
        """Be told the names of the weights that another network gave, those of spare parts among them. Here nothing follows."""

    def lost_weights(self) -> str:
        """What of its pretrained weights is of no use for the batches that it was built for, in a few words; empty: nothing."""
        return ""

    def expect_weights(self, names: Collection[str]) -> None:
        """Make the parts that only some saved encoders have, before weights of these names are loaded.

        Heads are thrown away after pretraining, but for one that the backbone keeps as a part of its own: the vocabulary head
        of a language model (see :meth:`TokenBackbone.output_head`). Here there are no such parts.
        """


def vision_transformer_finetuning(dim: int) -> Finetuning:
    """The settings of MAE for a ViT of width ``dim``, whatever its patches are cut from.

    He et al. 2022 (arXiv 2111.06377, table 9) decay the rate by 0.75 a block. Their code fine-tunes ViT-B at 5e-4 for a batch
    of 256, so 2.5e-4 for 128; a narrower network takes a higher rate, in proportion to 768 / ``dim``, up to 1e-3.
    """
    return Finetuning(lr=min(2.5e-4 * 768 / dim, 1e-3), layer_decay=0.75)


def language_transformer_finetuning(dim: int) -> Finetuning:
    """The settings of BERT for a transformer of width ``dim`` on texts or speech.

    3e-5 for a width of 768 is the middle of what BERT is fine-tuned with (Devlin et al. 2018, arXiv:1810.04805, A.3), and what
    transformers' example of audio classification takes. A narrower network takes a higher rate, with the square of
    768 / ``dim``, up to 1e-3. In proportion to 768 / ``dim`` it would be too low: an encoder of width 128 after 300 steps of
    ``text/vicreg`` on 10,000 Chinese headlines reaches an accuracy, in % of ten classes, one number a draw of the labels, of

    ========= ================ ================ ================
    labels    1e-3 (square)    5e-4             1.8e-4 (linear)
    ========= ================ ================ ================
    100       48.3, 45.4       47.4, 44.4       46.3, 43.8
    1,000     68.2, 68.2       67.5, 67.6       67.2, 66.4
    ========= ================ ================ ================
    """
    return Finetuning(lr=min(3e-5 * (768 / dim) ** 2, 1e-3))


class TokenBackbone(Backbone):
    """A backbone that sees its input as tokens: what masked modelling and latent prediction need.

    ``forward(batch)`` equals pooling over ``encode(tokenize(batch))``: by default the mean of the real tokens. The mask token
    belongs to the task, not to the backbone: see :meth:`Tokens.masked`.
    """

    target_kind: ClassVar[Literal["continuous", "categorical"]]
    """Whether :meth:`targets` gives real vectors [B, N, P] (float) or class ids [B, N] (long)."""
    target_dim: int
    """P, or the number of classes."""
    target_channels: int = 1
    """How many channels (the last axis of P) are normalised each for itself where targets are; 1: all P numbers together."""
    causal: bool = False
    """Whether a token sees only itself and those before it on the lattice (row-major): what autoregressive tasks need."""

    def forward(self, batch: Batch) -> Encoded:
        """Encode all tokens; the embedding is the mean of the real ones."""
        tokens = self.tokenize(batch)
        encoded = self.encode(tokens)
        return Encoded(mean_over_tokens(encoded, tokens.padding), encoded, tokens.grid, tokens.padding)

    @abstractmethod
    def tokenize(self, batch: Batch) -> Tokens:
        """Cut a batch into tokens."""

    @abstractmethod
    def encode(self, tokens: Tokens, *, keep: Tensor | None = None) -> Tensor:
        """Mix the tokens.

        Args:
            tokens: from :meth:`tokenize`, perhaps with mask tokens put in.
            keep: [B, K] long, indices of the only tokens that the network may see, in the order wanted; None: all N. A sample
                with padding may fill its K up with padding tokens; their output means nothing.

        Returns:
            [B, K, D] or [B, N, D], the normalised output of the last layer, without the special tokens.
        """

    def tokenizer_parameters(self) -> list[nn.Parameter]:
        """The parameters that :meth:`tokenize` uses, which a network over the tokens of several parts of a row takes over.

        Raises:
            ConfigError: the network does not say.
        """
        raise ConfigError(
            f"{type(self).__name__} does not say which of its parameters make tokens (TokenBackbone.tokenizer_parameters), so "
            "that its tokens cannot be fused with those of other parts. Take another backbone for this part."
        )

    def layer_outputs(self, tokens: Tokens) -> list[Tensor]:
        """What data2vec averages: the output of each layer from the first to the last, [B, N, D] each.

        Override where there is more than one layer; this gives the last layer's alone.
        """
        return [self.encode(tokens)]

    @abstractmethod
    def targets(self, batch: Batch) -> Tensor:
        """What there is to predict for each token: [B, N, P] float or [B, N] long, never requiring a gradient."""

    def normalize_targets(self, targets: Tensor) -> Tensor:
        """Give continuous targets ([..., P]) zero mean and unit variance each, over their own numbers; class ids stay.

        Of several :attr:`target_channels` each is normalised for itself. This is MAE's better variant (He et al. 2021,
        arXiv 2111.06377, section 3).
        """
        return standardized_vectors(targets, self.target_channels) if self.target_kind == "continuous" else targets

    def target_weight(self, batch: Batch) -> Tensor | None:
        """[B, N] float, 0 where a token has no target (a missing cell of a table) and 1 elsewhere; None: all have one.

        Padding is another matter: it is no token, and no mask hides it.
        """
        return None

    def target_head(self, dim: int) -> nn.Module:
        """A head from a decoder's width to what :meth:`target_loss` takes: [B, K, dim] to [B, K, target_dim].

        Override where tokens have targets of several kinds (the cells of a table).
        """
        return nn.Linear(dim, self.target_dim)

    def output_head(self) -> nn.Module:
        """The head of tasks that predict targets from what :meth:`encode` gives, without a decoder: language models.

        Override where the network has such a head of its own, which then is saved with it; this one belongs to the task, and is
        thrown away.
        """
        return self.target_head(self.embed_dim)

    def target_loss(
        self, prediction: Tensor, target: Tensor, index: Tensor, *, distance: Literal["squared", "absolute"] = "squared"
    ) -> Tensor:
        """The loss of each predicted token, [B, K], computed in float32 at least.

        Args:
            prediction: [B, K, ...] from :meth:`target_head`.
            target: [B, K, P] or [B, K], the targets of the same tokens.
            index: [B, K] long, which tokens they are.
            distance: how the method compares real vectors (mean over P); class ids have cross-entropy either way.
        """
        prediction = full(prediction)
        if self.target_kind == "categorical":
            # Flat, so that the classes lie side by side: on a CPU log-softmax along another axis is several times slower.
            return F.cross_entropy(prediction.flatten(0, 1), target.flatten(), reduction="none").view(target.shape)
        difference = prediction - target
        return (difference.square() if distance == "squared" else difference.abs()).mean(dim=-1)


@dataclass(frozen=True)
class Adopted:
    """A network of another library, as a backbone of ours starts from it."""

    id: str
    """The backbone: a registered id, or one of a family."""
    options: dict[str, Any] = field(default_factory=dict)
    """Its options as plain JSON values."""
    processor: dict[str, Any] = field(default_factory=dict)
    """The processor's options that the weights were trained with, beside those that ``BackboneRecipe.preprocessing`` gives."""
    weights: Callable[[], Mapping[str, Tensor]] | None = None
    """Reads the weights, under the names that the backbone has for them; None: the options say where they are."""


@dataclass(frozen=True)
class BackboneRecipe:
    """How a ``BackboneSpec`` becomes a backbone: validated options, and the function that takes them.

    ``build(config, info)`` gets the options and what the fitted processor says of its batches. The options ``pretrained`` and
    ``checkpoint`` say where first weights come from, and nothing else: they are left out when a saved encoder is loaded.
    """

    config: type[Config]
    build: Callable[[Any, Info], Backbone]
    preprocessing: Callable[[Any], Mapping[str, Any]] | None = None
    """The processor's options that the first weights were trained with (tokenizer, sampling rate, image size), by name.

    It gets the validated options and reads no more than a config. A run takes these values over the task's own unless the user
    sets others, and says so. Empty for fresh weights.
    """
    parts: str = ""
    """Option under which the network of each part of a row is chosen, by the part's name; empty: no part has one of its own.

    Its values have the form ``{"backbone": id, "options": {...}}``.
    """
    adopt: Callable[[str, Mapping[str, Any]], Adopted | None] | None = None
    """Recognizes the models of another library that this backbone, or a member of this family, can start from.

    It gets the folder (or ``hf://owner/name``) and what the ``config.json`` in it holds, and gives None where that is not its.
    """


def grid_size(grid: tuple[int, ...]) -> int:
    """Number of tokens on a lattice."""
    return math.prod(grid)


def standardized_vectors(x: Tensor, channels: int = 1) -> Tensor:
    """Each vector of [..., P] with zero mean and unit variance (unbiased, + 1e-6, as MAE's code); P = 1 is left as it is.

    Of several ``channels``, which are the last axis of P, each is standardised for itself. Computed in float32 at least.
    """
    if x.shape[-1] == channels:
        return x
    x = full(x)
    split = x.reshape(*x.shape[:-1], -1, channels)
    variance, mean = torch.var_mean(split, dim=-2, keepdim=True)
    out: Tensor = (split - mean) / (variance + 1e-6).sqrt()
    return out.flatten(-2)


def mean_over_tokens(tokens: Tensor, padding: Tensor | None) -> Tensor:
    """[B, N, D] tokens to their mean [B, D], those of ``padding`` ([B, N] bool, True where padding; or None) left out.

    A sample without a real token has zeros.
    """
    if padding is None:
        return tokens.mean(dim=1)
    real = (~padding).unsqueeze(-1).to(tokens.dtype)
    return (tokens * real).sum(dim=1) / real.sum(dim=1).clamp_min(1)


def max_over_tokens(tokens: Tensor, padding: Tensor) -> Tensor:
    """[B, N, D] tokens to their maximum [B, D], those of ``padding`` ([B, N] bool) left out; each sample has a real token."""
    return tokens.masked_fill(padding.unsqueeze(-1), torch.finfo(tokens.dtype).min).amax(dim=1)
