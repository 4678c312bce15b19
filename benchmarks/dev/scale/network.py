"""A network of nodes on one machine: a namespace for each, joined by a bridge, each way of a link with limited bandwidth."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

_TAG = f"s{os.getpid()}"
"""Begins the names of what this process makes, so that it takes away nothing else."""
_NET = f"10.{200 + os.getpid() % 50}.{os.getpid() // 50 % 250}"


@dataclass(frozen=True)
class Network:
    """How nodes reach each other and the server."""

    nodes: int
    isolated: bool
    """Whether each node is a network namespace; else all are on the loopback interface."""
    limit: str
    """What limits the bandwidth, in words."""

    @property
    def server(self) -> str:
        """Address of the server."""
        return f"{_NET}.1" if self.isolated else "127.0.0.1"

    def address(self, node: int) -> str:
        """Address of a node."""
        return f"{_NET}.{10 + node}" if self.isolated else "127.0.0.1"

    def command(self, node: int) -> list[str]:
        """What a command begins with to run on a node."""
        return ["ip", "netns", "exec", f"{_TAG}-{node}"] if self.isolated else []

    def interface(self, node: int) -> str:
        """Name of the network interface of a node."""
        return f"{_TAG}n{node}" if self.isolated else "lo"


def _run(*words: str) -> None:
    subprocess.run(words, check=True, capture_output=True, text=True)


def why_not() -> str:
    """Why no namespaces with limited bandwidth can be made here; empty if they can."""
    if not shutil.which("ip") or not shutil.which("tc"):
        return "the commands ip and tc (iproute2) are missing"
    if os.geteuid() != 0:
        return "only root makes network namespaces"
    try:
        with _namespaces(1, 100.0):
            return ""
    except subprocess.CalledProcessError as error:
        return f"{' '.join(error.cmd)}: {error.stderr.strip()}"


@contextmanager
def network(nodes: int, mbit: float, *, isolate: bool | None = None) -> Iterator[Network]:
    """A network of nodes; it is removed after the block.

    Args:
        nodes: how many.
        mbit: megabits a second of each way of each node's link; 0: no limit.
        isolate: make namespaces; None: where that is possible.
    """
    reason = "asked for" if isolate is False else why_not()
    if reason:
        limit = (
            "a token bucket in the file server, which all nodes share; traffic between nodes is not limited"
            if mbit
            else "nothing"
        )
        yield Network(nodes, False, f"{limit} (no namespaces: {reason})")
        return
    with _namespaces(nodes, mbit):
        limit = f"tc tbf of {mbit:g} Mbit/s on both ends of a veth pair for each namespace"
        yield Network(nodes, True, limit if mbit else "nothing")


@contextmanager
def _namespaces(nodes: int, mbit: float) -> Iterator[None]:
    try:
        _run("ip", "link", "add", _TAG, "type", "bridge")
        _run("ip", "addr", "add", f"{_NET}.1/24", "dev", _TAG)
        _run("ip", "link", "set", _TAG, "up")
        for node in range(nodes):
            space, inner, outer = f"{_TAG}-{node}", f"{_TAG}n{node}", f"{_TAG}b{node}"
            _run("ip", "netns", "add", space)
            _run("ip", "link", "add", outer, "type", "veth", "peer", "name", inner, "netns", space)
            _run("ip", "link", "set", outer, "master", _TAG, "up")
            inside = ("ip", "netns", "exec", space)
            _run(*inside, "ip", "addr", "add", f"{_NET}.{10 + node}/24", "dev", inner)
            _run(*inside, "ip", "link", "set", inner, "up")
            _run(*inside, "ip", "link", "set", "lo", "up")
            if mbit:
                limit = ("root", "tbf", "rate", f"{mbit}mbit", "burst", "256kb", "latency", "200ms")
                _run("tc", "qdisc", "add", "dev", outer, *limit)
                _run(*inside, "tc", "qdisc", "add", "dev", inner, *limit)
        yield
    finally:
        links = [_TAG, *(f"{_TAG}b{node}" for node in range(nodes))]
        for words in [
            *(("link", "del", name) for name in links),
            *(("netns", "del", f"{_TAG}-{node}") for node in range(nodes)),
        ]:
            with suppress(subprocess.CalledProcessError):
                _run("ip", *words)
