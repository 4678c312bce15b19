"""The specs of the tabular tasks that the core does not compose."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from selfsup.registry import Family, TaskSpec, preset

_BACKBONE = "mlp"
_TOKENS = "ft-transformer"


def _spec(
    name: str,
    module: str,
    family: Family,
    summary: str,
    paper: str,
    *,
    title: str = "",
    tokens: bool = False,
    labels: bool = False,
) -> TaskSpec:
    return TaskSpec(
        id=f"tabular/{name}",
        target=f"selfsup_tabular.tasks.{module}:RECIPE",
        title=title,
        summary=summary,
        paper=paper,
        modality="tabular",
        family=family,
        backbone=_TOKENS if tokens else _BACKBONE,
        needs_tokens=tokens,
        needs_labels=labels,
    )


def _joint(name: str, summary: str, paper: str, heads: Mapping[str, int], **config: Any) -> TaskSpec:
    """An objective on corruption views, with heads and an optimizer for tables.

    The papers train ResNet-50 on ImageNet, mostly with LARS and heads of up to 8192 units, far larger than encoders of tables.
    Everything else, the losses included, is as in the papers.
    """
    return preset(
        name, id=f"tabular/{name}", family="joint-embedding", summary=summary, paper=paper, backbone=_BACKBONE,
        config={"objective": heads, **config},
        optimization={
            "optimizer": "adamw", "lr": 1e-3, "weight_decay": 1e-4, "schedule": "cosine", "warmup_fraction": 0.05,
            "batch_size": 256,
        },
    )  # fmt: skip


SPECS: list[TaskSpec] = [
    # The views' own defaults are the paper's: one clean view, one with 60 % of the cells replaced.
    preset("simclr", id="tabular/scarf", family="joint-embedding", title="SCARF", backbone=_BACKBONE,
           recipe="selfsup_tabular.tasks.scarf:SCARF_OBJECTIVE",
           summary="Contrast a row and its copy, 60 % of whose cells are resampled from their columns, with other rows.",
           paper="Bahri et al. 2021, arXiv:2106.15147"),
    _spec("vime", "vime", "reconstruction", "Detect corrupted cells and reconstruct the row (mask and feature estimation).",
          "Yoon et al. 2020, NeurIPS (VIME)", title="VIME"),
    _spec("subtab", "subtab", "reconstruction", "Reconstruct the row from overlapping subsets of columns, and contrast them.",
          "Ucar et al. 2021, arXiv:2110.04361", title="SubTab"),
    _spec("saint", "saint", "reconstruction", "Contrast and denoise rows mixed with others by CutMix and mixup.",
          "Somepalli et al. 2021, arXiv:2106.01342", tokens=True, title="SAINT"),
    # After MET: the encoder sees the kept cells only, a shallow transformer reconstructs the masked ones. MET adds an
    # adversarial step in the input, compares all cells and not only the masked ones, and masks 70 % of them.
    preset("mae", id="tabular/masked-cells", family="masked-modeling", backbone=_TOKENS, needs_tokens=True,
           summary="Encode half of the cells and reconstruct the masked ones.",
           paper="after Majmundar et al. 2022, arXiv:2206.08564 (MET)",
           config={"mask_ratio": 0.5, "decoder_depth": 1, "normalize_targets": False},
           optimization={"lr": 1e-3, "weight_decay": 0.01, "batch_size": 256}),
    # After T-JEPA: sets of random cells instead of blocks. A regularization token, without which the paper observes collapse,
    # is part of the sequence in both encoders (--set backbone.reg_tokens=0 removes it). It is never predicted, and its output
    # is dropped. Unlike in the authors' code, targets are layer-normalised and compared by smooth L1, as in I-JEPA.
    preset("ijepa", id="tabular/jepa", family="latent-prediction", title="T-JEPA", backbone=_TOKENS, needs_tokens=True,
           summary="Predict a momentum teacher's representations of sets of cells from other cells.",
           paper="after Thimonier et al. 2024, arXiv:2410.05016 (T-JEPA)",
           config={"masking": "random", "n_targets": 4, "target_scale": (0.15, 0.4), "context_scale": (0.85, 1.0),
                   "context_share": 0.5, "min_context": 2, "predictor_depth": 2},
           optimization={"lr": 1e-3, "weight_decay": 0.01, "batch_size": 256}, backbone_options={"reg_tokens": 1}),
    _joint("vicreg", "Regularise the embeddings of corrupted views: invariance, variance and covariance.",
           "Bardes et al. 2021, arXiv:2105.04906", {"hidden_dim": 512, "output_dim": 512}),
    _joint("barlow-twins", "Make the cross-correlation matrix of two corrupted views' embeddings the identity.",
           "Zbontar et al. 2021, arXiv:2103.03230", {"hidden_dim": 512, "output_dim": 512}),
    _joint("byol", "Predict the momentum encoder's projection of the other corrupted view, without negatives.",
           "Grill et al. 2020, arXiv:2006.07733", {"hidden_dim": 512, "output_dim": 128},
           momentum={"start": 0.99, "end": 1.0}),
    _joint("simsiam", "Predict the projection of the other corrupted view, with stop-gradient and without negatives.",
           "Chen & He 2020, arXiv:2011.10566", {"hidden_dim": 512, "output_dim": 512, "bottleneck_dim": 128}),
    _spec("supervised-transfer", "supervised_transfer", "reference",
          "Train with labels while columns are masked at random, for transfer to tables with other columns.",
          "Levin et al. 2022, arXiv:2206.15306", labels=True),
]  # fmt: skip
"""The core composes the other tasks (denoising-autoencoder, mae, ijepa, data2vec, simclr, ...)."""
