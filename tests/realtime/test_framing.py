"""How a portrait lies on the canvas."""

import numpy as np
import pytest

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
