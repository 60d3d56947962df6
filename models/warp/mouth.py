"""The lips, and the inside of an opening mouth: the driver's own, or one that is nobody's."""

import torch
from torch import Tensor, nn

from models.warp.codes import MOUTH, MOUTH_SPAN, SIZE, Appearance, Structure
from models.warp.features import MOUTH as FEATURE
from models.warp.features import FeatureReader, Features, Frame, from_upright, heights, parts
from models.warp.layers import Layer, Window, bent, lattice, look_up, patch_units, sample

WINDOW = (100, 124)  # pixels
SKIN = 0.08  # × the mouth's width: over which the lips' layer ends in the skin around them
GROWTH = 1.0  # pixels that the inside reaches under the lips
OPENING = (0.015, 0.05)  # gap / width beyond the source's at which the layer starts, and is whole
OWN_TEETH = (
    0.05,
    0.1,
)  # gap / width of the source's mouth at which its own teeth start to be kept, and are whole
RIM = 0.02  # × the mouth's width: how far from the lips a portrait's teeth are sure to be teeth
CAVITY = 0.15  # × the mouth's width: from where on it grows dark behind the lips, until twice as far
TEETH = 0.9  # how much drawn teeth stand out
SHADOW = 0.65  # how bright teeth are in the shadow of the lip and beside, × where they are lit
BRIGHTER, DARKER = (
    1.2,
    0.5,
)  # limits of the gain on the driver's mouth: teeth do not take after the skin beyond them
TINT = (0.75, 1.3)


