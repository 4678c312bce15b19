from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from selfsup.errors import BadRowError, ConfigError, DataError
from selfsup.registry import registry
from selfsup.testing.kit.fake_device import fake_cuda
from selfsup.testing.kit.task_checks import generator
from selfsup.testing.toy.sequences.backbones import CONV, TRANSFORMER
from selfsup.testing.toy.sequences.corruption import TokenDecoder
from selfsup.testing.toy.sequences.features import raw_features
from selfsup.testing.toy.sequences.installed import installed, write_distribution
from selfsup.testing.toy.sequences.processor import SequenceProcessor, SequenceProcessorConfig
from selfsup.testing.toy.sequences.rows import frame_dataset, id_dataset, id_rows
from selfsup.testing.toy.sequences.shortcuts import Kind, toy_backbone, toy_batch, toy_info, toy_processor
from selfsup.testing.toy.sequences.views import SUPERVISED_VIEWS, VIEWS

KINDS: tuple[Kind, ...] = ("ids", "frames")
OBJECTIVES = {
    "mae",
    "simmim",
    "ijepa",
    "data2vec",
    "next-token",
    "wav2vec2",
    "cluster-prediction",
    "cpc",
    "cola",
    "denoising-autoencoder",
    "segment-order",
    "random-init",
    "supervised",
}


def test_the_plugin_installs_and_goes_again(tmp_path: Path) -> None:
    before = set(registry().plugins.specs["task"])
    with installed(tmp_path):
        found = registry()
        assert "sequence" in found.modalities
        assert {f"sequence/{name}" for name in OBJECTIVES} <= found.tasks.keys()
        assert found.provider(found.modalities["sequence"])[0] == "selfsup-sequences"
    assert set(registry().plugins.specs["task"]) == before


def test_a_fresh_process_finds_the_plugin_on_its_path(tmp_path: Path) -> None:
    write_distribution(tmp_path)
    code = f"import sys; sys.path.insert(0, {str(tmp_path)!r})\n"
    code += "from selfsup.registry import get_plugin_manager\n"
    code += "print(get_plugin_manager().record('sequences').status, 'torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["loaded", "False"]


@pytest.mark.parametrize("kind", KINDS)
def test_processor_round_trip(kind: Kind, tmp_path: Path) -> None:
    processor = toy_processor(kind)
    processor.save(tmp_path)
    again = SequenceProcessor.load(tmp_path)
    assert again.info() == processor.info()
    assert again.config == processor.config


@pytest.mark.parametrize(
    ("sequence", "reason"),
    [
        ([], "not empty"),
        ([1.5, 2.0], "whole numbers"),
        ([-1, 2], "whole numbers"),
        (["a"], "list of ids"),
        ([[1.0], [1.0, 2.0]], "read"),
    ],
)
def test_bad_rows_say_why(sequence: Any, reason: str) -> None:
    with pytest.raises(BadRowError, match=reason):
        toy_processor("ids").encode({"sequence": sequence})


def test_rows_of_the_other_kind_and_nan_are_bad() -> None:
    with pytest.raises(BadRowError, match="but the data is ids"):
        toy_processor("ids").encode({"sequence": [[1.0, 2.0]]})
    with pytest.raises(BadRowError, match="frames have 3 channels, not 4"):
        toy_processor("frames").encode({"sequence": [[1.0, 2.0, 3.0]]})
    with pytest.raises(BadRowError, match="NaN"):
        toy_processor("frames").encode({"sequence": [[1.0, float("nan"), 3.0, 4.0]]})
    with pytest.raises(DataError, match="no row with a readable sequence"):
        SequenceProcessor(SequenceProcessorConfig()).fit([{"sequence": []}])


def test_unseen_ids_and_long_sequences() -> None:
    processor = SequenceProcessor(SequenceProcessorConfig(max_length=3)).fit([{"sequence": [0, 1, 2]}])
    assert processor.info()["vocabulary"] == 4
    assert processor.encode({"sequence": [7, 1, 2, 2]})["sequence"].tolist() == [3, 1, 2]


def test_batches_of_ids_are_ragged_and_those_of_frames_are_not() -> None:
    ids, frames = toy_batch("ids"), toy_batch("frames")
    assert ids["sequence"].dtype == torch.int64
    assert ids["padding"].any()
    assert frames["sequence"].shape == (8, 16, 4)
    assert "padding" not in frames


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("recipe", [TRANSFORMER, CONV])
def test_padding_does_not_change_an_embedding(kind: Kind, recipe: Any) -> None:
    torch.manual_seed(0)
    backbone = recipe.build(recipe.config(), toy_info(kind)).eval()
    batch = toy_batch(kind)
    whole = backbone(batch)
    length = int((~batch["padding"][0]).sum()) if kind == "ids" else 10
    alone = backbone({"sequence": batch["sequence"][:1, :length]}).pooled
    if kind == "ids":
        torch.testing.assert_close(whole.pooled[:1], alone)
        return
    padding = torch.arange(16).expand(8, 16) >= 10
    torch.testing.assert_close(backbone({**batch, "padding": padding}).pooled[:1], alone)


