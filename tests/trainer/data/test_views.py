"""Training's squares are the ones that a session is cropped by."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from models import registry
from models.contract import CropRule
from models.describe import mean_face
from models.face_geometry import crop_to_frame, to_crop_units
from trainer.data.samples import Sample
from trainer.data.views import views_of

SIDE = 120  # pixels
RULES = {name: registry.get(name).spec.driving for name in ("imf", "dae_gan", "landmark_gan", "latent")}
RULES["level face"] = replace(RULES["latent"], level="face")


def sample() -> Sample:
    """Two clips of three faces: each turned, moved, and the last of each not found."""
    random = np.random.default_rng(0)
    mean = mean_face() - mean_face().mean(0)
    mean = mean / np.ptp(mean[:, 1]) * 0.4
    points = np.zeros((2, 3, 478, 3))
    for clip in range(2):
        for frame in range(3):
            angle = random.uniform(-0.6, 0.6)
            turn = np.array(
                [[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]]
            )
            points[clip, frame] = mean @ turn.T + [*random.uniform(0.4, 0.6, 2), 0]
    axis = torch.linspace(0, 255, SIDE)
    ramps = torch.stack(
        (axis.expand(SIDE, -1), axis[:, None].expand(-1, SIDE), torch.full((SIDE, SIDE), 9.0))
    )
    valid = torch.tensor([[True, True, False]] * 2)
    return Sample(
        picture=ramps.round().to(torch.uint8).expand(2, 3, -1, -1, -1).contiguous(),
        points=torch.from_numpy(points).float() * valid[..., None, None],
        valid=valid,
        labels=torch.zeros(2, 3, SIDE, SIDE, dtype=torch.uint8),
        frames=torch.arange(3).expand(2, -1),
        maps={},
        parameters={},
        clip=["a", "b"],
        identity=["a", "b"],
    )


@pytest.mark.parametrize("rule", RULES.values(), ids=RULES)
def test_every_frame_has_the_square_that_a_session_would_cut(rule: CropRule) -> None:
    given = sample()
    views = views_of(given, replace(rule, size=32), "frame")
    for clip, frame in ((0, 0), (0, 1), (1, 0), (1, 1)):
        points = given.points[clip, frame].double().numpy() * SIDE
        truth = crop_to_frame(points, rule, SIDE, SIDE)
        assert np.allclose(views.to_frame[clip, frame] * SIDE, truth, atol=1e-3)
        inside = to_crop_units(points, truth)
        assert np.allclose(views.points[clip, frame], inside, atol=1e-5)


@pytest.mark.parametrize("rule", RULES.values(), ids=RULES)
def test_pixels_come_from_where_the_square_says(rule: CropRule) -> None:
    """The pictures' red and green tell where each pixel was."""
    given = sample()
    views = views_of(given, replace(rule, size=32), "frame")
    line = (torch.arange(32) + 0.5) / 32
    places = torch.stack((line.expand(32, -1), line[:, None].expand(-1, 32), torch.ones(32, 32)))  # 3×32×32
    for clip, frame in ((0, 0), (1, 1)):
        there = torch.einsum("ab,bhw->ahw", views.to_frame[clip, frame], places)
        within = ((there > 0.05) & (there < 0.95)).all(0)
        assert int(within.sum()) > 300
        found = views.image[clip, frame, :2]
        pixels = (there * SIDE - 0.5) / (SIDE - 1)  # the ramp runs over pixels' centres
        assert torch.allclose(found[:, within], pixels[:, within], atol=0.01)


def test_a_frame_without_landmarks_is_level_in_the_mean_of_the_others() -> None:
    given = sample()
    views = views_of(given, replace(RULES["latent"], size=32), "frame")
    turned = views.to_frame[:, 2, :, :2]
    sides = views.to_frame[:, :2, :, :2].det().sqrt()
    assert torch.allclose(turned, torch.eye(2) * sides.mean(1)[:, None, None], atol=1e-5)
    assert not views.points[:, 2].any()


def test_turned_squares_are_each_frame_s_own() -> None:
    with pytest.raises(AssertionError, match="turned"):
        views_of(sample(), RULES["latent"], "clip")
