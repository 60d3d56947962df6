"""Colours of light, and from linear light to what a picture stores. Primaries are sRGB's throughout."""

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

LUMINANCE = (0.2126, 0.7152, 0.0722)  # of linear R, G, B; IEC 61966-2-1
KNEE = 0.7  # linear light, above which the tone curve bends

# Linear R, G, B from CIE XYZ (D65): IEC 61966-2-1.
FROM_XYZ = np.array(
    [[3.2406, -1.5372, -0.4986], [-0.9689, 1.8758, 0.0415], [0.0557, -0.2040, 1.0570]], dtype=np.float64
)


def blackbody(kelvin: float) -> npt.NDArray[np.float64]:
    """Linear R, G, B (3, luminance 1) of a radiator at 1,000 to 15,000 K; what lies outside of sRGB's colours
    is brought to their border. The chromaticity is that of M. Krystek, "An algorithm to calculate correlated
    colour temperature", Color Research & Application 10 (1985)."""
    t = kelvin
    u = (0.860117757 + 1.54118254e-4 * t + 1.28641212e-7 * t**2) / (
        1 + 8.42420235e-4 * t + 7.08145163e-7 * t**2
    )
    v = (0.317398726 + 4.22806245e-5 * t + 4.20481691e-8 * t**2) / (
        1 - 2.89741816e-5 * t + 1.61456053e-7 * t**2
    )
    x, y = 3 * u / (2 * u - 8 * v + 4), 2 * v / (2 * u - 8 * v + 4)
    colour = np.maximum(FROM_XYZ @ (x / y, 1.0, (1 - x - y) / y), 0.0)
    balanced: npt.NDArray[np.float64] = colour / (colour @ LUMINANCE)
    return balanced


def tone(linear: Tensor) -> Tensor:
    """Linear light of a scene (≥ 0, any shape) as a display shows it, in [0, 1): the same up to the knee, and
    above it a shoulder that never quite reaches white."""
    over = (linear - KNEE).clamp(min=0)
    return linear.clamp(max=KNEE) + (1 - KNEE) * (1 - torch.exp(-over / (1 - KNEE)))


def srgb(linear: Tensor) -> Tensor:
    """Of linear light in [0, 1], the stored value in [0, 1]: the curve of IEC 61966-2-1."""
    return torch.where(
        linear <= 0.0031308, linear * 12.92, 1.055 * linear.clamp(min=0.0031308) ** (1 / 2.4) - 0.055
    )


def linear(stored: Tensor) -> Tensor:
    """The reverse of `srgb`."""
    return torch.where(
        stored <= 0.04045, stored / 12.92, ((stored.clamp(min=0.04045) + 0.055) / 1.055) ** 2.4
    )
