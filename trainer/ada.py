"""What a discriminator sees, moved and recoloured by chance, so that few pictures last longer: Karras et al.,
*Training Generative Adversarial Networks with Limited Data* (ADA), with its pipeline "bgc".

seen = augmented(pictures, probability, random)                    # the real ones and the drawn ones alike
probability = adjusted(probability, sign_mean, pictures=batch)     # now and then

B pictures, S pixels a side. Places in a picture are from −1 to 1, x to the right, y downwards.
"""

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from models.layers import without_autocast

# Appendix B. Translations are in sides of the picture; what is lognormal is 2^N(0, σ²).
SHIFT = 0.125  # of whole pixels up to this; of parts of pixels: σ
SCALE = 0.2  # σ, in octaves
BRIGHTNESS = 0.2  # σ, pictures being from −1 to 1
CONTRAST = 0.5  # σ, in octaves
SATURATION = 1.0  # σ, in octaves


def augmented(pictures: Tensor, probability: float | Tensor, random: torch.Generator) -> Tensor:
    """Each picture changed in its own way: appendix B, its steps in their order.

    Pixel blitting: mirrored (i ∈ {0, 1}); turned by i·90° (i ∈ {0 … 3}); moved by round(S·U(−⅛, ⅛)) pixels.
    Geometry: scaled by s = 2^N(0, 0.2²); turned by U(−π, π); scaled by (s, 1/s), s = 2^N(0, 0.2²); turned by
    U(−π, π); moved by S·N(0, ⅛²) pixels. Colour: b = N(0, 0.2²) added; multiplied by 2^N(0, 0.5²); luma
    mirrored (i ∈ {0, 1}); hue turned by U(−π, π); saturation multiplied by 2^N(0, 1). A step is taken or
    left by a throw of its own with p, each of the two turns with 1 − √(1 − p): so one of them or both are
    taken with p.

    pictures: B×3×S×S in [−1, 1]; the results may lie outside of it. probability: p in [0, 1], a number or a
    tensor of one. random: on any device, the CPU's being the fastest, since which pictures are changed is
    asked; how many numbers it gives depends on B only. The result has the pictures' type and is computed in
    float32 or wider, under autocast too. A picture of which no step is taken comes back as it is, to the last
    bit. Can be differentiated twice, as R1 in front of it does.

    All of the geometry is one bicubic sampling, with reflection outside. That kernel is 1 at its own pixel
    and 0 at the others, so that blitting is exact but for rounding; the paper's filters, 2× up and down, come
    near that. Where a picture shrinks, 2×2 samples are averaged, as far apart as to cover what becomes one
    pixel.
    """
    assert pictures.ndim == 4, tuple(pictures.shape)
    assert pictures.shape[1] == 3, tuple(pictures.shape)
    assert pictures.shape[2] == pictures.shape[3], tuple(pictures.shape)
    steps = _Steps(len(pictures), probability, random)
    back, colours = _geometry(steps, pictures.shape[-1]), _colours(steps)
    with without_autocast(pictures.device.type):
        wide = pictures.to(torch.promote_types(pictures.dtype, torch.float32))
        moved = _where(_changing(back), _sampled, wide, back)
        return _where(_changing(colours), _recoloured, moved, colours).to(pictures.dtype)


def adjusted(
    probability: float, sign_mean: float, pictures: int, target: float = 0.6, speed: int = 500_000
) -> float:
    """The probability from now on: section 3.2. It rises where the discriminator knows too well what is real,
    and falls else, by as much as takes it from 0 to 1 in `speed` pictures, and stays within those.

    sign_mean: r_t = E[sign(D(x))] over the real pictures since the last time, of all ranks. pictures: how
    many the discriminator has been shown since then, of all ranks. target: of r_t.
    """
    assert 0 <= probability <= 1, probability
    assert -1 <= sign_mean <= 1, sign_mean
    way = (sign_mean > target) - (sign_mean < target)
    return min(1.0, max(0.0, probability + way * pictures / speed))


