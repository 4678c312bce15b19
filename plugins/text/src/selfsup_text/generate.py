"""``selfsup generate``: continue texts with a decoder."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import click
import torch

from selfsup.artifacts import Encoder, EncoderLike, load
from selfsup.cli import emit, json_option
from selfsup.errors import ConfigError
from selfsup.runtime import evaluation_mode, preserved
from selfsup_text.backbones.base import TextBackbone
from selfsup_text.backbones.network import TransformersBackbone
from selfsup_text.processor import TextProcessor


def generate(
    encoder: EncoderLike,
    prompts: str | Sequence[str],
    *,
    max_new_tokens: int = 50,
    temperature: float | None = None,
    top_k: int | None = None,
    top_p: float | None = None,
    seed: int | None = None,
) -> list[str]:
    """Continue each prompt with transformers' ``generate``.

    Without ``temperature``, ``top_k`` and ``top_p`` (or with a temperature of 0) decoding is greedy; otherwise tokens are
    sampled. A text ends at the end token, or when the network has no further positions.

    Args:
        encoder: with a vocabulary head (``text/clm``, or a pretrained decoder), or anything that :func:`selfsup.load` takes.
        prompts: a text or several; an empty prompt is allowed if the tokenizer has a token that begins a text.
        max_new_tokens: most tokens to add.
        temperature: divides the logits before sampling; below 1 favours likely tokens.
        top_k: sample from the k likeliest tokens; None: from all.
        top_p: sample from the likeliest tokens with this total probability (Holtzman et al. 2019, arXiv 1904.09751).
        seed: of the sampling, for each prompt; None: 0.

    Returns:
        The continuations without prompts and special tokens.

    Raises:
        ConfigError: the encoder is not a decoder with a vocabulary head, or a prompt is empty or too long.
    """
    greedy = temperature == 0 or (temperature, top_k, top_p) == (None, None, None)
    idle = {name: value for name, value in (("top_k", top_k), ("top_p", top_p), ("seed", seed)) if value is not None}
    if greedy and idle:
        name, value = next(iter(idle.items()))
        raise ConfigError(
            f"{name}={value} has no effect, because decoding is greedy. Leave it out, or give a temperature above 0."
        )
    prompts = [prompts] if isinstance(prompts, str) else prompts
    model = load(encoder)
    backbone, processor = _decoder(model), model.processor
    assert isinstance(processor, TextProcessor)
    assert backbone.vocabulary_head is not None
    tokenizer = processor.pretrained_tokenizer(causal=True)
    options: dict[str, Any] = {"eos_token_id": tokenizer.eos_token_id, "pad_token_id": tokenizer.pad_token_id}
    if greedy:
        options |= {"do_sample": False}
    else:
        # The library's default is top_k=50.
        options |= {"do_sample": True, "temperature": temperature or 1.0, "top_k": top_k or 0, "top_p": top_p or 1.0}
    texts: list[str] = []
    with preserved(), evaluation_mode(model), backbone.vocabulary_head.joined(backbone.model) as whole:
        writer: Any = whole
        for prompt in prompts:
            ids = torch.tensor([tokenizer(prompt, truncation=False)["input_ids"]], dtype=torch.long, device=model.device)
            room = _room(backbone, prompt, ids.shape[1])
            torch.manual_seed(seed or 0)
            output = writer.generate(
                ids, attention_mask=torch.ones_like(ids), max_new_tokens=min(max_new_tokens, room), **options
            )
            # Decode both together, to keep the space between them.
            given, whole_text = (str(tokenizer.decode(part, skip_special_tokens=True)) for part in (ids[0], output[0]))
            texts.append(whole_text.removeprefix(given))
    return texts


def _decoder(encoder: Encoder) -> TransformersBackbone:
    backbone = encoder.backbone
    if not isinstance(backbone, TransformersBackbone) or not backbone.causal:
        kind = "an encoder, whose tokens see later ones" if isinstance(backbone, TextBackbone) else "not a network over tokens"
        raise ConfigError(
            f"Only a decoder can generate text, and the backbone {encoder.backbone_id!r} is {kind}. Train one with text/clm."
        )
    if backbone.vocabulary_head is None:
        raise ConfigError(
            f"This decoder has no vocabulary head: {encoder.task or 'its task'} does not keep it. Train one with text/clm, or "
            "use text/random-init with backbone.pretrained for a pretrained one."
        )
    return backbone


def _room(backbone: TransformersBackbone, prompt: str, length: int) -> int:
    """How many tokens the network can add to a prompt."""
    if not length:
        raise ConfigError("A prompt is empty, but this tokenizer has no token that begins a text: give some words.")
    positions = getattr(backbone.model.config, "max_position_embeddings", None)
    room = int(positions) - length if positions and positions > 0 else 1_000_000
    if room < 1:
        shown = prompt if len(prompt) <= 30 else f"{prompt[:30]}..."
        raise ConfigError(f"The prompt {shown!r} has {length} tokens, but this network has {positions} positions: shorten it.")
    return room


@click.command()
@click.argument("run", metavar="RUN|ENCODER")
@click.option("--prompt", "prompts", multiple=True, required=True, metavar="TEXT", help="The text to continue; repeatable.")
@click.option("--max-new-tokens", type=click.IntRange(min=1), default=50, show_default=True, help="Most tokens to add.")
@click.option("--temperature", type=click.FloatRange(min=0), help="Sample; below 1 favours likely tokens, 0: greedy.")
@click.option("--top-k", type=click.IntRange(min=1), help="Sample from the k likeliest tokens.")
@click.option(
    "--top-p", type=click.FloatRange(0, 1, min_open=True), help="Sample from likely tokens of this total probability."
)
@click.option("--seed", type=int, help="Of the sampling [default: 0].")
@json_option
def command(
    run: str,
    prompts: tuple[str, ...],
    max_new_tokens: int,
    temperature: float | None,
    top_k: int | None,
    top_p: float | None,
    seed: int | None,
    as_json: bool,
) -> None:
    """Continue texts with a decoder. Without --temperature, --top-k and --top-p decoding is greedy."""
    texts = generate(
        run, list(prompts), max_new_tokens=max_new_tokens, temperature=temperature, top_k=top_k, top_p=top_p, seed=seed
    )
    document = [{"prompt": prompt, "text": text} for prompt, text in zip(prompts, texts, strict=True)]
    emit(document, as_json=as_json, text=lambda: click.echo("\n".join(each["prompt"] + each["text"] for each in document)))
