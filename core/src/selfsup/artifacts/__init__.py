"""Read and write what a run leaves: run folders, encoders, result records."""

from selfsup.artifacts.encoder import Encoder, Precision
from selfsup.artifacts.exporting import export, export_formats
from selfsup.artifacts.hub import image_scaling, read_model
from selfsup.artifacts.loading import EncoderLike, load
from selfsup.artifacts.pretraining_rows import PretrainingRows
from selfsup.artifacts.results import ResultRecord, read_results
from selfsup.artifacts.run_directory import RunDirectory, default_run_path
from selfsup.artifacts.saving import is_encoder
from selfsup.public_names import Moved, lazy_names

__all__ = [
    "Encoder",
    "EncoderLike",
    "Precision",
    "PretrainingRows",
    "ResultRecord",
    "RunDirectory",
    "default_run_path",
    "export",
    "export_formats",
    "image_scaling",
    "is_encoder",
    "load",
    "read_model",
    "read_results",
]

__getattr__ = lazy_names(
    __name__,
    moved={
        name: Moved(f"{home}:{name}", since="0.1", until="0.3", not_before="2027-06-01")
        for name, home in {
            "atomic_write": "selfsup.runtime",
            "device_name": "selfsup.runtime",
            "environment": "selfsup.runtime.environment",
            "package_versions": "selfsup.runtime",
            "peak_memory": "selfsup.runtime",
        }.items()
    },
)