class _Steps:
    """Throws for a batch: what a step would be, and whether it is taken. All are float64."""

    def __init__(self, batch: int, probability: float | Tensor, random: torch.Generator) -> None:
        self.batch, self.random = batch, random
        self.probability = torch.as_tensor(probability, dtype=torch.float64, device=random.device)

    def uniform(self, low: float, high: float) -> Tensor:
        return low + (high - low) * torch.rand(
            self.batch, generator=self.random, dtype=torch.float64, device=self.random.device
        )

    def normal(self, deviation: float) -> Tensor:
        return deviation * torch.randn(
            self.batch, generator=self.random, dtype=torch.float64, device=self.random.device
        )

    def one_of(self, count: int) -> Tensor:
        """0 … count − 1, all alike."""
        return self.uniform(0, count).floor()

    def taken(self, value: Tensor, neutral: float = 0.0, probability: Tensor | None = None) -> Tensor:
        """The value, …×B, where the step is taken. probability: another than the pipeline's."""
        chance = self.probability if probability is None else probability
        return torch.where(self.uniform(0, 1) < chance, value, neutral)


def _geometry(steps: _Steps, side: int) -> Tensor:
    """B×3×3: from places in what is made to the places in the picture that are seen there."""
    back = _flip(steps.taken(steps.one_of(2)))
    back = back @ _quarters(steps.taken(steps.one_of(4)))
    pixels = torch.stack([(steps.uniform(-SHIFT, SHIFT) * side).round() for _ in range(2)])
    back = back @ _shift(*steps.taken(pixels * 2 / side))

    turning = 1 - (1 - steps.probability).sqrt()
    scale = steps.taken(2 ** steps.normal(SCALE), 1.0)
    back = back @ _scale(scale, scale)
    back = back @ _turn(steps.taken(steps.uniform(-math.pi, math.pi), probability=turning))
    stretch = steps.taken(2 ** steps.normal(SCALE), 1.0)
    back = back @ _scale(stretch, 1 / stretch)
    back = back @ _turn(steps.taken(steps.uniform(-math.pi, math.pi), probability=turning))
    sides = torch.stack([steps.normal(SHIFT) for _ in range(2)])
    return back @ _shift(*steps.taken(sides * 2))


# Each step's inverse, as `_geometry` wants it.


def _flip(on: Tensor) -> Tensor:
    return _rows([[1 - 2 * on, 0, 0], [0, 1, 0], [0, 0, 1]])


def _quarters(count: Tensor) -> Tensor:
    """Of whole quarters, counterclockwise, without a cosine's rounding."""
    cosine, sine = ((count * math.pi / 2 + phase).cos().round() for phase in (0, -math.pi / 2))
    return _rows([[cosine, -sine, 0], [sine, cosine, 0], [0, 0, 1]])


def _turn(angle: Tensor) -> Tensor:
    """Counterclockwise, in radians."""
    return _rows([[angle.cos(), -angle.sin(), 0], [angle.sin(), angle.cos(), 0], [0, 0, 1]])


def _scale(x: Tensor, y: Tensor) -> Tensor:
    return _rows([[1 / x, 0, 0], [0, 1 / y, 0], [0, 0, 1]])


def _shift(right: Tensor, down: Tensor) -> Tensor:
    return _rows([[1, 0, -right], [0, 1, -down], [0, 0, 1]])


def _colours(steps: _Steps) -> Tensor:
    """B×4×4, of (red, green, blue, 1)."""
    made = _brighter(steps.taken(steps.normal(BRIGHTNESS)))
    made = _contrast(steps.taken(2 ** steps.normal(CONTRAST), 1.0)) @ made
    made = _luma_flip(steps.taken(steps.one_of(2))) @ made
    made = _hue(steps.taken(steps.uniform(-math.pi, math.pi))) @ made
    return _saturation(steps.taken(2 ** steps.normal(SATURATION), 1.0)) @ made


def _brighter(by: Tensor) -> Tensor:
    return _rows([[1, 0, 0, by], [0, 1, 0, by], [0, 0, 1, by], [0, 0, 0, 1]])


