"""Every generator on a CUDA device: it draws what it draws on the CPU, and its frame path can be captured.

Needs nothing but torch, numpy and scipy: the face is the mean face in a smooth picture.
"""

from itertools import chain
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from models import registry, weights
from models.contract import Controls, Observation, cat_codes, map_code
from models.warp.motion import Motion

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device"),
]
NAMES = sorted(registry.MODULES)
LEVEL = 1 / 255


def observation(size: int, scale: float, turn: float, opened: float) -> Observation:
    """The mean face, turned by `turn` radians and with its mouth opened, in a smooth picture of `size`."""
    motion = registry.get("warp")().motion
    assert isinstance(motion, Motion)
    face = motion.mean + opened * motion.jaw
    cos, sin = float(np.cos(turn)), float(np.sin(turn))
    rotation = torch.tensor([[cos, 0, sin], [0, 1, 0], [-sin, 0, cos]])
    points = face @ rotation.T / scale + torch.tensor([0.5, 0.5, 0.0])
    axis = torch.linspace(0, 3, size)
    waves = torch.stack([torch.outer(torch.sin(axis + phase), torch.cos(2 * axis)) for phase in range(3)])
    return Observation(
        image=(0.5 + 0.4 * waves)[None],
        points=points[None],
        to_frame=torch.tensor([[[float(size), 0, 0], [0, float(size), 0]]]),
        valid=torch.tensor([True]),
    )


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

    def draw(self) -> Tensor:
        """The frame path: B×3×H×W."""
        code = self.generator.encode_structure(self.driving)
        code = self.generator.transfer(code, self.neutral, self.appearance, self.controls)
        picture: Tensor = self.generator.decode(self.appearance, code)[0]
        return picture


@pytest.mark.parametrize("name", NAMES)
def test_it_draws_what_the_cpu_draws(name: str) -> None:
    pytest.importorskip("scipy")
    with torch.inference_mode():
        here, there = Scene(name, "cpu").draw(), Scene(name, "cuda").draw().cpu()
    difference = (here - there).abs()
    assert float(difference.mean()) < 0.2 * LEVEL
    assert float(difference.quantile(0.999)) < 2 * LEVEL


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("sessions", [1, 4])
def test_its_frame_path_can_be_captured(name: str, sessions: int) -> None:
    pytest.importorskip("scipy")
    with torch.inference_mode():
        scene = Scene(name, "cuda", sessions)
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(3):
                scene.draw()
        torch.cuda.current_stream().wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            captured = scene.draw()
        before = captured.clone()
        # What is uploaded into the same memory is what the replay sees.
        map_code(lambda to, new: to.copy_(new), scene.driving, scene.drivers(sessions, -0.2))
        scene.controls.gain_pose.fill_(0.5)
        graph.replay()
        torch.cuda.synchronize()
        assert float((captured - before).abs().max()) > 10 * LEVEL
        assert float((captured - scene.draw()).abs().max()) < LEVEL
