"""What a camera makes of the light that reaches it: blur, noise, a balance of its own, compression.

B pictures, H×W pixels
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from trainer.data.synthetic.colour import srgb, tone
from trainer.data.synthetic.jpeg import compressed
from trainer.data.synthetic.seeds import rng

MOST_DEFOCUS = 0.006  # picture sides
TAPS = 5  # of motion blur


class Lens(NamedTuple):
    """Of B pictures: a camera, as a clip keeps it. Any field may be replaced; `perfect` has all off."""

    shutter: Tensor  # B, how much of the time from frame to frame it is open, in [0, 1]
    defocus: Tensor  # B, standard deviation of its blur, picture sides, up to MOST_DEFOCUS
    vignette: Tensor  # B, how much of the light the corners lack
    gains: Tensor  # B×3, exposure and white balance, of linear light
    shot: Tensor  # B, variance of the noise for each unit of linear light
    read: Tensor  # B, standard deviation of the noise in the dark
    contrast: Tensor  # B, in [-1, 1]: how steep the curve of stored values is in its middle, 0 for none
    quality: Tensor  # B, of the JPEG, 1 to 100; 0 for none
    halved: Tensor  # B bool, whether the JPEG keeps colour at half the resolution
    stream: Tensor  # B int64, which noise


def perfect(count: int) -> Lens:
    """Of `count` pictures: no effect but the tone curve."""
    none = torch.zeros(count)
    whole, stream = torch.zeros(count, dtype=torch.bool), torch.zeros(count, dtype=torch.int64)
    return Lens(none, none, none, torch.ones(count, 3), none, none, none, none, whole, stream)


def draw_lens(seed: int, indices: Sequence[int]) -> Lens:
    """One for each clip of `indices`, on the CPU: from good cameras to cheap ones in the dark."""
    drawn = [_draw(rng(seed, "lens", index)) for index in indices]
    parts = [torch.from_numpy(np.stack(part)) for part in zip(*drawn, strict=True)]
    return Lens(*(part.float() if part.is_floating_point() else part for part in parts))


def _draw(random: np.random.Generator) -> tuple[np.ndarray, ...]:  # type: ignore[type-arg]
    def between(least: float, most: float) -> float:
        return float(np.exp(random.uniform(math.log(least), math.log(most))))

    shutter = random.uniform(0.05, 0.6)
    defocus = between(0.0008, MOST_DEFOCUS) if random.random() < 0.4 else 0.0
    vignette = random.uniform(0, 0.3)
    gains = 2 ** (random.normal(0, 0.15) + random.normal(0, 0.05, 3))
    read = between(0.0005, 0.005)
    shot = read * between(0.05, 0.4)
    contrast = float(np.clip(random.normal(0, 0.2), -0.4, 0.6))
    quality = random.uniform(40, 97) if random.random() < 0.75 else 0.0
    halved = random.random() < 0.85
    stream = random.integers(2**62)
    return tuple(
        np.asarray(part)
        for part in (shutter, defocus, vignette, gains, shot, read, contrast, quality, halved, stream)
    )


def photograph(lens: Lens, light: Tensor, frame: Tensor, motion: Tensor | None = None) -> Tensor:
    """Stored pictures, B×3×H×W in [0, 1].

    light: B×3×H×W, linear. frame: B int64, each picture's number in its clip, so that noise differs.
    motion: B×2×H×W, by how many pixels (x, y) what is seen there moves until the next frame; still without.
    """
    with torch.no_grad():
        if motion is not None:
            light = moved(light, motion * lens.shutter[:, None, None, None])
        soft = lens.defocus.nonzero().squeeze(1)
        if len(soft):
            light = light.index_copy(0, soft, blurred(light[soft], lens.defocus[soft]))
        light = light * _falloff(lens.vignette, light.shape[2:]) * lens.gains[:, :, None, None]
        deviation = (lens.shot[:, None, None, None] * light + lens.read[:, None, None, None] ** 2).sqrt()
        light = light + deviation * noise(lens.stream, frame, light.shape[2:])
        picture = srgb(tone(light.clamp(min=0)))
        steeper = lens.contrast[:, None, None, None] * picture * (1 - picture) * (2 * picture - 1)
        picture = (picture + steeper).clamp(0, 1)
        coded = lens.quality.nonzero().squeeze(1)
        if not len(coded):
            return picture
        found = compressed(picture[coded], lens.quality[coded], lens.halved[coded])
        return picture.index_copy(0, coded, found)


def moved(light: Tensor, motion: Tensor) -> Tensor:
    """The mean along `motion` (B×2×H×W, pixels), half of it before and half behind."""
    height, width = light.shape[2:]
    rows = torch.arange(height, device=light.device)[:, None] + 0.5
    columns = torch.arange(width, device=light.device) + 0.5
    steps = torch.linspace(-0.5, 0.5, TAPS).tolist()
    total = torch.zeros_like(light)
    for step in steps:
        x = (columns + step * motion[:, 0]) * (2 / width) - 1
        y = (rows + step * motion[:, 1]) * (2 / height) - 1
        total += F.grid_sample(light, torch.stack((x, y), 3), padding_mode="border", align_corners=False)
    return total / TAPS


def blurred(light: Tensor, deviation: Tensor) -> Tensor:
    """By a Gaussian bell. deviation: B, in picture sides, up to MOST_DEFOCUS."""
    batch, channels, height, width = light.shape
    reach = math.ceil(3 * MOST_DEFOCUS * width)  # the same for all, so that pictures don't depend on others
    offsets = torch.arange(-reach, reach + 1, device=light.device)
    bell = torch.exp(-0.5 * (offsets / (deviation * width).clamp(min=0.05)[:, None]) ** 2)
    bell = (bell / bell.sum(1, keepdim=True)).repeat_interleave(channels, 0)[:, None, None]
    one = F.pad(light, (reach, reach, reach, reach), mode="replicate").flatten(0, 1)[None]
    one = F.conv2d(F.conv2d(one, bell, groups=len(bell)), bell.transpose(2, 3), groups=len(bell))
    return one.view(batch, channels, height, width)


def _falloff(vignette: Tensor, size: Sequence[int]) -> Tensor:
    """B×1×H×W: 1 in the middle, and less by the square of the distance from it."""
    down, across = (
        ((torch.arange(side, device=vignette.device) + 0.5) / side * 2 - 1).square() / 2 for side in size
    )
    return 1 - vignette[:, None, None, None] * (down[:, None] + across)


def noise(stream: Tensor, frame: Tensor, size: Sequence[int]) -> Tensor:
    """Numbers of mean 0 and deviation 1, nearly normal: B×3×H×W. Each follows from its stream (B), frame (B)
    and place alone, the same on any device.

    SplitMix64 (G. Steele et al., "Fast splittable pseudorandom number generators", OOPSLA 2014) of these
    gives 64 bits a pixel; the sum of four numbers of 5 bits is nearly normal, and one for each colour.
    """
    place = torch.arange(math.prod(size), device=stream.device)
    start = _mixed(stream + _mixed(frame * _GAMMA))
    bits = _mixed(start[:, None] + place * _GAMMA)
    pairs = (bits & _EVEN) + ((bits >> 5) & _EVEN)  # six sums, 10 bits apart
    fours = pairs + (pairs >> 10)  # three, 20 bits apart; what lies between is of no use
    sums = torch.stack([(fours >> shift) & 0x7F for shift in (0, 20, 40)], 1).float()
    return ((sums - 2 * 31) / math.sqrt(4 * (32**2 - 1) / 12)).view(-1, 3, *size)


_EVEN = sum(31 << shift for shift in range(0, 60, 10))
_GAMMA = 0x9E3779B97F4A7C15 - 2**64  # as signed numbers, which wrap the same


def _mixed(bits: Tensor) -> Tensor:
    bits = (bits ^ ((bits >> 30) & (2**34 - 1))) * (0xBF58476D1CE4E5B9 - 2**64)
    bits = (bits ^ ((bits >> 27) & (2**37 - 1))) * (0x94D049BB133111EB - 2**64)
    return bits ^ ((bits >> 31) & (2**33 - 1))
