"""The core works where no plugin and no package of a single modality is installed."""

import os
import re
import subprocess
import sys
from importlib import metadata

from packaging.requirements import Requirement

MODALITY_PACKAGES = {"torchvision", "torchaudio", "soundfile", "soxr", "av", "transformers", "timm"}

IMPORT_ALL = """
import importlib, pkgutil, sys

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {absent!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Absent())
import selfsup
names = [m.name for m in pkgutil.walk_packages(selfsup.__path__, "selfsup.") if not m.name.endswith("__main__")]
for name in names:
    importlib.import_module(name)
print(len(names))
"""


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


def test_every_module_of_the_core_imports_without_them():
    plugins = {f"selfsup_{name}" for name in ("audio", "images", "multimodal", "tabular", "text", "video", "vision")}
    absent = MODALITY_PACKAGES | plugins | {"selfsup_bench", "PIL"}
    env = {**os.environ, "SELFSUP_PLUGINS": "", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", IMPORT_ALL.format(absent=absent)], capture_output=True, text=True, check=False, env=env
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 20
