"""Data sets that no package ships: they are read from the folder that ``SELFSUP_DATA`` names. Imports nothing heavy."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NoReturn

from selfsup.errors import SourceError
from selfsup.registry.specs import DatasetSpec


def _absent(modality: str, name: str) -> Callable[[str], NoReturn]:
    """What is called where the folder does not have a data set, in place of a loader."""

    def load(split: str) -> NoReturn:
        raise SourceError(
            f"the data set {name} comes with no package. Set SELFSUP_DATA to a folder that holds it as "
            f"{modality}/{name}/{split}.parquet."
        )

    return load


BLOOD_CELLS = _absent("vision", "blood_cells")
ADULT = _absent("tabular", "adult")
LETTER = _absent("tabular", "letter")
FASHION_PRODUCTS = _absent("multimodal", "fashion_products")
EMOJI_GOOGLE = _absent("multimodal", "emoji_google")
ZH_THUCNEWS_TITLES = _absent("text", "zh_thucnews_titles")
SST2 = _absent("text", "sst2")
FSDD = _absent("audio", "fsdd")
ESC10 = _absent("audio", "esc10")
SURVEILLANCE_FIGHT = _absent("video", "surveillance_fight")
LUNG_ULTRASOUND = _absent("video", "lung_ultrasound")


def _spec(id: str, modality: str, summary: str, licence: str, homepage: str, *, label: str = "label") -> DatasetSpec:
    target = f"{__name__}:{id.upper()}"
    given: dict[str, Any] = {"id": id, "modality": modality, "summary": summary, "licence": licence, "homepage": homepage}
    return DatasetSpec(target=target, label=label, **given)


SPECS: tuple[DatasetSpec, ...] = (
    _spec(
        "blood_cells",
        "vision",
        "1,613 crops (64x64) of blood cells under a microscope, 3 classes of unequal size; from SELFSUP_DATA.",
        "MIT (BCCD)",
        "https://github.com/Shenggan/BCCD_Dataset",
    ),
    _spec(
        "adult",
        "tabular",
        "32,561 people of a census, 14 columns, and whether they earn more than 50,000 dollars; from SELFSUP_DATA.",
        "UCI Adult, CC BY 4.0",
        "https://archive.ics.uci.edu/dataset/2/adult",
        label="income",
    ),
    _spec(
        "letter",
        "tabular",
        "20,000 distorted letters, 16 measured columns, 26 classes; from SELFSUP_DATA.",
        "UCI Letter Recognition, CC BY 4.0",
        "https://archive.ics.uci.edu/dataset/59/letter+recognition",
        label="letter",
    ),
    _spec(
        "fashion_products",
        "multimodal",
        "9,158 product photographs (60x80) with titles, 142 kinds of articles; from SELFSUP_DATA.",
        "none stated by the copies; for development and research",
        "https://www.kaggle.com/datasets/paramaggarwal/fashion-product-images-small",
        label="articleType",
    ),
    _spec(
        "emoji_google",
        "multimodal",
        "1,906 emoji pictures (64x64) with names and keywords, 9 categories of unequal size; from SELFSUP_DATA.",
        "Apache-2.0 (Noto Emoji); names MIT (emojibase), Unicode licence",
        "https://github.com/googlefonts/noto-emoji",
        label="category",
    ),
    _spec(
        "zh_thucnews_titles",
        "text",
        "10,000 Chinese headlines of ten topics, and 10,000 to test; from SELFSUP_DATA.",
        "MIT (the copy); THUCNews itself is for research",
        "https://github.com/649453932/Chinese-Text-Classification-Pytorch",
    ),
    _spec(
        "sst2",
        "text",
        "6,920 sentences of film reviews, which praise or blame; from SELFSUP_DATA.",
        "none stated for the reviews; Socher et al. 2013",
        "https://nlp.stanford.edu/sentiment/",
    ),
    _spec(
        "fsdd",
        "audio",
        "2,000 spoken digits of four speakers, and 1,000 of two others to test; from SELFSUP_DATA.",
        "CC BY-SA 4.0",
        "https://github.com/Jakobovski/free-spoken-digit-dataset",
    ),
    _spec(
        "esc10",
        "audio",
        "320 noises of five seconds, 10 classes, and 80 to test; from SELFSUP_DATA.",
        "CC BY 3.0",
        "https://github.com/karolpiczak/ESC-10",
    ),
    _spec(
        "surveillance_fight",
        "video",
        "240 clips of surveillance cameras, half of them of fights, and 60 to test; from SELFSUP_DATA.",
        "MIT",
        "https://github.com/seymanurakti/fight-detection-surv-dataset",
    ),
    _spec(
        "lung_ultrasound",
        "video",
        "83 ultrasound clips of lungs, 3 classes of unequal size, and 35 to test; from SELFSUP_DATA.",
        "clip by clip: CC BY 2.0 to CC BY-NC-SA 4.0",
        "https://github.com/jannisborn/covid19_pocus_ultrasound",
    ),
)
"""Those of the suite ``real`` that are registered nowhere else."""
