"""How a portrait lies on the canvas."""

import numpy as np
import pytest
import torch

from realtime.framing import Canvas, Framing


@pytest.mark.parametrize("canvas", [Canvas(512, 512), Canvas(640, 360), Canvas(300, 300)], ids=str)
def test_the_portraits_edge_is_as_bright_as_the_rest(canvas: Canvas) -> None:
    """The crop reaches to the picture's own edge, by whole and by broken pixels."""
    picture = np.full((400, 400, 3), 200, np.uint8)
    to_frame = np.array([[360.0, 0, 40.0], [0, 360.0, 0.0]])
    base = Framing(picture, to_frame, 512, canvas).base[0] * 255
    levels = set(base.round().int().unique().tolist())
    assert levels <= {0, 200}, "black beside the portrait, its own colour everywhere on it"
    assert (base.amax((0, 1)) > 0).any()


@pytest.mark.parametrize("canvas", [None, Canvas(512, 512), Canvas(640, 360)], ids=str)
def test_the_avatar_lies_where_alpha_says_in_its_own_colours(canvas: Canvas | None) -> None:
    picture = np.full((400, 400, 3), (200, 100, 50), np.uint8)
    framing = Framing(picture, np.array([[360.0, 0, 20.0], [0, 360.0, 20.0]]), 512, canvas)
    avatar = torch.tensor([10.0, 20.0, 30.0]).view(1, 3, 1, 1).expand(-1, -1, 512, 512) / 255
    alpha = torch.zeros(1, 1, 512, 512)
    alpha[..., :256] = 1
    drawn = framing.composite(avatar, alpha)
    height, width = drawn.shape[:2]
    assert drawn[height // 2, width // 2 - 20].tolist() == [10, 20, 30]
    assert drawn[height // 2, width // 2 + 20].tolist() == [200, 100, 50]
    assert drawn.dtype == np.uint8
    assert drawn.flags["C_CONTIGUOUS"], "as the video encoder wants it"
    if canvas is None:
        assert drawn.shape == picture.shape
        assert drawn[5, 5].tolist() == [200, 100, 50], "beyond the crop is the portrait"


@pytest.mark.parametrize("side", [256, 512, 64, 300])
def test_a_square_canvas_shows_the_crop_whatever_its_size(side: int) -> None:
    picture = np.zeros((400, 400, 3), np.uint8)
    picture[100:200, 100:200] = (200, 100, 50)
    crop = np.array([[100.0, 0, 100.0], [0, 100.0, 100.0]])
    framing = Framing(picture, crop, 256, Canvas(side, side))
    assert framing.region == (slice(0, side), slice(0, side))
    margin = round(side / 100) + 1  # what is scaled mixes with its neighbours
    inner = (framing.base[0] * 255).permute(1, 2, 0)[margin:-margin, margin:-margin]
    assert torch.allclose(inner, torch.tensor([200.0, 100, 50]).expand_as(inner), atol=0.5)
    drawn = framing.composite(torch.full((1, 3, 256, 256), 10 / 255), torch.ones(1, 1, 256, 256))
    assert (drawn[margin:-margin, margin:-margin] == 10).all()
