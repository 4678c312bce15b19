"""The ``towers`` backbone: one network per part, projected into a joint space."""

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
    """Options of one tower."""

    backbone: str = ""
    """Id of a backbone of the part's modality; empty: that modality's default."""
    options: dict[str, Any] = Field(default_factory=dict)
    """Options of that backbone, as in its own modality."""
    lr_scale: float = Field(default=1.0, gt=0)
    """Learning rate of the tower as a share of the run's; below 1 suits a pretrained tower."""
    frozen: bool = False
    """Freeze the tower, keep it in evaluation mode, and train only its projection, as LiT does with the image tower."""

    @model_validator(mode="after")
    def _one_rate(self) -> Self:
        if self.frozen and self.lr_scale != 1:
            raise ValueError(f"lr_scale={self.lr_scale} has no effect, because the tower is frozen")
        return self


class TowersConfig(Config):
    """Options of ``towers``."""

    towers: dict[str, TowerConfig] = Field(default_factory=dict)
    """By part name; the other parts use the defaults of their modality."""
    joint_dim: int = Field(default=256, ge=0)
    """Width of the joint space; projections have no bias. 512 for CLIP's ViT-B. 0: no joint space; each part's embedding is its
    tower's own, and embeddings of different parts cannot be compared."""


class Towers(Backbone):
    """One network per part, each a backbone of the part's own modality, followed by a linear projection without bias.

    As in CLIP (Radford et al. 2021, arXiv:2103.00020, section 2.4) the projections are part of the network and are kept. They
    are initialised from a normal distribution with deviation width**-0.5, as in the authors' code. The embedding of a row is
    the mean over its parts; without a joint space it is their concatenation, with zeros for missing parts. In a batch of a
    single part it is that part's embedding.

    Rows that lack a part hold other rows' values at the input of its tower, so that no batch norm sees placeholders; their
    output is meaningless (``Encoded.valid``). ``options`` holds the id and the full options of each tower.
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
        """``joint_dim``, or each tower's own width."""
        return {name: self.joint_dim or self.part(name).pooled_dim for name in self.towers}

    @property
    def shares_space(self) -> bool:
        """Whether there is a joint space."""
        return self.joint_dim > 0

    def part(self, name: str) -> Backbone:
        """A tower without its projection."""
        if name not in self.towers:
            return super().part(name)
        return cast(Backbone, self.towers[name])

    def part_options(self, name: str) -> tuple[str, dict[str, Any]]:
        """The id and the full options of a tower."""
        self.part(name)
        return self._options[name]

    def forward(self, batch: Batch) -> Encoded:
        """Encode each part in the batch by its tower.

        Raises:
            ConfigError: the batch holds no part of these towers.
        """
        held = part_names(batch)
        parts = {name: self._encode(name, batch) for name in self.towers if name in held}
        if not parts:
            raise ConfigError(f"the batch holds none of the towers' parts: {', '.join(self.towers)}.")
        return Encoded(pooled_over_parts(parts, shares_space=self.shares_space), parts=parts, valid=_any_valid(parts))

    def _encode(self, name: str, batch: Batch) -> Encoded:
        present = presence(batch, name)
        encoded: Encoded = self.towers[name](fill_absent(part_of(batch, name), present))
        pooled = self.projections[name](encoded.pooled) if self.joint_dim else encoded.pooled
        return encoded._replace(pooled=pooled, valid=present)

    def export_folder(self, format: str, processor: Processor, folder: Path) -> None:
        """Write an image tower and a text tower for plain transformers (:mod:`selfsup_multimodal.export`).

        Args:
            format: ``transformers``.
            processor: of the encoder.
            folder: exists and is empty.

        Raises:
            ArtifactError: transformers cannot represent the towers, or a part is missing; the message says why.
        """
        if not self.joint_dim:
            raise ArtifactError(
                "These towers have no joint space (backbone.joint_dim=0), so transformers cannot compare them. "
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
        """The towers with another learning rate than the run's."""
        return [(self.towers[name], scale) for name, scale in self._lr_scales.items() if scale != 1]

    def blocks(self) -> list[nn.Module]:
        """The towers' layers, aligned at the output: the last layers of all towers form the last block, and so on.

        Empty if a tower has no blocks.
        """
        own = [self.part(name).blocks() for name in self.towers]
        if not all(own):
            return []
        depth = max(map(len, own))
        return [nn.ModuleList(blocks[place] for blocks in own if len(blocks) >= -place) for place in range(-depth, 0)]

    def input_projection(self) -> list[nn.Parameter]:
        """The input projections of all towers."""
        return [parameter for name in self.towers for parameter in self.part(name).input_projection()]

    @property
    def finetuning(self) -> Finetuning:
        """The lowest learning rate and the weakest layer decay of the towers."""
        own = [self.part(name).finetuning for name in self.towers]
        return Finetuning(min(each.lr for each in own), max(each.layer_decay for each in own))

    def describe_input(self) -> str:
        """What each tower does to its input."""
        texts = {name: self.part(name).describe_input() for name in self.towers}
        return ", ".join(f"{text} ({name})" for name, text in texts.items() if text)

    def spare_parts(self) -> Mapping[str, nn.Module]:
        """The spare parts of all towers."""
        return {f"towers.{name}.{key}": module for name in self.towers for key, module in self.part(name).spare_parts().items()}

    def fit_weight(self, name: str, weight: Tensor, own: Tensor) -> Tensor | None:
        """Let the tower of the weight fit it."""
        _, _, inner = name.partition("towers.")
        part, _, key = inner.partition(".")
        return self.part(part).fit_weight(key, weight, own) if part in self.towers else None

    def weights_came(self, names: Collection[str]) -> None:
        """Pass the names on to each tower."""
        for name, own in self._own_names(names).items():
            if own:
                self.part(name).started_from = self.started_from
                self.part(name).weights_came(own)

    def expect_weights(self, names: Collection[str]) -> None:
        """Pass the names on to each tower."""
        for name, own in self._own_names(names).items():
            self.part(name).expect_weights(own)

    def _own_names(self, names: Collection[str]) -> dict[str, list[str]]:
        """By part: the names of its tower's weights within the tower."""
        starts = {name: f"towers.{name}." for name in self.towers}
        return {name: [key.removeprefix(start) for key in names if key.startswith(start)] for name, start in starts.items()}

    def full_options(self, given: Config) -> Config:
        """Give each tower's id and full options, without ``lr_scale`` and ``frozen``, which matter only in training."""
        assert isinstance(given, TowersConfig)
        towers = {name: TowerConfig(backbone=id, options=options) for name, (id, options) in self._options.items()}
        return given.model_copy(update={"towers": towers})


def _any_valid(parts: Mapping[str, Encoded]) -> Tensor | None:
    """[B] bool, which rows have any part; None: all."""
    valid = [part.valid for part in parts.values() if part.valid is not None]
    return torch.stack(valid).any(dim=0) if len(valid) == len(parts) else None


def build_tower(part: JoinedPart, config: TowerConfig) -> tuple[Backbone, tuple[str, dict[str, Any]]]:
    """Build the network of a part; also returns its id and full options.

    Raises:
        ConfigError: the backbone has another modality, or an option is not allowed.
        MissingPluginError: the plugin of the part's modality is not installed.
    """
    id = config.backbone or part.spec.backbone
    check_modality(id, part)
    backbone, options = registry().build_backbone(id, config.options, part.info)
    return backbone, (id, options.model_dump(mode="json"))


def check_modality(id: str, part: JoinedPart) -> None:
    """Check that a backbone has the modality of a part.

    Raises:
        UnknownIdError: there is no such backbone.
        ConfigError: its modality differs.
    """
    found = registry().get("backbone", id)
    if found.modality != part.modality:
        raise ConfigError(
            f"the backbone {id!r} is for {found.modality}, but the modality of the part {part.name!r} is {part.modality}; "
            f"`selfsup list backbones --modality {part.modality}` shows those that fit."
        )


def build_towers(config: TowersConfig, info: Info) -> Towers:
    """Build a tower for each part of the rows.

    Raises:
        ConfigError: there are no parts, an option names an unknown part, or a backbone does not fit.
        MissingPluginError: the plugin of a part's modality is not installed; the message says how to install it.
    """
    parts = joined_parts(info)
    check_names(config.towers, parts, "backbone.towers")
    built = {name: build_tower(part, config.towers.get(name, TowerConfig())) for name, part in parts.items()}
    towers = {name: backbone for name, (backbone, _) in built.items()}
    return Towers(towers, {name: options for name, (_, options) in built.items()}, config)


def preprocessing(config: TowersConfig) -> dict[str, Any]:
    """The options of the parts' processors that pretrained towers were trained with."""
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
