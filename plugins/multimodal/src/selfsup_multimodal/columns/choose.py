"""Finds the columns of each part: those that the user names, then by name, then by type and content."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from selfsup.data import (
    MARK,
    MEDIA,
    SEGMENT_ROLES,
    JoinedColumns,
    SourceColumns,
    describe_columns,
    feature_fits,
    feature_name,
    looks_like_paths,
    medium_of,
    segment_columns,
    split_role,
)
from selfsup.errors import ColumnError, ConfigError
from selfsup.registry import KNOWN_MODALITIES, registry
from selfsup.runtime import Findings, listed_names
from selfsup_multimodal.columns.names import IDENTIFIERS, Part, describes, is_usual, own_names, parse_parts, written

_MODALITY_OF = {"image": "vision", "audio": "audio", "video": "video", "text": "text"}
"""Role to the modality of it that is known without being installed; those of files are called as their kind."""


def choose(source: SourceColumns, wanted: Sequence[str], remembered: Mapping[str, str] | None = None) -> JoinedColumns:
    """Which columns are which part.

    A role takes the column that the user names; else the one that an encoder learned from, if the source has it; else the one
    of its own name; else one of a name that such columns usually have (``caption``); else the only one that fits by type and
    content.

    Args:
        source: the columns.
        wanted: the parts, ``name`` or ``name:modality``; empty: all that are found.
        remembered: ``<part>/<role>`` to column, of a processor that was fitted before.

    Raises:
        ColumnError: a part has no column or several that are equally good, or there are fewer than two parts.
        MissingPluginError: a part is of a modality that is not installed.
    """
    return _Choice(source, parse_parts(wanted), dict(remembered or {})).result()


class _Choice:
    def __init__(self, source: SourceColumns, wanted: dict[str, Part], remembered: dict[str, str]) -> None:
        self.source, self.wanted, self.remembered = source, wanted, remembered
        self.features = {name: feature for name, feature in source.features.items() if name != source.label}
        self._samples: dict[str, list[Any]] = {}
        self._media: dict[str, str] = {}
        if wanted and len(wanted) < 2:
            raise ConfigError(
                f"parts={written(list(wanted.values()))} names one part, and rows of several are joined: name two."
            )
        self.given = self._by_part(source.given)
        asked = {split_role(role)[0] for role in self.given if split_role(role)[1] not in SEGMENT_ROLES}
        if wanted:
            self.parts = wanted
        else:
            fixed = [spec for spec in registry().modalities.values() if spec.columns and not spec.joins]
            self.parts = {spec.id: Part(spec.id, spec) for spec in fixed}
            self.parts |= {name: parse_parts([name])[name] for name in asked if name not in self.parts}
        self.asked = asked
        self.absent: list[str] = []
        self.columns: dict[str, str] = {}
        self.equal: dict[str, list[str]] = {}

    def result(self) -> JoinedColumns:
        """See :func:`choose`."""
        tiers: tuple[Callable[[Part, str, str], list[str]], ...] = (
            self._as_given, self._as_before, self._by_own_name, self._by_usual_name, self._by_content,
        )  # fmt: skip
        roles = [(part, role, kind) for part in self.parts.values() for role, kind in part.kinds.items()]
        for tier in tiers:
            for part, role, kind in roles:
                key = f"{part.name}{MARK}{role}"
                if key in self.columns or key in self.equal:
                    continue
                found = tier(part, role, kind)
                if len(found) == 1:
                    self.columns[key] = found[0]
                elif found:
                    self.equal[key] = found
        self._check_equal()
        parts = self._complete()
        self._add_tables(parts)
        self._add_segments(parts)
        return JoinedColumns(
            columns=self.columns,
            parts={part.name: part.modality.id for part in parts},
            media=frozenset(f"{part.name}{MARK}{role}" for part in parts for role, kind in part.kinds.items() if kind in MEDIA),
            findings=self._findings(parts),
        )

    def _by_part(self, given: Mapping[str, str]) -> dict[str, str]:
        """What the user gave, by ``<part>/<role>``."""
        found: dict[str, str] = {}
        specs = registry().modalities.values()
        known = self.wanted or {spec.id: Part(spec.id, spec) for spec in specs if spec.columns and not spec.joins}
        timed = [part.name for part in known.values() if part.modality.segments]
        for role, column in given.items():
            name, bare = split_role(role)
            if not name and bare in SEGMENT_ROLES and timed:
                found |= {f"{part}{MARK}{bare}": column for part in timed}
                continue
            if column and column not in self.source.features:
                raise ColumnError(
                    f"{self.source.name} has no column {column!r} (for {role!r}). Its columns are "
                    f"{describe_columns(self.source.features)}."
                )
            if not name:
                name = self._owner(bare, known)
            elif self.wanted and name not in self.wanted:
                raise ColumnError(
                    f"--column {role}={column}: there is no part {name!r}; the parts are {', '.join(self.wanted)}."
                )
            found[f"{name}{MARK}{bare}"] = column
        return found

    def _owner(self, role: str, parts: Mapping[str, Part]) -> str:
        """The part that a role without one belongs to."""
        owners = [part.name for part in parts.values() if role in part.modality.columns]
        if not owners:
            owners = [part.name for part in parts.values() if not part.modality.columns]
        if len(owners) == 1:
            return owners[0]
        if owners:
            choices = " or ".join(f"--column {name}{MARK}{role}=NAME" for name in owners)
            raise ColumnError(f"Several parts have the role {role!r}: say {choices}.")
        if not self.wanted and role in _MODALITY_OF:
            registry().get("modality", _MODALITY_OF[role])  # says how to install it
        roles = dict.fromkeys(role for part in parts.values() for role in part.modality.columns)
        raise ColumnError(f"There is no role {role!r} to put a column in; the roles are {', '.join(roles)}.")

    def _free(self) -> Iterable[str]:
        taken = {*self.columns.values(), *self.given.values()}
        return (column for column in self.features if column not in taken)

    def _sample(self, column: str) -> list[Any]:
        if column not in self._samples:
            self._samples[column] = self.source.sample(column)
        return self._samples[column]

    def _medium(self, column: str) -> str:
        if column not in self._media:
            feature = self.features[column]
            plain = feature_name(feature).lower() in MEDIA
            self._media[column] = medium_of(feature, () if plain else self._sample(column), registry().modalities.values())
        return self._media[column]

    def _fits(self, column: str, kind: str) -> bool:
        """Whether a column that is named for a role can play it."""
        feature = self.source.features[column]
        if feature_name(feature) == "null":  # every row lacks it
            return True
        if kind in MEDIA:
            return feature_fits(feature, kind) or feature_fits(feature, "string")
        return feature_fits(feature, kind) or (kind == "string" and _lists_texts(feature))

    def _as_given(self, part: Part, role: str, kind: str) -> list[str]:
        column = self.given.get(f"{part.name}{MARK}{role}")
        if not column:
            return []
        if not self._fits(column, kind):
            have = feature_name(self.source.features[column])
            empty = " It is empty in the rows that were looked at: fill it, or take another." * (not self._sample(column))
            raise ColumnError(
                f"Column {column!r} of {self.source.name} is {have}, but {part.name}{MARK}{role} needs {kind}.{empty}"
            )
        return [column]

    def _as_before(self, part: Part, role: str, kind: str) -> list[str]:
        column = self.remembered.get(f"{part.name}{MARK}{role}", "")
        return [column] if column in self.features and self._fits(column, kind) else []

    def _by_own_name(self, part: Part, role: str, kind: str) -> list[str]:
        alone = sum(other.modality.id == part.modality.id for other in self.parts.values()) == 1
        free = set(self._free())
        return [name for name in own_names(part, role, alone=alone) if name in free and self._suits(name, kind)][:1]

    def _by_usual_name(self, part: Part, role: str, kind: str) -> list[str]:
        if sum(other.modality.id == part.modality.id for other in self.parts.values()) > 1:
            return []
        return [name for name in self._free() if is_usual(name, role) and self._suits(name, kind)]

    def _suits(self, column: str, kind: str) -> bool:
        """Whether a column of a fitting name holds what it should: files of another kind, or of none, are not it."""
        if not self._fits(column, kind):
            return False
        if kind in MEDIA:
            text = feature_fits(self.features[column], "string")
            medium = self._medium(column)
            return medium == kind or (not medium and (not text or not self._sample(column)))
        return kind != "string" or _lists_texts(self.features[column]) or not looks_like_paths(self._sample(column))

    def _by_content(self, part: Part, role: str, kind: str) -> list[str]:
        if kind in MEDIA:
            return self._files(part, kind)
        asked = bool(self.wanted) or part.name in self.asked
        if kind == "string":
            found = self._texts(role, kind, asked=asked)
            return found if len(found) == 1 or asked else []
        return [name for name in self._free() if feature_fits(self.features[name], kind)] if asked else []

    def _texts(self, role: str, kind: str, *, asked: bool = False) -> list[str]:
        """Columns of texts that could be a role of texts."""
        if kind != "string" or not (asked or describes(role)):
            return []
        texts = [name for name in self._free() if feature_fits(self.features[name], "string")]
        return [name for name in texts if name.lower() not in IDENTIFIERS and not looks_like_paths(self._sample(name))]

    def _files(self, part: Part, kind: str) -> list[str]:
        """Columns that hold files of a kind; of the sound of videos only where it is asked for."""
        found = [name for name in self._free() if self._medium(name) == kind]
        suffixes = (*part.modality.suffixes, *part.modality.frame_suffixes)
        if not found and self.wanted and suffixes:
            shared = [name for name in self.features if self._medium(name) or feature_fits(self.features[name], "string")]
            found = [name for name in shared if looks_like_paths(_paths(self._sample(name)), suffixes)]
        return found

    def _check_equal(self) -> None:
        for key, columns in self.equal.items():
            name, role = split_role(key)
            spec = self.parts[name].modality
            both = f", or join them as parts of their own: --set parts=[one:{spec.id},two:{spec.id}]" * (not self.wanted)
            raise ColumnError(
                f"{self.source.name} has several columns that could be the {role!r} of {name} ({', '.join(columns)}). Choose "
                f"one with --column {key if self.wanted else role}=NAME{both}. Its columns are "
                f"{describe_columns(self.features)}."
            )

    def _complete(self) -> list[Part]:
        """The parts that have all of their columns.

        Raises:
            ColumnError: one that is wanted has not, or there are fewer than two.
            MissingPluginError: the second part would be of a modality that is not installed.
        """
        found, columns = [], describe_columns(self.features)
        for part in self.parts.values():
            missing = [role for role in part.kinds if f"{part.name}{MARK}{role}" not in self.columns]
            if not missing and (part.kinds or self.wanted or part.name in self.asked):
                found.append(part)
            elif self.remembered and part.name not in self.asked:
                self.absent.append(part.name)
            elif self.wanted or part.name in self.asked:
                role = missing[0]
                raise ColumnError(
                    f"{self.source.name} has no column for the {role!r} of {part.name}. Its columns are {columns}. If one of "
                    f"them is meant, say --column {part.name}{MARK}{role}=NAME."
                )
        order = {name: place for place, name in enumerate(self.features)}
        if not self.wanted:
            found.sort(key=lambda part: min((order[self.columns[key]] for key in self._keys(part)), default=len(order)))
        if len(found) < (1 if self.remembered else 2):
            for column in self._free():
                self._require(column)
            texts = [
                name for part in self.parts.values() for role, kind in part.kinds.items() for name in self._texts(role, kind)
            ]
            if found and len(texts) > 1:
                raise ColumnError(
                    f"{self.source.name} has several columns of texts ({', '.join(texts)}), and none has a name that says that "
                    f"it goes with {found[0].name}. Choose one with --column text=NAME. Its columns are {columns}."
                )
            held = " and ".join(f"{part.name} ({self.columns[self._keys(part)[0]]!r})" for part in found) or "none"
            empty = [column for column in self._free() if not self._sample(column)]
            without = f" Nothing stands in {listed_names(empty)} in the rows that were looked at." if empty else ""
            raise ColumnError(
                f"{self.source.name} holds columns of fewer than two parts; found: {held}. Its columns are {columns}.{without} "
                "Name others with --column ROLE=NAME (text=title), or say which parts are meant with --set "
                "parts=[vision,tabular], where tabular takes the columns that are left."
            )
        return found

    def _keys(self, part: Part) -> list[str]:
        return [key for key in self.columns if key.startswith(part.name + MARK)]

    def _missing(self, column: str) -> str:
        """The known modality that a column is of and that is not installed; empty if it is installed or unknown."""
        medium = self._medium(column)
        kinds = {kind.lower() for spec in registry().modalities.values() for kind in spec.columns.values()}
        return "" if not medium or medium in kinds else _MODALITY_OF[medium]

    def _require(self, column: str) -> None:
        """Nothing, unless a column is of a modality that is not installed.

        Raises:
            MissingPluginError: it is.
        """
        if missing := self._missing(column):
            registry().get("modality", missing)

    def _add_tables(self, parts: Sequence[Part]) -> None:
        """Give a part that takes every column those that are left: numbers, texts, truths and dates."""
        for part in parts:
            if part.kinds:
                continue
            start = part.name + MARK
            chosen = {key: column for key, column in self.given.items() if key.startswith(start) and column}
            before = {
                key: column for key, column in self.remembered.items() if key.startswith(start) and column in self.features
            }
            plain = ("Value", "ClassLabel")
            left = {f"{start}{name}": name for name in self._free() if type(self.features[name]).__name__ in plain}
            left = {key: name for key, name in left.items() if not self._medium(name)}
            self.columns |= chosen or before or left
            if not (chosen or before or left):
                raise ColumnError(f"{self.source.name} has no column left for {part.name}: all are taken by other parts.")

    def _add_segments(self, parts: Sequence[Part]) -> None:
        """Times that make a part of a file a row."""
        for part in parts:
            if not part.modality.segments:
                continue
            start = part.name + MARK
            given = {split_role(key)[1]: column for key, column in self.given.items() if split_role(key)[1] in SEGMENT_ROLES}
            taken = {key: column for key, column in self.columns.items() if split_role(key)[1] not in SEGMENT_ROLES}
            found = segment_columns(self.features, given, taken=taken, label=None, name=self.source.name)
            self.columns |= {start + role: column for role, column in found.items()}

    def _findings(self, parts: Sequence[Part]) -> Findings:
        found = Findings()
        shown = []
        for part in parts:
            columns = {split_role(key)[1]: self.columns[key] for key in self._keys(part)}
            if not part.kinds:
                shown.append(f"{part.name} ({listed_names(columns.values())})")
                continue
            each = [f"{role} is column {column!r}" + self._several(column) for role, column in columns.items()]
            shown.append(f"{part.name} ({', '.join(each)})")
        found.add("parts", f"{'; '.join(shown)} (--column ROLE=NAME, --set parts={written(parts)})")
        idle = [name for name in self.features if name not in self.columns.values()]
        if idle:
            found.add("columns", f"not used: {listed_names(idle)}")
        for name in self.absent:
            role = next(role for role in self.parts[name].kinds if f"{name}{MARK}{role}" not in self.columns)
            meant = f" If one of {listed_names(idle)} is meant, say --column {name}{MARK}{role}=NAME." if idle else ""
            found.warn(f"{self.source.name} has no column for {name}, so every row lacks that part.{meant}")
        for name in idle:
            if missing := self._missing(name):
                found.warn(
                    f"Column {name!r} is of the modality {missing}, which is not installed, and is not used: "
                    f"pip install {KNOWN_MODALITIES[missing]}"
                )
        return found

    def _several(self, column: str) -> str:
        return ", several a row" if _lists_texts(self.source.features[column]) else ""


def _lists_texts(feature: Any) -> bool:
    """Whether a column holds a list of texts a row."""
    item = feature[0] if isinstance(feature, list) and len(feature) == 1 else getattr(feature, "feature", None)
    return item is not None and feature_fits(item, "string")


def _paths(values: Sequence[Any]) -> list[str]:
    """The paths among values of a column of files."""
    return [value.get("path") or "" if isinstance(value, Mapping) else value for value in values if value]
