"""Load the encoder of a checkpoint."""

from __future__ import annotations

from typing import Any

from selfsup.artifacts import Encoder, RunDirectory, load
from selfsup.backbones import unfreeze
from selfsup.damaged_files import short_reason
from selfsup.errors import ArtifactError, MissingPluginError
from selfsup.training.loop.checkpoint import BEST, load_checkpoint
from selfsup.training.observe.online_probe import PROBE_METRICS
from selfsup.training.run import setup
from selfsup.training.run.initialization import without_origin
from selfsup.training.run.resolve import stored_config


def load_best(run: RunDirectory) -> Encoder:
    """The encoder of the checkpoint with the best probe score, in evaluation mode on the CPU.

    It has the network that the run saves: the task's backbone (or teacher), or with ``optimization.ema`` its moving average.
    Its metadata have ``checkpoint`` and ``checkpoint_step``.

    Raises:
        ArtifactError: the run has no best checkpoint or no encoder yet, or the checkpoint is of another run.
    """
    path = run.checkpoints / BEST
    if not path.exists():
        raise ArtifactError(
            f"The run {run.path} kept no best checkpoint: that needs a validation probe. Pretrain with --val SRC, or leave "
            "the checkpoint out to load the run's last encoder."
        )
    last = load(run.path)  # for its processor, and its list of rows
    held = run.info()
    try:
        state = load_checkpoint(path, {"task": held["task"], "data": held["data"]["fingerprint"]})
        config = stored_config(held["config"])
        task, _ = setup.build_task(without_origin(config), {**last.processor.info(), **held.get("info", {})}, taught=False)
        # The checkpoint also has the head for a frozen teacher, which is not needed here.
        kept = set(task.state_dict()) if held.get("teacher") else set(state["stepper"]["task"])
        task.load_state_dict({name: value for name, value in state["stepper"]["task"].items() if name in kept})
        backbone = task.encoder_backbone()
        if state["stepper"]["average"] is not None:
            backbone.load_state_dict(state["stepper"]["average"])
    except MissingPluginError:
        raise
    except Exception as error:  # a damaged file may hold values of any kind
        raise ArtifactError(f"The best checkpoint of the run {run.path} cannot be loaded: {short_reason(error)}") from error
    unfreeze(backbone)  # the average is not trained by gradients
    step = int(state["stepper"]["step"])
    found: dict[str, Any] = {
        **last.metadata,
        "steps": step,
        "checkpoint": "best",
        "checkpoint_step": step,
        PROBE_METRICS[(held.get("val") or {}).get("label_kind", "class")]: state["probe"],
        "chosen_on": held.get("val"),
    }
    return Encoder(
        last.processor,
        backbone,
        backbone_id=config.backbone,
        backbone_options=setup.full_backbone_options(config, backbone),
        task=config.task,
        metadata=found,
        pretraining_rows=last.pretraining_rows,
    ).eval()
