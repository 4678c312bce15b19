import torch

from selfsup_images.draws import random_subset

CPU = torch.device("cpu")


def _frequencies(n: int, probability: float, rounds: int) -> tuple[torch.Tensor, list[int]]:
    generator = torch.Generator().manual_seed(0)
    hits, counts = torch.zeros(n), []
    for _ in range(rounds):
        index, active = random_subset(n, probability, generator=generator, device=CPU)
        hits[index[active]] += 1
        counts.append(int(active.sum()))
    return hits / rounds, counts


def test_subset_has_the_stated_probability_for_every_sample_and_size() -> None:
    for n, probability in ((7, 0.5), (5, 0.1), (1, 0.3), (10, 0.8)):
        frequency, counts = _frequencies(n, probability, 4000)
        assert float((frequency - probability).abs().max()) < 0.035, (n, probability)
        assert set(counts) <= {int(n * probability), int(n * probability) + 1}


def test_subset_at_the_ends() -> None:
    index, active = random_subset(6, 0.0, generator=None, device=CPU)
    assert index.numel() == active.numel() == 0
    index, active = random_subset(6, 1.0, generator=None, device=CPU)
    assert sorted(index.tolist()) == list(range(6))
    assert bool(active.all())
