"""Exported encoders are used by plain timm and plain transformers, with equal outputs and where selfsup cannot be imported."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest
import torch
from safetensors import safe_open

import selfsup
from selfsup_text.mock import mock_rows

BACKBONES = {"text-encoder-small": "wordpiece", "text-decoder-small": "bpe", "transformers/modernbert": "unigram"}
"""And the tokenizer of each."""
THEIRS = """
import json, sys

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0].startswith("selfsup"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Absent())
import torch
from transformers import AutoModel, AutoTokenizer

texts, found = json.loads(sys.argv[1]), []
for folder in sys.argv[2:]:
    tokenizer, model = AutoTokenizer.from_pretrained(folder), AutoModel.from_pretrained(folder).eval()
    inputs = tokenizer(texts, padding=True, truncation=True, return_tensors="pt")
    with torch.inference_mode():
        hidden = model(**inputs).last_hidden_state
    lengths = inputs["attention_mask"].sum(dim=1)
    found.append([row[1 : n - 1].mean(dim=0).tolist() for row, n in zip(hidden, lengths.tolist())])
assert not any(name.startswith("selfsup") for name in sys.modules)
print(json.dumps(found))
"""


def test_plain_timm_loads_what_export_writes(cli, pretrained, tmp_path):
    assert cli("export", pretrained, "--format", "timm", "--out", "backbone.safetensors").status == 0
    with safe_open(tmp_path / "backbone.safetensors", framework="pt") as file:
        header, state = file.metadata(), {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  # no mapping
    names: dict[str, object] = {}
    exec(header["code"], names)  # the lines that the header gives a reader to type
    model = names["model"]
    model.load_state_dict(state)
    images = torch.randint(0, 256, (3, 3, 32, 32), dtype=torch.uint8)
    mean, std = (torch.tensor(json.loads(header[name])).view(3, 1, 1) for name in ("mean", "std"))
    encoder = selfsup.load(pretrained)
    with torch.inference_mode():
        theirs = model.eval()((images / 255 - mean) / std)
        ours = encoder({"image": images})
    torch.testing.assert_close(theirs, ours, atol=1e-5, rtol=1e-4)


@pytest.mark.slow
def test_plain_transformers_loads_what_export_writes(cli, tmp_path):
    texts = [row["text"] for row in mock_rows(24, 0)]
    (tmp_path / "corpus.txt").write_text("\n".join(texts) + "\n")
    sizes = ["--set", "backbone.hidden_size=16", "--set", "backbone.heads=2", "--set", "backbone.layers=2"]
    for backbone, tokenizer in BACKBONES.items():
        made = cli("pretrain", "text/simclr", "--data", "corpus.txt", "--out", f"run-{tokenizer}", "--steps", "2",
                   "--batch-size", "8", "--backbone", backbone, "--set", f"processor.tokenizer={tokenizer}",
                   "--set", "processor.max_length=12", "--set", "objective.hidden_dim=16", *sizes)  # fmt: skip
        assert made.status == 0, made.err
        written = cli("export", f"run-{tokenizer}", "--format", "transformers", "--out", f"folder-{tokenizer}")
        assert written.status == 0, written.err
        assert written.err == ""
    folders = [str(tmp_path / f"folder-{tokenizer}") for tokenizer in BACKBONES.values()]
    done = subprocess.run(
        [sys.executable, "-c", THEIRS, json.dumps(texts), *folders], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    for tokenizer, theirs in zip(BACKBONES.values(), json.loads(done.stdout), strict=True):
        ours = selfsup.load(tmp_path / f"run-{tokenizer}").embed([{"text": text} for text in texts])
        np.testing.assert_allclose(np.array(theirs), ours, atol=1e-5, rtol=1e-4, err_msg=tokenizer)
    again = cli("export", f"run-{tokenizer}", "--format", "transformers", "--out", f"folder-{tokenizer}")
    assert again.status == 1
    assert "not overwritten" in again.err
