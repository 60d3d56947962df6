import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from trainer.metrics.time import estimated_flow, flicker

SIDE = 64
STEP = 2  # pixels a frame, to the right


def texture(height: int = SIDE, width: int = 2 * SIDE) -> Tensor:
    """1×3×height×width, smooth."""
    coarse = torch.rand(1, 3, height // 8, width // 8, generator=torch.Generator().manual_seed(0))
    return F.interpolate(coarse, (height, width), mode="bicubic", align_corners=False).clamp(0, 1)


def moving(frames: int = 4) -> tuple[Tensor, Tensor]:
    """A clip of a texture that moves, T×3×64×64, and its flow."""
    wide = texture()
    clip = torch.cat([wide[..., SIDE - STEP * t : 2 * SIDE - STEP * t] for t in range(frames)])
    flow = torch.zeros(frames - 1, 2, SIDE, SIDE)
    flow[:, 0] = STEP * 2 / SIDE
    return clip, flow


def test_what_moves_along_the_flow_does_not_flicker() -> None:
    """Columns that have left the picture don't count."""
    clip, flow = moving()
    found = flicker(clip, clip, flow)
    assert found.truth.shape == (3,)
    assert float(found.drawn.max()) < 1e-5
    still = flicker(clip, clip, torch.zeros_like(flow))
    assert float(still.drawn.min()) > 0.005


def test_a_change_of_brightness_is_counted() -> None:
    """A frame a tenth brighter: 0.1 to it and 0.1 from it. Where the truth is, too, nothing is in excess."""
    clip, flow = moving()
    clip = 0.8 * clip
    bright = clip.clone()
    bright[1] += 0.1
    found = flicker(bright, clip, flow)
    assert found.drawn.tolist() == pytest.approx([0.1, 0.1, 0], abs=1e-5)
    assert found.excess.tolist() == pytest.approx([0.1, 0.1, 0], abs=1e-5)
    assert flicker(bright, bright, flow).excess.tolist() == [0, 0, 0]
    assert flicker(clip, bright, flow).excess.tolist() == pytest.approx([-0.1, -0.1, 0], abs=1e-5)


def test_only_the_mask_counts() -> None:
    clip, flow = moving()
    harmed = clip.clone()
    harmed[1, ..., : SIDE // 2] = 0
    mask = torch.zeros(3, 1, SIDE, SIDE)
    mask[..., SIDE // 2 :] = 1
    assert float(flicker(harmed, clip, flow, mask).excess.abs().max()) < 1e-5
    assert float(flicker(harmed, clip, flow).excess[0]) > 0.1


def test_pixels_without_a_flow_do_not_count() -> None:
    clip, flow = moving()
    harmed = clip.clone()
    harmed[1, ..., : SIDE // 2] = 0
    flow[..., : SIDE // 2] = math.nan
    assert float(flicker(harmed, clip, flow).excess.abs().max()) < 1e-5


def test_the_flow_is_found() -> None:
    """Within a quarter of a pixel, away from the border."""
    clip, flow = moving()
    found = estimated_flow(clip)
    assert found.shape == flow.shape
    off = (found - flow)[..., 12:-12, 12:-12] * SIDE / 2
    assert float(off.abs().median()) < 0.1
    assert float(off.abs().amax()) < 0.5


def test_units_of_a_picture_that_is_no_square() -> None:
    """Up by two pixels in a picture that is twice as wide as it is high."""
    tall = texture(SIDE, SIDE)
    found = estimated_flow(torch.cat((tall[..., :32, :], tall[..., STEP : 32 + STEP, :])))
    x, y = found[0, :, 12:-12, 12:-12].flatten(1).median(1).values.tolist()
    assert y == pytest.approx(-STEP * 2 / 32, abs=0.02)
    assert x == pytest.approx(0, abs=0.005)


@pytest.mark.parametrize(
    ("frames", "flow", "mask", "said"),
    [
        (torch.zeros(1, 3, 8, 8), torch.zeros(0, 2, 8, 8), None, "T ≥ 2"),
        (torch.zeros(3, 3, 8, 8), torch.zeros(3, 2, 8, 8), None, "a flow of"),
        (torch.zeros(3, 3, 8, 8), torch.zeros(2, 2, 8, 8), torch.ones(3, 1, 8, 8), "a mask of"),
        (torch.zeros(3, 3, 8, 8), torch.full((2, 2, 8, 8), 3.0), None, "row 0 is empty"),
        (torch.zeros(3, 3, 8, 8), torch.full((2, 2, 8, 8), math.nan), None, "row 0 is empty"),
    ],
)
def test_what_is_refused(frames: Tensor, flow: Tensor, mask: Tensor | None, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        flicker(frames, frames, flow, mask)
