from importlib import import_module

from selfsup_text import plugin


def test_the_modality_names_what_is_there() -> None:
    (modality,) = plugin.selfsup_modalities()
    for field in ("target", "views", "supervised_views", "corruption", "raw_features", "mock_rows"):
        module, attribute = getattr(modality, field).split(":")
        assert hasattr(import_module(module), attribute), field
    ids = {spec.id for spec in plugin.selfsup_backbones()}
    assert {modality.backbone, modality.token_backbone, modality.causal_backbone} <= ids
