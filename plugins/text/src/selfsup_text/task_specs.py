"""The specs of the text tasks that the core does not compose."""

from __future__ import annotations

from selfsup.registry import Family, TaskSpec, preset

_ENCODER = "text-encoder-small"


def _spec(
    name: str,
    family: Family,
    summary: str,
    paper: str,
    *,
    title: str = "",
    backbone: str = _ENCODER,
    tokens: bool = True,
) -> TaskSpec:
    return TaskSpec(
        id=f"text/{name}",
        target=f"selfsup_text.tasks.{name.replace('-', '_')}:RECIPE",
        title=title,
        summary=summary,
        paper=paper,
        modality="text",
        family=family,
        backbone=backbone,
        needs_tokens=tokens,
    )


SPECS: list[TaskSpec] = [
    _spec("mlm", "masked-modeling", "Predict masked tokens from their context (15 %, 80/10/10; single tokens or whole words).",
          "Devlin et al. 2018, arXiv 1810.04805", title="MLM"),
    preset("next-token", id="text/clm", family="autoregressive", title="CLM", backbone="text-decoder-small", needs_tokens=True,
           recipe="selfsup_text.tasks.clm:CLM_FAMILY", processor={"packing": "blocks"},
           summary="Predict the next token in packed blocks (causal language modelling).",
           paper="Radford et al. 2018, Improving language understanding by generative pre-training"),
    _spec("span-corruption", "reconstruction", "Reconstruct dropped spans with a small decoder (T5).",
          "Raffel et al. 2019, arXiv 1910.10683"),
    _spec("electra", "masked-modeling", "Detect which tokens a small generator has replaced.",
          "Clark et al. 2020, arXiv 2003.10555", title="ELECTRA"),
    # data2vec for text (section 4.3): a learned vector replaces every masked token.
    preset("data2vec", id="text/data2vec", family="latent-prediction", backbone=_ENCODER, needs_tokens=True,
           summary="Predict a momentum teacher's averaged top layers at masked tokens.",
           paper="Baevski et al. 2022, arXiv 2202.03555", processor={"packing": "blocks"},
           config={"masking": "random", "mask_ratio": 0.15, "top_layers": 10, "beta": 4.0, "head_layers": 2,
                   "teacher": {"start": 0.999, "end": 0.9999, "ramp": 0.1}},
           optimization={"optimizer": "adamw", "lr": 5e-4, "betas": (0.9, 0.98), "weight_decay": 0.01,
                         "warmup_fraction": 0.05}),
    # Only dropout makes the views. The paper's 3e-5 at a batch of 64 is for a pretrained BERT.
    preset("simclr", id="text/simcse", family="joint-embedding", title="SimCSE", backbone=_ENCODER,
           recipe="selfsup_text.tasks.simcse:SIMCSE_OBJECTIVE",
           summary="Contrast a sentence under two dropout masks with the other sentences of the batch.",
           paper="Gao et al. 2021, arXiv 2104.08821", views={"global_share": (1.0, 1.0), "deletion": 0.0, "dropout": 0.1},
           optimization={"optimizer": "adamw", "lr": 5e-4, "weight_decay": 0.0, "warmup_fraction": 0.0, "clip": 1.0}),
    _spec("tsdae", "reconstruction", "Delete 60 % of a sentence's tokens and reconstruct it from the sentence embedding.",
          "Wang et al. 2021, arXiv 2104.06979", title="TSDAE"),
    # AdamW instead of the paper's LAMB at a batch of 4096.
    preset(id="text/sentence-order", family="transformation", backbone=_ENCODER,
           recipe="selfsup_text.tasks.sentence_order:RECIPE",
           summary="Predict whether the two halves of a text were swapped (ALBERT).", paper="Lan et al. 2019, arXiv 1909.11942",
           optimization={"optimizer": "adamw", "lr": 5e-4, "weight_decay": 0.01, "warmup_fraction": 0.05, "clip": 1.0}),
    _spec("word2vec", "joint-embedding", "Predict neighbouring tokens from a token's vector (skip-gram, negative sampling).",
          "Mikolov et al. 2013, arXiv 1310.4546", backbone="word-vectors", tokens=False),
    _spec("random-init", "reference", "Reference: the backbone at initialisation, without training.",
          "none: the floor that pretraining has to beat", tokens=False),
]  # fmt: skip
"""The core composes the other tasks (vicreg, barlow-twins, byol and others)."""
