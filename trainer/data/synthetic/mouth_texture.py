"""Teeth, gums, tongue and the inside of the mouth, and lashes: the rectangles MOUTH and LASHES."""

from functools import cache

import torch
from torch import Tensor

from trainer.data.synthetic.eyes import LASHES
from trainer.data.synthetic.grain import grain_at
from trainer.data.synthetic.mouth import BAG, LOWER_TEETH, RECTANGLE, TONGUE, UPPER_TEETH
from trainer.data.synthetic.parts import column, smooth, texels, window

# Breadth of teeth in mm, from the middle backwards (mesiodistal crown diameters; R. Wheeler, Dental Anatomy).
UPPER_MM = (8.5, 6.5, 7.5, 7.0, 7.0, 10.0, 9.0)
LOWER_MM = (5.0, 5.5, 7.0, 7.0, 7.0, 11.0, 10.5)
# Shares of a strip's height at which the biting edge, and the gum, lie; counted from the gum's side.
GUM, EDGE = 0.42, 0.97


@cache
def _teeth(size: int, rows: int, lower: bool, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    """Of a strip: how far each column lies from its tooth's sides (mm), the tooth's number, and the height (0 at the
    gum's side, 1 at the biting edge)."""
    breadth = LOWER_MM if lower else UPPER_MM
    u = (torch.arange(size, device=device) + 0.5) / size
    across = (u - 0.5).abs() * 2 * sum(breadth)
    ends = torch.tensor([0.0, *breadth], device=device).cumsum(0)
    number = (across[:, None] >= ends[None, 1:]).sum(1).clamp(max=len(breadth) - 1)
    sides = torch.minimum(across - ends[number], ends[number + 1] - across)
    number = torch.where(u < 0.5, number, number + len(breadth))
    height = (torch.arange(rows, device=device) + 0.5) / rows
    return sides, number, (1 - height if lower else height)


def paint_mouth(teeth: Tensor, gum: Tensor, uneven: Tensor, grain: Tensor, atlas: Tensor) -> None:
    """Write the rectangle MOUTH of B×4×A×A.

    teeth, gum: B×3, linear reflectance; uneven: B in [0, 1], how unlike one another the teeth are; grain: B×R×C.
    """
    target = window(atlas, RECTANGLE)
    size = target.shape[-1]
    target[:, 3] = 1.0
    v, u = texels(size, size, atlas.device)
    lumps = grain_at(grain, v.expand(len(gum), size, size) * 9, u.expand(len(gum), size, size) * 9)
    flesh = gum[..., None, None] * (0.85 + 0.3 * lumps)[:, None]
    for (low, high), lower in ((UPPER_TEETH, False), (LOWER_TEETH, True)):
        first, last = round(low * size), round(high * size)
        target[:, :3, first:last] = _strip(
            teeth, flesh[:, :, first:last], uneven, grain, size, last - first, lower
        )
    first, last = round(TONGUE[0] * size), round(TONGUE[1] * size)
    middle = torch.exp(-0.5 * ((u - 0.5) / 0.03) ** 2)
    red = gum.new_tensor((1.05, 0.75, 0.8))[None, :, None, None]
    target[:, :3, first:last] = flesh[:, :, first:last] * red * (1 - 0.25 * middle)
    first = round(BAG[0] * size)
    depth = torch.linspace(0, 1, size - first, device=atlas.device)[:, None]
    target[:, :3, first:] = flesh[:, :, first:] * (0.9 - 0.6 * depth)


def _strip(
    teeth: Tensor, flesh: Tensor, uneven: Tensor, grain: Tensor, size: int, rows: int, lower: bool
) -> Tensor:
    """B×3×rows×size."""
    sides, number, height = _teeth(size, rows, lower, teeth.device)
    own = grain[:, 5][:, number % grain.shape[2]]  # B×size: each tooth's own shade
    # Teeth are darker and yellower to the gum, clear at the edge, and dark between one another.
    up = height[None, :, None]
    shade = 1 + column(uneven) * 0.35 * (own - 0.5)[:, None, :]
    shade = shade * (0.9 + 0.1 * smooth(GUM, 0.75, up))
    gap = smooth(0.0, 0.55, sides + 0.12)[None, None, :]
    shade = shade * (0.35 + 0.65 * gap)
    yellow = teeth.new_tensor((0.0, 0.06, 0.16))[None, :, None, None]
    white = teeth[..., None, None] * shade[:, None] * (1 - yellow * (1 - smooth(GUM, 0.8, up))[:, None])
    scallop = GUM - 0.07 * smooth(0.0, 2.5, sides)[None, None, :] + 0.04
    covered = smooth(-0.015, 0.015, up - scallop)[:, None]
    return (flesh + (white - flesh) * covered).clamp(0.002, 0.95)


def paint_lashes(colour: Tensor, density: Tensor, grain: Tensor, atlas: Tensor) -> None:
    """Write the rectangle LASHES of B×4×A×A: hairs that rise from its lower edge. colour: B×3; density: B in [0, 1]."""
    target = window(atlas, LASHES)
    height, width = target.shape[2:]
    v, u = texels(height, width, atlas.device)
    up = (1 - v).expand(height, width)[None].expand(len(colour), -1, -1)
    across = u.expand(height, width)[None].expand(len(colour), -1, -1)
    bent = across + 0.012 * torch.sin(across * 40) * up
    strand = grain_at(grain, up * 0.5, bent * 60)
    long = 0.45 + 0.55 * grain_at(grain, 0 * up + 9.5, bent * 30)
    cover = smooth(0.50, 0.75, strand + 0.25 * (column(density) - 0.6)) * (1 - smooth(0.45, 1.0, up / long))
    root = smooth(0.14, 0.0, up) * (0.2 + 0.4 * column(density))  # a dark line where they grow
    target[:, :3] = colour[..., None, None]
    target[:, 3] = torch.maximum(cover, root).clamp(0, 1)
