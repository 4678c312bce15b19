"""How peers pretrain on a device, each in its documented loop: samples a second after the first steps."""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from speed.measure import Stretches, peer
from speed.synthetic_data import images


def cores() -> int:
    """For the workers of a loader."""
    from selfsup.runtime import cpu_count

    return max(cpu_count() - 1, 1)


def bf16(device: str) -> Any:
    """Autocast as every peer's trainer has it."""
    return torch.autocast(device, torch.bfloat16)


def timed(batches: Iterable[Any], step: Any, *, steps: int, batch: int, device: str) -> float:
    """Samples a second of ``step`` on so many batches, timed as ours are."""
    stretches = Stretches(device, steps=steps, batch=batch)
    for number, one in enumerate(itertools.islice(batches, steps), 1):
        step(one)
        stretches.ended(number)
    return stretches.rate()


def _forever(loader: Any) -> Iterator[Any]:
    while True:
        yield from loader


def lightly_simclr(*, n: int, size: int, network: str, batch: int, device: str, steps: int = 0) -> float:
    """SimCLR as lightly documents it: its transform in the workers of a loader, its head and loss, SGD at 0.06."""
    from PIL import Image

    torchvision, losses = peer("torchvision"), peer("lightly.loss", "lightly")
    heads, transforms = peer("lightly.models.modules", "lightly"), peer("lightly.transforms", "lightly")
    from speed.views import PeerImages

    transform = transforms.SimCLRTransform(
        input_size=size, gaussian_blur=0.5 if size >= 64 else 0.0, cj_strength=1.0 if size >= 64 else 0.5
    )
    pictures = PeerImages([Image.fromarray(image) for image in images(n, size)], transform)
    loader = torch.utils.data.DataLoader(
        pictures, batch_size=batch, shuffle=True, drop_last=True, num_workers=cores(), persistent_workers=True,
        pin_memory=device == "cuda",
    )  # fmt: skip
    backbone = getattr(torchvision.models, network)()
    if size < 64:
        backbone.conv1 = nn.Conv2d(3, 64, 3, padding=1, bias=False)
        backbone.maxpool = nn.Identity()
    width = backbone.fc.in_features
    backbone.fc = nn.Identity()
    model = nn.Sequential(backbone, heads.SimCLRProjectionHead(width, 512 if width == 512 else 2048, 128))
    model.to(device).to(memory_format=torch.channels_last)
    criterion, optimizer = losses.NTXentLoss(), torch.optim.SGD(model.parameters(), lr=0.06)

    def step(one: Any) -> None:
        first, second = (view.to(device, non_blocking=True) for view in one[0])
        with bf16(device):
            loss = criterion(model(first), model(second))
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()

    return timed(_forever(loader), step, steps=steps or (6 if device == "cpu" else 100), batch=batch, device=device)


def trainer_mlm(*, length: int, batch: int, small: bool, device: str, blocks: Any, info: dict[str, int]) -> float:
    """MLM by transformers' ``Trainer`` and collator, with the better number of loader workers."""
    from speed.pretraining.mlm import step_clock, tokenizer

    transformers = peer("transformers")
    peer("accelerate")
    transformers.logging.set_verbosity_error()
    special = {info[f"{role}_id"]: f"[{role.upper()}]" for role in ("pad", "unk", "cls", "sep", "mask")}
    sizes: dict[str, int] = (
        {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 64} if small else {}
    )
    collator = transformers.DataCollatorForLanguageModeling(tokenizer(info["vocab_size"], special), mlm_probability=0.15)
    edge = np.ones((len(blocks), 1), dtype=blocks.dtype)
    framed = np.concatenate([info["cls_id"] * edge, blocks, info["sep_id"] * edge], axis=1).astype(np.int64)
    hidden = np.isin(framed, list(special)).astype(np.int64)
    rows = [{"input_ids": ids, "special_tokens_mask": mask} for ids, mask in zip(framed, hidden, strict=True)]

    def measured(workers: int) -> float:
        config = transformers.BertConfig(
            vocab_size=info["vocab_size"], max_position_embeddings=length + 2, hidden_dropout_prob=0.0,
            attention_probs_dropout_prob=0.0, pad_token_id=info["pad_id"], **sizes,
        )  # fmt: skip
        steps = 6 if small else 60
        stretches = Stretches(device, steps=steps, batch=batch)
        with tempfile.TemporaryDirectory() as folder:
            arguments = transformers.TrainingArguments(
                output_dir=folder, per_device_train_batch_size=batch, max_steps=steps, logging_steps=1000,
                save_strategy="no", report_to=[], use_cpu=device == "cpu", bf16=True, disable_tqdm=True,
                dataloader_drop_last=True, dataloader_num_workers=workers, dataloader_persistent_workers=workers > 0,
                dataloader_pin_memory=device == "cuda",
            )  # fmt: skip
            model = transformers.BertForMaskedLM(config)
            trainer = transformers.Trainer(
                model, arguments, data_collator=collator, train_dataset=rows, callbacks=[step_clock(transformers, stretches)]
            )
            trainer.train()
        return stretches.rate()

    return max(measured(workers) for workers in ((0,) if small else (0, 8)))


