import copy

import numpy as np
import pytest
import torch

import selfsup
from selfsup.backbones import Finetuning, freeze, hold_fixed, unfreeze
from selfsup.errors import ArtifactError, ConfigError, NonFiniteLossError
from selfsup.evaluation import FinetunedModel
from selfsup.evaluation.evaluators import finetune as module
from selfsup.evaluation.evaluators.finetune import Finetune, FinetuneConfig, finetune_encoder
from selfsup.evaluation.evaluators.linear import LinearConfig, fit_probe
from selfsup.evaluation.finetuned_model import Head
from selfsup.training.loop import stepper

CONFIG = FinetuneConfig(epochs=10, min_steps=0, batch_size=64, lr=3e-3, precision="32")


def _digest(module):
    return {key: value.clone() for key, value in module.state_dict().items()}


def test_all_weights_move_and_accuracy_rises_above_the_probe(encoder, splits):
    train, test = splits
    before = _digest(encoder)
    probe = fit_probe(train.embeddings(encoder), train.targets(), 3, LinearConfig(), seed=0)
    probe_accuracy = float((probe.outputs(test.embeddings(encoder)).argmax(dim=1) == test.targets()).double().mean())
    classifier = finetune_encoder(encoder, train, CONFIG, seed=0)
    moved = {
        name for name, p in classifier.encoder.backbone.named_parameters() if not torch.equal(p, before[f"backbone.{name}"])
    }
    assert moved == {name for name, _ in encoder.backbone.named_parameters()}
    assert all(torch.equal(value, before[key]) for key, value in encoder.state_dict().items())
    assert Finetune(CONFIG).evaluate(encoder, train, test, seed=0)["accuracy"] > probe_accuracy + 0.05


def test_what_the_network_holds_fixed_is_not_trained(encoder, splits):
    held = copy.deepcopy(encoder)
    name = next(name for name, _ in held.backbone.named_parameters())
    hold_fixed(held.backbone, name)
    freeze(held.backbone)
    tuned = finetune_encoder(held, splits[0], FinetuneConfig(epochs=1, min_steps=0, precision="32"), seed=0)
    weights = dict(tuned.encoder.backbone.named_parameters())
    assert [other for other, weight in weights.items() if not weight.requires_grad] == [name]
    assert [other for other, weight in held.backbone.named_parameters() if torch.equal(weight, weights[other])] == [name]
    held.backbone.requires_grad_(True)
    unfreeze(held)
    assert not held.backbone.get_parameter(name).requires_grad


def test_a_head_from_the_probe_starts_with_the_probes_answers(encoder, splits, monkeypatch):
    monkeypatch.setattr(module, "_train", lambda *args: None)
    train, test = splits
    embeddings = test.embeddings(encoder)
    probe = fit_probe(train.embeddings(encoder), train.targets(), 3, LinearConfig(), seed=0)
    started = finetune_encoder(encoder, train, CONFIG, seed=0)
    assert torch.allclose(started.outputs(embeddings).exp(), probe.outputs(embeddings).exp(), atol=1e-3)
    zeros = finetune_encoder(encoder, train, CONFIG.model_copy(update={"head": "zeros"}), seed=0)
    assert torch.allclose(zeros.outputs(embeddings).exp(), torch.full((len(embeddings), 3), 1 / 3))


def test_a_feature_that_was_silent_in_training_does_not_decide_alone():
    torch.manual_seed(0)
    head = Head(3, 2)
    torch.nn.init.normal_(head.linear.weight)
    known = torch.randn(64, 3) * torch.tensor([1.0, 100.0, 0.0])  # the third never wakes
    for _ in range(300):
        head(known)
    head.eval()
    plain = head.linear((known - head.norm.running_mean) / head.norm.running_var.clamp_min(1e-12).sqrt())
    assert torch.allclose(head(known), plain, atol=1e-4)
    awake = known.clone()
    awake[:, 2] = 0.5
    moved = (head(awake) - head(known)).abs().amax(dim=0)
    assert torch.allclose(moved, 10 * head.linear.weight[:, 2].abs(), rtol=1e-3)


@pytest.mark.parametrize(
    ("epochs", "min_steps", "expected"),
    [(None, None, 200), (None, 0, 120), (3, None, 12), (3, 0, 12), (3, 50, 50), (60, None, 240), (None, 300, 300)],
)
def test_steps_of_four_an_epoch(epochs, min_steps, expected):
    assert FinetuneConfig(epochs=epochs, min_steps=min_steps).total_steps(4) == expected


