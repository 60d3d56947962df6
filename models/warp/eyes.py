"""Lids that close over eyeballs that stay round. The bent picture knows nothing of either: the lids are no
control points of it, because a closing eye would fold it.
"""

import torch
from torch import Tensor, nn

from models.warp.codes import EYE, EYE_SPAN, IRIS_SPAN, SIZE, Appearance
from models.warp.features import EYES, IRISES, Features, Frame, from_upright, to_upright
from models.warp.layers import Layer, Placed, Window, look_up, patch_units, sample, stretched

WINDOW = (56, 80)  # pixels
REACH = 0.72  # half width of the layer, × the eye's width
LASHES = 0.06  # × the eye's width: the strip along a lid's edge that is not stretched
LID_RIM = 0.03  # × the eye's width: the lower landmarks lie that far inside the white
EDGE = 1.5  # pixels over which lids and irises end


class Eyes(nn.Module):
    """Draws both eyes of each face; those of a batch of B faces are a batch of 2·B."""

    def __init__(self) -> None:
        super().__init__()
        self.window = Window(WINDOW, SIZE)
        self.centres: Tensor
        self.units: Tensor
        self.sides: Tensor
        self.register_buffer("centres", torch.tensor([iris[0] for iris in IRISES]), persistent=False)
        self.register_buffer("units", patch_units(EYE, EYE_SPAN), persistent=False)
        self.register_buffer("sides", torch.tensor([[1.0], [-1.0]]), persistent=False)

    def draw(
        self, picture: Tensor, appearance: Appearance, source: Features, points: Tensor, features: Features
    ) -> Layer:
        """The eyes over an avatar with these landmarks (B×478×≥2, pixels) and features.

        picture: B×3×SIZE×SIZE, the portrait in the avatar's light; source: its features.
        """
        batch = points.shape[0]
        at = features.frame.of(EYES)
        place = self.window.place(at)
        x, y = place.points.unbind(1)
        tables = torch.cat((features.heights[:, EYES], source.heights[:, EYES]), 2)
        edges = look_up(tables.flatten(0, 1), x)
        lids, source_lids = edges[:, 1:3], edges[:, 5:7]  # 2·B×2×K, upper and lower
        upper, lower = lids.unbind(1)
        source_upper, source_lower = source_lids.unbind(1)

        # From the lids outwards, to the hollow above and to the cheek below.
        lengths = edges[:, 1::2] - edges[:, ::2]
        past = stretched((lids - y.unsqueeze(1)) * self.sides, lengths[:, :2], lengths[:, 2:], LASHES)
        skin_y = source_lids - past * self.sides
        opening = lower - upper
        within = (y - upper) / opening.clamp_min(1e-3)  # 0 at the upper lid, 1 at the lower
        bare_y = torch.lerp(source_upper, source_lower, within.clamp(0, 1))
        origins = torch.stack((x, x, x, skin_y[:, 0], skin_y[:, 1] + LID_RIM, bare_y), 1)
        from_source = from_upright(source.frame.of(EYES), origins.view(2 * batch, 2, -1))
        each = from_source.view(batch, 2, 2, -1).transpose(1, 2).flatten(2)  # one look-up a picture
        found = sample(picture, each).view(batch, 3, 2, 3, -1).transpose(1, 2).flatten(0, 1)
        above, below, bare = found.unbind(2)  # 2·B×3×K
        width = at.width
        lash = ((y - upper - opening / 2) * width + 0.5).clamp(0, 1)  # the line where closed lids meet
        skin = torch.lerp(above, below, lash.unsqueeze(1))

        # Where a portrait shows too little of an eye to draw a ball, what it shows lies between the lids.
        seen = appearance.eyes_seen.expand(batch, -1).reshape(-1, 1, 1)
        ball = torch.lerp(bare, self._ball(appearance, points, place, at), seen)
        gap = torch.minimum(y - upper, lower - y) - (x.abs() - 0.5).clamp_min(0)
        ajar = (gap * (width / EDGE) + 0.3).clamp(0, 1)
        ajar = ajar * (opening * (width / 2)).clamp(0, 1)  # lids that met leave no white line
        colour = torch.lerp(skin, ball, ajar.unsqueeze(1))
        rim = torch.minimum(torch.minimum(y - edges[:, 0], edges[:, 3] - y), REACH - x.abs())
        cover = ((rim * (width / (2 * EDGE))).clamp(0, 1) * self.window.fade).unsqueeze(1)
        return Layer(*(_of_pictures(part, batch) for part in (place.pixels, colour * cover, cover)))

    def _ball(self, appearance: Appearance, points: Tensor, place: Placed, at: Frame) -> Tensor:
        """2·B×3×K: the eyeballs."""
        batch = points.shape[0]
        radius = appearance.iris_radius.expand(batch, -1).reshape(-1, 1, 1)
        centre = points[:, self.centres, :2].view(-1, 2, 1)
        offset = place.points - to_upright(at, centre)
        sclera = appearance.sclera.expand(batch, -1, -1, -1, -1).flatten(0, 1)
        iris = appearance.iris.expand(batch, -1, -1, -1, -1).flatten(0, 1)
        white = sample(sclera, place.points * self.units)
        coloured = sample(iris, offset / (radius * IRIS_SPAN))
        # A norm over two long planes is ten times slower, and ONNX has no `hypot`.
        x, y = offset[:, :1], offset[:, 1:]
        distance = torch.addcmul(x.square(), y, y).sqrt()  # 2·B×1×K
        disc = ((radius - distance) * (at.width / EDGE).unsqueeze(2) + 0.5).clamp(0, 1)
        return torch.lerp(white, coloured, disc)


def _of_pictures(part: Tensor, batch: int) -> Tensor:
    """2·B×…×K as B×…×2·K."""
    return part.view(batch, 2, *part.shape[1:]).movedim(1, -2).flatten(-2)
