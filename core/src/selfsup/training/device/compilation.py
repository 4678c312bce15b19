"""Compile the repeated parts of a task with torch.compile: the blocks of its networks and the work of its views."""

from __future__ import annotations

import hashlib
import json
import math
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import nn

from selfsup.artifacts import RunDirectory
from selfsup.backbones import Backbone, TokenBackbone
from selfsup.errors import ConfigError
from selfsup.runtime.cache_folder import cache_root
from selfsup.tasks.base import InputChange
from selfsup.tasks.parts.transformer import Block
from selfsup.training.run.config import RunConfig

BACKEND = "inductor"
"""Backend of an automatic compilation."""
_WARM_UP = 5
"""Steps that are not timed: in the first ones kernels are chosen and memory is claimed."""
_TIMED = 20
"""Steps that are timed before and after compiling."""
_SETTLE = 5
"""Steps after the first compiled one in which further shapes and modes are compiled."""
_USUAL_SECONDS, _USUAL_GAIN = 120.0, 1.2
"""What compiling takes and how much faster a step is then, until it has been measured here for the same network."""
_LEAST_GAIN = 1.02
"""A smaller gain is undone."""


class Compiled:
    """Compiles the networks of a task in place until :meth:`undo`; weights keep their names.

    Blocks are compiled one by one: blocks of one kind share the compiled code, so that a deep network takes no longer than one
    block. A network without blocks is compiled as a whole. Views and corruptions name what draws nothing
    (:attr:`~selfsup.tasks.base.InputChange.compilable`), which becomes a few kernels.

    Args:
        task: its networks, moving averages included, decoders and views.
        backend: of ``torch.compile``.
        ragged: whether batches differ in length: then one program takes all lengths, instead of one each.

    Raises:
        ConfigError: torch has no such backend.
    """

    def __init__(self, task: nn.Module, backend: str, *, ragged: bool) -> None:
        known = torch._dynamo.list_backends(exclude_tags=())
        if backend not in known:
            raise ConfigError(
                f"compile={backend!r} is no backend of torch.compile; it is one of off, auto, {', '.join(known)}."
            )
        self._modules: list[nn.Module] = []
        self._functions: list[tuple[nn.Module, str]] = []
        self._options: dict[str, Any] = {"backend": backend, "dynamic": ragged}
        for part in list(task.modules()):
            if isinstance(part, Backbone) and (blocks := part.blocks()):
                for block in blocks:
                    self._compile(block)
            elif isinstance(part, Backbone) and not any(isinstance(inner, Backbone) for inner in list(part.modules())[1:]):
                self._compile(part)
                if isinstance(part, TokenBackbone):
                    self._compile_functions(part, ("tokenize", "encode"))
            elif isinstance(part, Block):
                self._compile(part)
            elif isinstance(part, InputChange):
                self._compile_functions(part, part.compilable)

    def _compile(self, module: nn.Module) -> None:
        if module not in self._modules:
            module.compile(**self._options)
            self._modules.append(module)

    def _compile_functions(self, owner: nn.Module, names: tuple[str, ...]) -> None:
        wrap: Callable[..., Any] = torch.compile(**self._options)
        for name in names:
            setattr(owner, name, wrap(getattr(owner, name)))
            self._functions.append((owner, name))

    def undo(self) -> None:
        """Give every module its own forward pass back."""
        for module in self._modules:
            module._compiled_call_impl = None
        for owner, name in self._functions:
            delattr(owner, name)
        self._modules, self._functions = [], []


@dataclass(frozen=True)
class Measured:
    """What compiling was measured to take and to give."""

    seconds: float
    """Of compiling."""
    gain: float
    """Seconds of a step before, over seconds of a step after."""

    def saves(self, seconds: float) -> bool:
        """Whether compiling pays for steps that take so many seconds together."""
        return seconds * (1 - 1 / self.gain) > self.seconds