class _Rows(torch.utils.data.Dataset[Any]):
    """Rows in memory, prepared by a function in the loader's workers."""

    def __init__(self, rows: Tensor, prepare: Any) -> None:
        self.rows, self.prepare = rows, prepare

    def __len__(self) -> int:
        """Number of rows."""
        return len(self.rows)

    def __getitem__(self, index: int) -> Any:
        """A row, prepared."""
        return self.prepare(self.rows[index])


def transformers_wav2vec2(*, seconds: int, batch: int, small: bool, device: str, steps: int = 0) -> float:
    """``Wav2Vec2ForPreTraining`` as transformers' example ``run_wav2vec2_pretraining_no_trainer.py`` trains it."""
    transformers = peer("transformers")
    module = peer("transformers.models.wav2vec2.modeling_wav2vec2", "transformers")
    sizes: dict[str, Any] = {}
    if small:
        sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 64,
                 "conv_dim": (16,) * 7, "num_conv_pos_embeddings": 16, "num_conv_pos_embedding_groups": 2}  # fmt: skip
    config = transformers.Wav2Vec2Config(
        hidden_dropout=0.0, attention_dropout=0.0, feat_proj_dropout=0.0, activation_dropout=0.0, layerdrop=0.0,
        feat_quantizer_dropout=0.0, final_dropout=0.0, **sizes,
    )  # fmt: skip
    model = transformers.Wav2Vec2ForPreTraining(config).to(device).train()
    frames = int(model._get_feat_extract_output_lengths(16_000 * seconds))
    noise = torch.randint(-8000, 8000, (max(4 * batch, 8), 16_000 * seconds), dtype=torch.int16)

    def prepare(wave: Tensor) -> Tensor:
        values = wave.float() / 32768
        return (values - values.mean()) / (values.var() + 1e-7).sqrt()

    def collate(waves: list[Tensor]) -> dict[str, Tensor]:
        shape = (len(waves), frames)
        mask = module._compute_mask_indices(shape, config.mask_time_prob, config.mask_time_length, min_masks=2)
        negatives = module._sample_negative_indices(shape, config.num_negatives, mask_time_indices=mask)
        return {
            "input_values": torch.stack(waves),
            "mask_time_indices": torch.from_numpy(mask),
            "sampled_negative_indices": torch.from_numpy(negatives),
        }

    workers = 0 if small else cores()
    loader = torch.utils.data.DataLoader(
        _Rows(noise, prepare), batch, shuffle=True, drop_last=True, collate_fn=collate, num_workers=workers,
        persistent_workers=workers > 0, pin_memory=device == "cuda",
    )  # fmt: skip
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-4, fused=device == "cuda" or None)

    def step(one: dict[str, Tensor]) -> None:
        given = {key: value.to(device, non_blocking=True) for key, value in one.items()}
        count = given["mask_time_indices"].sum()
        with bf16(device):
            loss = model(**given).loss / count
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 10.0)
        optimizer.step()
        optimizer.zero_grad()

    return timed(_forever(loader), step, steps=steps or (6 if small else 50), batch=batch, device=device)


