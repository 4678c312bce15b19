"""Embed a source on a Ray cluster: blocks of rows go through Ray Data to workers, and their embeddings come back in order."""

from __future__ import annotations

import importlib
import importlib.util
import logging
import os
import pickle
import socket
from collections import Counter
from collections.abc import Callable, Collection, Generator, Iterator
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Any

from pydantic import Field

from selfsup import errors
from selfsup.config import Config
from selfsup.errors import ConfigError, RunError, SelfsupError

if TYPE_CHECKING:  # workers import torch at their first block
    from selfsup.evaluation.embedding.blocks import Block, BlockEmbedder, Work

_MOST_TASKS = 10_000
"""Tasks of a job; where there are more blocks a task has several, as the scheduler keeps something for each task."""
_GB = 1e9


class RayConfig(Config):
    """Options of the engine ``ray``."""

    address: str = ""
    """Address of a cluster (``HOST:6379``, ``auto``); empty: ``RAY_ADDRESS``, or a cluster of this machine, else a new one."""
    workers: int = Field(0, ge=0)
    """Processes that embed at a time; 0: as many as the cluster has GPUs or, without one, CPUs for."""
    num_cpus: float = Field(1.0, gt=0)
    """CPUs of a worker, and its threads."""
    num_gpus: float | None = Field(None, ge=0)
    """GPUs of a worker, or a share of one; None: 1 if the cluster has a GPU, else 0."""
    memory_gb: float = Field(0.0, ge=0)
    """Memory in GB that a machine sets aside for each worker; 0: it is not looked at."""
    rows: int = Field(4096, ge=1)
    """Rows of a block, which a worker decodes and embeds at a time; they are done again if it dies."""
    retries: int = Field(3, ge=0)
    """Times that a block is tried again when its worker dies: killed, out of memory, with its machine."""


def check_ray() -> None:
    """Make sure that Ray Data is installed.

    Raises:
        ConfigError: it is not.
    """
    if any(importlib.util.find_spec(name) is None for name in ("ray", "pandas")):
        raise ConfigError('The engine ray needs Ray Data, which is not installed: pip install "selfsup[ray]".')


class _Deaths:
    """Counts, in a process of its own, how often a block was begun and never ended. Ray itself tries again for ever."""

    def __init__(self) -> None:
        self.begun: Counter[int] = Counter()

    def begin(self, start: int) -> int:
        """A worker begins the block with this first row: how many have died of it."""
        self.begun[start] += 1
        return self.begun[start] - 1

    def end(self, start: int) -> None:
        """The worker has ended it, and lives. This process may have been restarted since, and know of no beginning."""
        self.begun[start] = max(0, self.begun[start] - 1)


class _Worker:
    """A process of the pool. It loads at its first block, so that a death while loading counts as one of that block."""

    def __init__(self, work: list[Any], deaths: Any, retries: int) -> None:
        self.work, self.deaths, self.retries = work, deaths, retries
        self.embedder: BlockEmbedder | None = None

    def __call__(self, batch: Any) -> Any:
        """For a table with ``start`` and ``stop`` of a block, a table with its embeddings."""
        import pyarrow as pa

        start, stop = (batch.column(name)[0].as_py() for name in ("start", "stop"))
        return pa.table({"block": pa.array([pickle.dumps(self._answer(start, stop), protocol=5)], pa.large_binary())})

    def _answer(self, start: int, stop: int) -> tuple[Block, int] | tuple[str, str]:
        """The block and the number of workers that died of it, or kind and text of an error."""
        from selfsup.evaluation.embedding.blocks import BlockEmbedder

        ray = importlib.import_module("ray")
        died = ray.get(self.deaths.begin.remote(start))
        if died > self.retries:
            text = f"{_workers(died)} died at the rows {start} to {stop - 1}: killed, or out of memory. "
            return (
                "RunError",
                text + "Look at these rows, make blocks smaller (rows) or give workers more memory (memory_gb).",
            )
        try:
            if self.embedder is None:
                self.embedder = BlockEmbedder(ray.get(self.work[0]))
            block = self.embedder.embed(start, stop)
        except SelfsupError as error:  # for the user as it is, without the traceback of a worker
            return type(error).__name__, str(error)
        ray.get(self.deaths.end.remote(start))
        return block, died


