"""Light, frozen descriptions of everything that can be registered.

A spec names its object by a lazy ``target`` ("package.module:attribute") and is imported on use, so that listing
all tasks costs no import of torch. What each target resolves to is said in the docstring of its spec.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from selfsup.errors import SpecError

_ID = re.compile(r"[a-z0-9][a-z0-9._-]*(/([a-z0-9][A-Za-z0-9._-]*|\*))?")
_TARGET = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*")

Family = Literal[
    "joint-embedding", "masked-modeling", "latent-prediction", "reconstruction", "autoregressive", "transformation", "reference"
]
"""The task families; ``reference`` holds random-init and supervised, which are what the others are compared with."""


@dataclass(frozen=True, kw_only=True)
class Spec:
    """What every registered object says of itself."""

    id: str
    """Lower-case name, unique among its kind; ``modality/name`` for tasks."""
    summary: str
    """One line for ``selfsup list``."""

    def __post_init__(self) -> None:
        if not _ID.fullmatch(self.id):
            raise SpecError(
                f"{type(self).__name__} id {self.id!r} is not allowed: use lower-case letters, digits, '-', '_' and '.', "
                "with at most one '/'."
            )
        if not self.summary.strip() or "\n" in self.summary:
            raise SpecError(f"{type(self).__name__} {self.id!r} needs a summary of one line.")
        for name in self._targets():
            value = self.target_of(name)
            if value and not _TARGET.fullmatch(value):
                raise SpecError(
                    f"{type(self).__name__} {self.id!r}: {name}={value!r} is not of the form 'package.module:attribute'."
                )

    def target_of(self, field: str) -> str:
        """The target that a field names; of a field that is a mapping, the one under a key: ``field.key``."""
        name, _, key = field.partition(".")
        value = getattr(self, name)
        target: str = value[key] if key else value
        return target

    def _targets(self) -> tuple[str, ...]:
        return ()


@dataclass(frozen=True, kw_only=True)
class TargetSpec(Spec):
    """A spec whose object is imported on use."""

    target: str
    """Where the object is: ``package.module:attribute``."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.target:
            raise SpecError(f"{type(self).__name__} {self.id!r} needs a target.")

    def _targets(self) -> tuple[str, ...]:
        return ("target",)


@dataclass(frozen=True, kw_only=True)
class Flag:
    """A flag that ``selfsup pretrain`` takes for the tasks of one modality: a short way to write ``--set option=VALUE``.

    ``--set name=VALUE`` means the same, whatever else the task has of that name.
    """

    name: str
    """Without the dashes: ``categorical``."""
    option: str
    """The config key that it sets, in full: ``processor.categorical``."""
    summary: str
    """One line for ``selfsup pretrain --help``."""
    metavar: str = "VALUE"
    """What the help calls its value."""

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[a-z][a-z0-9-]*", self.name) or "." not in self.option or not self.summary.strip():
            raise SpecError(
                f"The flag {self.name!r} is not allowed: it needs a name of lower-case letters, a config key with its section "
                f"(processor.KEY; given: {self.option!r}) and a summary."
            )


