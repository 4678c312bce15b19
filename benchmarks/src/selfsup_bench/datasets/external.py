"""Data sets that no package ships: they are read from the folder that ``SELFSUP_DATA`` names. Imports nothing heavy."""

from __future__ import annotations

from collections.abc import Callable
from typing import NoReturn

from selfsup.errors import SourceError
from selfsup.registry import DatasetSpec


def _spec(id: str, modality: str, summary: str, licence: str, homepage: str, *, label: str = "label") -> DatasetSpec:
    return DatasetSpec(
        id=id,
        modality=modality,
        summary=f"{summary}; from SELFSUP_DATA.",
        target=f"{__name__}:{id}",
        licence=licence,
        homepage=homepage,
        label=label,
    )


_UCI = "https://archive.ics.uci.edu/dataset"
SPECS: tuple[DatasetSpec, ...] = (
    _spec(
        "blood_cells",
        "vision",
        "1,613 crops (64x64) of blood cells under a microscope, 3 classes of unequal size",
        "MIT (BCCD)",
        "https://github.com/Shenggan/BCCD_Dataset",
    ),
    _spec(
        "adult",
        "tabular",
        "32,561 people of a census, 14 columns, and whether they earn more than 50,000 dollars",
        "UCI Adult, CC BY 4.0",
        f"{_UCI}/2/adult",
        label="income",
    ),
    _spec(
        "letter",
        "tabular",
        "20,000 distorted letters, 16 measured columns, 26 classes",
        "UCI Letter Recognition, CC BY 4.0",
        f"{_UCI}/59/letter+recognition",
        label="letter",
    ),
    _spec(
        "bank_marketing",
        "tabular",
        "45,211 calls of a bank, 16 columns, and whether a deposit was made",
        "UCI Bank Marketing, CC BY 4.0",
        f"{_UCI}/222/bank+marketing",
        label="y",
    ),
    _spec(
        "credit_default",
        "tabular",
        "30,000 credit cards, 23 columns, and whether the next payment failed",
        "UCI Default of Credit Card Clients, CC BY 4.0",
        f"{_UCI}/350/default+of+credit+card+clients",
        label="default",
    ),
    _spec(
        "online_shoppers",
        "tabular",
        "12,330 visits of a shop, 17 columns, and whether something was bought",
        "UCI Online Shoppers Purchasing Intention, CC BY 4.0",
        f"{_UCI}/468/online+shoppers+purchasing+intention+dataset",
        label="Revenue",
    ),
    _spec(
        "telco_churn",
        "tabular",
        "7,043 customers of a telephone company, 19 columns, and whether they left",
        "none stated (IBM sample data)",
        "https://github.com/IBM/telco-customer-churn-on-icp4d",
        label="Churn",
    ),
    _spec(
        "fashion_products",
        "multimodal",
        "9,158 product photographs (60x80) with titles, 142 kinds of articles",
        "none stated by the copies; for development and research",
        "https://www.kaggle.com/datasets/paramaggarwal/fashion-product-images-small",
        label="articleType",
    ),
    _spec(
        "emoji_google",
        "multimodal",
        "1,906 emoji pictures (64x64) with names and keywords, 9 categories of unequal size",
        "Apache-2.0 (Noto Emoji); names MIT (emojibase), Unicode licence",
        "https://github.com/googlefonts/noto-emoji",
        label="category",
    ),
    _spec(
        "zh_thucnews_titles",
        "text",
        "10,000 Chinese headlines of ten topics, and 10,000 to test",
        "MIT (the copy); THUCNews itself is for research",
        "https://github.com/649453932/Chinese-Text-Classification-Pytorch",
    ),
    _spec(
        "sst2",
        "text",
        "6,920 sentences of film reviews, positive or negative",
        "none stated for the reviews; Socher et al. 2013",
        "https://nlp.stanford.edu/sentiment/",
    ),
    _spec(
        "imdb_12k",
        "text",
        "8,000 film reviews, positive or negative, and 4,000 to test",
        "none stated; Maas et al. 2011",
        "https://ai.stanford.edu/~amaas/data/sentiment/",
    ),
    _spec(
        "zh_chnsenticorp_hotel",
        "text",
        "6,212 Chinese hotel reviews, positive or negative, and 1,553 to test",
        "none stated; collected by Tan Songbo",
        "https://github.com/SophonPlus/ChineseNlpCorpus",
    ),
    _spec(
        "fsdd",
        "audio",
        "2,000 spoken digits of four speakers, and 1,000 of two others to test",
        "CC BY-SA 4.0",
        "https://github.com/Jakobovski/free-spoken-digit-dataset",
    ),
    _spec(
        "esc10",
        "audio",
        "320 noises of five seconds, 10 classes, and 80 to test",
        "CC BY 3.0",
        "https://github.com/karolpiczak/ESC-10",
    ),
    _spec(
        "surveillance_fight",
        "video",
        "240 clips of surveillance cameras, half of them of fights, and 60 to test",
        "MIT",
        "https://github.com/seymanurakti/fight-detection-surv-dataset",
    ),
    _spec(
        "lung_ultrasound",
        "video",
        "83 ultrasound clips of lungs, 3 classes of unequal size, and 35 to test",
        "clip by clip: CC BY 2.0 to CC BY-NC-SA 4.0",
        "https://github.com/jannisborn/covid19_pocus_ultrasound",
    ),
)
"""Those of the suites ``real`` and ``tasks`` that are registered nowhere else."""


def __getattr__(name: str) -> Callable[[str], NoReturn]:
    """What is called where the folder does not have a data set, in place of a loader."""
    spec = next((spec for spec in SPECS if spec.id == name), None)
    if spec is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

    def load(split: str) -> NoReturn:
        raise SourceError(
            f"the data set {name} comes with no package. Set SELFSUP_DATA to a folder that holds it as "
            f"{spec.modality}/{name}/{split}.parquet."
        )

    return load
