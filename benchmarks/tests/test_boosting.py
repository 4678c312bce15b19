from __future__ import annotations

import pytest
import torch
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor

from selfsup.errors import SpecError
from selfsup.registry.specs import BenchmarkSpec
from selfsup_bench.cells.boosting import BoostingConfig, boosted_outputs
from selfsup_bench.cells.lines import lines
from selfsup_bench.leaderboard.headline import Headline


def test_trees_learn_what_no_line_can() -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(600, 2, generator=generator)
    y = ((x[:, 0] > 0.5) ^ (x[:, 1] > 0.5)).long()
    log_p = boosted_outputs(x[:400], y[:400], x[400:], 3, BoostingConfig(iterations=30), seed=0)
    assert log_p.shape == (200, 3)
    assert (log_p.argmax(dim=1) == y[400:]).float().mean() > 0.9
    assert (log_p[:, 2] < -100).all()


def test_trees_learn_numbers_and_several_classes_as_scikit_learn_does() -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(400, 3, generator=generator)
    y = (10 * (x[:, 0] > 0.5).double() + x[:, 1]).double()
    config = BoostingConfig(iterations=20)
    same = {"max_iter": 20, "early_stopping": False, "random_state": 0}
    found = boosted_outputs(x[:300], y[:300], x[300:], 1, config, seed=0)
    wanted = HistGradientBoostingRegressor(**same).fit(x[:300].numpy(), y[:300].numpy()).predict(x[300:].numpy())
    assert found.numpy() == pytest.approx(wanted)
    several = torch.stack([x[:, 0] > 0.5, x[:, 1] > 0.7, x[:, 2] > 2], dim=1).float()
    odds = boosted_outputs(x[:300], several[:300], x[300:], 3, config, seed=0)
    model = HistGradientBoostingClassifier(**same).fit(x[:300].numpy(), several[:300, 1].numpy())
    assert odds[:, 1].sigmoid().numpy() == pytest.approx(model.predict_proba(x[300:].numpy())[:, 1])
    assert (odds[:, 2] == -float("inf")).all(), "no training row has this class"


def spec(iterations: int | None = 5, **options: object) -> BenchmarkSpec:
    overrides: dict[str, object] = {"evaluators.knn.k": 3, "processor.scaling": "none", "backbone.dim": 8}
    if iterations is not None:
        overrides["evaluators.boosting.iterations"] = iterations
    return BenchmarkSpec(
        id="x", summary="x", task="tabular/vime", dataset="wine", suites=("quick",), steps=2, overrides=overrides,
        evaluators=("knn", "linear"), headline="knn.accuracy", **options,
    )  # type: ignore[arg-type]  # fmt: skip


def test_boosting_is_a_reference_of_those_who_ask() -> None:
    resolve = {"x": ("tabular", "mlp")}
    (without,), (line,) = lines([spec(None)], (0,), resolve), lines([spec(references=("boosting",))], (0,), resolve)
    assert "boosting" not in without.cells
    with pytest.raises(SpecError, match=r"iterations has no effect, as its references do not name 'boosting'"):
        lines([spec()], (0,), resolve)
    (made,) = line.cells["boosting"]
    assert (made.task, made.backbone, made.evaluators, made.steps) == ("tabular/boosting", "", ("boosting",), 0)
    assert dict(made.overrides) == {"evaluators.boosting.iterations": 5, "processor.scaling": "none"}
    for kind in ("task", "raw", "random-init", "supervised"):
        assert "evaluators.boosting.iterations" not in line.cells[kind][0].overrides
    assert Headline("linear.accuracy").of("boosting") == "boosting.accuracy"
    assert Headline("linear.accuracy").of("raw") == "linear.accuracy"
    with pytest.raises(SpecError, match="names the reference 'forest'; there is boosting"):
        lines([spec(references=("forest",))], (0,), resolve)
