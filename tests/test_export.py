"""An exported backbone is used by plain timm, with equal outputs and without selfsup."""

from __future__ import annotations

import json

import torch
from safetensors import safe_open

import selfsup


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
