"""``towers``: a network a part, and a space in which their embeddings can be compared."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, ClassVar, Self, cast

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from selfsup.backbones import Backbone, BackboneRecipe, Encoded, Finetuning, freeze, pooled_over_parts
from selfsup.config import Config, validated
from selfsup.data import Processor, fill_absent, part_names, part_of, presence
from selfsup.errors import ArtifactError, ConfigError
from selfsup.registry import registry
from selfsup.types import Batch, Info
from selfsup_multimodal.export import dual_encoder
from selfsup_multimodal.joined_info import JoinedPart, check_names, joined_parts


class TowerConfig(Config):
    """The network of one part."""

    backbone: str = ""
    """Id of a backbone of the part's modality; empty: that modality's default."""
    options: dict[str, Any] = Field(default_factory=dict)
    """Of that backbone, as for a run of its own modality."""
    lr_scale: float = Field(default=1.0, gt=0)
    """Learning rate of the tower as a share of the run's; less than 1 suits a tower that is trained already."""
    frozen: bool = False
    """Leave the tower as it is and in evaluation mode, and train its projection alone, as LiT does with the image tower."""

    @model_validator(mode="after")
    def _one_rate(self) -> Self:
        if self.frozen and self.lr_scale != 1:
            raise ValueError(f"lr_scale={self.lr_scale} has no effect, since the tower is frozen")
        return self


class TowersConfig(Config):
    """Options of ``towers``."""

    towers: dict[str, TowerConfig] = Field(default_factory=dict)
    """By the name of a part; parts that are not named have the defaults of their modality."""
    joint_dim: int = Field(default=256, ge=0)
    """Width of the space that all parts are projected into, without a bias; 512 for CLIP's ViT-B. 0: none; each part's
    embedding is its tower's own, and no two can be compared."""


class Towers(Backbone):
    """A network a part, each a backbone of the part's own modality, and a linear projection without bias behind each.

    As in CLIP (Radford et al. 2021, arXiv:2103.00020, section 2.4) the projections belong to the network and are kept, and
    start normal with a deviation of width**-0.5, as in the authors' code. The embedding of a row is the mean of the parts that
    it has; without a joint space all parts' own side by side, zeros where one is absent. A batch of one part alone has that
    part's.

    Rows that lack a part hold other rows' values in front of its tower, so that no batch norm sees blanks; what comes out for
    them means nothing (``Encoded.valid``).

    Args:
        towers: by the name of the part.
        options: id and options in full of each tower.
        config: the options.
    """

    modality: ClassVar[str] = "multimodal"
    export_formats: ClassVar[tuple[str, ...]] = (dual_encoder.FORMAT,)

    def __init__(
        self, towers: Mapping[str, Backbone], options: Mapping[str, tuple[str, dict[str, Any]]], config: TowersConfig
    ) -> None:
        super().__init__()
        self.towers = nn.ModuleDict(towers)
        self._options = dict(options)
        self._lr_scales = {name: own.lr_scale for name, own in config.towers.items()}
        self.joint_dim = config.joint_dim
        self.projections = nn.ModuleDict()
        for name, tower in towers.items() if config.joint_dim else ():
            self.projections[name] = nn.Linear(tower.pooled_dim, config.joint_dim, bias=False)
            nn.init.normal_(self.projections[name].get_parameter("weight"), std=tower.pooled_dim**-0.5)
        self.embed_dim = config.joint_dim or sum(self.part_dims.values())
        for name, own in config.towers.items():
            if own.frozen:
                freeze(self.towers[name])

    @property
    def part_dims(self) -> Mapping[str, int]:
        """``joint_dim``, or each tower's own."""
        return {name: self.joint_dim or self.part(name).pooled_dim for name in self.towers}

    @property
    def shares_space(self) -> bool:
        """Where there is a joint space."""
        return self.joint_dim > 0

    def part(self, name: str) -> Backbone:
        """A tower, without the projection."""
        if name not in self.towers:
            return super().part(name)
        return cast(Backbone, self.towers[name])

    def part_options(self, name: str) -> tuple[str, dict[str, Any]]:
        """Of a tower."""
        self.part(name)
        return self._options[name]

    def forward(self, batch: Batch) -> Encoded:
        """Encode the parts that the batch holds, each by its tower.

        Raises:
            ConfigError: it holds none of them.
        """
        held = part_names(batch)
        parts = {name: self._encode(name, batch) for name in self.towers if name in held}
        if not parts:
            raise ConfigError(f"the batch holds none of the parts {', '.join(self.towers)}, which the towers are for.")
        return Encoded(pooled_over_parts(parts, shares_space=self.shares_space), parts=parts, valid=_any_valid(parts))

    def _encode(self, name: str, batch: Batch) -> Encoded:
        present = presence(batch, name)
        encoded: Encoded = self.towers[name](fill_absent(part_of(batch, name), present))
        pooled = self.projections[name](encoded.pooled) if self.joint_dim else encoded.pooled
        return encoded._replace(pooled=pooled, valid=present)

    def export_folder(self, format: str, processor: Processor, folder: Path) -> None:
        """Write a tower of pictures and one of texts as plain transformers reads them (:mod:`selfsup_multimodal.export`).

        Args:
            format: ``transformers``.
            processor: the encoder's.
            folder: exists and is empty.

        Raises:
            ArtifactError: the towers cannot be expressed there, or a part is missing; the message says why.
        """
        if not self.joint_dim:
            raise ArtifactError(
                "These towers have no joint space (backbone.joint_dim=0), so that transformers cannot compare them. "
                "Export one part with --part NAME."
            )
        sides = {
            name: dual_encoder.Tower(
                self.part(name), self.projections[name].get_parameter("weight").detach().cpu(), processor.parts[name]
            )
            for name in self.towers
        }
        dual_encoder.write_dual_encoder(sides, folder)

    def lr_scales(self) -> list[tuple[nn.Module, float]]:
        """The towers whose rate is another than the run's."""
        return [(self.towers[name], scale) for name, scale in self._lr_scales.items() if scale != 1]

    def blocks(self) -> list[nn.Module]:
        """The towers' layers, counted from the output: the last of all towers together, then those before them.

        Empty where a tower has none, since all of it would then count as the input's.
        """
        own = [self.part(name).blocks() for name in self.towers]
        if not all(own):
            return []
        depth = max(map(len, own))
        return [nn.ModuleList(blocks[place] for blocks in own if len(blocks) >= -place) for place in range(-depth, 0)]

    def input_projection(self) -> list[nn.Parameter]:
        """Of all towers."""
        return [parameter for name in self.towers for parameter in self.part(name).input_projection()]

    @property
    def finetuning(self) -> Finetuning:
        """The lowest rate, and the weakest decay, of what suits the towers."""
        own = [self.part(name).finetuning for name in self.towers]
        return Finetuning(min(each.lr for each in own), max(each.layer_decay for each in own))

    def describe_input(self) -> str:
        """What each tower does to its part."""
        said = {name: self.part(name).describe_input() for name in self.towers}
        return ", ".join(f"{text} ({name})" for name, text in said.items() if text)

    def spare_parts(self) -> Mapping[str, nn.Module]:
        """Those of all towers."""
        return {f"towers.{name}.{key}": module for name in self.towers for key, module in self.part(name).spare_parts().items()}

    def fit_weight(self, name: str, weight: Tensor, own: Tensor) -> Tensor | None:
        """As the tower does that the weight is of."""
        _, _, inner = name.partition("towers.")
        part, _, key = inner.partition(".")
        return self.part(part).fit_weight(key, weight, own) if part in self.towers else None

    def weights_came(self, names: Collection[str]) -> None:
        """Tell each tower of its own."""
        for name, own in self._own_names(names).items():
            if own:
                self.part(name).started_from = self.started_from
                self.part(name).weights_came(own)

    def expect_weights(self, names: Collection[str]) -> None:
        """Tell each tower of its own."""
        for name, own in self._own_names(names).items():
            self.part(name).expect_weights(own)

    def _own_names(self, names: Collection[str]) -> dict[str, list[str]]:
        """Part to the names of its tower's weights, as the tower has them."""
        starts = {name: f"towers.{name}." for name in self.towers}
        return {name: [key.removeprefix(start) for key in names if key.startswith(start)] for name, start in starts.items()}

    def full_options(self, given: Config) -> Config:
        """Each tower with its id and options in full; rates and freezing are of training alone, and are left out."""
        assert isinstance(given, TowersConfig)
        towers = {name: TowerConfig(backbone=id, options=options) for name, (id, options) in self._options.items()}
        return given.model_copy(update={"towers": towers})


