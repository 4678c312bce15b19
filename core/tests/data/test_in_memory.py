"""Sources that are objects of a program: each form gives the rows that it holds, or says what to give."""

from __future__ import annotations

import io
import struct
import wave

import datasets
import numpy as np
import pandas as pd
import polars as pl
import pytest
import torch
from PIL import Image

from selfsup.data import available_splits, load_source
from selfsup.data.sources.media.encode import wav_bytes
from selfsup.errors import SourceError
from selfsup.registry.specs import ModalitySpec

PHOTOS = ModalitySpec(
    id="photos", summary="Pictures.", target="a:b", columns={"image": "Image"}, suffixes=(".jpg", ".png"), backbone="none"
)
SOUNDS = ModalitySpec(
    id="sounds", summary="Sounds.", target="a:b", columns={"audio": "Audio"}, suffixes=(".wav",), backbone="none"
)
CLIPS = ModalitySpec(
    id="clips", summary="Clips.", target="a:b", columns={"video": "Video"}, suffixes=(".mp4",), backbone="none"
)
TEXTS = ModalitySpec(
    id="texts", summary="Texts.", target="a:b", columns={"text": "string"}, suffixes=(".txt",), backbone="none"
)
CELLS = ModalitySpec(id="cells", summary="Tables.", target="a:b", backbone="none")

IMAGES = np.random.default_rng(0).integers(0, 256, (6, 9, 8, 3)).astype(np.uint8)
KINDS = ["cat", "dog"] * 3
WAVES = np.random.default_rng(1).standard_normal((4, 2, 500)).astype(np.float32) / 8
VIDEOS = np.random.default_rng(2).integers(0, 256, (3, 5, 9, 8, 3)).astype(np.uint8)


def arrays(rows, role):
    """What the rows hold, read from the npy files that they became."""
    return np.stack([np.load(io.BytesIO(row[role]["bytes"])) for row in rows])


class Pictures(torch.utils.data.Dataset):
    classes = ("cat", "dog")

    def __init__(self, broken=()):
        self.broken = broken

    def __len__(self):
        return len(IMAGES)

    def __getitem__(self, place):
        if place in self.broken:
            raise OSError("the disk says no")
        return Image.fromarray(IMAGES[place]), place % 2


def pairs():
    yield from ((image, kind) for image, kind in zip(IMAGES, KINDS, strict=True))


IMAGE_SOURCES = {
    "array": lambda: IMAGES,
    "tensor": lambda: torch.from_numpy(IMAGES),
    "list of arrays": lambda: list(IMAGES),
    "list of PIL images": lambda: [Image.fromarray(image) for image in IMAGES],
    "array of objects": lambda: np.array([*IMAGES, None], dtype=object)[:-1],
    "generator": lambda: (image for image in IMAGES),
    "dict": lambda: {"image": IMAGES, "label": KINDS},
    "dict with usual names": lambda: {"x": IMAGES, "y": KINDS},
    "pairs": lambda: list(zip(IMAGES, KINDS, strict=True)),
    "generator of pairs": pairs,
    "values and labels": lambda: (IMAGES, np.array(KINDS)),
    "dicts": lambda: [{"image": image, "label": kind} for image, kind in zip(IMAGES, KINDS, strict=True)],
    "dicts with another name": lambda: [{"photo": image, "label": kind} for image, kind in zip(IMAGES, KINDS, strict=True)],
    "torch data set": Pictures,
    "subset": lambda: torch.utils.data.Subset(Pictures(), list(range(6))),
    "tensors": lambda: torch.utils.data.TensorDataset(torch.from_numpy(IMAGES), torch.arange(6) % 2),
    "pandas with images": lambda: pd.DataFrame({"photo": [Image.fromarray(image) for image in IMAGES], "label": KINDS}),
    "polars with images": lambda: pl.DataFrame({"photo": pl.Series(list(IMAGES), dtype=pl.Object), "label": KINDS}),
    "stream": lambda: datasets.IterableDataset.from_generator(lambda: ({"image": image.tobytes()} for image in IMAGES)),
}


