"""The reference ``text/random-init``: the core's, except that a pretrained language model keeps its head."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from selfsup.backbones import Backbone
from selfsup.tasks import RandomInit, random_init
from selfsup.types import Info
from selfsup_text.backbones.network import TransformersBackbone


def build_random_init(config: Any, backbone: Backbone, info: Info) -> RandomInit:
    """The unchanged backbone; a pretrained vocabulary head stays and is not trained."""
    if isinstance(backbone, TransformersBackbone) and not backbone.head_is_fresh:
        backbone.output_head()
        backbone.freeze_head()
    return RandomInit(backbone)


RECIPE = replace(random_init(), build=build_random_init)
"""Evaluates a pretrained model as it is, including its perplexity."""
