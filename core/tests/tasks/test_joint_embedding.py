"""The joint-embedding family on a toy modality of number series."""

from __future__ import annotations

import copy
from types import MappingProxyType

import pytest
import torch
from pydantic import Field, ValidationError
from torch import nn

from selfsup.backbones import Backbone, Encoded
from selfsup.batch_parts import only_part, part_names, part_of
from selfsup.config import Config
from selfsup.errors import ConfigError
from selfsup.objectives import DINO, SimCLR, SimCLRConfig, VICRegL, VICRegLConfig
from selfsup.registry.builtin.objectives import SPECS
from selfsup.tasks import Views, ViewsRecipe
from selfsup.tasks.augmented import AugmentedTask
from selfsup.tasks.joint_embedding import embed_views as view_embedding
from selfsup.tasks.joint_embedding.embed_views import encode_views, token_locations
from selfsup.tasks.joint_embedding.task import JointEmbedding, joint_embedding_recipe

IDS = [spec.id for spec in SPECS]
SMALL = {
    "queue_size": 32,
    "n_prototypes": 12,
    "hidden_dim": 16,
    "bottleneck_dim": 8,
    "output_dim": 16,
    "token_dim": 8,
    "n_slices": 8,
}
BATCH, STEPS, CHANNELS = 16, 8, 4


class SeriesBackbone(Backbone):
    """Embeds each step of a series; works for any length."""

    modality = "series"
    embed_dim = 12

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(CHANNELS, 24), nn.GELU(), nn.Linear(24, self.embed_dim))
        self.calls: list[tuple[int, ...]] = []

    def forward(self, batch):
        self.calls.append(tuple(batch["x"].shape))
        tokens = self.layers(batch["x"])
        return Encoded(tokens.mean(dim=1), tokens, (batch["x"].shape[1],))


class WithoutTokens(SeriesBackbone):
    def forward(self, batch):
        return Encoded(super().forward(batch).pooled)


class SeriesViewsConfig(Config):
    """Noise, and shorter local views."""

    n_global: int = Field(default=2, ge=1)
    """Number of global views."""
    n_local: int = Field(default=0, ge=0)
    """Number of local views."""
    noise: float = 0.3
    """Standard deviation."""


class GlobalOnlyConfig(Config):
    """Two views."""

    n_global: int = Field(default=2, ge=2, le=2)
    """Number of global views."""
    n_local: int = Field(default=0, ge=0, le=0)
    """Number of local views."""


