"""Run optimizer steps, without files, prints or waits for the device."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from selfsup.errors import NonFiniteLossError
from selfsup.runtime.precision import full
from selfsup.tasks import ComparesEmbeddings, PretextTask, StepOutput
from selfsup.tasks.parts.moving_average import MomentumEncoder, ramped_momentum
from selfsup.training.device.devices import fix_buckets
from selfsup.training.device.fabric import Fabric
from selfsup.training.loop import schedule, sharded_checkpoint, sharding
from selfsup.training.loop.bf16_weights import Float32Steps, has_bf16
from selfsup.training.loop.gradient_cache import GradientCache
from selfsup.training.loop.optimizers import build_optimizer, module_scales, set_hyperparameters
from selfsup.training.loop.step_mean import StepMean
from selfsup.training.run.config import OptimizationConfig
from selfsup.types import Batch


class Stepper:
    """A task with its optimizer, schedules and moving average.

    Args:
        fabric: the devices and the precision.
        task: is trained; it must be on the device.
        config: optimizer and schedule.
        total_steps: of the whole run.
        warmup_steps: number of them in the warm-up.
        generator: the task's random generator, on the device.
        scales: parameter name to its learning rate as a fraction of the run's; None: the task decides.
        advice: what to do if the loss becomes NaN; None: advice for ``selfsup pretrain``.
    """

    def __init__(
        self,
        fabric: Fabric,
        task: PretextTask,
        config: OptimizationConfig,
        *,
        total_steps: int,
        warmup_steps: int,
        generator: torch.Generator,
        scales: Mapping[str, float] | None = None,
        advice: str | None = None,
    ) -> None:
        self.fabric = fabric
        self.task = task
        self.config = config
        self.total_steps = total_steps
        self.warmup_steps = warmup_steps
        self.generator = generator
        self.average = MomentumEncoder(task.encoder_backbone(), config.ema, config.ema) if config.ema else None
        if self.average is not None:
            self.average.eval()  # averages the statistics of norms too
        scaled = getattr(fabric.strategy.precision, "scaler", None) is not None
        # The wrapped module runs forward under autocast and, with several devices, averages gradients.
        self.module = fabric.setup_module(task, move_to_device=False)
        fix_buckets(self.module)
        if self.average is not None and sharding.is_sharded(task):
            sharding.shard_like(self.average.module, task.encoder_backbone())
        # Torch has no fused SGD for sharded weights.
        spread = config.optimizer == "sgd" and sharding.is_sharded(task)
        rates = module_scales(task, task.lr_scales()) if scales is None else scales
        self._advice = advice or (
            f"Lower the learning rate (--lr; its peak was {config.peak_lr():.3g}), clip the gradient "
            "(--set optimization.clip=1), or use --precision 32."
        )
        self._plain = build_optimizer(task, config, allow_fused=not scaled and not spread, scale_of=rates.__getitem__)
        self.optimizer = cast(Optimizer, fabric.setup_optimizers(self._plain))
        trained = [parameter for group in self._plain.param_groups for parameter in group["params"]]
        self._in_float32 = Float32Steps(self._plain) if has_bf16(trained) else None
        self._mean = StepMean(fabric, self.module, trained)
        caches = task.couples_samples and isinstance(task, ComparesEmbeddings)
        self._cache = GradientCache(fabric, self.module, trained, generator) if caches else None
        task.fit_to_run(total_steps)
        self.step = 0
        self.last_lr, self.last_weight_decay = 0.0, 0.0
        self.metrics: dict[str, Tensor] = {}
        self._losses: list[Tensor] = []

    @property
    def _averaged(self) -> nn.Module | None:
        return None if self.average is None else self.average.module

    @contextmanager
    def gathered(self) -> Iterator[None]:
        """While entered, every device has the whole weights, the moving average's too; all devices must enter together."""
        with sharding.gathered(self.task), nullcontext() if self._averaged is None else sharding.gathered(self._averaged):
            yield

    @property
    def lr(self) -> float:
        """Learning rate of the next step."""
        return schedule.learning_rate(
            self.step,
            self.total_steps,
            peak=self.config.peak_lr(),
            warmup=self.warmup_steps,
            final_fraction=self.config.final_lr_fraction,
            schedule=self.config.schedule,
        )

    @property
    def weight_decay(self) -> float:
        """Weight decay of the next step."""
        return schedule.weight_decay(
            self.step, self.total_steps, start=self.config.weight_decay, end=self.config.weight_decay_end
        )

    def take(self, batch: Batch, backward: Callable[[Batch], tuple[StepOutput, Tensor]] | None = None) -> None:
        """Train on one batch.

        Args:
            batch: this device's share of it.
            backward: computes the gradient; None: :meth:`backward`.
        """
        config, task, optimizer = self.config, self.task, self.optimizer
        progress = self.step / self.total_steps
        self.last_lr, self.last_weight_decay = self.lr, self.weight_decay
        set_hyperparameters(self._plain, lr=self.last_lr, weight_decay=self.last_weight_decay)
        output, loss = (backward or self.backward)(batch)
        self.metrics = output.metrics
        task.after_backward(progress)
        if config.clip is not None:
            norm = self._clip(config.clip)
            if norm is not None:
                self.metrics = {**self.metrics, "grad_norm": sharding.whole(norm)}
        if self._in_float32 is None:
            optimizer.step()
        else:
            self._in_float32.step(self.step)
        optimizer.zero_grad(set_to_none=True)
        task.after_step((self.step + 1) / self.total_steps)
        if self.average is not None:
            self.average.move(task.encoder_backbone(), ramped_momentum(self.step, config.ema))
        self._losses.append(loss)
        self.step += 1

    def backward(self, batch: Batch) -> tuple[StepOutput, Tensor]:
        """Compute the gradient; returns the task's output and the loss."""
        if self.config.accumulate == 1:
            return self._mean.backward(self._forward, [batch])
        chunks = list(split_batch(batch, self.config.accumulate))
        return self._mean.backward(self._forward, chunks) if self._cache is None else self._cache.backward(chunks)

    def _clip(self, max_norm: float) -> Tensor | None:
        """Clip the gradient; returns its 2-norm before."""
        if not self.config.clip_per_parameter:
            return self.fabric.clip_gradients(self.module, self.optimizer, max_norm=max_norm, error_if_nonfinite=False)
        # With a loss scale (fp16) gradients have their true size only after this.
        self.fabric.strategy.precision.unscale_gradients(self._plain)
        return clip_each([parameter.grad for parameter in self.task.parameters() if parameter.grad is not None], max_norm)

    def _forward(self, batch: Batch) -> StepOutput:
        return cast(StepOutput, self.module(batch, self.generator))

    def drain(self) -> list[float]:
        """The losses of the steps since the last call, averaged over devices. This waits for the device.

        Raises:
            NonFiniteLossError: a loss was NaN or infinite; the message names the first such step.
        """
        if not self._losses:
            return []
        losses = torch.stack(self._losses)
        losses = full(losses)
        if self.fabric.world_size > 1:
            losses = self.fabric.all_reduce(losses, reduce_op="mean")  # type: ignore[assignment]  # a tensor gives a tensor
        values: list[float] = losses.tolist()
        self._losses.clear()
        for step, value in enumerate(values, start=self.step - len(values) + 1):
            if not math.isfinite(value):
                raise NonFiniteLossError(f"the loss became {value} at step {step} of {self.total_steps}. {self._advice}")
        return values

    def check_weights(self) -> None:
        """Check that all weights are finite; a loss does not show what its step did to them.

        Raises:
            NonFiniteLossError: a weight is NaN or infinite.
        """
        if not sharding.all_finite(self.task):
            raise NonFiniteLossError(
                f"a weight became NaN or infinite by step {self.step} of {self.total_steps}. {self._advice}"
            )

    def state_dict(self) -> dict[str, Any]:
        """Everything that later steps depend on, except random state; tensors and primitives only.

        ``spread`` has the sharded tensors, each process its shards.
        """
        scaler = getattr(self.fabric.strategy.precision, "scaler", None)
        states, spread = sharded_checkpoint.split_states(self.task, self._plain, self._averaged)
        return {
            "step": self.step,
            **states._asdict(),
            "spread": spread,
            "scaler": None if scaler is None else scaler.state_dict(),
        }

    def weights(self) -> dict[str, Any]:
        """The whole weights; all processes call this together, and the first one gets them."""
        average = None if self._averaged is None else sharding.whole_state(self._averaged)
        return {"step": self.step, "task": sharding.whole_state(self.task), "average": average}

    def load_state_dict(self, state: dict[str, Any], parts: Path | None = None) -> None:
        """Restore what :meth:`state_dict` returned.

        Args:
            state: whole, or without ``spread``.
            parts: folder of the sharded tensors (:func:`sharded_checkpoint.write_parts`).
        """
        self.step = state["step"]
        states = sharded_checkpoint.States(state["task"], state["optimizer"], state["average"])
        if parts is not None:
            sharded_checkpoint.read_parts(parts, self.task, self._plain, self._averaged, states)
        else:
            sharding.set_states(self.task, self._plain, states[:2])
            if self._averaged is not None:
                sharding.set_state(self._averaged, state["average"])
        scaler = getattr(self.fabric.strategy.precision, "scaler", None)
        if scaler is not None:
            scaler.load_state_dict(state["scaler"])


@torch.no_grad()
def clip_each(gradients: list[Tensor], max_norm: float) -> Tensor | None:
    """Scale each gradient down, in place, to a 2-norm of at most ``max_norm``.

    As in the authors' code of DINO (Caron et al. 2021, arXiv:2104.14294, ``utils.clip_gradients``).

    Returns:
        The 2-norm of all gradients together before; None: there are no gradients.
    """
    if not gradients:
        return None
    norms = torch.stack([sharding.whole(norm) for norm in torch._foreach_norm(gradients)])
    factors = (max_norm / (norms + 1e-6)).clamp(max=1.0)
    torch._foreach_mul_([sharding.own_part(gradient) for gradient in gradients], list(factors.unbind()))
    whole: Tensor = torch.linalg.vector_norm(norms)
    return whole


def split_batch(batch: Batch, chunks: int) -> Iterator[Batch]:
    """Cut a batch along the first dimension into ``chunks`` batches, whose sizes differ by at most one sample."""
    cut = {key: value.tensor_split(chunks) for key, value in batch.items()}
    for index in range(chunks):
        yield {key: value[index] for key, value in cut.items()}
