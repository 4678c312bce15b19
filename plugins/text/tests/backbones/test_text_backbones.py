import pytest
import torch

from selfsup.errors import ConfigError, UnknownIdError
from selfsup_text.backbones import TransformersBackbone
from selfsup_text.backbones.small import DECODER, ENCODER
from selfsup_text.backbones.transformers import RECIPE, TransformersConfig, build_transformers

INFO = {"vocab_size": 60, "max_length": 16, "pad_id": 0, "unk_id": 1, "cls_id": 2, "sep_id": 3, "mask_id": 4}
TYPES = ("bert", "roberta", "modernbert", "distilbert", "gpt2", "llama", "electra")
LENGTHS = (16, 5, 1)


def make(name: str, **options) -> TransformersBackbone:
    torch.manual_seed(0)
    if name == "modernbert":  # a window that is shorter than the texts
        options = {"architecture": {"local_attention": 8}, **options}
    config = TransformersConfig(name=name, hidden_size=16, layers=3, heads=2, **options)
    return build_transformers(config, INFO).eval()


def batch(lengths=LENGTHS, width=16):
    generator = torch.Generator().manual_seed(1)
    padding = torch.arange(width) >= torch.tensor(lengths).unsqueeze(1)
    ids = torch.randint(5, 60, padding.shape, generator=generator).masked_fill(padding, 0)
    words = torch.arange(width).expand_as(ids).masked_fill(padding, -1)
    return {"ids": ids, "padding": padding, "words": words}


