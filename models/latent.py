"""`latent`: Duarte et al., *Contrastive Learning on Synthetic Videos for GAN Latent Disentangling*: a face's
StyleGAN code, split into how it looks and what it does.

An encoder gives the W+ code w of a picture; f_E splits it into w^(a), appearance, and w^(s), structure; f_D
joins the two of different faces to a code again, which the generator draws. B batch, L rows of a code.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models import e4e
from models.contract import Controls, CropRule, Observation, Spec, cat_codes, map_code, middle
from models.directions import Directed
from models.layers import faded_border
from models.registry import register
from models.stylegan2 import BASE, STYLE, Generator, styles
from models.tokens import CONTROLS, transferred

BLOCKS = 4  # of f_E and of f_D each; open in the paper
RGB_GAIN = (
    0.2  # on the freshly made RGB layers, so that untrained pictures are within [−1, 1] for the most part
)

# FFHQ's crop (Karras et al., *A Style-Based Generator Architecture for GANs*, appendix A, as its program has
# it): a square of 4 × the eyes' distance or 3.6 × that of eyes and mouth, whichever is longer, around a point
# a tenth of the way from the eyes to the mouth. Here: 3.77 × the box of the lower lids and the mouth's
# corners, around a point below the root of the nose, which speech doesn't move.
CROP = CropRule(
    size=e4e.SIZE, scale=3.77, shift=(0.0, 0.16), anchors=(145, 374, 61, 291), centre=168, upright=True
)


NEAR = 2.6  # scale of a crop with little about the face, for small pictures


@dataclass(frozen=True)
class Layout:
    """How wide the parts are."""

    side: int  # pixels of what is drawn
    seen: int = e4e.SIZE  # pixels of what the encoder looks at
    style: int = STYLE  # numbers in a row of a code
    most: int = 512  # channels of the generator at most …
    base: int = BASE  # … and side × channels where there are fewer
    scale: float = CROP.scale  # of the crop …
    upright: bool = CROP.upright  # … and whether it turns faces upright; else roll is motion, too


SIZES = {
    # Pixels a side of what the generator draws; open in the paper.
    "256": Layout(256),
    "1024": Layout(1024),
    # To be trained here: nobody has published weights of these.
    "light": Layout(128, seen=128, style=256, most=256, base=8192, scale=NEAR, upright=False),
    "tiny": Layout(64, seen=64, style=128, most=96, base=1024, scale=NEAR, upright=False),
}
FIRST = next(iter(SIZES))


def crop(layout: Layout) -> CropRule:
    """What of a picture a network of that layout is about, of its side."""
    return replace(CROP, size=layout.side, scale=layout.scale, upright=layout.upright)


class Structure(NamedTuple):
    """What a face does."""

    w_s: Tensor  # B×L×512


class Appearance(NamedTuple):
    """How a face looks, and what the portrait does."""

    structure: Structure
    w_a: Tensor  # B×L×512


class Block(nn.Module):
    """A residual layer on the last dimension."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.steps = nn.Sequential(
            nn.LayerNorm(width), nn.Linear(width, width), nn.GELU(), nn.Linear(width, width)
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + cast(Tensor, self.steps(x))


class RowsMLP(nn.Module):
    """One residual network for all rows of a code, told which row it sees: B×L×inputs → B×L×outputs."""

    def __init__(self, rows: int, inputs: int, width: int, outputs: int, blocks: int = BLOCKS) -> None:
        super().__init__()
        self.enter = nn.Linear(inputs, width)
        self.row = nn.Parameter(torch.randn(rows, width) / width**0.5)
        self.blocks = nn.Sequential(*[Block(width) for _ in range(blocks)])
        self.leave = nn.Linear(width, outputs)

    def forward(self, x: Tensor) -> Tensor:
        return cast(Tensor, self.leave(self.blocks(self.enter(x) + self.row)))


