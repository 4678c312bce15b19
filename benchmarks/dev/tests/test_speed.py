from __future__ import annotations

import json
import subprocess
import sys
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from selfsup.errors import BenchmarkError, SelfsupError
from speed import __main__ as program
from speed import records, views
from speed.figures import NAMES, PRETRAINING, measurable, measurements, names, usual
from speed.measure import Figure, Settings, amount, in_turn, peer, ratio_figure, seconds
from speed.pretraining.accumulation import gradient_difference, memory_figure
from speed.probes import embeddings, knn_figure, linear_figure
from speed.synthetic_data import images, write_folder

pytestmark = pytest.mark.slow


def test_both_sides_are_measured_in_turn() -> None:
    order: list[str] = []

    def side(name: str, value: float) -> float:
        order.append(name)
        return value

    ours, theirs = in_turn(lambda: side("a", 1.0), lambda: side("b", 2.0), repeats=3)
    assert (ours, theirs) == ([1.0] * 3, [2.0] * 3)
    assert order == ["a", "b", "b", "a", "a", "b"]


@pytest.mark.parametrize(
    ("compare", "goal", "reached"), [(">=", 2.0, True), (">=", 3.1, False), ("<=", 3.0, True), ("<=", 2.9, False)]
)
def test_a_figure_is_the_ratio_of_medians(compare: str, goal: float, reached: bool) -> None:
    figure = ratio_figure("x", "y", [30, 1, 100000], [10, 9, 11], unit="s", compare=compare, goal=goal)  # type: ignore[arg-type]
    assert figure.spread == "1 to 100,000 against 9 to 11"
    assert (figure.ours, figure.theirs, figure.value) == (30, 10, 3)
    assert figure.reached is reached


def test_a_missing_peer_says_how_to_install_it() -> None:
    with pytest.raises(BenchmarkError, match=r"pip install no-such-peer; or choose other figures with --only"):
        peer("no_such_peer.part", "no-such-peer")


def test_synthetic_images_are_the_same_for_the_same_seed(tmp_path: Path) -> None:
    assert images(3, 32).shape == (3, 32, 32, 3)
    assert np.array_equal(images(3, 32, seed=1), images(3, 32, seed=1))
    assert not np.array_equal(images(3, 32, seed=1), images(3, 32, seed=2))
    assert len(list(write_folder(tmp_path, 7, 8).iterdir())) == 7


def test_synthetic_embeddings_have_common_classes() -> None:
    train, labels = embeddings(200, 0, spread=0.1)
    test, wanted = embeddings(50, 1, spread=0.1)
    assert (labels[torch.cdist(test, train).argmin(dim=1)] == wanted).all()


@pytest.mark.parametrize("modality", list(NAMES))
def test_names_are_those_of_the_figures(modality: str) -> None:
    assert tuple(measurements(modality)) == names(modality)


def test_each_device_has_its_figures() -> None:
    for modality in NAMES:
        on_cpu, on_gpu = measurable(modality, "cpu"), measurable(modality, "cuda")
        assert {*on_cpu, *on_gpu} == set(names(modality))
        assert set(usual(modality, "cuda")) == set(on_gpu)
        assert set(usual(modality, "cpu")) == set(on_cpu) - set(PRETRAINING.get(modality, ()))
    assert {"views-32", "views-96", "step", "knn", "linear"} < set(measurable("vision", "cuda"))
    assert "scarf" in measurable("tabular", "cuda")
    assert "accumulation-memory" not in measurable("vision", "cpu")
    refused = CliRunner().invoke(program.main, ["vision", "--only", "help", "--device", "cuda"])
    assert refused.exit_code == 2
    assert "'help' cannot be measured on cuda; these can: simclr-resnet18," in " ".join(refused.output.split())


def _refused_without_a_gpu(figure: Any, *args: Any) -> None:
    if not torch.cuda.is_available():
        with pytest.raises((RuntimeError, AssertionError, SelfsupError)):
            figure(*args, Settings(repeats=1, device="cuda"))


