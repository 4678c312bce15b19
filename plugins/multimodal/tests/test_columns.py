"""Which column is which part: by what the user says, by names, by types and contents."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import SimpleNamespace
from typing import Any

import pytest
from datasets import Audio, ClassLabel, Image, List, Value, Video

from selfsup.data.sources.columns.joined import JoinedColumns, SourceColumns
from selfsup.errors import ColumnError, ConfigError, MissingPluginError
from selfsup.registry import registry
from selfsup.registry.specs import ModalitySpec
from selfsup_multimodal.columns import choose, contents, names
from selfsup_multimodal.columns.names import is_usual, parse_parts, written

TEXT, NUMBER, FILE = Value("string"), Value("float64"), {"bytes": Value("binary"), "path": Value("string")}
IMAGE, SOUND, VIDEO = Image(decode=False), Audio(decode=False), Video(decode=False)
TEXTS = List(Value("string"))
KINDS: Mapping[str, dict[str, Any]] = {
    "vision": {"columns": {"image": "Image"}, "suffixes": (".jpg", ".png")},
    "text": {"columns": {"text": "string"}, "suffixes": (".txt",)},
    "audio": {"columns": {"audio": "Audio"}, "suffixes": (".wav", ".mp4"), "segments": True},
    "video": {"columns": {"video": "Video"}, "suffixes": (".mp4", ".gif"), "segments": True},
    "tabular": {},
    "molecule": {"columns": {"smiles": "string"}},
    "sequence": {"columns": {"sequence": "List"}},
}


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Makes these modalities the installed ones; what is not among them is looked for in the real registry."""
    real = registry().get

    def use(*ids: str) -> None:
        specs = {id: ModalitySpec(id=id, summary="A modality.", target="a:B", backbone="b", **KINDS[id]) for id in ids}
        specs["multimodal"] = ModalitySpec(id="multimodal", summary="Joins.", target="a:B", backbone="b", joins=True)

        def get(kind: str, id: str) -> Any:
            if id in KINDS and id not in specs:
                raise MissingPluginError(f"{id} needs the {id} plugin: pip install selfsup-{id}")
            return specs[id] if id in specs else real(kind, id)

        house = SimpleNamespace(modalities=specs, get=get)
        for used in (names.parse_parts, contents.ColumnContents.medium, choose):
            monkeypatch.setitem(used.__globals__, "registry", lambda: house)

    use(*KINDS)
    return use


def found(
    features: Mapping[str, Any],
    *,
    parts: Sequence[str] = (),
    given: Mapping[str, str] | None = None,
    values: Mapping[str, list[Any]] | None = None,
    label: str | None = None,
    before: Mapping[str, str] | None = None,
) -> JoinedColumns:
    source = SourceColumns(features, lambda column: (values or {}).get(column, ["some text"]), given or {}, label, "rows")
    return choose(source, parts, before)


PHOTO = {"photo": IMAGE, "caption": TEXT}


@pytest.mark.usefixtures("installed")
@pytest.mark.parametrize(
    ("features", "values", "columns"),
    [
        (PHOTO, {}, {"vision/image": "photo", "text/text": "caption"}),
        ({"image": IMAGE, "text": TEXT, "captions": TEXTS, "by": TEXT}, {}, {"vision/image": "image", "text/text": "text"}),
        ({"image": IMAGE, "captions": TEXTS, "other": TEXT}, {}, {"vision/image": "image", "text/text": "captions"}),
        ({"x": IMAGE, "y": TEXT, "n": NUMBER}, {}, {"vision/image": "x", "text/text": "y"}),
        ({"x": IMAGE, "id": TEXT, "y": TEXT}, {}, {"vision/image": "x", "text/text": "y"}),
        ({"image_path": TEXT, "title": TEXT}, {"image_path": ["a.jpg"]}, {"vision/image": "image_path", "text/text": "title"}),
        ({"f": TEXT, "t": TEXT}, {"f": ["a.wav"]}, {"audio/audio": "f", "text/text": "t"}),
        ({"f": TEXT, "t": TEXT}, {"f": ["a.mp4"]}, {"video/video": "f", "text/text": "t"}),
        ({"i": FILE, "s": FILE}, {"i": [{"bytes": b"\x89PNG", "path": None}], "s": [{"bytes": None, "path": "a.wav"}]},
         {"vision/image": "i", "audio/audio": "s"}),
        ({"clip": VIDEO, "sound": SOUND}, {}, {"video/video": "clip", "audio/audio": "sound"}),
        ({"smiles": TEXT, "picture": IMAGE}, {}, {"molecule/smiles": "smiles", "vision/image": "picture"}),
    ],
)  # fmt: skip
def test_columns_are_found_by_name_type_and_content(
    features: dict[str, Any], values: dict[str, list[Any]], columns: dict[str, str]
) -> None:
    chosen = found(features, values=values)
    assert chosen.columns == columns
    assert set(chosen.parts) == {role.partition("/")[0] for role in columns}
    media = {role for role in columns if role.partition("/")[2] in ("image", "audio", "video")}
    assert chosen.media == media


