"""What is tried on every model before it is taken: the library has several hundred model types, and not all of them fit.

A few tokens pass the model some ten times, which says more than a list of names: a type may look at later tokens, at padding,
or at no position at all, depending on its config and on the library's version.
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
"""Tokens of the texts that are tried, at most."""
_CLOSE = 1e-5
"""Share of the states' own size that rounding may make up where texts stand in batches of different shapes."""
_EQUAL = 1e-6
"""The same where the shapes are equal; networks with small first weights pass little on from token to token."""


def measured_causal(network: PreTrainedModel, wanted: Literal["masked", "causal"] | None) -> bool:
    """Whether no token's output depends on a later token.

    Args:
        network: without a head.
        wanted: what its language model needs: ``causal``, ``masked`` (each token sees all), or either.

    Raises:
        ConfigError: it does otherwise than its language model needs.
    """
    name = network.config.model_type
    options: dict[str, Any] = {"return_dict": True}
    if "use_cache" in inspect.signature(network.forward).parameters:
        options["use_cache"] = False
    with preserved(), evaluation_mode(network):
        torch.manual_seed(0)
        try:
            first = network.get_input_embeddings()(torch.arange(_WORDS).unsqueeze(0))
            # The last token becomes another one, far from what it was.
            other = torch.cat([first[:, :-1], 10 * first.abs().amax() * torch.randn_like(first[:, -1:])], dim=1)
            one, two = (network(inputs_embeds=x, **options).last_hidden_state[:, :-1] for x in (first, other))
        except Exception as error:  # models of other modalities fail in their own ways
            raise refusal(name, failure(error)) from error
    causal = one.shape[1] == _WORDS - 1 and _same(one, two, _EQUAL)
    if wanted == "causal" and not causal:
        raise refusal(
            name,
            "it has a language model for decoders, and here its tokens see later ones. Where its config has is_decoder, set "
            'backbone.architecture={"is_decoder": true}',
        )
    if wanted == "masked" and causal:
        raise refusal(name, "it has a language model for encoders, and here its tokens see earlier ones alone")
    return causal


def check_backbone(backbone: TransformersBackbone, info: Info) -> None:
    """Padding, positions, dropout and the vocabulary head do what they must.

    A model that has no dropout of its own on its layers gets one on its embeddings.

    Raises:
        ConfigError: they do not; the message names the model type and says what.
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
        backbone.train(training)  # a layer of dropout may be new
    if reason is not None:
        raise refusal(name, reason)


def _fault(backbone: TransformersBackbone, info: Info) -> str | None:
    """The first thing that is wrong, or None."""
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
        return "it does not know in what order words stand"
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
        return "in training it draws at random from a source that no seed of the batch sets, so a run could not be repeated"
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
        return "its vocabulary head takes more than the states of the last layer"
    return None


def _texts(backbone: TransformersBackbone, info: Info) -> Batch:
    """A text of ``_WORDS`` tokens and one of half as many, the words all different."""
    words = min(_WORDS, backbone.max_length)
    special = {int(id) for id in info.get("special_ids", ())} | {int(info[key]) for key in ("pad_id", "cls_id", "sep_id")}
    ordinary = torch.tensor([id for id in range(int(info["vocab_size"])) if id not in special][: 2 * words])
    ids = ordinary[torch.arange(2 * words) % len(ordinary)].view(2, words)
    padding = torch.zeros_like(ids, dtype=torch.bool)
    padding[1, words // 2 :] = True
    return {"ids": ids.masked_fill(padding, int(info["pad_id"])), "padding": padding}


def _same(one: Tensor, two: Tensor, share: float = _CLOSE) -> bool:
    """Whether two states differ by no more than a share of their size."""
    return bool((one - two).abs().amax() <= share * one.abs().amax().clamp(min=1e-6))


def failure(error: Exception) -> str:
    """What to say of a model that fails where a few embedded words pass it."""
    return f"it fails on the embeddings of a few words ({type(error).__name__}: {error})"


def refusal(name: str, reason: str) -> ConfigError:
    """The error of a model type that does not fit."""
    return ConfigError(f"transformers/{name} cannot be a text backbone: {reason}.")