def test_probes_are_measured_on_the_device_that_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("faiss", reason="needs faiss")
    monkeypatch.setattr("speed.probes.cpu_count", lambda: 1)
    found = knn_figure(Settings(repeats=1), n=200)
    assert "kNN of 40 among 200 embeddings" in found.what
    assert found.ours > 0
    found = linear_figure(Settings(repeats=1), n=200)
    assert "test accuracy" in found.note
    _refused_without_a_gpu(knn_figure)
    _refused_without_a_gpu(linear_figure)


def test_views_are_measured_on_the_device_that_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("lightly", reason="needs lightly")
    monkeypatch.setattr(views, "BATCH", 4)
    monkeypatch.setattr(views, "apart", lambda: nullcontext(lambda function: function))
    monkeypatch.setattr(views, "peer_views", lambda n, size, device: float(n))
    found = views.views_figure(32, goal=1, n=8, settings=Settings(repeats=1))
    assert (found.theirs, found.unit) == (8.0, "images/s")
    assert found.ours > 1


def test_work_on_a_device_is_timed_until_it_is_done(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []

    class Event:
        def __init__(self, **options: Any) -> None:
            pass

        def record(self, stream: Any) -> None:
            said.append("event")

        def elapsed_time(self, end: Any) -> float:
            return 250.0

    monkeypatch.setattr(torch.cuda, "Event", Event)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: None)
    monkeypatch.setattr(torch.cuda, "synchronize", lambda device=None: said.append("wait"))
    assert seconds(lambda: said.append("work"), "cuda") == 0.25
    assert said == ["wait", "event", "work", "event", "wait"]


def test_figures_are_kept_with_device_and_commit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file, reached = tmp_path / "records" / "vision.json", [True]
    monkeypatch.setattr(records, "commit", lambda: "0123456789")
    monkeypatch.setattr(program, "measurements", lambda modality: {"help": lambda settings: _figure(reached[0])})
    command = ["vision", "--only", "help", "--repeats", "2", "--here", "--json", "--out", str(file)]
    assert CliRunner().invoke(program.main, command).exit_code == 0
    (kept,) = json.loads(file.read_text())["figures"]
    assert kept["measured"]["commit"] == "0123456789"
    assert kept["measured"]["device"].startswith("cpu")
    assert kept["measured"]["command"] == "python -m speed vision --only help --repeats 2"
    reached[0] = False
    other = {**kept, "name": "knn"}
    records.keep(file, "vision", [other, {"name": "linear", "error": "no peer"}], {**kept["measured"], "kind": "cuda"})
    assert CliRunner().invoke(program.main, command).exit_code == 1
    figures = json.loads(file.read_text())["figures"]
    assert [(figure["name"], figure["reached"]) for figure in figures] == [("knn", True), ("help", False)]
    with pytest.raises(BenchmarkError, match="holds figures of vision, not of text"):
        records.keep(file, "text", [], {})


def test_a_record_names_the_commit_that_is_checked_out(tmp_path: Path) -> None:
    def git(*arguments: str) -> None:
        subprocess.run(["git", "-C", str(tmp_path), *arguments], check=True, capture_output=True)

    git("init", "-q")
    kept = tmp_path / records.RECORDS
    kept.mkdir(parents=True)
    for file in (tmp_path / "code.py", kept / "vision.json"):
        file.write_text("1")
    git("add", ".")
    git("-c", "user.name=a", "-c", "user.email=a@b", "commit", "-qm", "first")
    (kept / "vision.json").write_text("2")  # what a measurement writes
    found = records.commit(tmp_path)
    assert len(found) == 10
    assert int(found, 16) >= 0
    (tmp_path / "code.py").write_text("2")
    assert records.commit(tmp_path) == f"{found} with changes"
    with pytest.raises(BenchmarkError, match="A record needs the commit"):
        records.commit(Path(tmp_path.anchor))


def test_chunks_of_the_figure_have_the_gradient_of_the_whole_batch() -> None:
    assert gradient_difference("cpu", batch=12, chunks=3, size=16, width=8) < 1e-5
    if not torch.cuda.is_available():
        with pytest.raises(BenchmarkError, match="finds no CUDA GPU"):
            memory_figure()


