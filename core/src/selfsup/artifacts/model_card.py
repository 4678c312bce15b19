"""The README.md that goes with an encoder."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from selfsup.artifacts.environment import package_versions

if TYPE_CHECKING:
    from selfsup.artifacts.encoder import Encoder

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

Embeddings reflect the data that they were learned from, with its gaps and biases. Measure them on your own data
(`selfsup evaluate`) before you rely on them.

Made with {versions}.
"""


def model_card(encoder: Encoder) -> str:
    """A model card in Markdown, with the metadata block that hubs read."""
    facts = {
        "Pretext task": encoder.task or "none",
        "Backbone": encoder.backbone_id,
        "Embedding size": encoder.embed_dim,
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
        row=_row(encoder.modality),
        versions=", ".join(f"{name} {version}" for name, version in package_versions()),
    )


def _row(modality: str) -> str:
    """What a row looks like, as far as the modality's spec says."""
    from selfsup.registry import registry

    spec = registry().modalities.get(modality)
    roles = ", ".join(f'"{role}": ...' for role in spec.columns) if spec is not None else ""
    return f"dicts such as {{{roles}}}" if roles else "dicts, column to value"


def _cell(value: object) -> str:
    text = value if isinstance(value, str) else json.dumps(value, default=str)
    return text.replace("|", "\\|").replace("\n", " ")
