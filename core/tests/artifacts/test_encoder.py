"""The encoder in use: embeddings, precision, training flags, digest."""

from __future__ import annotations

import copy

import datasets
import numpy as np
import pytest
import torch

from selfsup.artifacts import Encoder
from selfsup.data import Rows, prepare
from selfsup.errors import ArtifactError, BadRowError, ConfigError
from selfsup.testing.toy.sequences.rows import mock_rows


def rows_of(n: int) -> Rows:
    data = datasets.Dataset.from_list(mock_rows(n, 5))
    return Rows(dataset=data, columns={"sequence": "sequence"}, fingerprint=f"toy {n}")


@pytest.fixture
def reference(encoder: Encoder) -> torch.Tensor:
    """Embeddings of ``rows_of(70)``, one row at a time."""
    twin = copy.deepcopy(encoder).eval()
    with torch.no_grad():
        return torch.cat([twin(twin.processor([row])) for row in rows_of(70)])


def test_embeddings_of_a_store(encoder, reference):
    store = prepare(rows_of(70), encoder.processor)
    embeddings = encoder.embed_store(store, batch_size=16)
    assert (embeddings.dtype, embeddings.device.type, embeddings.requires_grad) == (torch.float32, "cpu", False)
    torch.testing.assert_close(embeddings, reference, rtol=1e-5, atol=1e-6)
    half = encoder.embed_store(store, precision="bf16")
    assert half.dtype == torch.float32
    assert not torch.equal(half, encoder.embed_store(store))
    torch.testing.assert_close(half, reference, rtol=0.05, atol=0.05)
    with pytest.raises(ConfigError, match="precision='8' is not allowed; it is one of 32, bf16, 16"):
        encoder.embed_store(store, precision="8")


@pytest.mark.parametrize("kind", ["rows", "list", "iterator"])
def test_embeddings_of_rows(encoder, reference, kind):
    rows = {"rows": rows_of(70), "list": list(rows_of(70)), "iterator": iter(rows_of(70))}[kind]
    embeddings = encoder.embed(rows, batch_size=16)
    assert isinstance(embeddings, np.ndarray)
    assert embeddings.dtype == np.float32
    np.testing.assert_allclose(embeddings, reference, rtol=1e-5, atol=1e-6)
    assert encoder.embed([]).shape == (0, 8)


def test_the_modality_says_how_many_at_a_time(encoder, monkeypatch):
    monkeypatch.setattr(type(encoder.processor), "batch_size", 30)
    seen: list[int] = []
    encoder.register_forward_hook(lambda _, __, pooled: seen.append(len(pooled)))
    encoder.embed(list(rows_of(70)))
    store = prepare(rows_of(70), encoder.processor)
    encoder.embed_store(store)
    assert seen == [30, 30, 10] * 2
    seen.clear()
    encoder.embed_store(store, batch_size=64)
    assert seen == [64, 6]


def test_store_without_ragged_keys(encoder):
    same = [{"sequence": [1, 2, 3, number % 5]} for number in range(20)]
    rows = Rows(dataset=datasets.Dataset.from_list(same), columns={"sequence": "sequence"}, fingerprint="same length")
    store = prepare(rows, encoder.processor)
    assert store.lengths("sequence") is None
    np.testing.assert_allclose(encoder.embed_store(store, batch_size=8), encoder.embed(same), rtol=1e-5, atol=1e-6)


def test_samples_of_like_length_share_a_batch(encoder):
    """Padding costs time: sorted by length there is next to none of it."""
    store = prepare(rows_of(70), encoder.processor)
    padded = []
    encoder.register_forward_pre_hook(lambda _, inputs: padded.append(inputs[0]["padding"].float().mean().item()))
    encoder.embed_store(store, batch_size=10)
    assert max(padded) < 0.15
    assert len(padded) == 7


def test_embedding_changes_neither_flags_nor_statistics(encoder):
    encoder.train()
    encoder.backbone.norms[0].eval()
    flags = [module.training for module in encoder.modules()]
    weights = copy.deepcopy(encoder.backbone.state_dict())
    encoder.embed_store(prepare(rows_of(5), encoder.processor))
    encoder.embed(list(rows_of(5)))
    with pytest.raises(BadRowError, match=r"^Row 20 cannot be embedded: "):
        encoder.embed([*rows_of(20), {"sequence": []}], batch_size=8)
    assert [module.training for module in encoder.modules()] == flags
    assert all(torch.equal(value, weights[key]) for key, value in encoder.backbone.state_dict().items())


def test_digest_follows_weights_and_processor(encoder):
    digest = encoder.digest()
    twin = copy.deepcopy(encoder)
    twin.metadata["data"] = "other"
    twin.train()
    assert twin.digest() == digest, "what does not change embeddings does not change it"
    with torch.no_grad():
        twin.backbone.norms[1].running_var[0] += 1e-3
    assert twin.digest() != digest
    twin = copy.deepcopy(encoder)
    twin.processor.fitted["vocabulary"] += 1
    assert twin.digest() != digest


def test_processor_and_backbone_of_two_modalities(encoder):
    class Other(type(encoder.processor)):
        modality = "other"

    with pytest.raises(ArtifactError, match="A other processor does not go with a sequence backbone"):
        Encoder(Other(encoder.processor.config), encoder.backbone, backbone_id="x", backbone_options={})
