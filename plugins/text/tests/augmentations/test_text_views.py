import pytest
import torch

from selfsup_text.augmentations.tokens import compact, thin_out, window_mask
from selfsup_text.augmentations.views import TextViews, TextViewsConfig

INFO = {"pad_id": 0}


def batch(rows=200, width=20):
    lengths = 1 + torch.arange(rows) % width
    padding = torch.arange(width) >= lengths.unsqueeze(1)
    ids = (torch.arange(width) + 10).expand(rows, width).masked_fill(padding, 0)
    return {"ids": ids, "padding": padding, "words": (ids - 10).masked_fill(padding, -1)}


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def test_a_window_is_one_stretch_of_the_drawn_share():
    padding = batch()["padding"]
    window = window_mask(padding, (0.3, 0.6), generator())
    assert not (window & padding).any()
    length, width = (~padding).sum(dim=1), window.sum(dim=1)
    edges = (window[:, 1:] != window[:, :-1]).sum(dim=1) + window[:, 0].long() + window[:, -1].long()
    assert (edges == 2).all()
    assert (width >= (0.3 * length).floor().clamp(min=1)).all()
    assert (width <= (0.6 * length).ceil() + 1e-6).all()
    starts = window.float().argmax(dim=1)[length == 20]
    assert starts.unique().numel() > 4


def test_the_whole_share_is_the_whole_text():
    padding = batch()["padding"]
    assert torch.equal(window_mask(padding, (1.0, 1.0), generator()), ~padding)


def test_thinning_takes_the_rate_and_leaves_one():
    kept = torch.ones(2000, 20, dtype=torch.bool)
    kept[:, 12:] = False
    thinned = thin_out(kept, 0.3, generator())
    assert not (thinned & ~kept).any()
    torch.testing.assert_close(thinned[:, :12].float().mean(), torch.tensor(0.7), atol=0.01, rtol=0)
    assert (thin_out(kept, 0.999, generator()).sum(dim=1) >= 1).all()


def test_what_is_left_is_compact_and_in_order():
    texts = batch(2, 6)
    kept = torch.tensor([[1, 0, 0, 0, 0, 0], [0, 1, 0, 0, 0, 0]], dtype=torch.bool)
    view = compact(texts, kept, 3, pad_id=0)
    assert view["ids"].tolist() == [[10, 0, 0], [11, 0, 0]]
    assert view["words"].tolist() == [[0, -1, -1], [1, -1, -1]]
    assert view["padding"].tolist() == [[False, True, True]] * 2
    ordered = compact(batch(6, 6), torch.tensor([[0, 1, 0, 1, 1, 0]] * 6, dtype=torch.bool), 6, 0)
    assert ordered["ids"][5].tolist() == [11, 13, 14, 0, 0, 0]


def test_views_are_long_then_short_and_differ():
    views = TextViews(TextViewsConfig(n_local=2), INFO)(batch(), generator())
    assert [view["ids"].shape[1] for view in views] == [20, 20, 8, 8]
    assert not torch.equal(views[0]["ids"], views[1]["ids"])
    for view in views:
        assert (~view["padding"]).any(dim=1).all()
        assert ((view["ids"] == 0) == view["padding"]).all()
        assert ((view["words"] == -1) == view["padding"]).all()
        assert set(view) == {"ids", "padding", "words", "crop", "dropout_seed", "dropout_rate"}
    again = TextViews(TextViewsConfig(n_local=2), INFO)(batch(), generator())
    assert all(torch.equal(one[key], two[key]) for one, two in zip(views, again, strict=True) for key in one)


def test_crop_says_where_each_token_lies():
    config = TextViewsConfig(deletion=0.0, dropout=0.0, global_share=(0.3, 0.6))
    (view, _) = TextViews(config, INFO)(batch(), generator())
    width = view["ids"].shape[1]
    origin, extent = view["crop"][:, 0, 0:1], view["crop"][:, 0, 1:2]
    centre = origin + extent * (torch.arange(width) + 0.5) / width
    torch.testing.assert_close(((centre * 20) - 0.5)[~view["padding"]].round().long(), view["words"][~view["padding"]])


def test_dropout_views_alone_are_the_text_twice_with_other_seeds():
    config = TextViewsConfig(global_share=(1.0, 1.0), deletion=0.0, dropout=0.2)
    texts = batch()
    one, two = TextViews(config, INFO)(texts, generator())
    assert torch.equal(one["ids"], texts["ids"])
    assert torch.equal(two["ids"], texts["ids"])
    assert not torch.equal(one["dropout_seed"], two["dropout_seed"])
    assert one["dropout_rate"].unique().tolist() == pytest.approx([0.2])
    (without, _) = TextViews(TextViewsConfig(dropout=0.0), INFO)(texts, generator())
    assert "dropout_seed" not in without


def test_shares_out_of_range_are_refused():
    with pytest.raises(ValueError, match="global_share"):
        TextViewsConfig(global_share=(0.5, 0.2))