def ray_blocks(
    work: Work, rows: int, config: RayConfig, say: Callable[[str], object] = lambda line: None
) -> Generator[Block, None, None]:
    """The embeddings of all rows, block by block in their order, each row once.

    Args:
        work: what the workers have to know.
        rows: number of rows.
        config: the options.
        say: called with a line where a worker died.

    Raises:
        ConfigError: there is no cluster at the address, or it has no room for a worker.
        RunError: more workers died of a block than ``retries``.
        SelfsupError: what a worker raised.
    """
    with _cluster(config) as ray:
        gpus, most = _room(ray, config)
        resources: dict[str, Any] = {"num_cpus": config.num_cpus, "num_gpus": gpus}
        if config.memory_gb:
            resources["memory"] = config.memory_gb * _GB
        from selfsup.evaluation.embedding.blocks import block_places

        places = [{"start": start, "stop": stop} for start, stop in block_places(rows, config.rows)]
        deaths = ray.remote(num_cpus=0, max_restarts=-1, max_task_retries=-1)(_Deaths).remote()
        with _quiet(ray):
            blocks = ray.data.from_items(places, override_num_blocks=min(len(places), _MOST_TASKS)).map_batches(
                _Worker,
                batch_size=1,
                batch_format="pyarrow",
                fn_constructor_args=([ray.put(work)], deaths, config.retries),
                compute=ray.data.ActorPoolStrategy(size=min(most, len(places))),
                **resources,
            )
            with closing(_unpacked(ray, blocks, say)) as unpacked:
                yield from _in_order(unpacked, rows)


def _unpacked(ray: Any, blocks: Any, say: Callable[[str], object]) -> Generator[Block, None, None]:
    # Without threads that fetch ahead: one that lives when Ray is shut down ends the process.
    batches = iter(blocks.iter_batches(batch_size=1, batch_format="pyarrow", prefetch_batches=0))
    try:
        for batch in batches:
            block, other = pickle.loads(batch.column("block")[0].as_py())
            if isinstance(block, str):
                raise getattr(errors, block, RunError)(other)
            if other:
                say(f"Warning: {_workers(other)} died at the rows {block.start} to {block.stop - 1}, which were tried again.")
            yield block
    except ray.exceptions.RayError as error:
        raise RunError(f"The embedding on Ray ended. {str(error).strip() or type(error).__name__}") from error
    finally:
        batches.close()  # ends the threads of Ray Data


def _workers(count: int) -> str:
    return f"{count} workers" if count != 1 else "1 worker"


def _in_order(blocks: Iterator[Block], rows: int) -> Generator[Block, None, None]:
    """The blocks, once it is sure that no row is missing or twice."""
    expected = 0
    for block in blocks:
        if block.start != expected:
            raise RunError(f"Ray gave the rows from {block.start} on where those from {expected} on were due.")
        expected = block.stop
        yield block
    if expected != rows:
        raise RunError(f"Ray gave {expected} of {rows} rows.")


def _room(ray: Any, config: RayConfig) -> tuple[float, int]:
    """GPUs of a worker, and the number of workers."""
    gpus = config.num_gpus
    if gpus is None:
        gpus = float(any(machine.get("GPU", 0) for machine in _machines(ray)))
    asks = {"CPU": config.num_cpus, "GPU": gpus, "memory": config.memory_gb * _GB}
    places = places_on_ray(ray, "a worker", asks, "Set num_cpus, num_gpus and memory_gb.")
    return gpus, config.workers or places


