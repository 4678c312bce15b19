import subprocess
import sys
from importlib import import_module

import pytest

from selfsup.registry import specs
from selfsup_text import plugin


@pytest.mark.parametrize(
    "spec", [*plugin.selfsup_backbones(), *plugin.selfsup_tasks(), *plugin.selfsup_evaluators()], ids=lambda spec: spec.id
)
def test_every_target_of_the_plugin_is_there(spec: specs.TargetSpec) -> None:
    module, attribute = spec.target.split(":")
    assert hasattr(import_module(module), attribute)


def test_the_modality_names_what_is_there() -> None:
    (modality,) = plugin.selfsup_modalities()
    for field in ("target", "views", "supervised_views", "corruption", "raw_features", "mock_rows"):
        module, attribute = getattr(modality, field).split(":")
        assert hasattr(import_module(module), attribute), field
    ids = {spec.id for spec in plugin.selfsup_backbones()}
    assert {modality.backbone, modality.token_backbone, modality.causal_backbone} <= ids


def test_importing_the_entry_module_of_text_imports_nothing_heavy() -> None:
    code = "import sys, selfsup_text.plugin; print([m for m in ('torch', 'transformers', 'tokenizers') if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"
