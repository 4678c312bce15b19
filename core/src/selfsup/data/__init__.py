"""From a source string to batches: sources, rows, processors, stores, samplers, loaders."""

from selfsup.data.blocks import BlockStore
from selfsup.data.cache import cache_in, cache_root
from selfsup.data.content_hash import hold_out, row_hashes
from selfsup.data.findings import Findings
from selfsup.data.loader import Loader
from selfsup.data.prepare import prepare, processor_digest
from selfsup.data.previews import CurvePreview, ImagePreview, Preview, TextPreview
from selfsup.data.processor import Processor, Sample, stack_samples
from selfsup.data.rows import Rows, spread_rows
from selfsup.data.sampler import EpochSampler, LengthSampler, Sampler
from selfsup.data.sources import available_splits, load_source
from selfsup.data.store import Store
from selfsup.data.table_format import TableFormat

__all__ = [
    "BlockStore",
    "CurvePreview",
    "EpochSampler",
    "Findings",
    "ImagePreview",
    "LengthSampler",
    "Loader",
    "Preview",
    "Processor",
    "Rows",
    "Sample",
    "Sampler",
    "Store",
    "TableFormat",
    "TextPreview",
    "available_splits",
    "cache_in",
    "cache_root",
    "hold_out",
    "load_source",
    "prepare",
    "processor_digest",
    "row_hashes",
    "spread_rows",
    "stack_samples",
]
