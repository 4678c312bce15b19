"""A model of the transformers library as a text backbone."""

from __future__ import annotations

import inspect
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn
from transformers import AttentionInterface, PreTrainedModel
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.utils import logging

from selfsup.backbones import Finetuning, language_transformer_finetuning, resample_sequence
from selfsup.errors import ArtifactError, ConfigError
from selfsup.types import Info
from selfsup_text.backbones.base import TextBackbone
from selfsup_text.backbones.dropout import seed_dropout
from selfsup_text.backbones.language_head import LanguageHead
from selfsup_text.backbones.layout import Framed
from selfsup_text.backbones.pooling import Pooling

MaskStyle = Literal["ready", "windows", "plain"]
"""The form of a model's padding mask: [B, 1, ., L], one such mask per kind of layer, or the usual [B, L]."""

_CAUSAL = "selfsup_causal"
"""torch's attention under a name for which the library builds no mask.

To build one for a decoder, the library looks whether a batch holds packed texts, and waits for the device to say so.
"""
AttentionInterface.register(_CAUSAL, sdpa_attention_forward)


class TransformersBackbone(TextBackbone):
    """Any encoder or decoder of the transformers library that takes embeddings and returns the output of each layer.

    The state dict is the library's own with a prefix. Attention masks are made here, so that no step waits for the device to
    know whether there is padding; a decoder needs none, because padding comes after the text.

    Args:
        model: without a head.
        info: of the processor.
        causal: whether it is a decoder.
        pooling: how tokens become one embedding.
        head: the head of the language model that the model belongs to, if any.
        head_is_fresh: whether that head is untrained.

    Raises:
        ConfigError: the embeddings are narrower than the layers, or there are too few positions.
    """

    export_formats: ClassVar[tuple[str, ...]] = ("transformers",)

    def __init__(
        self,
        model: PreTrainedModel,
        info: Info,
        *,
        causal: bool,
        pooling: Pooling,
        head: LanguageHead | None = None,
        head_is_fresh: bool = True,
    ) -> None:
        config: Any = model.config
        super().__init__(info, int(config.hidden_size), causal=causal, pooling=pooling, head=head)
        self.model = model
        self.head_is_fresh = head_is_fresh
        self.words_are_new = False
        embeddings = model.get_input_embeddings()
        if not isinstance(embeddings, nn.Embedding) or embeddings.embedding_dim != self.embed_dim:
            raise ConfigError(
                f"transformers/{config.model_type} embeds words in another width than the {self.embed_dim} of its layers, but "
                "masked tasks need equal widths: set backbone.architecture.embedding_size to that width."
            )
        self.target_dim = embeddings.num_embeddings
        self._parameters_taken = frozenset(inspect.signature(model.forward).parameters)
        self._first_place = _first_place(model)
        self._check_positions(config)
        if seed_dropout(model, self.noise):
            self.input_dropout = nn.Identity()
        self._masks = mask_style(model, causal)
        if causal and self._masks == "ready" and model._supports_attention_backend:
            config._attn_implementation = _CAUSAL
        self._has_windows = has_windows(config)

    def _check_positions(self, config: Any) -> None:
        have = getattr(config, "max_position_embeddings", None)
        need = self.max_length + 2 + self._first_place
        if have is not None and have < need:
            raise ConfigError(
                f"transformers/{config.model_type} has {have} positions, but texts of {self.max_length} tokens need {need}: "
                f"choose processor.max_length={have - 2 - self._first_place} or less."
            )

    @property
    def word_embeddings(self) -> nn.Embedding:
        """[V, D]."""
        found = self.model.get_input_embeddings()
        assert isinstance(found, nn.Embedding)
        return found

    def fit_weight(self, name: str, weight: Tensor, own: Tensor) -> Tensor | None:
        """Resample position embeddings for another length, and pad word embeddings for added tokens.

        The special rows at the beginning of a position table stay as they are.
        """
        if weight.shape[1:] != own.shape[1:]:
            return None
        table = _position_table(self.model)
        if table is not None and own.data_ptr() == table.weight.data_ptr():
            return resample_sequence(weight, len(own), self._first_place)
        if len(own) == self.target_dim:
            kept = min(len(own), len(weight))
            return torch.cat([weight[:kept], own[kept:]])
        return None

    def weights_came(self, names: Collection[str]) -> None:
        """Mark the vocabulary head as trained if its weights are among them."""
        if any(name.startswith("vocabulary_head.") for name in names):
            self.head_is_fresh = False

    def blocks(self) -> list[nn.Module]:
        """The layers; none if they share their weights (ALBERT)."""
        depth = getattr(self.model.config, "num_hidden_layers", 0)
        lists = (module for module in self.model.modules() if isinstance(module, nn.ModuleList) and len(module) == depth)
        return list(next(lists, ()))

    @property
    def finetuning(self) -> Finetuning:
        """BERT's settings, with a higher learning rate for narrower networks."""
        return language_transformer_finetuning(self.embed_dim)

    def describe_input(self) -> str:
        """Say if pretrained weights got new word vectors."""
        return self.lost_weights()

    def lost_weights(self) -> str:
        """Word vectors that were replaced because the texts use another tokenizer."""
        return f"fresh vectors for all {self.target_dim} words of another tokenizer" if self.words_are_new else ""

    def position_embeddings(self, n: int) -> Tensor | None:
        """[n, D], from the table of absolute positions, if there is one; the first row belongs to the class token, if any."""
        table = _position_table(self.model)
        start = self._first_place + int(self.begins)
        if table is None or table.embedding_dim != self.embed_dim or table.num_embeddings < start + n:
            return None
        return table.weight[start : start + n]

    def mix(self, framed: Framed, *, every_layer: bool = False) -> list[Tensor]:
        """Run the model."""
        arguments: dict[str, Any] = {"inputs_embeds": framed.embeddings, "return_dict": True}
        arguments["attention_mask"] = self._mask(framed)
        if every_layer:
            arguments["output_hidden_states"] = True
        if "use_cache" in self._parameters_taken:
            arguments["use_cache"] = False
        if framed.places is not None:
            self._check_places(
                "leave tokens out and keep the positions of the others, as this task needs"
                if framed.documents is None
                else "begin positions anew in each document, as processor.document_masks needs"
            )
            arguments["position_ids"] = framed.places + self._first_place
        output = self.model(**arguments)
        layers = output.hidden_states[1:-1] if every_layer else ()
        return [*layers, output.last_hidden_state]

    def _check_places(self, what: str) -> None:
        """Check that tokens can have other positions than their indices, which ``what`` needs."""
        if "position_ids" not in self._parameters_taken or (self._masks == "plain" and (self.causal or self._has_windows)):
            raise ConfigError(
                f"transformers/{self.model.config.model_type} cannot {what}. Use another task or option, or "
                "a network such as bert, modernbert, gpt2 or llama."
            )

    def _mask(self, framed: Framed) -> Any:
        if framed.documents is not None:
            return self._document_mask(framed)
        if self._masks == "plain":
            return (~framed.padding).long()
        if self.causal:
            # Padding comes after all visible tokens, so only a custom order (keep) needs a mask.
            return None if framed.places is None else _causal(framed)
        visible = None if _surely_whole(framed.padding) else ~framed.padding[:, None, None, :]
        if self._masks == "ready":
            return visible
        return {"full_attention": visible, "sliding_attention": self._window(framed, visible)}

    def _document_mask(self, framed: Framed) -> Any:
        """Block-diagonal masks: each document by itself."""
        assert framed.documents is not None
        assert framed.places is not None
        visible = _separate(framed, framed.documents, framed.places, causal=self.causal).unsqueeze(1)
        if self._masks == "plain":
            raise ConfigError(
                f"transformers/{self.model.config.model_type} makes its attention masks from padding alone, so "
                "processor.document_masks cannot be used. Use a network such as bert, modernbert, gpt2 or llama."
            )
        if self._masks == "ready":
            return visible
        return {"full_attention": visible, "sliding_attention": self._window(framed, visible)}

    def _window(self, framed: Framed, visible: Tensor | None) -> Tensor:
        """[B, 1, L, L] bool: tokens within half of the model's window."""
        places = framed.places
        if places is None:
            places = torch.arange(framed.padding.shape[1], device=framed.padding.device).unsqueeze(0)
        near = (places.unsqueeze(2) - places.unsqueeze(1)).abs() <= int(self.model.config.sliding_window)
        return near.unsqueeze(1) if visible is None else near.unsqueeze(1) & visible

    def export_folder(self, format: str, processor: Any, folder: Path) -> None:
        """Write the model and its tokenizer into an empty folder for ``AutoModel`` and ``AutoTokenizer``.

        A kept vocabulary head is included, for ``AutoModelForMaskedLM`` or ``AutoModelForCausalLM``.

        Args:
            format: ``transformers``.
            processor: the encoder's :class:`~selfsup_text.processor.TextProcessor`.
            folder: exists and is empty.

        Raises:
            ArtifactError: the format is unknown.
        """
        if format not in self.export_formats:
            raise ArtifactError(f"a text backbone has no export format {format!r}; it has: {', '.join(self.export_formats)}.")
        with without_progress():
            if self.vocabulary_head is None:
                self.model.save_pretrained(folder)
            else:
                with self.vocabulary_head.joined(self.model) as whole:
                    whole.save_pretrained(folder)
        processor.pretrained_tokenizer(causal=self.causal).save_pretrained(folder)


