"""The toy modality as an installed plugin, and an encoder of it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from selfsup.artifacts import Encoder
from selfsup.registry import registry
from selfsup.testing.toy.sequences.installed import installed
from selfsup.testing.toy.sequences.rows import mock_rows


@pytest.fixture(scope="module", autouse=True)
def toy_modality(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    # Per module: folders without __init__.py are no packages to pytest, so a fixture of a package would last all session.
    with installed(tmp_path_factory.mktemp("plugin")):
        yield


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SELFSUP_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def encoder() -> Encoder:
    """An untrained network with batch norm over ragged ids, in training mode."""
    processor_class = registry().processor_class("sequence")
    processor = processor_class(processor_class.Config()).fit(mock_rows(40, 0))
    with torch.random.fork_rng():
        torch.manual_seed(0)
        backbone, options = registry().build_backbone("sequence/conv", {"dim": 8}, processor.info())
        for norm in backbone.norms:
            norm.running_mean.normal_()
    return Encoder(
        processor,
        backbone,
        backbone_id="sequence/conv",
        backbone_options=options,
        task="sequence/simclr",
        metadata={"data": "toy"},
    )
