"""Checks of each model before it becomes a backbone: the library has several hundred model types, and not all fit.

A list of names would not do: depending on config and library version, a type may attend to later tokens or padding, or ignore
positions. So a few tokens pass the model about ten times.
"""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor
from transformers import PreTrainedModel

from selfsup.errors import ConfigError
from selfsup.runtime import evaluation_mode, preserved
from selfsup.types import Batch, Info
from selfsup_text.backbones.dropout import RATE_KEY, SEED_KEY, SeededDropout

if TYPE_CHECKING:
    from selfsup_text.backbones.network import TransformersBackbone

_WORDS = 6
"""Most tokens of the test texts."""
_CLOSE = 1e-5
"""Relative rounding error allowed between batches of different shapes."""
_EQUAL = 1e-6
"""The same for equal shapes; networks with small initial weights pass little from token to token."""


def measured_causal(network: PreTrainedModel, wanted: Literal["masked", "causal"] | None) -> bool:
    """Whether no token's output depends on a later token.

    Args:
        network: without a head.
        wanted: the kind of its language model: ``causal``, ``masked`` (each token sees all), or None for any.

    Raises:
        ConfigError: the network does not match ``wanted``.
    """
    name = network.config.model_type
    options: dict[str, Any] = {"return_dict": True}
    if "use_cache" in inspect.signature(network.forward).parameters:
        options["use_cache"] = False
    with preserved(), evaluation_mode(network):
        torch.manual_seed(0)
        try:
            first = network.get_input_embeddings()(torch.arange(_WORDS).unsqueeze(0))
            # Replace the last token by a very different one.
            other = torch.cat([first[:, :-1], 10 * first.abs().amax() * torch.randn_like(first[:, -1:])], dim=1)
            one, two = (network(inputs_embeds=x, **options).last_hidden_state[:, :-1] for x in (first, other))
        except Exception as error:  # models of other modalities fail in their own ways
            raise refusal(name, failure(error)) from error
    causal = one.shape[1] == _WORDS - 1 and _same(one, two, _EQUAL)
    if wanted == "causal" and not causal:
        raise refusal(
            name,
            "its language model is for decoders, but its tokens see later ones. If its config has is_decoder, set "
            'backbone.architecture={"is_decoder": true}',
        )
    if wanted == "masked" and causal:
        raise refusal(name, "its language model is for encoders, but its tokens see only earlier ones")
    return causal


def check_backbone(backbone: TransformersBackbone, info: Info) -> None:
    """Check padding, positions, dropout and the vocabulary head.

    A model without dropout in its layers gets dropout on its embeddings.

    Raises:
        ConfigError: a check fails; the message names the model type and the reason.
    """
    name = backbone.model.config.model_type
    training = backbone.training
    backbone.eval()
    try:
        with preserved(), torch.no_grad():
            torch.manual_seed(0)
            reason = _fault(backbone, info)
    except ConfigError:
        raise
    except Exception as error:  # models of other modalities fail in their own ways
        raise refusal(name, failure(error)) from error
    finally:
        backbone.train(training)  # a dropout layer may be new
    if reason is not None:
        raise refusal(name, reason)


def _fault(backbone: TransformersBackbone, info: Info) -> str | None:
    """The first failure, or None."""
    texts = _texts(backbone, info)
    encoded = backbone(texts)
    tokens = encoded.tokens
    if not torch.isfinite(tokens).all():
        return "its output is not finite"
    alone = {key: value[1:, : _WORDS // 2] for key, value in texts.items()}
    if not _same(backbone(alone).tokens, tokens[1:, : _WORDS // 2]):
        return "padding changes the output of a text"
    turned = {**texts, "ids": texts["ids"].clone()}
    turned["ids"][0, :2] = texts["ids"][0, :2].flip(0)
    if _same(backbone(turned).tokens[0, 2:], tokens[0, 2:], _EQUAL):
        return "it ignores the order of words"
    return _dropout_fault(backbone, texts, tokens) or _head_fault(backbone, texts)


def _dropout_fault(backbone: TransformersBackbone, texts: Batch, calm: Tensor) -> str | None:
    backbone.train()
    rows = len(texts["ids"])
    noisy = {**texts, SEED_KEY: torch.arange(rows), RATE_KEY: torch.full((rows,), 0.3)}
    words = backbone.tokenize(noisy)
    backbone.noise.set(words.dropout_seed, words.dropout_rate)
    try:
        backbone.model(inputs_embeds=words.embeddings, return_dict=True)
        acts = backbone.noise.used
    finally:
        backbone.noise.set(None, None)
    backbone.input_dropout = torch.nn.Identity() if acts else SeededDropout(backbone.noise, -1)
    first, again = backbone(noisy).tokens, backbone(noisy).tokens
    still = backbone(texts).tokens
    backbone.eval()
    if not torch.equal(first, again) or not _same(still, calm):
        return "in training it draws random numbers that do not follow from the batch's seeds, so runs are not reproducible"
    if _same(first, calm, _EQUAL):
        return "dropout has no effect"
    return None


def _head_fault(backbone: TransformersBackbone, texts: Batch) -> str | None:
    head = backbone.own_head
    if head is None:
        return None
    ids = texts["ids"][:1]
    with head.joined(backbone.model) as whole:
        wanted = whole(input_ids=ids, return_dict=True).logits
    states = backbone.model(input_ids=ids, return_dict=True).last_hidden_state
    if not _same(head(states), wanted):
        return "its vocabulary head needs more than the states of the last layer"
    return None


def _texts(backbone: TransformersBackbone, info: Info) -> Batch:
    """A text of ``_WORDS`` different tokens and one of half as many."""
    words = min(_WORDS, backbone.max_length)
    special = {int(id) for id in info.get("special_ids", ())} | {int(info[key]) for key in ("pad_id", "cls_id", "sep_id")}
    ordinary = torch.tensor([id for id in range(int(info["vocab_size"])) if id not in special][: 2 * words])
    ids = ordinary[torch.arange(2 * words) % len(ordinary)].view(2, words)
    padding = torch.zeros_like(ids, dtype=torch.bool)
    padding[1, words // 2 :] = True
    return {"ids": ids.masked_fill(padding, int(info["pad_id"])), "padding": padding}


def _same(one: Tensor, two: Tensor, share: float = _CLOSE) -> bool:
    """Whether two tensors differ by at most ``share`` of the larger entries."""
    return bool((one - two).abs().amax() <= share * one.abs().amax().clamp(min=1e-6))


def failure(error: Exception) -> str:
    """The reason for a model that fails on a few embedded words."""
    return f"it fails on the embeddings of a few words ({type(error).__name__}: {error})"


def refusal(name: str, reason: str) -> ConfigError:
    """The error for a model type that does not fit."""
    return ConfigError(f"transformers/{name} cannot be a text backbone: {reason}.")