@contextmanager
def without_progress() -> Iterator[None]:
    """Silence the library's progress bars and advice."""
    shown, level = logging.is_progress_bar_enabled(), logging.get_verbosity()
    logging.disable_progress_bar()  # type: ignore[no-untyped-call]  # not typed there
    logging.set_verbosity_error()  # type: ignore[no-untyped-call]  # not typed there
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if shown:
            logging.enable_progress_bar()  # type: ignore[no-untyped-call]  # not typed there


def mask_style(model: PreTrainedModel, causal: bool) -> MaskStyle:
    """The form of a model's mask."""
    config: Any = model.config
    if config.model_type == "modernbert" and hasattr(config, "sliding_window"):  # the first versions of 5 take plain masks
        return "windows"
    return "plain" if config._attn_implementation != "sdpa" or has_windows(config) else "ready"


def has_windows(config: Any) -> bool:
    """Whether some layers attend only to near tokens, or use something else than attention."""
    kinds = set(getattr(config, "layer_types", None) or ())
    window = getattr(config, "sliding_window", None) or getattr(config, "local_attention", None)
    return bool(kinds - {"full_attention"}) or bool(window and not kinds)


def _causal(framed: Framed) -> Tensor:
    """[B, 1, L, L] bool: tokens at the same or earlier positions."""
    assert framed.places is not None
    before = framed.places.unsqueeze(1) <= framed.places.unsqueeze(2)
    own = torch.eye(before.shape[1], dtype=torch.bool, device=before.device)
    # Each token sees itself: a softmax over nothing would be NaN.
    return ((before & ~framed.padding.unsqueeze(1)) | own).unsqueeze(1)