@pytest.mark.parametrize("name", IMAGE_SOURCES)
def test_images_in_memory_are_rows(name):
    rows = load_source(IMAGE_SOURCES[name](), modality=PHOTOS)
    assert len(rows) == 6
    if name == "stream":
        assert [row["image"]["bytes"] for row in rows] == [image.tobytes() for image in IMAGES]
        return
    np.testing.assert_array_equal(arrays(rows, "image"), IMAGES)
    labelled = name not in ("array", "tensor", "list of arrays", "list of PIL images", "array of objects", "generator")
    assert (rows.label == "label") == labelled
    if labelled:
        assert rows.class_names == (("0", "1") if name == "tensors" else ("cat", "dog"))
        assert rows.labels().tolist() == [0, 1] * 3
    again = load_source(IMAGE_SOURCES[name](), modality=PHOTOS)
    assert again.fingerprint == rows.fingerprint


def test_rows_are_known_by_their_content():
    other = IMAGES.copy()
    other[5, 0, 0, 0] ^= 1
    one, two = (load_source(array, modality=PHOTOS).fingerprint for array in (IMAGES, other))
    assert one != two


def test_what_a_source_is_is_shown():
    assert load_source(IMAGES, modality=PHOTOS).findings.facts["source"] == "array [6, 9, 8, 3] of uint8"
    assert load_source(iter(IMAGES), modality=PHOTOS).findings.facts["source"].endswith(", read once")


def test_an_item_that_cannot_be_read_is_a_bad_row_and_named():
    rows = load_source(Pictures(broken=(3,)), modality=PHOTOS)
    assert rows.read([3])[0]["image"] == {"bytes": None, "path": None}
    assert rows.findings.warnings == ["item 3 of the Pictures cannot be read: OSError: the disk says no"]
    assert len(rows) == 6


def test_modes_of_pil_images_keep_what_they_show():
    clear = Image.new("P", (4, 3))
    clear.info["transparency"] = 0
    turned = Image.fromarray(IMAGES[0])
    turned.getexif()[0x0112] = 6
    images = [Image.new("L", (4, 3), 7), Image.new("1", (4, 3), 1), Image.new("F", (4, 3), 0.5), Image.new("CMYK", (4, 3)),
              clear, Image.new("LA", (4, 3)), Image.fromarray(np.full((3, 4), 4000, dtype=np.uint16)), turned]  # fmt: skip
    stream = io.BytesIO()
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(IMAGES[0]).save(stream, "TIFF", exif=exif)
    rows = load_source([*images, Image.open(stream)], modality=PHOTOS)
    found = [np.load(io.BytesIO(row["image"]["bytes"])) for row in rows]
    assert [(array.shape, array.dtype.name) for array in found] == [
        ((3, 4), "uint8"), ((3, 4), "bool"), ((3, 4), "float32"), ((3, 4, 3), "uint8"),
        ((3, 4, 4), "uint8"), ((3, 4, 4), "uint8"), ((3, 4), "uint16"), ((8, 9, 3), "uint8"), ((8, 9, 3), "uint8"),
    ]  # fmt: skip
    for array in found[-2:]:
        np.testing.assert_array_equal(array, np.rot90(IMAGES[0], k=-1))