@dataclass(frozen=True, kw_only=True)
class ModalitySpec(TargetSpec):
    """A kind of data. ``target`` is its :class:`selfsup.data.Processor` class.

    A modality with ``views`` has every joint-embedding objective; one with ``token_backbone`` has every masked and latent
    objective too (and those that compare tokens, as VICRegL does); one with ``causal_backbone`` the autoregressive ones; one
    with ``corruption`` the denoising ones.
    """

    columns: Mapping[str, str] = field(default_factory=dict)
    """Role to ``datasets`` feature type, for example ``{"image": "Image"}``; empty: the row is all columns but the label."""
    joins: bool = False
    """Whether its rows join parts of other modalities: the roles are then ``<part>/<role>``, and the processor class says which
    column is which (:meth:`selfsup.data.Processor.choose_columns`). It has no ``columns`` and no ``suffixes``."""
    suffixes: tuple[str, ...] = ()
    """File suffixes (with the dot, lower case) that make a folder a source of this modality."""
    frame_suffixes: tuple[str, ...] = ()
    """Suffixes of still frames: a folder that holds such files, and neither folders nor files of ``suffixes``, is one row."""
    segments: bool = False
    """Whether a row may be a part of a file: its table then may have columns of seconds (``segments``)."""
    backbone: str
    """Id of the default backbone."""
    token_backbone: str = ""
    """Id of the default :class:`selfsup.backbones.TokenBackbone`, or empty."""
    causal_backbone: str = ""
    """Id of the default token backbone that is causal (a decoder), or empty."""
    views: str = ""
    """Target of the default :class:`selfsup.tasks.ViewsRecipe`."""
    single_views: str = ""
    """Target of the :class:`selfsup.tasks.ViewsRecipe` that draws the one view (a random crop or window) which composed masked,
    latent, autoregressive and denoising tasks see; empty: they see the sample as it is."""
    corruption: str = ""
    """Target of the default :class:`selfsup.tasks.CorruptionRecipe` (denoising)."""
    corruption_needs_tokens: bool = False
    """Whether its decoder works on tokens: composed tasks then have the token backbone, and there are none without one."""
    supervised_views: str = ""
    """Target of the :class:`selfsup.tasks.ViewsRecipe` with the light augmentation of supervised training (one view)."""
    resize: str = ""
    """Target of ``(batch, size) -> batch``: the batch with images or frames of ``size`` pixels a side, for a teacher that was
    trained on another size; empty: views go to a teacher as they are."""
    raw_features: str = ""
    """Target of ``(batch, info) -> Tensor [B, F]``: the raw-feature baseline (pixels, TF-IDF, mel statistics, columns)."""
    raw_title: str = "raw input"
    """What people call the raw features, as in "pixels 72.1 %"."""
    other_raw_features: Mapping[str, str] = field(default_factory=dict)
    """Name to the target of a further raw-feature baseline: ``{"mfcc": "package.module:attribute"}``."""
    other_raw_titles: Mapping[str, str] = field(default_factory=dict)
    """Name of further raw features to what people call them; without one it is the raw input and the name in brackets."""
    mock_rows: str = ""
    """Target of ``(n, seed) -> list[Row]``: small learnable made-up rows for the conformance checks."""
    noise_rows: str = ""
    """Target of a mapping from a name (``"8 frames"``) to ``(n, seed) -> list[Row]``: rows of independent noise of several
    lengths and sizes, shorter than the processor's own among them. On these no transformation may be told (leak checks)."""
    flags: tuple[Flag, ...] = ()
    """Flags that ``selfsup pretrain`` takes for this modality's tasks."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.joins and (self.columns or self.suffixes):
            raise SpecError(f"ModalitySpec {self.id!r} joins others, whose columns and suffixes it takes; it has none itself.")
        for name in self.other_raw_features:
            if not re.fullmatch(r"[a-z0-9][a-z0-9-]*", name):
                raise SpecError(
                    f"ModalitySpec {self.id!r}: other_raw_features has the name {name!r}; it is of lower-case letters, digits "
                    "and '-'."
                )
        for name in self.other_raw_titles:
            if name not in self.other_raw_features:
                raise SpecError(f"ModalitySpec {self.id!r}: other_raw_titles names {name!r}, other_raw_features does not.")

    def raw_name(self, name: str = "") -> str:
        """What people call the raw features, or further ones of a name."""
        if not name:
            return self.raw_title
        return self.other_raw_titles.get(name, f"raw input ({name})")

    def _targets(self) -> tuple[str, ...]:
        others = (f"other_raw_features.{name}" for name in self.other_raw_features)
        objects = (
            "views",
            "single_views",
            "corruption",
            "supervised_views",
            "resize",
            "raw_features",
            "mock_rows",
            "noise_rows",
        )
        return ("target", *objects, *others)


@dataclass(frozen=True, kw_only=True)
class Preset:
    """What a task changes of the one that an objective and a modality make; see :func:`selfsup.registry.preset`."""

    recipe: str = ""
    """Target of the recipe that stands in for the objective's."""
    views: str = ""
    """Target of the :class:`selfsup.tasks.ViewsRecipe` that stands in for the modality's."""
    corruption: str = ""
    """Target of the :class:`selfsup.tasks.CorruptionRecipe` that stands in for the modality's."""
    config: Mapping[str, Any] = field(default_factory=dict)
    """Defaults of the task's options; a mapping for a section (``views``, ``objective``, ``momentum``, ...)."""
    optimization: Mapping[str, Any] = field(default_factory=dict)
    """Defaults of the optimizer, over those of the objective."""
    processor: Mapping[str, Any] = field(default_factory=dict)
    """Options of the modality's processor."""
    backbone: Mapping[str, Any] = field(default_factory=dict)
    """Options of the backbone, where it has them."""


