import sys
import types
from dataclasses import replace

import pytest

from selfsup import registry as registry_module
from selfsup.errors import ConfigError, DuplicateIdError, MissingPluginError, PluginError, SpecError, UnknownIdError
from selfsup.registry import Registry
from selfsup.registry.composition import composed_tasks
from selfsup.registry.specs import ModalitySpec, ObjectiveSpec
from selfsup.registry.suggestions import KNOWN_MODALITIES

SIGNAL = """
from pydantic import Field
from selfsup.config import Config

@hookimpl
def selfsup_modalities():
    return [ModalitySpec(id="signal", summary="Signals.", target="{module}:Processor", backbone="signal-net",
                         views="{module}:VIEWS", supervised_views="{module}:LIGHT")]

@hookimpl
def selfsup_backbones():
    return [BackboneSpec(id="signal-net", summary="A net.", target="{module}:NET", modality="signal"),
            BackboneSpec(id="zoo/*", summary="Many nets.", target="{module}:NET", modality="signal")]

@hookimpl
def selfsup_tasks():
    return [TaskSpec(id="signal/own", summary="s", target="{module}:OWN", modality="signal",
                     family="transformation", paper="p"),
            TaskSpec(id="signal/replaced", summary="its own", target="{module}:OWN", modality="signal",
                     family="joint-embedding", paper="p")]

class Processor: ...
VIEWS, LIGHT, OWN = "views", "light", "own"

class NetConfig(Config):
    name: str = "plain"
    width: int = Field(default=4, ge=1)

class Net(tuple):
    def full_options(self, given):
        return given

class NET:
    config = NetConfig

    @staticmethod
    def build(config, info):
        return Net((config.name, config.width, info["size"]))
"""

LOSSES = """
def loss(id, family):
    return ObjectiveSpec(id=id, summary="A loss.", target="{module}:LOSS", family=family, paper="A paper")

LOSS = "the loss"

@hookimpl
def selfsup_objectives():
    return [loss("contrast", "joint-embedding"), loss("replaced", "joint-embedding"), loss("hide", "masked-modeling"),
            loss("denoise", "reconstruction")]
"""


@pytest.fixture
def found(install, only):
    """A registry of one modality with views alone, and of losses that come from another plugin."""
    install("signal", SIGNAL.replace("{module}", "example_signal.plugin"), version="3.0")
    install("losses", LOSSES.replace("{module}", "example_losses.plugin"), version="4.0")
    return Registry(only("signal", "losses"))


def composed_by_plugins(found):
    return {id: task for id, task in found.tasks.items() if task.objective in ("contrast", "replaced", "hide", "denoise")}


def test_further_raw_features_have_names(install, only):
    text = SIGNAL.replace('backbone="signal-net",', 'backbone="signal-net", other_raw_features={"tones": "{module}:OWN"},')
    install("tones", text.replace("{module}", "example_tones.plugin"))
    objects = Registry(only("tones")).modality_objects("signal")
    assert objects.raw_features is None
    assert objects.other_raw_features("tones") == "own"
    with pytest.raises(UnknownIdError, match=r"has no raw features 'tune'; beside its usual ones it has tones"):
        objects.other_raw_features("tune")


@pytest.mark.parametrize(
    ("given", "wrong"), [({"Tones": "a.b:c"}, "has the name 'Tones'"), ({"tones": "a.b"}, "other_raw_features.tones='a.b'")]
)
def test_further_raw_features_need_a_name_and_a_target(given, wrong):
    with pytest.raises(SpecError, match=wrong):
        ModalitySpec(id="signal", summary="s", target="a:b", backbone="net", other_raw_features=given)


