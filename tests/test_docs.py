"""What the pages of ``docs/`` say is true: their commands and their code run, and what is registered is named."""

from __future__ import annotations

import json
import re
import shlex
import sys
from collections.abc import Callable
from pathlib import Path

import click
import numpy as np
import pytest
import soundfile
from PIL import Image

from selfsup.cli.main import program
from selfsup.registry import registry
from selfsup_bench.commands import benchmark
from selfsup_bench.report.markdown_page import WRITTEN_BY
from speed.__main__ import main as measure_speed

DOCS = Path(__file__).parents[1] / "docs"
sys.path.insert(0, str(DOCS))
PAGES = {
    "start.md": ["photos"],
    "modalities/vision.md": ["photos"],
    "modalities/text.md": ["texts"],
    "modalities/tabular.md": ["table"],
    "modalities/audio.md": ["recordings"],
    "modalities/video.md": ["clips"],
    "guide": ["photos"],
}
"""Page to the data that its commands need; those of the page of several modalities have tests of their own."""
GUIDE = ("guide/train.md", "guide/evaluate.md", "guide/labels.md")
"""Pages whose commands go on with the runs of the one before."""
TESTED_ELSEWHERE = ("modalities/multimodal.md", "extend/objective.md", "extend/modality.md")
LIMITS = {"pretrain": ["--max-steps", "3"], "resume": ["--max-steps", "5"], "finetune": ["--set", "finetune.epochs=1"]}
"""Added to a command of the pages, which train for many epochs."""
OF_TORCHRUN = {"--nnodes", "--nproc-per-node"}
OF_EXAMPLES = "Two examples"
DISTRIBUTIONS = ("audio", "multimodal", "tabular", "text", "video", "vision")


def blocks(page: str, language: str, section: str = "") -> list[str]:
    """The fenced blocks of a language, of a page or of one of its sections."""
    text = (DOCS / page).read_text(encoding="utf-8")
    if section:
        text = text.partition(f"\n## {section}\n")[2].partition("\n## ")[0]
    return re.findall(rf"^```{language}\n(.*?)^```", text, flags=re.DOTALL | re.MULTILINE)


def commands(page: str) -> list[str]:
    """The commands of a page that a test runs: all of the start page and the guide, and the examples of a modality."""
    if page == "guide":
        return [line for each in GUIDE for line in commands(each)]
    section = OF_EXAMPLES if page.startswith("modalities/") else ""
    lines = [line for block in blocks(page, "console", section) for line in block.replace("\\\n", " ").splitlines()]
    return [line for line in lines if line.startswith("selfsup ") and not line.startswith("selfsup benchmark")]


@pytest.fixture
def data(tmp_path: Path) -> Callable[[str], None]:
    """Make the data of a name in the working folder."""
    rng = np.random.default_rng(0)

    def photos() -> None:
        for folder in ("photos", "labelled"):
            for number in range(288):
                kind = number % 2
                pixels = rng.integers(0, 120, (16, 16, 3), dtype=np.uint8)
                pixels[(slice(None, None, 4), slice(None))[:: 1 if kind else -1]] += 120
                home = tmp_path / folder / ("horizontal", "vertical")[kind]
                home.mkdir(parents=True, exist_ok=True)
                Image.fromarray(pixels).save(home / f"{number:03}.png")
        (tmp_path / "photos" / "one.jpg").write_bytes(next((tmp_path / "photos").rglob("*.png")).read_bytes())

    def texts() -> None:
        words = {"good": ["fine", "warm", "bright", "kind"], "bad": ["dull", "cold", "grey", "harsh"]}
        common = ["the", "film", "was", "a", "day", "and", "so", "very", "story", "of"]
        kinds = ["good", "bad"] * 400
        made = [" ".join(rng.choice([*common, *words[kind]], 20)) for kind in kinds]
        (tmp_path / "corpus.txt").write_text("\n".join(made[200:]))
        rows = [f"{text},{kind}" for text, kind in zip(made[:200], kinds[:200], strict=True)]
        (tmp_path / "headlines.csv").write_text("\n".join(["text,label", *rows]))

    def table() -> None:
        ages, jobs = rng.integers(18, 80, 600), rng.choice(["nurse", "smith", "clerk"], 600)
        rows = [f"{age},{job},{'high' if age > 40 and job != 'clerk' else 'low'}" for age, job in zip(ages, jobs, strict=True)]
        (tmp_path / "table.csv").write_text("\n".join(["age,job,income", *rows]))

    def recordings() -> None:
        for number in range(288):
            name, hertz = (("low", 300), ("high", 1200))[number % 2]
            rate = 8000 if number % 3 else 16000
            times = np.arange(int(rng.uniform(0.1, 0.3) * rate)) / rate
            tone = 0.3 * np.sin(2 * np.pi * hertz * rng.uniform(0.8, 1.2) * times) + rng.normal(0, 0.01, len(times))
            folder = tmp_path / "recordings" / name
            folder.mkdir(parents=True, exist_ok=True)
            soundfile.write(folder / f"{number:03}.wav", tone, rate)

    def clips() -> None:
        for number in range(48):
            frames = []
            for step in range(8):
                pixels = np.zeros((16, 16), dtype=np.uint8)
                pixels[(number - step if number % 2 else number + step) % 16] = 255
                frames.append(Image.fromarray(pixels))
            folder = tmp_path / "clips" / ("up", "down")[number % 2]
            folder.mkdir(parents=True, exist_ok=True)
            if number % 3:
                frames[0].save(folder / f"{number}.gif", save_all=True, append_images=frames[1:], duration=40)
                continue
            (folder / str(number)).mkdir()
            for place, frame in enumerate(frames):
                frame.save(folder / str(number) / f"{place}.png")

    makers = {"photos": photos, "texts": texts, "table": table, "recordings": recordings, "clips": clips}
    return lambda name: makers[name]()