def _figure(reached: bool) -> Figure:
    return Figure(
        name="help", what="start", ours=0.1, theirs=None, unit="s", value=0.1, compare="<=", goal=0.25 if reached else 0.05
    )


@pytest.mark.parametrize("reached", [True, False])
def test_exit_status_says_whether_the_goals_are_reached(monkeypatch: pytest.MonkeyPatch, reached: bool) -> None:
    monkeypatch.setattr(program, "measurements", lambda modality: {"help": lambda settings: _figure(reached)})
    result = CliRunner().invoke(program.main, ["vision", "--only", "help", "--here", "--json"])
    assert result.exit_code == (0 if reached else 1)
    assert json.loads(result.stdout)[0]["reached"] is reached


def test_a_figure_that_cannot_be_measured_is_a_line_of_the_table(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def missing(settings: Settings) -> Figure:
        raise BenchmarkError("install it")

    monkeypatch.setattr(program, "measurements", lambda modality: {"knn": missing})
    out = tmp_path / "vision.json"
    result = CliRunner().invoke(program.main, ["vision", "--only", "knn", "--here", "--out", str(out)])
    assert result.exit_code == 1
    assert not out.exists()
    assert "| knn | – | – | – | – | install it |" in result.stdout


def test_numbers_are_shown_with_four_digits() -> None:
    assert [amount(value) for value in (17_861.0, 1_234_567.0, 257.04, 0.6912)] == [
        "17,860",
        "1,235,000",
        "257",
        "0.6912",
    ]


def test_help_figure_from_the_command_line() -> None:
    command = [sys.executable, "-m", "speed", "vision", "--only", "help", "--repeats", "1", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=Path(program.__file__).parents[1])
    figure = json.loads(done.stdout)[0]
    assert figure["name"] == "help"
    assert 0.01 < figure["ours"] < 30


def test_a_name_of_another_modality_is_refused() -> None:
    result = CliRunner().invoke(program.main, ["text", "--only", "knn"])
    assert result.exit_code == 2
    assert "'knn' is none of mlm, text-memory" in result.output


def test_options_reach_the_measurement(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Settings] = []

    def measure(settings: Settings) -> Figure:
        seen.append(settings)
        return _figure(True)

    monkeypatch.setattr(program, "measurements", lambda modality: {"mlm": measure})
    arguments = [
        "text",
        "--only",
        "mlm",
        "--here",
        "--json",
        "--repeats",
        "2",
        "--data",
        "x.txt",
        "--rows",
        "9",
        "--steps",
        "4",
    ]
    assert CliRunner().invoke(program.main, arguments).exit_code == 0
    assert seen == [Settings(repeats=2, data="x.txt", rows=9, steps=4)]


def test_synthetic_tables_and_lines(tmp_path: Path) -> None:
    import pyarrow.parquet as parquet

    from speed.memory import write_lines, write_table

    write_table(tmp_path / "a.parquet", 500)
    table = parquet.read_table(tmp_path / "a.parquet")
    assert (table.num_rows, table.num_columns) == (500, 14)
    assert table.column("number0").null_count > 0
    assert len(set(table.column("kind2").to_pylist())) > 5
    write_lines(tmp_path / "a.txt", 300)
    lines = (tmp_path / "a.txt").read_text().splitlines()
    assert len(lines) == 300
    assert {len(line.split()) for line in lines} == {10}


@pytest.mark.slow
def test_memory_of_a_small_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("selfsup_tabular", reason="needs the tabular plugin")
    from speed.memory import table_memory_figure

    figure = table_memory_figure(Settings(rows=3000))
    assert figure.what.endswith("3,000 rows against 300")
    assert 0.8 < figure.value < 1.3
    assert figure.ours > 50


def test_both_sides_of_mlm_have_the_same_blocks(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    pytest.importorskip("selfsup_text", reason="needs the text plugin")
    monkeypatch.setenv("SELFSUP_CACHE", str(tmp_path))
    from selfsup.data import BlockStore, load_source, prepare
    from selfsup.registry import registry
    from speed.pretraining import mlm

    blocks, info = mlm.packed_blocks("pydoc-topics")
    found = registry()
    rows = load_source("pydoc-topics", modality=found.get("modality", "text")).without_labels()
    kind = found.processor_class("text")
    processor = kind(kind.Config(vocab_size=mlm.VOCABULARY, max_length=mlm.LENGTH, packing="blocks")).fit(rows)
    store = BlockStore(prepare(rows, processor).path, mlm.LENGTH)
    assert len(store) == len(blocks)
    assert np.array_equal(store.read(range(len(store)))["ids"], blocks)
    assert info["vocab_size"] == processor.info()["vocab_size"]


def test_peers_train(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("accelerate", reason="needs accelerate")
    pytest.importorskip("transformers", reason="needs transformers")
    from speed.pretraining import mlm

    for name, value in (("LENGTH", 14), ("BATCH", 4), ("HIDDEN", 8), ("LAYERS", 1), ("HEADS", 2)):
        monkeypatch.setattr(mlm, name, value)
    monkeypatch.setattr(mlm, "cpu_count", lambda: 1)
    info = {"vocab_size": 50, "pad_id": 0, "unk_id": 1, "cls_id": 2, "sep_id": 3, "mask_id": 4}
    blocks = (np.arange(20 * 14).reshape(20, 14) % 45 + 5).astype(np.int32)
    curve = mlm.their_training(blocks, info, steps=10, bf16=False, device="cpu")
    assert len(curve.losses) == 10
    assert curve.losses[0] == pytest.approx(np.log(50), rel=0.1)
    assert curve.tokens_per_second > 10


@pytest.mark.slow
def test_memory_of_a_few_recordings() -> None:
    pytest.importorskip("selfsup_audio", reason="needs the audio plugin")
    from speed.memory import audio_memory_figure

    figure = audio_memory_figure(Settings(rows=200))
    assert figure.what.endswith("200 rows against 40")
    assert (figure.goal, figure.compare) == (1.05, "<=")
    assert "the files have 3 and 1 MB" in figure.note
    assert 0.8 < figure.value < 1.3


def test_synthetic_videos_and_recordings(tmp_path: Path) -> None:
    pytest.importorskip("av", reason="needs PyAV")
    import av

    from speed.synthetic_data import write_sounds, write_videos

    write_sounds(tmp_path / "sounds", 3)
    sizes = [path.stat().st_size for path in sorted((tmp_path / "sounds").iterdir())]
    assert sizes == [16_044] * 3
    write_videos(tmp_path / "videos", 2, size=32, frames=20)
    first, second = sorted((tmp_path / "videos").iterdir())
    assert first.read_bytes() != second.read_bytes()
    with av.open(str(first)) as container:
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    assert len(frames) == 20
    assert frames[0].shape == (32, 32, 3)
    assert np.abs(frames[0].astype(int) - frames[1]).mean() > 1


def test_both_sides_of_decoding_see_every_video_in_every_epoch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("selfsup_video", reason="needs the video plugin")
    from speed import decoding
    from speed.synthetic_data import write_videos

    monkeypatch.setattr(decoding, "WORKERS", 0)
    monkeypatch.setattr(decoding.torch.utils.data, "DataLoader", _without_workers)
    write_videos(tmp_path / "videos", 5, size=32, frames=64)
    asked: list[int] = []
    real = decoding.PeerClips.__getitem__
    monkeypatch.setattr(decoding.PeerClips, "__getitem__", lambda self, i: asked.append(i) or real(self, i))
    monkeypatch.setattr(decoding, "time", SimpleNamespace(perf_counter=iter([0, 1] * 2).__next__))  # so a rate is a count
    assert decoding.decoded_clips(tmp_path / "videos") == 15
    assert sorted(asked) == sorted(list(range(5)) * 3)
    clip = decoding.PeerClips(tmp_path / "videos")[0]
    assert clip.shape == (8, 3, 64, 64)
    assert len({frame.numpy().tobytes() for frame in clip}) == 8
    assert decoding.cached_clips(tmp_path / "videos") == 15


def _without_workers(data: Any, **options: Any) -> Any:
    """A loader in this process."""
    options.pop("persistent_workers")
    return torch.utils.data.dataloader.DataLoader(data, **options)