def test_the_modality_says_how_many_rows_a_step_has(encoder, splits, monkeypatch):
    sizes = []
    original = module.Loader
    monkeypatch.setattr(
        module, "Loader", lambda store, processor, sampler, *args, **kw: sizes.append(len(sampler.batches(0)[0]))
        or original(store, processor, sampler, *args, **kw)
    )  # fmt: skip
    for batch_size, modality, expected in ((None, 256, 128), (None, 32, 32), (50, 32, 50)):
        monkeypatch.setattr(type(encoder.processor), "batch_size", modality)
        config = FinetuneConfig(epochs=1, batch_size=batch_size, head="zeros", precision="32")
        finetune_encoder(encoder, splits[0], config, seed=0)
        assert sizes.pop() == expected


@pytest.mark.parametrize(("fraction", "epochs", "min_steps", "expected"), [(1.0, 2, 0, 8), (0.05, 1, 7, 7), (0.05, 1, 0, 1)])
def test_steps_and_rows_are_those_that_were_asked_for(encoder, splits, monkeypatch, fraction, epochs, min_steps, expected):
    seen, steps = set(), []
    real = splits[0].store.read
    monkeypatch.setattr(splits[0].store, "read", lambda rows, *_: seen.update(np.asarray(rows).tolist()) or real(rows))
    original = stepper.set_hyperparameters
    monkeypatch.setattr(stepper, "set_hyperparameters", lambda *args, **kw: steps.append(kw["lr"]) or original(*args, **kw))
    config = FinetuneConfig(fraction=fraction, epochs=epochs, min_steps=min_steps, batch_size=64, head="zeros", precision="32")
    finetune_encoder(encoder, splits[0], config, seed=0)
    assert len(steps) == expected
    counts = np.bincount(splits[0].labels[sorted(seen)])
    assert (len(seen) == 256) if fraction == 1 else (counts.max() - counts.min() <= 1 and len(seen) == 13)


def test_learning_rate_rises_and_falls(encoder, splits, monkeypatch):
    rates = []
    original = stepper.set_hyperparameters
    monkeypatch.setattr(stepper, "set_hyperparameters", lambda *args, **kw: rates.append(kw["lr"]) or original(*args, **kw))
    finetune_encoder(encoder, splits[0], FinetuneConfig(epochs=10, min_steps=0, batch_size=64, lr=1e-3), seed=0)
    assert rates[3] == max(rates) == 1e-3
    assert rates[0] == pytest.approx(1e-3 / 4)
    assert rates[-1] < 1e-4


def test_embeddings_of_another_scale_in_training_do_no_harm(encoder, splits):
    # Batch norm whose running statistics are far from the batch's, as in a network with random weights.
    shifted = copy.deepcopy(encoder)
    with torch.no_grad():
        for norm in shifted.backbone.norms:
            norm.running_var.mul_(1e4)
    config = CONFIG.model_copy(update={"min_steps": 200})
    assert Finetune(config).evaluate(shifted, *splits, seed=0)["cross_entropy"] < 0.5


def test_too_few_labels_for_all_classes_are_refused(encoder, splits):
    with pytest.raises(ConfigError, match=r"fraction=0.005 of 256 labelled rows is 1, and there are 3 classes"):
        finetune_encoder(encoder, splits[0], FinetuneConfig(fraction=0.005), seed=0)


def test_a_loss_that_is_no_number_stops_it(encoder, splits):
    broken = copy.deepcopy(encoder)
    with torch.no_grad():
        broken.backbone.norms[0].weight.fill_(float("nan"))
    with pytest.raises(NonFiniteLossError, match=r"the loss became nan at step 1 of 40.*finetune.lr"):
        finetune_encoder(broken, splits[0], CONFIG.model_copy(update={"head": "zeros"}), seed=0)


def test_a_saved_classifier_predicts_the_same_and_holds_an_encoder(encoder, splits, tmp_path):
    classifier = finetune_encoder(encoder, splits[0], CONFIG.model_copy(update={"epochs": 1}), seed=0)
    folder = classifier.save(tmp_path / "tuned")
    rows = [{"sequence": np.random.default_rng(i).standard_normal((16, 4)).tolist()} for i in range(5)]
    loaded = FinetunedModel.load(folder)
    assert loaded.predict(rows) == classifier.predict(rows)
    assert set(loaded.predict(rows)) <= {"class 0", "class 1", "class 2"}
    batch = loaded.encoder.processor(rows)
    assert torch.allclose(loaded(batch), classifier(batch))
    assert np.allclose(selfsup.load(folder).embed(rows), classifier.encoder.embed(rows))
    assert not list(folder.rglob("*.pt"))