def test_raw_features_have_names_for_people() -> None:
    others = {"tones": "a.b:c", "beats": "a.b:d"}
    usual = ModalitySpec(id="signal", summary="s", target="a:b", backbone="net", other_raw_features=others)
    assert [usual.raw_name(), usual.raw_name("tones")] == ["raw input", "raw input (tones)"]
    named = replace(usual, raw_title="samples", other_raw_titles={"tones": "tone heights"})
    assert [named.raw_name(), named.raw_name("tones"), named.raw_name("beats")] == [
        "samples", "tone heights", "raw input (beats)",
    ]  # fmt: skip
    with pytest.raises(SpecError, match="other_raw_titles names 'tune'"):
        replace(usual, other_raw_titles={"tune": "x"})


def test_a_modality_has_the_objectives_that_it_has_the_parts_for(found):
    tasks = composed_by_plugins(found)
    assert list(tasks) == ["signal/contrast"]
    task = tasks["signal/contrast"]
    assert (task.composed, task.family, task.backbone, task.needs_tokens) == (True, "joint-embedding", "signal-net", False)
    assert task.paper == "A paper"


def test_tokens_and_corruption_bring_the_other_families():
    modality = ModalitySpec(
        id="m",
        summary="s",
        target="a:b",
        backbone="net",
        token_backbone="token-net",
        causal_backbone="causal-net",
        corruption="a:c",
        views="a:v",
    )
    families = ["joint-embedding", "masked-modeling", "latent-prediction", "autoregressive", "reconstruction"]
    objectives = [ObjectiveSpec(id=f"o{i}", summary="s", target="a:b", family=f, paper="p") for i, f in enumerate(families)]
    tasks = {task.id: task for task in composed_tasks(modality, objectives)}
    assert list(tasks) == ["m/o0", "m/o1", "m/o2", "m/o3", "m/o4", "m/random-init", "m/supervised"]
    assert [task.needs_tokens for task in tasks.values()] == [False, True, True, True, False, False, False]
    assert [task.backbone for task in tasks.values()] == ["net", "token-net", "token-net", "causal-net", "net", "net", "net"]
    assert [task.needs_labels for task in tasks.values()] == [False] * 6 + [True]


def test_transformation_objectives_are_not_composed():
    modality = ModalitySpec(id="m", summary="s", target="a:b", backbone="net", views="a:v")
    objective = ObjectiveSpec(id="o", summary="s", target="a:b", family="transformation", paper="p")
    assert [task.id for task in composed_tasks(modality, [objective])] == ["m/random-init", "m/supervised"]


def test_a_recipe_of_its_own_stands_in_for_the_composed_one(found):
    task = found.get("task", "signal/replaced")
    assert (task.summary, task.composed) == ("its own", False)
    assert found.task_recipe(task) == "own"


def test_providers_of_own_and_composed_tasks(found):
    assert found.provider(found.get("task", "signal/own")) == ("example-signal", "3.0")
    assert found.provider(found.get("task", "signal/supervised")) == ("example-signal", "3.0")
    assert found.provider(found.get("task", "signal/contrast")) == ("example-losses", "4.0")


def test_composition_gets_the_spec_the_objective_and_the_modality(found, monkeypatch):
    composed = types.ModuleType("selfsup.tasks.composed")
    composed.compose = lambda spec, objective, modality: (spec.id, objective, modality.views, modality.corruption)
    references = types.ModuleType("selfsup.tasks.references")
    references.random_init = lambda: "untrained"
    references.supervised = lambda views: f"with {views}"
    monkeypatch.setitem(sys.modules, "selfsup.tasks.composed", composed)
    monkeypatch.setitem(sys.modules, "selfsup.tasks.references", references)
    assert found.task_recipe(found.tasks["signal/contrast"]) == ("signal/contrast", "the loss", "views", None)
    assert found.task_recipe(found.tasks["signal/random-init"]) == "untrained"
    assert found.task_recipe(found.tasks["signal/supervised"]) == "with light"


def test_backbones_are_built_with_validated_options(found):
    backbone, config = found.build_backbone("signal-net", {"width": 8}, {"size": 3})
    assert backbone == ("plain", 8, 3)
    assert config.model_dump() == {"name": "plain", "width": 8}


