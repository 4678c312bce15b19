"""What is tried on every model type before it is taken as a backbone."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from transformers import CONFIG_MAPPING, AutoModelForMaskedLM

from selfsup.errors import ConfigError
from selfsup_text.backbones import TransformersBackbone
from selfsup_text.backbones.architecture import initial_spread, make_config
from selfsup_text.backbones.checks import check_backbone, measured_causal
from selfsup_text.backbones.small import ENCODER
from selfsup_text.backbones.transformers import TransformersConfig, assemble, build_model, build_transformers

INFO = {"vocab_size": 60, "max_length": 16, "pad_id": 0, "unk_id": 1, "cls_id": 2, "sep_id": 3, "mask_id": 4}
ENCODERS = (
    "albert", "bert", "big_bird", "camembert", "data2vec-text", "deberta-v2", "distilbert", "electra", "ernie", "eurobert",
    "megatron-bert", "modernbert", "mpnet", "nomic_bert", "roberta", "roberta-prelayernorm", "roformer", "xlm-roberta",
)  # fmt: skip
DECODERS = (
    "bert-generation", "biogpt", "bloom", "cohere", "ctrl", "falcon", "gemma", "gemma2", "gpt2", "gpt_bigcode", "gpt_neox",
    "granite", "llama", "mistral", "mpt", "olmo2", "openai-gpt", "opt", "phi", "qwen2", "qwen3", "smollm3", "stablelm",
    "starcoder2", "xglm",
)  # fmt: skip
REFUSED = {
    "convbert": "padding changes",
    "fnet": "padding changes",
    "xlnet": "its tokens see later ones",
    "t5": "an encoder and a decoder",
    "gemma3": "use its text model, transformers/gemma3_text",
    "vit": "not a text model|cannot be|fails",
}


def build(name: str, **options: Any) -> TransformersBackbone:
    torch.manual_seed(0)
    return build_transformers(TransformersConfig(name=name, hidden_size=32, layers=2, heads=2, **options), INFO)


@pytest.mark.filterwarnings("ignore:.torch.jit.script. is deprecated:FutureWarning")  # in early versions of the library
@pytest.mark.parametrize("name", [name for name in (*ENCODERS, *DECODERS) if name in CONFIG_MAPPING])
def test_a_model_type_passes_every_check(name: str) -> None:
    backbone = build(name)
    assert backbone.causal == (name in DECODERS)
    assert backbone.own_head is not None
    # Once more from the outside: what the checks have found holds for a training batch.
    ids = torch.arange(5, 13).view(1, 8).repeat(2, 1)
    batch = {"ids": ids, "padding": torch.zeros_like(ids, dtype=torch.bool)}
    noisy = {**batch, "dropout_seed": torch.tensor([1, 2]), "dropout_rate": torch.full((2,), 0.3)}
    torch.manual_seed(1)
    one = backbone.train()(noisy).tokens
    torch.manual_seed(2)
    assert torch.equal(one, backbone(noisy).tokens)
    assert not torch.allclose(one[0], one[1])
    later = {**batch, "ids": torch.cat([ids[:, :-1], ids[:, -1:] + 20], dim=1)}
    first, second = (backbone.eval()(each).tokens[:, :-1] for each in (batch, later))
    assert torch.equal(first, second) or not backbone.causal
    assert backbone.causal or not torch.equal(first, second)


@pytest.mark.parametrize("name", REFUSED)
def test_a_model_type_that_fails_is_refused_by_name(name: str) -> None:
    with pytest.raises(ConfigError, match=f"transformers/{name} .*({REFUSED[name]})"):
        build(name)


def test_a_decoder_that_sees_later_tokens_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"transformers/bert-generation .*is_decoder"):
        build("bert-generation", architecture={"is_decoder": False})
    assert build("bert", architecture={"is_decoder": True}).causal


def test_the_checks_see_each_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    """A planted fault of every kind is named."""

    def faulty(change: Any) -> TransformersBackbone:
        sizes = make_config("bert", INFO, {}, hidden_size=32, layers=2, heads=2)
        backbone = assemble(build_model(sizes), INFO, pooling="mean")
        change(backbone)
        return backbone

    def no_positions(backbone: Any) -> None:
        torch.nn.init.zeros_(backbone.model.embeddings.position_embeddings.weight)

    def sees_padding(backbone: Any) -> None:
        backbone._mask = lambda framed: None

    def own_noise(backbone: Any) -> None:
        backbone.model.encoder.layer[0].output.register_forward_hook(
            lambda module, inputs, output: output + torch.randn_like(output) if module.training else None
        )

    def other_head(backbone: Any) -> None:
        backbone.own_head.model.cls.register_forward_hook(lambda module, inputs, output: output + len(inputs[0][0]) * 0.1)
        backbone.own_head.forward = lambda hidden: hidden @ backbone.word_embeddings.weight.T

    for change, reason in (
        (no_positions, "order of words"),
        (sees_padding, "padding changes"),
        (own_noise, "random numbers"),
        (other_head, "vocabulary head"),
    ):
        with pytest.raises(ConfigError, match=f"transformers/bert cannot be a text backbone: .*{reason}"):
            check_backbone(faulty(change), INFO)
    network = AutoModelForMaskedLM.from_config(make_config("bert", INFO, {}, hidden_size=32, layers=2, heads=2)).bert
    with pytest.raises(ConfigError, match="later ones"):
        measured_causal(network, "causal")


def test_checks_leave_the_global_random_state_and_the_mode_alone() -> None:
    backbone = build("bert").train()
    state = torch.get_rng_state()
    check_backbone(backbone, INFO)
    assert torch.equal(state, torch.get_rng_state())
    assert backbone.training


def test_tokens_are_not_left_out_where_positions_cannot_follow() -> None:
    backbone = build("bloom")
    ids = torch.arange(5, 13).view(1, 8)
    tokens = backbone.tokenize({"ids": ids, "padding": torch.zeros_like(ids, dtype=torch.bool)})
    with pytest.raises(ConfigError, match="transformers/bloom cannot leave tokens out"):
        backbone.encode(tokens, keep=torch.tensor([[2, 0]]))


@pytest.mark.parametrize("width", [128, 512])
def test_first_weights_scale_with_the_width(width: int) -> None:
    wanted = 0.02 * (768 / width) ** 0.5
    assert initial_spread(width) == pytest.approx(wanted)
    torch.manual_seed(0)
    backbone = ENCODER.build(ENCODER.config(hidden_size=width, layers=1), {**INFO, "vocab_size": 500})
    for weight in (backbone.word_embeddings.weight, backbone.model.encoder.layer[0].intermediate.dense.weight):
        assert float(weight.detach().std()) == pytest.approx(wanted, rel=0.02)
    other = ENCODER.build(ENCODER.config(hidden_size=width, layers=1, initializer_range=0.1), INFO)
    assert float(other.model.encoder.layer[0].intermediate.dense.weight.detach().std()) == pytest.approx(0.1, rel=0.02)


def test_a_model_types_own_first_weights_stay() -> None:
    sizes = {"hidden_size": 32, "layers": 1, "heads": 2}
    assert make_config("bert", INFO, {"initializer_range": 0.3}, **sizes).initializer_range == 0.3
    assert (
        make_config("deepseek_v3", INFO, {}, **sizes).initializer_range
        == make_config("bert", INFO, {}, **sizes).initializer_range
    )
