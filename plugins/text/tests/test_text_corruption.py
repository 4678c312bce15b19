import torch

from selfsup_text.backbones.small import ENCODER
from selfsup_text.corruptions import TextCorruption, TextCorruptionConfig, bag_of_words

INFO = {
    "vocab_size": 30, "max_length": 16, "pad_id": 0, "unk_id": 1, "cls_id": 2, "sep_id": 3, "mask_id": 4,
    "special_ids": [0, 1, 2, 3, 4],
}  # fmt: skip


def batch(rows=400):
    lengths = 2 + torch.arange(rows) % 15
    padding = torch.arange(16) >= lengths.unsqueeze(1)
    ids = torch.randint(5, 30, padding.shape, generator=torch.Generator().manual_seed(0)).masked_fill(padding, 0)
    return {"ids": ids, "padding": padding, "words": torch.arange(16).expand_as(ids).masked_fill(padding, -1)}


def test_the_bag_counts_words_and_no_special_tokens():
    ids = torch.tensor([[7, 7, 9, 3, 1, 0]])
    padding = torch.tensor([[False, False, False, False, False, True]])
    corruption = TextCorruption(TextCorruptionConfig(), INFO)
    bag = bag_of_words(ids, padding, corruption.counted)
    assert bag[0, [7, 9, 3, 1, 0]].tolist() == [0.5, 0.25, 0.0, 0.25, 0.0]


def test_deletion_leaves_the_share_that_stays_and_asks_for_all():
    texts = batch(3000)
    corrupted = TextCorruption(TextCorruptionConfig(), INFO)(texts, torch.Generator().manual_seed(0))
    left = (~corrupted.batch["padding"]).sum(dim=1)
    assert (left >= 1).all()
    share = left[texts["padding"].sum(dim=1) == 0].float().mean() / 16
    torch.testing.assert_close(share, torch.tensor(0.4), atol=0.03, rtol=0)
    torch.testing.assert_close(corrupted.target.sum(dim=1), torch.ones(3000))


def test_masking_keeps_the_places():
    texts = batch()
    corrupted = TextCorruption(TextCorruptionConfig(kind="mask", rate=0.3), INFO)(texts, torch.Generator().manual_seed(0))
    masked = corrupted.batch["ids"] == 4
    assert torch.equal(corrupted.batch["padding"], texts["padding"])
    assert torch.equal(corrupted.batch["ids"][~masked], texts["ids"][~masked])
    torch.testing.assert_close(masked[~texts["padding"]].float().mean(), torch.tensor(0.3), atol=0.04, rtol=0)


def test_the_loss_is_least_at_the_true_bag():
    corruption = TextCorruption(TextCorruptionConfig(), INFO)
    corrupted = corruption(batch(), torch.Generator().manual_seed(0))
    truth = corrupted.target.clamp(min=1e-9).log()
    entropy = -(corrupted.target * truth).sum(dim=1).mean()
    torch.testing.assert_close(corruption.loss(truth, corrupted).loss, entropy, atol=1e-4, rtol=1e-4)
    assert corruption.loss(torch.zeros(400, 30), corrupted).loss > entropy
    backbone = ENCODER.build(ENCODER.config(hidden_size=16, pooling="mean+max"), INFO)
    assert corruption.build_decoder(backbone)(backbone(batch())).shape == (400, 30)
