"""Commands of the core."""

from __future__ import annotations

from selfsup.registry.specs import CommandSpec

SPECS: list[CommandSpec] = [
    CommandSpec(id="inspect", summary="Show what a run would find in a source.", target="selfsup.cli.inspect:command"),
    CommandSpec(id="pretrain", summary="Pretrain an encoder on data without labels.", target="selfsup.cli.pretrain:command"),
    CommandSpec(id="evaluate", summary="Measure an encoder on labelled data.", target="selfsup.cli.evaluate:command"),
    CommandSpec(id="finetune", summary="Train all weights of an encoder with labels.", target="selfsup.cli.finetune:command"),
    CommandSpec(id="embed", summary="Write the embedding of every row to a file.", target="selfsup.cli.embed:command"),
    CommandSpec(id="export", summary="Write an encoder in another format.", target="selfsup.cli.export:command"),
    CommandSpec(id="cache", summary="List or clear what is kept between runs.", target="selfsup.cli.cache:command"),
    CommandSpec(id="list", summary="List what is installed: tasks, backbones, ...", target="selfsup.cli.list:command"),
    CommandSpec(id="plugins", summary="List, check and create plugins.", target="selfsup.cli.plugins:command"),
]
