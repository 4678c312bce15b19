"""The processor of joined rows: one processor per part, and which parts a row has."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import torch

from selfsup.config import Config, check_effect, validated
from selfsup.data import (
    MARK,
    PRESENT,
    Findings,
    JoinedColumns,
    Preview,
    Processor,
    Rows,
    Sample,
    SourceColumns,
    join_parts,
    part_of,
    reading_state,
    roles_of,
    stack_samples,
    write_state,
)
from selfsup.errors import BadRowError, ConfigError
from selfsup.registry import registry
from selfsup.types import Batch, Info, Row
from selfsup_multimodal.absent_parts import Blank, blanks_of
from selfsup_multimodal.columns import choose, parse_parts
from selfsup_multimodal.config import MultimodalProcessorConfig
from selfsup_multimodal.fitted_part import FittedPart
from selfsup_multimodal.part_findings import Lacking, described
from selfsup_multimodal.part_rows import lists_several, modalities_of, naming, own_rows, probed_samples, rows_of_part
from selfsup_multimodal.several_samples import Samples

_FILE, _FOLDER = "multimodal_processor.json", "parts"


class MultimodalProcessor(Processor):
    """One processor per part, each of the part's own modality and fitted on the rows that have the part.

    A batch holds ``<part>/<key>`` for the keys of each part's own batches, ``<part>/present`` ([B] bool) and
    ``<part>/content`` ([B] int64, equal for equal contents, -1 if the row lacks the part). A missing part is filled with zeros,
    which carry no meaning. A row without any part is bad, and so is one with an unreadable file.

    A part of texts may list several of them per row: training draws one at each step, evaluation uses the first.
    """

    modality: ClassVar[str] = "multimodal"
    part_options: ClassVar[str] = "options"
    Config: ClassVar[type[Config]] = MultimodalProcessorConfig
    config: MultimodalProcessorConfig
    adjustable: ClassVar[frozenset[str]] = frozenset({"captions", "folder"})

    def __init__(self, config: MultimodalProcessorConfig | None = None) -> None:
        super().__init__(config or MultimodalProcessorConfig())
        parse_parts(self.config.parts)
        self._fitted: dict[str, FittedPart] = {}
        self._taken: dict[str, Processor] = {}
        self._columns: dict[str, str] = {}
        self._lacking: dict[str, Lacking] = {}

    @property
    def parts(self) -> Mapping[str, Processor]:
        """The fitted processor of each part, by name; empty before :meth:`fit`."""
        return {name: part.processor for name, part in self._fitted.items()}

    @classmethod
    def choose_columns(cls, source: SourceColumns, options: Mapping[str, Any]) -> JoinedColumns:
        """Choose by the user's names, then by column names, then by type and content (:mod:`selfsup_multimodal.columns`).

        Raises:
            ColumnError: a part has no column, or several equally good ones.
            MissingPluginError: a part is of a modality whose plugin is not installed.
        """
        given = {key: value for key, value in options.items() if key in cls.Config.model_fields}
        config = validated(MultimodalProcessorConfig, given, what="the processor's options")
        return choose(source, config.parts, options.get("columns"))

    def source_options(self) -> dict[str, Any]:
        """The parts and their columns."""
        known = {"known_folder": self.config.folder} if self.config.folder else {}
        return {"parts": list(self.config.parts), "columns": dict(self._columns), **known}

    @classmethod
    def part_modality(cls, part: str, options: Mapping[str, Any]) -> str:
        """The modality that ``parts`` gives the part, else the modality of the part's name.

        Raises:
            ConfigError: there is no part of that name.
        """
        named = parse_parts(options.get("parts") or ())
        if part in named or (not named and part in registry().modalities):
            return named[part].modality.id if part in named else part
        known = ", ".join(named) or "named by the ids of their modalities"
        raise ConfigError(f"there is no part {part!r}; the parts are {known} (--set parts=[NAME:MODALITY,...]).")

    def take(self, part: str, processor: Processor) -> Self:
        """Use a fitted processor of the part's modality (an encoder's) for a part; :meth:`fit` leaves it as it is."""
        self._taken[part] = processor.unpacked()
        return self

    def fit(self, rows: Iterable[Row]) -> Self:
        """Fit the processor of each part on the rows that have it.

        Raises:
            ConfigError: ``options`` names an unknown part or an unknown option.
            DataError: a part cannot be fitted on any row.
            MissingPluginError: a part is of a modality whose plugin is not installed.
        """
        if not isinstance(rows, Rows):
            rows = list(rows)
        modalities = modalities_of(rows, self.config.parts)
        self._check_names(modalities)
        fitted, lacking = {}, {}
        for name, id in modalities.items():
            own, count = rows_of_part(rows, name, self.config.captions)
            processor = self._taken.get(name) or naming(name, self._unfitted(name, id).fit, own)
            if processor.modality != id:
                raise ConfigError(f"The part {name!r} is of {id}, and its processor of {processor.modality}.")
            blanks = blanks_of(probed_samples(name, processor, own), processor.windowed())
            fitted[name] = FittedPart(name, processor, blanks, lists_several(rows, name))
            lacking[name] = Lacking.of(own, total=len(rows), there=count)
        self.config = self.config.model_copy(
            update={"parts": tuple(name if name == id else f"{name}:{id}" for name, id in modalities.items())}
        )
        self._columns, self._lacking = dict(rows.columns) if isinstance(rows, Rows) else {}, lacking
        return self._use(fitted)

    def _use(self, fitted: dict[str, FittedPart]) -> Self:
        self._fitted = fitted
        free = {f"{name}{MARK}{key}": axes for name, part in self.parts.items() for key, axes in part.free_axes.items()}
        # Class attributes of other processors; here they follow from the parts.
        self.__dict__.update(free_axes=free, batch_size=min(part.batch_size for part in self.parts.values()))
        self.__dict__.pop("_windowed", None)
        return self

    def _check_names(self, modalities: Mapping[str, str]) -> None:
        for what, names in (("options", self.config.options), ("init", self._taken)):
            unknown = [name for name in names if name not in modalities]
            if unknown:
                raise ConfigError(f"{what}: there is no part {unknown[0]!r}; the parts are {', '.join(modalities)}.")

    def _unfitted(self, name: str, id: str) -> Processor:
        kind = registry().processor_class(id)
        given = self.config.options.get(name, {})
        config = validated(kind.Config, given, what=f"the options of the part {name!r} (processor.options.{name})")
        check_effect(config, given, prefix=f"processor.options.{name}.")
        processor = kind(config)
        if processor.block_length:
            raise ConfigError(
                f"processor.options.{name} joins rows into blocks of {processor.block_length} steps, but these rows have other "
                "parts and cannot be joined: leave that option out."
            )
        return processor

    def info(self) -> Info:
        """``parts``: name to ``modality`` and the part's own ``info``."""
        return {"parts": {name: {"modality": part.modality, "info": part.info()} for name, part in self.parts.items()}}

    def findings(self) -> Findings:
        """What each part's processor found, how many rows lack the part, and which parts are constant."""
        several = {name for name, part in self._fitted.items() if part.several}
        return described(self.parts, self._lacking, several=several, captions=self.config.captions)

    def column_kinds(self) -> dict[str, str]:
        """The kinds of columns of the parts that decide them (tables)."""
        return {f"{name}{MARK}{role}": kind for name, part in self.parts.items() for role, kind in part.column_kinds().items()}

    def example_rows(self) -> Sequence[Row]:
        """Example rows of the parts that have some, joined with mock rows of the other parts; empty if no part has any."""
        own = {name: part.example_rows() for name, part in self.parts.items()}
        if not any(own.values()):
            return []
        joined: list[Row] = [{}, {}, {}, {}]
        for name, part in self.parts.items():
            rows = own[name] or registry().modality_objects(part.modality).mock_rows(len(joined), 0)
            for place, row in enumerate(joined):
                row |= {f"{name}{MARK}{role}": value for role, value in rows[place % len(rows)].items()}
        return joined

    @cached_property
    def _windowed(self) -> dict[str, Processor]:
        return {f"{name}{MARK}{key}": own for name, part in self.parts.items() for key, own in part.windowed().items()}

    def windowed(self) -> Mapping[str, Processor]:
        """The windows of all parts."""
        return self._windowed

    def takes_whole(self) -> Mapping[str, Processor]:
        """The keys of the parts whose :meth:`collate_whole` needs whole samples."""
        return {f"{name}{MARK}{key}": own for name, part in self.parts.items() for key, own in part.takes_whole().items()}

    def encode(self, row: Row) -> Sample:
        """Encode one row to the samples of its parts; missing parts are blank."""
        (result,) = self.encode_rows([row])
        if isinstance(result, BadRowError):
            raise result
        return result

    def encode_rows(self, rows: Sequence[Row]) -> list[Sample | BadRowError]:
        """Encode many rows, one part at a time."""
        samples: list[Sample] = [{} for _ in rows]
        bad: dict[int, BadRowError] = {}
        lacking = np.ones(len(rows), dtype=bool)
        for name, part in self._fitted.items():
            for place, found in enumerate(part.encode(rows, self.config.captions, self.remark)):
                if isinstance(found, BadRowError):
                    bad.setdefault(place, found)
                    lacking[place] = False
                    continue
                lacking[place] &= not found[PRESENT]
                samples[place] |= {f"{name}{MARK}{key}": value for key, value in found.items()}
        for place in np.flatnonzero(lacking).tolist():
            bad[place] = BadRowError(f"it has none of its parts ({', '.join(self.parts)})")
        return [bad.get(place, sample) for place, sample in enumerate(samples)]

    def preview(self, row: Row) -> Sequence[Preview]:
        """The previews of each part; of several texts the first."""
        return [preview for name, part in self.parts.items() for own in own_rows(row, name, 1) for preview in part.preview(own)]

    def take_remarks(self) -> dict[str, int]:
        """The remarks of all parts, with the part's name."""
        own = {f"{name}: {text}": n for name, part in self.parts.items() for text, n in part.take_remarks().items()}
        return {**super().take_remarks(), **own}

    def training_samples(self, samples: Samples, generator: torch.Generator) -> Samples:
        """Draw one of several texts per row, anew at each step."""
        found: dict[str, Any] = {}
        for name, part in self._fitted.items():
            found |= {f"{name}{MARK}{key}": value for key, value in part.drawn(roles_of(samples, name), generator).items()}
        return found

    def collate(self, samples: Samples) -> Batch:
        """Join the batches of all parts, with the rows that have each part."""
        return join_parts({name: part.collate(roles_of(samples, name), whole=False) for name, part in self._fitted.items()})

    def collate_whole(self, samples: Samples) -> Batch:
        """Join the batches of whole samples of all parts."""
        return join_parts({name: part.collate(roles_of(samples, name), whole=True) for name, part in self._fitted.items()})

    def training_batch(self, batch: Batch, generator: torch.Generator) -> Batch:
        """Apply each part's own ``training_batch``."""
        changed = dict(batch)
        for name, part in self.parts.items():
            own = part.training_batch(part_of(batch, name), generator)
            changed |= {f"{name}{MARK}{key}": value for key, value in own.items()}
        return changed

    def __call__(self, rows: Sequence[Row]) -> Batch:
        """Process rows into a batch; the first bad row raises."""
        samples: list[Sample] = []
        for place, item in enumerate(self.encode_rows(rows)):
            if isinstance(item, BadRowError):
                raise BadRowError(f"row {place}: {item}")
            samples.append(item)
        return self.collate(stack_samples(samples))

    def save(self, directory: Path) -> None:
        """Write the config and the fitted state as JSON, and each part's processor into its own folder."""
        directory = Path(directory)
        for name, part in self.parts.items():
            folder = directory / _FOLDER / name
            folder.mkdir(parents=True, exist_ok=True)
            part.save(folder)
        write_state(
            directory / _FILE,
            self.config,
            modalities={name: part.modality for name, part in self.parts.items()},
            columns=self._columns,
            several=sorted(name for name, part in self._fitted.items() if part.several),
            blanks={name: {key: blank.as_json() for key, blank in part.blanks.items()} for name, part in self._fitted.items()},
        )

    @classmethod
    def load(cls, directory: Path) -> Self:
        """Read what :meth:`save` wrote.

        Raises:
            ArtifactError: a file is missing or damaged.
            MissingPluginError: a part is of a modality whose plugin is not installed.
        """
        directory = Path(directory)
        with reading_state(directory / _FILE, "multimodal", MultimodalProcessorConfig) as (config, state):
            processor = cls(config)
            modalities, several = dict(state["modalities"]), set(state["several"])
            processor._columns = dict(state["columns"])
            blanks = {
                name: {key: Blank.of_json(value) for key, value in keys.items()} for name, keys in state["blanks"].items()
            }
            if set(blanks) != set(modalities):
                raise ValueError("blanks and modalities name different parts")
        parts = {name: registry().processor_class(id).load(directory / _FOLDER / name) for name, id in modalities.items()}
        return processor._use({name: FittedPart(name, part, blanks[name], name in several) for name, part in parts.items()})
