"""Load an encoder from a folder, a run or the hub. Nothing that is read is executed."""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_model

from selfsup.artifacts.encoder import Encoder
from selfsup.artifacts.hub import HUB, fetch
from selfsup.artifacts.pretraining_rows import PRETRAINING_ROWS_FILES, PretrainingRows
from selfsup.artifacts.run_directory import RunDirectory
from selfsup.artifacts.saving import CONFIG_FILE, FORMAT, FORMAT_VERSION, PROCESSOR_FOLDER, WEIGHTS_FILE
from selfsup.backbones import Backbone
from selfsup.damaged_files import read_json, reading, short_reason
from selfsup.data.processor import Processor
from selfsup.errors import ArtifactError, ConfigError, UnfinishedRunWarning, UnknownIdError, UsageError
from selfsup.runtime.file_lock import holder_of, lock_of

RESTORE = "Restore the folder from a copy, or save the encoder again."
"""What to do about a damaged encoder."""
_SPARE_BYTES = 64 << 20
_PICKLES = (".pt", ".pth", ".pkl", ".pickle", ".ckpt", ".bin", ".joblib", ".tar")
FIRST_WEIGHTS = ("pretrained", "checkpoint")
"""Options of backbones that name initial weights."""
EncoderLike = Encoder | str | os.PathLike[str]
"""An encoder, or its source for :func:`load`: a path, ``hf://owner/name``, or a :class:`selfsup.Run`."""


def load(
    source: EncoderLike,
    *,
    checkpoint: str | None = None,
    device: torch.device | str | None = None,
    part: str | None = None,
) -> Encoder:
    """Load an encoder.

    Args:
        source: an encoder's folder, a run's folder, a :class:`selfsup.Run`, or ``hf://owner/name[@revision]``. An encoder is
            returned as it is.
        checkpoint: of a run's folder: ``best`` takes the weights with the best validation probe (``val``); None takes the last
            ones.
        device: for its weights; None: the CPU, or the device of a given encoder.
        part: for rows that join several parts: return the encoder of this part (:meth:`Encoder.part`).

    Returns:
        The encoder, in evaluation mode if it was read.

    Raises:
        ArtifactError: there is no encoder, it is damaged, of a later selfsup, or a pickle; or the run kept no such checkpoint.
        ConfigError: the checkpoint is unknown, ``source`` is no run, or the encoder has no such part.
        UsageError: ``source`` is none of these.
        MissingPluginError: the plugin of its modality is not installed.

    Warns:
        UnfinishedRunWarning: its run is not finished.
    """
    if part is not None:
        return load(source, checkpoint=checkpoint, device=device).part(part)
    if isinstance(source, Encoder):
        if checkpoint is not None:
            raise ConfigError(f"checkpoint={checkpoint!r} needs the folder of a run, and an encoder was given.")
        return source if device is None else source.to(device)
    if not isinstance(source, str | os.PathLike):
        raise UsageError(
            f"Give an encoder, or the path of one (a run's folder, an encoder's folder, hf://owner/name), and not a "
            f"{type(source).__name__}."
        )
    text, device = os.fspath(source), device or "cpu"
    if checkpoint is not None:
        return _of_checkpoint(text, checkpoint).to(device)
    directory = find_encoder(text)
    config = read_encoder_config(directory)
    encoder = _build(directory, config).to(device).eval()
    if unfinished := _unfinished(encoder, Path(text).expanduser()):
        warnings.warn(unfinished, UnfinishedRunWarning, stacklevel=2)
    return encoder


def find_encoder(source: str) -> Path:
    """The folder of the encoder that :func:`load` reads; fetches files of the hub.

    Raises:
        ArtifactError: there is no encoder.
    """
    return _download(source) if source.startswith(HUB) else _locate(Path(source).expanduser())


def _unfinished(encoder: Encoder, source: Path) -> str:
    """The warning for an encoder of an unfinished run; empty if the run is finished."""
    steps, total = encoder.metadata.get("steps"), encoder.metadata.get("of_steps")
    chosen = bool(encoder.metadata.get("checkpoint"))  # the best step is rarely the last one
    if chosen or not isinstance(steps, int) or not isinstance(total, int) or steps >= total:
        return ""
    text = f"this encoder is from an unfinished run, at step {steps} of {total}."
    if not RunDirectory.is_run(source):
        return text
    run = RunDirectory.open(source)
    if (holder := holder_of(lock_of(run.path))) is not None:
        return f"{text} The run continues now, in {holder}."
    return f"{text} Continue it with: {run.resume_command}"


