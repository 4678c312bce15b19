"""Exports: other programs get the same embeddings."""

from __future__ import annotations

import importlib.util

import pytest
import torch
from safetensors.torch import load_file

from selfsup.artifacts import export, export_formats, load
from selfsup.errors import ArtifactError, ConfigError, UsageError
from selfsup.registry import registry
from selfsup.testing.toy.sequences.rows import mock_rows


@pytest.fixture
def batch(encoder):
    """Five sequences, a number that no synthetic example has."""
    return encoder.processor(mock_rows(5, 9))


@pytest.fixture
def expected(encoder, batch) -> torch.Tensor:
    """Their embeddings."""
    flags = {module: module.training for module in encoder.modules()}
    with torch.no_grad():
        embeddings = encoder.eval()(batch)
    for module, flag in flags.items():
        module.training = flag
    return embeddings


def test_torch_export(encoder, batch, expected, tmp_path):
    encoder.train()
    path = export(encoder, "torch-export", tmp_path / "encoder.pt2")
    assert encoder.training, "exporting leaves the flag"
    program = torch.export.load(path).module()
    torch.testing.assert_close(program(batch), expected)
    shorter = {key: value[:2, :7] for key, value in batch.items()}
    assert not torch.allclose(program(shorter), expected[:2]), "lengths are free, too"


def test_torch_export_of_a_given_batch(encoder, batch, expected, tmp_path, monkeypatch):
    monkeypatch.setattr(type(encoder.processor), "free_axes", {"sequence": (1,), "padding": (1,)})
    path = export(encoder, "torch-export", tmp_path / "encoder.pt2", batch={**batch, "label": torch.zeros(5)})
    program = torch.export.load(path).module()
    torch.testing.assert_close(program({key: value[:3] for key, value in batch.items()}), expected[:3])
    shorter = {key: value[:2, :7] for key, value in batch.items()}
    with torch.no_grad():
        torch.testing.assert_close(program(shorter), encoder.eval()(shorter))


def test_onnx(encoder, batch, expected, tmp_path):
    if importlib.util.find_spec("onnx") is None or importlib.util.find_spec("onnxscript") is None:
        with pytest.raises(ArtifactError, match=r"Export to ONNX needs .*pip install onnx onnxscript"):
            export(encoder, "onnx", tmp_path / "encoder.onnx")
        return
    export(encoder, "onnx", tmp_path / "encoder.onnx", batch=batch)
    if importlib.util.find_spec("onnxruntime") is None:
        pytest.skip("onnxruntime is not installed: the written file is not run")
    import onnxruntime

    session = onnxruntime.InferenceSession(tmp_path / "encoder.onnx")
    (found,) = session.run(None, {key: value.numpy() for key, value in batch.items()})
    torch.testing.assert_close(torch.from_numpy(found), expected, rtol=1e-4, atol=1e-5)


def test_format_of_the_backbone(encoder, tmp_path):
    encoder.backbone.export_formats = ("toy-program",)
    encoder.backbone.export_state = lambda format: {"kind": torch.tensor([len(format)])}
    assert "toy-program" in export_formats(encoder)
    path = export(encoder, "toy-program", tmp_path / "toy.safetensors")
    assert load_file(path)["kind"].tolist() == [11]


def test_a_path_is_as_good_as_an_encoder(encoder, tmp_path):
    folder = encoder.save(tmp_path / "encoder")
    for source in (encoder, folder, str(folder)):
        written = export(source, "safetensors", tmp_path / f"copy-{type(source).__name__}")
        assert load(written).digest() == encoder.digest()


def test_what_cannot_be_exported_is_refused(encoder, tmp_path, monkeypatch):
    out = tmp_path / "out"
    with pytest.raises(ConfigError, match="an encoder was given"):
        export(encoder, "safetensors", out, checkpoint="best")
    with pytest.raises(UsageError, match=r"the path of one .* and not a dict"):
        export({}, "safetensors", out)
    with pytest.raises(UsageError, match="'gguf'; this encoder can be exported to safetensors, torch-export, onnx"):
        export(encoder, "gguf", out)
    with pytest.raises(UsageError, match="at least two samples, and this one has 1"):
        export(encoder, "torch-export", out, batch=encoder.processor(mock_rows(1, 9)))
    with monkeypatch.context() as patch:
        patch.setattr(type(registry().modality_objects("sequence")), "mock_rows", None)
        with pytest.raises(ArtifactError, match=r"no synthetic rows; give an example"):
            export(encoder, "torch-export", out)

    def forward(batch):
        raise RuntimeError("depends on the data")

    monkeypatch.setattr(encoder.backbone, "forward", forward)
    with pytest.raises(ArtifactError, match=r"'sequence/conv' cannot be traced: .*depends on the data"):
        export(encoder, "torch-export", out)
    assert not out.exists()
