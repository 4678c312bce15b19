"""What is asked of the machines of a Ray cluster, without Ray."""

import sys
from types import SimpleNamespace

import pytest

from selfsup.errors import ConfigError, SourceError
from selfsup.evaluation.embedding.ray_data import RayConfig, _check_no_client, _Deaths, _room, _Worker, places_on_ray


def cluster(*machines, dead=()):
    """A cluster of machines with so many CPUs, GPUs and GB of memory each."""
    nodes = [
        {"Alive": machine not in dead, "Resources": {"CPU": cpus, "GPU": gpus, "memory": memory * 1e9}}
        for machine in machines
        for cpus, gpus, memory in [machine]
    ]
    return SimpleNamespace(nodes=lambda: nodes)


def test_each_worker_fits_on_one_machine():
    four = cluster((3.0, 0.0, 10), (3.0, 0.0, 10))
    assert _room(four, RayConfig()) == (0.0, 6)
    assert _room(four, RayConfig(num_cpus=2)) == (0.0, 2)  # three would fit if it were one machine
    assert _room(four, RayConfig(memory_gb=6)) == (0.0, 2)
    assert _room(four, RayConfig(memory_gb=6, workers=1)) == (0.0, 1)
    message = r"for a worker, which asks for 4 CPUs, 0 GPUs\. Its machines have: 3 CPUs, 0 GPUs \(2 times\)\. Set num_cpus"
    with pytest.raises(ConfigError, match=message):
        _room(four, RayConfig(num_cpus=4))
    message = r"asks for 1 CPUs, 0 GPUs, 12 GB of memory\. Its machines have: 3 CPUs, 0 GPUs, 10 GB of memory \(2 times\)"
    with pytest.raises(ConfigError, match=message):
        _room(four, RayConfig(memory_gb=12, workers=1))


def test_workers_use_the_gpus_of_machines_that_live():
    mixed = cluster((8.0, 0.0, 10), (4.0, 2.0, 10))
    assert _room(mixed, RayConfig()) == (1.0, 2)
    assert _room(mixed, RayConfig(num_gpus=0.1, num_cpus=0.1)) == (0.1, 20)
    assert _room(cluster((8.0, 0.0, 10), (4.0, 2.0, 10), dead=[(4.0, 2.0, 10)]), RayConfig()) == (0.0, 8)
    with pytest.raises(ConfigError, match=r"Its machines have: nothing\. Ask for less"):
        places_on_ray(cluster(), "a cell", {"CPU": 1.0}, "Ask for less.")


def test_deaths_are_never_fewer_than_none():
    deaths = _Deaths()
    assert [deaths.begin(0), deaths.begin(0)] == [0, 1]
    restarted = _Deaths()
    restarted.end(0)
    assert restarted.begin(0) == 0


def test_a_worker_gives_up_a_block_that_killed_too_many(monkeypatch):
    """It names the rows, or the error of the source."""
    monkeypatch.setitem(sys.modules, "ray", SimpleNamespace(get=lambda value: value))
    deaths = _Deaths()
    remote = SimpleNamespace(
        begin=SimpleNamespace(remote=deaths.begin),
        end=SimpleNamespace(remote=deaths.end),
    )
    worker = _Worker([None], remote, retries=1)

    def embed(start, stop):
        if start == 8:
            raise SourceError("no row")
        return start, stop

    worker.embedder = SimpleNamespace(embed=embed)
    assert worker._answer(0, 8) == ((0, 8), 0)
    assert worker._answer(0, 8) == ((0, 8), 0)  # the first time has ended
    assert worker._answer(8, 16) == ("SourceError", "no row")
    deaths.begin(16)
    assert worker._answer(16, 24) == ((16, 24), 1)
    deaths.begin(16)
    kind, text = worker._answer(16, 24)
    assert (kind, text[:36]) == ("RunError", "2 workers died at the rows 16 to 23:")


def test_addresses_of_ray_client_are_refused(monkeypatch):
    with pytest.raises(ConfigError, match=r"^ray://head:10001 is an address of Ray Client .* address auto or HOST:6379"):
        _check_no_client("ray://head:10001")
    monkeypatch.setenv("RAY_ADDRESS", "ray://other:10001")
    with pytest.raises(ConfigError, match=r"^ray://other:10001 "):
        _check_no_client("")
    _check_no_client("head:6379")
