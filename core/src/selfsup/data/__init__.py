"""From a source string to batches: sources, rows, processors, stores, samplers, loaders."""

from selfsup.data.batches.blocks import BlockStore
from selfsup.data.batches.loader import Loader
from selfsup.data.batches.sampler import EpochSampler, LengthSampler, Sampler
from selfsup.data.previews import CurvePreview, ImagePreview, Preview, TextPreview
from selfsup.data.processor import Processor, Sample, stack_samples
from selfsup.data.rows import Rows, spread_rows
from selfsup.data.sources.load import available_splits, load_source
from selfsup.data.sources.tables.format import TableFormat
from selfsup.data.store.content_hash import hold_out, row_hashes
from selfsup.data.store.format import Store
from selfsup.data.store.prepare import prepare, processor_digest
from selfsup.runtime.cache_folder import cache_in, cache_root
from selfsup.runtime.findings import Findings

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
