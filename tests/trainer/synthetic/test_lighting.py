import math

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from tests.trainer.synthetic.meshes import sphere
from trainer.data.synthetic import colour
from trainer.data.synthetic.lighting import (
    LEVEL,
    SKIN_WRAP,
    Light,
    diffuse,
    draw_light,
    irradiance,
    radiance,
    specular,
    strand,
)
from trainer.data.synthetic.seeds import rng
from trainer.data.synthetic.shadow import shadow

LUMINANCE = torch.tensor(colour.LUMINANCE)


def everywhere(count: int = 4000) -> Tensor:
    """Directions, evenly over the sphere: a spiral."""
    index = torch.arange(count, dtype=torch.float64) + 0.5
    z, angle = 1 - 2 * index / count, index * math.pi * (3 - math.sqrt(5))
    radius = (1 - z * z).sqrt()
    return torch.stack((radius * angle.cos(), radius * angle.sin(), z), 1).float()


def lamp(direction: tuple[float, ...], softness: float = 1.0) -> Light:
    """A white key light of strength 1, and nothing else."""
    return Light(
        torch.zeros(1, 9, 3),
        F.normalize(torch.tensor([direction], dtype=torch.float32), dim=1),
        torch.ones(1, 3),
        torch.tensor([softness]),
    )


def test_streams_are_each_their_own() -> None:
    drawn = rng(1, "light", 17).random(4)
    assert np.array_equal(drawn, rng(1, "light", 17).random(4))
    others = [rng(2, "light", 17), rng(1, "lens", 17), rng(1, "light", 18)]
    assert not any((drawn == other.random(4)).any() for other in others)


def test_irradiance_is_the_integral_of_the_radiance() -> None:
    """Over the half-sphere above each normal, summed up numerically."""
    environment = torch.from_numpy(np.random.default_rng(0).normal(0, 0.3, (1, 9, 3))).float()
    environment[:, 0] += 8  # nowhere negative
    towards = everywhere()
    normals = F.normalize(torch.from_numpy(np.random.default_rng(1).normal(size=(6, 3))).float(), dim=1)
    cosine = (normals @ towards.T).clamp(min=0)
    expected = cosine @ radiance(environment, towards[None])[0] * (4 * math.pi / len(towards))
    torch.testing.assert_close(irradiance(environment, normals[None])[0], expected, rtol=2e-3, atol=1e-3)


def test_the_same_light_from_everywhere_gives_back_the_reflectance() -> None:
    environment = torch.zeros(1, 9, 3)
    environment[:, 0] = 0.5 / 0.282095
    light = lamp((0, 0, -1))._replace(environment=environment, colour=torch.zeros(1, 3))
    torch.testing.assert_close(diffuse(light, everywhere(50)[None]), torch.full((1, 50, 3), 0.5))
    occlusion = torch.linspace(0, 1, 50)
    shaded = diffuse(light, everywhere(50)[None], occlusion=occlusion)
    torch.testing.assert_close(shaded[0, :, 1], occlusion * 0.5)


def test_wrapped_light_is_neither_more_nor_less_and_reaches_round_in_red() -> None:
    normals = everywhere()[None]
    plain = diffuse(lamp((1, 0, 0)), normals)
    wrapped = diffuse(lamp((1, 0, 0)), normals, wrap=torch.tensor(SKIN_WRAP).expand(normals.shape[1], 3))
    torch.testing.assert_close(plain.mean(1), torch.full((1, 3), 0.25), atol=1e-3, rtol=0)  # π of 4π
    torch.testing.assert_close(wrapped.mean(1), plain.mean(1), atol=1e-3, rtol=0)
    beyond = wrapped[0, (normals[0, :, 0] + 0.05).abs() < 0.01]
    assert (beyond[:, 0] > beyond[:, 1]).all()
    assert (beyond[:, 1] > beyond[:, 2]).all()
    assert not plain[0, normals[0, :, 0] < 0].any()