def test_a_family_of_backbones_takes_the_name_from_the_id(found):
    assert found.get("backbone", "zoo/big_model.v2").id == "zoo/*"
    assert found.build_backbone("zoo/big_model.v2", {}, {"size": 3})[0] == ("big_model.v2", 4, 3)
    with pytest.raises(UnknownIdError):
        found.get("backbone", "zoo/")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"widht": 8}, "backbone 'signal-net': there is no option 'widht'; did you mean 'width'?"),
        ({"zzz": 8}, "known are name, width"),
        ({"width": 0}, "width = 0 is not allowed: Input should be greater than or equal to 1"),
    ],
)
def test_wrong_backbone_options_are_named(found, options, words):
    with pytest.raises(ConfigError) as caught:
        found.build_backbone("signal-net", options, {"size": 3})
    assert words in str(caught.value)


def test_the_processor_class_of_a_modality(found):
    assert found.processor_class("signal").__name__ == "Processor"


@pytest.mark.parametrize(
    ("kind", "id", "message"),
    [
        ("task", "signal/contrst", "unknown task 'signal/contrst'. Did you mean 'signal/contrast'? `selfsup list tasks` shows"),
        ("task", "Signal/Contrast", "Did you mean 'signal/contrast'?"),
        ("task", "contrast", "unknown task 'contrast'. Did you mean 'signal/contrast'?"),
        (
            "task",
            "signal/hide",
            "the objective 'hide' needs a default token backbone, and the plugin 'signal' (example-signal 3.0) ",
        ),
        ("backbone", "signal-nets", "Did you mean 'signal-net'?"),
        ("benchmark", "x", "unknown benchmark 'x': no installed plugin registers any benchmarks."),
        ("colour", "x", "there is no kind 'colour'; the kinds are modality, task,"),
    ],
)
def test_an_unknown_id_says_what_is_close_or_why(found, kind, id, message):
    with pytest.raises(UnknownIdError) as caught:
        found.get(kind, id)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("kind", "id", "message"),
    [
        ("task", "smell/simclr", "smell/simclr needs the smell plugin: pip install selfsup-smell"),
        ("modality", "smell", "smell needs the smell plugin: pip install selfsup-smell"),
        ("command", "no-such", None),
    ],
)
def test_a_known_modality_that_is_not_installed_says_how_to_install_it(found, kind, id, message, monkeypatch):
    monkeypatch.setitem(KNOWN_MODALITIES, "smell", "selfsup-smell")  # one that no one has installed
    error = MissingPluginError if message else UnknownIdError
    with pytest.raises(error) as caught:
        found.get(kind, id)
    assert message is None or str(caught.value) == message


def test_a_known_modality_that_is_broken_says_why(install, only):
    install("multimodal", "raise RuntimeError('out of order')")
    with pytest.raises(MissingPluginError, match=r"needs the plugin 'multimodal' \(example-multimodal 1\.0\), .*out of order"):
        Registry(only("multimodal")).get("task", "multimodal/clip")


def test_a_contested_id_is_an_error_that_names_both(install, only):
    install("losses", LOSSES.replace("{module}", "example_losses.plugin"))
    install("others", LOSSES.replace("{module}", "example_others.plugin"))
    with pytest.raises(DuplicateIdError, match=r"claimed by both 'losses' \(example-losses 1\.0\) and 'others'"):
        Registry(only("losses", "others")).get("objective", "contrast")


def test_a_target_that_does_not_import_names_the_plugin(install, only):
    install("losses", LOSSES.replace("{module}", "no_such_module_anywhere"))
    found = Registry(only("losses"))
    with pytest.raises(
        PluginError, match=r"objective 'hide': its target .* ModuleNotFoundError.*'losses' \(example-losses 1\.0\)"
    ):
        found.load(found.get("objective", "hide"))


def test_the_registry_is_made_once_and_anew_after_a_reset(monkeypatch):
    monkeypatch.setenv("SELFSUP_PLUGINS", "")
    registry_module.reset()
    first = registry_module.registry()
    assert registry_module.registry() is first
    registry_module.reset()
    assert registry_module.registry() is not first
    registry_module.reset()
