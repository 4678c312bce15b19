"""The tasks of this plugin with a recipe of their own, as light specs, and the backbone that one of them needs."""

from __future__ import annotations

from selfsup.registry.specs import BackboneSpec, Family, TaskSpec

_ENCODER = "text-encoder-small"


def _spec(
    name: str,
    family: Family,
    summary: str,
    paper: str,
    *,
    title: str = "",
    objective: str = "",
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
        objective=objective,
        backbone=backbone,
        needs_tokens=tokens,
    )


SPECS: list[TaskSpec] = [
    _spec("mlm", "masked-modeling", "Tell hidden tokens from those around them; 15 %, 80/10/10, single or whole words.",
          "Devlin et al. 2018, arXiv 1810.04805", title="MLM"),
    _spec("clm", "autoregressive", "Tell each token from those before it, in packed blocks.",
          "Radford et al. 2018, Improving language understanding by generative pre-training", objective="next-token",
          backbone="text-decoder-small", title="CLM"),
    _spec("span-corruption", "reconstruction", "Cut spans out, and let a small decoder say what they were.",
          "Raffel et al. 2019, arXiv 1910.10683"),
    _spec("electra", "masked-modeling", "Tell the tokens that a small generator has put in from the text's own.",
          "Clark et al. 2020, arXiv 2003.10555", title="ELECTRA"),
    _spec("data2vec", "latent-prediction", "Predict a teacher's averaged layers at hidden tokens.",
          "Baevski et al. 2022, arXiv 2202.03555", objective="data2vec"),
    _spec("simcse", "joint-embedding", "A sentence under two dropout masks, against the others of its batch.",
          "Gao et al. 2021, arXiv 2104.08821", objective="simclr", tokens=False, title="SimCSE"),
    _spec("tsdae", "reconstruction", "Give a sentence back from the embedding of what is left of it, 40 % of its tokens.",
          "Wang et al. 2021, arXiv 2104.06979", title="TSDAE"),
    _spec("sentence-order", "transformation", "Were the two halves of a text swapped?", "Lan et al. 2019, arXiv 1909.11942",
          tokens=False),
    _spec("word2vec", "joint-embedding", "A token's vector tells which tokens stand near it (skip-gram, negative sampling).",
          "Mikolov et al. 2013, arXiv 1310.4546", backbone="word-vectors", tokens=False),
    _spec("random-init", "reference", "Reference: the backbone as it is initialised, without any training.",
          "none: the floor that pretraining has to beat", tokens=False),
]  # fmt: skip
"""Tasks of which the text differs from what the core composes; vicreg, barlow-twins, byol and others are composed."""

BACKBONES: list[BackboneSpec] = [
    BackboneSpec(
        id="word-vectors",
        target="selfsup_text.backbones.word_vectors:RECIPE",
        summary="A table of word vectors, and their mean for a text; trained by text/word2vec.",
        modality="text",
    )
]