def _contrast(times: Tensor) -> Tensor:
    return _rows([[times, 0, 0, 0], [0, times, 0, 0], [0, 0, times, 0], [0, 0, 0, 1]])


def _luma_flip(on: Tensor) -> Tensor:
    """I − 2vvᵀ, v being the grey axis (1, 1, 1)/√3."""
    return _about_grey(1 - on * 2, torch.ones_like(on), torch.zeros_like(on))


def _hue(angle: Tensor) -> Tensor:
    """A rotation about the grey axis, in radians, red towards green."""
    return _about_grey(torch.ones_like(angle), angle.cos(), angle.sin())


def _saturation(times: Tensor) -> Tensor:
    """vvᵀ + (I − vvᵀ)·s."""
    return _about_grey(torch.ones_like(times), times, torch.zeros_like(times))


def _about_grey(along: Tensor, across: Tensor, around: Tensor) -> Tensor:
    """B×4×4: a·vvᵀ + b·(I − vvᵀ) + c·[v]×."""
    grey, axis = along / 3, 1 / math.sqrt(3)
    own, plus, minus = grey + across * (2 / 3), grey - across / 3, around * axis
    return _rows(
        [
            [own, plus - minus, plus + minus, 0],
            [plus + minus, own, plus - minus, 0],
            [plus - minus, plus + minus, own, 0],
            [0, 0, 0, 1],
        ]
    )


def _rows(values: list[list[Tensor | float]]) -> Tensor:
    """Matrices B×n×n of tensors B and numbers."""
    like = next(value for row in values for value in row if isinstance(value, Tensor))
    return torch.stack([torch.stack([like * 0 + value for value in row], -1) for row in values], -2)


def _changing(matrices: Tensor) -> Tensor:
    """B: is it another than the identity?"""
    same = matrices == torch.eye(matrices.shape[-1], dtype=matrices.dtype, device=matrices.device)
    return ~same.flatten(1).all(1)


def _where(
    chosen: Tensor, change: Callable[[Tensor, Tensor], Tensor], pictures: Tensor, matrices: Tensor
) -> Tensor:
    """The pictures, those that are chosen changed by their matrices. What is left takes no time."""
    rows = chosen.nonzero()[:, 0]
    if not len(rows):
        return pictures
    theirs = matrices[rows].to(pictures.device, pictures.dtype)
    rows = rows.to(pictures.device)
    return pictures.index_copy(0, rows, change(pictures[rows], theirs))


def _sampled(pictures: Tensor, back: Tensor) -> Tensor:
    """B×3×S×S: at each place what `back`, B×3×3, says is seen there."""
    side = pictures.shape[-1]
    # Pixels of the picture that one of the result's spans along each of its axes: where they are more than
    # one, samples stand ±(pixels − 1)/2 of them apart, which is (1 − 1/pixels)/2 of the result's.
    spans = torch.linalg.vector_norm(back[:, :2, :2], dim=1)  # B×2
    apart = (1 - 1 / spans.clamp(min=1)) / side
    middles = (2 * torch.arange(side, device=back.device, dtype=back.dtype) + 1) / side - 1
    pairs = torch.stack((middles - apart[..., None], middles + apart[..., None]), -1)  # B×2×S×2
    x, y = pairs.flatten(2).unbind(1)  # B×2S each
    steps = back[:, :2, :, None, None]
    places = steps[:, :, 0] * x[:, None, None, :] + steps[:, :, 1] * y[:, None, :, None] + steps[:, :, 2]
    found = F.grid_sample(
        pictures,
        places.movedim(1, -1),  # B×2S×2S×2
        mode="bicubic",
        padding_mode="reflection",
        align_corners=False,
    )
    return F.avg_pool2d(found, 2)


def _recoloured(pictures: Tensor, colours: Tensor) -> Tensor:
    """B×3×S×S, by colours B×4×4."""
    mixed = colours[:, :3, :3] @ pictures.flatten(2) + colours[:, :3, 3:]
    return mixed.view_as(pictures)
