import pytest
import torch

from selfsup.backbones import Backbone, Encoded
from selfsup.errors import ConfigError
from selfsup.registry import registry
from selfsup_audio.corruptions import Noise, NoiseConfig

INFO = {"sample_rate": 8000, "n_samples": 4000}
SMALL = {
    "mel-cnn": {"embed_dim": 16, "channels": 8},
    "mel-vit": {"embed_dim": 16, "depth": 1},
    "gru": {"embed_dim": 16, "depth": 1},
    "wave-transformer-small": {"embed_dim": 16, "depth": 1, "channels": 8},
}


def test_the_target_is_the_clean_spectrogram_without_padding(batch, seeded) -> None:
    recordings = batch()
    noise = Noise(NoiseConfig(snr=(0.0, 0.0)), INFO)
    corrupted = noise(recordings, seeded())
    frames, padding = noise.mel(recordings["waveform"], recordings["length"])
    assert torch.equal(corrupted.target, frames)
    assert corrupted.weight is not None
    assert torch.equal(corrupted.weight == 0, padding)
    clean = recordings["waveform"].float() / 32768
    added = corrupted.batch["waveform"] - clean
    ratio = clean.square().sum(1) / added.square().sum(1)
    torch.testing.assert_close(ratio, torch.ones(4), atol=0.2, rtol=0)
    prediction = frames + padding.unsqueeze(-1) * 100
    assert float(noise.loss(prediction, corrupted).loss) == 0


def test_masking_silences_the_wanted_share_in_pieces(seeded) -> None:
    ones = {"waveform": torch.ones(200, 4000), "length": torch.full((200,), 4000)}
    corrupted = Noise(NoiseConfig(kind="masking", amount=0.25, piece_seconds=0.01), INFO)(ones, seeded()).batch["waveform"]
    assert float((corrupted == 0).float().mean()) == pytest.approx(0.25, abs=0.01)
    pieces = corrupted.view(200, 50, 80)
    assert torch.equal(pieces.amin(dim=2), pieces.amax(dim=2))


@pytest.mark.parametrize("id", sorted(SMALL))
def test_every_backbone_has_a_decoder_to_frames(batch, seeded, id: str) -> None:
    backbone, _ = registry().build_backbone(id, SMALL[id], INFO)
    noise = Noise(NoiseConfig(), INFO)
    decoder = noise.build_decoder(backbone)
    assert backbone.training
    corrupted = noise(batch(), seeded())
    prediction = decoder(backbone(corrupted.batch))
    assert prediction.shape == corrupted.target.shape
    assert torch.isfinite(noise.loss(prediction, corrupted).loss)


def test_a_backbone_without_tokens_is_a_clear_error() -> None:
    class Pooled(Backbone):
        modality = "audio"
        embed_dim = 1

        def __init__(self) -> None:
            super().__init__()
            self.weight = torch.nn.Parameter(torch.ones(1))

        def forward(self, batch: dict[str, torch.Tensor]) -> Encoded:
            return Encoded(batch["waveform"].mean(dim=1, keepdim=True) * self.weight)

    with pytest.raises(ConfigError, match="Pooled has none: choose another backbone"):
        Noise(NoiseConfig(), INFO).build_decoder(Pooled())