class CompileTrial:
    """Times some steps, compiles if that pays within the rest of the run, and undoes it if steps are not faster then.

    A decision is told to ``decided``, which keeps it; a run that goes on follows it, so that it computes what it would have.
    What was measured is kept in selfsup's cache for the next run of the same network on the same device.

    Args:
        compile: compiles.
        key: what the time of a step depends on.
        total_steps: of the run.
        device: a CUDA device.
        decided: takes the decision as JSON values.
        known: the decision of the run that goes on; empty: none was made.
    """

    def __init__(
        self,
        compile: Callable[[], Compiled],
        key: Mapping[str, Any],
        *,
        total_steps: int,
        device: torch.device,
        decided: Callable[[dict[str, Any]], None],
        known: Mapping[str, Any],
    ) -> None:
        self._compile, self._total, self._device, self._decided = compile, total_steps, device, decided
        self._file = cache_root() / "compiled" / f"{_digest(key)}.json"
        self._compiled: Compiled | None = None
        self._known = dict(known)
        self._start: int | None = None
        self._began = self._before = self._after = self._took = 0.0
        self._done = False

    def __call__(self, step: int) -> None:
        """Look at the clock after a step; most calls do nothing."""
        if self._done:
            return
        if self._known:
            self._follow(step)
            return
        if self._start is None:
            self._start = step - 1
        match step - self._start:
            case n if n == _WARM_UP:
                self._began = self._now()
            case n if n == _WARM_UP + _TIMED:
                self._before = (self._now() - self._began) / _TIMED
                self._decide(step)
            case n if n == _WARM_UP + _TIMED + _SETTLE:
                self._took = max(self._now() - self._began - _SETTLE * self._before, 0.0)
                self._began = self._now()
            case n if n == _WARM_UP + 2 * _TIMED + _SETTLE:
                self._after = (self._now() - self._began) / _TIMED
                self._judge(step)

    def undo(self) -> None:
        """Leave the networks as they were."""
        self._done = True
        if self._compiled is not None:
            self._compiled.undo()
            self._compiled = None

    def _follow(self, step: int) -> None:
        """Do what the run did before it was interrupted, at the same step."""
        if self._compiled is None and step >= self._known.get("from_step", math.inf):
            self._compiled = self._compile()
        if step >= self._known.get("until_step", math.inf):
            self.undo()

    def _decide(self, step: int) -> None:
        known = self._measured()
        expected = known or Measured(_USUAL_SECONDS, _USUAL_GAIN)
        left = (self._total - step) * self._before
        about = {"seconds_left": round(left, 1), "expected": asdict(expected), "step_seconds": round(self._before, 6)}
        if not expected.saves(left) or expected.gain < _LEAST_GAIN:
            self._done = True
            self._decided({"backend": "off", "measured": known is not None, **about})
            return
        self._decided({"backend": BACKEND, "from_step": step, "measured": known is not None, **about})
        self._began = self._now()
        self._compiled = self._compile()

    def _judge(self, step: int) -> None:
        found = Measured(round(self._took, 3), round(self._before / max(self._after, 1e-9), 4))
        with suppress(OSError):
            self._file.parent.mkdir(parents=True, exist_ok=True)
            self._file.write_text(json.dumps(asdict(found)))
        result: dict[str, Any] = {"found": asdict(found)}
        if found.gain < _LEAST_GAIN:
            result["until_step"] = step
            self.undo()
        self._done = True
        self._decided(result)

    def _measured(self) -> Measured | None:
        with suppress(OSError, ValueError, TypeError):
            return Measured(**json.loads(self._file.read_text()))
        return None

    def _now(self) -> float:
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
        return time.perf_counter()


@contextmanager
def compiling(
    task: nn.Module, config: RunConfig, directory: RunDirectory, *, ragged: bool, total_steps: int, device: torch.device
) -> Iterator[Callable[[int], None] | None]:
    """Compile a task for the time of its training, as its config says.

    Args:
        task: on its device.
        config: of the run, resolved in full.
        directory: keeps the decision where the config leaves it open.
        ragged: whether batches differ in length.
        total_steps: of the run.
        device: of this process.

    Yields:
        What to call with the number of each step that was taken; None: nothing.
    """
    choice = config.optimization.compile
    if choice == "off" or (choice == "auto" and (device.type != "cuda" or config.devices * config.nodes > 1)):
        yield None
        return
    if choice != "auto":
        compiled = Compiled(task, choice, ragged=ragged)
        try:
            yield None
        finally:
            compiled.undo()
        return
    decision: dict[str, Any] = dict(directory.info().get("compile", {}))

    def decided(found: dict[str, Any]) -> None:
        decision.update(found)
        directory.update(compile=decision)

    settings = config.model_dump(
        mode="json", include={"task", "backbone", "backbone_options", "task_options", "precision", "processor_options"}
    )
    key = {
        **settings,
        "batch": config.optimization.batch_size,
        "device": torch.cuda.get_device_name(device),
        "torch": torch.__version__,
    }
    trial = CompileTrial(
        lambda: Compiled(task, BACKEND, ragged=ragged),
        key,
        total_steps=total_steps,
        device=device,
        decided=decided,
        known=decision,
    )
    # What cannot be compiled runs as it is.
    with torch._dynamo.config.patch(suppress_errors=True):
        try:
            yield trial
        finally:
            trial.undo()


def uncompiled() -> AbstractContextManager[Any]:
    """Run compiled networks as they are, for batches of other shapes than those of training."""
    # Importing torch's compiler takes seconds.
    return torch.compiler.set_stance("force_eager") if "torch._dynamo" in sys.modules else nullcontext()


def _digest(key: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(key, sort_keys=True, default=str).encode()).hexdigest()[:24]
