"""The entry module: hooks that return specs. Nothing heavy is imported here."""

from __future__ import annotations

from selfsup.plugins.hookspecs import hookimpl
from selfsup.specs import BackboneSpec, DatasetSpec, ModalitySpec, TaskSpec

SELFSUP_API = 1

_HERE = "selfsup.testing.sequences"


@hookimpl
def selfsup_modalities() -> list[ModalitySpec]:
    """One kind of data."""
    return [
        ModalitySpec(
            id="sequence",
            summary="Sequences of ids or of frames; made up, for tests.",
            target=f"{_HERE}.processor:SequenceProcessor",
            columns={"sequence": "List"},
            backbone="sequence/transformer",
            token_backbone="sequence/transformer",
            causal_backbone="sequence/causal",
            views=f"{_HERE}.views:VIEWS",
            corruption=f"{_HERE}.corruption:CORRUPTION",
            corruption_needs_tokens=True,
            supervised_views=f"{_HERE}.views:SUPERVISED_VIEWS",
            raw_features=f"{_HERE}.features:raw_features",
            mock_rows=f"{_HERE}.rows:mock_rows",
            noise_rows=f"{_HERE}.rows:NOISE_ROWS",
        )
    ]


@hookimpl
def selfsup_backbones() -> list[BackboneSpec]:
    """One with tokens, one without, one with tokens that look back only."""
    return [
        BackboneSpec(
            id="sequence/transformer",
            summary="Two-layer transformer over ids or frames.",
            target=f"{_HERE}.backbones:TRANSFORMER",
            modality="sequence",
            tokens=True,
        ),
        BackboneSpec(
            id="sequence/conv",
            summary="Two convolutions with batch norm over ids or frames.",
            target=f"{_HERE}.backbones:CONV",
            modality="sequence",
        ),
        BackboneSpec(
            id="sequence/causal",
            summary="Two-layer transformer over ids or frames, in which a token sees only those before it.",
            target=f"{_HERE}.backbones:CAUSAL",
            modality="sequence",
            tokens=True,
        ),
    ]


@hookimpl
def selfsup_tasks() -> list[TaskSpec]:
    """The one task that no objective of the core gives: its transformation is the modality's own."""
    return [
        TaskSpec(
            id="sequence/segment-order",
            summary="In which order three segments were put together.",
            target=f"{_HERE}.transformation:SEGMENT_ORDER",
            modality="sequence",
            family="transformation",
            paper="after Noroozi & Favaro 2016, arXiv 1603.09246",
        )
    ]


@hookimpl
def selfsup_datasets() -> list[DatasetSpec]:
    """Made-up rows with labels."""
    return [
        DatasetSpec(
            id="toy-sequences",
            summary="Made-up sequences of ids; the class is the step from one id to the next.",
            target=f"{_HERE}.rows:id_dataset",
            modality="sequence",
            licence="Apache-2.0",
            embedded=True,
        ),
        DatasetSpec(
            id="toy-frames",
            summary="Made-up frames of four channels; the class is the frequency.",
            target=f"{_HERE}.rows:frame_dataset",
            modality="sequence",
            licence="Apache-2.0",
            embedded=True,
        ),
    ]