@dataclass(frozen=True, kw_only=True)
class TaskSpec(TargetSpec):
    """A pretext task. ``target`` is a :class:`selfsup.tasks.TaskRecipe`; a task with a preset is made by the registry."""

    modality: str
    family: Family
    paper: str
    """Authors, year and arXiv id or venue."""
    title: str = ""
    """The method's name as its paper writes it (``"SimCLR"``); empty: that of the objective of its name, or the id in words."""
    backbone: str = ""
    """Id of the default backbone where it is not the modality's."""
    needs_tokens: bool = False
    """Whether only a :class:`selfsup.backbones.TokenBackbone` will do."""
    needs_labels: bool = False
    """Whether the batch carries ``label`` (supervised training only)."""
    objective: str = ""
    """Id of the core objective it uses, if any."""
    needs_teacher: bool = False
    """Whether it needs a trained encoder to learn from, which has to be named."""
    composed: bool = False
    """Whether the registry joined it from an objective and a modality, without a recipe of the plugin's own."""
    preset: Preset | None = field(default=None, hash=False)  # its mappings have no hash
    """What the plugin changes of the composed task, where that is all that its own task does."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.preset is not None and not (self.objective or self.preset.recipe):
            raise SpecError(f"TaskSpec {self.id!r}: a preset needs an objective or a recipe.")

    def target_of(self, field: str) -> str:
        """The target that a field names; ``preset.recipe``, ``preset.views`` and ``preset.corruption`` are fields, too."""
        owner, _, name = field.rpartition(".")
        if owner == "preset":
            target: str = getattr(self.preset, name) if self.preset is not None else ""
            return target
        return super().target_of(field)

    def _targets(self) -> tuple[str, ...]:
        return (*super()._targets(), "preset.recipe", "preset.views", "preset.corruption")


@dataclass(frozen=True, kw_only=True)
class ObjectiveSpec(TargetSpec):
    """A method without its modality; the id is its usual name (``simclr``).

    ``target`` is a :class:`selfsup.objectives.ObjectiveRecipe` in the joint-embedding family, a
    :class:`selfsup.tasks.ReconstructionFamilyRecipe` in the reconstruction family and a
    :class:`selfsup.tasks.TaskFamilyRecipe` in the others.
    """

    family: Family
    paper: str
    title: str = ""
    """The method's name as its paper writes it (``"SimCLR"``); empty: the id in words."""
    compares_tokens: bool = False
    """Whether it compares tokens as well as whole samples: a composed task then has the modality's token backbone, and a
    modality without one does not have the task."""
    needs_teacher: bool = False
    """Whether it needs a trained encoder to learn from, which has to be named."""


@dataclass(frozen=True, kw_only=True)
class BackboneSpec(TargetSpec):
    """A network. ``target`` is a :class:`selfsup.backbones.BackboneRecipe`.

    An id that ends in ``/*`` (``timm/*``) stands for a family; what replaces the star becomes the config's ``name``.
    """

    modality: str
    tokens: bool = False
    """Whether it is a :class:`selfsup.backbones.TokenBackbone` (for a family: whether some of it are)."""


@dataclass(frozen=True, kw_only=True)
class EvaluatorSpec(TargetSpec):
    """A measurement of an encoder. ``target`` is a :class:`selfsup.evaluation.EvaluatorRecipe`."""

    modality: str = ""
    """The one modality it is for; empty for all."""
    needs_labels: bool = True
    needs_parts: bool = False
    """Whether it compares the embeddings of the parts of a row; raw features have none, and a benchmark leaves it out there."""
    label_kinds: tuple[str, ...] = ("class",)
    """Labels it can measure with: ``class`` (one a row), ``classes`` (several a row), ``number``."""
    paper: str = ""


