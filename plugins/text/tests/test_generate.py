from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner
from transformers import AutoModelForCausalLM, AutoTokenizer

import selfsup
from selfsup.artifacts import export
from selfsup.cli.main import program
from selfsup.errors import ConfigError
from selfsup_text.generate import generate
from selfsup_text.mock import mock_rows

SIZES = {"backbone.hidden_size": 32, "backbone.layers": 1, "processor.max_length": 48, "processor.vocab_size": 300}
PROMPTS = ["the old", "a cat"]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("generate")
    (folder / "texts.txt").write_text("\n".join(row["text"] for row in mock_rows(120, 0)) + "\n")
    options = {"steps": 40, "batch_size": 8, "progress": False, "lr": 1e-2}
    return selfsup.pretrain("text/clm", folder / "texts.txt", out=folder / "run", overrides=SIZES, **options)


@pytest.fixture(scope="module")
def other(run: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("other")
    options = {"steps": 1, "batch_size": 8, "progress": False, "overrides": SIZES}
    made = [
        selfsup.pretrain(task, run.config.data, out=folder / name, **options, **kind)
        for task, name, kind in (("text/mlm", "mlm", {}), ("text/tsdae", "tsdae", {"backbone": "text-decoder-small"}))
    ]
    return [each.dir for each in made]


def test_greedy_is_the_librarys_own(run: Any, tmp_path: Path) -> None:
    said = generate(run.dir, PROMPTS, max_new_tokens=12)
    folder = export(run.encoder, "transformers", tmp_path / "model")
    model, words = AutoModelForCausalLM.from_pretrained(folder).eval(), AutoTokenizer.from_pretrained(folder)
    for prompt, text in zip(PROMPTS, said, strict=True):
        ids = words(prompt, return_tensors="pt")["input_ids"]
        wanted = model.generate(ids, max_new_tokens=12, do_sample=False)[0]
        assert prompt + text == words.decode(wanted, skip_special_tokens=True)
        assert text.startswith(" ")
    assert generate(run.dir, PROMPTS, max_new_tokens=12, temperature=0) == said
    # The network is as it was: its head apart from it.
    encoder = run.encoder
    names = set(encoder.backbone.state_dict())
    generate(encoder, PROMPTS[:1], max_new_tokens=2)
    assert set(encoder.backbone.state_dict()) == names


def test_draws_follow_from_the_seed(run: Any) -> None:
    state = torch.get_rng_state()
    one, again, two = (generate(run.encoder, PROMPTS, max_new_tokens=12, temperature=2.0, seed=seed) for seed in (1, 1, 2))
    assert one == again
    assert one != two
    assert torch.equal(state, torch.get_rng_state())
    # From the likeliest token alone: greedy.
    assert generate(run.encoder, PROMPTS, max_new_tokens=5, top_k=1) == generate(run.encoder, PROMPTS, max_new_tokens=5)
    assert generate(run.encoder, PROMPTS, max_new_tokens=5, top_p=1e-6) == generate(run.encoder, PROMPTS, max_new_tokens=5)


@pytest.mark.parametrize("idle", [{"seed": 3}, {"temperature": 0.0, "top_k": 5}, {"temperature": 0.0, "top_p": 0.5}])
def test_what_would_have_no_effect_is_refused(run: Any, idle: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=f"{list(idle)[-1]}=.* has no effect, because decoding is greedy"):
        generate(run.dir, PROMPTS, **idle)


def test_the_command(run: Any, other: list[Path]) -> None:
    arguments = ["generate", str(run.dir), "--prompt", PROMPTS[0], "--prompt", PROMPTS[1], "--max-new-tokens", "6"]
    said = generate(run.dir, PROMPTS, max_new_tokens=6)
    plain = CliRunner().invoke(program, arguments)
    assert plain.exit_code == 0, plain.output
    assert plain.stdout == "".join(f"{prompt}{text}\n" for prompt, text in zip(PROMPTS, said, strict=True))
    document = json.loads(CliRunner().invoke(program, [*arguments, "--json"]).stdout)
    assert document == [{"prompt": prompt, "text": text} for prompt, text in zip(PROMPTS, said, strict=True)]


def test_who_cannot_write_says_why(run: Any, other: list[Path]) -> None:
    with pytest.raises(ConfigError, match=r"text-encoder-small' is an encoder.*text/clm"):
        generate(other[0], ["the"])
    with pytest.raises(ConfigError, match=r"no vocabulary head: text/tsdae does not keep it"):
        generate(other[1], ["the"])
    with pytest.raises(ConfigError, match="tokens, but this network"):
        generate(run.dir, ["the cat " * 60])
