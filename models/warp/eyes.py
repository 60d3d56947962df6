"""Lids that close over eyeballs that stay round. The bent picture knows nothing of either: the lids are no
control points of it, because a closing eye would fold it.
"""

import torch
from torch import Tensor

from models.warp.codes import EYE_SPAN, IRIS_SPAN, SIZE, Appearance, Structure
from models.warp.layers import (
    Frame,
    from_upright,
    heights,
    paste,
    planar,
    sample,
    sample_patch,
    stretched,
    to_upright,
    window,
)
from models.warp.motion import Motion

WINDOW = (56, 80)  # pixels
REACH = 0.72  # half width of the layer, × the eye's width
LASHES = 0.06  # × the eye's width: the strip along a lid's edge that is not stretched
LID_RIM = 0.03  # × the eye's width: the lower landmarks lie that far inside the white
EDGE = 1.5  # pixels over which lids and irises end


def draw_eyes(motion: Motion, rgb: Tensor, appearance: Appearance, structure: Structure) -> Tensor:
    """rgb (B×3×SIZE×SIZE) with both eyes on it. Both eyes of a batch are one
    batch of 2·B.
    """
    batch = rgb.shape[0]
    source = appearance.structure.points.expand(batch, -1, -1)
    at, source_at = motion.eye_frames(structure.points), motion.eye_frames(source)
    place = window(at.centre, WINDOW, (SIZE, SIZE))
    pixels = to_upright(at, place.points)
    x, y = pixels.unbind(1)
    width = at.along.square().sum(1, keepdim=True).sqrt()
    lines = [
        to_upright(frame, planar(points[:, motion.eye_edges].view(2 * batch, -1, 3)))
        for frame, points in ((at, structure.points), (source_at, source))
    ]
    edges = heights(torch.cat(lines, 2).view(2 * batch, 2, 8, -1), x)
    hollow, upper, lower, cheek, source_hollow, source_upper, source_lower, source_cheek = edges.unbind(1)

    above = stretched(upper - y, upper - hollow, source_upper - source_hollow, LASHES)
    below = stretched(y - lower, cheek - lower, source_cheek - source_lower, LASHES)
    within = (y - upper) / (lower - upper).clamp_min(1e-3)  # 0 at the upper lid, 1 at the lower
    lid = torch.where(y < (upper + lower) / 2, source_upper - above, source_lower + LID_RIM + below)
    bare = source_upper + within.clamp(0, 1) * (source_lower - source_upper)
    origins = torch.stack((torch.stack((x, lid), 1), torch.stack((x, bare), 1)), 1)  # 2·B×2×2×K
    from_source = from_upright(source_at, origins.transpose(1, 2).flatten(2))
    each = from_source.view(batch, 2, 2, -1).transpose(1, 2).flatten(2)  # one look-up a picture
    picture = appearance.picture.expand(batch, -1, -1, -1)
    skin, bare = sample(picture, each).view(batch, 3, 2, 2, -1).transpose(1, 2).flatten(0, 1).unbind(2)

    # Where a portrait shows too little of an eye to draw a ball, what it shows lies between the lids.
    seen = appearance.eyes_seen.expand(batch, -1).reshape(-1, 1, 1)
    ball = bare + seen * (_ball(motion, appearance, structure, pixels, at, width) - bare)
    beyond = (x.abs() - 0.5).clamp_min(0)
    ajar = ((torch.minimum(y - upper, lower - y) - beyond) * width / EDGE + 0.3).clamp(0, 1)
    ajar = ajar * ((lower - upper) * width / 2).clamp(0, 1)  # lids that met leave no white line
    colour = skin + ajar.unsqueeze(1) * (ball - skin)
    inside = torch.minimum(torch.minimum(y - hollow, cheek - y), REACH - x.abs()) * width / (2 * EDGE)
    return paste(rgb, place, colour, inside.clamp(0, 1))


def _ball(
    motion: Motion, appearance: Appearance, structure: Structure, pixels: Tensor, at: Frame, width: Tensor
) -> Tensor:
    """2·B×3×K: the eyeballs at upright coordinates (2·B×2×K). width: 2·B×1, of the eyes in pixels."""
    batch = structure.points.shape[0]
    radius = appearance.iris_radius.expand(batch, -1).reshape(-1, 1)
    centre = structure.points[:, motion.irises[:, 0], :2].reshape(-1, 2, 1)
    offset = pixels - to_upright(at, centre)
    sclera = appearance.sclera.expand(batch, -1, -1, -1, -1).flatten(0, 1)
    iris = appearance.iris.expand(batch, -1, -1, -1, -1).flatten(0, 1)
    white = sample_patch(sclera, pixels, EYE_SPAN)
    coloured = sample_patch(iris, offset / radius.unsqueeze(2), 2 * IRIS_SPAN)
    disc = ((radius - offset.square().sum(1).sqrt()) * width / EDGE + 0.5).clamp(0, 1)
    return white + disc.unsqueeze(1) * (coloured - white)
