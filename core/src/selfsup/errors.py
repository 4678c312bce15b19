"""Every exception that selfsup raises on purpose.

::

    SelfsupError
    ├── UsageError                the call itself is wrong (exit status 2 on the command line)
    │   ├── UnknownIdError        no task, backbone, evaluator, ... of that name
    │   ├── MissingPluginError    the name belongs to a modality that is not installed
    │   └── ConfigError           a config key or value that is not allowed
    ├── SpecError                 a spec is malformed
    ├── PluginError               a plugin cannot be used
    │   ├── PluginVersionError    it was made for another hook API or another selfsup
    │   └── DuplicateIdError      two plugins claim one id
    ├── DataError                 the data cannot be used
    │   ├── SourceError           nothing usable at that source
    │   ├── ColumnError           a column is missing or has the wrong type
    │   ├── BadRowError           one row cannot be processed; skipped and counted
    │   └── TooManyBadRowsError   more rows were bad than ``max_bad_rows`` allows
    ├── RunError                  a run cannot start or continue
    │   ├── RunDirectoryError     the output folder holds something else
    │   ├── InUseError            another process writes into that folder
    │   ├── CheckpointError       a checkpoint is damaged or of another run
    │   ├── NonFiniteLossError    the loss became NaN or infinite
    │   └── StorageError          the disk is full or cannot be written
    ├── ArtifactError             an encoder cannot be saved or loaded
    └── BenchmarkError            a suite or cell cannot be run
"""

from __future__ import annotations

import re

__all__ = [
    "ArtifactError",
    "BadRowError",
    "BenchmarkError",
    "CheckpointError",
    "ColumnError",
    "ConfigError",
    "DataError",
    "DataWarning",
    "DuplicateIdError",
    "InUseError",
    "LeftOutOptionsWarning",
    "MissingPluginError",
    "NonFiniteLossError",
    "PluginError",
    "PluginVersionError",
    "PretrainedRowsWarning",
    "RunDirectoryError",
    "RunError",
    "SelfsupError",
    "SourceError",
    "SpecError",
    "StorageError",
    "TooManyBadRowsError",
    "UnfinishedRunWarning",
    "UnknownIdError",
    "UsageError",
]


_NOT_PRINTABLE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
"""Characters that a terminal obeys instead of showing them, or that cannot be encoded: all controls except line break and tab,
marks of the direction of writing, halves of surrogate pairs."""


def printable(text: str) -> str:
    """A message with escapes (``\\x1b``) in the place of characters that would act on the terminal: names and values in it may
    come from files of strangers."""
    return _NOT_PRINTABLE.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


def one_line(text: str) -> str:
    """A name for a message: as :func:`printable`, with escapes for line breaks, too."""
    return printable(text).replace("\n", "\\n").replace("\t", "\\t")


class SelfsupError(Exception):
    """Base of all errors of selfsup. The message says what is wrong, why, and what to do."""

    exit_status = 1
    """What the command line exits with when this error ends it."""

    def __str__(self) -> str:
        """The message, without characters that a terminal would obey."""
        return printable(super().__str__())


class UsageError(SelfsupError):
    """The call itself is wrong; nothing was started."""

    exit_status = 2


class UnknownIdError(UsageError):
    """No registered object has this id; the message names what is close."""


class MissingPluginError(UsageError):
    """The id belongs to a modality whose plugin is not installed; the message names the command."""


class ConfigError(UsageError):
    """A config key is unknown or its value is not allowed."""


class SpecError(SelfsupError):
    """A spec is malformed: a bad id, an empty summary, a target that is not ``module:attribute``."""


class PluginError(SelfsupError):
    """A plugin cannot be used."""


class PluginVersionError(PluginError):
    """A plugin needs another version of the hook API or of selfsup."""


class DuplicateIdError(PluginError):
    """Two plugins claim one id; the message names both."""


class DataError(SelfsupError):
    """The data cannot be used."""


class SourceError(DataError):
    """A source does not exist or holds nothing usable."""


class ColumnError(DataError):
    """A column is missing, ambiguous, or has the wrong type."""


class BadRowError(DataError):
    """One row cannot be processed. It is counted and skipped within ``max_bad_rows``."""


class TooManyBadRowsError(DataError):
    """More rows were bad than ``max_bad_rows`` allows."""


class RunError(SelfsupError):
    """A run cannot start or continue."""


class RunDirectoryError(RunError):
    """The output folder holds another run or something else."""


class InUseError(RunError):
    """Another process is writing to the same folder; the message says which."""


class CheckpointError(RunError):
    """A checkpoint is damaged, or belongs to another task or config."""


class NonFiniteLossError(RunError):
    """The loss became NaN or infinite; the last good checkpoint is kept."""


class StorageError(RunError):
    """The disk is full, or a file cannot be written."""


class ArtifactError(SelfsupError):
    """An encoder cannot be saved or loaded."""


class BenchmarkError(SelfsupError):
    """A benchmark suite or one of its cells cannot be run."""


class DataWarning(UserWarning):
    """Rows can be used, but not as they are: values were clipped, parts left out. The message counts them."""


class PretrainedRowsWarning(UserWarning):
    """An evaluation tests on rows that the encoder was trained on; its record has the share (``pretrained_share``)."""


class UnfinishedRunWarning(UserWarning):
    """The encoder is from an unfinished run; the message tells its step."""


class LeftOutOptionsWarning(UserWarning):
    """Options in a config of another task or backbone were ignored."""


def error_named(name: str, message: str) -> SelfsupError | None:
    """An error of the class of this module with a name, as another process raised it; None: there is no such class."""
    kind = globals().get(name)
    return kind(message) if isinstance(kind, type) and issubclass(kind, SelfsupError) else None
