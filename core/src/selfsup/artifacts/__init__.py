"""What runs leave behind: run folders, encoders, result records."""

from selfsup.artifacts.encoder import Encoder, Precision
from selfsup.artifacts.exporting import export, export_formats
from selfsup.artifacts.loading import EncoderLike, load
from selfsup.artifacts.pretraining_rows import PretrainingRows
from selfsup.artifacts.results import ResultRecord, read_results
from selfsup.artifacts.run_directory import RunDirectory, default_run_path
from selfsup.artifacts.saving import is_encoder
from selfsup.runtime.environment import device_name, environment, package_versions, peak_memory
from selfsup.runtime.files import atomic_write

__all__ = [
    "Encoder",
    "EncoderLike",
    "Precision",
    "PretrainingRows",
    "ResultRecord",
    "RunDirectory",
    "atomic_write",
    "default_run_path",
    "device_name",
    "environment",
    "export",
    "export_formats",
    "is_encoder",
    "load",
    "package_versions",
    "peak_memory",
    "read_results",
]