@register
class Latent(Directed[Appearance, Structure]):
    """size: one of `SIZES`. layout: other widths than that size's own.

    Raises ValueError for sizes that there are not.
    """

    spec = Spec(
        name="latent",
        reads=frozenset({"image"}),
        source=CROP,
        driving=CROP,
        controls=CONTROLS,
        sizes=tuple(SIZES),
        size=FIRST,
    )

    def __init__(self, size: str = FIRST, layout: Layout | None = None) -> None:
        super().__init__()
        if size not in SIZES:
            raise ValueError(f"unknown size {size!r} of latent; known: {', '.join(SIZES)}")
        self.layout = layout = layout or SIZES[size]
        rule = crop(layout)
        source, driving = replace(rule, size=layout.side), replace(rule, size=layout.seen)
        self.spec = replace(type(self).spec, source=source, driving=driving, size=size)
        self.seen = layout.seen
        rows, style = styles(layout.side), layout.style
        self.encoder = e4e.Encoder(rows, side=layout.seen, style=style)
        self.f_e = RowsMLP(rows, style, style, 2 * style)
        self.f_d = RowsMLP(rows, 2 * style, style, style)
        self.generator = Generator(layout.side, style, layout.most, layout.base)
        with torch.no_grad():
            for to_rgb in (self.generator.to_rgb1, *self.generator.to_rgbs):
                cast(nn.Parameter, to_rgb.conv.weight).mul_(RGB_GAIN)
        self.latent_avg: Tensor
        self.alpha: Tensor
        self.register_buffer(
            "latent_avg", torch.zeros(rows, style)
        )  # the mean of the mapping's w, in each row
        self.register_buffer("alpha", faded_border(layout.side), persistent=False)

    def invert(self, picture: Tensor) -> Tensor:
        """The W+ code (B×L×512) of pictures (B×3×S×S in [0, 1], S a multiple of what the encoder sees)."""
        seen = F.adaptive_avg_pool2d(picture, self.seen) * 2 - 1
        w: Tensor = self.encoder(seen.to(self._dtype))
        return w.float() + self.latent_avg.float()

    def split(self, w: Tensor) -> tuple[Tensor, Tensor]:
        """f_E: w^(a) and w^(s), B×L×512 each, of a W+ code."""
        w_a, w_s = self.f_e((w - self.latent_avg.float()).to(self._dtype)).float().chunk(2, 2)
        return w_a, w_s

    def join(self, w_a: Tensor, w_s: Tensor) -> Tensor:
        """f_D: the W+ code of the two (supplement, section 2)."""
        w: Tensor = self.f_d(torch.cat((w_a, w_s), 2).to(self._dtype))
        return w.float() + self.latent_avg.float()

    @property
    def code_shape(self) -> tuple[int, ...]:
        return styles(self.layout.side), self.layout.style

    def encode_appearance(self, sources: Sequence[Observation]) -> Appearance:
        if len(sources) != 1:
            raise ValueError(f"latent takes one source picture, not {len(sources)}")
        w_a, w_s = self.split(self.invert(sources[0].image))
        return Appearance(Structure(w_s), w_a)

    def encode_structure(self, driving: Observation) -> Structure:
        return Structure(self.split(self.invert(driving.image))[1])

    def neutral(self, codes: Sequence[Structure]) -> Structure:
        if not codes:
            raise ValueError("a neutral pose needs at least one code")
        return map_code(middle, cat_codes(codes))

    def blend(self, a: Structure, b: Structure, t: Tensor) -> Structure:
        return Structure(torch.lerp(a.w_s, b.w_s, t.view(-1, 1, 1).to(a.w_s.dtype)))

    def transfer(
        self, structure: Structure, neutral: Structure, appearance: Appearance, controls: Controls
    ) -> Structure:
        moved = transferred(structure.w_s, neutral.w_s, appearance.structure.w_s, controls)
        return Structure(self.pushed(moved, controls))

    def decode(self, appearance: Appearance, structure: Structure) -> tuple[Tensor, Tensor]:
        w = self.join(appearance.w_a.expand_as(structure.w_s), structure.w_s)
        rgb = ((self.generator(w.to(self._dtype)).float() + 1) / 2).clamp(0, 1)
        return rgb, self.alpha.float().expand(rgb.shape[0], -1, -1, -1)

    @property
    def _dtype(self) -> torch.dtype:
        """The weights'; codes are float32, for their differences are the motion."""
        return self.encoder.latlayer1.weight.dtype
