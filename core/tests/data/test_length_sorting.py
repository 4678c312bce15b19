import numpy as np
import pytest

from selfsup.data import EpochSampler
from selfsup.errors import DataError

LENGTHS = np.random.default_rng(0).integers(1, 200, 10_000)


def padded(batches):
    """Computed tokens for each real one."""
    return sum(LENGTHS[batch].max() * len(batch) for batch in batches) / sum(LENGTHS[batch].sum() for batch in batches)


def test_little_is_computed_on_padding():
    assert padded(EpochSampler(10_000, 32).batches(0)) > 1.7
    assert padded(EpochSampler(10_000, 32, lengths=LENGTHS).batches(0)) < 1.05


def test_an_epoch_holds_every_sample_once_and_leaves_out_none_for_its_length():
    sampler = EpochSampler(10_000, 32, lengths=LENGTHS)
    seen = np.concatenate(sampler.batches(3))
    assert len(seen) == len(np.unique(seen)) == 10_000 // 32 * 32
    left_out = np.setdiff1d(np.arange(10_000), seen)
    assert left_out.tolist() == np.setdiff1d(np.arange(10_000), np.concatenate(EpochSampler(10_000, 32).batches(3))).tolist()
    whole = EpochSampler(10_000, 32, drop_last=False, lengths=LENGTHS)
    assert np.sort(np.concatenate(whole.batches(3))).tolist() == list(range(10_000))


def test_batches_follow_seed_and_epoch_alone_and_come_in_no_order_of_length():
    one, two = (EpochSampler(10_000, 32, seed=5, lengths=LENGTHS) for _ in range(2))
    one.batches(0)
    assert all((a == b).all() for a, b in zip(one.batches(1), two.batches(1), strict=True))
    assert not all((a == b).all() for a, b in zip(one.batches(0), one.batches(1), strict=True))
    means = [LENGTHS[batch].mean() for batch in one.batches(0)]
    assert abs(np.corrcoef(means[:-1], means[1:])[0, 1]) < 0.3


def test_processes_share_every_batch_without_regard_to_length():
    parts = [EpochSampler(10_000, 16, rank=rank, world_size=2, lengths=LENGTHS).batches(0) for rank in range(2)]
    together = EpochSampler(10_000, 32, lengths=LENGTHS).batches(0)
    for first, second, both in zip(*parts, together, strict=True):
        assert np.concatenate([first, second]).tolist() == both.tolist()
    longer = np.mean([LENGTHS[a].sum() > LENGTHS[b].sum() for a, b in zip(*parts, strict=True)])
    assert 0.4 < longer < 0.6


def test_lengths_must_be_of_the_samples():
    with pytest.raises(DataError, match="3 lengths for 4 samples"):
        EpochSampler(4, 2, lengths=np.ones(3, dtype=np.int64))