def _any_valid(parts: Mapping[str, Encoded]) -> Tensor | None:
    """Which rows have a part at all; None: each has."""
    valid = [part.valid for part in parts.values() if part.valid is not None]
    return torch.stack(valid).any(dim=0) if len(valid) == len(parts) else None


def build_tower(part: JoinedPart, config: TowerConfig) -> tuple[Backbone, tuple[str, dict[str, Any]]]:
    """The network of a part, and its id with its options in full.

    Raises:
        ConfigError: the backbone is of another modality, or an option is not allowed.
        MissingPluginError: the plugin of the part's modality is not installed.
    """
    id = config.backbone or part.spec.backbone
    check_modality(id, part)
    backbone, options = registry().build_backbone(id, config.options, part.info)
    return backbone, (id, options.model_dump(mode="json"))


def check_modality(id: str, part: JoinedPart) -> None:
    """Make sure that a backbone is of a part's modality.

    Raises:
        UnknownIdError: there is none of that id.
        ConfigError: it is not.
    """
    found = registry().get("backbone", id)
    if found.modality != part.modality:
        raise ConfigError(
            f"the backbone {id!r} is for {found.modality}, and the part {part.name!r} is of {part.modality}; "
            f"`selfsup list backbones --modality {part.modality}` shows those that fit."
        )


def build_towers(config: TowersConfig, info: Info) -> Towers:
    """A tower for each part of the rows.

    Raises:
        ConfigError: there are no parts, options are of none of them, or a backbone does not fit.
        MissingPluginError: the plugin of a part's modality is not installed; the message says how to install it.
    """
    parts = joined_parts(info)
    check_names(config.towers, parts, "backbone.towers")
    built = {name: build_tower(part, config.towers.get(name, TowerConfig())) for name, part in parts.items()}
    towers = {name: backbone for name, (backbone, _) in built.items()}
    return Towers(towers, {name: options for name, (_, options) in built.items()}, config)


def preprocessing(config: TowersConfig) -> dict[str, Any]:
    """The options of the parts' processors that the first weights of their towers were trained with."""
    found = {name: own for name, tower in config.towers.items() if tower.backbone and (own := _preprocessing(tower))}
    return {"options": found} if found else {}


def _preprocessing(tower: TowerConfig) -> dict[str, Any]:
    spec, recipe = registry().get("backbone", tower.backbone), registry().backbone_recipe(tower.backbone)
    if recipe.preprocessing is None:
        return {}
    name = {"name": tower.backbone.partition("/")[2]} if spec.id != tower.backbone else {}
    config = validated(recipe.config, {**tower.options, **name}, what=f"backbone {tower.backbone!r}")
    return dict(recipe.preprocessing(config))


TOWERS = BackboneRecipe(config=TowersConfig, build=build_towers, preprocessing=preprocessing, parts="towers")
"""``towers``."""