def transformers_videomae(*, size: int, batch: int, small: bool, device: str, steps: int = 0) -> float:
    """``VideoMAEForPreTraining`` in a plain loop, with frames of 8 bits in memory that loader workers crop and scale."""
    transformers = peer("transformers")
    sizes = {
        "hidden_size": 384, "num_attention_heads": 6, "intermediate_size": 1536, "decoder_hidden_size": 192,
        "decoder_num_attention_heads": 3, "decoder_intermediate_size": 768,
    }  # fmt: skip
    if small:
        sizes = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 64,
                 "decoder_hidden_size": 32, "decoder_num_attention_heads": 2, "decoder_intermediate_size": 64,
                 "decoder_num_hidden_layers": 1}  # fmt: skip
    config = transformers.VideoMAEConfig(image_size=size, **sizes)
    model = transformers.VideoMAEForPreTraining(config).to(device).train()
    clips = torch.randint(0, 256, (max(2 * batch, 4), 16, 3, size, size), dtype=torch.uint8)
    mean, deviation = torch.tensor((0.485, 0.456, 0.406)).view(3, 1, 1), torch.tensor((0.229, 0.224, 0.225)).view(3, 1, 1)
    crop = peer("torchvision.transforms.v2", "torchvision").RandomResizedCrop(size, (0.5, 1.0), antialias=True)
    places = (size // 16) ** 2

    def prepare(clip: Tensor) -> tuple[Tensor, Tensor]:
        hidden = torch.zeros(places, dtype=torch.bool)
        hidden[torch.randperm(places)[: int(0.9 * places)]] = True
        return (crop(clip).float() / 255 - mean) / deviation, hidden.repeat(8)

    workers = 0 if small else cores()
    loader = torch.utils.data.DataLoader(
        _Rows(clips, prepare), batch, shuffle=True, drop_last=True, num_workers=workers, persistent_workers=workers > 0,
        pin_memory=device == "cuda",
    )  # fmt: skip
    optimizer = torch.optim.AdamW(model.parameters(), lr=1.5e-4, betas=(0.9, 0.95), fused=device == "cuda" or None)

    def step(one: Any) -> None:
        pixels, hidden = (each.to(device, non_blocking=True) for each in one)
        with bf16(device):
            loss = model(pixels, bool_masked_pos=hidden).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()

    return timed(_forever(loader), step, steps=steps or (6 if small else 50), batch=batch, device=device)


def open_clip_pairs(*, n: int, size: int, batch: int, small: bool, device: str, steps: int = 0) -> float:
    """CLIP as open_clip trains it: its model, transform, tokenizer and loss; loader workers prepare pictures and texts."""
    from PIL import Image

    from speed.pretraining.workloads import captions

    open_clip = peer("open_clip", "open_clip_torch")
    losses = peer("open_clip.loss", "open_clip_torch")
    vision = {"image_size": size, "layers": 12, "width": 768, "patch_size": 32}
    towers = {
        "embed_dim": 512,
        "vision_cfg": vision,
        "text_cfg": {"context_length": 77, "width": 512, "heads": 8, "layers": 12},
    }
    if small:
        towers = {"embed_dim": 16, "vision_cfg": {"image_size": size, "layers": 1, "width": 64, "patch_size": 16},
                  "text_cfg": {"context_length": 77, "width": 16, "heads": 2, "layers": 1}}  # fmt: skip
    model = open_clip.CLIP(**towers).to(device).train()
    transform = open_clip.image_transform(size, is_train=True)
    tokenizer = open_clip.SimpleTokenizer()
    pictures, texts = [Image.fromarray(image) for image in images(n, size)], captions(n)

    def prepare(number: Tensor) -> tuple[Tensor, Tensor]:
        return transform(pictures[int(number)]), tokenizer([texts[int(number)]])[0]

    workers = 0 if small else cores()
    loader = torch.utils.data.DataLoader(
        _Rows(torch.arange(n), prepare), batch, shuffle=True, drop_last=True, num_workers=workers,
        persistent_workers=workers > 0, pin_memory=device == "cuda",
    )  # fmt: skip
    criterion = losses.ClipLoss()
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-4, betas=(0.9, 0.98), eps=1e-6, weight_decay=0.2)

    def step(one: Any) -> None:
        pixels, tokens = (each.to(device, non_blocking=True) for each in one)
        with bf16(device):
            first, second, scale = model(pixels, tokens)
            loss = criterion(first, second, scale)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        with torch.no_grad():
            model.logit_scale.clamp_(0, 4.6052)

    return timed(_forever(loader), step, steps=steps or (6 if small else 40), batch=batch, device=device)
