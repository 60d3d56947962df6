"""The recipes' losses: what is in them, whom they teach, and what their switches change."""

from dataclasses import replace
from functools import cache
from typing import Any, cast

import numpy as np
import pytest
import torch
from torch import Tensor

from models.coefficients import CoefficientRegressor
from models.contract import Controls
from models.describe import mean_face
from models.face_geometry import FLIP_68
from models.layers import flow_warp
from models.vgg import Vgg19
from trainer import recipes
from trainer.config import Settings
from trainer.data.samples import Augmentation, Sample, collate, mirrored
from trainer.data.views import Views
from trainer.feed import seen_by
from trainer.recipe import Made, Phase, Recipe, Seen, Terms, phases_of
from trainer.recipes.dae_gan import DaeGanRecipe
from trainer.recipes.landmark_gan import LandmarkGanRecipe
from trainer.recipes.latent import LatentRecipe
from trainer.recipes.latent_encoder import LatentEncoderRecipe
from trainer.stopwatch import Stopwatch
from trainer.turns import Turn, optimisers_of

CPU = torch.device("cpu")
NAMES = recipes.names()
PARTS = ("stylegan2", "latent_encoder")  # of a network, that doesn't reenact before its last part is trained

# Phase → terms, of the whole recipe without VGG and with it.
WITHOUT_VGG = {
    "imf": {"generator": {"pixel", "adversarial", "matching"}, "discriminator": {"hinge"}},
    "dae_gan": {
        "embedders": {"reconstruction", "smoothness"},
        "face": {"reconstruction", "smoothness"},
        "pose": {"reconstruction", "smoothness"},
        "generator": {"content", "adversarial", "matching"},
        "discriminator": {"hinge"},
    },
    "landmark_gan": {
        "generator": {"pixel", "self", "triple", "adversarial", "matching"},
        "discriminator": {"bce"},
    },
    "stylegan2": {
        "generator": {"adversarial"},
        "path": {"length"},
        "discriminator": {"bce"},
        "r1": {"r1"},
    },
    "latent_encoder": {
        "encoder": {"pixel", "perceptual", "face", "delta", "adversarial", "code"},
        "discriminator": {"bce"},
        "r1": {"r1"},
    },
    "latent": {
        "halves": {
            "reconstruction",
            "appearance",
            "structure",
            "cycle code",
            "cycle picture",
            "3dmm appearance",
            "3dmm structure",
        }
    },
}
WITH_VGG = {
    "imf": {"generator": {"pixel", "perceptual", "adversarial"}, "discriminator": {"hinge"}},
    "dae_gan": WITHOUT_VGG["dae_gan"],
    "landmark_gan": {
        "generator": {"pixel", "self", "triple", "perceptual", "identity", "adversarial"},
        "discriminator": {"bce"},
    },
    **{name: WITHOUT_VGG[name] for name in ("stylegan2", "latent_encoder", "latent")},
}

# Switch → the terms that leave every phase, and those that stay and are nought; with VGG.
LEAVE = {
    ("imf", "pixel"): (set(), {"pixel"}),
    ("imf", "perceptual"): ({"perceptual"}, set()),
    ("imf", "adversarial"): ({"adversarial", "hinge"}, set()),
    ("dae_gan", "smoothness"): ({"smoothness"}, set()),
    ("dae_gan", "multi-frame"): (set(), set()),
    ("dae_gan", "multi-scale"): (set(), set()),
    ("dae_gan", "adversarial"): ({"content", "adversarial", "matching", "hinge"}, set()),
    ("dae_gan", "feature-matching"): ({"matching"}, set()),
    ("landmark_gan", "pixel"): (set(), {"pixel"}),
    ("landmark_gan", "consistency"): ({"self", "triple"}, set()),
    ("landmark_gan", "features"): ({"perceptual", "identity"}, set()),
    ("landmark_gan", "self"): ({"self"}, set()),
    ("landmark_gan", "triple"): ({"triple"}, set()),
    ("landmark_gan", "perceptual"): ({"perceptual"}, set()),
    ("landmark_gan", "identity"): ({"identity"}, set()),
    ("landmark_gan", "adversarial"): ({"adversarial", "bce"}, set()),
    ("stylegan2", "path-length"): ({"length"}, set()),
    ("stylegan2", "mixing"): (set(), set()),
    ("stylegan2", "augmentation"): (set(), set()),
    ("latent_encoder", "perceptual"): ({"perceptual"}, set()),
    ("latent_encoder", "identity"): (set(), set()),  # there is no embedder
    ("latent_encoder", "face"): ({"face"}, set()),
    ("latent_encoder", "delta"): ({"delta"}, set()),
    ("latent_encoder", "adversarial"): ({"adversarial", "bce", "r1"}, set()),
    ("latent", "3dmm-appearance"): ({"3dmm appearance"}, set()),
    ("latent", "3dmm-structure"): ({"3dmm structure"}, set()),
    ("latent", "cycle-code"): ({"cycle code"}, set()),
    ("latent", "cycle-picture"): ({"cycle picture"}, set()),
    ("latent", "contrastive"): ({"appearance", "structure"}, set()),
    ("latent", "distance"): (set(), set()),
}


