"""The command line: one file per command, imported when it is called, and shared options and output."""

from __future__ import annotations

from typing import TYPE_CHECKING

from selfsup.public_names import lazy_names

if TYPE_CHECKING:
    from selfsup.cli.data_options import column_option, label_kind_option, table_options, unlabelled_option
    from selfsup.cli.output import emit, json_option, result_console
else:
    __getattr__ = lazy_names(
        __name__,
        {
            "selfsup.cli.data_options": ["column_option", "label_kind_option", "table_options", "unlabelled_option"],
            "selfsup.cli.output": ["emit", "json_option", "result_console"],
        },
    )

__all__ = [
    "column_option",
    "emit",
    "json_option",
    "label_kind_option",
    "result_console",
    "table_options",
    "unlabelled_option",
]
