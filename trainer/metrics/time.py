"""Does a drawn clip flicker?

Frames are T×3×H×W in [0, 1], flows T−1×2×H×W as `models.layers.flow_warp` takes them: where in frame t + 1
each pixel of frame t is found, as an offset in halves of the picture's width and height, x before y.
"""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from models.layers import flow_warp, identity_grid
from trainer.metrics.pictures import mean_inside

LEVELS = 255


class Flicker(NamedTuple):
    """What changes from frame to frame although, by the flow, it should not: T−1 float64 each."""

    drawn: Tensor  # of the drawn clip
    truth: Tensor  # of the true clip: light that changes, what is uncovered, and errors of the flow

    @property
    def excess(self) -> Tensor:
        """What drawing added; below 0 where the drawn clip is the stiller one, as a blurred one is."""
        return self.drawn - self.truth


def flicker(frames: Tensor, truth: Tensor, flow: Tensor, mask: Tensor | None = None) -> Flicker:
    """Mean |frame t + 1, warped back by the truth's flow − frame t| of a drawn clip and of the true one.

    Pixels that the flow finds outside frame t + 1, or that have none (NaN), don't count. mask: T−1×1×H×W in
    [0, 1]; only what is inside counts. Raises ValueError where shapes don't fit, and for a pair of frames of
    which no pixel counts.
    """
    if frames.ndim != 4 or frames.shape != truth.shape or len(frames) < 2:
        raise ValueError(
            f"frames {tuple(frames.shape)}, truth {tuple(truth.shape)}: both must be the same T×C×H×W, T ≥ 2"
        )
    expected = (len(frames) - 1, 2, *frames.shape[2:])
    if flow.shape != expected:
        raise ValueError(f"a flow of {tuple(flow.shape)}: expected {expected}")
    target = identity_grid(flow.shape[2], flow.shape[3], flow) + flow.float()
    inside = (target.abs() <= 1).all(1, keepdim=True).double()
    if mask is not None:
        if mask.shape != inside.shape:
            raise ValueError(f"a mask of {tuple(mask.shape)}: expected {tuple(inside.shape)}")
        inside = inside * mask
    return Flicker(*(_change(clip, flow, inside) for clip in (frames, truth)))


def estimated_flow(frames: Tensor) -> Tensor:
    """T−1×2×H×W float32 on the CPU: Farnebäck's flow from each frame to the next, for clips whose flow isn't
    known. It is smooth where nothing is to be seen and wrong where things are uncovered."""
    import cv2

    height, width = frames.shape[2:]
    grey = (frames.double().mean(1).clamp(0, 1) * LEVELS).round().byte().cpu().numpy()
    found = [
        cv2.calcOpticalFlowFarneback(
            before,
            after,
            np.zeros((height, width, 2), np.float32),
            pyr_scale=0.5,
            levels=3,
            winsize=15,
            iterations=3,
            poly_n=5,
            poly_sigma=1.2,
            flags=0,
        )
        for before, after in zip(grey[:-1], grey[1:], strict=True)
    ]
    pixels = torch.from_numpy(np.stack(found)).permute(0, 3, 1, 2)
    return pixels * pixels.new_tensor([2 / width, 2 / height]).view(1, 2, 1, 1)


def _change(clip: Tensor, flow: Tensor, inside: Tensor) -> Tensor:
    clip = clip.double()
    change = (flow_warp(clip[1:], flow) - clip[:-1]).abs()
    return mean_inside(torch.where(inside > 0, change, 0.0), inside)
