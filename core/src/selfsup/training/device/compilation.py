"""Compile the repeated parts of a task with torch.compile: the blocks of its networks and the work of its views."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from typing import Any

import torch
from torch import nn

from selfsup.artifacts import RunDirectory
from selfsup.backbones import Backbone, TokenBackbone
from selfsup.errors import ConfigError
from selfsup.runtime import device_name
from selfsup.tasks.base import InputChange
from selfsup.tasks.parts.transformer import Block
from selfsup.training.device.compile_trial import BACKEND, CompileTrial
from selfsup.training.device.recompute import RecomputedForward
from selfsup.training.run.config import RunConfig

_AUTOMATIC = ("cuda",)
"""Kinds of devices on which ``auto`` may compile."""


class Compiled:
    """Compiles the networks of a task in place until :meth:`undo`; weights keep their names.

    Blocks are compiled one by one: blocks of one kind share the compiled code, so that a deep network takes no longer than one
    block. Where a block is computed again in the backward pass (:mod:`.recompute`), both passes run the same program. A network
    without blocks is compiled as a whole. Views and corruptions name what draws nothing
    (:attr:`~selfsup.tasks.base.InputChange.compilable`), which becomes a few kernels.

    A compiled method lies on its module and stays bound to it: a deep copy of the module would call the original's. So copy a
    task before it is compiled, or after :meth:`undo`.

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
        if module in self._modules:
            return
        if isinstance(module.forward, RecomputedForward):
            module.forward.compile(**self._options)
        else:
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
            if isinstance(module.forward, RecomputedForward):
                module.forward.uncompile()
        for owner, name in self._functions:
            delattr(owner, name)
        self._modules, self._functions = [], []


@contextmanager
def compiling(
    task: nn.Module,
    config: RunConfig,
    directory: RunDirectory,
    *,
    ragged: bool,
    total_steps: int,
    device: torch.device,
    say: Callable[[str], None],
) -> Iterator[CompileTrial | None]:
    """Compile a task for the time of its training, as its config says.

    Args:
        task: on its device.
        config: of the run, resolved in full.
        directory: keeps the decision where the config leaves it open.
        ragged: whether batches differ in length.
        total_steps: of the run.
        device: of this process.
        say: shows a line to the user.

    Yields:
        What takes the steps of the run; None: the stepper does.
    """
    choice = config.optimization.compile
    if choice == "off" or (choice == "auto" and (device.type not in _AUTOMATIC or config.devices * config.nodes > 1)):
        yield None
        return
    with ExitStack() as stack:
        stack.enter_context(_limit_reported(say))
        if choice != "auto":
            stack.callback(Compiled(task, choice, ragged=ragged).undo)
            yield None
            return
        settings = config.model_dump(
            mode="json", include={"task", "backbone", "backbone_options", "task_options", "precision", "processor_options"}
        )
        trial = CompileTrial(
            lambda: Compiled(task, BACKEND, ragged=ragged),
            {
                **settings,
                "batch": config.optimization.batch_size,
                "recomputed": config.optimization.checkpoint_activations,
                "device": device_name(device),
                "torch": torch.__version__,
            },
            total_steps=total_steps,
            device=device,
            decided=lambda decision: directory.update(compile=decision),
            known=directory.info().get("compile", {}),
            say=say,
        )
        stack.callback(trial.undo)
        stack.enter_context(_errors_suppressed())
        yield trial


@contextmanager
def _errors_suppressed() -> Iterator[None]:
    """Run what cannot be compiled as it is; this covers the backward pass as well, since it is compiled in the forward pass."""
    import torch._functorch.config as functorch

    with ExitStack() as stack:
        stack.enter_context(torch._dynamo.config.patch(suppress_errors=True))
        if hasattr(functorch, "force_non_lazy_backward_lowering"):
            stack.enter_context(functorch.patch(force_non_lazy_backward_lowering=True))
        yield


@contextmanager
def _limit_reported(say: Callable[[str], None]) -> Iterator[None]:
    """Say once if torch stops compiling a function because it has compiled it too often."""
    logger, handler = logging.getLogger("torch._dynamo.convert_frame"), _LimitHandler(say)
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)


class _LimitHandler(logging.Handler):
    def __init__(self, say: Callable[[str], None]) -> None:
        super().__init__(logging.WARNING)
        self._say, self._reported = say, False

    def emit(self, record: logging.LogRecord) -> None:
        """Report the limit."""
        if self._reported or "recompile_limit" not in record.getMessage():
            return
        self._reported = True
        limit = torch._dynamo.config.recompile_limit
        self._say(
            f"Warning: torch.compile has compiled a part of the task {limit} times, and compiles it for no further shapes: "
            "those run uncompiled. Set TORCH_LOGS=recompiles to see why."
        )


def uncompiled() -> AbstractContextManager[Any]:
    """Run compiled networks as they are, for batches of other shapes than those of training."""
    # Importing torch's compiler takes seconds.
    return torch.compiler.set_stance("force_eager") if "torch._dynamo" in sys.modules else nullcontext()
