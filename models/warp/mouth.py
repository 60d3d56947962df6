"""The inside of an opening mouth: the driver's own, or one that is nobody's."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.warp.codes import MOUTH, MOUTH_SPAN, SIZE, Appearance, Structure
from models.warp.layers import (
    bent,
    depth,
    from_upright,
    heights,
    lattice,
    paste,
    planar,
    sample,
    sample_patch,
    to_upright,
    window,
)
from models.warp.motion import Motion

WINDOW = (100, 124)  # pixels
SMALL = (MOUTH[0] // 2, MOUTH[1] // 2)  # a drawn mouth has nothing finer to show
SKIN = 0.08  # × the mouth's width: over which the lips' layer ends in the skin around them
GROWTH = 1.0  # pixels that the inside reaches under the lips
OPENING = (0.015, 0.05)  # gap / width beyond the source's at which the layer starts, and is whole
OWN_TEETH = (
    0.05,
    0.1,
)  # gap / width of the source's mouth at which its own teeth start to be kept, and are whole
RIM = 0.02  # × the mouth's width: how far from the lips a portrait's teeth are sure to be teeth
BRIGHTER, DARKER = (
    1.2,
    0.5,
)  # limits of the gain on the driver's mouth: teeth do not take after the skin beyond them
TINT = (0.75, 1.3)


class Mouth(nn.Module):
    """Draws in upright coordinates of the mouth's opening, whose corners lie at x = ∓½."""

    def __init__(self, motion: Motion) -> None:
        super().__init__()
        self.motion = motion
        self.patch: Tensor
        self.small: Tensor
        self.teeth: Tensor
        here = torch.device("cpu")
        self.register_buffer("patch", lattice(MOUTH, MOUTH_SPAN, here), persistent=False)
        self.register_buffer("small", lattice(SMALL, MOUTH_SPAN, here), persistent=False)
        self.register_buffer("teeth", torch.tensor([0.86, 0.80, 0.72]).view(1, 3, 1), persistent=False)

    def encode(self, image: Tensor, points: Tensor) -> Tensor:
        """B×3×MOUTH: the mouth, upright. image: B×3×H×W; points: B×478×≥2, its pixels."""
        at = self.motion.mouth_frame(points)
        return sample(image, from_upright(at, self.patch)).view(-1, 3, *MOUTH)

    def opened(self, points: Tensor, source: Tensor) -> Tensor:
        """B in [0, 1]: how much the avatar's mouth (landmarks) is open beyond the source's."""
        more = self.motion.mouth_gap(points) - self.motion.mouth_gap(source)
        return ((more - OPENING[0]) / (OPENING[1] - OPENING[0])).clamp(0, 1)

    def inside(
        self,
        structure: Structure,
        neutral: Structure,
        source: Structure,
        points: Tensor,
        unlike: Tensor,
        shown: Tensor,
    ) -> Tensor:
        """B×3×MOUTH: what is seen between the avatar's lips (points: its landmarks).

        unlike: B, 0 where driver and portrait are one person. shown: B, 1 where the driver's own mouth may be
        seen. A portrait that shows its teeth keeps them; whoever else drives it."""
        lips = torch.stack((self.motion.lip_upper, self.motion.lip_lower))
        at, source_at = self.motion.mouth_frame(points), self.motion.mouth_frame(source.points)
        edges = to_upright(at, planar(points[:, lips.flatten()])).view(-1, 2, *lips.shape)
        source_edges = to_upright(source_at, planar(source.points[:, lips.flatten()])).view(
            -1, 2, *lips.shape
        )

        dark, drawn = (
            F.interpolate(part, size=MOUTH, mode="bilinear", align_corners=False)
            for part in self._drawn(edges, source.skin)
        )
        driver = self._fitted(structure, points) * _gain(neutral.skin, source.skin)
        inside = drawn + shown.view(-1, 1, 1, 1) * (driver.clamp(0, 1) - drawn)

        size = at.along.square().sum(1).sqrt() / source_at.along.square().sum(1).sqrt().clamp_min(1e-6)
        teeth, is_teeth = self._own_teeth(source.mouth, edges, source_edges, size.view(-1, 1))
        gap = self.motion.mouth_gap(source.points)
        own = ((gap - OWN_TEETH[0]) / (OWN_TEETH[1] - OWN_TEETH[0])).clamp(0, 1) * torch.maximum(
            unlike, 1 - shown
        )
        own = own.view(-1, 1, 1, 1)
        below = dark + is_teeth * (teeth - dark)
        return inside + own * (below - inside)

    def draw_lips(self, rgb: Tensor, appearance: Appearance, structure: Structure) -> Tensor:
        """rgb (B×3×SIZE×SIZE) with the portrait's lips over it, edge by edge.

        The bent picture, whose cells are as wide as a lip, can't tell an upper lip from a lower one.
        """
        batch = rgb.shape[0]
        source = appearance.structure.points.expand(batch, -1, -1)
        at, source_at = self.motion.mouth_frame(structure.points), self.motion.mouth_frame(source)
        place = window(at.centre, WINDOW, (SIZE, SIZE))
        x, y = to_upright(at, place.points).unbind(1)
        lines = [
            to_upright(frame, planar(points[:, self.motion.lip_edges.flatten()]))
            for frame, points in ((at, structure.points), (source_at, source))
        ]
        ends = lines[0].view(batch, 2, 4, -1)[:, 0, 0]
        edges = heights(torch.cat(lines, 2).view(batch, 2, 8, -1), x).unbind(1)
        origin = bent(y, edges[:4], edges[4:])
        picture = appearance.picture.expand(batch, -1, -1, -1)
        colour = sample(picture, from_upright(source_at, torch.stack((x, origin), 1)))
        beside = torch.minimum(x - ends[:, :1], ends[:, -1:] - x)
        beyond = torch.minimum(y - edges[0], edges[3] - y) + SKIN
        return paste(rgb, place, colour, (torch.minimum(beside, beyond) / SKIN).clamp(0, 1))

    def draw_inside(self, rgb: Tensor, structure: Structure) -> Tensor:
        """The picture (B×3×SIZE×SIZE) with the mouth's inside between the lips."""
        at = self.motion.mouth_frame(structure.points)
        place = window(at.centre, WINDOW, (SIZE, SIZE))
        pixels = to_upright(at, place.points)
        upper, lower = (
            to_upright(at, planar(structure.points[:, lip]))
            for lip in (self.motion.lip_upper, self.motion.lip_lower)
        )
        below, above = depth(upper, lower, pixels)
        width = at.along.square().sum(1, keepdim=True).sqrt()
        between = ((torch.minimum(below, above) * width + GROWTH) / 3).clamp(0, 1)
        colour = sample_patch(structure.mouth, pixels, MOUTH_SPAN)
        return paste(rgb, place, colour, between * structure.opened.view(-1, 1))

    def _fitted(self, structure: Structure, points: Tensor) -> Tensor:
        """The driver's mouth, stretched upright to the avatar's opening."""
        tall = []
        for face in (structure.points, points):
            at = self.motion.mouth_frame(face)
            lips = torch.cat((face[:, self.motion.lip_upper], face[:, self.motion.lip_lower]), 1)
            tall.append(to_upright(at, planar(lips))[:, 1].square().mean(1).sqrt())
        stretch = (tall[0] / tall[1].clamp_min(1e-3)).clamp(0.6, 1.6).view(-1, 1)
        at_patch = torch.stack((self.patch[:, 0].expand(points.shape[0], -1), self.patch[:, 1] * stretch), 1)
        return sample_patch(structure.mouth, at_patch, MOUTH_SPAN).view_as(structure.mouth)

    def _drawn(self, edges: Tensor, skin: Tensor) -> tuple[Tensor, Tensor]:
        """Darkness with a tongue in it, and the same with upper teeth under the lip: B×3×SMALL each.

        edges: B×2×2×J, upper and lower lip; skin: B×3.
        """
        below, above = depth(edges[:, :, 0], edges[:, :, 1], self.small.expand(edges.shape[0], -1, -1))
        aside = (self.small[:, 0].abs() * 2).clamp(max=1)
        red, green, blue = skin.unbind(1)
        dark = torch.stack((red * 0.2, green * 0.11, blue * 0.11), 1).unsqueeze(2)
        flesh = torch.stack((red * 0.6, green * 0.33, blue * 0.33), 1).unsqueeze(2)
        tongue = ((0.16 - above) / 0.14).clamp(0, 1) * (1 - aside.square()) * 0.5
        colour = dark + tongue.unsqueeze(1) * (flesh - dark)
        # Teeth hang a third of the way down at most, in the shadow of the lip and fading to the corners.
        length = ((below + above) * 0.38).clamp(0.02, 0.13)
        teeth = ((length - below) / 0.025).clamp(0, 1) * (1 - aside.pow(3))
        shade = 0.45 + 0.4 * (below / 0.06).clamp(0, 1) * (1 - aside.square())
        white = (self.teeth * (0.35 + 0.65 * skin.unsqueeze(2))) * shade.unsqueeze(1)
        toothed = colour + teeth.unsqueeze(1) * (white - colour)
        return colour.view(-1, 3, *SMALL), toothed.view(-1, 3, *SMALL)

    def _own_teeth(
        self, mouth: Tensor, edges: Tensor, source_edges: Tensor, size: Tensor
    ) -> tuple[Tensor, Tensor]:
        """The portrait's own teeth, which hang from its upper lip as they did: B×3×MOUTH, and where they are.

        mouth: B×3×MOUTH, the portrait's; size: B×1, the avatar's mouth width over the portrait's.
        """
        batch = edges.shape[0]
        x, y = self.patch.expand(batch, -1, -1).unbind(1)
        hung = (y - heights(edges, x)[:, 0]) * size
        x = x * size
        upper, lower = heights(source_edges.expand(batch, -1, -1, -1), x).unbind(1)
        at = torch.stack((x, torch.minimum(upper + hung, lower - RIM)), 1)
        teeth = sample_patch(mouth.expand(batch, -1, -1, -1), at, MOUTH_SPAN).view(-1, 3, *MOUTH)
        inside = torch.minimum((lower - upper - 2 * RIM - hung) / RIM, (0.48 - x.abs()) / RIM)
        return teeth, inside.clamp(0, 1).view(-1, 1, *MOUTH)


def _gain(driver: Tensor, source: Tensor) -> Tensor:
    """B×3×1×1: what makes the driver's mouth fit the portrait's light. Both B×3, colours of their skin."""
    ratio = (source + 0.03) / (driver + 0.03)
    light = ratio.mean(1, keepdim=True)
    tint = (ratio / light).clamp(*TINT)
    return (light.pow(0.9).clamp(DARKER, BRIGHTER) * tint).view(-1, 3, 1, 1)
