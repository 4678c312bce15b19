"""The papers' settings of the tasks of recordings, and what they do with a spectrogram."""

from typing import Any

import pytest
import torch

from selfsup.errors import ConfigError
from selfsup.registry import registry
from selfsup.testing import TaskCase
from selfsup.testing.kit.cases import fitted_processor, mock_batch
from selfsup_audio import task_specs
from selfsup_audio.tasks.frame_reconstruction import FrameReconstruction, build_frame_reconstruction
from selfsup_audio.tasks.hubert import TokenMFCC

NAMES = [spec.id for spec in task_specs.SPECS]


def options(id: str) -> dict[str, Any]:
    house = registry()
    return house.task_recipe(house.get("task", id)).config().model_dump()


def task_of(id: str, **overrides: Any) -> Any:
    return TaskCase(registry().get("task", id), overrides=overrides, rows=4).build()


def test_all_tasks_of_the_plugin_are_there() -> None:
    assert NAMES == [
        "audio/wav2vec2", "audio/hubert", "audio/data2vec", "audio/masked-spectrogram", "audio/mockingjay", "audio/tera",
        "audio/apc", "audio/cpc", "audio/segment-order", "audio/byol-a", "audio/cola",
    ]  # fmt: skip
    assert set(NAMES) <= registry().tasks.keys()


@pytest.mark.parametrize(("id", "wanted"), [
    ("audio/wav2vec2", {"start_share": 0.065, "span": 10, "negatives": 100}),
    ("audio/hubert", {"n_clusters": 100, "n_latent_clusters": 500, "start_share": 0.08, "masked_weight": 1.0}),
    ("audio/data2vec", {"masking": "spans", "start_share": 0.065, "span": 10, "top_layers": 8}),
    ("audio/masked-spectrogram", {"mask_ratio": 0.8, "normalize_targets": True}),
    ("audio/mockingjay", {"predict": "altered"}),
    ("audio/tera", {"predict": "all"}),
    ("audio/apc", {"steps_ahead": 3}),
    ("audio/cpc", {"steps": 12}),
])  # fmt: skip
def test_settings_are_the_papers(id: str, wanted: dict[str, Any]) -> None:
    found = options(id)
    assert {key: found[key] for key in wanted} == wanted


def test_alterations_are_the_papers() -> None:
    mockingjay, tera = (options(f"audio/{name}")["alteration"] for name in ("mockingjay", "tera"))
    assert {key: mockingjay[key] for key in ("time_share", "span", "frequency_share", "noise_probability")} == {
        "time_share": 0.15, "span": 7, "frequency_share": 0.0, "noise_probability": 0.0,
    }  # fmt: skip
    assert (tera["frequency_share"], tera["noise_probability"], tera["noise_std"]) == (0.2, 0.15, 0.2)


def test_views_of_byol_a_and_cola() -> None:
    byol, cola = (options(f"audio/{name}") for name in ("byol-a", "cola"))
    assert [byol["views"][key] for key in ("mixup", "longest_seconds", "same_segment")] == [0.4, 0.96, True]
    assert cola["views"]["longest_seconds"] * cola["views"]["global_share"][0] == pytest.approx(0.96)
    assert (byol["momentum"]["start"], byol["momentum"]["end"]) == (0.99, 0.99)
    assert [cola["views"][key] for key in ("mixup", "noise_p", "gain_db", "equalizer_db")] == [0, 0, 0, 0]
    assert cola["views"]["speed"] == (1.0, 1.0)
    views = task_of("audio/cola").views(mock_batch("audio", 4, 0), torch.Generator().manual_seed(0))
    source = mock_batch("audio", 4, 0)["waveform"].float() / 32768
    for view in views:
        n = int(view["length"][0])
        assert n == int(mock_batch("audio", 4, 0)["length"][0]) // 2
        windows = source[0].unfold(0, n, 1)
        assert (windows - view["waveform"][0, :n]).abs().amax(dim=1).min() < 1e-3, "a segment is not one of the recording"


def test_mockingjay_reconstructs_the_altered_tokens_and_tera_all() -> None:
    batch = mock_batch("audio", 4, 0)
    for name, everything in (("mockingjay", False), ("tera", True)):
        task = task_of(f"audio/{name}")
        seen: list[tuple[int, ...]] = []
        task.head.register_forward_hook(lambda _, inputs, __, seen=seen: seen.append(tuple(inputs[0].shape)))
        task(batch, torch.Generator().manual_seed(0))
        N = task.backbone.tokenize(batch).embeddings.shape[1]
        assert (seen[0][1] == N) == everything


@pytest.mark.parametrize("name", ["mockingjay", "tera"])
def test_unaltered_frames_with_a_perfect_head_cost_nothing_and_altered_ones_do(name: str) -> None:
    class Copies(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x

    for zero_share, free in ((0.0, True), (1.0, False)):
        alteration = {"zero_share": zero_share, "random_share": 0.0, "frequency_share": 0.0, "noise_probability": 0.0}
        task = task_of(f"audio/{name}", **{f"alteration.{key}": value for key, value in alteration.items()})
        # The network is taken out: what is embedded comes back as it is.
        P = task.backbone.target_dim
        task.backbone.embed_dim = P
        task.backbone.embed = task.hidden = task.head = Copies()
        task.backbone.encode = lambda tokens: tokens.embeddings
        loss = task(mock_batch("audio", 4, 0), torch.Generator().manual_seed(0)).loss
        assert (loss.item() == 0) == free


def test_networks_without_whole_frames_are_refused() -> None:
    house = registry()
    info = fitted_processor("audio").info()
    recipe = house.task_recipe(house.get("task", "audio/tera"))
    for id in ("mel-vit", "mel-cnn"):
        with pytest.raises(ConfigError, match=r"has no tokens of whole frames\. Take --backbone mel-transformer"):
            recipe.build(recipe.config(), house.build_backbone(id, {}, info)[0], info)
    backbone, _ = house.build_backbone("mel-vit", {"patch_mels": None}, info)
    assert isinstance(build_frame_reconstruction(recipe.config(), backbone, info), FrameReconstruction)


def test_hubert_begins_with_the_mfcc_of_each_token() -> None:
    batch = mock_batch("audio", 4, 0)
    features = TokenMFCC(fitted_processor("audio").info())
    frames, padding = features.mfcc(batch["waveform"], batch["length"])
    assert frames.shape[2] == features.dim == 39
    F = frames.shape[1]
    assert torch.equal(features(batch, (F,)), frames)
    pieces = features(batch, (F // 4, 3))
    assert pieces.shape == (4, F // 4 * 3, 39)
    torch.testing.assert_close(pieces[:, 0], pieces[:, 2])
    if F % (F // 4) == 0:
        torch.testing.assert_close(pieces[:, 0], frames[:, : F // (F // 4)].mean(dim=1))
    means, real = (torch.nn.functional.adaptive_avg_pool1d(x.mT, F // 4).mT for x in (frames, (~padding).float().unsqueeze(2)))
    whole = real.squeeze(2) == 1
    assert whole.any()
    torch.testing.assert_close(pieces[:, ::3][whole], means[whole])


@pytest.mark.parametrize("id", NAMES)
def test_silence_costs_a_finite_loss(id: str) -> None:
    batch = mock_batch("audio", 4, 0)
    silent = {"waveform": torch.zeros_like(batch["waveform"]), "length": batch["length"]}
    task = task_of(id)
    loss = task(silent, torch.Generator().manual_seed(0)).loss
    loss.backward()
    assert torch.isfinite(loss)
    assert all(torch.isfinite(p.grad).all() for p in task.parameters() if p.grad is not None)