@pytest.mark.parametrize("kind", KINDS)
def test_forward_is_pooling_over_encode(kind: Kind) -> None:
    backbone, batch = toy_backbone(kind), toy_batch(kind)
    tokens = backbone.tokenize(batch)
    encoded = backbone(batch)
    torch.testing.assert_close(encoded.tokens, backbone.encode(tokens))
    torch.testing.assert_close(backbone.layer_outputs(tokens)[-1], encoded.tokens)
    everything = torch.arange(batch["sequence"].shape[1]).expand(8, -1)
    reverse = backbone.encode(tokens, keep=everything.flip(1)).flip(1)
    real = slice(None) if tokens.padding is None else ~tokens.padding
    torch.testing.assert_close(reverse[real], encoded.tokens[real])


def test_windows_lie_in_the_sequence_and_say_where() -> None:
    info, batch = toy_info("ids"), toy_batch("ids")
    N = batch["sequence"].shape[1]
    batch["sequence"] = torch.arange(N).expand(8, N).contiguous()
    views = VIEWS.build(VIEWS.config(n_local=1, noise=0.0), info)
    starts = set()
    for seed in range(20):
        made = views(batch, generator(seed))
        assert len(made) == 3
        assert made[2]["sequence"].shape[1] < made[0]["sequence"].shape[1] < N
        for view in made:
            for i in range(8):
                real = view["sequence"][i][~view["padding"][i]].tolist()
                start = round(float(view["crop"][i, 0, 0]) * N)
                assert real == list(range(start, start + len(real)))
                assert real[-1] < int((~batch["padding"][i]).sum())
                starts.add(start)
            width = view["sequence"].shape[1]
            np.testing.assert_allclose(view["crop"][:, 0, 1].numpy(), width / N, rtol=1e-6)
    assert len(starts) > 3


@pytest.mark.parametrize("kind", KINDS)
def test_views_on_fake_cuda(kind: Kind) -> None:
    for recipe in (VIEWS, SUPERVISED_VIEWS):
        views = recipe.build(recipe.config(), toy_info(kind))
        with fake_cuda(views, toy_batch(kind)) as batch:
            assert all(view["sequence"].device.type == "cuda" for view in views(batch, None))


def test_noise_is_of_the_stated_amount() -> None:
    ids, frames = toy_batch("ids", n=200), toy_batch("frames", n=200)
    views = VIEWS.build(VIEWS.config(global_share=1.0, noise=0.25), toy_info("ids"))
    changed = (views(ids, generator())[0]["sequence"] != ids["sequence"])[~ids["padding"]].float().mean()
    vocabulary = toy_info("ids")["vocabulary"]
    assert abs(float(changed) - 0.25 * (1 - 1 / vocabulary)) < 0.03
    views = VIEWS.build(VIEWS.config(global_share=1.0, noise=0.25), toy_info("frames"))
    noise = (views(frames, generator())[0]["sequence"] - frames["sequence"]).std(dim=(0, 1))
    np.testing.assert_allclose(noise.numpy(), 0.25 * np.asarray(toy_info("frames")["std"]), rtol=0.05)


def test_raw_features_by_hand() -> None:
    batch = {"sequence": torch.tensor([[1, 2, 2, 0]]), "padding": torch.tensor([[False, False, False, True]])}
    features = raw_features(batch, {})
    assert features[0, :4].tolist() == pytest.approx([0, 1 / 3, 2 / 3, 0])
    frames = torch.tensor([[[1.0], [3.0]]])
    assert raw_features({"sequence": frames}, {}).tolist() == [[2.0, 1.0]]


def test_data_sets_have_learnable_classes() -> None:
    for made in (id_dataset("train"), frame_dataset("test")):
        assert set(made["label"]) == {0, 1, 2}
        assert made.features["label"].names == ["class 0", "class 1", "class 2"]
    rows = id_rows(300, 0)
    steps = [np.diff(row["sequence"]) % 16 for row in rows if row["label"] == 1]
    assert 0.7 < np.mean(np.concatenate(steps) == 3) < 0.9
    assert id_rows(3, 0) != id_rows(3, 1)
    assert id_rows(5, 0) == id_rows(5, 0)


def test_decoder_needs_tokens() -> None:
    encoded = toy_backbone("ids")(toy_batch("ids"))
    with pytest.raises(ConfigError, match="gives no tokens"):
        TokenDecoder(32, 4)(encoded._replace(tokens=None))