@pytest.mark.usefixtures("installed")
def test_what_was_chosen_is_said_with_how_to_change_it() -> None:
    chosen = found({**PHOTO, "captions_id": NUMBER})
    assert chosen.findings.facts == {
        "parts": "vision (image is column 'photo'); text (text is column 'caption') "
        "(--column ROLE=NAME, --set parts=[vision,text])",
        "columns": "not used: captions_id",
    }
    assert "text is column 'captions', several per row" in found({"image": IMAGE, "captions": TEXTS}).findings.facts["parts"]


@pytest.mark.usefixtures("installed")
def test_the_user_chooses_by_role() -> None:
    features = {"a": IMAGE, "b": IMAGE, "c": TEXT, "d": TEXT}
    wanted = {"vision/image": "b", "text/text": "d"}
    assert found(features, given={"image": "b", "text": "d"}).columns == wanted
    assert found(features, given={"vision/image": "b", "text/text": "d"}).columns == wanted
    assert found(features, given={"image": "b", "smiles": "d", "text": "c"}).columns["molecule/smiles"] == "d"
    with pytest.raises(ColumnError, match="no column 'e'"):
        found(features, given={"image": "e"})
    with pytest.raises(ColumnError, match=r"no role 'smell'.*the roles are image, text"):
        found(features, given={"smell": "a"})
    with pytest.raises(ColumnError, match="Column 'a' of rows is Image, but text/text needs string"):
        found(features, given={"image": "b", "text": "a"})
    with pytest.raises(ColumnError, match="no part 'audio'; the parts are vision, text"):
        found(features, parts=["vision", "text"], given={"audio/audio": "a"})


@pytest.mark.usefixtures("installed")
@pytest.mark.parametrize(
    ("features", "message"),
    [
        ({"a": IMAGE, "b": IMAGE}, r"'image' of vision \(a, b\).*--column image=NAME.*parts=\[one:vision,two:vision\]"),
        ({"x": IMAGE, "caption": TEXT, "title": TEXT}, r"'text' of text \(caption, title\).*--column text=NAME"),
        ({"x": IMAGE, "a": TEXT, "b": TEXT}, r"several columns of texts \(a, b\).*--column text=NAME"),
        ({"x": IMAGE, "n": NUMBER}, r"fewer than two parts; found: vision \('x'\)"),
        ({"n": NUMBER}, "found: none"),
    ],
)  # fmt: skip
def test_equal_candidates_and_missing_parts_end_with_the_switch_to_use(features: dict[str, Any], message: str) -> None:
    with pytest.raises(ColumnError, match=message):
        found(features)


@pytest.mark.usefixtures("installed")
def test_a_column_of_captions_that_are_all_missing_is_named() -> None:
    features = {"x": IMAGE, "title": NUMBER}  # what a table without a single caption is read as
    with pytest.raises(ColumnError, match="title is empty in the sampled rows"):
        found(features, values={"title": []})
    with pytest.raises(ColumnError, match=r"is float64, but text/text needs string\. It is empty .* fill it"):
        found(features, values={"title": []}, given={"text": "title"})


