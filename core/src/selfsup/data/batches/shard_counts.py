"""Remember how many rows each shard of a stream has, once for all processes of a run."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from selfsup.data.batches.agreement import Agreement


class ShardCounts(dict[int, int]):
    """Shard to its number of rows, as far as it is known.

    Processes tell each other what they have counted at the end of an epoch. Of what all of them know, each keeps its own part
    in its state, so that a checkpoint grows with the number of shards, and not with shards times processes.

    Args:
        rank: number of this process.
        world_size: number of processes.
    """

    def __init__(self, rank: int = 0, world_size: int = 1) -> None:
        super().__init__()
        self._rank, self._world_size = rank, world_size
        self._shared: set[int] = set()

    def exchange(self, processes: Agreement) -> None:
        """Tell the other processes what was counted since the last call, and hear it from them; all call this together."""
        for counts in processes.gathered({shard: self[shard] for shard in self.keys() - self._shared}):
            self.update(counts)
        self._shared = set(self)

    def state_dict(self) -> dict[int, int]:
        """This process's part of what all know, and what it alone knows."""
        alone, known = self._world_size == 1, dict(self)  # a copy: a thread may count on
        return {
            shard: count
            for shard, count in known.items()
            if alone or shard not in self._shared or shard % self._world_size == self._rank
        }

    def load_state_dict(self, states: Iterable[Mapping[int, int]]) -> None:
        """Go on with what the processes of a run knew together; their number may have been another."""
        self.clear()
        for counts in states:
            self.update(counts)
        self._shared = set(self)
