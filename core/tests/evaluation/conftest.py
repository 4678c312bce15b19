"""The toy modality as an installed plugin, and an encoder of it with random weights."""

import pytest
import torch

from selfsup.artifacts import Encoder
from selfsup.data import load_source, prepare
from selfsup.evaluation import Split
from selfsup.registry import registry
from selfsup.testing.toy.sequences.installed import installed


@pytest.fixture(scope="module")
def toy(tmp_path_factory):
    """The modality ``sequence`` with its data sets ``toy-frames`` and ``toy-sequences``."""
    folder = tmp_path_factory.mktemp("toy")
    with pytest.MonkeyPatch.context() as patch, installed(folder / "site"):
        patch.setenv("SELFSUP_CACHE", str(folder / "cache"))
        yield


def make_encoder(data: str, backbone: str = "sequence/conv") -> Encoder:
    rows = load_source(data, modality=registry().get("modality", "sequence"))
    cls = registry().processor_class("sequence")
    processor = cls(cls.Config()).fit(rows)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network, options = registry().build_backbone(backbone, {}, processor.info())
    return Encoder(processor, network, backbone_id=backbone, backbone_options=options, task="sequence/random-init").eval()


@pytest.fixture(scope="module")
def encoder(toy):
    """Random weights, for frames."""
    return make_encoder("toy-frames")


@pytest.fixture(scope="module")
def token_encoder(toy):
    """Random weights, for frames, with tokens."""
    return make_encoder("toy-frames", "sequence/transformer")


@pytest.fixture(scope="module")
def id_encoder(toy):
    """Random weights, for ids of ragged length."""
    return make_encoder("toy-sequences", "sequence/transformer")


@pytest.fixture(scope="module")
def splits(encoder):
    """Training and test rows of ``toy-frames`` with their labels."""
    modality = registry().get("modality", "sequence")

    def split(name: str) -> Split:
        rows = load_source("toy-frames", modality=modality, split=name)
        return Split(prepare(rows, encoder.processor), rows.labels(), rows.class_names, rows.fingerprint)

    return split("train"), split("test")
