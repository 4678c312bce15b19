"""Statistics of the images that a processor was fitted on, for its decisions and its report."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from selfsup.runtime import Findings
from selfsup_vision.decoding import Opened, RangeFit, Raster, ValueRange
from selfsup_vision.decoding.images import is_transparent
from selfsup_vision.decoding.raster import Kind
from selfsup_vision.decoding.value_range import describe_range

_FEW = 0.05
"""Share of images that may be dark without a warning."""
_NOUNS = {"integer": "more than 8 bits", "float": "floats"}


class Seen:
    """Counts of images by their kind."""

    def __init__(self) -> None:
        self.rows = self.eight_bit = self.grey = self.transparent = self.paged = 0
        self.channels: Counter[int] = Counter()
        """Number of channels, 3 for grey and colours, to rows."""
        self.ranges: dict[Kind, RangeFit] = {}

    def add(self, image: Opened) -> None:
        """Count one image."""
        self.rows += 1
        if not isinstance(image, Raster):
            self.eight_bit += 1
            self.channels[3] += 1
            self.grey += image.mode in ("1", "L", "LA")
            self.transparent += is_transparent(image)
            self.paged += getattr(image, "n_frames", 1) > 1
            return
        self.channels[3 if image.channels in (1, 3) else image.channels] += 1
        self.grey += image.channels == 1
        self.transparent += image.alpha
        self.paged += image.pages > 1 and image.channels != image.pages
        if image.kind == "8-bit":
            self.eight_bit += 1
        else:
            self.ranges.setdefault(image.kind, RangeFit()).add(image)

    def usual_channels(self) -> int:
        """The commonest number; 3 in a tie."""
        return max(self.channels, key=lambda n: (self.channels[n], n == 3), default=3)

    def findings(
        self,
        *,
        size: int,
        kept: int,
        channels: int,
        ranges: Mapping[str, ValueRange],
        set_size: bool,
        set_channels: bool,
        set_range: ValueRange | None,
    ) -> Findings:
        """The report.

        Args:
            size: S in pixels.
            kept: the shorter side of the kept image in pixels.
            channels: C.
            ranges: learned, by kind of numbers.
            set_size: whether the user set the size.
            set_channels: whether the user set the channels.
            set_range: the range that the user set.
        """
        found = Findings()
        guessed = f" (from {self.rows} rows; --set processor.image_size=)" if self.rows and not set_size else ""
        found.add("image size", f"{size} pixels{guessed}")
        if kept > size:
            found.add("image size", f"training crops from images of {kept}")
        found.add("channels", str(channels) + (" (--set processor.channels=)" if self.rows and not set_channels else ""))
        if self.grey and channels == 3:
            found.add("channels", f"{self.grey} of {self.rows} images are grey and are repeated three times")
        usable = 3 if channels == 1 else channels
        others = {n: count for n, count in self.channels.items() if n != usable}
        if others and not (channels in (2, 4) and set(others) == {3}):  # an opacity may be a channel then
            named = ", ".join(f"{count} have {n}" for n, count in sorted(others.items()))
            found.warn(
                f"{sum(others.values())} of {self.rows} images do not have {channels} channels ({named}) and cannot be "
                "used. --set processor.channels= chooses the number."
            )
        if self.transparent and channels in (1, 3):
            found.add("transparency", f"{self.transparent} of {self.rows} images have it; it becomes white")
        if self.paged:
            found.add("pages", f"{self.paged} of {self.rows} files have several pages or frames; the first is used")
        self._add_ranges(found, ranges, set_range)
        return found

    def _add_ranges(self, found: Findings, ranges: Mapping[str, ValueRange], given: ValueRange | None) -> None:
        topic = "value range"
        for kind, fit in self.ranges.items():
            low, high = given or ranges[kind]
            seen = f"{fit.rows} of {self.rows} images are of {_NOUNS[kind]}, values {fit.low:g} to {fit.high:g}"
            if given is not None:
                found.add(topic, f"{low:g}..{high:g} ({seen})")
                continue
            found.add(topic, f"{describe_range(kind, (low, high))} ({seen}; --set processor.value_range=[LOW,HIGH])")
            dim = fit.dim()
            if dim > 1 and dim > _FEW * fit.rows:
                found.warn(
                    f"{dim} of {fit.rows} images of {_NOUNS[kind]} stay in the lowest 64th of the range {low:g}..{high:g} "
                    "and are almost black. If they have another scale, convert them, or set processor.value_range."
                )
            if (spread := fit.spread()) is not None:
                black, white = spread
                found.warn(
                    f"99.8 % of the values are in {black:g}..{white:g}, a small part of the range {low:g}..{high:g}, so images "
                    f"have little contrast. --set processor.value_range=[{black:g},{white:g}] clips the other values."
                )
        if self.ranges and self.eight_bit:
            found.add(topic, f"0..255 for the {self.eight_bit} images of 8 bits")
        if given is not None and self.rows and not self.ranges:
            found.warn(
                f"processor.value_range=[{given[0]:g},{given[1]:g}] is for images with more than 8 bits and for floats. There "
                f"are none in {self.rows} images, so it changes nothing."
            )
        if not self.rows:  # a loaded encoder
            for name, learned in ({"integer": given, "float": given} if given else ranges).items():
                found.add(topic, f"{learned[0]:g}..{learned[1]:g} for images of {_NOUNS[name]}")
