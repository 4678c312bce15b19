"""Tokens a second of masked language modelling, against the Trainer of transformers on the same blocks, model and batch."""

from __future__ import annotations

import tempfile
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

import selfsup
from selfsup.config import validated
from selfsup.data import load_source
from selfsup.registry import registry
from selfsup.runtime import cpu_count, resolve_precision
from speed.apart import apart
from speed.measure import Figure, Settings, Stretches, in_turn, peer, ratio_figure
from speed.pretraining.profiling import timing

LENGTH, BATCH, VOCABULARY = 126, 32, 8192
"""Content tokens of a block (128 with class token and separator), blocks of a step, size of the vocabulary."""
HIDDEN, LAYERS, HEADS = 256, 4, 4
"""BERT-mini."""
LR, BETAS, DECAY = 1e-3, (0.9, 0.98), 0.01


class Curve(NamedTuple):
    """What one training gives."""

    tokens_per_second: float
    """Of content."""
    losses: list[float]
    """Mean loss of each stretch."""


def mlm_figure(settings: Settings) -> Figure:
    """MLM on packed blocks of real text (the pages of Python's reference, or ``--data``) with BERT-mini."""
    torch.set_num_threads(cpu_count())
    data = settings.data or "pydoc-topics"
    steps, device = settings.steps or 120, settings.device
    precision = resolve_precision("auto", device)
    curves: dict[str, Curve] = {}

    def ours() -> float:
        curves["ours"] = our_training(data, steps=steps, precision=precision, device=device)
        return curves["ours"].tokens_per_second

    blocks, info = packed_blocks(data)
    with apart() as there:
        train = partial(there(their_training), blocks, info, steps=steps, bf16=precision == "bf16", device=device)

        def theirs() -> float:
            curves["theirs"] = train()
            return curves["theirs"].tokens_per_second

        mine, other = in_turn(ours, theirs, repeats=settings.repeats)
    return ratio_figure(
        "mlm",
        f"MLM on {data}, BERT-mini, vocabulary {info['vocab_size']:,}, batch {BATCH} x {LENGTH + 2}, {precision}, against "
        "transformers' Trainer with DataCollatorForLanguageModeling on the same packed blocks",
        mine,
        other,
        unit="tokens/s",
        compare=">=",
        goal=1.3,
        note=f"{steps} steps; loss by tenths of them: ours {_shown(curves['ours'])}, theirs {_shown(curves['theirs'])}",
    )


def _shown(curve: Curve) -> str:
    return " ".join(f"{loss:.2f}" for loss in curve.losses)


