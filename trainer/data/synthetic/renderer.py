"""Pictures of people: geometry, texture and light put together, with the truth about every pixel.

people = make_people(draw_identity(seed=0, indices=[0, 1]), size=256)
scene = draw_scene(seed=0, indices=[0, 1], size=256)
frame = render(people, scene, who, motion, size=256)

N frames of S×S pixels, four samples each, B people, T triangles, V vertices; R spots to work light out at
"""

from collections.abc import Collection
from functools import cache
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from trainer.data.synthetic.figure import Figure, Posed, Tables, pose, project, rest, tables
from trainer.data.synthetic.lens import Lens, photograph
from trainer.data.synthetic.lighting import Light, diffuse, specular, strand
from trainer.data.synthetic.motion import Motion
from trainer.data.synthetic.rasteriser import Raster, rasterise
from trainer.data.synthetic.shading import Looks, Surface, ball_occlusion, looks
from trainer.data.synthetic.shadow import shadow
from trainer.data.synthetic.spots import SIDE, Spots, spots
from trainer.data.synthetic.template import template

COVERAGE = ((0.125, 0.625), (0.875, 0.375))  # alpha from which on each of a pixel's samples is there
FINE_SHADOW, COARSE_SHADOW = 128, 64  # samples of the key light's view, by how fine the skin is
MAPS = ("flow", "depth", "normals")


class People(NamedTuple):
    """B identities, ready to be drawn."""

    figure: Figure
    atlas: Tensor  # B×A×A×4, linear reflectance and alpha
    shown: Tensor  # B×T bool
    backs: Tensor  # B×T bool, whose other sides may be seen
    exposure: Tensor  # B, by which a camera that looks at the face brightens or darkens the whole picture


class Scene(NamedTuple):
    """What is around B people."""

    light: Light
    backdrop: Tensor  # B×3×S×S, linear light
    lens: Lens


class Frame(NamedTuple):
    """N frames and the truth about them."""

    picture: Tensor  # N×3×S×S in [0, 1], sRGB
    points: Tensor  # N×478×3 in crop units: x, y in [0, 1], z in the scale of x, 0 in the head's middle
    camera_points: Tensor  # N×478×3, cm, the camera at the origin looking along z
    labels: Tensor  # N×S×S uint8, a Label
    flow: Tensor | None  # N×2×S×S pixels to the same place in the neutral picture; NaN where there is none
    depth: Tensor | None  # N×1×S×S cm; infinite in the background
    normals: Tensor | None  # N×3×S×S, camera space; 0 in the background


