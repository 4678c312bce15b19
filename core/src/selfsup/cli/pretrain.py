"""``selfsup pretrain``: pretrain an encoder."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import click

from selfsup.cli.data_options import column_option, label_kind_option, table_options, unlabelled_option
from selfsup.cli.flags import FlaggedCommand, take_flags
from selfsup.cli.output import emit, json_option


@click.command("pretrain", cls=FlaggedCommand, no_args_is_help=True)
@click.argument("task", required=False)
@click.option(
    "--data", metavar="SRC", help="Rows to learn from: a data set's name, a file or folder, hf://owner/name, s3://..."
)
@click.option("--out", metavar="DIR", type=click.Path(path_type=Path), help="The run's folder [default: runs/<task>-<time>].")
@click.option("--resume", is_flag=True, help="Resume the run in --out, or start it; a larger --epochs or --steps extends it.")
@click.option("--config", metavar="FILE", type=click.Path(path_type=Path), help="Options as JSON; a run.json repeats its run.")
@click.option("--backbone", metavar="ID", help="The network to train [default: the task's].")
@click.option(
    "--init",
    "starts",
    metavar="SRC",
    multiple=True,
    help="Initial weights: a run, an encoder, a folder of transformers or timm, hf://owner/name; for a part: PART=SRC.",
)
@click.option("--epochs", type=int, metavar="N", help="Budget in passes over the data.")
@click.option("--steps", type=int, metavar="N", help="Budget in optimizer steps.")
@click.option("--max-steps", type=int, metavar="N", help="Upper limit of the budget in steps, also if --epochs gives more.")
@click.option("--batch-size", type=int, metavar="N", help="Samples per optimizer step, over all devices [default: the task's].")
@click.option("--lr", type=float, metavar="X", help="Peak learning rate.")
@click.option(
    "--precision",
    type=click.Choice(["auto", "32", "bf16", "bf16-true", "16"]),
    help="Arithmetic; bf16-true: bf16 weights, too [default: auto, the fastest].",
)
@click.option("--devices", type=int, metavar="N", help="Processes on this machine, one per GPU.")
@click.option("--nodes", type=int, metavar="N", help="Machines; start the command on each with srun or torchrun.")
@click.option("--strategy", type=click.Choice(["auto", "ddp", "fsdp"]), help="Strategy for several devices.")
@click.option("--seed", type=int, metavar="N", help="Seed of weights, order and views [default: 0].")
@click.option(
    "--holdout",
    type=float,
    metavar="X",
    help="Share of the rows to hold out, as test rows of evaluate and finetune [default: 0].",
)
@click.option(
    "--val",
    metavar="SRC",
    help="Labelled rows for a probe, which is shown during the run and chooses the best checkpoint.",
)
@click.option("--label", metavar="COLUMN", help="The label column; only supervised tasks see it.")
@label_kind_option
@unlabelled_option
@column_option
@table_options
@click.option(
    "--stream/--no-stream",
    "stream",
    default=None,
    help="Decode rows during training, not before; give --steps if their number is unknown "
    "[default: for URLs, patterns of files, and sources larger than streaming.above_gb].",
)
@click.option(
    "--max-store-gb", type=float, metavar="X", help="Most gigabytes for the processed rows [default: the free space]."
)
@click.option("--max-bad-rows", type=float, metavar="X", help="Largest share of unreadable rows [default: 0.01].")
@click.option(
    "--logger", "loggers", metavar="ID", multiple=True, help="tensorboard, wandb, trackio, or a plugin's; repeatable."
)
@click.option(
    "--set",
    "assignments",
    metavar="KEY=VALUE",
    multiple=True,
    help="Any config key: --set objective.temperature=0.2 (selfsup list options TASK shows all).",
)
@json_option
def command(
    task: str | None,
    out: Path | None,
    resume: bool,
    config: Path | None,
    starts: tuple[str, ...],
    columns: dict[str, str],
    unlabelled: tuple[str, ...],
    loggers: tuple[str, ...],
    assignments: tuple[str, ...],
    as_json: bool,
    **options: Any,
) -> None:
    """Pretrain an encoder on data without labels.

    TASK is a pretext task such as vision/simclr (see: selfsup list tasks).

    \b
    selfsup pretrain vision/simclr --data photos/ --epochs 20
    selfsup pretrain text/mlm --data letters.txt --init ./bert
    selfsup pretrain --resume --out runs/vision-simclr-20250101-120000

    Ctrl-C and SIGTERM save a checkpoint and show how to resume; a resumed run gives the same weights, bit by bit, as one
    that was never stopped. Only one process at a time may write to the folder of a run.

    --resume with a larger --epochs, --steps or --max-steps extends a run, finished or not: from its last step on, the learning
    rate and other schedules follow the new budget. --resume with other --devices continues with the same batches; run.json
    then notes that the last bits differ (bit_identical). --set optimization.compile=off goes on uncompiled, where torch.compile
    fails. No other option may change.

    On Slurm, SIGUSR1 saves a checkpoint and puts the job back into the queue, if the command has --resume and --out:

    \b
    #SBATCH --signal=USR1@120 --requeue --open-mode=append
    srun selfsup pretrain vision/simclr --data photos/ --resume --out runs/photos

    Exit status: 0 done, 1 failed, 2 wrong usage, 130 after Ctrl-C, and after another signal 128 and its number: 143 after
    SIGTERM, 138 after SIGUSR1.
    """
    from selfsup.training.run.pretrain import pretrain
    from selfsup.training.settings.overrides import join, parse_assignments

    roles = {f"columns.{role}": name for role, name in columns.items()}
    ids = {"loggers": [id for text in loggers for id in text.split(",") if id]} if loggers else {}
    none = {"unlabelled": list(unlabelled)} if unlabelled else {}
    overrides = join(parse_assignments(assignments), take_flags(options, task), roles, ids, none)
    options["init"] = _init_of(starts)
    run = pretrain(task, out=out, resume=resume, config=config, overrides=overrides, **options)
    last = run.metrics[-1] if run.metrics else {}
    document = {"run": run.dir, "encoder": run.dir / "encoder", "task": run.config.task, "status": "done", "metrics": last}

    def text() -> None:
        click.echo(f"The encoder is in {run.dir / 'encoder'}.")
        click.echo(f"Measure it: selfsup evaluate {run.dir} --data SRC{_without_labels(run.config.task)}")

    emit(document, as_json=as_json, text=text)


def _without_labels(task: str) -> str:
    """``--evaluators`` for a modality of several parts: one that compares the parts and needs no labels; else empty."""
    from selfsup.registry import registry

    house = registry()
    modality = house.get("task", task).modality
    able = [id for id, spec in house.evaluators.items() if spec.needs_parts and not spec.needs_labels]
    fitting = [id for id in able if house.evaluators[id].modality in ("", modality)]
    return f" --evaluators {fitting[0]}" if fitting and house.get("modality", modality).joins else ""


def _init_of(texts: tuple[str, ...]) -> str | dict[str, str] | None:
    """One source, or a source for each part of a row (``vision=RUN``).

    Raises:
        click.UsageError: there are several sources without a part, or two for one part.
    """
    split = [text.partition("=") for text in texts]
    of_parts = all(sign and re.fullmatch(r"[A-Za-z][\w-]*", name) for name, sign, _ in split)
    if len(texts) == 1 and (not of_parts or Path(texts[0]).exists()):
        return texts[0]
    if not of_parts or len({name for name, _, _ in split}) < len(split):
        raise click.UsageError(f"--init {' --init '.join(texts)}: give one source, or PART=SRC for each of several parts.")
    return {name: source for name, _, source in split} or None