def _of_checkpoint(source: str, checkpoint: str) -> Encoder:
    """The encoder of a run's checkpoint."""
    if checkpoint != "best":
        raise ConfigError(f"checkpoint={checkpoint!r} is not allowed; use 'best', or leave it out for the last weights.")
    path = Path(source).expanduser()
    if source.startswith(HUB) or not RunDirectory.is_run(path):
        raise ConfigError(f"checkpoint={checkpoint!r} needs the folder of a run, and {source} is none.")
    from selfsup.training.loop.checkpoint_encoder import load_best

    return load_best(RunDirectory.open(path))


def _locate(path: Path) -> Path:
    """The encoder's folder of a path."""
    if path.suffix.lower() in _PICKLES and not path.is_dir():
        raise ArtifactError(
            f"{path} looks like a pickle, and loading a pickle can run any code, so it is not loaded. An encoder is a "
            f"folder with {CONFIG_FILE} and {WEIGHTS_FILE}: the run's folder, or its encoder/."
        )
    if not path.exists():
        raise ArtifactError(f"{path} does not exist. Give a run's folder, an encoder's folder, or hf://owner/name.")
    if path.is_file():
        raise ArtifactError(f"{path} is a file. An encoder is a folder with {CONFIG_FILE} and {WEIGHTS_FILE}.")
    if RunDirectory.is_run(path):
        run = RunDirectory.open(path)
        if not (run.encoder / CONFIG_FILE).exists():
            if (holder := holder_of(lock_of(path))) is not None:
                raise ArtifactError(f"The run {path} has no encoder yet: it is running now, in {holder}.")
            steps = f" (status {run.status}, {_progress(run)})"
            raise ArtifactError(f"The run {path} has no encoder yet{steps}. Finish it with: {run.resume_command}")
        return run.encoder
    if not (path / CONFIG_FILE).exists():
        pickles = sorted(file.name for file in path.iterdir() if file.suffix.lower() in _PICKLES)
        held = f" It holds {pickles[0]}, a pickle: it could run any code and is not loaded." if pickles else ""
        raise ArtifactError(f"{path} is no encoder and no run: it has neither {CONFIG_FILE} nor run.json.{held}")
    return path


def _progress(run: RunDirectory) -> str:
    """How far a run has come, by its log."""
    step = max((int(line["step"]) for line in run.metrics()), default=0)
    return f"logged up to step {step}" if step else "no step logged"


def read_encoder_config(directory: Path) -> dict[str, Any]:
    """The ``config.json`` of an encoder's folder.

    Raises:
        ArtifactError: it cannot be read, is damaged, or is not of an encoder or of a later selfsup.
    """
    path = directory / CONFIG_FILE
    try:
        config = read_json(path)
    except (OSError, ValueError) as error:
        raise ArtifactError(f"Cannot read {path}: {error}. {RESTORE}") from error
    if not isinstance(config, dict) or config.get("format") != FORMAT:
        raise ArtifactError(f"{path} is not of a selfsup encoder: its format is not {FORMAT!r}.")
    if not isinstance(config.get("format_version"), int):
        raise ArtifactError(f"{path} is damaged: its format_version is no number. {RESTORE}")
    if config["format_version"] > FORMAT_VERSION:
        raise ArtifactError(
            f"{directory} was written by a later selfsup (encoder format {config['format_version']}; this one reads up to "
            f"{FORMAT_VERSION}). Update selfsup."
        )
    missing = [key for key in ("modality", "task", "backbone", "info", "metadata") if key not in config]
    if missing:
        raise ArtifactError(f"{path} is damaged: it lacks {', '.join(missing)}. {RESTORE}")
    kinds: dict[str, Any] = {"modality": str, "task": str, "backbone": dict, "info": dict, "metadata": dict}
    kinds["pretraining_rows"] = dict | None
    _check_kinds(path, "", config, kinds)
    _check_kinds(path, "backbone.", config["backbone"], {"id": str, "options": dict})
    _check_kinds(path, "info.", config["info"], {"parts": dict | None})
    parts = config["info"].get("parts") or {}
    _check_kinds(path, "info.parts.", parts, dict.fromkeys(parts, dict))
    return config


def _check_kinds(path: Path, where: str, held: Mapping[str, Any], kinds: Mapping[str, Any]) -> None:
    """Refuse a file whose values at some keys are of another kind than were written; a key that is missing has None."""
    for key, kind in kinds.items():
        if not isinstance(value := held.get(key), kind):
            raise ArtifactError(f"{path} is damaged: its {where}{key} is {str(value)[:60]!r}. {RESTORE}")


