"""Two towers in a folder are used by plain transformers, with equal outputs and where selfsup cannot be imported."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from selfsup.errors import ArtifactError
from selfsup.registry import registry
from selfsup_multimodal.export.dual_encoder import Tower, write_dual_encoder

THEIRS = """
import json, sys

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0].startswith("selfsup"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Absent())
import numpy as np
import torch
from transformers import AutoTokenizer, VisionTextDualEncoderModel

folder, images, texts = sys.argv[1], np.load(sys.argv[2]), json.loads(sys.argv[3])
settings = json.load(open(f"{folder}/preprocessor_config.json"))
tokenizer, model = AutoTokenizer.from_pretrained(folder), VisionTextDualEncoderModel.from_pretrained(folder).eval()
mean, std = (np.array(settings[key]).reshape(1, 3, 1, 1) for key in ("image_mean", "image_std"))
pixels = torch.from_numpy((images * settings["rescale_factor"] - mean) / std).float()
with torch.inference_mode():
    out = model(pixel_values=pixels, **tokenizer(texts, padding=True, truncation=True, return_tensors="pt"))
assert not any(name.startswith("selfsup") for name in sys.modules)
print(json.dumps([out.image_embeds.tolist(), out.text_embeds.tolist()]))
"""


def tower(modality: str, backbone: str, options: dict[str, object], **processor_options: object) -> Tower:
    """A network on synthetic rows with a random projection to 6 numbers."""
    house = registry()
    rows = house.modality_objects(modality).mock_rows(24, 0)
    made = house.processor_class(modality)
    processor = made(made.Config(**processor_options)).fit(rows)
    torch.manual_seed(0)
    network, _ = house.build_backbone(backbone, options, processor.info())
    return Tower(network.eval(), torch.randn(6, network.pooled_dim), processor)


def texts(**options: object) -> Tower:
    sizes = {"hidden_size": 16, "heads": 2, "layers": 1, "pooling": "cls", **options}
    return tower("text", "text-encoder-small", sizes, max_length=12)


@pytest.mark.slow
def test_plain_transformers_loads_both_towers(tmp_path):
    pictures, words = tower("vision", "vit-tiny", {}), texts()
    folder = tmp_path / "folder"
    folder.mkdir()
    write_dual_encoder({"photo": pictures, "caption": words}, folder)
    house = registry()
    rows = {name: house.modality_objects(name).mock_rows(5, 1) for name in ("vision", "text")}
    batches = {"vision": pictures.processor(rows["vision"]), "text": words.processor(rows["text"])}
    np.save(tmp_path / "images.npy", batches["vision"]["image"].numpy())
    asked = json.dumps([row["text"] for row in rows["text"]])
    command = [sys.executable, "-c", THEIRS, str(folder), str(tmp_path / "images.npy"), asked]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    with torch.inference_mode():
        ours = [
            F.normalize(side.backbone(batch).pooled @ side.projection.T, dim=1)
            for side, batch in ((pictures, batches["vision"]), (words, batches["text"]))
        ]
    for mine, theirs in zip(ours, json.loads(done.stdout), strict=True):
        np.testing.assert_allclose(np.array(theirs), mine.numpy(), atol=2e-6)


def test_a_network_with_a_class_token_is_written(tmp_path):
    """Writing compares the outputs."""
    pictures = tower("vision", "timm/vit_tiny_patch16_224", {"pool": "timm", "patch_size": 8}, image_size=32)
    write_dual_encoder({"photo": pictures, "caption": texts()}, tmp_path)
    assert {"config.json", "model.safetensors", "tokenizer.json", "preprocessor_config.json"} <= {
        file.name for file in tmp_path.iterdir()
    }


@pytest.mark.parametrize(
    ("towers", "reason"),
    [
        (lambda: {"photo": tower("vision", "vit-tiny", {}), "caption": texts(pooling="mean")}, "pooling=cls"),
        (lambda: {"photo": tower("vision", "resnet18-cifar", {}), "caption": texts()}, "another stem"),
        (lambda: {"photo": tower("vision", "resnet18-cifar", {}), "caption": texts(pooling="mean")}, "stem.*pooling=cls"),
        (lambda: {"one": texts(), "other": texts()}, "an image tower that timm can build"),
        (lambda: {"photo": tower("vision", "vit-tiny", {})}, "has the parts photo"),
        (lambda: {"photo": tower("vision", "vit-tiny", {}), "caption": tower(
            "text", "transformers/distilbert", {"hidden_size": 16, "heads": 2, "layers": 1, "pooling": "cls"}, max_length=12)},
         "has no pooler"),
    ],
)  # fmt: skip
def test_what_cannot_be_expressed_says_why(tmp_path, towers, reason):
    with pytest.raises(ArtifactError, match=reason):
        write_dual_encoder(towers(), tmp_path)
    assert not any(tmp_path.iterdir())


def test_other_outputs_are_not_written(tmp_path, monkeypatch):
    pictures = tower("vision", "vit-tiny", {})
    monkeypatch.setattr(pictures.backbone, "_mean", pictures.backbone._mean + 0.2)
    state = pictures.backbone.export_metadata("timm")
    monkeypatch.setattr(pictures.backbone, "export_metadata", lambda _: {**state, "mean": "[0.1, 0.2, 0.3]"})
    with pytest.raises(ArtifactError, match="other outputs in transformers"):
        write_dual_encoder({"photo": pictures, "caption": texts()}, tmp_path)
