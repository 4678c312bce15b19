"""Zero-shot classification: the class with the nearest embedded name, without labelled examples."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from pydantic import Field, field_validator
from torch import Tensor
from torch.nn import functional as F

from selfsup.artifacts import Encoder
from selfsup.config import Config
from selfsup.errors import ConfigError, DataError
from selfsup.evaluation import EvaluatorRecipe, Split, accuracy, balanced_accuracy, class_count
from selfsup.registry import registry
from selfsup_multimodal.evaluators.rows import JointPart, parts_of


class ZeroShotConfig(Config):
    """Options of zero-shot classification."""

    templates: tuple[str, ...] = Field(default=("{}",), min_length=1)
    """Texts with ``{}`` for the class name; their embeddings are averaged (CLIP: ``a photo of a {}.``, or 80 of them)."""
    classnames: dict[str, str] = Field(default_factory=dict)
    """Class in the label column to its name in the texts; other classes keep their own name."""
    part: str = ""
    """The part to classify; empty: the only other part."""
    text: str = ""
    """The part that encodes the class names; empty: the only part of strings."""

    @field_validator("templates")
    @classmethod
    def _with_a_place(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for template in value:
            if "{}" not in template:
                raise ValueError(f"the template {template!r} has no {{}} for the name of the class")
        return value


def string_role(modality: str) -> str:
    """The role of a modality whose only column is a string; else empty."""
    columns = registry().get("modality", modality).columns
    return next(iter(columns)) if list(columns.values()) in (["string"], ["large_string"]) else ""


@dataclass(frozen=True)
class ZeroShot:
    """Classifies test rows by the cosine of one part to the embedded class names (Radford et al. 2021, 3.1)."""

    config: ZeroShotConfig

    def evaluate(self, encoder: Encoder, train: Split, test: Split, *, seed: int) -> dict[str, float]:
        """Accuracy (the headline), balanced accuracy and top-5 accuracy; nothing is fitted or random.

        ``accuracy_chance`` is 1 / K for K classes, ``accuracy_most_frequent`` the accuracy of always predicting the largest
        class of the test rows. Rows that lack the part are left out.

        Raises:
            ConfigError: the parts cannot be found or compared, or class names are missing or equal.
            DataError: no test row has the part.
        """
        parts = parts_of(encoder, "zero-shot", shared=True)
        text, part = _roles(encoder, parts, self.config)
        class_count("zero-shot", train, test)
        names = _names(test.class_names, self.config.classnames)
        there = test.present(encoder, part)
        if not there.any():
            raise DataError(f"The evaluator 'zero-shot' found no test row with the part {part!r}.")
        weights = class_embeddings(encoder, text, names, self.config.templates)
        scores = F.normalize(test.embeddings(encoder, part=part)[there].double(), dim=1) @ weights.double().T
        targets = test.targets()[there]
        k = min(5, len(names))
        nearest = scores.topk(k, dim=1).indices
        sizes = torch.bincount(targets)
        return {
            "accuracy": accuracy(nearest[:, 0], targets),
            "balanced_accuracy": balanced_accuracy(nearest[:, 0], targets),
            f"accuracy_top_{k}": float((nearest == targets.unsqueeze(1)).any(dim=1).double().mean()),
            "accuracy_chance": 1 / len(names),
            "accuracy_most_frequent": float(sizes.max() / sizes.sum()),
            "classes": float(len(names)),
            "rows": float(len(targets)),
        }


def class_embeddings(encoder: Encoder, text: str, names: Sequence[str], templates: Sequence[str]) -> Tensor:
    """[K, D] unit vectors, one per class: the normalised mean of the unit embeddings of all templates.

    Args:
        encoder: of several parts.
        text: the part of texts.
        names: K names.
        templates: with ``{}`` for the name.

    Raises:
        BadRowError: a text cannot be read.
    """
    processor = encoder.processor.parts[text]
    role = string_role(processor.modality)
    alone = Encoder(processor, JointPart(encoder.backbone, text, processor.modality), backbone_id=text, backbone_options={})
    pooled = alone.embed([{role: template.replace("{}", name)} for name in names for template in templates])
    each = F.normalize(torch.from_numpy(pooled), dim=1).view(len(names), len(templates), -1)
    return F.normalize(each.mean(dim=1), dim=1)


def _roles(encoder: Encoder, parts: Sequence[str], config: ZeroShotConfig) -> tuple[str, str]:
    """The part of texts and the part to classify."""
    for option, name in (("text", config.text), ("part", config.part)):
        if name and name not in parts:
            raise ConfigError(f"zero-shot.{option}={name!r} is not allowed: the parts are {', '.join(parts)}.")
    able = [part for part in parts if string_role(encoder.processor.parts[part].modality)]
    if config.text and config.text not in able:
        raise ConfigError(f"zero-shot.text={config.text!r} is not allowed: that part holds no texts.")
    if not config.text and len(able) != 1:
        found = f"there are {len(able)}: {', '.join(able)}" if able else f"none of {', '.join(parts)} is one"
        raise ConfigError(f"The evaluator 'zero-shot' needs one part of texts for the class names, but {found}.")
    text = config.text or able[0]
    others = [part for part in parts if part != text]
    if config.part == text or (not config.part and len(others) != 1):
        raise ConfigError(
            f"Choose the part that 'zero-shot' classifies: --set zero-shot.part=NAME, one of {', '.join(others)}."
        )
    return text, config.part or others[0]


def _names(classes: Sequence[str], called: Mapping[str, str]) -> list[str]:
    """The name of each class in the texts."""
    if unknown := [name for name in called if name not in classes]:
        raise ConfigError(f"zero-shot.classnames names {unknown[0]!r}, but the classes are {', '.join(classes)}.")
    names = [called.get(name, name).strip() for name in classes]
    for name, own in zip(names, classes, strict=True):
        if not name or names.count(name) > 1:
            what = "has no name" if not name else f"has the same name {name!r} as another class"
            raise ConfigError(f'The class {own!r} {what}: give names with --set \'zero-shot.classnames={{"CLASS": "NAME"}}\'.')
    return names


RECIPE = EvaluatorRecipe(ZeroShotConfig, ZeroShot)
