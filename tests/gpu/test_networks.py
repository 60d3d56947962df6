"""Every generator on a CUDA device: it draws what it draws on the CPU, and its frame path can be captured.
The face is the mean face in a smooth picture."""

from itertools import chain
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from torch import Tensor

from models import registry, weights
from models.contract import Controls, Observation, cat_codes, map_code
from models.warp.motion import Motion
from realtime.colours import to_i420
from realtime.graphs import Captured

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device"),
]
NAMES = sorted(registry.MODULES)
LEVEL = 1 / 255


@pytest.fixture(autouse=True)
def _whole_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    """Or convolutions take products of ten bits, and the CPU does not."""
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)
    monkeypatch.setattr(torch.backends.cuda.matmul, "allow_tf32", False)


def observation(size: int, scale: float, turn: float, opened: float) -> Observation:
    """The mean face, turned by `turn` radians and with its mouth opened, in a smooth picture of `size`, which
    is another for each turn."""
    motion = registry.get("warp")().motion
    assert isinstance(motion, Motion)
    face = motion.mean + opened * motion.jaw
    cos, sin = float(np.cos(turn)), float(np.sin(turn))
    rotation = torch.tensor([[cos, 0, sin], [0, 1, 0], [-sin, 0, cos]])
    points = face @ rotation.T / scale + torch.tensor([0.5, 0.5, 0.0])
    axis = torch.linspace(0, 3, size) + 10 * turn
    waves = torch.stack([torch.outer(torch.sin(axis + phase), torch.cos(2 * axis)) for phase in range(3)])
    return Observation(
        image=(0.5 + 0.4 * waves)[None],
        points=points[None],
        to_frame=torch.tensor([[[float(size), 0, 0], [0, float(size), 0]]]),
        valid=torch.tensor([True]),
    )


class Colours(NamedTuple):
    rgb: Tensor


class Scene:
    """A generator on a device, with a portrait and a driver for each of several sessions."""

    def __init__(self, name: str, device: str, sessions: int = 1) -> None:
        given = weights.RANDOM if registry.get(name).spec.needs_weights else None
        self.generator: Any = weights.create(name, given).eval().to(device)
        spec = self.generator.spec
        source, rest = (
            map_code(lambda tensor: tensor.to(device), observation(size, scale, 0, 0))
            for size, scale in ((spec.source.size, 2.4), (spec.driving.size, 1.3))
        )
        self.driving = self.drivers(sessions, 0.2)
        self.appearance = cat_codes([self.generator.encode_appearance([source])] * sessions)
        self.neutral = cat_codes([self.generator.neutral([self.generator.encode_structure(rest)])] * sessions)
        self.controls = Controls.default(sessions, device=device)

    def drivers(self, sessions: int, turn: float) -> Observation:
        """A batch of drivers, each turned a little further than the last."""
        size = self.generator.spec.driving.size
        every = [observation(size, 1.3, turn * (1 + row) / sessions, 0.1) for row in range(sessions)]
        device = next(chain(self.generator.buffers(), self.generator.parameters())).device
        return map_code(lambda tensor: tensor.to(device), cat_codes(every))

    def draw(self, driving: Observation, controls: Controls) -> Tensor:
        """The frame path: B×3×H×W."""
        code = self.generator.encode_structure(driving)
        code = self.generator.transfer(code, self.neutral, self.appearance, controls)
        picture: Tensor = self.generator.decode(self.appearance, code)[0]
        return picture


@pytest.mark.parametrize("name", NAMES)
def test_it_draws_what_the_cpu_draws(name: str) -> None:
    pytest.importorskip("scipy")
    with torch.inference_mode():
        scenes = [Scene(name, device) for device in ("cpu", "cuda")]
        here, there = (scene.draw(scene.driving, scene.controls).cpu() for scene in scenes)
    difference = (here - there).abs()
    assert float(difference.mean()) < 0.2 * LEVEL
    assert float(difference.quantile(0.999)) < 2 * LEVEL


def assert_a_replay_draws_what_a_call_draws(scene: Scene, sessions: int) -> None:
    """For other inputs than it was captured with, and without touching those."""
    captured = Captured(scene.draw, scene.driving, scene.controls)
    before = captured(scene.driving, scene.controls).clone()
    given = scene.driving.image.clone()
    driving = scene.drivers(sessions, -0.2)
    controls = Controls.default(sessions, scene.driving.image.device, gain_pose=0.5)
    after, expected = captured(driving, controls), scene.draw(driving, controls)
    # What random weights make of another driver may be little, but it is more than rounding.
    change = float((expected - before).abs().max())
    assert change > 0.1 * LEVEL
    assert float((after - expected).abs().max()) < 0.1 * min(change, LEVEL)
    assert torch.equal(scene.driving.image, given)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("sessions", [1, 4])
def test_its_frame_path_can_be_captured(name: str, sessions: int) -> None:
    pytest.importorskip("scipy")
    with torch.inference_mode():
        assert_a_replay_draws_what_a_call_draws(Scene(name, "cuda", sessions), sessions)


def test_a_frame_path_in_half_precision_can_be_captured() -> None:
    """The weights' casts are part of the graph: it reads nothing that autocast frees when it ends."""
    with torch.inference_mode():
        scene = Scene("landmark_gan", "cuda")
        with torch.autocast("cuda", torch.float16):
            captured = Captured(scene.draw, scene.driving, scene.controls)
            expected = scene.draw(scene.drivers(1, -0.2), scene.controls)
        over = [torch.full((2**20,), 3.0, device="cuda") for _ in range(64)]  # what has been freed
        found = captured(scene.drivers(1, -0.2))
        del over
        assert float((found - expected).abs().max()) < LEVEL


@pytest.mark.parametrize("matrix", ["bt601", "bt709"])
@pytest.mark.parametrize("full", [False, True])
def test_colours_are_converted_in_a_graph_as_on_the_cpu(matrix: str, full: bool) -> None:
    first, second = torch.rand(2, 2, 3, 64, 96, generator=torch.Generator().manual_seed(4))
    captured = Captured(lambda code: to_i420(code[0], matrix, full), Colours(first.cuda()))
    for rgb in (first, second):
        levels = captured(Colours(rgb.cuda())).cpu().int()
        assert (levels - to_i420(rgb, matrix, full)).abs().max() <= 1