def load_processor(folder: Path, modality: str) -> Processor:
    """Load a processor of this modality.

    Raises:
        ArtifactError: it is missing or damaged.
    """
    from selfsup.registry import registry

    # Classes come from the registry by modality and backbone id: no name from the file is imported.
    try:
        processor_class = registry().processor_class(modality)
    except UnknownIdError as error:
        raise ArtifactError(f"{folder} holds a processor of an unknown modality: {error} {RESTORE}") from error
    with reading(folder, ArtifactError, RESTORE):
        return processor_class.load(folder)


def _build(directory: Path, config: dict[str, Any]) -> Encoder:
    from selfsup.registry import registry

    processor = load_processor(directory / PROCESSOR_FOLDER, config["modality"])
    with reading(directory / CONFIG_FILE, ArtifactError, RESTORE):
        id, options = str(config["backbone"]["id"]), dict(config["backbone"]["options"])
        # Do not load initial weights: they are replaced at once, and may no longer exist.
        wanted = without_first_weights(options)
        _check_info(processor, config["info"])
        weights = directory / WEIGHTS_FILE
        _check_size(id, wanted, config["info"], weights)
        try:
            backbone, _ = registry().build_backbone(id, wanted, config["info"])
        except (ConfigError, UnknownIdError) as error:  # not of the caller
            built = f"{directory / CONFIG_FILE} describes a network that cannot be built: {error}"
            raise ArtifactError(f"{built} It is of a later version, or damaged. {RESTORE}") from error
    try:
        with safe_open(str(weights), "pt") as file:
            # Shared weights are stored once; their other names are in the header.
            backbone.expect_weights(frozenset(file.keys()) | frozenset(file.metadata() or ()))
        load_model(backbone, str(weights))
    except FileNotFoundError:
        raise ArtifactError(f"{directory} is damaged: {WEIGHTS_FILE} is missing. {RESTORE}") from None
    except SafetensorError as error:
        raise ArtifactError(f"{weights} is damaged: {error}. {RESTORE}") from error
    except RuntimeError as error:
        raise ArtifactError(f"The weights in {weights} do not fit the backbone {id!r}: {error}") from error
    except Exception as error:  # a header may promise tensors of any type and size
        raise ArtifactError(f"{weights} is damaged ({short_reason(error)}). {RESTORE}") from error
    _check_finite(backbone, weights)
    return Encoder(
        processor,
        backbone,
        backbone_id=id,
        backbone_options=options,
        task=config["task"],
        metadata=config["metadata"],
        pretraining_rows=PretrainingRows.load(directory, config.get("pretraining_rows")),
    )


def _check_info(processor: Processor, info: Mapping[str, Any]) -> None:
    """Refuse a processor whose batches the network does not fit, such as a tokenizer with more words.

    Raises:
        ValueError: they differ.
    """
    own = json.loads(json.dumps(dict(processor.info())))
    for key in own.keys() & info.keys():
        if own[key] != info[key]:
            raise ValueError(f"its {key} is {str(info[key])[:60]}, but that of the processor {str(own[key])[:60]}")


def _check_size(id: str, options: Mapping[str, Any], info: Mapping[str, Any], weights: Path) -> None:
    """Refuse a config that describes a much larger network than the file of weights holds, before memory is taken for it.

    Raises:
        ValueError: it does.
    """
    from selfsup.registry import registry

    try:
        held = weights.stat().st_size
        with warnings.catch_warnings(), torch.device("meta"):
            warnings.simplefilter("ignore")
            skeleton, _ = registry().build_backbone(id, options, info)
    except Exception:  # some networks need values to be built, and the build below tells what is wrong
        return
    described = sum(weight.numel() * weight.element_size() for weight in skeleton.parameters())
    if described > 2 * held + _SPARE_BYTES:
        raise ValueError(f"it describes a network of {described / 1e6:,.0f} MB, but {weights.name} has {held / 1e6:,.0f} MB")


def _check_finite(backbone: Backbone, path: Path) -> None:
    """Refuse weights that would make every embedding NaN."""
    for name, weight in backbone.named_parameters():
        if weight.is_floating_point() and not torch.isfinite(weight).all():
            raise ArtifactError(
                f"{path} is damaged, or of a run that diverged: {name} has values that are not finite (NaN or infinite). "
                f"{RESTORE}"
            )


def without_first_weights(options: Mapping[str, Any]) -> dict[str, Any]:
    """Options of a backbone and its parts, without those that name initial weights (``BackboneRecipe``)."""
    return {
        name: without_first_weights(value) if isinstance(value, Mapping) else value
        for name, value in options.items()
        if name not in FIRST_WEIGHTS
    }


def _download(source: str) -> Path:
    """Fetch the files of an encoder from the hub, and no others."""
    return fetch(source, [CONFIG_FILE, WEIGHTS_FILE, PRETRAINING_ROWS_FILES, f"{PROCESSOR_FOLDER}/*"])
