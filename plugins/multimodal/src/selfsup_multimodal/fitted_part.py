"""One part of joined rows after fitting: encodes, draws and collates the samples of that part."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from selfsup.data import CONTENT, PRESENT, Processor, Sample, encode_list
from selfsup.errors import BadRowError
from selfsup.types import Batch, Row
from selfsup_multimodal.absent_parts import Blank
from selfsup_multimodal.part_rows import LACKING, contents_of, own_rows
from selfsup_multimodal.several_samples import Samples, counts_of, is_packed, pack, unpack


@dataclass(frozen=True)
class FittedPart:
    """A part with its processor."""

    name: str
    processor: Processor
    """Of the part's own modality."""
    blanks: Mapping[str, Blank]
    """By key: the placeholder in rows that lack the part."""
    several: bool
    """Whether a row may list several texts."""

    def encode(self, rows: Sequence[Row], captions: int, remark: Callable[[str], None]) -> list[Sample | BadRowError]:
        """Encode the part of each joined row, with ``present`` and ``content``.

        Args:
            rows: joined rows.
            captions: texts kept per row.
            remark: is called with each problem that costs only a part of a row.
        """
        flat: list[Row] = []
        spans: list[range] = []
        for row in rows:
            own = own_rows(row, self.name, captions if self.several else 1)
            spans.append(range(len(flat), len(flat) + len(own)))
            flat += own
        contents = contents_of(flat)
        encoded = encode_list(self.processor, flat) if flat else []
        blank = {key: blank.array() for key, blank in self.blanks.items()}
        results: list[Sample | BadRowError] = []
        for span in spans:
            good = [(place, sample) for place in span if not isinstance(sample := encoded[place], BadRowError)]
            if span and not good:
                results.append(BadRowError(f"{self.name}: {encoded[span[0]]}"))
                continue
            if len(good) < len(span):
                remark(f"{self.name}: some of its texts cannot be used and are left out")
            found = [{**sample, CONTENT: contents[place]} for place, sample in good]
            found = found or [{**blank, CONTENT: np.int64(LACKING)}]
            results.append({**(pack(found) if self.several else found[0]), PRESENT: np.asarray(bool(good))})
        return results

    def drawn(self, samples: Samples, generator: torch.Generator) -> Samples:
        """The part's samples with one random text per row, where rows hold several."""
        if not is_packed(samples):
            return samples
        counts = counts_of(samples)
        return self._chosen(samples, (torch.rand(len(counts), generator=generator) * counts).long())

    def collate(self, samples: Samples, *, whole: bool) -> Batch:
        """The part's own batch with ``present`` and ``content``; of several texts the first."""
        if is_packed(samples):
            samples = self._chosen(samples, torch.zeros(len(samples[PRESENT]), dtype=torch.long))
        keys = {key: value for key, value in samples.items() if key not in (PRESENT, CONTENT)}
        batch = self.processor.collate_whole(keys) if whole else self.processor.collate(keys)
        return {**batch, **{key: torch.as_tensor(samples[key]) for key in (PRESENT, CONTENT)}}

    def _chosen(self, samples: Samples, places: Tensor) -> Samples:
        """One sample per row; ``present`` stays."""
        packed = {key: value for key, value in samples.items() if key != PRESENT}
        scalars = [CONTENT, *(key for key, blank in self.blanks.items() if not blank.shape)]
        return {**unpack(packed, places, scalars), PRESENT: samples[PRESENT]}
