import torch

from selfsup_text.backbones.dropout import DropoutNoise, SeededDropout, keep_mask


def test_masks_have_the_rate_and_are_independent():
    seed = torch.tensor([3, 4])
    masks = torch.stack([keep_mask(seed, salt, torch.tensor([0.1, 0.4]), (2, 200, 500)) for salt in (0, 1)])
    share = masks.float().mean(dim=(2, 3))
    torch.testing.assert_close(share, torch.tensor([[0.9, 0.6], [0.9, 0.6]]), atol=5e-3, rtol=0)
    both = (masks[0, 1] & masks[1, 1]).float().mean()
    torch.testing.assert_close(both, torch.tensor(0.36), atol=5e-3, rtol=0)
    neighbours = (masks[0, 1, :, 1:] & masks[0, 1, :, :-1]).float().mean()
    torch.testing.assert_close(neighbours, torch.tensor(0.36), atol=5e-3, rtol=0)


def test_seeds_next_to_each_other_give_unlike_masks():
    rate = torch.full((2,), 0.5)
    one, two = keep_mask(torch.tensor([7, 8]), 0, rate, (2, 100_000))
    torch.testing.assert_close((one & two).float().mean(), torch.tensor(0.25), atol=5e-3, rtol=0)


def test_dropout_keeps_the_mean():
    noise = DropoutNoise()
    layer = SeededDropout(noise, 0)
    x = torch.ones(1, 100, 1000)
    assert layer(x) is x
    noise.set(torch.tensor([5]), torch.tensor([0.25]))
    dropped = layer(x)
    assert set(dropped.unique().tolist()) == {0.0, dropped.max().item()}
    torch.testing.assert_close(dropped.mean(), torch.tensor(1.0), atol=1e-2, rtol=0)