def test_highlights_are_where_the_light_is_mirrored() -> None:
    normals = everywhere()
    view, light = torch.tensor([0.0, 0, -1]), torch.tensor([0.6, 0, -0.8])
    shine = specular(normals, view.expand_as(normals), light.expand_as(normals), torch.full((4000,), 60.0))
    brightest = normals[shine.argmax()]
    assert float(brightest @ F.normalize(view + light, dim=0)) > 0.999
    assert not shine[normals @ light < 0].any()


def test_hair_shines_on_the_cone_that_mirrors_the_light() -> None:
    angle = torch.linspace(-1.4, 1.4, 281)  # of the tangent from the picture's vertical, away from the camera
    tangents = torch.stack((torch.zeros(281), angle.cos(), angle.sin()), 1)
    view = torch.tensor([0.0, 0, -1]).expand(281, 3)
    light = torch.tensor([0.0, -0.6, -0.8]).expand(281, 3)
    soft, shine = strand(tangents, view, light, torch.full((281,), 40.0))
    best = tangents[shine.argmax()]
    assert float(best @ view[0]) == pytest.approx(-float(best @ light[0]), abs=0.02)
    assert shine.max() == pytest.approx(1, abs=1e-3)
    torch.testing.assert_close(soft**2 + (tangents * light).sum(1) ** 2, torch.ones(281))
    both = strand(-tangents, view, light, torch.full((281,), 40.0))  # the other way along the hair
    torch.testing.assert_close(both, (soft, shine))


def test_lights_are_the_same_in_any_batch_and_expose_a_face_well() -> None:
    many = draw_light(4, range(300))
    few = draw_light(4, [17, 230])
    assert all(torch.equal(one[[17, 230]], other) for one, other in zip(many, few, strict=True))
    assert not torch.equal(draw_light(5, [17]).environment, few.environment[:1])

    torch.testing.assert_close(many.direction.norm(dim=1), torch.ones(300))
    normals = everywhere(600)
    normals = normals[normals[:, 2] < 0].expand(300, -1, -1)
    seen = -normals[..., 2]
    level = ((diffuse(many, normals) @ LUMINANCE) * seen).sum(1) / seen.sum(1)
    stops = (level / LEVEL).log2()
    assert abs(float(stops.median())) < 0.15
    assert 0.2 < float(stops.std()) < 0.8
    assert stops.abs().max() < 2
    warmth = many.colour[:, 0] / many.colour[:, 2]
    assert warmth.quantile(0.05) < 0.9
    assert 1.3 < warmth.quantile(0.95) < 3
    assert many.softness.min() < 3
    assert many.softness.max() > 20
    # Negative light, if any, is a trace: three bands of harmonics can't help it.
    least = torch.stack([irradiance(many.environment, normals) @ LUMINANCE]).amin()
    assert least >= 0


def test_a_ball_shades_what_lies_behind_it_and_softer_lights_blur_the_edge() -> None:
    """A small ball before a wall: its shadow is where straight lines say, as dark as none of the light."""
    ball, faces = sphere(2.0, 16, 24)
    steps = torch.linspace(-8, 8, 41)
    rows, columns = torch.meshgrid(steps, steps, indexing="ij")
    wall = torch.stack((columns, rows, torch.zeros(41, 41)), 2).flatten(0, 1)
    at = torch.arange(41 * 41).view(41, 41)
    a, b, c, d = at[:-1, :-1].flatten(), at[:-1, 1:].flatten(), at[1:, 1:].flatten(), at[1:, :-1].flatten()
    squares = torch.cat((torch.stack((a, b, c), 1), torch.stack((a, c, d), 1)))
    place = torch.tensor([0.0, 0.0, -6.0])
    points = torch.cat((wall, ball + place))[None] + torch.tensor([0, 0, 60.0])
    normals = torch.cat((torch.tensor([0.0, 0, -1]).expand_as(wall), F.normalize(ball, dim=1)))[None]
    triangles = torch.cat((squares, faces + len(wall)))
    centre = torch.tensor([[0.0, 0, 60]])

    direction = (0.3, -0.4, -1.0)  # so the shadow lies 6 cm · (-0.3, 0.4) off
    sharp = shadow(lamp(direction), points, normals, triangles, centre)[0, : len(wall)]
    foot = torch.tensor([-1.8, 2.4])
    # Across the light, a wall that recedes is seen foreshortened.
    offset = torch.cat((wall[:, :2] - foot, torch.zeros(len(wall), 1)), 1)
    away = F.normalize(torch.tensor(direction), dim=0)
    off = (offset - (offset @ away)[:, None] * away).norm(dim=1)
    assert (sharp[off < 1.5] < 0.1).all()
    assert (sharp[off > 2.5] > 0.9).all()

    soft = shadow(lamp(direction, 14.0), points, normals, triangles, centre)[0, : len(wall)]
    part = ((soft > 0.05) & (soft < 0.95)).sum()
    assert part > 2 * ((sharp > 0.05) & (sharp < 0.95)).sum()
    assert float(soft.sum()) == pytest.approx(float(sharp.sum()), rel=0.05)