@pytest.mark.usefixtures("installed")
def test_parts_that_are_named() -> None:
    two = {"front": IMAGE, "back_image": IMAGE, "price": NUMBER, "kind": ClassLabel(names=["a"]), "note": TEXT, "label": TEXT}
    chosen = found(two, parts=["front:vision", "back:vision"])
    assert chosen.columns == {"front/image": "front", "back/image": "back_image"}
    assert chosen.parts == {"front": "vision", "back": "vision"}
    with pytest.raises(ColumnError, match=r"'image' of left \(front, back_image\).*--column left/image=NAME\."):
        found(two, parts=["left:vision", "right:vision"])
    given = {"left/image": "front", "right/image": "back_image"}
    assert set(found(two, parts=["left:vision", "right:vision"], given=given).columns.items()) == set(given.items())
    one = {name: feature for name, feature in two.items() if name != "back_image"}
    table = found(one, parts=["vision", "tabular"], label="label")
    assert table.columns == {
        "vision/image": "front", "tabular/price": "price", "tabular/kind": "kind", "tabular/note": "note",
    }  # fmt: skip
    some = found(one, parts=["vision", "tabular"], given={"tabular/price": "price"})
    assert some.columns == {"vision/image": "front", "tabular/price": "price"}
    lists = found({"s": List(Value("int64")), "t": TEXT}, parts=["sequence", "text"])
    assert lists.columns == {"sequence/sequence": "s", "text/text": "t"}
    with pytest.raises(ColumnError, match="no column for the 'audio' of audio"):
        found(two, parts=["front:vision", "audio"])
    with pytest.raises(ColumnError, match="no column left for tabular"):
        found(PHOTO, parts=["vision", "text", "tabular"])


@pytest.mark.usefixtures("installed")
def test_the_sound_of_videos_is_a_part_where_it_is_asked_for() -> None:
    chosen = found({"file": TEXT}, values={"file": ["a.mp4", "b.mp4"]}, parts=["video", "audio"])
    assert chosen.columns == {"video/video": "file", "audio/audio": "file"}
    timed = {"file": TEXT, "start": NUMBER, "begin": NUMBER}
    values = {"file": ["a.mp4"]}
    assert found(timed, values=values, parts=["video", "audio"]).columns["audio/start"] == "start"
    other = found(timed, values=values, parts=["video", "audio"], given={"start": "begin"}).columns
    assert (other["video/start"], other["audio/start"]) == ("begin", "begin")
    off = found(timed, values=values, parts=["video", "audio"], given={"start": ""}).columns
    assert set(off) == {"video/video", "audio/audio"}


def test_a_part_whose_plugin_is_missing(installed: Any) -> None:
    installed("vision", "text")
    with pytest.raises(MissingPluginError, match="pip install selfsup-audio"):
        found(PHOTO, parts=["vision", "audio"])
    with pytest.raises(MissingPluginError, match="pip install selfsup-audio"):
        found({"photo": IMAGE, "sound": SOUND})
    with pytest.raises(MissingPluginError, match="pip install selfsup-video"):
        found(PHOTO, given={"video": "photo"})
    (warning,) = found({**PHOTO, "sound": SOUND}).findings.warnings
    assert warning == "Column 'sound' is not used, because its modality audio is not installed: pip install selfsup-audio"


@pytest.mark.usefixtures("installed")
def test_an_encoder_finds_the_columns_that_it_learned_from() -> None:
    features = {"image": IMAGE, "text": TEXT, "name": TEXT, "n": NUMBER}
    before = {"vision/image": "image", "text/text": "name"}
    assert found(features, parts=["vision", "text"], before=before).columns == before
    again = found(features, parts=["vision", "text"], before=before, given={"text": "text"})
    assert again.columns["text/text"] == "text"
    renamed = found({"photo": IMAGE, "caption": TEXT}, parts=["vision", "text"], before=before)
    assert renamed.columns == {"vision/image": "photo", "text/text": "caption"}
    alone = found({"image": IMAGE}, parts=["vision", "text"], before=before)
    assert alone.parts == {"vision": "vision"}
    assert "no column for text, so every row lacks that part" in alone.findings.warnings[0]
    empty = found({"image": IMAGE, "text": Value("null")}, parts=["vision", "text"], before=before)
    assert empty.columns == {"vision/image": "image", "text/text": "text"}


@pytest.mark.usefixtures("installed")
def test_names_of_parts() -> None:
    parts = parse_parts(["vision", "back:vision"])
    assert written(list(parts.values())) == "[vision,back:vision]"
    for wrong, message in (
        (["vision", "vision"], r"two parts are called 'vision'.*parts=\[front:vision,back:vision\]"),
        (["a/b:vision"], "not a valid name of a part"),
        (["multimodal", "text"], "joins parts itself"),
    ):
        with pytest.raises(ConfigError, match=message):
            parse_parts(wrong)
    with pytest.raises(ConfigError, match=r"parts=\[vision\] names one part"):
        found(PHOTO, parts=["vision"])
    assert is_usual("Image_Path", "image")
    assert is_usual("captions", "text")
    assert not is_usual("captions", "smiles")
