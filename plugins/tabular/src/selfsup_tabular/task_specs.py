"""The tasks of this plugin with a recipe of their own, and its command, as light specs."""

from __future__ import annotations

from selfsup.registry.specs import CommandSpec, Family, TaskSpec

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
    recipe: str = "RECIPE",
    objective: str = "",
    tokens: bool = False,
    labels: bool = False,
) -> TaskSpec:
    return TaskSpec(
        id=f"tabular/{name}",
        target=f"selfsup_tabular.tasks.{module}:{recipe}",
        title=title,
        summary=summary,
        paper=paper,
        modality="tabular",
        family=family,
        objective=objective,
        backbone=_TOKENS if tokens else _BACKBONE,
        needs_tokens=tokens,
        needs_labels=labels,
    )


def _joint(name: str, summary: str, paper: str) -> TaskSpec:
    recipe = name.upper().replace("-", "_")
    return _spec(name, "joint_embedding", "joint-embedding", summary, paper, recipe=recipe, objective=name)


SPECS: list[TaskSpec] = [
    _spec("scarf", "scarf", "joint-embedding", "A row finds its copy with 60 % of the cells drawn anew from their columns.",
          "Bahri et al. 2021, arXiv:2106.15147", objective="simclr", title="SCARF"),
    _spec("vime", "vime", "reconstruction", "Which cells were changed, and what were they?",
          "Yoon et al. 2020, NeurIPS (VIME)", title="VIME"),
    _spec("subtab", "subtab", "reconstruction", "Overlapping subsets of the columns give the row back and attract each other.",
          "Ucar et al. 2021, arXiv:2110.04361", title="SubTab"),
    _spec("saint", "saint", "reconstruction", "Contrast and denoise rows that CutMix and mixup have mixed with others.",
          "Somepalli et al. 2021, arXiv:2106.01342", tokens=True, title="SAINT"),
    _spec("masked-cells", "token_tasks", "masked-modeling", "Encode half of the cells, give the others back.",
          "after Majmundar et al. 2022, arXiv:2206.08564 (MET)", recipe="MASKED_CELLS", objective="mae", tokens=True),
    _spec("jepa", "token_tasks", "latent-prediction", "Predict a teacher's representation of sets of cells from other cells.",
          "after Thimonier et al. 2024, arXiv:2410.05016 (T-JEPA)", recipe="JEPA", objective="ijepa", tokens=True,
          title="T-JEPA"),
    _joint("vicreg", "Corrupted views close, variance up, covariance down.", "Bardes et al. 2021, arXiv:2105.04906"),
    _joint("barlow-twins", "Make the cross-correlation of two corrupted views the identity.",
           "Zbontar et al. 2021, arXiv:2103.03230"),
    _joint("byol", "Predict a momentum network's projection of the other corrupted view; no negatives.",
           "Grill et al. 2020, arXiv:2006.07733"),
    _joint("simsiam", "Predict the other corrupted view's projection, through which no gradient flows.",
           "Chen & He 2020, arXiv:2011.10566"),
    _spec("supervised-transfer", "supervised_transfer", "reference",
          "Trained with labels and with columns hidden at random, to be carried over to tables that lack some.",
          "Levin et al. 2022, arXiv:2206.15306", labels=True),
]  # fmt: skip
"""What the core composes by itself (denoising-autoencoder, mae, ijepa, data2vec, simclr, ...) is not among them."""

COMMANDS: list[CommandSpec] = [
    CommandSpec(
        id="transfer",
        summary="Carry an encoder of tables over to a table with partly other columns.",
        target="selfsup_tabular.transfer_command:command",
    )
]
"""The command line's half of :func:`selfsup_tabular.transfer`."""