@cache
def vgg() -> Vgg19:
    """With random weights: enough to be compared by."""
    torch.manual_seed(0)
    return Vgg19().eval().requires_grad_(False)


def settings_of(name: str, **changes: Any) -> Settings:
    return replace(recipes.get(name).configs["tiny"], **changes)


def tiny(name: str, with_vgg: bool = False, **changes: Any) -> Recipe:
    torch.manual_seed(0)
    settings = settings_of(name, **changes)
    recipe = recipes.get(name).build(settings, vgg() if with_vgg else None)
    if isinstance(recipe, LatentEncoderRecipe):
        recipe.new_step(settings.pictures)  # all rows of a code are its own by then
    if isinstance(recipe, (LatentEncoderRecipe, LatentRecipe)):
        recipe.face = CoefficientRegressor(["who"], ["what", "where"]).eval().requires_grad_(False)
    return recipe.to(CPU)


def faces(recipe: Recipe, clips: int = 2, seed: int = 0) -> Sample:
    """Smooth pictures, and faces that lie about the middle of them, each turned its own way."""
    random = np.random.default_rng(seed)
    size = 96
    axis = torch.linspace(0, 1, size)
    mean = torch.from_numpy(mean_face()).float()
    mean = mean - mean.mean(0)
    found = []
    for clip in range(clips):
        across, down, phase = torch.from_numpy(random.uniform(0, 9, (3, recipe.frames, 3, 1, 1))).float()
        waves = torch.sin(across * axis + down * axis[:, None] + phase)
        moved = 0.5 * mean / mean.abs().max() + torch.from_numpy(
            random.normal(0, 0.004, (recipe.frames, 478, 3))
        )
        moved = moved + torch.from_numpy(random.uniform(-0.05, 0.05, (recipe.frames, 1, 3)))
        found.append(
            Sample(
                picture=(127.5 + 120 * waves).round().to(torch.uint8),
                points=(moved + torch.tensor([0.5, 0.5, 0.0])).float(),
                valid=torch.ones(recipe.frames, dtype=torch.bool),
                labels=torch.full((recipe.frames, size, size), 255, dtype=torch.uint8),
                frames=torch.arange(recipe.frames),
                maps={},
                parameters={},
                clip=str(clip),
                identity=str(clip),
            )
        )
    return collate(found)


def views_for(recipe: Recipe, clips: int = 2, seed: int = 0) -> Views:
    return seen_by(recipe, faces(recipe, clips, seed), CPU)


def lesson(recipe: Recipe) -> Seen:
    """What a step learns from."""
    if isinstance(recipe, LatentRecipe):
        torch.manual_seed(0)
        return recipe.example(2, CPU)
    return views_for(recipe)


def told(recipe: Recipe, views: Seen) -> dict[str, Terms]:
    """Every phase's terms, phase after phase."""
    found: dict[str, Terms] = {}
    recipe.train()
    for stage in recipe.stages():
        made: Made = {}
        for phase in stage.phases:
            found[phase.name] = phase.loss(views, made)
    return found


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("with_vgg", [False, True])
def test_every_phase_has_its_terms(name: str, with_vgg: bool) -> None:
    recipe = tiny(name, with_vgg)
    found = told(recipe, lesson(recipe))
    expected = (WITH_VGG if with_vgg else WITHOUT_VGG)[name]
    assert {phase: set(terms) for phase, terms in found.items()} == expected
    for terms in found.values():
        for term, value in terms.items():
            assert value.ndim == 0, term
            assert bool(torch.isfinite(value)), term
            assert term == "adversarial" or float(value.detach()) > 0, term
    assert recipe.matches_instead is (not with_vgg and name in ("imf", "landmark_gan"))


@pytest.mark.parametrize(("name", "which"), [(name, which) for name in NAMES for which in WITHOUT_VGG[name]])
def test_a_phase_teaches_its_networks_and_no_others(name: str, which: str) -> None:
    recipe = tiny(name)
    views = lesson(recipe)
    stage = next(stage for stage in recipe.stages() if which in [phase.name for phase in stage.phases])
    learning = settings_of(name).learning
    optimisers = optimisers_of(recipe, learning, on_cuda=False)
    made: Made = {}
    recipe.train()
    for phase in stage.phases:
        if phase.name != which:
            with torch.set_grad_enabled(phase.eager):  # where it differentiates itself
                phase.loss(views, made)  # what it leaves to the others
            continue
        before = {one: one.detach().clone() for one in recipe.parameters()}
        heard = listen(recipe)
        Turn(phase, recipe, optimisers, learning, "float32")([views], [made], Stopwatch(CPU))
        for network, module in recipe.networks.items():
            taught = {key for key, one in module.named_parameters() if one in heard}
            changed = {key for key, one in module.named_parameters() if not torch.equal(one, before[one])}
            own = {key for key, _ in module.named_parameters()}
            assert taught == (own if network in phase.trains else set()), network
            assert bool(changed) is (network in phase.trains), network
        return


