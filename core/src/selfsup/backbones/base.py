"""The contract of a backbone: it takes a batch and gives embeddings."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any, ClassVar, NamedTuple, Self

from torch import Tensor, nn

from selfsup.config import Config
from selfsup.errors import ConfigError
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

        Layer-wise learning rates count them. All parameters outside of them count as the input's. FSDP shards each of them
        separately, and activation checkpointing computes them again in the backward pass.
        """
        return []

    def remember_forward(self) -> Callable[[], AbstractContextManager[Any]]:
        """Remember, while :meth:`forward` runs, what its blocks read besides their arguments, weights and random state.

        Override it where the forward pass sets a state that blocks read and that is gone in the backward pass.

        Returns:
            Makes a context in which that state is as it is now; activation checkpointing computes blocks again in it.
        """
        return nullcontext

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
