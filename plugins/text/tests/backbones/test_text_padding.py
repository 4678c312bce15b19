"""What lies behind the end of a text changes nothing."""

from __future__ import annotations

from typing import Any

from selfsup.testing import BackboneCase, parametrize_backbones

_SIZES = {"hidden_size": 16, "layers": 2, "heads": 2}
_TYPES = ("bert", "roberta", "modernbert", "distilbert", "electra", "albert", "mpnet", "deberta-v2", "gpt2", "llama", "opt")


@parametrize_backbones(modality="text", members={f"transformers/{name}": _SIZES for name in _TYPES})
def test_backbones(case: BackboneCase, check: Any) -> None:
    check(case)