def listen(recipe: Recipe) -> set[Tensor]:
    """The parameters that a gradient comes to, from now on."""
    heard: set[Tensor] = set()
    for network in recipe.networks.values():
        for parameter in network.parameters():
            parameter.requires_grad_(True)
            parameter.register_post_accumulate_grad_hook(heard.add)
    return heard


@pytest.mark.parametrize("name", NAMES)
def test_the_table_of_switches_is_the_recipe_s(name: str) -> None:
    assert {switch for recipe, switch in LEAVE if recipe == name} == set(recipes.get(name).ablations)


@pytest.mark.parametrize(("name", "switch"), LEAVE)
def test_a_switch_takes_its_terms_away_and_no_others(name: str, switch: str) -> None:
    leaving, nought = LEAVE[name, switch]
    recipe = tiny(name, with_vgg=True, ablate=(switch,))
    found = told(recipe, lesson(recipe))
    kept = {phase: terms - leaving for phase, terms in WITH_VGG[name].items() if terms - leaving}
    if (name, switch) == ("dae_gan", "adversarial"):  # the generator's stage goes, and its phases with it
        kept = {"embedders": WITH_VGG[name]["embedders"]}
    assert {phase: set(terms) for phase, terms in found.items()} == kept
    for terms in found.values():
        for term, value in terms.items():
            assert (float(value.detach()) == 0) is (term in nought), term
    assert sum(stage.share for stage in recipe.stages()) == pytest.approx(1)


@pytest.mark.parametrize(("name", "switch"), [("imf", "perceptual"), ("landmark_gan", "perceptual")])
def test_what_is_matched_instead_of_vgg_goes_with_its_switch(name: str, switch: str) -> None:
    recipe = tiny(name, ablate=(switch,))
    assert "matching" not in told(recipe, views_for(recipe))["generator"]
    assert not recipe.matches_instead


@pytest.mark.parametrize("name", ["imf", "landmark_gan"])
def test_without_vgg_a_discriminator_is_left_to_match_features(name: str) -> None:
    """It still learns, but the generator doesn't hear whether it believes him."""
    recipe = tiny(name, ablate=("adversarial",))
    found = told(recipe, views_for(recipe))
    assert float(found["generator"]["adversarial"].detach()) == 0
    assert float(found["generator"]["matching"].detach()) > 0
    assert set(found) == {"generator", "discriminator"}


def dae_gan(**changes: Any) -> DaeGanRecipe:
    return cast(DaeGanRecipe, tiny("dae_gan", **changes))


def test_faces_are_embedded_from_as_many_frames_as_a_step_is_dealt() -> None:
    one, other, another = dae_gan(sources=(2, 5)), dae_gan(sources=(2, 5)), dae_gan(sources=(2, 5), seed=1)
    assert one.frames == 6
    dealt: list[list[int]] = [[], [], []]
    for pictures in range(0, 1600, 16):
        for recipe, counts in zip((one, other, another), dealt, strict=True):
            recipe.new_step(pictures)
            counts.append(recipe.count)
    assert set(dealt[0]) == {2, 3, 4, 5}
    assert dealt[0] == dealt[1]  # two ranks of a run
    assert dealt[0] != dealt[2]  # another run


def test_frames_that_were_not_dealt_are_not_embedded() -> None:
    recipe = dae_gan(sources=(1, 3)).eval()
    views = views_for(recipe)
    recipe.count = 2
    with torch.no_grad():
        face = recipe._embedded(views).face
        for frame, told_by in ((0, True), (1, True), (2, False), (3, False)):
            image = views.image.clone()
            image[:, frame] = 1 - image[:, frame]
            other = recipe._embedded(views._replace(image=image))
            assert other.flows.shape[1] == 2
            assert torch.equal(other.face, face) is not told_by, frame


def test_one_frame_is_embedded_where_multi_frame_is_off() -> None:
    recipe = dae_gan(ablate=("multi-frame",))
    assert recipe.frames == 2  # that one, and one that is new
    for pictures in range(0, 320, 16):
        recipe.new_step(pictures)
        assert recipe.count == 1
    assert recipe._embedded(views_for(recipe)).attention.shape[1] == 1


