"""Each of these plugins imports, to its last module, where the packages of other modalities are not installed."""

import os
import subprocess
import sys

import pytest

IMPORT_ALL = """
import importlib, importlib.util, pkgutil, sys

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {absent!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

found = importlib.util.find_spec
# Libraries ask in this way what is installed, and expect None.
importlib.util.find_spec = lambda name, package=None: None if name.partition(".")[0] in {absent!r} else found(name, package)
sys.meta_path.insert(0, Absent())
package = importlib.import_module({package!r})
names = [m.name for m in pkgutil.walk_packages(package.__path__, package.__name__ + ".")]
for name in names:
    importlib.import_module(name)
from selfsup.registry import registry
{before}
modality = {package!r}.removeprefix("selfsup_")
house = registry()
rows = house.modality_objects(modality).mock_rows(16, 0)
processor = house.processor_class(modality)(house.processor_class(modality).Config()).fit(rows)
backbone, _ = house.build_backbone(house.modalities[modality].backbone, {{}}, processor.info())
print(len(names), tuple(backbone(processor(rows)).pooled.shape)[0])
"""
TRY_AUDIO = """
try:
    registry().processor_class("multimodal").choose_columns(None, {"parts": ["sequence", "audio"]})
except MissingPluginError as error:
    print(error)
"""
PACKAGES = {
    "selfsup_audio": {"torchaudio", "soundfile", "soxr", "transformers", "tokenizers"},
    "selfsup_tabular": set(),
    "selfsup_text": {"transformers", "tokenizers"},
    "selfsup_video": {"selfsup_images", "torchvision", "timm", "av", "PIL"},
    "selfsup_vision": {"selfsup_images", "torchvision", "timm", "PIL"},
}
"""What each plugin may import of the packages that belong to some modality."""
OF_SOME_MODALITY = set().union(*PACKAGES.values())


@pytest.mark.parametrize("package", sorted(PACKAGES))
def test_a_plugin_works_alone(package):
    absent = (OF_SOME_MODALITY - PACKAGES[package]) | (PACKAGES.keys() - {package}) | {"selfsup_bench"}
    env = {**os.environ, "SELFSUP_PLUGINS": package.removeprefix("selfsup_"), "OMP_NUM_THREADS": "1"}
    code = IMPORT_ALL.format(absent=absent, package=package, before="")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, env=env)
    assert done.returncode == 0, done.stderr
    modules, rows = map(int, done.stdout.split())
    assert modules > 5
    assert rows == 16


def test_what_joins_modalities_works_where_none_but_a_toy_is_installed(tmp_path):
    from selfsup.testing.toy.sequences.installed import write_distribution

    write_distribution(tmp_path)
    absent = OF_SOME_MODALITY | PACKAGES.keys() | {"selfsup_bench"}
    path = os.pathsep.join([str(tmp_path), *filter(None, [os.environ.get("PYTHONPATH")])])
    env = {**os.environ, "SELFSUP_PLUGINS": "multimodal,sequences", "OMP_NUM_THREADS": "1", "PYTHONPATH": path}
    refused = "from selfsup.errors import MissingPluginError\n" + TRY_AUDIO
    code = IMPORT_ALL.format(absent=absent, package="selfsup_multimodal", before=refused)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, env=env)
    assert done.returncode == 0, done.stderr
    message, numbers = done.stdout.splitlines()
    assert message.startswith("audio needs the ")
    assert "selfsup-audio" in message
    modules, rows = map(int, numbers.split())
    assert modules > 5
    assert rows == 16
