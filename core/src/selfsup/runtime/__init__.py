"""The ground floor: files, locks, progress, precision, processes, randomness. It imports only the errors.

Names are imported on first use, so that what needs no torch does not import it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from selfsup.public_names import lazy_names

if TYPE_CHECKING:
    from selfsup.damaged_files import read_npy
    from selfsup.runtime.distributed import (
        SplitBatchNorm,
        SynchronizedBatchNorm,
        convert_split_batchnorm,
        convert_sync_batchnorm,
        from_first_rank,
        gather,
        max_over_ranks,
        mean_over_ranks,
        rank,
        sum_over_ranks,
        world_size,
    )
    from selfsup.runtime.environment import device_name, package_versions, peak_memory
    from selfsup.runtime.file_lock import holder_of, lock_folder, lock_of
    from selfsup.runtime.files import atomic_write
    from selfsup.runtime.findings import Findings, listed_names
    from selfsup.runtime.machine_load import cpu_count
    from selfsup.runtime.module_mode import evaluation_mode
    from selfsup.runtime.precision import full, no_autocast, resolve_precision
    from selfsup.runtime.process_server import can_fork, fork_server
    from selfsup.runtime.progress import Silent
    from selfsup.runtime.randomness import preserved, seed_of_rank
    from selfsup.runtime.temporary_files import is_temporary, remove_remains, temporary_folder
else:
    __getattr__ = lazy_names(
        __name__,
        {
            "selfsup.runtime.distributed": [
                "SplitBatchNorm",
                "SynchronizedBatchNorm",
                "convert_split_batchnorm",
                "convert_sync_batchnorm",
                "from_first_rank",
                "gather",
                "max_over_ranks",
                "mean_over_ranks",
                "rank",
                "sum_over_ranks",
                "world_size",
            ],
            "selfsup.runtime.environment": ["device_name", "package_versions", "peak_memory"],
            "selfsup.runtime.module_mode": ["evaluation_mode"],
            "selfsup.runtime.file_lock": ["holder_of", "lock_folder", "lock_of"],
            "selfsup.damaged_files": ["read_npy"],
            "selfsup.runtime.files": ["atomic_write"],
            "selfsup.runtime.temporary_files": ["is_temporary", "remove_remains", "temporary_folder"],
            "selfsup.runtime.findings": ["Findings", "listed_names"],
            "selfsup.runtime.process_server": ["can_fork", "fork_server"],
            "selfsup.runtime.machine_load": ["cpu_count"],
            "selfsup.runtime.precision": ["full", "no_autocast", "resolve_precision"],
            "selfsup.runtime.progress": ["Silent"],
            "selfsup.runtime.randomness": ["preserved", "seed_of_rank"],
        },
    )

__all__ = [
    "Findings",
    "Silent",
    "SplitBatchNorm",
    "SynchronizedBatchNorm",
    "atomic_write",
    "can_fork",
    "convert_split_batchnorm",
    "convert_sync_batchnorm",
    "cpu_count",
    "device_name",
    "evaluation_mode",
    "fork_server",
    "from_first_rank",
    "full",
    "gather",
    "holder_of",
    "is_temporary",
    "listed_names",
    "lock_folder",
    "lock_of",
    "max_over_ranks",
    "mean_over_ranks",
    "no_autocast",
    "package_versions",
    "peak_memory",
    "preserved",
    "rank",
    "read_npy",
    "remove_remains",
    "resolve_precision",
    "seed_of_rank",
    "sum_over_ranks",
    "temporary_folder",
    "world_size",
]
