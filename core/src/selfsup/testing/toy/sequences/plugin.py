"""The entry module: hooks that return specs. Nothing heavy is imported here."""

from __future__ import annotations

from selfsup.registry import BackboneSpec, DatasetSpec, ModalitySpec, TaskSpec, hookimpl, preset

SELFSUP_API = 1

_HERE = "selfsup.testing.toy.sequences"
_PAIRS = "selfsup.testing.toy.pairs"
_VECTORS = "selfsup.testing.toy.vectors"


@hookimpl
def selfsup_modalities() -> list[ModalitySpec]:
    """Sequences, rows that join two sequences, and vectors, which have no tokens."""
    return [
        ModalitySpec(
            id="sequence",
            summary="Sequences of ids or of frames; synthetic, for tests.",
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
        ),
        ModalitySpec(
            id="sequence-pair",
            summary="Rows of two sequences; one may be missing; synthetic, for tests.",
            target=f"{_PAIRS}.processor:PairProcessor",
            joins=True,
            backbone="sequence-pair/towers",
            token_backbone="sequence-pair/fusion",
            views=f"{_PAIRS}.views:VIEWS",
            raw_features=f"{_PAIRS}.features:raw_features",
            mock_rows=f"{_PAIRS}.rows:mock_rows",
        ),
        ModalitySpec(
            id="vector",
            summary="Vectors of fixed length, without tokens; synthetic, for tests.",
            target=f"{_VECTORS}:VectorProcessor",
            columns={"vector": "List"},
            backbone="vector/mlp",
            views=f"{_VECTORS}:VIEWS",
            raw_features=f"{_VECTORS}:raw_features",
            mock_rows=f"{_VECTORS}:mock_rows",
        ),
    ]


@hookimpl
def selfsup_backbones() -> list[BackboneSpec]:
    """For sequences three networks, for pairs two of towers and one over all tokens, for vectors one without tokens."""
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
        BackboneSpec(
            id="sequence-pair/towers",
            summary="A network for each of two sequences, projected into one space.",
            target=f"{_PAIRS}.backbones:TOWERS",
            modality="sequence-pair",
        ),
        BackboneSpec(
            id="sequence-pair/separate",
            summary="A network for each of two sequences, with spaces of their own.",
            target=f"{_PAIRS}.backbones:SEPARATE",
            modality="sequence-pair",
        ),
        BackboneSpec(
            id="sequence-pair/fusion",
            summary="Two-layer transformer over the ids of both sequences.",
            target=f"{_PAIRS}.backbones:FUSION",
            modality="sequence-pair",
            tokens=True,
        ),
        BackboneSpec(
            id="vector/mlp",
            summary="Two linear layers.",
            target=f"{_VECTORS}:NETWORK",
            modality="vector",
        ),
    ]


@hookimpl
def selfsup_tasks() -> list[TaskSpec]:
    """The one task that no objective of the core gives: its transformation is the modality's own."""
    return [
        preset(
            id="sequence/segment-order",
            summary="Predict the permutation of three shuffled segments.",
            recipe=f"{_HERE}.transformation:RECIPE",
            family="transformation",
            paper="after Noroozi & Favaro 2016, arXiv 1603.09246",
            config={"head_dims": (32,)},
        )
    ]


@hookimpl
def selfsup_datasets() -> list[DatasetSpec]:
    """Synthetic rows with labels."""
    return [
        DatasetSpec(
            id="toy-sequences",
            summary="Synthetic sequences of ids; the class is the step from one id to the next.",
            target=f"{_HERE}.rows:id_dataset",
            modality="sequence",
            licence="Apache-2.0",
            embedded=True,
        ),
        DatasetSpec(
            id="toy-frames",
            summary="Synthetic frames of four channels; the class is the frequency.",
            target=f"{_HERE}.rows:frame_dataset",
            modality="sequence",
            licence="Apache-2.0",
            embedded=True,
        ),
        DatasetSpec(
            id="toy-pairs",
            summary="Synthetic pairs of sequences of ids, a fifth with one alone; the class is the step between ids.",
            target=f"{_PAIRS}.rows:pair_dataset",
            modality="sequence-pair",
            licence="Apache-2.0",
            embedded=True,
        ),
    ]
