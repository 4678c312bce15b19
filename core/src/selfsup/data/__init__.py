"""From a source to batches: sources, rows, processors, stores, samplers, loaders."""

from selfsup.batch_parts import CONTENT, MARK, PRESENT, fill_absent, join_parts, only_part, part_names, part_of, presence
from selfsup.data.bad_rows import encode_list, read_sample
from selfsup.data.batches.blocks import BlockStore
from selfsup.data.batches.loader import Loader
from selfsup.data.batches.permutation import IndexArray
from selfsup.data.batches.sampler import EpochSampler, LengthSampler, Sampler
from selfsup.data.previews import CurvePreview, ImagePreview, Preview, TextPreview, envelope, shortened, text_of_row, thumbnail
from selfsup.data.processor import Processor
from selfsup.data.processor_state import reading_state, write_state
from selfsup.data.rows import Rows, spread_rows
from selfsup.data.samples import EncodedTable, Sample, stack_samples
from selfsup.data.sources.columns.joined import (
    JoinedColumns,
    SourceColumns,
    decisive_roles,
    filled,
    is_blank,
    roles_of,
    split_role,
)
from selfsup.data.sources.columns.labels import LabelArray, LabelKind, strata
from selfsup.data.sources.columns.roles import MEDIA, describe_columns, feature_fits, feature_name
from selfsup.data.sources.columns.segments import SEGMENT_ROLES, Segment, segment_columns, segment_of
from selfsup.data.sources.dataframes import arrow_column, arrow_table, categorical_columns, is_frame, table_of_rows
from selfsup.data.sources.hub import content_fingerprint
from selfsup.data.sources.layout import table_suffixes
from selfsup.data.sources.load import available_splits, load_source
from selfsup.data.sources.media.encode import array_of, is_pil, pixels_of
from selfsup.data.sources.media.files import check_media_file, real_path
from selfsup.data.sources.media.kinds import looks_like_paths, medium_of
from selfsup.data.sources.tables.format import TableFormat
from selfsup.data.sources.tables.numbers import MISSING_NUMBERS, as_number, decimal_of
from selfsup.data.store.content_hash import hashes_of, hold_out, row_hashes
from selfsup.data.store.format import Store
from selfsup.data.store.prepare import prepare, processor_digest
from selfsup.runtime.cache_folder import cache_in, cache_root
from selfsup.runtime.findings import Findings, listed_names

__all__ = [
    "CONTENT",
    "MARK",
    "MEDIA",
    "MISSING_NUMBERS",
    "PRESENT",
    "SEGMENT_ROLES",
    "BlockStore",
    "CurvePreview",
    "EncodedTable",
    "EpochSampler",
    "Findings",
    "ImagePreview",
    "IndexArray",
    "JoinedColumns",
    "LabelArray",
    "LabelKind",
    "LengthSampler",
    "Loader",
    "Preview",
    "Processor",
    "Rows",
    "Sample",
    "Sampler",
    "Segment",
    "SourceColumns",
    "Store",
    "TableFormat",
    "TextPreview",
    "array_of",
    "arrow_column",
    "arrow_table",
    "as_number",
    "available_splits",
    "cache_in",
    "cache_root",
    "categorical_columns",
    "check_media_file",
    "content_fingerprint",
    "decimal_of",
    "decisive_roles",
    "describe_columns",
    "encode_list",
    "envelope",
    "feature_fits",
    "feature_name",
    "fill_absent",
    "filled",
    "hashes_of",
    "hold_out",
    "is_blank",
    "is_frame",
    "is_pil",
    "join_parts",
    "listed_names",
    "load_source",
    "looks_like_paths",
    "medium_of",
    "only_part",
    "part_names",
    "part_of",
    "pixels_of",
    "prepare",
    "presence",
    "processor_digest",
    "read_sample",
    "reading_state",
    "real_path",
    "roles_of",
    "row_hashes",
    "segment_columns",
    "segment_of",
    "shortened",
    "split_role",
    "spread_rows",
    "stack_samples",
    "strata",
    "table_of_rows",
    "table_suffixes",
    "text_of_row",
    "thumbnail",
    "write_state",
]
