"""The core, and each plugin, imports to its last module where no package of another modality is installed."""

import json
import os
import subprocess
import sys

import pytest

from selfsup.testing.toy.sequences.installed import write_distribution

PACKAGES = {
    "selfsup_audio": {"torchaudio", "soundfile", "soxr", "transformers", "tokenizers"},
    "selfsup_multimodal": set(),
    "selfsup_tabular": set(),
    "selfsup_text": {"transformers", "tokenizers"},
    "selfsup_video": {"selfsup_images", "torchvision", "timm", "av", "PIL"},
    "selfsup_vision": {"selfsup_images", "torchvision", "timm", "PIL"},
}
"""What each plugin may import of the packages that belong to some modality."""
OF_SOME_MODALITY = set().union(*PACKAGES.values())

CODE = """
import importlib, importlib.util, json, os, pkgutil, sys, traceback

class Absent:
    names = set()
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in self.names:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

def import_all(package):
    module = importlib.import_module(package)
    names = [m.name for m in pkgutil.walk_packages(module.__path__, package + ".") if not m.name.endswith("__main__")]
    for name in names:
        importlib.import_module(name)
    return len(names)

def work_alone(package):
    "What a plugin does with a batch of its default backbone, and what is said where a part needs a plugin that is absent."
    from selfsup.errors import MissingPluginError
    from selfsup.registry import registry
    house, modality, said = registry(), package.removeprefix("selfsup_"), ""
    if modality == "multimodal":
        try:
            house.processor_class("multimodal").choose_columns(None, {"parts": ["sequence", "audio"]})
        except MissingPluginError as error:
            said = str(error)
    rows = house.modality_objects(modality).mock_rows(16, 0)
    processor = house.processor_class(modality)(house.processor_class(modality).Config()).fit(rows)
    backbone, _ = house.build_backbone(house.modalities[modality].backbone, {}, processor.info())
    return len(backbone(processor(rows)).pooled), said

def alone(package, absent, plugins):
    Absent.names = set(absent)
    os.environ["SELFSUP_PLUGINS"] = plugins
    modules = import_all(package)
    return [modules, *(work_alone(package) if package != "selfsup" else (0, ""))]

cases, everything = json.loads(sys.argv[1])
found = importlib.util.find_spec
# Libraries ask in this way what is installed, and expect None.
importlib.util.find_spec = lambda name, package=None: None if name.partition(".")[0] in Absent.names else found(name, package)
sys.meta_path.insert(0, Absent())
Absent.names = set(everything)
import datasets, lightning_fabric, sklearn, torch  # once for all; each case is a fork
torch.set_num_threads(1)
assert not set(everything) & {name.partition(".")[0] for name in sys.modules}
results = {}
for name, arguments in cases.items():
    reading, writing = os.pipe()
    if not os.fork():
        try:
            result = alone(name, *arguments)
        except BaseException:
            result = traceback.format_exc()
        os.write(writing, json.dumps(result).encode()[:60000])
        os._exit(0)
    os.wait()
    results[name] = json.loads(os.read(reading, 65536))
print(json.dumps(results))
"""


pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """Of the core and each plugin: how many modules and rows, and what was said; or the traceback."""
    everything = OF_SOME_MODALITY | PACKAGES.keys() | {"selfsup_bench"}
    cases = {"selfsup": (sorted(everything), "")}
    for package, own in PACKAGES.items():
        plugins = package.removeprefix("selfsup_") + (",sequences" if package == "selfsup_multimodal" else "")
        cases[package] = (sorted(everything - own - {package}), plugins)
    toy = tmp_path_factory.mktemp("toy")
    write_distribution(toy)
    path = os.pathsep.join([str(toy), *filter(None, [os.environ.get("PYTHONPATH")])])
    env = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": path, "SELFSUP_PLUGINS": ""}
    command = [sys.executable, "-W", "ignore::DeprecationWarning", "-c", CODE, json.dumps([cases, sorted(everything)])]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=env)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_every_module_of_the_core_imports_without_them(results):
    modules, *_ = results["selfsup"]
    assert modules > 20, modules


@pytest.mark.parametrize("package", sorted(PACKAGES))
def test_a_plugin_works_alone(package, results):
    assert isinstance(results[package], list), results[package]
    modules, rows, said = results[package]
    assert modules > 5
    assert rows == 16
    if package == "selfsup_multimodal":
        assert said.startswith("audio needs the ")
        assert "selfsup-audio" in said