def render(
    people: People,
    scene: Scene,
    who: Tensor,
    motion: Motion,
    size: int,
    maps: Collection[str] = (),
    number: Tensor | None = None,
    before: Motion | None = None,
) -> Frame:
    """Draw N frames.

    who: N, which of the people (and scenes) each frame shows. size: of the pictures, pixels. maps: which of
    MAPS are wanted besides the picture, its landmarks and labels. number: N, of the frame in its clip, which
    the camera's noise goes by; 0 if not given. before: the motion a frame earlier, for motion blur; none
    without.
    Raises ValueError for another map.
    """
    if unknown := set(maps) - set(MAPS):
        raise ValueError(f"no map {sorted(unknown)[0]!r}: there are {', '.join(MAPS)}")
    device = people.atlas.device
    fine = people.figure.fine
    fixed, kind = tables(device, fine), looks_on(device, fine)
    posed = pose(people.figure, who, motion)
    light = Light(*(field[who] for field in scene.light))
    lens = Lens(*(field[who] for field in scene.lens))
    places = project(posed.vertices, posed.focal)
    screen = torch.cat((places * (size * SIDE), posed.vertices[..., 2:]), 2)
    atlas = people.atlas

    def there(place: Tensor, triangle: Tensor, weights: Tensor) -> Tensor:
        return _there(place, triangle, weights, who, atlas, fixed, size * SIDE)

    raster = rasterise(
        screen,
        fixed.triangles,
        size * SIDE,
        size * SIDE,
        shown=people.shown[who],
        double_sided=people.backs[who],
        cutout=fixed.cutout,
        keep=there,
    )
    lit, seen = _lit(posed, light, who, fixed, kind, fine)
    wanted = [posed.normals, lit, seen[..., None]]
    if "flow" in maps:
        still = rest(len(who), device=device)._replace(fov=motion.fov)
        neutral = pose(people.figure, who, still, shaded=False)
        wanted.append(project(neutral.vertices, neutral.focal) - places)
    if before is not None:
        earlier = pose(people.figure, who, before, shaded=False)
        wanted.append(places - project(earlier.vertices, earlier.focal))
    drawn = spots(raster, fixed.triangles, fixed.pieces, fixed.uv)
    values = drawn.values(torch.cat(wanted, 2))
    colour = _colour(drawn, values, people, who, light, posed, fixed, kind)
    share = drawn.share()
    linear = drawn.pixels(colour) + (1 - share) * scene.backdrop[who]
    number = torch.zeros_like(who) if number is None else number
    went = None if before is None else drawn.pixels(values[:, -2:] * size)
    picture = photograph(lens, linear * people.exposure[who, None, None, None], number, went)
    flow = depth = normal = None
    if "flow" in maps:
        flow = drawn.pixels(values[:, 7:9] * size) / share
    if "normals" in maps:
        normal = F.normalize(drawn.pixels(values[:, :3]), dim=1)
    if "depth" in maps:
        depth = torch.where(share > 0, drawn.pixels(drawn.values(posed.vertices[..., 2:])) / share, torch.inf)
    labels = _labels(raster, fixed.labels, size)
    return Frame(picture, _crop_units(posed), posed.landmarks, labels, flow, depth, normal)


@cache
def looks_on(device: torch.device, fine: bool) -> Looks:
    """The template's looks on a device."""
    return looks(template(fine), device)