class Mouth(nn.Module):
    """Draws in upright coordinates of the mouth's opening, whose corners lie about x = ∓½."""

    def __init__(self, reader: FeatureReader) -> None:
        super().__init__()
        self.reader = reader
        self.window = Window(WINDOW, SIZE)
        self.patch: Tensor
        self.columns: Tensor
        self.rows: Tensor
        self.aside: Tensor
        self.units: Tensor
        self.middle: Tensor
        self.corner: Tensor
        self.darkness: Tensor
        self.teeth: Tensor
        patch = lattice(MOUTH, MOUTH_SPAN)
        columns = patch[:, 0, : MOUTH[1]]
        for name, value in {
            "patch": patch,
            "columns": columns,  # 1×width: the patch's x
            "rows": patch[:, 1, :: MOUTH[1]].unsqueeze(2),  # 1×height×1: its y
            "aside": (columns.abs() * 2).clamp(max=1).unsqueeze(1),  # 1×1×width: 0 in the middle, 1 beside
            "units": patch_units(MOUTH, MOUTH_SPAN),
            # Mean colours of five speakers' mouths, × their skin, a sixth darker so that lips stand out;
            # and of what no light reaches
            "middle": _colour(0.56, 0.48, 0.53),
            "corner": _colour(0.46, 0.31, 0.29),
            "darkness": _colour(0.2, 0.11, 0.11),
            "teeth": _colour(0.86, 0.80, 0.72),
        }.items():
            self.register_buffer(name, value, persistent=False)

    def place(self, frames: Frame) -> Tensor:
        """B×2×(h·w): where the pixels of the mouth's patch lie in the picture that the frames are of."""
        return from_upright(frames.of(FEATURE), self.patch)

    def opened(self, gap: Tensor, source_gap: Tensor) -> Tensor:
        """B in [0, 1]: how much the avatar's mouth is open beyond the source's; gaps in mouth widths."""
        return ((gap - source_gap - OPENING[0]) / (OPENING[1] - OPENING[0])).clamp(0, 1)

    def inside(
        self,
        structure: Structure,
        neutral: Structure,
        appearance: Appearance,
        points: Tensor,
        unlike: Tensor,
        shown: Tensor,
        gap: Tensor,
    ) -> Tensor:
        """B×3×MOUTH: what is seen between the avatar's lips (points: its landmarks).

        unlike: B, 0 where driver and portrait are one person. shown: B, 1 where the driver's own mouth may be
        seen. gap: B, of the portrait's mouth. A portrait that shows its teeth keeps them, whoever else drives
        it."""
        source, batch = appearance.structure, points.shape[0]
        frames, edges = self.reader.edges(torch.cat((structure.points.expand_as(points), points)))
        driver_lips, lips = parts(_inner(edges), 2)
        size = frames.width[batch:, 2] / appearance.features.frame.width[:, 2] * (2 / SIZE)  # B×1
        hung = self.rows - heights(lips, self.columns).unsqueeze(2)  # B×2×h×w: below upper and lower lip
        dark, drawn = self._drawn(hung, lips, source.skin)
        stretch = _tall(driver_lips) / _tall(lips).clamp_min(1e-3)
        driver = self._fitted(structure.mouth, stretch) * _gain(neutral.skin, source.skin)
        inside = torch.lerp(drawn, driver.clamp(0, 1), shown.view(-1, 1, 1, 1))

        source_lips = _inner(appearance.features.edges).expand(batch, -1, -1, -1)
        teeth, is_teeth = self._own_teeth(source.mouth, hung[:, 0], source_lips, size)
        own = ((gap - OWN_TEETH[0]) / (OWN_TEETH[1] - OWN_TEETH[0])).clamp(0, 1)
        own = own * torch.maximum(unlike, 1 - shown)
        return torch.lerp(inside, torch.lerp(dark, teeth, is_teeth), own.view(-1, 1, 1, 1))

    def draw(self, picture: Tensor, source: Features, structure: Structure, features: Features) -> Layer:
        """The lips, edge by edge, and what is between them, over an avatar with these features.

        The bent picture, whose cells are as wide as a lip, can't tell an upper lip from a lower one. picture:
        B×3×SIZE×SIZE, the portrait in the avatar's light; source: its features.
        """
        at = features.frame.of(FEATURE)
        place = self.window.place(at)
        x, y = place.points.unbind(1)
        edges = look_up(torch.cat((features.heights[:, 2], source.heights[:, 2]), 1), x)
        ends = features.edges[:, 2, 0]  # B×4×13: the edges' x

        origin = bent(y, edges[:, :4], edges[:, 4:])
        lips = sample(picture, from_upright(source.frame.of(FEATURE), torch.stack((x, origin), 1)))
        beside = torch.minimum(x - ends[:, 0, :1], ends[:, 0, -1:] - x)
        beyond = torch.minimum(y - edges[:, 0], edges[:, 3] - y) + SKIN
        on_lips = ((torch.minimum(beside, beyond) / SKIN).clamp(0, 1) * self.window.fade).unsqueeze(1)

        # Beyond the inner corners it is outside, and twice as far, so that the opening ends there.
        outside = torch.maximum(ends[:, 1, 1:2] - x, x - ends[:, 1, -2:-1]).clamp_min(0)
        deep = torch.minimum(y - edges[:, 1], edges[:, 2] - y) - 2 * outside
        between = (deep * (at.width / 3) + GROWTH / 3).clamp(0, 1) * structure.opened.view(-1, 1)
        between = (between * self.window.fade).unsqueeze(1)
        inside = sample(structure.mouth, place.points * self.units)
        return Layer(
            place.pixels, torch.lerp(lips * on_lips, inside, between), on_lips + between * (1 - on_lips)
        )

    def _fitted(self, mouth: Tensor, stretch: Tensor) -> Tensor:
        """The driver's mouth, stretched upright to the avatar's opening (B×1×1: his height over its)."""
        at = torch.cat(
            (self.patch[:, :1].expand(stretch.shape[0], -1, -1), self.patch[:, 1:] * stretch.clamp(0.6, 1.6)),
            1,
        )
        return sample(mouth.expand(at.shape[0], -1, -1, -1), at * self.units).view(-1, 3, *MOUTH)

    def _drawn(self, hung: Tensor, lips: Tensor, skin: Tensor) -> tuple[Tensor, Tensor]:
        """Nobody's mouth, and the same with upper teeth under the lip: B×3×MOUTH each.

        hung: B×2×MOUTH, how far below the upper and the lower lip; lips: B×2×2×J, their edges; skin: B×3.
        """
        x = self.columns.unsqueeze(1)
        ends = lips[:, 0, 0]
        outside = 2 * torch.maximum(ends[:, :1, None] - x, x - ends[:, -1:, None]).clamp_min(0)  # B×1×w
        below, above = hung[:, 0] - outside, -hung[:, 1] - outside
        # Behind lips that speak are teeth and tongue, blurred to one colour; deep in a wide mouth it is dark.
        deep = (torch.minimum(below, above) / CAVITY - 1).clamp(0, 1) * (1 - self.aside.square())
        skin = skin.view(-1, 3, 1, 1)
        flesh = skin * torch.lerp(self.middle, self.corner, self.aside)
        colour = torch.lerp(flesh, skin * self.darkness, deep.unsqueeze(1))
        # Teeth hang a third of the way down at most, in the shadow of the lip and fading to the corners.
        length = ((below + above) * 0.38).clamp(0.02, 0.13)
        is_teeth = ((length - below) / 0.025).clamp(0, 1) * (1 - self.aside.pow(3))
        lit = (below / 0.06).clamp(0, 1) * (1 - self.aside.square())
        shade = SHADOW + (1 - SHADOW) * lit
        white = self.teeth * (0.35 + 0.65 * skin) * shade.unsqueeze(1)
        return colour, torch.lerp(colour, white, TEETH * is_teeth.unsqueeze(1))

    def _own_teeth(
        self, mouth: Tensor, hung: Tensor, source_lips: Tensor, size: Tensor
    ) -> tuple[Tensor, Tensor]:
        """The portrait's own teeth, which hang from its upper lip as they did: B×3×MOUTH, and where they are.

        mouth: B×3×MOUTH, the portrait's; hung: B×MOUTH, below the avatar's upper lip; size: B×1, the avatar's
        mouth width over the portrait's.
        """
        x = self.columns * size
        upper, lower = heights(source_lips, x).unsqueeze(2).unbind(1)  # B×1×w
        hung = hung * size.unsqueeze(2)
        y = torch.minimum(upper + hung, lower - RIM)
        at = torch.stack((x.unsqueeze(1).expand_as(y), y), 1).flatten(2)
        teeth = sample(mouth.expand(at.shape[0], -1, -1, -1), at * self.units).view(-1, 3, *MOUTH)
        inside = torch.minimum(lower - upper - 2 * RIM - hung, (0.48 - x.abs()).unsqueeze(1)) / RIM
        return teeth, inside.clamp(0, 1).unsqueeze(1)


def _colour(red: float, green: float, blue: float) -> Tensor:
    return torch.tensor([red, green, blue]).view(1, 3, 1, 1)


def _inner(edges: Tensor) -> Tensor:
    """The lips' inner edges (B×2×2×11, from corner to corner) of all features' edges."""
    return edges[:, 2, :, 1:3, 1:-1]


def _tall(lips: Tensor) -> Tensor:
    """B×1×1: how far the inner lips (B×2×2×J) lie above and below the middle, root mean square."""
    return lips[:, 1].square().mean((1, 2)).sqrt().view(-1, 1, 1)


def _gain(driver: Tensor, source: Tensor) -> Tensor:
    """B×3×1×1: what makes the driver's mouth fit the portrait's light. Both B×3, colours of their skin."""
    ratio = (source + 0.03) / (driver + 0.03)
    light = ratio.mean(1, keepdim=True)
    tint = (ratio / light).clamp(*TINT)
    return (light.pow(0.9).clamp(DARKER, BRIGHTER) * tint).view(-1, 3, 1, 1)
