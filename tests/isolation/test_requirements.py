"""No distribution requires a package of a modality that is not its own."""

import re
from importlib import metadata

from packaging.requirements import Requirement

MODALITY_PACKAGES = {"torchvision", "torchaudio", "soundfile", "soxr", "av", "transformers", "timm"}


def requirements(name, seen):
    """Names of all distributions that one needs, without extras."""
    for line in metadata.distribution(name).requires or []:
        requirement = Requirement(line)
        key = re.sub(r"[-_.]+", "-", requirement.name).lower()
        if key in seen or (requirement.marker and not requirement.marker.evaluate({"extra": ""})):
            continue
        seen.add(key)
        try:
            requirements(key, seen)
        except metadata.PackageNotFoundError:
            continue
    return seen


def test_nothing_that_the_core_requires_belongs_to_a_modality():
    found = requirements("selfsup", set())
    assert {"torch", "pluggy", "datasets"} <= found
    assert found.isdisjoint(MODALITY_PACKAGES)


def test_a_plugin_brings_no_package_of_another_modality():
    text = requirements("selfsup-text", set())
    assert {"selfsup", "transformers", "tokenizers"} <= text
    assert text.isdisjoint(MODALITY_PACKAGES - {"transformers"})
    tabular = requirements("selfsup-tabular", set())
    assert {"selfsup", "scikit-learn"} <= tabular
    assert tabular.isdisjoint(MODALITY_PACKAGES | {"tokenizers"})
    multimodal = requirements("selfsup-multimodal", set())
    assert {"selfsup", "torch"} <= multimodal
    assert multimodal.isdisjoint(MODALITY_PACKAGES | {"tokenizers"})
    audio = requirements("selfsup-audio", set())
    assert {"selfsup", "torchaudio", "soundfile", "soxr", "transformers"} <= audio
    assert audio.isdisjoint({"torchvision", "timm", "av"})
    video = requirements("selfsup-video", set())
    assert {"selfsup", "torchvision", "timm", "av"} <= video
    assert video.isdisjoint({"torchaudio", "soundfile", "soxr", "transformers", "tokenizers"})


def test_the_benchmark_requires_no_plugin():
    found = requirements("selfsup-bench", set())
    assert "selfsup" in found
    assert found.isdisjoint(MODALITY_PACKAGES)
    assert {name for name in found if name.startswith("selfsup-")} == set()
