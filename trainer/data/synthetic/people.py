"""Identities: everything that makes a person, drawn from a seed and made ready to be rendered."""

from collections.abc import Sequence
from typing import Any, NamedTuple, TypeVar

import torch
from torch import Tensor

from trainer.data.synthetic.backdrop import backdrop, draw_backdrop
from trainer.data.synthetic.beard import beard_displacement, beard_shown, paint_beard, paint_beard_roots
from trainer.data.synthetic.cloth_texture import paint_clothes
from trainer.data.synthetic.clothes import Clothes, clothes_displacement, clothes_shown, draw_clothes
from trainer.data.synthetic.colour import LUMINANCE
from trainer.data.synthetic.figure import make_figure, tables
from trainer.data.synthetic.glasses import (
    Glasses,
    draw_glasses,
    glasses_displacement,
    glasses_shown,
    paint_glasses,
)
from trainer.data.synthetic.hair import Hair, draw_hair, hair_colour
from trainer.data.synthetic.hair_shell import hair_backs, hair_displacement, hair_shown
from trainer.data.synthetic.hair_texture import paint_hair, paint_scalp
from trainer.data.synthetic.identity import Shape, draw_shape
from trainer.data.synthetic.lens import draw_lens
from trainer.data.synthetic.lighting import draw_light
from trainer.data.synthetic.renderer import People, Scene
from trainer.data.synthetic.skin import Skin, draw_sex, draw_skin, monk_reflectance
from trainer.data.synthetic.skin_texture import paint

COARSE = 160  # pixels: in pictures up to this size the unrefined skin's triangles are too small to be seen
LEAST_ATLAS, MOST_ATLAS = 256, 1024  # side of the textures, pixels
CLIPS = 10_000  # more clips than these of one identity would share their scenes

MIDDLE = 0.30  # luminance of the skin at which a camera neither brightens nor darkens
METERING = 0.45  # share of a face's difference from it that the camera takes back, in stops

Drawn = TypeVar("Drawn", bound=tuple[Any, ...])


class Identity(NamedTuple):
    """B people. Each part is drawn from a stream of its own."""

    shape: Shape
    skin: Skin
    hair: Hair
    glasses: Glasses
    clothes: Clothes


def draw_identity(seed: int, indices: Sequence[int]) -> Identity:
    """The people of those numbers (≥ 0), on the CPU: the same whatever they are drawn together with."""
    numbers = torch.tensor(list(indices))
    sex = draw_sex(seed, indices)
    skin = draw_skin(seed, indices)
    return Identity(
        draw_shape(seed, indices),
        skin,
        draw_hair(seed, numbers, sex, skin.age),
        draw_glasses(seed, numbers),
        draw_clothes(seed, numbers, sex),
    )


def make_people(identity: Identity, size: int, device: torch.device | str = "cpu") -> People:
    """Geometry and textures for pictures of `size` pixels."""
    here = moved(identity, torch.device(device))
    hair, glasses, clothes = here.hair, here.glasses, here.clothes
    worn = torch.cat(
        (
            hair_displacement(hair),
            beard_displacement(hair.beard),
            glasses_displacement(glasses),
            clothes_displacement(clothes),
        ),
        1,
    )
    fine = size > COARSE
    fixed = tables(torch.device(device), fine)
    bare = worn.new_zeros(len(worn), len(fixed.points) - worn.shape[1], 3)
    figure = make_figure(here.shape, torch.cat((bare, worn), 1), fine)
    shown = torch.cat(
        (hair_shown(hair), beard_shown(hair.beard), glasses_shown(glasses), clothes_shown(clothes)), 1
    )
    return People(
        figure,
        paint_atlas(here, size),
        fixed.all_shown(shown),
        fixed.all_backs(hair_backs(hair)),
        exposure(monk_reflectance(here.skin.tone)),
    )


def exposure(skin: Tensor) -> Tensor:
    """What cameras do about faces that are darker or lighter than the middle: half of what would make all
    alike, in stops. skin: B×3, linear reflectance."""
    grey = skin @ skin.new_tensor(LUMINANCE)
    return (MIDDLE / grey).pow(METERING).clamp(0.5, 3.5)


def paint_atlas(identity: Identity, size: int) -> Tensor:
    """The textures of people for pictures of `size` pixels: B×A×A×4, linear reflectance and alpha."""
    side = min(max(2 * size, LEAST_ATLAS), MOST_ATLAS)
    colour = hair_colour(identity.hair)
    atlas = colour.new_zeros(len(colour), 4, side, side)
    paint(identity.skin, colour, atlas)
    paint_beard_roots(identity.hair, atlas)
    paint_scalp(identity.hair, atlas)
    paint_hair(identity.hair, atlas)
    paint_beard(identity.hair, atlas)
    paint_glasses(identity.glasses, atlas)
    paint_clothes(identity.clothes, atlas)
    return atlas.permute(0, 2, 3, 1).contiguous()


def draw_scene(
    seed: int, indices: Sequence[int], size: int, clip: int = 0, device: torch.device | str = "cpu"
) -> Scene:
    """Light, background and camera of clip `clip` of each of those identities, for pictures of `size`
    pixels."""
    numbers = [index * CLIPS + clip for index in indices]
    here = torch.device(device)
    behind = backdrop(moved(draw_backdrop(seed, numbers), here), size)
    return Scene(moved(draw_light(seed, numbers), here), behind, moved(draw_lens(seed, numbers), here))


def moved(drawn: Drawn, device: torch.device) -> Drawn:
    """A named tuple of tensors, or of such tuples, on a device."""
    parts = (part.to(device) if isinstance(part, Tensor) else moved(part, device) for part in drawn)
    return type(drawn)(*parts)
