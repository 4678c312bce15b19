"""Choose the columns of each part: by the user's names, then by column names, then by type and content."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

from selfsup.data import (
    MARK,
    MEDIA,
    SEGMENT_ROLES,
    JoinedColumns,
    SourceColumns,
    describe_columns,
    feature_fits,
    feature_name,
    segment_columns,
    split_role,
)
from selfsup.errors import ColumnError, ConfigError
from selfsup.registry import KNOWN_MODALITIES, registry
from selfsup.runtime import Findings, listed_names
from selfsup_multimodal.columns.contents import MODALITY_OF, ColumnContents
from selfsup_multimodal.columns.names import Part, describes, is_usual, own_names, parse_parts, written


def choose(source: SourceColumns, wanted: Sequence[str], remembered: Mapping[str, str] | None = None) -> JoinedColumns:
    """Choose a column for each role of each part.

    The first rule that finds a column decides: the user names it; the encoder was trained on it; it has the role's name; it has
    a usual name of such columns (``caption``); it is the only one whose type and content fit.

    Args:
        source: the columns.
        wanted: the parts, ``name`` or ``name:modality``; empty: all that are found.
        remembered: ``<part>/<role>`` to column, of a fitted processor.

    Raises:
        ColumnError: a part has no column or several equally good ones, or there are fewer than two parts.
        MissingPluginError: the modality of a part is not installed.
    """
    return _Choice(source, parse_parts(wanted), dict(remembered or {})).result()


class _Choice:
    def __init__(self, source: SourceColumns, wanted: dict[str, Part], remembered: dict[str, str]) -> None:
        self.source, self.wanted, self.remembered = source, wanted, remembered
        self.contents = ColumnContents(source)
        self.features = self.contents.features
        if wanted and len(wanted) < 2:
            raise ConfigError(
                f"parts={written(list(wanted.values()))} names one part, but rows join several: name at least two."
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
        rules: tuple[Callable[[Part, str, str], list[str]], ...] = (
            self._as_given, self._as_before, self._by_own_name, self._by_usual_name, self._by_content,
        )  # fmt: skip
        roles = [(part, role, kind) for part in self.parts.values() for role, kind in part.kinds.items()]
        for rule in rules:
            for part, role, kind in roles:
                key = f"{part.name}{MARK}{role}"
                if key in self.columns or key in self.equal:
                    continue
                found = rule(part, role, kind)
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
        """The columns that the user names, by ``<part>/<role>``."""
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
        """The part of a role that the user gives without a part."""
        owners = [part.name for part in parts.values() if role in part.modality.columns]
        if not owners:
            owners = [part.name for part in parts.values() if not part.modality.columns]
        if len(owners) == 1:
            return owners[0]
        if owners:
            choices = " or ".join(f"--column {name}{MARK}{role}=NAME" for name in owners)
            raise ColumnError(f"Several parts have the role {role!r}: use {choices}.")
        if not self.wanted and role in MODALITY_OF:
            registry().get("modality", MODALITY_OF[role])  # says how to install it
        roles = dict.fromkeys(role for part in parts.values() for role in part.modality.columns)
        raise ColumnError(f"There is no role {role!r}; the roles are {', '.join(roles)}.")

    def _free(self) -> Iterable[str]:
        taken = {*self.columns.values(), *self.given.values()}
        return (column for column in self.features if column not in taken)

    def _as_given(self, part: Part, role: str, kind: str) -> list[str]:
        column = self.given.get(f"{part.name}{MARK}{role}")
        if not column:
            return []
        if not self.contents.fits(column, kind):
            have = feature_name(self.source.features[column])
            empty = "" if self.contents.sample(column) else " It is empty in the sampled rows: fill it, or name another one."
            raise ColumnError(
                f"Column {column!r} of {self.source.name} is {have}, but {part.name}{MARK}{role} needs {kind}.{empty}"
            )
        return [column]

    def _as_before(self, part: Part, role: str, kind: str) -> list[str]:
        column = self.remembered.get(f"{part.name}{MARK}{role}", "")
        return [column] if column in self.features and self.contents.fits(column, kind) else []

    def _by_own_name(self, part: Part, role: str, kind: str) -> list[str]:
        alone = sum(other.modality.id == part.modality.id for other in self.parts.values()) == 1
        free = set(self._free())
        return [name for name in own_names(part, role, alone=alone) if name in free and self.contents.suits(name, kind)][:1]

    def _by_usual_name(self, part: Part, role: str, kind: str) -> list[str]:
        if sum(other.modality.id == part.modality.id for other in self.parts.values()) > 1:
            return []
        return [name for name in self._free() if is_usual(name, role) and self.contents.suits(name, kind)]

    def _by_content(self, part: Part, role: str, kind: str) -> list[str]:
        asked = bool(self.wanted) or part.name in self.asked
        if kind in MEDIA:
            suffixes = (*part.modality.suffixes, *part.modality.frame_suffixes)
            found = self.contents.files(self._free(), kind)
            return found or (self.contents.shared_files(suffixes) if self.wanted and suffixes else [])
        if kind == "string":
            found = self.contents.texts(self._free()) if asked or describes(role) else []
            return found if len(found) == 1 or asked else []
        return [name for name in self._free() if feature_fits(self.features[name], kind)] if asked else []

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
            ColumnError: a wanted part lacks a column, or there are fewer than two parts.
            MissingPluginError: a column needs a modality that is not installed.
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
                    f"{self.source.name} has no column for the {role!r} of {part.name}. Its columns are {columns}. To use "
                    f"one of them: --column {part.name}{MARK}{role}=NAME."
                )
        order = {name: place for place, name in enumerate(self.features)}
        if not self.wanted:
            found.sort(key=lambda part: min((order[self.columns[key]] for key in self._keys(part)), default=len(order)))
        if len(found) < (1 if self.remembered else 2):
            for column in self._free():
                if missing_modality := self.contents.missing_modality(column):
                    registry().get("modality", missing_modality)  # raises and says how to install it
            describing = [role for part in self.parts.values() for role, kind in part.kinds.items() if kind == "string"]
            texts = self.contents.texts(self._free()) if any(map(describes, describing)) else []
            if found and len(texts) > 1:
                raise ColumnError(
                    f"{self.source.name} has several columns of texts ({', '.join(texts)}), and no name shows which one goes "
                    f"with {found[0].name}. Choose one with --column text=NAME. Its columns are {columns}."
                )
            held = " and ".join(f"{part.name} ({self.columns[self._keys(part)[0]]!r})" for part in found) or "none"
            empty = [column for column in self._free() if not self.contents.sample(column)]
            without = f" {listed_names(empty)} is empty in the sampled rows." if empty else ""
            raise ColumnError(
                f"{self.source.name} has columns for fewer than two parts; found: {held}. Its columns are {columns}.{without} "
                "Name others with --column ROLE=NAME (text=title), or name the parts with --set parts=[vision,tabular], where "
                "tabular takes the remaining columns."
            )
        return found

    def _keys(self, part: Part) -> list[str]:
        return [key for key in self.columns if key.startswith(part.name + MARK)]

    def _add_tables(self, parts: Sequence[Part]) -> None:
        """Give the remaining plain columns (numbers, texts, booleans, dates) to parts that take any column."""
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
            left = {key: name for key, name in left.items() if not self.contents.medium(name)}
            self.columns |= chosen or before or left
            if not (chosen or before or left):
                raise ColumnError(f"{self.source.name} has no column left for {part.name}: other parts use all of them.")

    def _add_segments(self, parts: Sequence[Part]) -> None:
        """Add the columns of start and end times to parts whose rows are segments of a file."""
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
            lists = {column: ", several per row" if self.contents.lists_texts(column) else "" for column in columns.values()}
            each = [f"{role} is column {column!r}{lists[column]}" for role, column in columns.items()]
            shown.append(f"{part.name} ({', '.join(each)})")
        found.add("parts", f"{'; '.join(shown)} (--column ROLE=NAME, --set parts={written(parts)})")
        idle = [name for name in self.features if name not in self.columns.values()]
        if idle:
            found.add("columns", f"not used: {listed_names(idle)}")
        for name in self.absent:
            role = next(role for role in self.parts[name].kinds if f"{name}{MARK}{role}" not in self.columns)
            hint = f" To use one of {listed_names(idle)}: --column {name}{MARK}{role}=NAME." if idle else ""
            found.warn(f"{self.source.name} has no column for {name}, so every row lacks that part.{hint}")
        for name in idle:
            if missing := self.contents.missing_modality(name):
                found.warn(
                    f"Column {name!r} is not used, because its modality {missing} is not installed: "
                    f"pip install {KNOWN_MODALITIES[missing]}"
                )
        return found