class SeriesViews(Views):
    def __init__(self, config, info):
        super().__init__()
        self.n_global, self.n_local = config.n_global, config.n_local
        self.noise = getattr(config, "noise", 0.3)

    def forward(self, batch, generator):
        x = batch["x"]
        views = []
        for index in range(self.n_global + self.n_local):
            noise = torch.randn(x.shape, generator=generator, device=x.device, dtype=x.dtype)
            origin = torch.rand(len(x), 1, 1, generator=generator, device=x.device)
            view = x + self.noise * noise
            part = view if index < self.n_global else view[:, : x.shape[1] // 2]
            views.append({"x": part, "crop": torch.cat([origin, torch.ones_like(origin) / 2], dim=2)})
        return views


VIEWS = ViewsRecipe(config=SeriesViewsConfig, build=SeriesViews)


def objective_recipe(id):
    spec = next(spec for spec in SPECS if spec.id == id)
    module, _, name = spec.target.partition(":")
    return getattr(__import__(module, fromlist=[name]), name)


def small_task(id, backbone=None, **views):
    recipe = objective_recipe(id)
    sizes = {key: value for key, value in {**SMALL, "teacher": "start"}.items() if key in recipe.config.model_fields}
    task = joint_embedding_recipe(recipe, VIEWS, objective_defaults=sizes, view_defaults=views)
    torch.manual_seed(0)
    return task.build(task.config(), backbone or SeriesBackbone(), {})


def series(seed=0):
    generator = torch.Generator().manual_seed(seed)
    kinds = torch.randn(BATCH, 1, CHANNELS, generator=generator)
    return {"x": kinds + 0.1 * torch.randn(BATCH, STEPS, CHANNELS, generator=generator)}


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("id", ["simclr", "dino", "vicregl"])
def test_loss_is_computed_in_full_precision_under_autocast(id):
    task = small_task(id)
    seen = []
    task.objective.register_forward_pre_hook(lambda module, args: seen.append((args[0], torch.is_autocast_enabled("cpu"))))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        output = task(series(), seeded())
    embeddings, autocast = seen[0]
    assert {tensor.dtype for tensor in embeddings.online + embeddings.target + embeddings.online_tokens} == {torch.float32}
    assert not autocast
    assert output.loss.dtype == torch.float32
    output.loss.backward()


def test_views_of_one_size_share_a_backbone_call_and_keep_their_order():
    backbone = SeriesBackbone()
    views = SeriesViews(SeriesViewsConfig(n_local=3), {})(series(), seeded())
    together = encode_views(backbone, views)
    assert backbone.calls == [(2 * BATCH, STEPS, CHANNELS), (3 * BATCH, STEPS // 2, CHANNELS)]
    for view, encoded in zip(views, together, strict=True):
        apart = backbone(view)
        assert torch.allclose(encoded.pooled, apart.pooled, atol=1e-6)
        assert torch.allclose(encoded.tokens, apart.tokens, atol=1e-6)
        assert encoded.grid == apart.grid


def test_one_way_objectives_encode_each_view_once():
    for id, expected in (("mocov2", BATCH), ("tico", BATCH), ("byol", 2 * BATCH)):
        task = small_task(id)
        task(series(), seeded())
        assert task.backbone.calls == [(expected, STEPS, CHANNELS)]
        assert task.momentum.module.backbone.calls == [(expected, STEPS, CHANNELS)]


def test_teacher_sees_global_views_only():
    task = small_task("dino", n_local=3)
    task(series(), seeded())
    assert task.momentum.module.backbone.calls == [(2 * BATCH, STEPS, CHANNELS)]


def test_state_dict_names_the_backbone_once():
    names = small_task("byol").state_dict()
    assert sum(name.endswith("backbone.layers.0.weight") for name in names) == 2
    assert "backbone.layers.0.weight" in names
    assert "momentum.module.backbone.layers.0.weight" in names


def test_only_dino_keeps_the_teacher():
    for id in ("dino", "byol", "simclr"):
        task = small_task(id)
        kept = task.encoder_backbone()
        assert (kept is task.backbone) == (id != "dino")


def test_token_locations_follow_crop_and_flip():
    crop = torch.tensor([[[0.0, 1.0], [0.5, 0.5]], [[1.0, -1.0], [0.0, 1.0]]])
    places = token_locations(crop, (2, 4))
    assert places.shape == (2, 8, 2)
    assert torch.allclose(places[0, :, 0], torch.tensor([0.25] * 4 + [0.75] * 4))
    assert torch.allclose(places[0, :4, 1], torch.tensor([0.5625, 0.6875, 0.8125, 0.9375]))
    assert torch.allclose(places[1, :, 0], torch.tensor([0.75] * 4 + [0.25] * 4))


def test_vicregl_gets_places_and_padding():
    class Padded(SeriesBackbone):
        def forward(self, batch):
            encoded = super().forward(batch)
            padding = torch.zeros(encoded.tokens.shape[:2], dtype=torch.bool)
            padding[:, -2:] = True
            return encoded._replace(padding=padding)

    task = small_task("vicregl", backbone=Padded())
    seen = []
    task.objective.register_forward_pre_hook(lambda module, args: seen.append(args[0]))
    task(series(), seeded()).loss.backward()
    assert [place.shape for place in seen[0].locations] == [(BATCH, STEPS, 1)] * 2
    assert bool(seen[0].token_padding[1][:, -2:].all())


def test_vicregl_matches_by_place_only_where_views_say_where_they_are():
    class Placeless(SeriesViews):
        def forward(self, batch, generator):
            return [{"x": view["x"]} for view in super().forward(batch, generator)]

    objective = VICRegL(VICRegLConfig(hidden_dim=8, output_dim=8, token_dim=8, n_matches=(3, 2)))
    losses = []
    for views in (SeriesViews, Placeless):
        torch.manual_seed(0)
        task = JointEmbedding(SeriesBackbone(), views(SeriesViewsConfig(), {}), objective)
        losses.append(float(task(series(), seeded()).loss.detach()))
    assert losses[0] > losses[1]


def test_vicregl_without_tokens_is_a_clear_error():
    with pytest.raises(ConfigError, match=r"WithoutTokens gives none: choose a backbone with tokens"):
        small_task("vicregl", backbone=WithoutTokens())(series(), seeded())


def test_crop_along_more_axes_than_the_lattice_is_a_clear_error():
    with pytest.raises(ConfigError, match="along 3 axes"):
        token_locations(torch.zeros(2, 3, 2), (3, 3))


def test_axes_that_a_crop_does_not_name_are_whole():
    located = token_locations(torch.tensor([[[0.5, 0.5]]]), (2, 2))
    assert located.tolist() == [[[0.625, 0.25], [0.625, 0.75], [0.875, 0.25], [0.875, 0.75]]]


def test_number_of_views_must_suit_the_objective():
    recipe = joint_embedding_recipe(objective_recipe("simclr"), VIEWS)
    with pytest.raises(ConfigError, match=r"set views.n_global=2 and views.n_local=0"):
        recipe.build(recipe.config(views={"n_local": 4}), SeriesBackbone(), {})
    with pytest.raises(ConfigError, match=r"views.n_global=1 is too few"):
        recipe.build(recipe.config(views={"n_global": 1}), SeriesBackbone(), {})


def test_recipe_has_the_papers_numbers_where_the_views_allow_them():
    assert {id: joint_embedding_recipe(objective_recipe(id), VIEWS).config().views.n_local for id in IDS} == {
        **dict.fromkeys(IDS, 0),
        "swav": 6,
        "dino": 8,
        "lejepa": 6,
    }
    narrow = ViewsRecipe(config=GlobalOnlyConfig, build=SeriesViews)
    recipe = joint_embedding_recipe(objective_recipe("dino"), narrow)
    assert recipe.config().views.n_local == 0
    with pytest.raises(ValidationError):
        recipe.config(views={"n_local": 1})


def test_recipe_defaults_survive_a_partial_override():
    recipe = joint_embedding_recipe(
        objective_recipe("byol"),
        VIEWS,
        view_defaults={"noise": 0.7},
        objective_defaults={"hidden_dim": 32},
        optimization={"base_lr": 0.4},
        momentum=(0.9, 0.95),
    )
    config = recipe.config.model_validate(
        {"objective": {"output_dim": 8}, "views": {"n_global": 2}, "momentum": {"start": 0.92}}
    )
    assert config.objective.model_dump() == {"hidden_dim": 32, "output_dim": 8}
    assert config.views.noise == 0.7
    assert config.momentum.model_dump() == {"start": 0.92, "end": 0.95, "initial_share": None}
    assert recipe.optimization["base_lr"] == 0.4
    assert recipe.optimization["optimizer"] == "lars"
    assert recipe.config.model_validate(config.model_dump(mode="json")) == config


def test_momentum_section_is_there_only_with_a_teacher():
    with_section = {id for id in IDS if "momentum" in joint_embedding_recipe(objective_recipe(id), VIEWS).config.model_fields}
    assert with_section == {"mocov2", "mocov3", "byol", "dino", "tico"}


def test_dino_schedules_freeze_and_warm_up():
    task = copy.deepcopy(small_task("dino", n_local=2))
    objective = task.objective
    assert isinstance(objective, DINO)
    assert float(objective.teacher_temperature) == pytest.approx(0.04)
    task(series(), seeded()).loss.backward()
    last = task.projector[-1].weight
    assert last.grad is not None
    task.after_backward(0.001)
    assert last.grad is None
    assert task.backbone.layers[0].weight.grad is not None
    task.after_step(0.05)
    assert float(objective.teacher_temperature) == pytest.approx(0.055)
    task.after_step(0.9)
    assert float(objective.teacher_temperature) == pytest.approx(0.07)


def test_swav_prototypes_stay_frozen_then_normalised_and_the_queue_waits():
    task = small_task("swav")
    prototypes = task.objective.prototypes.weight
    task(series(), seeded()).loss.backward()
    task.after_backward(0.001)
    assert prototypes.grad is None
    with torch.no_grad():
        prototypes.mul_(3)
    task.after_step(0.01)
    assert torch.allclose(prototypes.norm(dim=1), torch.ones(len(prototypes)))
    assert float(task.objective.queue_on) == 0
    assert float(task.objective.queues[0].filled.sum()) == BATCH
    task.after_step(0.5)
    assert float(task.objective.queue_on) == 1


def test_objective_state_stays_in_evaluation_mode():
    for id in ("mocov2", "swav", "dino", "tico"):
        task = small_task(id).eval()
        before = {key: value.clone() for key, value in task.state_dict().items()}
        task(series(), seeded())
        assert all(torch.equal(value, before[key]) for key, value in task.state_dict().items())


class NormBackbone(Backbone):
    modality = "series"
    embed_dim = 12

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(CHANNELS, self.embed_dim)
        self.norm = nn.BatchNorm1d(self.embed_dim)

    def forward(self, batch):
        return Encoded(self.norm(self.layer(batch["x"].mean(dim=1))))


@pytest.mark.parametrize("splits", [1, 2])
def test_moco_splits_batch_norm_and_shuffles_its_keys(splits):
    recipe = objective_recipe("mocov2")
    defaults = {"queue_size": 32, "hidden_dim": 16, "output_dim": 16, "batch_norm_splits": splits}
    task = joint_embedding_recipe(recipe, VIEWS, objective_defaults=defaults)
    torch.manual_seed(0)
    task = task.build(task.config(), NormBackbone(), {})
    seen = []
    task.objective.register_forward_pre_hook(lambda module, args: seen.append(args[0]))
    task(series(), seeded())
    generator = seeded()
    query_view, key_view = task.views(series(), generator)
    order = torch.randperm(BATCH, generator=generator) if splits == 2 else torch.arange(BATCH)

    def groups(x):
        linear = [task.backbone.layer(part.mean(dim=1)) for part in x.chunk(splits)]
        return torch.cat([nn.functional.batch_norm(part, None, None, training=True) for part in linear])

    with torch.no_grad():
        torch.testing.assert_close(seen[0].online[0], task.projector(groups(query_view["x"])))
        keys = task.projector(groups(key_view["x"][order]))
        torch.testing.assert_close(seen[0].target[0][order], keys)
    assert list(task.state_dict()) == list(task.eval().state_dict())
    assert task.backbone.norm.running_mean.abs().max() > 0


class TwoNetworks(Backbone):
    """``left`` has batch norm, ``right`` has none and takes series of any length."""

    modality = "pair"
    embed_dim = 12
    part_dims = MappingProxyType({"left": 12, "right": 12})
    shares_space = True

    def __init__(self) -> None:
        super().__init__()
        self.networks = nn.ModuleDict({"left": NormBackbone(), "right": SeriesBackbone()})

    def part(self, name):
        return self.networks[name]

    def forward(self, batch):
        (name,) = part_names(batch)
        return Encoded(self.networks[name](part_of(batch, name)).pooled)


class TwoViews(SeriesViews):
    def forward(self, batch, generator):
        return [only_part(batch, part) for part in ("left", "right")]


def test_only_what_has_batch_norm_crosses_devices_to_be_shuffled(monkeypatch):
    # On two devices rows of ``right`` may differ in length, and cannot be gathered then.
    recipe = objective_recipe("mocov2")
    defaults = {"queue_size": 32, "hidden_dim": 16, "output_dim": 16, "batch_norm_splits": 2}
    task = joint_embedding_recipe(recipe, ViewsRecipe(SeriesViewsConfig, TwoViews), objective_defaults=defaults)
    task = task.build(task.config(), TwoNetworks(), {})
    gathered = []
    monkeypatch.setattr(view_embedding, "gather", lambda x: gathered.append(x) or x)
    there = torch.arange(BATCH) % 5 != 0
    batch = {
        "left/x": series()["x"],
        "right/x": series()["x"][:, :5] + 1,
        "right/present": there,
        "left/present": ~there | there,
    }
    embeddings = task.embed(batch, seeded())
    assert any(x.data_ptr() == batch["left/x"].data_ptr() for x in gathered)
    assert not any(x.data_ptr() == batch["right/x"].data_ptr() for x in gathered)
    with torch.no_grad():
        network = task.momentum.module
        keys = network.projector(network.backbone.part("right")({"x": batch["right/x"]}).pooled)
    torch.testing.assert_close(embeddings.target[1], keys)


def test_a_queue_is_fitted_through_a_task_and_its_view():
    task = small_task("mocov2")
    assert "holds 20" in AugmentedTask(task, SeriesViews(SeriesViewsConfig(n_global=1), {})).fit_to_data(36, 16)
    assert task.objective.queue.size == 20
    assert small_task("byol").fit_to_data(36, 16) == ""


def test_views_say_which_rows_show_the_same():
    there = torch.tensor([True, True, False, True])
    left = {"left/x": torch.zeros(4), "left/present": ~there | there, "left/content": torch.tensor([1, 2, 3, 1])}
    right = {"right/x": torch.zeros(4), "right/present": there, "right/content": torch.tensor([7, 7, 0, 9])}
    silent = {"silent/x": torch.zeros(4), "silent/present": there}
    assert view_embedding.shown_content([silent, {"x": torch.zeros(4)}]) is None
    groups = view_embedding.shown_content([left, silent, right])
    assert groups.tolist() == [[1, -1, 7], [2, -1, 7], [3, -1, -1], [1, -1, 9]]


class TwoPartBackbone(SeriesBackbone):
    """Two parts, each embedded by the one network."""

    part_dims = MappingProxyType({"left": SeriesBackbone.embed_dim, "right": SeriesBackbone.embed_dim})
    shares_space = True

    def forward(self, batch):
        (part,) = part_names(batch)
        return super().forward(part_of(batch, part))


class PartViews(Views):
    """A view a part."""

    n_global, n_local = 2, 0

    def forward(self, batch, generator):
        return [only_part(batch, part) for part in part_names(batch)]


def test_an_objective_that_cannot_leave_rows_out_is_refused_where_rows_may_lack_a_part():
    class Careless(SimCLR):
        handles_absent = False

    JointEmbedding(SeriesBackbone(), PartViews(), Careless(SimCLRConfig()))
    with pytest.raises(ConfigError, match=r"Careless cannot leave out rows that lack a part.*handles_absent = True"):
        JointEmbedding(TwoPartBackbone(), PartViews(), Careless(SimCLRConfig()))
    three = PartViews()
    three.n_global = 3
    with pytest.raises(ConfigError, match=r"VICRegL compares the tokens of two views, but there are 3 parts"):
        JointEmbedding(TwoPartBackbone(), three, VICRegL(VICRegLConfig()))


@pytest.mark.parametrize("id", ["mocov2", "byol", "vicreg", "dino"])
def test_metrics_are_of_the_rows_that_are_there(id):
    objective = small_task(id).objective
    task = JointEmbedding(TwoPartBackbone(), PartViews(), objective)
    present = torch.arange(BATCH) % 3 > 0
    x = torch.randn(BATCH, STEPS, CHANNELS)
    batch = {f"{part}/{key}": value for part in ("left", "right") for key, value in (("x", x), ("present", present))}
    output = task.eval()(batch, None)
    cut = task({key: value[present] for key, value in batch.items()}, None)
    assert output.metrics.keys() == cut.metrics.keys()
    for name, value in cut.metrics.items():
        torch.testing.assert_close(output.metrics[name], value, rtol=1e-4, atol=1e-5, msg=name)
    torch.testing.assert_close(output.loss, cut.loss)


def test_a_view_without_padding_beside_one_with_it_has_none():
    padding = torch.tensor([[False, True], [False, False]])
    padded = Encoded(torch.zeros(2, 3), torch.zeros(2, 2, 3), (2,), padding)
    whole = Encoded(torch.zeros(2, 3), torch.zeros(2, 4, 3), (4,))
    first, second = view_embedding.token_padding([whole, padded])
    assert first.tolist() == [[False] * 4] * 2
    assert second is padding
    assert view_embedding.token_padding([whole, whole]) is None
