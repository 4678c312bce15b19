"""Read COCO annotations: one JSON file with images and captions (https://cocodataset.org/#format-data)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from selfsup.damaged_files import read_json
from selfsup.errors import SourceError
from selfsup.runtime.findings import Findings


def is_coco(file: Path) -> bool:
    """Whether a json file holds COCO annotations: an object with lists ``images`` and ``annotations``."""
    if file.suffix.lower() != ".json":
        return False
    with file.open("rb") as stream:
        if not stream.read(64).lstrip().startswith(b"{"):
            return False
    try:
        content = read_json(file)
    except ValueError:
        return False
    return isinstance(content, dict) and all(isinstance(content.get(name), list) for name in ("images", "annotations"))


def read_coco(files: Sequence[Path]) -> tuple[Any, Findings]:
    """The images with their captions, as a ``datasets.Dataset`` with the columns ``id``, ``image`` (paths) and ``captions``.

    Raises:
        SourceError: an annotation has no caption, or an image no file name.
    """
    import datasets

    rows: list[dict[str, Any]] = []
    findings, orphans, blank = Findings(), 0, 0
    for file in files:
        content = read_json(file)
        captions: dict[Any, list[str]] = {image.get("id"): [] for image in content["images"]}
        for annotation in content["annotations"]:
            caption = annotation.get("caption")
            if caption is None:
                raise SourceError(f"{file} holds annotations without captions; give the file of captions.")
            if annotation.get("image_id") not in captions:
                orphans += 1
            elif str(caption).strip():
                captions[annotation["image_id"]].append(" ".join(str(caption).split()))
            else:
                blank += 1
        for image in content["images"]:
            if not image.get("file_name"):
                raise SourceError(f"{file}: the image {image.get('id')!r} has no file_name.")
            rows.append({"id": str(image["id"]), "image": image["file_name"], "captions": captions[image["id"]]})
    if not rows:
        raise SourceError(f"{files[0]} names no image.")
    without = sum(not row["captions"] for row in rows)
    findings.add("captions", f"{sum(len(row['captions']) for row in rows)}, for {len(rows)} images")
    if without:
        findings.add("captions", f"none for {without}")
    if orphans:
        findings.warn(f"Captions of images that the file does not list are left out: {orphans}.")
    if blank:
        findings.warn(f"Empty captions are left out: {blank}.")
    features = {"id": datasets.Value("string"), "image": datasets.Value("string")}
    features["captions"] = datasets.List(datasets.Value("string"))
    return datasets.Dataset.from_list(rows, features=datasets.Features(features)), findings
