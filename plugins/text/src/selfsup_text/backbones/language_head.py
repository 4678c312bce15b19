"""The head of a language model of the transformers library, separated from its network."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn
from transformers import PreTrainedModel


class LanguageHead(nn.Module):
    """Maps the last layer's output to logits as the network's ``...ForMaskedLM`` or ``...ForCausalLM`` does.

    It is that model with the network replaced by a module that passes the given states on. So everything that the library does
    after the network (a dense layer, a norm, a scale, a cap) is included. Tied weights stay the network's own parameters.

    Args:
        model: the language model; its network is removed from it.
    """

    def __init__(self, model: PreTrainedModel) -> None:
        super().__init__()
        network = model.base_model
        setattr(model, model.base_model_prefix, _Given(network))
        self.model = model

    def forward(self, hidden: Tensor) -> Tensor:
        """[..., D] to logits [..., V]."""
        flat = hidden.reshape(1, -1, hidden.shape[-1])
        logits: Tensor = self.model(inputs_embeds=flat, return_dict=True).logits
        return logits.reshape(*hidden.shape[:-1], logits.shape[-1])

    @contextmanager
    def joined(self, network: nn.Module) -> Iterator[PreTrainedModel]:
        """The whole language model inside the ``with`` block; ``network`` is the one that it was built with."""
        prefix = self.model.base_model_prefix
        given = getattr(self.model, prefix)
        setattr(self.model, prefix, network)
        try:
            yield self.model
        finally:
            setattr(self.model, prefix, given)

    def duplicate(self, embeddings: nn.Embedding) -> LanguageHead:
        """A copy of the head; weights tied to ``embeddings`` stay tied."""
        given = getattr(self.model, self.model.base_model_prefix)
        shared = {id(part): part for part in (*embeddings.parameters(), given)}
        return copy.deepcopy(self, memo=shared)


class _Given(nn.Module):
    """Replaces a network: returns its ``inputs_embeds`` as the output of the last layer."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        # In a tuple, so that its weights are not registered twice.
        self._network = (network,)

    def forward(self, *_: Any, inputs_embeds: Tensor, **__: Any) -> _States:
        """The given states in the form of a network's output."""
        return _States(inputs_embeds)

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:
            if name == "_network":
                raise
            if name == "decoder":  # OPT's language model calls the network's inner decoder
                return self
            return getattr(self._network[0], name)  # heads that use their network's embeddings


class _States:
    """A network's output with only the states of its last layer."""

    def __init__(self, states: Tensor) -> None:
        self.last_hidden_state = states

    def __getitem__(self, index: Any) -> Any:
        return (self.last_hidden_state,)[index]

    def __getattr__(self, name: str) -> None:
        if name.startswith("__"):
            raise AttributeError(name)


def split(model: PreTrainedModel) -> tuple[PreTrainedModel, LanguageHead] | None:
    """Separate a language model into network and head; None: the library does not separate them."""
    network = getattr(model, model.base_model_prefix, None)
    if not isinstance(network, PreTrainedModel) or network is model:
        return None
    return network, LanguageHead(model)
