"""Views of joined rows: a view is a part, seen as its own modality sees one view of a sample."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, cast

import torch
from pydantic import Field
from torch import nn

from selfsup.config import Config, idle, validated
from selfsup.data import MARK, Processor, fill_absent, only_part, part_of, presence
from selfsup.errors import ConfigError
from selfsup.registry import ModalityObjects, registry
from selfsup.tasks import Views, ViewsRecipe, accepts, with_defaults
from selfsup.types import Batch, Info
from selfsup_multimodal.joined_info import JoinedPart, check_names, joined_parts

_ONE = {"n_global": 1, "n_local": 0}
_LIGHT = {"global_scale": (0.9, 1.0)}
"""Share of a picture that a crop keeps where parts are compared: what open_clip crops by default. A caption says what all of a
picture shows, and half of it may show something else."""


class PartViewsConfig(Config):
    """Options of views of joined rows."""

    augment: bool = True
    """Draw one view of each part as its modality does for a task that sees a single one (a random crop of a picture); false:
    every part is seen as it is. Where parts are compared, crops keep 0.9 to 1 of a picture, as in open_clip."""
    parts: dict[str, dict[str, Any]] = Field(default_factory=dict)
    """By the name of a part: options of its view, as ``views`` has them in a task of the part's own modality that sees one view
    (``views.parts.vision.global_scale=[0.5,1]``)."""

    def without_effect(self) -> dict[str, str]:
        """See :meth:`selfsup.config.Config.without_effect`."""
        return idle("views.augment is false", not self.augment, "parts")


class PartViews(Views):
    """The parts of each row, one batch a part (or all in one), each through the views of its own modality.

    A modality without such views shows its part as it is. Rows that lack a part hold other rows' values while it is drawn, so
    that nothing is computed of blanks. Random draws are made part by part, in the order of the parts.

    Args:
        config: the options.
        info: what the processor says.
        recipe_of: which views of a modality to take.
        light: defaults of these views' options, of those that they have.
        together: one view that holds all parts; else a view a part.

    Raises:
        ConfigError: options are of no part, of one without views, or not allowed.
    """

    def __init__(
        self,
        config: PartViewsConfig,
        info: Info,
        recipe_of: Callable[[ModalityObjects], ViewsRecipe | None],
        *,
        light: Mapping[str, Any] | None = None,
        together: bool,
    ) -> None:
        super().__init__()
        parts = joined_parts(info)
        check_names(config.parts, parts, "views.parts")
        self.names = tuple(parts)
        self.together = together
        self.n_global, self.n_local = 1 if together else len(parts), 0
        self.views = nn.ModuleDict()
        for name, part in parts.items() if config.augment else ():
            recipe = recipe_of(registry().modality_objects(part.modality))
            own = _views_of(part, config.parts.get(name, {}), recipe, light or {})
            if own is not None:
                self.views[name] = own
        self.takes_whole = all(self._takes_whole(part) for part in parts.values())
        self.note = " ".join(view.note for name in self.names if (view := self._own(name)) and view.note)

    def _takes_whole(self, part: JoinedPart) -> bool:
        """Whether a part comes whole: its views cut from whole samples, or whole samples are those of every batch."""
        view = self._own(part.name)
        if view is not None:
            return view.takes_whole
        return registry().processor_class(part.modality).collate_whole is Processor.collate_whole

    def forward(self, batch: Batch, generator: torch.Generator | None) -> list[Batch]:
        """A view a part, or one of all parts, with ``<part>/present`` and what else the rows say of a part."""
        views = [self._view(name, batch, generator) for name in self.names]
        if not self.together:
            return views
        return [{key: value for view in views for key, value in view.items()}]

    def _own(self, name: str) -> Views | None:
        return cast(Views, self.views[name]) if name in self.views else None

    def _view(self, name: str, batch: Batch, generator: torch.Generator | None) -> Batch:
        shown, view = only_part(batch, name), self._own(name)
        if view is None:
            return shown
        own = part_of(batch, name)
        seen = view(fill_absent(own, presence(batch, name)), generator)[0]
        kept = {key: value for key, value in shown.items() if key.removeprefix(name + MARK) not in own}
        return {**{f"{name}{MARK}{key}": value for key, value in seen.items()}, **kept}


def _views_of(part: JoinedPart, options: dict[str, Any], recipe: ViewsRecipe | None, light: Mapping[str, Any]) -> Views | None:
    """The views of a part that show one of each sample; None where its modality has none of that kind."""
    what = f"the views of the part {part.name!r}"
    if recipe is None:
        if options:
            raise ConfigError(f"{', '.join(options)} cannot be set for {what}: {part.modality} has no such views.")
        return None
    one = {key: value for key, value in {**_ONE, **light}.items() if accepts(recipe.config, {key: value})}
    views = recipe.build(validated(with_defaults(recipe.config, one), options, what=what), part.info)
    if views.n_global + views.n_local != 1:
        raise ConfigError(
            f"{what} are {views.n_global + views.n_local}, and a part is seen once: leave n_global and n_local out."
        )
    return views


def _single(parts: ModalityObjects) -> ViewsRecipe | None:
    return parts.single_views


def _supervised(parts: ModalityObjects) -> ViewsRecipe | None:
    return parts.supervised_views


def build_views(config: PartViewsConfig, info: Info) -> PartViews:
    """A view a part."""
    return PartViews(config, info, _single, light=_LIGHT, together=False)


def build_single_view(config: PartViewsConfig, info: Info) -> PartViews:
    """One view that holds all parts."""
    return PartViews(config, info, _single, together=True)


def build_supervised_view(config: PartViewsConfig, info: Info) -> PartViews:
    """One view that holds all parts, each augmented as for supervised training in its own modality."""
    return PartViews(config, info, _supervised, together=True)


VIEWS = ViewsRecipe(config=PartViewsConfig, build=build_views)
"""The default views of joined rows."""
SINGLE_VIEW = ViewsRecipe(config=PartViewsConfig, build=build_single_view)
"""The one view of tasks that compare no views: masked and latent prediction."""
SUPERVISED_VIEW = ViewsRecipe(config=PartViewsConfig, build=build_supervised_view)
"""The light augmentation of supervised training."""
