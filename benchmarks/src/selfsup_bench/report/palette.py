"""The report's colours, light and dark: text stands out from its ground by 4.5 to 1, parts of charts by 3 (WCAG 2.2)."""

from __future__ import annotations

from collections.abc import Mapping

CLASS_COLOURS = 10
"""Colours ``c0`` to ``c9``; what lies beyond begins again."""

LIGHT: Mapping[str, str] = {
    "page": "#f5f6f8", "card": "#ffffff", "ink": "#14181f", "soft": "#566070", "faint": "#7d8694",
    "rule": "#dfe3e8", "grid": "#eceef2", "track": "#e6e9ee", "link": "#1f5fbf",
    "good": "#0b6b45", "goodbg": "#e0f3ea", "bad": "#a8231b", "badbg": "#fce9e7", "warn": "#7a5200", "warnbg": "#fbf0d6",
    "idle": "#4d5766", "idlebg": "#e9ecf1",
    "c0": "#2a78d6", "c1": "#c2540a", "c2": "#128a60", "c3": "#9a6b00", "c4": "#c9497e",
    "c5": "#5b4bc4", "c6": "#d03b3b", "c7": "#00788a", "c8": "#7a5a3a", "c9": "#5c6b7a",
    "m0": "#f2b48a", "m1": "#fadcc6", "m2": "#f1f3f6", "m3": "#d6e6fa", "m4": "#abcdf5", "m5": "#7fb2ef",
}  # fmt: skip
"""``m0`` to ``m5`` are the matrix: below the untrained network (orange) to all that labels give (blue)."""

DARK: Mapping[str, str] = {
    "page": "#0f1216", "card": "#181c22", "ink": "#eceff3", "soft": "#a9b3c0", "faint": "#7f8997",
    "rule": "#2b313a", "grid": "#242932", "track": "#2b313a", "link": "#82b4f7",
    "good": "#6bd6a4", "goodbg": "#12342a", "bad": "#ff9d94", "badbg": "#3c1b1a", "warn": "#eabf5e", "warnbg": "#3a2c0d",
    "idle": "#b4bdc9", "idlebg": "#2a303a",
    "c0": "#5ea2f0", "c1": "#f08a4b", "c2": "#3fc492", "c3": "#e0b030", "c4": "#ee85ae",
    "c5": "#a79bf5", "c6": "#f47f7f", "c7": "#3fc3d6", "c8": "#c8a27a", "c9": "#a9b6c4",
    "m0": "#7a4016", "m1": "#4a2d18", "m2": "#242932", "m3": "#1a3350", "m4": "#1c4575", "m5": "#215798",
}  # fmt: skip


def root_rules() -> str:
    """The variables of both, as the browser or the reader chooses; on paper light."""

    def block(colours: Mapping[str, str], scheme: str) -> str:
        return f"color-scheme:{scheme};" + "".join(f"--{name}:{value};" for name, value in colours.items())

    classes = "".join(f".c{i}{{--c:var(--c{i})}}" for i in range(CLASS_COLOURS))
    return (
        f":root{{{block(LIGHT, 'light')}}}\n"
        f"@media (prefers-color-scheme:dark){{:root{{{block(DARK, 'dark')}}}}}\n"
        f":root[data-theme=light]{{{block(LIGHT, 'light')}}}\n"
        f":root[data-theme=dark]{{{block(DARK, 'dark')}}}\n"
        f"@media print{{:root,:root[data-theme]{{{block(LIGHT, 'light')}}}}}\n"
        f"{classes}.cn{{--c:var(--faint)}}\n"
    )