@pytest.mark.parametrize("name", TYPES)
def test_content_is_what_the_plain_model_gives(name):
    backbone, texts = make(name), batch()
    encoded, tokens = backbone(texts), backbone.tokenize(texts)
    assert torch.equal(backbone.encode(tokens), encoded.tokens)
    assert not tokens.positions.any()
    for row, length in enumerate(LENGTHS):
        ids = torch.tensor([[2, *texts["ids"][row, :length].tolist(), 3]])
        plain = backbone.model(input_ids=ids, attention_mask=torch.ones_like(ids)).last_hidden_state[0, 1:-1]
        torch.testing.assert_close(encoded.tokens[row, :length], plain, atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(encoded.pooled[row], plain.mean(dim=0), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("name", TYPES)
def test_kept_tokens_keep_their_positions(name):
    backbone, texts = make(name), batch()
    tokens = backbone.tokenize(texts)
    keep = torch.rand(3, 16, generator=torch.Generator().manual_seed(3)).argsort(dim=1)
    if name == "modernbert" and not hasattr(backbone.model.config, "sliding_window"):  # the library's first versions
        with pytest.raises(ConfigError, match="cannot leave tokens out"):
            backbone.encode(tokens, keep=keep)
        return
    every = backbone.encode(tokens).gather(1, keep.unsqueeze(-1).expand(-1, -1, 16))
    real = ~texts["padding"].gather(1, keep)
    torch.testing.assert_close(backbone.encode(tokens, keep=keep)[real], every[real], atol=1e-5, rtol=1e-4)
    part = backbone.encode(tokens, keep=keep[:, :4])
    assert part.shape == (3, 4, 16)
    assert not torch.allclose(part[0], every[0, :4])


def test_layer_outputs_are_those_of_every_layer():
    backbone, texts = make("bert"), batch()
    layers = backbone.layer_outputs(backbone.tokenize(texts))
    assert len(layers) == 3
    assert torch.equal(layers[-1], backbone(texts).tokens)
    assert not torch.allclose(layers[0], layers[1])


@pytest.mark.parametrize(("pooling", "width"), [("mean", 16), ("cls", 16), ("max", 16), ("mean+max", 32)])
def test_pooling_of_an_encoder(pooling, width):
    backbone, texts = make("bert", pooling=pooling), batch()
    encoded = backbone(texts)
    assert encoded.pooled.shape == (3, width)
    assert backbone.pooled_dim == width
    assert backbone.embed_dim == encoded.tokens.shape[-1] == 16
    mean, most = encoded.tokens[1, :5].mean(dim=0), encoded.tokens[1, :5].amax(dim=0)
    first = backbone.model(input_ids=torch.tensor([[2, *texts["ids"][1, :5].tolist(), 3]])).last_hidden_state[0, 0]
    wanted = {"mean": mean, "max": most, "cls": first, "mean+max": torch.cat([mean, most])}[pooling]
    torch.testing.assert_close(encoded.pooled[1], wanted, atol=1e-5, rtol=1e-4)


def test_pooling_of_a_decoder_takes_the_last_token():
    encoded = make("gpt2", pooling="last")(batch())
    assert torch.equal(encoded.pooled[1], encoded.tokens[1, 4])
    with pytest.raises(ConfigError, match="'last'"):
        make("gpt2", pooling="cls")
    with pytest.raises(ConfigError, match="'cls'"):
        make("bert", pooling="last")


def test_the_head_shares_the_word_embeddings():
    backbone = make("bert")
    head = backbone.target_head(24)
    assert sum(p.numel() for p in head.parameters()) == 24 * 16 + 16 + 2 * 16 + 60
    hidden = torch.randn(2, 3, 24)
    before = head(hidden)
    with torch.no_grad():
        backbone.word_embeddings.weight[7] += 1
    changed = (head(hidden) != before).any(dim=0).any(dim=0)
    assert changed.nonzero().flatten().tolist() == [7]
    assert backbone.target_dim == 60
    assert torch.equal(backbone.targets(batch()), batch()["ids"])


def test_there_is_no_dropout_unless_the_batch_asks_for_it():
    backbone, texts = make("bert").train(), batch()
    assert torch.equal(backbone(texts).pooled, backbone(texts).pooled)
    seeds = {"dropout_seed": torch.tensor([1, 2, 3]), "dropout_rate": torch.full((3,), 0.5)}
    noisy = {**texts, **seeds}
    state = torch.get_rng_state()
    one, two = backbone(noisy).pooled, backbone(noisy).pooled
    assert torch.equal(one, two)
    assert torch.equal(state, torch.get_rng_state())
    assert not torch.allclose(one, backbone(texts).pooled)
    other = backbone({**noisy, "dropout_seed": torch.tensor([1, 2, 4])}).pooled
    assert torch.allclose(other[:2], one[:2], atol=1e-6)
    assert not torch.allclose(other[2], one[2])
    assert torch.equal(backbone(texts).pooled, backbone(texts).pooled)


@pytest.mark.parametrize("recipe", [ENCODER, DECODER])
def test_small_backbones(recipe):
    backbone = recipe.build(recipe.config(), INFO)
    assert backbone.embed_dim == 128
    assert backbone.model.config.num_hidden_layers == 2
    with torch.autocast("cpu", dtype=torch.bfloat16):
        encoded = backbone.train()(batch())
    assert torch.isfinite(encoded.pooled).all()
    encoded.pooled.sum().backward()
    assert [name for name, p in backbone.named_parameters() if p.grad is None] == []
    with pytest.raises(ConfigError, match="heads=3"):
        recipe.build(recipe.config(heads=3), INFO)


def test_texts_longer_than_the_network_are_refused():
    with pytest.raises(ConfigError, match="17 tokens"):
        make("bert")(batch((17,), width=17))


def test_models_that_do_not_fit_are_refused(tmp_path):
    with pytest.raises(UnknownIdError, match="bert"):
        make("bertt")
    with pytest.raises(ConfigError, match="an encoder and a decoder"):
        make("t5")
    with pytest.raises(ConfigError, match="40 tokens need 42"):
        build_transformers(
            TransformersConfig(name="bert", hidden_size=16, heads=2, layers=1, architecture={"max_position_embeddings": 20}),
            {**INFO, "max_length": 40},
        )
    with pytest.raises(ConfigError, match=r"does not take these sizes|cannot be built"):
        make("bert", architecture={"no_such_field_type": 1, "intermediate_size": "wide"})
    with pytest.raises(ConfigError, match="has hidden_size=wide, but the option for it is 16"):
        make("bert", architecture={"hidden_size": "wide"})


def test_a_pretrained_folder_is_taken_and_its_shape_kept(tmp_path):
    first = make("bert", architecture={"layer_norm_eps": 1e-3, "hidden_dropout_prob": 0.3})
    first.model.save_pretrained(tmp_path / "model")
    config = TransformersConfig(name="bert", pretrained=str(tmp_path / "model"))
    again = build_transformers(config, INFO).eval()
    assert torch.equal(again(batch()).pooled, first(batch()).pooled)
    # What is saved with an encoder builds the same network where the folder is not.
    options = {key: value for key, value in config.model_dump(mode="json").items() if key != "pretrained"}
    rebuilt = RECIPE.build(TransformersConfig(**options), INFO).eval()
    rebuilt.load_state_dict(again.state_dict())
    assert torch.equal(rebuilt(batch()).pooled, first(batch()).pooled)
    assert rebuilt.model.config.layer_norm_eps == 1e-3
    with pytest.raises(ConfigError, match="type bert"):
        build_transformers(TransformersConfig(name="roberta", pretrained=str(tmp_path / "model")), INFO)
    with pytest.raises(ConfigError, match="combined"):
        build_transformers(config.model_copy(update={"layers": 1}), INFO)
    own = TransformersConfig(name="bert", pretrained=str(tmp_path / "model"), architecture={"layer_norm_eps": 1e-9})
    with pytest.raises(ConfigError, match=r"backbone\.architecture cannot be combined"):
        build_transformers(own, INFO)
    with pytest.raises(ConfigError, match="tokenizer"):
        build_transformers(config, {**INFO, "vocab_size": 60 - 1025})
    wider = build_transformers(config, {**INFO, "vocab_size": 64})
    assert wider.target_dim == 64
