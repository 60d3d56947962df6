import numpy as np
import pytest
import torch

from models import registry
from models.contract import CropRule
from models.describe import FACE, FRAME, mean_face
from realtime.bench import motion
from realtime.bench.recording import FRAMES, TURN, WORDS, moving_face, portrait, recording
from realtime.engine import Engine
from realtime.framing import Canvas
from tests.models.tiny import Tiny

RULES = {name: registry.get(name).spec.driving for name in ("warp", "landmark_gan", "liveportrait", "latent")}


@pytest.mark.parametrize("name", RULES)
def test_every_frame_is_another_and_shows_the_whole_face(name: str) -> None:
    rule = RULES[name]
    frames = recording(rule)
    assert len(frames) == FRAMES
    for seen in frames:
        assert bool(seen.valid.all())
        assert seen.image.shape == (1, 3, rule.size, rule.size)
        assert seen.points is not None
        assert 0 < float(seen.points[..., :2].min()) < float(seen.points[..., :2].max()) < 1
    for part in ("image", "points"):
        values = torch.cat([getattr(seen, part) for seen in frames]).flatten(1)
        different = (values[:, None, ::97] != values[None, :, ::97]).any(2)
        assert bool((different | torch.eye(FRAMES, dtype=torch.bool)).all()), part


def test_the_head_turns_and_the_mouth_speaks() -> None:
    track = np.stack([moving_face(frame) for frame in range(FRAMES)])
    found = motion.motion(track)
    assert np.ptp(found.yaw) == pytest.approx(2 * np.degrees(TURN), rel=0.1)
    opened = found.mouth > found.mouth.mean()
    assert (opened & ~np.roll(opened, 1)).sum() == WORDS
    assert track[..., :2].min() > 0
    assert track[..., :2].max() < FRAME


def test_the_recording_begins_anew_without_a_jump() -> None:
    around = [moving_face(frame) for frame in range(FRAMES + 1)]
    steps = [np.abs(after - before).max() for before, after in zip(around, around[1:], strict=False)]
    assert around[0] == pytest.approx(around[-1])
    assert 0 < max(steps) < 0.05 * FACE


def test_the_mean_face_opens_its_mouth_by_the_gap() -> None:
    shut, wide = mean_face(), mean_face(0.1)
    moved = np.linalg.norm(wide[13] - wide[14]) - np.linalg.norm(shut[13] - shut[14])
    assert moved == pytest.approx(0.1 * FACE, rel=0.1)


def test_a_portrait_needs_no_detector() -> None:
    engine = Engine(Tiny(), "cpu", Canvas(128, 128))
    made = portrait(engine)
    assert made.appearance.features.shape[0] == 1
    assert made.framing.base.shape == (1, 3, 128, 128)
    assert float(made.framing.base.std()) > 0.1, "no flat picture"
    assert isinstance(engine.generator.spec.source, CropRule)