def test_the_pose_embedder_warps_and_adds_nothing_where_multi_scale_is_off() -> None:
    recipe = dae_gan(ablate=("multi-scale",))
    views = views_for(recipe)
    face, frames = views.image[:, 0], views.image[:, 1]
    posed = recipe._posed(face, frames)
    whole = torch.nn.functional.interpolate(
        recipe.generator.pose(frames, face).flow, size=face.shape[2:], mode="bilinear", align_corners=False
    )
    assert torch.equal(posed.picture, flow_warp(face, whole))
    heard = listen(recipe)
    sum(recipe.embedder_loss(views, {}).values(), torch.zeros(())).backward()
    pose = recipe.generator.pose
    assert all(one in heard for one in pose.flow.parameters())
    for residual in (pose.low, pose.high):
        assert not any(one in heard for one in residual.parameters())


def test_without_the_generator_the_pose_embedder_draws() -> None:
    recipe = dae_gan(ablate=("adversarial",)).eval()
    views = views_for(recipe)
    with torch.no_grad():
        signed = views.image * 2 - 1
        posed = recipe.generator.pose(signed[:, -1], recipe.generator.face(signed[:, :1]).face)
        assert torch.equal(recipe.drawn(views), (posed.picture + 1) / 2)


def test_stages_go_on_from_embedders_to_all_networks() -> None:
    first, second = dae_gan(alone=0.25, embedders=1.0).stages()
    assert (first.share, second.share) == (0.25, 0.75)
    assert dict(first.rates) == {"face": 1.0, "pose": 1.0}
    assert dict(second.rates) == {"face": 0.1, "pose": 0.1, "generator": 1.0, "discriminator": 1.0}
    assert [phase.trains for phase in second.phases] == [
        ("face",),
        ("pose",),
        ("generator",),
        ("discriminator",),
    ]
    slower = dae_gan(embedders=0.5).stages()
    assert [stage.rates["pose"] for stage in slower] == [0.5, 0.05]
    assert [stage.name for stage in dae_gan(alone=0.0).stages()] == ["all"]
    assert [stage.name for stage in dae_gan(alone=1.0).stages()] == ["embedders"]


def test_mirrored_samples_have_mirrored_heat_maps_with_left_and_right_exchanged() -> None:
    """Each landmark's map is the mirror image of the map of the landmark on the other side."""
    recipe = cast(LandmarkGanRecipe, tiny("landmark_gan"))
    sample = faces(recipe, clips=1)
    maps, turned = (recipe._maps(seen_by(recipe, one, CPU), 2) for one in (sample, mirrored(sample)))
    assert float(maps.amax((2, 3)).min()) > 0.3  # every landmark is in the picture
    assert torch.allclose(turned, maps.flip(-1)[:, list(FLIP_68)], atol=2e-4)
    assert not torch.allclose(turned, maps.flip(-1), atol=0.1)
    one, other = (seen_by(recipe, one, CPU).image for one in (sample, mirrored(sample)))
    assert torch.allclose(other, one.flip(-1), atol=2e-3)


def test_every_other_sample_is_mirrored_whole() -> None:
    recipe = tiny("landmark_gan")
    sample = faces(recipe, clips=1)
    single = sample._replace(
        **{field: getattr(sample, field)[0] for field in ("picture", "points", "valid", "labels", "frames")}
    )
    flipped = mirrored(single)
    random, count = np.random.default_rng(0), 0
    for _ in range(200):
        found = Augmentation(mirror=True)(single, random)
        turned = torch.equal(found.picture, flipped.picture)
        assert turned or torch.equal(found.picture, single.picture)
        assert torch.equal(found.points, (flipped if turned else single).points)
        count += turned
    assert 80 < count < 120


@pytest.mark.parametrize("name", [name for name in NAMES if name not in PARTS])
def test_what_is_drawn_is_what_the_generator_shows_when_it_serves(name: str) -> None:
    """Through the contract's calls, with the motion as it stands."""
    recipe = tiny(name).eval()
    views, generator = views_for(recipe), recipe.generator
    with torch.no_grad():
        drawn = recipe.drawn(views)
        for row, one in enumerate(views.parts(1)):
            appearance = generator.encode_appearance([one.frame(0)])
            driving = generator.encode_structure(one.frame(one.image.shape[1] - 1))
            moved = generator.transfer(driving, driving, appearance, Controls.default(relative=0.0))
            rgb, _ = generator.decode(appearance, moved)
            assert torch.allclose(drawn[row], rgb[0], atol=1e-4), float((drawn[row] - rgb[0]).abs().max())


def test_a_phase_is_named_once() -> None:
    for name in NAMES:
        phases: list[Phase] = list(phases_of(tiny(name)))
        assert len({phase.name for phase in phases}) == len(phases)
