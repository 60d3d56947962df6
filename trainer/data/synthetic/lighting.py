"""The light that a head is seen in: an environment, and one lamp, window or sun.

Everything is in camera space: x right, y down, z away. Light is linear; what a surface of reflectance ρ shows
is ρ times `diffuse`, plus the colour of the key light times a highlight.

    B pictures, V vertices, N samples
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from trainer.data.synthetic.colour import LUMINANCE, blackbody
from trainer.data.synthetic.seeds import rng

KINDS = ("room", "window", "outdoors", "overcast", "studio", "screen")
LEVEL = 0.95  # mean of `diffuse` over what faces the camera, at an exposure of 0 stops
SKIN_WRAP = (0.35, 0.18, 0.10)  # red light goes furthest through skin

# Real spherical harmonics up to the second order, and what a clamped cosine leaves of each order:
# R. Ramamoorthi, P. Hanrahan, "An efficient representation for irradiance environment maps", SIGGRAPH 2001.
HARMONICS = (0.282095, 0.488603, 1.092548, 0.315392, 0.546274)
CONVOLUTION = (math.pi, *[2 * math.pi / 3] * 3, *[math.pi / 4] * 5)

Array = npt.NDArray[np.float64]


class Light(NamedTuple):
    """Of B pictures."""

    environment: Tensor  # B×9×3, radiance in spherical harmonics
    direction: Tensor  # B×3, of unit length, from the head to the key light
    colour: Tensor  # B×3, what the key light gives a surface that faces it
    softness: Tensor  # B, degrees: half the angle that the key light takes up


def draw_light(seed: int, indices: Sequence[int]) -> Light:
    """One for each identity or clip of `indices`, on the CPU: rooms, windows, sun, clouds, studios, screens,
    in the colours of 2,700 to 12,000 K under a camera's more or less successful white balance. Exposure
    varies by 0.35 stops (standard deviation), and for one in ten by up to 1.2."""
    drawn = [_draw(rng(seed, "light", index)) for index in indices]
    return Light(*(torch.from_numpy(np.stack(part)).float() for part in zip(*drawn, strict=True)))


def _draw(random: np.random.Generator) -> tuple[Array, Array, Array, Array]:
    kind = KINDS[random.integers(len(KINDS))]
    u = random.uniform
    side = random.choice([-1.0, 1.0])
    up, down = _towards(0, 80), _towards(0, -85)
    around = _towards(u(-180, 180), u(-10, 30))
    # The key light's bearing from the camera's, elevation, share of the light, softness and colour; then the
    # environment's lobes: whence, how much, of which colour.
    lobes: list[tuple[Array, float, float]]
    if kind == "room":
        key, share, soft, kelvin = (side * u(0, 60), u(30, 70)), u(0.15, 0.5), u(5, 18), u(2700, 5000)
        lobes = [(up, u(0.3, 1.0), kelvin), (around, u(0, 0.8), kelvin), (down, u(0, 0.3), 2700)]
        ambient, air = u(0.3, 0.8), kelvin
    elif kind == "window":
        key, share, soft, kelvin = (side * u(25, 100), u(0, 35)), u(0.45, 0.75), u(14, 28), u(5200, 7500)
        lobes = [(_towards(*key), u(0.3, 1.0), kelvin), (up, u(0, 0.5), u(2700, 5000))]
        ambient, air = u(0.3, 0.6), u(3000, 6000)
    elif kind == "outdoors":
        key, share, soft, kelvin = (side * u(0, 120), u(12, 65)), u(0.4, 0.72), u(0.6, 3), u(4300, 6000)
        lobes = [(up, u(0.6, 1.2), u(7500, 12000)), (down, u(0.1, 0.5), 4200), (around, u(0, 0.5), 5500)]
        ambient, air = u(0.2, 0.4), u(6000, 8000)
    elif kind == "overcast":
        key, share, soft, kelvin = (side * u(0, 90), u(40, 80)), u(0.05, 0.2), u(20, 30), u(6000, 7500)
        lobes = [(up, u(0.8, 1.4), u(6500, 8000)), (down, u(0.1, 0.4), 5000)]
        ambient, air = u(0.4, 0.7), u(6000, 7500)
    elif kind == "studio":
        key, share, soft, kelvin = (side * u(15, 65), u(12, 50)), u(0.5, 0.8), u(7, 24), u(5000, 6000)
        lobes = [(_towards(-side * u(20, 90), u(-10, 20)), u(0.2, 1.0), kelvin)]
        ambient, air = u(0.2, 0.5), kelvin
    else:
        key, share, soft, kelvin = (side * u(0, 25), u(-18, 8)), u(0.3, 0.6), u(12, 25), u(6000, 9000)
        lobes = [(up, u(0.2, 1.0), u(3200, 4800)), (around, u(0, 0.6), u(3200, 5000))]
        ambient, air = u(0.3, 0.6), u(3500, 5500)

    # A camera takes something between the key light and daylight for white.
    white = blackbody(kelvin + (5500 - kelvin) * u(-0.05, 0.4))
    stops = random.normal(0, 0.35) if random.random() < 0.9 else u(-1.2, 1.2)
    level = LEVEL * 2**stops
    direction = _towards(*key)
    environment = _even(ambient * blackbody(air) / white)
    for towards, strength, colour in lobes:
        environment += _lobe(towards, strength * blackbody(colour) / white)
    seen = _facing_camera()
    given = (_harmonics(seen) * CONVOLUTION / math.pi) @ environment @ LUMINANCE
    environment *= level * (1 - share) / given.mean()
    # A light from the side or behind gives the camera little; it isn't made stronger without end for that.
    reached = max(float((seen @ direction).clip(min=0).mean()), 0.3)
    lamp = level * share / reached * blackbody(kelvin) / white
    return environment, direction, lamp, np.array(soft)


def _towards(bearing: float, elevation: float) -> Array:
    """A unit vector. Degrees; bearing 0 is the camera's, > 0 to the picture's right."""
    a, e = math.radians(bearing), math.radians(elevation)
    return np.array([math.sin(a) * math.cos(e), -math.sin(e), -math.cos(a) * math.cos(e)])


def _facing_camera(count: int = 128) -> Array:
    """Normals of half a sphere, evenly as the camera sees them."""
    radius = np.sqrt((np.arange(count) + 0.5) / count)
    angle = np.arange(count) * (math.pi * (3 - math.sqrt(5)))
    return np.stack((radius * np.cos(angle), radius * np.sin(angle), -np.sqrt(1 - radius**2)), 1)


def _even(colour: Array) -> Array:
    """The same radiance everywhere."""
    return np.concatenate((colour[None] / HARMONICS[0], np.zeros((8, 3))))


def _lobe(towards: Array, colour: Array) -> Array:
    """A clamped cosine about a direction, of this radiance in its middle."""
    coefficients: Array = (_harmonics(towards[None])[0] * CONVOLUTION)[:, None] * colour
    return coefficients


def _harmonics(normals: Array) -> Array:
    x, y, z = normals.T
    a, b, c, d, e = HARMONICS
    return np.stack(
        [
            np.full_like(x, a),
            *(b * y, b * z, b * x),
            *(c * x * y, c * y * z, d * (3 * z * z - 1), c * x * z, e * (x * x - y * y)),
        ],
        1,
    )


def radiance(environment: Tensor, directions: Tensor) -> Tensor:
    """What comes from `directions` (B×V×3, of unit length), as reflections need it: B×V×3. So few harmonics
    make a blurred picture."""
    return _summed(environment, directions).clamp(min=0)


def irradiance(environment: Tensor, normals: Tensor) -> Tensor:
    """What a surface with `normals` (B×V×3, of unit length) receives of all the environment: B×V×3."""
    weights = environment.new_tensor(CONVOLUTION)[:, None]
    return _summed(environment * weights, normals).clamp(min=0)


def _summed(coefficients: Tensor, directions: Tensor) -> Tensor:
    """The nine harmonics as a quadratic form: n' M n + b' n + c."""
    a, b, c, d, e = HARMONICS
    k = coefficients[:, :, None]  # B×9×1×3
    x, y, z = (directions[..., axis, None] for axis in range(3))
    return (
        (k[:, 0] * a - k[:, 6] * d)
        + x * (k[:, 3] * b + y * (k[:, 4] * c) + z * (k[:, 7] * c) + x * (k[:, 8] * e))
        + y * (k[:, 1] * b + z * (k[:, 5] * c) - y * (k[:, 8] * e))
        + z * (k[:, 2] * b + z * (k[:, 6] * (3 * d)))
    )


def diffuse(
    light: Light,
    normals: Tensor,
    *,
    wrap: Tensor | None = None,
    occlusion: Tensor | None = None,
    shadow: Tensor | None = None,
) -> Tensor:
    """What reflectances are to be multiplied with: B×V×3.

    normals: B×V×3, of unit length.
    wrap: V×3 or B×V×3 in [0, 1], how far light reaches round the surface in each colour, as it does through
    skin (`SKIN_WRAP`). S. Green, "Real-time approximations to subsurface scattering", GPU Gems (2004), here
    divided once more by 1 + wrap: so a sphere gives back as much light with it as without.
    occlusion: V or B×V in [0, 1], how much of the environment a vertex sees.
    shadow: B×V in [0, 1], how much of the key light.
    """
    around = irradiance(light.environment, normals) / math.pi
    if occlusion is not None:
        around = around * occlusion[..., None]
    cosine = (normals * light.direction[:, None]).sum(2, keepdim=True)
    if wrap is not None:
        cosine = (cosine + wrap) / (1 + wrap) ** 2
    direct = cosine.clamp(min=0)
    if shadow is not None:
        direct = direct * shadow[..., None]
    return around + direct * light.colour[:, None]


def specular(normals: Tensor, views: Tensor, lights: Tensor, exponent: Tensor) -> Tensor:
    """Blinn and Phong's highlight, to be multiplied with the key light's colour, its shadow and the surface's
    strength (skin 0.03, lips and eyes more): N. All directions are N×3, of unit length, from the surface to
    the camera and to the light; exponent: N. The factor (n + 8) / 8 keeps the light that is given back nearly
    the same for any exponent: T. Akenine-Möller et al., "Real-Time Rendering" (2008)."""
    facing_view, facing_light = (normals * views).sum(1), (normals * lights).sum(1).clamp(min=0)
    # Half-way between view and light lies their sum, whose square is this.
    square = (2 + 2 * (views * lights).sum(1)).clamp(min=1e-6)
    cosine = ((facing_view + facing_light).clamp(min=0) * square.rsqrt()).clamp(max=1)
    return (exponent + 8) / 8 * cosine**exponent * facing_light


def strand(tangents: Tensor, views: Tensor, lights: Tensor, exponent: Tensor) -> tuple[Tensor, Tensor]:
    """Diffuse and specular light of hair that lies along `tangents` (N×3, either way; all directions of unit
    length): N each. J. Kajiya, T. Kay, "Rendering fur with three dimensional textures", SIGGRAPH 1989. The
    highlight is brightest on the cone that mirrors the light along the strand."""
    along_light, along_view = (tangents * lights).sum(1), (tangents * views).sum(1)
    across_light = (1 - along_light**2).clamp(min=0).sqrt()
    across_view = (1 - along_view**2).clamp(min=0).sqrt()
    mirrored = (across_light * across_view - along_light * along_view).clamp(min=0)
    return across_light, mirrored**exponent
