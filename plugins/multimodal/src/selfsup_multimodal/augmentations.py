"""Views of joined rows: one view per part, made by the part's own modality."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from operator import attrgetter
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
"""Share of a picture that a crop keeps when parts are compared; open_clip's default. A caption describes the whole picture, so
a smaller crop may not match it."""


class PartViewsConfig(Config):
    """Options of views of joined rows."""

    augment: bool = True
    """Augment each part as its modality does for tasks with a single view (a random crop of a picture); false: use every part
    as it is. When parts are compared, crops keep 0.9 to 1 of a picture, as in open_clip."""
    parts: dict[str, dict[str, Any]] = Field(default_factory=dict)
    """By part name: options of its view, those of ``views`` in a single-view task of the part's own modality
    (``views.parts.vision.global_scale=[0.5,1]``)."""

    def without_effect(self) -> dict[str, str]:
        """See :meth:`selfsup.config.Config.without_effect`."""
        return idle("views.augment is false", not self.augment, "parts")


class PartViews(Views):
    """One view per part (or one view of all parts), each augmented by its own modality.

    Parts of modalities without such views stay as they are. Rows that lack a part hold other rows' values during augmentation,
    so that placeholders are never augmented. Random draws follow the order of the parts.

    Args:
        config: the options.
        info: of the processor.
        recipe_of: which views of a modality to use.
        light: defaults for the options that these views have.
        together: make one view of all parts instead of one per part.

    Raises:
        ConfigError: an option names an unknown part, a part without views, or is not allowed.
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
        """Whether the batch holds whole samples of a part: its views crop them, or its processor never cuts them."""
        view = self._own(part.name)
        if view is not None:
            return view.takes_whole
        return registry().processor_class(part.modality).collate_whole is Processor.collate_whole

    def forward(self, batch: Batch, generator: torch.Generator | None) -> list[Batch]:
        """One view per part, or one of all parts; ``<part>/present`` and similar keys stay."""
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
    """The single-view augmentation of a part; None if its modality has none."""
    what = f"the views of the part {part.name!r}"
    if recipe is None:
        if options:
            raise ConfigError(f"{', '.join(options)} cannot be set for {what}: {part.modality} has no such views.")
        return None
    one = {key: value for key, value in {**_ONE, **light}.items() if accepts(recipe.config, {key: value})}
    views = recipe.build(validated(with_defaults(recipe.config, one), options, what=what), part.info)
    if views.n_global + views.n_local != 1:
        raise ConfigError(
            f"{what} are {views.n_global + views.n_local}, but each part has one view: leave n_global and n_local out."
        )
    return views


def build_views(config: PartViewsConfig, info: Info) -> PartViews:
    """Build one view per part."""
    return PartViews(config, info, attrgetter("single_views"), light=_LIGHT, together=False)


def build_single_view(config: PartViewsConfig, info: Info) -> PartViews:
    """Build one view of all parts."""
    return PartViews(config, info, attrgetter("single_views"), together=True)


def build_supervised_view(config: PartViewsConfig, info: Info) -> PartViews:
    """Build one view of all parts, each augmented as for supervised training in its own modality."""
    return PartViews(config, info, attrgetter("supervised_views"), together=True)


VIEWS = ViewsRecipe(config=PartViewsConfig, build=build_views)
"""The default views of joined rows."""
SINGLE_VIEW = ViewsRecipe(config=PartViewsConfig, build=build_single_view)
"""The view of tasks that compare no views: masked and latent prediction."""
SUPERVISED_VIEW = ViewsRecipe(config=PartViewsConfig, build=build_supervised_view)
"""The light augmentation of supervised training."""
