"""Write the model card (README.md) of an encoder."""

from __future__ import annotations

import json
from typing import Any, Protocol

from selfsup.backbones import Backbone
from selfsup.batch_parts import MARK
from selfsup.data import Processor
from selfsup.runtime.environment import package_versions

_CARD = """\
---
library_name: selfsup
tags:
- self-supervised-learning
- feature-extraction
- {modality}
---

# {title}

An encoder of {modality} data, pretrained {how} with selfsup.

| | |
|---|---|
{facts}

## Use

```python
import selfsup

encoder = selfsup.load("PATH_OF_THIS_FOLDER")
embeddings = encoder.embed(rows)  # [N, {dim}] of a list of {row}
```

Loading it executes nothing: the weights are safetensors, the rest is JSON.

## Limits

Embeddings reflect the training data, with its gaps and biases. Measure them on your own data
(`selfsup evaluate`) before you rely on them.

Made with {versions}.
"""


class Described(Protocol):
    """The parts of an encoder that the card describes."""

    task: str
    backbone_id: str
    backbone: Backbone
    processor: Processor
    metadata: dict[str, Any]

    @property
    def modality(self) -> str:
        """Id of its modality."""

    @property
    def embed_dim(self) -> int:
        """Size of an embedding."""


def model_card(encoder: Described) -> str:
    """A model card in Markdown, with the metadata block for hubs."""
    facts = {
        "Pretext task": encoder.task or "none",
        "Backbone": encoder.backbone_id,
        "Embedding size": encoder.embed_dim,
        **_parts(encoder),
        "Parameters": f"{sum(parameter.numel() for parameter in encoder.backbone.parameters()):,}",
        "Input": json.dumps(dict(encoder.processor.info())),
        **{key.replace("_", " ").capitalize(): value for key, value in encoder.metadata.items()},
    }
    return _CARD.format(
        modality=encoder.modality,
        title=f"{encoder.task or encoder.modality} with {encoder.backbone_id}",
        how=f"without labels by `{encoder.task}`" if encoder.task else "elsewhere and used",
        facts="\n".join(f"| {key} | {_cell(value)} |" for key, value in facts.items()),
        dim=encoder.embed_dim,
        row=_row(encoder),
        versions=", ".join(f"{name} {version}" for name, version in package_versions()),
    )


def _parts(encoder: Described) -> dict[str, str]:
    """The parts of a row, with modality and width."""
    dims = encoder.backbone.part_dims
    listed = [f"{name} ({own.modality}, {dims[name]} numbers)" for name, own in encoder.processor.parts.items() if name in dims]
    return {"Parts": ", ".join(listed)} if listed else {}


def _row(encoder: Described) -> str:
    """An example row, as far as the modality's spec tells."""
    named = [f'"{role}": ...' for role in _columns(encoder.modality)]
    for part, own in encoder.processor.parts.items():
        named += [f'"{part}{MARK}{role}": ...' for role in _columns(own.modality)]
    return f"dicts such as {{{', '.join(named)}}}" if named else "dicts, column to value"


def _columns(modality: str) -> tuple[str, ...]:
    from selfsup.registry import registry

    spec = registry().modalities.get(modality)
    return () if spec is None else tuple(spec.columns)


def _cell(value: object) -> str:
    text = value if isinstance(value, str) else json.dumps(value, default=str)
    return text.replace("|", "\\|").replace("\n", " ")
