"""Registers the tabular plugin: its modality, backbones, tasks and command. Imports nothing heavy."""

from __future__ import annotations

from selfsup.registry import BackboneSpec, CommandSpec, Flag, ModalitySpec, TaskSpec, hookimpl
from selfsup_tabular.task_specs import SPECS

SELFSUP_API = 1


@hookimpl
def selfsup_modalities() -> list[ModalitySpec]:
    """The modality ``tabular``."""

    def flag(name: str, summary: str) -> Flag:
        return Flag(name=name, option=f"processor.{name}", summary=summary, metavar="COL,COL")

    return [
        ModalitySpec(
            id="tabular",
            summary="Tables of numbers, categories and dates: csv, parquet, pandas, polars, Arrow.",
            target="selfsup_tabular.processor:TableProcessor",
            suffixes=(".csv", ".tsv", ".parquet", ".json", ".jsonl", ".arrow"),
            backbone="mlp",
            token_backbone="ft-transformer",
            views="selfsup_tabular.augmentations:RECIPE",
            corruption="selfsup_tabular.corruptions.denoising:RECIPE",
            raw_features="selfsup_tabular.features:columns",
            raw_title="columns",
            mock_rows="selfsup_tabular.mock:mock_rows",
            flags=(
                flag("categorical", "Columns to use as categories."),
                flag("numeric", "Columns to use as numbers."),
                flag("dates", "Columns to use as dates."),
                flag("drop", "Columns to drop."),
            ),
        )
    ]


@hookimpl
def selfsup_backbones() -> list[BackboneSpec]:
    """Three networks; one has a token per cell."""

    def spec(id: str, target: str, summary: str, *, tokens: bool = False) -> BackboneSpec:
        where = f"selfsup_tabular.backbones.{target}"
        return BackboneSpec(id=id, target=where, summary=summary, modality="tabular", tokens=tokens)

    return [
        spec("mlp", "mlp:MLP", "MLP on all cells of a row; by default four layers of 256, as in SCARF."),
        spec("tabular-resnet", "resnet:RESNET", "ResNet on all cells of a row: residual blocks of linear layers."),
        spec("ft-transformer", "ft_transformer:FT_TRANSFORMER", "Transformer, one token per cell.", tokens=True),
    ]


@hookimpl
def selfsup_tasks() -> list[TaskSpec]:
    """The tasks with a recipe of their own; the core composes the others (dcl, tico, data2vec, ...)."""
    return list(SPECS)


@hookimpl
def selfsup_commands() -> list[CommandSpec]:
    """``selfsup transfer``."""
    return [
        CommandSpec(
            id="transfer",
            summary="Transfer an encoder of tables to a table with partly different columns.",
            target="selfsup_tabular.transfer_command:command",
        )
    ]