def places_on_ray(ray: Any, what: str, asks: dict[str, float], advice: str) -> int:
    """How many processes the machines of a Ray cluster have room for at a time. Each runs on one machine.

    Args:
        ray: the module, connected.
        what: the process, for the message: ``a worker``.
        asks: what each asks for: ``CPU`` and ``GPU`` in number, ``memory`` in bytes.
        advice: how to ask for less, added to the message.

    Raises:
        ConfigError: no machine has room for one. Ray would wait for such a machine for ever.
    """
    machines = _machines(ray)
    asks = {name: amount for name, amount in asks.items() if amount}
    # The small addend is for shares such as 0.1, which are no exact numbers.
    places = sum(
        min((int(machine.get(name, 0) / amount + 1e-6) for name, amount in asks.items()), default=0) for machine in machines
    )
    if places:
        return places
    counted = Counter(_amounts(machine, asks) for machine in machines)
    has = "; ".join(f"{text} ({count} times)" if count > 1 else text for text, count in counted.most_common(5))
    raise ConfigError(
        f"No machine of the Ray cluster has room for {what}, which asks for {_amounts(asks, asks)}. "
        f"Its machines have: {has or 'nothing'}. {advice}"
    )


def _machines(ray: Any) -> list[dict[str, float]]:
    """What each machine of the cluster that lives has."""
    return [node["Resources"] for node in ray.nodes() if node["Alive"]]


def _amounts(resources: dict[str, float], names: Collection[str]) -> str:
    texts = [f"{resources.get('CPU', 0):g} CPUs", f"{resources.get('GPU', 0):g} GPUs"]
    if "memory" in names:
        texts.append(f"{resources.get('memory', 0) / _GB:.4g} GB of memory")
    return ", ".join(texts)


@contextmanager
def _cluster(config: RayConfig) -> Generator[Any, None, None]:
    """Ray, connected; disconnected at the end unless it was connected before."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # no word to anyone about what is run here
    ray = importlib.import_module("ray")
    importlib.import_module("ray.data")
    mine = not ray.is_initialized()
    if mine:
        _check_no_client(config.address)
        check_ray_address(config.address)
        try:
            ray.init(address=config.address or None, include_dashboard=False, log_to_driver=False, logging_level="warning")
        except (ConnectionError, ValueError, RuntimeError) as error:
            raise ConfigError(f"Ray cannot connect to {config.address or 'the cluster that it finds'}: {error}") from error
    try:
        yield ray
    finally:
        if mine:
            ray.shutdown()


def check_ray_address(address: str) -> None:
    """Refuse an address where nothing listens, for which Ray itself would wait for minutes.

    Args:
        address: of a cluster; empty: that in ``RAY_ADDRESS``, if any.

    Raises:
        ConfigError: nothing listens there.
    """
    address = address or os.environ.get("RAY_ADDRESS", "")
    host, _, port = address.rpartition("://")[2].rpartition(":")
    if not host or not port.isdigit():
        return
    try:
        socket.create_connection((host, int(port)), timeout=10).close()
    except OSError as error:
        raise ConfigError(f"No Ray cluster answers at {address}: {error.strerror or error}.") from error


def _check_no_client(address: str) -> None:
    """Refuse an address of Ray Client, through which Ray Data does not run."""
    address = address or os.environ.get("RAY_ADDRESS", "")
    if address.startswith("ray://"):
        raise ConfigError(
            f"{address} is an address of Ray Client (ray://), through which Ray Data does not run. Start the command on a "
            "machine of the cluster, with the address auto or HOST:6379."
        )


@contextmanager
def _quiet(ray: Any) -> Generator[None, None, None]:
    """Keep the order of blocks, and show no progress of Ray's own."""
    context = ray.data.DataContext.get_current()
    before = context.execution_options.preserve_order, context.enable_progress_bars
    context.execution_options.preserve_order, context.enable_progress_bars = True, False
    logger = logging.getLogger("ray.data")
    level = logger.level
    logger.setLevel(logging.WARNING)
    try:
        yield
    finally:
        logger.setLevel(level)
        context.execution_options.preserve_order, context.enable_progress_bars = before