def test_paths_and_bytes(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert [row["image"]["path"] for row in load_source(np.array(["a.png"]), modality=PHOTOS)] == [str(tmp_path / "a.png")]
    assert [row["audio"]["path"] for row in load_source(np.array(["a.wav"]), modality=SOUNDS)] == [str(tmp_path / "a.wav")]
    rows = load_source(["a.png", tmp_path / "b" / "c.png", b"encoded", {"bytes": None, "path": "x.png"}], modality=PHOTOS)
    assert [row["image"] for row in rows] == [
        {"bytes": None, "path": str(tmp_path / "a.png")}, {"bytes": None, "path": str(tmp_path / "b" / "c.png")},
        {"bytes": b"encoded", "path": None}, {"bytes": None, "path": "x.png"},
    ]  # fmt: skip


WAVE_SOURCES = {
    "columns": lambda: {"audio": WAVES, "sampling_rate": 8000},
    "columns with rates": lambda: {"audio": list(WAVES), "sampling_rate": [8000] * 4},
    "dicts": lambda: [{"array": array, "sampling_rate": 8000} for array in WAVES],
    "dicts of roles": lambda: [{"audio": {"array": array, "sampling_rate": 8000}} for array in WAVES],
    "dicts with a rate": lambda: [{"audio": array, "sampling_rate": 8000} for array in WAVES],
    "as torchaudio has it": lambda: [(torch.from_numpy(array), 8000, "word", "speaker") for array in WAVES],
    "samples first": lambda: [{"array": array.T, "sampling_rate": 8000} for array in WAVES],
}


@pytest.mark.parametrize("name", WAVE_SOURCES)
def test_recordings_in_memory_are_wav_files(name):
    rows = load_source(WAVE_SOURCES[name](), modality=SOUNDS)
    for row, expected in zip(rows, WAVES, strict=True):
        content = row["audio"]["bytes"]
        kind, channels, rate, _, _, bits = struct.unpack("<HHIIHH", content[20:36])
        assert (content[:4], content[8:16], kind, channels, rate, bits) == (b"RIFF", b"WAVEfmt ", 3, 2, 8000, 32)
        np.testing.assert_array_equal(np.frombuffer(content[44:], "<f4").reshape(-1, 2).T, expected)
    assert (rows.label == "label") == (name == "as torchaudio has it")


def test_decoded_recordings_of_a_data_set_are_found():
    decoded = [{"array": wave[0].tolist(), "sampling_rate": 8000} for wave in WAVES]
    rows = load_source(datasets.Dataset.from_dict({"sound": decoded, "id": [1, 2, 3, 4]}), modality=SOUNDS)
    assert (rows.columns, rows.read([2])[0]["audio"]) == ({"audio": "sound"}, decoded[2])


def test_wav_of_whole_numbers_is_read_by_python():
    samples = np.arange(-50, 50, dtype=np.int16)
    with wave.open(io.BytesIO(wav_bytes(samples, 16000))) as file:
        assert (file.getnchannels(), file.getsampwidth(), file.getframerate()) == (1, 2, 16000)
        np.testing.assert_array_equal(np.frombuffer(file.readframes(100), "<i2"), samples)
    scaled = np.frombuffer(wav_bytes(np.array([2**30], dtype=np.int32), 16000)[44:], "<f4")
    assert scaled.tolist() == [0.5]


@pytest.mark.parametrize("name", ["array", "channels before height", "channels first", "list", "frames", "pairs"])
def test_clips_in_memory_have_their_channels_last(name):
    source = {
        "array": VIDEOS,
        "channels before height": VIDEOS.transpose(0, 1, 4, 2, 3),
        "channels first": VIDEOS.transpose(0, 4, 1, 2, 3),
        "list": list(VIDEOS),
        "frames": [[Image.fromarray(frame) for frame in clip] for clip in VIDEOS],
        "pairs": [(clip, "run") for clip in VIDEOS],
    }[name]
    np.testing.assert_array_equal(arrays(load_source(source, modality=CLIPS), "video"), VIDEOS)


TEXT_SOURCES = {
    "list": ["one", "two"],
    "tuple": ("one", "two"),
    "array": np.array(["one", "two"]),
    "pandas series": pd.Series(["one", "two"]),
    "polars series": pl.Series(["one", "two"]),
    "dict": {"text": ["one", "two"]},
    "frame": pd.DataFrame({"text": ["one", "two"]}),
}


@pytest.mark.parametrize("name", TEXT_SOURCES)
def test_texts_in_memory(name):
    assert list(load_source(TEXT_SOURCES[name], modality=TEXTS)) == [{"text": "one"}, {"text": "two"}]


def test_texts_of_pairs_generators_and_streams():
    labelled = load_source([("one", "a"), ("two", "b")], modality=TEXTS)
    assert (list(labelled)[1], labelled.class_names) == ({"text": "two"}, ("a", "b"))
    stream = datasets.Dataset.from_dict({"text": ["one", "two"]}).to_iterable_dataset()
    for source in (iter(["one", "two"]), stream):
        assert [row["text"] for row in load_source(source, modality=TEXTS)] == ["one", "two"]


def test_tables_in_memory():
    table = np.arange(6.0).reshape(3, 2)
    for source in (table, table.tolist(), torch.from_numpy(table), [tuple(row) for row in table.tolist()]):
        assert list(load_source(source, modality=CELLS)) == [{"x0": a, "x1": b} for a, b in table.tolist()]
    pairs = torch.utils.data.TensorDataset(torch.from_numpy(table), torch.tensor([0, 1, 1]))
    rows = load_source(pairs, modality=CELLS)
    assert (rows.label, list(rows)[2]) == ("label", {"x0": 4.0, "x1": 5.0})
    both = load_source((table, np.array([0, 1, 1])), modality=CELLS)
    assert (both.label, list(both)[2]) == ("label", {"x0": 4.0, "x1": 5.0})
    mixed = [{"age": 1, "job": "cook"}, {"age": 2.5, "job": None}, {"age": 3}]
    assert list(load_source(mixed, modality=CELLS)) == [{"job": None, **row} for row in mixed]
    named = np.array([(1, "a"), (2, "b")], dtype=[("n", "i4"), ("s", "U1")])
    assert list(load_source(named, modality=CELLS)) == [{"n": 1, "s": "a"}, {"n": 2, "s": "b"}]


def test_splits_of_dictionaries_of_data_sets():
    parts = datasets.DatasetDict(
        train=datasets.Dataset.from_dict({"text": ["a", "b"]}), validation=datasets.Dataset.from_dict({"text": ["c"]})
    )
    assert available_splits(parts, modality=TEXTS) == ("train", "validation")
    assert [row["text"] for row in load_source(parts, modality=TEXTS, split="validation")] == ["c"]
    plain = {"train": ["a", "b"], "dev": ["c"]}
    assert available_splits(plain, modality=TEXTS) == ("train", "validation")
    assert [row["text"] for row in load_source(plain, modality=TEXTS, split="validation")] == ["c"]
    with pytest.raises(SourceError, match="has no 'test' split; it has train, validation"):
        load_source(parts, modality=TEXTS, split="test")
    with pytest.raises(SourceError, match=r"has the parts one, and none is called train.*give one of them, source\['one'\]"):
        load_source(datasets.DatasetDict(one=parts["train"]), modality=TEXTS)


REFUSED = {
    "one image": (PHOTOS, IMAGES[0], r"shape \(9, 8, 3\) .* looks like one image, .*: give \[image\] for one"),
    "one image, channels first": (PHOTOS, IMAGES[0].transpose(2, 0, 1), r"looks like one image"),
    "flat images": (PHOTOS, IMAGES.reshape(6, -1), r"is no set of images: .*\[N, H, W, C\]"),
    "no image": (PHOTOS, IMAGES[:0], "holds no row"),
    "one dict": (PHOTOS, {"image": "a.png"}, "is one row, not several"),
    "uneven columns": (PHOTOS, {"image": IMAGES, "label": [1]}, "several lengths: image 6, label 1"),
    "columns without images": (PHOTOS, {"z": IMAGES}, "None of the columns z is the 'image'"),
    "number among images": (PHOTOS, [IMAGES[0], 5], "Item 1: A value of type int is no image: a row's image is a path"),
    "spent generator": (PHOTOS, iter(()), "holds no row. A generator can be read once: give a list"),
    "nothing": (PHOTOS, None, "is one row"),
    "waves without a rate": (SOUNDS, WAVES, r'has no sampling rate: give \{"audio": array, "sampling_rate": Hz\}'),
    "list of waves": (SOUNDS, list(WAVES), "An array alone has no sampling rate"),
    "rate of zero": (SOUNDS, {"audio": WAVES, "sampling_rate": 0}, "sampling_rate=0 is no sampling rate in Hz"),
    "batches": (PHOTOS, torch.utils.data.DataLoader(Pictures()), "gives batches, not rows: give its data set"),
    "one clip": (CLIPS, VIDEOS[0], "looks like one video"),
    "uneven frames": (CLIPS, [[IMAGES[0], IMAGES[0][:4]]], "several shapes"),
    "odd clips": (CLIPS, [np.zeros((5, 7, 7, 7))], "channels of a clip .* cannot be found"),
    "numbers for texts": (TEXTS, np.arange(3), "is no list of texts"),
    "number among texts": (TEXTS, ["a", 3], "Item 1 is of type int, not a text"),
    "one row of a table": (CELLS, np.arange(3.0), "is no table"),
    "row as columns": (CELLS, {"age": 3, "job": "cook"}, "is one row, not several"),
    "objects": (PHOTOS, [np.array([[None]])], "holds Python objects"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_source_says_what_to_give(name):
    modality, source, message = REFUSED[name]
    with pytest.raises(SourceError, match=message):
        load_source(source, modality=modality)


def test_rows_that_change_their_kind_are_named(monkeypatch):
    monkeypatch.setattr("selfsup.data.sources.record_writer._CHUNK_ROWS", 2)
    with pytest.raises(SourceError, match=r"Column 'n' of rows 2 to 3 does not fit the first rows, which hold int64"):
        load_source([{"n": 1}, {"n": 2}, {"n": 3}, {"n": "four"}], modality=CELLS)
    with pytest.raises(SourceError, match="Rows 2 to 2 have columns that the first rows lack: m"):
        load_source([{"n": 1}, {"n": 2}, {"n": 3, "m": 4}], modality=CELLS)


def test_array_files(tmp_path):
    np.save(tmp_path / "a.npy", IMAGES)
    np.testing.assert_array_equal(arrays(load_source(str(tmp_path / "a.npy"), modality=PHOTOS), "image"), IMAGES)
    np.savez(tmp_path / "a.npz", images=IMAGES, labels=np.arange(6) % 2)
    rows = load_source(str(tmp_path / "a.npz"), modality=PHOTOS)
    assert (len(rows), rows.labels().tolist()) == (6, [0, 1] * 3)
    for names in (("x_train", "y_train", "x_test", "y_test"), ("train_images", "train_labels", "test_images", "test_labels")):
        both = (IMAGES, np.arange(6) % 2, IMAGES[:2], np.arange(2))
        np.savez(tmp_path / "s.npz", **dict(zip(names, both, strict=True)))
        assert available_splits(str(tmp_path / "s.npz"), modality=PHOTOS) == ("train", "test")
        test = load_source(str(tmp_path / "s.npz"), modality=PHOTOS, split="test")
        np.testing.assert_array_equal(arrays(test, "image"), IMAGES[:2])
        assert test.labels().tolist() == [0, 1]
    with pytest.raises(SourceError, match=r"has no 'test' split: none of its arrays \(images, labels\) names one"):
        load_source(f"{tmp_path / 'a.npz'}:test", modality=PHOTOS)
    np.savez(tmp_path / "o.npz", images=np.array([1, "a"], dtype=object))
    with pytest.raises(SourceError, match="holds Python objects, and reading these could run any code"):
        load_source(str(tmp_path / "o.npz"), modality=PHOTOS)
    (tmp_path / "b.npz").write_bytes(b"PK and an end")
    with pytest.raises(SourceError, match="is no npz file of NumPy"):
        load_source(str(tmp_path / "b.npz"), modality=PHOTOS)
