from __future__ import annotations

from pathlib import Path

import pytest

from peers.simclr import Recipe, summarise, train_here

vision = pytest.importorskip("selfsup_vision", reason="needs the vision plugin")


def test_goals_are_differences_paired_by_seed() -> None:
    good = summarise({"untrained": [0.2, 0.3], "selfsup": [0.4, 0.5], "lightly": [0.405, 0.495]})
    assert good["over_untrained"] == pytest.approx(0.2)
    assert good["over_lightly"] == pytest.approx(0.0)
    assert good["reached"]
    assert not summarise({"untrained": [0.3], "selfsup": [0.4]})["reached"]
    assert not summarise({"untrained": [0.2], "selfsup": [0.4], "lightly": [0.42]})["reached"]


def test_both_sides_train_the_same_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("lightly", reason="needs lightly")
    from peers.lightly_side import train_with_lightly

    monkeypatch.setenv("SELFSUP_CACHE", str(tmp_path / "cache"))
    recipe = Recipe(dataset="digits", width=4, steps=2, batch=32)
    ours, theirs = train_here(recipe, 0, tmp_path / "run"), train_with_lightly(recipe, 0)
    assert ours.processor.info() == theirs.processor.info()
    assert ours.backbone_options == theirs.backbone_options
    shapes = [{name: tuple(t.shape) for name, t in e.backbone.state_dict().items()} for e in (ours, theirs)]
    assert shapes[0] == shapes[1]
