"""The audio processor: rows to ``{"waveform": int16 [B, T], "length": int64 [B]}``."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import ClassVar, Literal, Self

import numpy as np
from pydantic import Field
from torch import Tensor

from selfsup.config import Config
from selfsup.config import Config as BaseConfig
from selfsup.data import CurvePreview, Preview, Processor, Sample, envelope, read_sample, reading_state, segment_of, write_state
from selfsup.errors import SourceError
from selfsup.runtime import Findings, listed_names
from selfsup.types import Batch, Info, Row
from selfsup_audio.decoding import Header, decode, read_header
from selfsup_audio.decoding.scale import learned_scale
from selfsup_audio.decoding.values import MAX_SAMPLES

_FIT_ROWS = 256
_HIGHEST_AUTO = 16000
_SHORTEST_AUTO, _LONGEST_AUTO = 0.25, 10.0
_PERCENTILE = 95
_FILE = "audio_processor.json"


class AudioProcessorConfig(Config):
    """Options of :class:`AudioProcessor`."""

    sample_rate: int | Literal["auto"] = Field("auto", union_mode="left_to_right")
    """Samples a second; "auto": the commonest rate of 256 rows, at most 16000 Hz (what speech models are made for)."""
    clip_seconds: float | Literal["auto"] = Field("auto", union_mode="left_to_right")
    """Length of every clip in seconds; "auto": the length that holds 95 % of 256 rows whole, at least 0.25 s and at most 10
    s."""
    cut: Literal["center", "start"] = "center"
    """The clip of a longer recording that is embedded: its middle or its beginning."""
    keep: float = Field(4.0, ge=1, le=1000)
    """Largest part of a longer recording that is stored, in clip lengths; training takes a random clip of it in each epoch.

    With 1 only the embedded clip is stored and used in the whole run. A stored second takes 2 bytes a sample.
    """

    full_scale: float | Literal["auto"] = Field("auto", union_mode="left_to_right")
    """Full scale of floating-point files and arrays; "auto": 1, unless most of 256 rows exceed it (32768 for integers written
    as floating-point numbers). Nothing is clipped: a recording that exceeds it is scaled down."""
    max_samples: int = Field(MAX_SAMPLES, ge=1000)
    """Most samples a channel that are read of a recording, at its own rate and 4 bytes each; if its stored part takes more, it
    is a bad row, since the rate in a damaged header may fill the memory. Eight times the samples that are stored are always
    read. Default: 1 GiB, which is 23 minutes at 192 kHz."""

    def model_post_init(self, context: object, /) -> None:
        """Refuse rates and lengths that no backbone can use."""
        if self.sample_rate != "auto" and not 1000 <= self.sample_rate <= 192_000:
            raise ValueError(f"sample_rate must be in 1000..192000 Hz; {self.sample_rate} is not")
        if self.clip_seconds != "auto" and not 0.05 <= self.clip_seconds <= 3600:
            raise ValueError(f"clip_seconds must be in 0.05..3600 seconds; {self.clip_seconds} is not")
        if self.full_scale != "auto" and not 0 < self.full_scale < float("inf"):
            raise ValueError(f"full_scale must be more than 0; {self.full_scale} is not")


class AudioProcessor(Processor):
    """Decode recordings, average their channels, resample them, and cut or pad them to one length.

    Up to ``keep`` times that length is stored of a longer recording, around the clip that is embedded
    (:attr:`~selfsup.data.Processor.window_key`); training draws a clip from it in every epoch.

    A row's ``audio`` may be ``{"bytes", "path"}``, encoded bytes, a path, or ``{"array", "sampling_rate"}``
    (:func:`selfsup_audio.decoding.decode`); with ``start`` and ``end`` (or ``offset`` and ``duration``) in seconds it is that
    part of the file. ``length`` of a batch is the number of real samples of each clip; the rest is
    zero. Loudness does not change. A silent clip is kept; one without a sample is a bad row.
    """

    modality: ClassVar[str] = "audio"
    window_key: ClassVar[str] = "waveform"
    padded_key: ClassVar[str] = "waveform"
    batch_size: ClassVar[int] = 64
    adjustable: ClassVar[frozenset[str]] = frozenset({"clip_seconds", "cut", "keep", "full_scale", "max_samples"})
    Config: ClassVar[type[Config]] = AudioProcessorConfig
    config: AudioProcessorConfig

    def __init__(self, config: AudioProcessorConfig | None = None) -> None:
        super().__init__(config or AudioProcessorConfig())
        rate, seconds, scale = self.config.sample_rate, self.config.clip_seconds, self.config.full_scale
        self._sample_rate: int | None = None if rate == "auto" else rate
        self._seconds: float | None = None if seconds == "auto" else seconds
        self._full_scale = 1.0 if scale == "auto" else scale
        self._seen: list[Header] = []

    @property
    def sample_rate(self) -> int:
        """In Hz; with "auto" only after :meth:`fit`."""
        if self._sample_rate is None:
            raise ValueError("sample_rate is 'auto' and the processor has not been fitted: call fit(rows) first")
        return self._sample_rate

    @property
    def n_samples(self) -> int:
        """T; with "auto" only after :meth:`fit`."""
        if self._seconds is None:
            raise ValueError("clip_seconds is 'auto' and the processor has not been fitted: call fit(rows) first")
        return round(self._seconds * self.sample_rate)

    @property
    def window_steps(self) -> int:
        """T, as :attr:`n_samples`."""
        return self.n_samples

    def window_start(self, steps: int, generator: np.random.Generator | None) -> int:
        """First sample of a clip of a stored recording of ``steps``; the one that is embedded where nothing is drawn."""
        if generator is None and self.config.cut == "start":
            return 0
        return super().window_start(steps, generator)

    def fit(self, rows: Iterable[Row]) -> Self:
        """Choose what is "auto" from at most 256 rows, spread over all of them (only their headers are read),
        and of floating-point files some samples.

        Raises:
            SourceError: a rate or length must be chosen, and none of these rows holds a readable recording.
        """
        try:
            self._seen = read_sample(
                rows,
                _FIT_ROWS,
                lambda row: read_header(row.get("audio"), segment_of(row), look=self.config.full_scale == "auto"),
                noun="recording",
                choice="The sample rate and the length of clips",
            )
        except SourceError:
            if self._sample_rate is None or self._seconds is None:
                raise
            return self
        if self._sample_rate is None:
            self._sample_rate = auto_rate([header.sample_rate for header in self._seen])
        if self._seconds is None:
            self._seconds = auto_seconds([header.seconds for header in self._seen if header.seconds is not None])
        if self.config.full_scale == "auto":
            self._full_scale = learned_scale([header.samples for header in self._seen if header.samples is not None])
        self._seen = [replace(header, samples=None) for header in self._seen]
        return self

    def adjusted(self, config: BaseConfig) -> Self:
        """The same rate with clips of another length, cut or stored otherwise, or another scale."""
        twin = super().adjusted(config)
        twin._seconds = self._seconds if twin.config.clip_seconds == "auto" else twin.config.clip_seconds
        twin._full_scale = self._full_scale if twin.config.full_scale == "auto" else twin.config.full_scale
        return twin

    @classmethod
    def unlike(cls, theirs: Info, ours: Info) -> str:
        """Whether the recordings have another rate."""
        if theirs["sample_rate"] == ours["sample_rate"]:
            return ""
        return (
            f"it was trained on recordings at {theirs['sample_rate']} Hz, and these have {ours['sample_rate']}. Leave "
            f"processor.sample_rate out, or set it to {theirs['sample_rate']}."
        )

    def info(self) -> Info:
        """``sample_rate`` in Hz and ``n_samples`` of a clip."""
        return {"sample_rate": self.sample_rate, "n_samples": self.n_samples}

    def findings(self) -> Findings:
        """Rate, length and scale, and what they were chosen from."""
        found = Findings()
        rates, channels = (
            Counter(header.sample_rate for header in self._seen),
            Counter(header.channels for header in self._seen),
        )
        seconds = sorted(header.seconds for header in self._seen if header.seconds is not None)
        seen = listed_names(f"{rate} Hz in {count}" for rate, count in rates.most_common())
        seen = f"; {seen} of {len(self._seen)} recordings" if seen else ""
        found.add("sample rate", f"{self.sample_rate} Hz{seen} (--set processor.sample_rate=)")
        span = f"; recordings last {seconds[0]:.3g} to {seconds[-1]:.3g} s" if seconds else ""
        clip = self.n_samples / self.sample_rate
        found.add("clips", f"{clip:.4g} s{span} (--set processor.clip_seconds=)")
        if set(channels) - {1}:
            several = listed_names(f"{number} in {count}" for number, count in sorted(channels.items()))
            found.add("channels", f"averaged; {several} of {len(self._seen)} recordings")
        if self._full_scale != 1:
            found.add("full scale", f"{self._full_scale:g} in floating-point recordings (--set processor.full_scale=)")
        return found

    def encode(self, row: Row) -> Sample:
        """One row to ``{"waveform": int16 [t], "length": int64 []}`` with T <= t <= ``keep * T``; ``length`` are real."""
        waveform = decode(
            row.get("audio"),
            self.sample_rate,
            self.n_samples,
            self.config.cut,
            self.config.keep,
            segment=segment_of(row),
            full_scale=self._full_scale,
            max_samples=self.config.max_samples,
            remark=self.remark,
        )
        filled = np.zeros(max(self.n_samples, len(waveform)), dtype=np.int16)
        filled[: len(waveform)] = waveform
        return {"waveform": filled, "length": np.asarray(len(waveform), dtype=np.int64)}

    def preview(self, row: Row) -> Sequence[Preview]:
        """The waveform of the clip that is embedded, 1 being full scale."""
        sample = self.encode(row)
        clip = sample["waveform"][: int(sample["length"])]
        if len(clip) > self.n_samples:
            start = self.window_start(len(clip), None)
            clip = clip[start : start + self.n_samples]
        return [CurvePreview(envelope(clip / 32768))]

    def collate(self, samples: Mapping[str, Tensor | Sequence[Tensor]]) -> Batch:
        """Join clips; of longer recordings the clip that is embedded."""
        batch = super().collate(samples)
        return {**batch, "length": batch["length"].clamp(max=self.n_samples)}

    def save(self, directory: Path) -> None:
        """Write the config and what was chosen as JSON."""
        write_state(
            Path(directory) / _FILE,
            self.config,
            sample_rate=self.sample_rate,
            n_samples=self.n_samples,
            full_scale=self._full_scale,
        )

    @classmethod
    def load(cls, directory: Path) -> Self:
        """Read what :meth:`save` wrote.

        Raises:
            ArtifactError: the file is missing or damaged.
        """
        with reading_state(Path(directory) / _FILE, "audio", AudioProcessorConfig) as (config, state):
            processor = cls(config)
            processor._sample_rate = int(state["sample_rate"])
            processor._seconds = int(state["n_samples"]) / processor._sample_rate
            # Encoders from before there was a scale took floating-point numbers as they are.
            processor._full_scale = float(state.get("full_scale", 1.0))
        return processor


def auto_rate(rates: list[int]) -> int:
    """The sample rate for recordings of these: the commonest, of several the highest, in 1000..16000 Hz."""
    counts = Counter(rates)
    commonest = max(counts, key=lambda rate: (counts[rate], rate))
    return min(max(commonest, 1000), _HIGHEST_AUTO)


def auto_seconds(durations: list[float]) -> float:
    """The clip length for recordings of these durations in seconds: their 95th percentile, in 0.25..10; 10 if none is known."""
    seconds = float(np.percentile(durations, _PERCENTILE)) if durations else _LONGEST_AUTO
    return min(max(seconds, _SHORTEST_AUTO), _LONGEST_AUTO)