@pytest.mark.parametrize("page", PAGES)
def test_the_commands_of_a_page_run(page: str, data: Callable[[str], None], cli: Callable) -> None:
    for name in PAGES[page]:
        data(name)
    found = commands(page)
    assert len(found) >= 4
    for command in found:
        words = shlex.split(command)[1:]
        outcome = cli(*words, *LIMITS.get("resume" if "--resume" in words else words[0], []))
        assert outcome.status == 0, f"{command}: {outcome.err}"
        assert "were pretrained on" not in " ".join(outcome.err.split()), f"{command} tests on rows that were pretrained on"
        if "--out" in words:
            assert Path(words[words.index("--out") + 1]).exists(), command


@pytest.mark.parametrize("page", [page for page in PAGES if page in ("start.md", "modalities/vision.md")])
def test_the_code_of_a_page_runs(
    page: str, data: Callable[[str], None], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    data("photos")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SELFSUP_CACHE", str(tmp_path / "cache"))
    (code,) = blocks(page, "python")
    names: dict[str, object] = {}
    exec(code.replace("epochs=", "max_steps=3, epochs="), names)
    assert np.shape(names["embeddings"])[0] == 1
    assert {score.evaluator for score in names["scores"]} == {"knn", "linear"}


def written() -> list[str]:
    """All pages that people write."""
    return [path.relative_to(DOCS).as_posix() for path in DOCS.rglob("*.md") if not {"_generated", "_build"} & set(path.parts)]


def test_every_block_of_commands_is_run() -> None:
    run = {line for page in PAGES for line in commands(page)}
    run |= {line for block in blocks("modalities/multimodal.md", "console") for line in block.splitlines()}
    assert {*GUIDE, *TESTED_ELSEWHERE} <= set(written())
    for page in {*written()} - {*PAGES, *GUIDE, *TESTED_ELSEWHERE, "results/speed.md", "results/tasks.md"}:
        found = [line for block in blocks(page, "console") for line in block.splitlines()]
        assert [line for line in found if line not in run and not line.startswith(("pip ", "selfsup benchmark"))] == [], page
    assert [page for page in written() if any("selfsup " in block for block in blocks(page, "text"))] == []


@pytest.mark.parametrize("page", ["results.md", *(page for page in written() if page.startswith("results/"))])
def test_results_are_written_by_the_command_or_say_that_they_are_not(page: str) -> None:
    text = (DOCS / page).read_text(encoding="utf-8")
    included = [(DOCS / page).parent / name for name in re.findall(r"^```{include} (\S+)$", text, re.MULTILINE)]
    texts = [text, *(path.read_text(encoding="utf-8") for path in included if path.is_file())]
    from_records = "_generated/fragments/speed.md" in text
    assert any(WRITTEN_BY in each or "*Copied by hand: the records of th" in each for each in texts) or from_records


def test_figures_of_speed_come_from_records_alone(tmp_path: Path) -> None:
    from site_pages import speed

    page = (DOCS / "results" / "speed.md").read_text(encoding="utf-8")
    files = sorted(speed.RECORDS.glob("*.json"))
    assert files
    speed.write(tmp_path)
    everything = (tmp_path / "fragments" / "speed.md").read_text(encoding="utf-8")
    for path in files:
        held = json.loads(path.read_text(encoding="utf-8"))
        assert held["modality"] == path.stem
        shown = speed.tables(held["figures"])
        assert f"## {speed.TITLES[path.stem]}\n\n{shown}" in everything
        for figure in held["figures"]:
            assert f"| `{figure['name']}`: " in shown
            assert f"| {speed.amount(figure['ours'])} {figure['unit']} |" in shown
            (ratio,) = re.findall(rf"^\| `{figure['name']}`: .* \| ([\d.]*)×? \| [≤≥]", shown, re.MULTILINE) or [""]
            assert ratio == "" or float(ratio) == pytest.approx(figure["ours"] / figure["theirs"], rel=0.01)
            assert figure["measured"]["device"].startswith(figure["measured"]["kind"])
            assert figure["measured"]["command"].startswith(f"python -m speed {path.stem}")
            assert figure["measured"]["commit"] in shown
            assert (figure["measured"]["commit"] != "") == (figure["measured"]["date"] != "")
    units = "images|tokens|rows|clips|samples|pairs|GB|MB|ms|s|TFLOP/s"
    assert re.findall(rf"\d[\d.,]*(?: (?:{units})\b| ?%|×(?!\d))", page) == []


def test_one_command_measures_the_speed_of_a_modality() -> None:
    from speed.figures import NAMES, usual

    (block,) = blocks("results/speed.md", "console")
    lines = [line for line in block.splitlines() if line.startswith("python -m speed ")]
    options = [measure_speed.make_context("speed", shlex.split(line)[3:]).params for line in lines]
    assert [each["modality"] for each in options] == [modality for modality in NAMES if usual(modality, "cpu")]
    assert all(each["out"].name == f"{each['modality']}.json" for each in options)


def options_of(command: click.Command) -> set[str]:
    """The options of a command and of its subcommands."""
    found = {name for each in command.params for name in (*each.opts, *each.secondary_opts)} | {"--help", "--version"}
    if isinstance(command, click.Group):
        with click.Context(command) as context:
            for name in command.list_commands(context):
                found |= options_of(command.get_command(context, name))
    return found


@pytest.mark.parametrize("page", written())
def test_the_commands_of_a_page_have_options_that_exist(page: str) -> None:
    """Those in the text too: each option is of the command on its line, or of any if there is none."""
    flags = {f"--{flag.name}" for spec in registry().modalities.values() for flag in spec.flags} | OF_TORCHRUN
    every = options_of(program)
    text = re.sub(r"^```(?:python|toml).*?^```", "", (DOCS / page).read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
    text = text.replace("\\\n", " ")
    for code in re.findall(r"`[^`\n]+`|^selfsup .*$", text, flags=re.MULTILINE):
        words = re.findall(r"selfsup ([a-z]+)(?= |`|$)", code)
        known = (options_of(program.get_command(click.Context(program), words[0])) if words else every) | flags
        if page == "results/speed.md":
            known |= options_of(measure_speed)
        if "python -m" not in code or page == "results/speed.md":
            assert set(re.findall(r"(?<![\w-])--[a-z][a-z-]*", code)) <= known, code


@pytest.mark.parametrize("page", ["start.md", "benchmark/index.md", "benchmark/own-data.md"])
def test_benchmarks_have_values_that_are_allowed(page: str) -> None:
    text = (DOCS / page).read_text(encoding="utf-8")
    lines = [line.strip("$ ") for line in re.findall(r"selfsup benchmark ?[^`\n]*", text)]
    assert lines
    for line in lines:
        words = shlex.split(line.partition(" && ")[0])[2:]
        benchmark.make_context("benchmark", [word for word in words if word != "DIR"])


@pytest.mark.parametrize("modality", DISTRIBUTIONS)
def test_a_page_names_every_backbone_of_its_modality(modality: str) -> None:
    text = (DOCS / "modalities" / f"{modality}.md").read_text(encoding="utf-8").partition("\n## Backbones\n")[2]
    backbones = [id for id, spec in registry().backbones.items() if spec.modality == modality]
    assert backbones
    assert [id for id in backbones if f"`{id.replace('*', '')}" not in text] == []


def test_every_public_name_says_what_it_is() -> None:
    from site_pages import api

    silent = [
        f"{module.__name__}.{name}"
        for module in api.modules()
        for name in api.names(module)
        if not name.startswith("__") and not api.said(module, name)
    ]
    assert silent == []


def test_a_page_of_the_configuration_has_every_field(tmp_path: Path) -> None:
    from site_pages import configuration

    from selfsup.training.run.config import RunConfig

    found = {field.key: field for field in configuration.fields(RunConfig)}
    assert {"seed", "optimization.lr", "table.separator"} <= set(found)
    assert found["optimization.batch_size"].default == "256"
    assert [key for key, field in found.items() if not field.meaning] == []
    table = configuration.fields_table(RunConfig)
    assert table.count("\n") == len(found) + 2


def test_dotted_names_of_the_pages_are_public() -> None:
    from site_pages import api

    public = {f"{module.__name__}.{name}" for module in api.modules() for name in api.names(module)}
    public |= {module.__name__ for module in api.modules()}
    pages = [path for path in DOCS.rglob("*.md") if not {"_generated", "_build"} & set(path.parts)]
    named = {
        (path.relative_to(DOCS).as_posix(), ".".join(name.split(".")[:3]))
        for path in pages
        for name in re.findall(r"`(selfsup\.[a-z_]+(?:\.\w+)?)", path.read_text(encoding="utf-8"))
    }
    assert len(named) >= 20
    assert sorted(item for item in named if item[1] not in public) == []