def _separate(framed: Framed, documents: Tensor, places: Tensor, *, causal: bool) -> Tensor:
    """[B, L, L] bool: tokens of the same document, and of a decoder those at the same or earlier positions."""
    visible = (documents.unsqueeze(2) == documents.unsqueeze(1)) & ~framed.padding.unsqueeze(1)
    if causal:
        visible = visible & (places.unsqueeze(1) <= places.unsqueeze(2))
    # Each token sees itself: a softmax over nothing would be NaN.
    return visible | torch.eye(visible.shape[1], dtype=torch.bool, device=visible.device)


def _surely_whole(padding: Tensor) -> bool:
    """Whether there is certainly no padding, without waiting for the device."""
    if padding.device.type != "cpu" or torch.compiler.is_compiling():
        return False
    return not bool(padding.any())


def _first_place(model: PreTrainedModel) -> int:
    """The position id of the first token: 0, or after that of the padding (RoBERTa)."""
    table = _position_table(model)
    return 0 if table is None or table.padding_idx is None else int(table.padding_idx) + 1


def _position_table(model: PreTrainedModel) -> nn.Embedding | None:
    """The table of absolute positions, next to the words. Tables inside layers hold distances."""
    for name, module in model.named_modules():
        if isinstance(module, nn.Embedding) and "position" in name and "layer" not in name:
            return module
    return None