@pytest.mark.parametrize("direction", [(0.0, 0.0, -1.0), (0.0, -1.0, 0.0), (0.7, -0.5, -0.5)])
def test_a_ball_does_not_shade_its_own_lit_side(direction: tuple[float, float, float]) -> None:
    ball, faces = sphere(9.0, 40, 40)
    normals = F.normalize(ball, dim=1)[None]
    light = lamp(direction, 5.0)
    points = ball[None] + torch.tensor([0, 0, 60.0])
    lit = shadow(light, points, normals, faces, torch.tensor([[0.0, 0, 60]]))[0]
    facing = normals[0] @ light.direction[0]
    assert (lit[facing > 0.4] == 1).all()
    assert (lit[facing > 0.1] > 0.9).all()
    assert (lit[facing < -0.6] == 0).all()


def test_shadows_are_the_same_alone_and_in_a_batch() -> None:
    ball, faces = sphere(9.0)
    points = (ball * torch.tensor([1.0, 1.2, 0.8]))[None].expand(3, -1, -1) + torch.tensor([0, 0, 60.0])
    normals = F.normalize(ball, dim=1).expand(3, -1, -1)
    light, centre = draw_light(0, range(3)), torch.tensor([[0.0, 0, 60]]).expand(3, 3)
    together = shadow(light, points, normals, faces, centre)
    for one in range(3):
        own = Light(*(part[one : one + 1] for part in light))
        alone = shadow(own, points[:1], normals[:1], faces, centre[:1])
        assert torch.equal(alone[0], together[one])


@pytest.mark.parametrize(("kelvin", "x", "y"), [(2856, 0.4476, 0.4074), (6504, 0.3135, 0.3237)])
def test_black_bodies_have_the_published_colours(kelvin: float, x: float, y: float) -> None:
    """CIE 15: illuminant A, and the radiator of daylight's temperature."""
    xyz = np.linalg.inv(colour.FROM_XYZ) @ colour.blackbody(kelvin)
    assert xyz[:2] / xyz.sum() == pytest.approx((x, y), abs=2e-3)


def test_the_stored_curve_is_the_standard_one() -> None:
    known = torch.tensor([0.0, 0.001, 0.0031308, 0.18, 0.5, 1.0])
    expected = torch.tensor([0.0, 0.01292, 0.0404499, 0.461356, 0.735357, 1.0])
    torch.testing.assert_close(colour.srgb(known), expected, atol=1e-5, rtol=0)
    every = torch.linspace(0, 1, 1000)
    torch.testing.assert_close(colour.linear(colour.srgb(every)), every, atol=1e-6, rtol=1e-5)


def test_the_tone_curve_is_smooth_and_never_white() -> None:
    light = torch.linspace(0, 3, 3001, dtype=torch.float64)
    shown = colour.tone(light)
    slope = shown.diff() / light.diff()
    assert torch.equal(shown[:700], light[:700])
    assert (slope > 0).all()
    assert (slope <= 1 + 1e-9).all()
    assert slope.diff().abs().max() < 0.005
    assert shown.max() < 1
