"""Train in several processes, each a machine of its own in a simulated network, and measure them."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from scale.network import Network, network
from scale.shards import Shards
from selfsup.errors import BenchmarkError

_FOLDER = Path(__file__).parents[1]
_PORT = 29517
_UNSTEADY = 3
"""First steps that do not count towards the speed."""


@dataclass(frozen=True)
class Setting:
    """A run to simulate."""

    nodes: int
    split: str
    """``streaming.split``."""
    mbit: float
    """Megabits a second of each way of each node's link; 0: no limit."""
    latency: float = 0.02
    """Seconds that the server waits before each answer."""
    device_seconds: float = 1.0
    """How long a step sleeps, in the place of a device."""
    batch_size: int = 32
    """Rows of a step of one node."""
    steps: int = 0
    """0: as many as an epoch has."""
    sample_rows: int = 512
    checkpoint_every: int = 25
    failing: float = 0.0
    """Share of the requests that the server answers with status 503."""
    limit_seconds: float = 900.0


def simulate(shards: Shards, setting: Setting, *, isolate: bool | None = None) -> dict[str, Any]:
    """Run a setting.

    Args:
        shards: what the server has.
        setting: of the run.
        isolate: make namespaces; None: where that is possible.

    Returns:
        What was measured, as JSON values.

    Raises:
        BenchmarkError: a process failed.
    """
    steps = setting.steps or shards.rows // (setting.batch_size * setting.nodes)
    with (
        tempfile.TemporaryDirectory(prefix="scale-") as base,
        network(setting.nodes, setting.mbit, isolate=isolate) as net,
        _server(shards.folder, net, setting) as url,
    ):
        folder = Path(base)
        began = time.time()
        plan = {
            **asdict(setting), "steps": steps, "begun": began, "rows": shards.rows, "results": base,
            "data": f"{url}/NODE/{shards.pattern}", "out": str(folder / "run"),
        }  # fmt: skip
        (folder / "plan.json").write_text(json.dumps(plan))
        _run(folder, net, setting.limit_seconds)
        log = json.loads(urllib.request.urlopen(f"{url}/log").read())
        found = [json.loads((folder / f"{rank}.json").read_text()) for rank in range(setting.nodes)]
    return {
        "setting": {**asdict(setting), "steps": steps, "shards": shards.count, "rows": shards.rows, "bytes": shards.nbytes},
        "network": net.limit,
        **_measured(found, setting, steps),
        **_fetched(log, shards),
    }


@contextmanager
def _server(folder: Path, net: Network, setting: Setting) -> Iterator[str]:
    rate = 0.0 if net.isolated else setting.mbit * 1e6 / 8
    command = [
        sys.executable, "-m", "scale.server", str(folder), "--host", net.server, "--latency", str(setting.latency),
        "--rate", str(rate), "--failing", str(setting.failing),
    ]  # fmt: skip
    server = subprocess.Popen(command, cwd=_FOLDER, stdout=subprocess.PIPE, text=True)
    try:
        assert server.stdout is not None
        yield f"http://{net.server}:{int(server.stdout.readline())}"
    finally:
        server.kill()
        server.communicate()


def _run(folder: Path, net: Network, seconds: float) -> None:
    """Run all processes to their end."""
    logs = [folder / f"log-{rank}.txt" for rank in range(net.nodes)]
    nodes = []
    try:
        for rank, path in enumerate(logs):
            own = {**os.environ, "SELFSUP_CACHE": str(folder / f"cache-{rank}"), "OMP_NUM_THREADS": "1"}
            if net.nodes > 1:
                own |= {
                    "RANK": str(rank), "LOCAL_RANK": "0", "WORLD_SIZE": str(net.nodes), "LOCAL_WORLD_SIZE": "1",
                    "GROUP_RANK": str(rank), "GROUP_WORLD_SIZE": str(net.nodes), "MASTER_ADDR": net.address(0),
                    "MASTER_PORT": str(_PORT), "TORCHELASTIC_RUN_ID": folder.name, "GLOO_SOCKET_IFNAME": net.interface(rank),
                }  # fmt: skip
            command = [*net.command(rank), sys.executable, "-m", "scale.node", str(folder / "plan.json")]
            with path.open("wb") as log:
                nodes.append(subprocess.Popen(command, cwd=_FOLDER, env=own, stdout=log, stderr=subprocess.STDOUT))
        deadline = time.monotonic() + seconds
        while any(node.poll() is None for node in nodes):
            failed = [rank for rank, node in enumerate(nodes) if node.poll() not in (None, 0)]
            if failed or time.monotonic() > deadline:
                what = f"process {failed[0]} failed" if failed else f"the run took more than {seconds:g} seconds"
                raise BenchmarkError(f"{what}:\n{logs[failed[0] if failed else 0].read_text()[-3000:]}")
            time.sleep(0.1)
        if failed := [rank for rank, node in enumerate(nodes) if node.returncode]:
            raise BenchmarkError(f"process {failed[0]} failed:\n{logs[failed[0]].read_text()[-3000:]}")
    finally:
        for node in nodes:
            node.kill()
            node.wait()


def _measured(found: list[dict[str, Any]], setting: Setting, steps: int) -> dict[str, Any]:
    times = found[0]["steps"]
    first = min(_UNSTEADY, len(times) - 2)
    seconds = times[-1] - times[first]
    agreement = [seconds for each in found for seconds in each["agreement"]]
    return {
        "steps_made": len(times),
        "rows_per_second": setting.nodes * setting.batch_size * (len(times) - 1 - first) / seconds,
        "step_seconds": seconds / (len(times) - 1 - first),
        "import_seconds": max(each["import"] for each in found),
        "open_seconds": max(each["open_stream"] for each in found),
        "first_step_seconds": max(each["first_step"] for each in found),
        "agreement_seconds": statistics.median(agreement) if agreement else 0.0,
        "agreement_share": sum(found[0]["agreement"]) / (times[-1] - times[0]),
        "checkpoint_seconds": statistics.median(found[0]["checkpoint"]),
        "checkpoint_bytes": found[0]["read"]["checkpoint_bytes"],
        "peak_memory": max(each["peak_memory"] for each in found),
        "rows_read": found[0]["read"].get("rows_read"),
        "different_rows": found[0]["read"]["different"],
        "rows_wanted": steps * setting.batch_size * setting.nodes,
    }


def _fetched(log: dict[str, dict[str, dict[str, int]]], shards: Shards) -> dict[str, Any]:
    sent: Counter[str] = Counter()
    for files in log["bytes"].values():
        sent.update(files)
    requests: Counter[str] = Counter()
    for kinds in log["requests"].values():
        requests.update(kinds)
    nbytes = sum(sent.values())
    return {
        "bytes_fetched": nbytes,
        "times_the_data": nbytes / shards.nbytes,
        "reads_of_a_shard": statistics.mean(sent.values()) * shards.count / shards.nbytes,
        "requests": dict(requests),
    }