def our_training(data: str, *, steps: int, precision: str, device: str) -> Curve:
    """``selfsup.pretrain("text/mlm")`` with the rates of the collator: 15 %, 80/10/10."""
    every = max(1, steps // 10)
    stretches = Stretches(device, steps=steps, batch=BATCH * LENGTH)
    with tempfile.TemporaryDirectory() as folder, timing(stretches):
        run = selfsup.pretrain(
            "text/mlm",
            data,
            out=Path(folder) / "run",
            backbone="transformers/bert",
            steps=steps,
            precision=precision,
            log_every=every,
            probe_every=10 * steps,
            progress=False,
            overrides={
                "accelerator": "gpu" if device == "cuda" else "cpu",
                "optimization.batch_size": BATCH,
                "optimization.lr": LR,
                "optimization.betas": BETAS,
                "optimization.weight_decay": DECAY,
                "optimization.warmup_fraction": 0.05,
                "processor.max_length": LENGTH,
                "processor.vocab_size": VOCABULARY,
                "backbone.hidden_size": HIDDEN,
                "backbone.layers": LAYERS,
                "backbone.heads": HEADS,
                "backbone.initializer_range": 0.02,  # as in the peer's config, so that both losses start alike
            },
        )
        losses = [line["loss"] for line in run.metrics if "loss" in line and line["step"] % every == 0]
    return Curve(stretches.rate(), losses)


def packed_blocks(data: str, *, length: int = 0, vocabulary: int = 0) -> tuple[Any, dict[str, int]]:
    """[M, length] int32, the blocks that our side trains on; the ids of the special tokens and the vocabulary's size."""
    found = registry()
    rows = load_source(data, modality=found.get("modality", "text")).without_labels()
    kind = found.processor_class("text")
    length = length or LENGTH
    options = {"vocab_size": vocabulary or VOCABULARY, "max_length": length, "packing": "blocks"}
    processor = kind(validated(kind.Config, options, what="the processor's options")).fit(rows)
    ids: list[Any] = []
    for _, chunk in rows.chunks():
        ids += [sample["ids"] for sample in processor.encode_rows(chunk) if isinstance(sample, dict)]
    stream = np.concatenate(ids)
    names = ("vocab_size", "pad_id", "unk_id", "cls_id", "sep_id", "mask_id")
    info = processor.info()
    return stream[: len(stream) // length * length].reshape(-1, length), {name: int(info[name]) for name in names}


def their_training(blocks: Any, info: dict[str, int], *, steps: int, bf16: bool, device: str) -> Curve:
    """``Trainer`` and ``DataCollatorForLanguageModeling`` as the library's ``run_mlm.py`` has them, without dropout as ours."""
    torch.set_num_threads(cpu_count())
    transformers = peer("transformers")
    peer("accelerate")
    transformers.logging.set_verbosity_error()
    special = {info[f"{role}_id"]: f"[{role.upper()}]" for role in ("pad", "unk", "cls", "sep", "mask")}
    config = transformers.BertConfig(
        vocab_size=info["vocab_size"],
        hidden_size=HIDDEN,
        num_hidden_layers=LAYERS,
        num_attention_heads=HEADS,
        intermediate_size=4 * HIDDEN,
        max_position_embeddings=LENGTH + 2,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
        pad_token_id=info["pad_id"],
    )
    torch.manual_seed(0)
    model = transformers.BertForMaskedLM(config)
    collator = transformers.DataCollatorForLanguageModeling(tokenizer(info["vocab_size"], special), mlm_probability=0.15)
    edge = np.ones((len(blocks), 1), dtype=blocks.dtype)
    framed = np.concatenate([info["cls_id"] * edge, blocks, info["sep_id"] * edge], axis=1).astype(np.int64)
    hidden = np.isin(framed, list(special)).astype(np.int64)
    rows = [{"input_ids": ids, "special_tokens_mask": mask} for ids, mask in zip(framed, hidden, strict=True)]
    every = max(1, steps // 10)
    stretches = Stretches(device, steps=steps, batch=BATCH * LENGTH)
    with tempfile.TemporaryDirectory() as folder:
        arguments = transformers.TrainingArguments(
            output_dir=folder,
            per_device_train_batch_size=BATCH,
            max_steps=steps,
            learning_rate=LR,
            adam_beta1=BETAS[0],
            adam_beta2=BETAS[1],
            weight_decay=DECAY,
            lr_scheduler_type="cosine",
            warmup_steps=steps // 20,
            logging_steps=every,
            save_strategy="no",
            report_to=[],
            use_cpu=device == "cpu",
            bf16=bf16,
            disable_tqdm=True,
            dataloader_drop_last=True,
            dataloader_pin_memory=device == "cuda",
        )
        trainer = transformers.Trainer(
            model, arguments, data_collator=collator, train_dataset=rows, callbacks=[step_clock(transformers, stretches)]
        )
        trainer.train()
    losses = [float(line["loss"]) for line in trainer.state.log_history if "loss" in line]
    return Curve(stretches.rate(), losses)


def tokenizer(size: int, special: dict[int, str]) -> Any:
    """What the collator asks of a tokenizer: the size of the vocabulary, the mask token, and which ids are special."""
    transformers = peer("transformers")
    models = peer("tokenizers.models", "tokenizers")
    words = {special.get(id, f"token{id}"): id for id in range(size)}
    made = peer("tokenizers").Tokenizer(models.WordLevel(words, unk_token="[UNK]"))
    names = {f"{token[1:-1].lower()}_token": token for token in special.values()}
    return transformers.PreTrainedTokenizerFast(tokenizer_object=made, **names)


def step_clock(transformers: Any, stretches: Stretches) -> Any:
    """A callback of ``Trainer`` that tells of each step's end."""

    class Clock(transformers.TrainerCallback):  # type: ignore[misc]  # its base is known at run time only
        def on_step_end(self, arguments: Any, state: Any, control: Any, **kwargs: Any) -> None:
            stretches.ended(state.global_step)

    return Clock()
