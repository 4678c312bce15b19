"""What the columns of a source hold: their types, a few values, and the kind of files that these name."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from selfsup.data import MEDIA, SourceColumns, feature_fits, feature_name, looks_like_paths, medium_of
from selfsup.registry import registry
from selfsup_multimodal.columns.names import IDENTIFIERS

MODALITY_OF = {"image": "vision", "audio": "audio", "video": "video", "text": "text"}
"""Role to a modality that is known even if it is not installed; kinds of files have the names of these roles."""


class ColumnContents:
    """The columns of a source without the label; values are read once and only if a question needs them.

    A kind is the feature type that a role needs, in lower case: ``image``, ``audio``, ``video``, ``string``, ``list``.
    """

    def __init__(self, source: SourceColumns) -> None:
        self.all = source.features
        self.features = {name: feature for name, feature in source.features.items() if name != source.label}
        self._read = source.sample
        self._samples: dict[str, list[Any]] = {}
        self._media: dict[str, str] = {}

    def sample(self, column: str) -> list[Any]:
        """A few values that are not missing."""
        if column not in self._samples:
            self._samples[column] = self._read(column)
        return self._samples[column]

    def medium(self, column: str) -> str:
        """The kind of files that a column holds or names; empty: none."""
        if column not in self._media:
            feature = self.features[column]
            plain = feature_name(feature).lower() in MEDIA
            self._media[column] = medium_of(feature, () if plain else self.sample(column), registry().modalities.values())
        return self._media[column]

    def missing_modality(self, column: str) -> str:
        """The modality that the files of a column need and that is not installed; empty: none."""
        medium = self.medium(column)
        kinds = {kind.lower() for spec in registry().modalities.values() for kind in spec.columns.values()}
        return "" if not medium or medium in kinds else MODALITY_OF[medium]

    def fits(self, column: str, kind: str) -> bool:
        """Whether the type of a column allows a role of this kind."""
        feature = self.all[column]
        if feature_name(feature) == "null":  # missing in every row
            return True
        if kind in MEDIA:
            return feature_fits(feature, kind) or feature_fits(feature, "string")
        return feature_fits(feature, kind) or (kind == "string" and self.lists_texts(column))

    def suits(self, column: str, kind: str) -> bool:
        """Whether type and values fit: a column whose name fits may hold files of another kind, or none."""
        if not self.fits(column, kind):
            return False
        if kind in MEDIA:
            medium = self.medium(column)
            return medium == kind or (not medium and not (self._is_string(column) and self.sample(column)))
        return kind != "string" or self.lists_texts(column) or not looks_like_paths(self.sample(column))

    def texts(self, columns: Iterable[str]) -> list[str]:
        """Those of the columns that hold texts: strings that are neither paths nor ids."""
        strings = [name for name in columns if self._is_string(name)]
        return [name for name in strings if name.lower() not in IDENTIFIERS and not looks_like_paths(self.sample(name))]

    def files(self, columns: Iterable[str], kind: str) -> list[str]:
        """Those of the columns that hold files of a kind."""
        return [name for name in columns if self.medium(name) == kind]

    def shared_files(self, suffixes: tuple[str, ...]) -> list[str]:
        """All columns whose files have one of the suffixes, whatever their kind (the sound of videos)."""
        holding = [name for name in self.features if self.medium(name) or self._is_string(name)]
        return [name for name in holding if looks_like_paths(_paths(self.sample(name)), suffixes)]

    def lists_texts(self, column: str) -> bool:
        """Whether each row of a column holds a list of texts."""
        feature = self.all[column]
        item = feature[0] if isinstance(feature, list) and len(feature) == 1 else getattr(feature, "feature", None)
        return item is not None and feature_fits(item, "string")

    def _is_string(self, column: str) -> bool:
        return feature_fits(self.features[column], "string")


def _paths(values: Sequence[Any]) -> list[str]:
    return [value.get("path") or "" if isinstance(value, Mapping) else value for value in values if value]
