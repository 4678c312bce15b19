"""The processor of rows that join parts: one processor a part, and which parts a row has."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import torch
from torch import Tensor

from selfsup.config import Config, check_effect, validated
from selfsup.data import (
    CONTENT,
    MARK,
    PRESENT,
    Findings,
    JoinedColumns,
    Preview,
    Processor,
    Rows,
    Sample,
    SourceColumns,
    encode_list,
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
from selfsup_multimodal.part_findings import Lacking, described
from selfsup_multimodal.part_rows import (
    LACKING,
    contents_of,
    lists_several,
    modalities_of,
    naming,
    own_rows,
    probed_samples,
    rows_of_part,
)
from selfsup_multimodal.several_samples import Samples, counts_of, is_packed, pack, unpack

_FILE = "multimodal_processor.json"
_FOLDER = "parts"


class MultimodalProcessor(Processor):
    """One processor a part, each of the part's own modality and fitted on the rows that have it.

    A batch holds ``<part>/<key>`` for the keys of each part's own batches, ``<part>/present`` ([B] bool) and
    ``<part>/content`` ([B] int64, equal for equal contents, -1 where a row lacks the part). Where a row lacks a part, zeros
    stand in its place and mean nothing. A row that lacks every part is a bad one, as is one that names a file which cannot
    be read.

    A part of texts may list several of them a row: training draws one at each step, evaluation takes the first.
    """

    modality: ClassVar[str] = "multimodal"
    part_options: ClassVar[str] = "options"
    Config: ClassVar[type[Config]] = MultimodalProcessorConfig
    config: MultimodalProcessorConfig
    adjustable: ClassVar[frozenset[str]] = frozenset({"captions", "folder"})

    def __init__(self, config: MultimodalProcessorConfig | None = None) -> None:
        super().__init__(config or MultimodalProcessorConfig())
        parse_parts(self.config.parts)
        self._parts: dict[str, Processor] = {}
        self._taken: dict[str, Processor] = {}
        self._columns: dict[str, str] = {}
        self._blanks: dict[str, dict[str, Blank]] = {}
        self._several: frozenset[str] = frozenset()
        self._lacking: dict[str, Lacking] = {}

    @property
    def parts(self) -> Mapping[str, Processor]:
        """Name of each part to its fitted processor; empty before :meth:`fit`."""
        return self._parts

    @classmethod
    def choose_columns(cls, source: SourceColumns, options: Mapping[str, Any]) -> JoinedColumns:
        """By what the user names, then by the names of columns, then by type and content (:mod:`selfsup_multimodal.columns`).

        Raises:
            ColumnError: a part has no column, or several that are equally good.
            MissingPluginError: a part is of a modality whose plugin is not installed.
        """
        given = {key: value for key, value in options.items() if key in cls.Config.model_fields}
        config = validated(MultimodalProcessorConfig, given, what="the processor's options")
        return choose(source, config.parts, options.get("columns"))

    def source_options(self) -> dict[str, Any]:
        """The parts, and the columns that they were."""
        known = {"known_folder": self.config.folder} if self.config.folder else {}
        return {"parts": list(self.config.parts), "columns": dict(self._columns), **known}

    @classmethod
    def part_modality(cls, part: str, options: Mapping[str, Any]) -> str:
        """As ``parts`` says, else the modality of that name.

        Raises:
            ConfigError: there is no part of that name.
        """
        named = parse_parts(options.get("parts") or ())
        if part in named or (not named and part in registry().modalities):
            return named[part].modality.id if part in named else part
        known = ", ".join(named) or "named by the ids of their modalities"
        raise ConfigError(f"there is no part {part!r}; the parts are {known} (--set parts=[NAME:MODALITY,...]).")

    def take(self, part: str, processor: Processor) -> Self:
        """Use a processor that is fitted already (an encoder's) for a part; :meth:`fit` then leaves it as it is.

        Args:
            part: name of the part.
            processor: fitted, of the part's modality.
        """
        self._taken[part] = processor.unpacked()
        return self

    def fit(self, rows: Iterable[Row]) -> Self:
        """Fit the processor of each part on the rows that have it.

        Raises:
            ConfigError: ``options`` names a part that is not there, or an option that it has not.
            DataError: a part can be fitted on no row.
            MissingPluginError: a part is of a modality whose plugin is not installed.
        """
        if not isinstance(rows, Rows):
            rows = list(rows)
        modalities = modalities_of(rows, self.config.parts)
        self._check_names(modalities)
        columns = dict(rows.columns) if isinstance(rows, Rows) else {}
        fitted: dict[str, Processor] = {}
        several, blanks, lacking = set(), {}, {}
        for name, id in modalities.items():
            own, count = rows_of_part(rows, name, self.config.captions)
            processor = self._taken.get(name) or naming(name, self._unfitted(name, id).fit, own)
            if processor.modality != id:
                raise ConfigError(f"The part {name!r} is of {id}, and its processor of {processor.modality}.")
            fitted[name] = processor
            blanks[name] = blanks_of(probed_samples(name, processor, own), processor.windowed())
            lacking[name] = Lacking.of(own, total=len(rows), there=count)
            if lists_several(rows, name):
                several.add(name)
        self.config = self.config.model_copy(
            update={"parts": tuple(name if name == id else f"{name}:{id}" for name, id in modalities.items())}
        )
        self._columns, self._several, self._lacking = columns, frozenset(several), lacking
        return self._use(fitted, blanks)

    def _use(self, fitted: Mapping[str, Processor], blanks: Mapping[str, Mapping[str, Blank]]) -> Self:
        self._parts = dict(fitted)
        self._blanks = {name: dict(keys) for name, keys in blanks.items()}
        free = {f"{name}{MARK}{key}": axes for name, part in fitted.items() for key, axes in part.free_axes.items()}
        # What is the class's own for one modality follows from the parts here.
        self.__dict__.update(free_axes=free, batch_size=min(part.batch_size for part in fitted.values()))
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
                f"processor.options.{name} joins rows into blocks of {processor.block_length} steps, and these rows have other "
                "parts, so that each stays one: leave that out."
            )
        return processor

    def info(self) -> Info:
        """``parts``: name to ``modality`` and the part's own ``info``."""
        return {"parts": {name: {"modality": part.modality, "info": part.info()} for name, part in self._parts.items()}}

    def findings(self) -> Findings:
        """What each part's processor found, how many rows lack the part, and which part says nothing."""
        return described(self._parts, self._lacking, several=self._several, captions=self.config.captions)

    def column_kinds(self) -> dict[str, str]:
        """Of the parts that decide what their columns are."""
        return {f"{name}{MARK}{role}": kind for name, part in self._parts.items() for role, kind in part.column_kinds().items()}

    def example_rows(self) -> Sequence[Row]:
        """Where a part has rows of its own, these, with made-up ones of the other parts."""
        own = {name: part.example_rows() for name, part in self._parts.items()}
        if not any(own.values()):
            return []
        joined: list[Row] = [{}, {}, {}, {}]
        for name, part in self._parts.items():
            rows = own[name] or registry().modality_objects(part.modality).mock_rows(len(joined), 0)
            for place, row in enumerate(joined):
                row |= {f"{name}{MARK}{role}": value for role, value in rows[place % len(rows)].items()}
        return joined

    @cached_property
    def _windowed(self) -> dict[str, Processor]:
        return {f"{name}{MARK}{key}": own for name, part in self._parts.items() for key, own in part.windowed().items()}

    def windowed(self) -> Mapping[str, Processor]:
        """The windows of all parts."""
        return self._windowed

    def takes_whole(self) -> Mapping[str, Processor]:
        """Of the parts whose :meth:`collate_whole` wants them."""
        return {f"{name}{MARK}{key}": own for name, part in self._parts.items() for key, own in part.takes_whole().items()}

    def encode(self, row: Row) -> Sample:
        """One row to the samples of its parts, blank where it lacks one."""
        (result,) = self.encode_rows([row])
        if isinstance(result, BadRowError):
            raise result
        return result

    def encode_rows(self, rows: Sequence[Row]) -> list[Sample | BadRowError]:
        """Many rows, a part at a time."""
        samples: list[Sample] = [{} for _ in rows]
        bad: dict[int, BadRowError] = {}
        lacking = np.ones(len(rows), dtype=bool)
        for name, part in self._parts.items():
            for place, found in enumerate(self._encode_part(name, part, rows)):
                if isinstance(found, BadRowError):
                    bad.setdefault(place, found)
                    lacking[place] = False
                    continue
                lacking[place] &= not found[PRESENT]
                samples[place] |= {f"{name}{MARK}{key}": value for key, value in found.items()}
        for place in np.flatnonzero(lacking).tolist():
            bad[place] = BadRowError(f"it has none of its parts ({', '.join(self._parts)})")
        return [bad.get(place, sample) for place, sample in enumerate(samples)]

    def preview(self, row: Row) -> Sequence[Preview]:
        """What each part's processor shows of it; of several texts the first."""
        return [
            preview for name, part in self._parts.items() for own in own_rows(row, name, 1) for preview in part.preview(own)
        ]

    def _encode_part(self, name: str, part: Processor, rows: Sequence[Row]) -> list[Sample | BadRowError]:
        """The samples of one part of each row, with what says whether it is there and what it holds."""
        several = name in self._several
        flat: list[Row] = []
        spans: list[range] = []
        for row in rows:
            own = own_rows(row, name, self.config.captions if several else 1)
            spans.append(range(len(flat), len(flat) + len(own)))
            flat += own
        contents = contents_of(flat)
        encoded = encode_list(part, flat) if flat else []
        results: list[Sample | BadRowError] = []
        for span in spans:
            good = [(place, sample) for place in span if not isinstance(sample := encoded[place], BadRowError)]
            if span and not good:
                results.append(BadRowError(f"{name}: {encoded[span[0]]}"))
                continue
            if len(good) < len(span):
                self.remark(f"{name}: some of its texts cannot be used and are left out")
            found = [{**sample, CONTENT: contents[place]} for place, sample in good]
            found = found or [{**self._blank(name), CONTENT: np.int64(LACKING)}]
            results.append({**(pack(found) if several else found[0]), PRESENT: np.asarray(bool(good))})
        return results

    def _blank(self, name: str) -> Sample:
        return {key: blank.array() for key, blank in self._blanks[name].items()}

    def _scalars(self, name: str) -> list[str]:
        return [CONTENT, *(key for key, blank in self._blanks[name].items() if not blank.shape)]

    def take_remarks(self) -> dict[str, int]:
        """Those of all parts, with the part's name."""
        found = super().take_remarks()
        for name, part in self._parts.items():
            found |= {f"{name}: {text}": count for text, count in part.take_remarks().items()}
        return found

    def training_samples(self, samples: Samples, generator: torch.Generator) -> Samples:
        """Of several texts a row one, drawn anew at each step."""
        found = dict(samples)
        for name in self._parts:
            own = roles_of(samples, name)
            if not is_packed(own):
                continue
            counts = counts_of(own)
            drawn = (torch.rand(len(counts), generator=generator) * counts).long()
            found = {key: value for key, value in found.items() if not key.startswith(name + MARK)}
            found |= {f"{name}{MARK}{key}": value for key, value in self._chosen(name, own, drawn).items()}
        return found

    def _chosen(self, name: str, own: Samples, places: Tensor) -> Samples:
        """One sample of each row of a part; what says whether the part is there stays."""
        packed = {key: value for key, value in own.items() if key != PRESENT}
        return {**unpack(packed, places, self._scalars(name)), PRESENT: own[PRESENT]}

    def collate(self, samples: Samples) -> Batch:
        """Each part's own batch, and which rows have the part."""
        return self._collated(samples, whole=False)

    def collate_whole(self, samples: Samples) -> Batch:
        """Each part's own batch of whole samples."""
        return self._collated(samples, whole=True)

    def _collated(self, samples: Samples, *, whole: bool) -> Batch:
        batches: dict[str, Batch] = {}
        for name, part in self._parts.items():
            own: Samples = roles_of(samples, name)
            if is_packed(own):
                own = self._chosen(name, own, torch.zeros(len(own[PRESENT]), dtype=torch.long))
            keys = {key: value for key, value in own.items() if key not in (PRESENT, CONTENT)}
            batch = part.collate_whole(keys) if whole else part.collate(keys)
            marks = {key: torch.as_tensor(own[key]) for key in (PRESENT, CONTENT)}
            batches[name] = {**batch, **marks}
        return join_parts(batches)

    def training_batch(self, batch: Batch, generator: torch.Generator) -> Batch:
        """Each part's batch as its own training sees it."""
        changed = dict(batch)
        for name, part in self._parts.items():
            own = part.training_batch(part_of(batch, name), generator)
            changed |= {f"{name}{MARK}{key}": value for key, value in own.items()}
        return changed

    def __call__(self, rows: Sequence[Row]) -> Batch:
        """Process rows into a batch at once; the first bad row raises."""
        encoded = self.encode_rows(rows)
        for place, item in enumerate(encoded):
            if isinstance(item, BadRowError):
                raise BadRowError(f"row {place}: {item}")
        return self.collate(stack_samples([item for item in encoded if not isinstance(item, BadRowError)]))

    def save(self, directory: Path) -> None:
        """Write the config and what was found as JSON, and each part's processor into a folder of its own."""
        directory = Path(directory)
        for name, part in self._parts.items():
            folder = directory / _FOLDER / name
            folder.mkdir(parents=True, exist_ok=True)
            part.save(folder)
        write_state(
            directory / _FILE,
            self.config,
            modalities={name: part.modality for name, part in self._parts.items()},
            columns=self._columns,
            several=sorted(self._several),
            blanks={name: {key: blank.as_json() for key, blank in keys.items()} for name, keys in self._blanks.items()},
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
            modalities = {str(name): str(id) for name, id in state["modalities"].items()}
            processor._columns = {str(role): str(column) for role, column in state["columns"].items()}
            processor._several = frozenset(map(str, state["several"]))
            blanks = {
                name: {key: Blank.of_json(value) for key, value in keys.items()} for name, keys in state["blanks"].items()
            }
            if set(blanks) != set(modalities):
                raise ValueError("it does not say what each part looks like")
        parts = {name: registry().processor_class(id).load(directory / _FOLDER / name) for name, id in modalities.items()}
        return processor._use(parts, blanks)