def test_an_encoder_without_a_head_is_no_classifier(encoder, tmp_path):
    encoder.save(tmp_path / "encoder")
    with pytest.raises(ArtifactError, match=r"holds an encoder, but no head.*labels.json"):
        FinetunedModel.load(tmp_path / "encoder")


def _rates(encoder, train, monkeypatch, **options):
    """Peak learning rate of each parameter of a fine-tuning, by its name."""
    seen = {}
    original = stepper.build_optimizer

    def build(task, *args, **kwargs):
        optimizer = original(task, *args, **kwargs)
        rates = {id(p): group["lr"] for group in optimizer.param_groups for p in group["params"]}
        seen.update({name: rates[id(p)] for name, p in task.model.named_parameters()})
        return optimizer

    monkeypatch.setattr(stepper, "build_optimizer", build)
    finetune_encoder(encoder, train, FinetuneConfig(epochs=1, head="zeros", precision="32", **options), seed=0)
    return seen


def _pretrained(encoder, monkeypatch, own):
    """A copy that a task has trained, whose network says that ``own`` suits it."""
    encoder = copy.deepcopy(encoder)
    encoder.task = "sequence/mae"
    monkeypatch.setattr(type(encoder.backbone), "finetuning", own)
    return encoder


def test_a_pretrained_network_is_finetuned_at_its_own_rates(token_encoder, splits, monkeypatch):
    encoder = _pretrained(token_encoder, monkeypatch, Finetuning(lr=4e-4, layer_decay=0.5))
    rates = _rates(encoder, splits[0], monkeypatch)
    depth = len(encoder.backbone.blocks())
    expected = {f"encoder.backbone.transformer.blocks.{i}.": 4e-4 * 0.5 ** (depth - i) for i in range(depth)}
    expected |= {"head.": 4e-4, "": 4e-4 * 0.5 ** (depth + 1)}
    for name, rate in rates.items():
        longest = max((prefix for prefix in expected if name.startswith(prefix)), key=len)
        assert rate == pytest.approx(expected[longest]), name
    assert len(set(rates.values())) == depth + 2


def test_what_the_user_says_of_the_rates_goes_before(token_encoder, splits, monkeypatch):
    encoder = _pretrained(token_encoder, monkeypatch, Finetuning(lr=4e-4, layer_decay=0.5))
    assert set(_rates(encoder, splits[0], monkeypatch, lr=2e-3, layer_decay=1.0).values()) == {2e-3}


def test_an_untrained_network_is_not_trained_at_the_low_rates_of_a_pretrained_one(token_encoder, splits, monkeypatch):
    encoder = _pretrained(token_encoder, monkeypatch, Finetuning(lr=1e-6, layer_decay=0.1))
    encoder.task = "sequence/random-init"
    assert set(_rates(encoder, splits[0], monkeypatch).values()) == {1e-3}


def test_layerwise_rates_of_a_network_without_blocks_are_refused(encoder, splits):
    with pytest.raises(ConfigError, match=r"layer_decay=0.5: sequence/conv has no blocks"):
        finetune_encoder(encoder, splits[0], FinetuneConfig(layer_decay=0.5), seed=0)


def test_blocks_that_are_computed_again_give_the_same_model(token_encoder, splits, monkeypatch):
    runs = 0
    block = type(token_encoder.backbone.blocks()[0])
    forward = block.forward

    def counted(self, *args, **kwargs):
        nonlocal runs
        runs += torch.is_grad_enabled()
        return forward(self, *args, **kwargs)

    monkeypatch.setattr(block, "forward", counted)
    kept, again = (
        finetune_encoder(token_encoder, splits[0], CONFIG.model_copy(update={"epochs": 1, **options}), seed=0)
        for options in ({}, {"checkpoint_activations": True})
    )
    steps = CONFIG.total_steps(4) // 10
    assert runs == 3 * steps * len(token_encoder.backbone.blocks())
    assert all(torch.equal(weight, again.state_dict()[name]) for name, weight in kept.state_dict().items())
    assert "forward" not in vars(again.encoder.backbone.blocks()[0])


def test_to_compute_blocks_again_is_refused_for_a_network_without_blocks(encoder, splits):
    with pytest.raises(ConfigError, match=r"finetune.checkpoint_activations has no effect: .* has no repeated blocks"):
        finetune_encoder(encoder, splits[0], FinetuneConfig(checkpoint_activations=True), seed=0)