def _there(
    place: Tensor, triangle: Tensor, weights: Tensor, who: Tensor, atlas: Tensor, fixed: Tables, side: int
) -> Tensor:
    """Which fragments of cutouts are there: the more of a pixel's four samples the more opaque it is."""
    corners = fixed.triangles.index_select(0, triangle)
    uv = F.embedding_bag(corners, fixed.uv, mode="sum", per_sample_weights=weights.to(fixed.uv))
    person = who.index_select(0, place // (side * side))
    alpha = _sampled(atlas[..., 3:].contiguous(), uv, person, atlas.shape[1])[:, 0]
    x, y = place % side, (place // side) % side
    least = atlas.new_tensor(COVERAGE).flatten().index_select(0, (y % 2) * 2 + x % 2)
    return alpha > least


def _lit(
    posed: Posed, light: Light, who: Tensor, fixed: Tables, kind: Looks, fine: bool
) -> tuple[Tensor, Tensor]:
    """What reflectances are multiplied with (N×V×3), and how much of the key light vertices see (N×V)."""
    centre = posed.landmarks[:, [234, 454, 10, 152]].mean(1)
    size = FINE_SHADOW if fine else COARSE_SHADOW
    seen = shadow(light, posed.vertices, posed.normals, fixed.casters, centre, size=size)
    ball = fixed.ball.shape[0]
    occlusion = kind.occlusion.expand(len(who), -1).clone()
    first = posed.vertices.shape[1] - 2 * ball
    away = posed.vertices[:, first:].reshape(len(who), 2, ball, 3)
    away = F.normalize(away - away.mean(2, keepdim=True), dim=3)
    occlusion[:, first:] = ball_occlusion(away).flatten(1)
    seen = seen * (0.35 + 0.65 * occlusion)
    return diffuse(light, posed.normals, wrap=kind.wrap, occlusion=occlusion, shadow=seen), seen


def _colour(
    drawn: Spots,
    values: Tensor,
    people: People,
    who: Tensor,
    light: Light,
    posed: Posed,
    fixed: Tables,
    kind: Looks,
) -> Tensor:
    """The light of each spot: R×3, linear."""
    frame = drawn.frame
    texel = _sampled(people.atlas, drawn.values(fixed.uv), who.index_select(0, frame), people.atlas.shape[1])
    normal = F.normalize(values[:, :3], dim=1)
    surface = kind.surface.index_select(0, drawn.triangle)
    strength = kind.strength.index_select(0, surface)
    # The skin's own alpha says where it is oily; 0.5 is usual.
    strength = torch.where(surface == int(Surface.SKIN), strength * 2 * texel[:, 3], strength)
    exponent = kind.exponent.index_select(0, surface)
    towards = light.direction.index_select(0, frame)
    focal = posed.focal.index_select(0, frame)[:, None]
    rays = torch.cat((drawn.across / focal, torch.ones_like(focal)), 1)
    view = -F.normalize(rays, dim=1)
    normal = torch.where((normal * view).sum(1, keepdim=True) < 0, -normal, normal)  # the back of a sheet
    shine = specular(normal, view, towards, exponent) * strength
    hair = (surface == int(Surface.HAIR)).nonzero().squeeze(1)
    if len(hair):
        down = posed.head[:, :, 1].index_select(0, frame.index_select(0, hair))
        across_hair = normal.index_select(0, hair)
        along = F.normalize(down - (down * across_hair).sum(1, keepdim=True) * across_hair, dim=1)
        glow = strand(
            along, view.index_select(0, hair), towards.index_select(0, hair), exponent.index_select(0, hair)
        )
        lit = ((across_hair * towards.index_select(0, hair)).sum(1) * 0.8 + 0.2).clamp(min=0)
        shine = shine.index_copy(0, hair, glow[1] * strength.index_select(0, hair) * lit)
    key = light.colour.index_select(0, frame) * values[:, 6:7]
    # Light that hair throws back has mostly been through it.
    tint = torch.where(
        (surface == int(Surface.HAIR))[:, None], 0.12 + texel[:, :3].sqrt(), torch.ones_like(key)
    )
    return texel[:, :3] * values[:, 3:6] + shine[:, None] * tint * key


def _sampled(atlas: Tensor, uv: Tensor, person: Tensor, size: int) -> Tensor:
    """Textures (B×A×A×C) at places of the atlas, bilinear: M×C."""
    place = (uv * size - 0.5).clamp(0, size - 1.001)
    low = place.floor()
    x, y = (place - low).unbind(1)
    column, row = low.long().unbind(1)
    first = (person * size + row) * size + column
    rows = torch.stack((first, first + 1, first + size, first + size + 1), 1)
    weights = torch.stack(((1 - x) * (1 - y), x * (1 - y), (1 - x) * y, x * y), 1)
    return F.embedding_bag(rows, atlas.flatten(0, 2), mode="sum", per_sample_weights=weights)


def _labels(raster: Raster, labels: Tensor, size: int) -> Tensor:
    """The label that most of a pixel's samples have, the first of equals: N×S×S uint8."""
    seen = raster.triangle.flatten().index_select(0, raster.covered)
    samples = torch.zeros(raster.triangle.numel(), dtype=torch.uint8, device=labels.device)
    samples[raster.covered] = labels.to(torch.uint8).index_select(0, seen)
    a, b, c, d = samples.view(-1, size, SIDE, size, SIDE).permute(2, 4, 0, 1, 3).flatten(0, 1).contiguous()
    best = torch.where((b == c) | (b == d), b, torch.where(c == d, c, a))
    return torch.where((a == b) | (a == c) | (a == d), a, best)


def _crop_units(posed: Posed) -> Tensor:
    """Landmarks as networks take them: x, y in [0, 1] of the picture, z in the same scale."""
    middle = posed.landmarks[:, :, 2].mean(1, keepdim=True)
    depth = (posed.landmarks[:, :, 2] - middle) * (posed.focal[:, None] / middle)
    return torch.cat((project(posed.landmarks, posed.focal), depth[..., None]), 2)