@dataclass(frozen=True, kw_only=True)
class DatasetSpec(TargetSpec):
    """A named data set. ``target`` is ``(split: str) -> datasets.Dataset``."""

    modality: str
    splits: tuple[str, ...] = ("train", "test")
    label: str = "label"
    """The label column, or empty."""
    licence: str
    homepage: str = ""
    embedded: bool = False
    """Whether it comes with an installed package and needs no network."""


@dataclass(frozen=True, kw_only=True)
class BenchmarkSpec(Spec):
    """One line of a benchmark suite: a task, a data set and how they are measured.

    With the task ``<modality>/*`` it is a template: it stands for a line of each task ``<modality>/<objective>`` that needs
    neither labels nor a teacher, has a place on ``backbone``, and is named on that data set by no other line of the suite.
    Objectives that are installed later get lines in this way.
    """

    task: str
    """Id of the task, or ``<modality>/*``."""
    dataset: str = ""
    """Id of the data set or another source; empty in the suite ``own``, whose data the user gives."""
    suites: tuple[str, ...]
    """Suites that hold it: ``quick``, ``standard``, ...; ``own`` holds what is tried on a user's own data."""
    objectives: Literal["", "all", "others"] = ""
    """Objectives that a template stands for: ``all``, or only those that other packages than selfsup's own bring."""
    backbone: str = ""
    """Id of the backbone, of every reference too; empty: the task's default."""
    evaluators: tuple[str, ...] = ("few-labels", "linear")
    headline: str = "few-labels.accuracy@10"
    """``evaluator.metric`` that the leaderboard ranks by."""
    steps: int = 0
    """Pretraining budget in optimizer steps; 0 takes ``epochs``."""
    epochs: int = 0
    overrides: Mapping[str, Any] = field(default_factory=dict)
    """Dotted config keys, as for ``--set``. Of a template those that begin with an objective's id and a dot
    (``vicreg.objective.output_dim``) are for the task of that objective alone."""
    train_rows: int = 0
    """Pretrain on at most so many rows, drawn with the seed (0: all)."""
    references: tuple[str, ...] = ()
    """References beside random-init, supervised and raw: ``boosting`` (gradient-boosted trees on raw features), ``raw-NAME``
    (the modality's :attr:`ModalitySpec.other_raw_features`), ``supervised-BACKBONE`` (another network, trained with all
    labels; overrides that begin with the reference's name and a dot are its own)."""

    @property
    def is_template(self) -> bool:
        """Whether it stands for the tasks of a modality."""
        return self.task.endswith("/*")

    def __post_init__(self) -> None:
        super().__post_init__()
        own = self.suites == ("own",)
        if not self.dataset and not own:
            raise SpecError(f"BenchmarkSpec {self.id!r} needs a data set; only the suite 'own' has none.")
        if (self.steps and self.epochs) or not (self.steps or self.epochs or own):
            raise SpecError(f"BenchmarkSpec {self.id!r} needs either steps or epochs, and not both.")
        if self.is_template != bool(self.objectives):
            raise SpecError(
                f"BenchmarkSpec {self.id!r}: a template needs both a task '<modality>/*' and objectives ('all' or 'others'); "
                f"it has the task {self.task!r} and objectives={self.objectives!r}."
            )


@dataclass(frozen=True, kw_only=True)
class CommandSpec(TargetSpec):
    """A command of the CLI. ``target`` is a ``click.Command``, imported when it is called or its help is asked for."""


@dataclass(frozen=True, kw_only=True)
class LoggerSpec(TargetSpec):
    """Where metrics go. ``target(run_dir, config, start_step)`` makes a :class:`selfsup.training.observe.loggers.Logger`."""

    requires: tuple[str, ...] = ()
    """Import names it needs, checked before it is chosen."""
    install: str = ""
    """The command that installs them."""


@dataclass(frozen=True, kw_only=True)
class ExecutorSpec(TargetSpec):
    """Runs the cells of a benchmark. ``target`` is a class with ``run(cells)`` that yields each cell's outcome as it ends."""

    requires: tuple[str, ...] = ()
    """Import names it needs, checked before it is chosen."""
    install: str = ""
    """The command that installs them."""
