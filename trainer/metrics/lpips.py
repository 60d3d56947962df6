"""LPIPS over AlexNet, or over any other features with linear weights of their own.

R. Zhang et al., "The unreasonable effectiveness of deep features as a perceptual metric", CVPR 2018.
"""

from collections.abc import Callable, Sequence
from typing import cast

import torch
from torch import Tensor, nn

SHIFT = (-0.030, -0.088, -0.188)  # ImageNet's means and deviations, of values in [−1, 1]
SCALE = (0.458, 0.448, 0.450)
EPSILON = 1e-10  # added to the length of a pixel's features
SMALLEST = 31  # pixels a side, of a picture that leaves AlexNet's last features one
CHANNELS = (64, 192, 384, 256, 256)


def lpips(
    pictures: Tensor, truth: Tensor, extract: Callable[[Tensor], Sequence[Tensor]], lins: Sequence[Tensor]
) -> Tensor:
    """B float64: at each of the layers, features are brought to length 1 at each pixel; the squares of their
    differences, weighted by channel, are averaged over the pixels; the layers' values are added up.

    pictures and truth: B×3×H×W in [0, 1]. extract: B×3×H×W, normalised for ImageNet's networks → the layers'
    features, B×C×h×w each. lins: C non-negative weights for each layer. Raises ValueError where shapes don't
    fit.
    """
    if pictures.ndim != 4 or pictures.shape[1] != 3 or pictures.shape != truth.shape:
        raise ValueError(
            f"pictures {tuple(pictures.shape)}, truth {tuple(truth.shape)}: both must be the same B×3×H×W"
        )
    layers = [extract(_normalised(one)) for one in (pictures, truth)]
    total = torch.zeros(len(pictures), dtype=torch.float64, device=pictures.device)
    for a, b, lin in zip(*layers, lins, strict=True):
        if lin.shape != a.shape[1:2]:
            raise ValueError(f"{tuple(lin.shape)} linear weights for {a.shape[1]} channels of features")
        squares = (_of_length_one(a) - _of_length_one(b)).square()
        total = total + (squares * lin.to(squares).view(1, -1, 1, 1)).sum(1).mean((1, 2))
    return total


class LpipsAlex(nn.Module):
    """`lpips` over AlexNet. Its convolutions have torchvision's keys, features.0, .3, .6, .8 and .10."""

    def __init__(self) -> None:
        super().__init__()
        a, b, c, d, e = CHANNELS
        self.features = nn.Sequential(
            nn.Conv2d(3, a, 11, 4, 2), nn.ReLU(), nn.MaxPool2d(3, 2),
            nn.Conv2d(a, b, 5, padding=2), nn.ReLU(), nn.MaxPool2d(3, 2),
            nn.Conv2d(b, c, 3, padding=1), nn.ReLU(),
            nn.Conv2d(c, d, 3, padding=1), nn.ReLU(),
            nn.Conv2d(d, e, 3, padding=1), nn.ReLU(),
        )  # fmt: skip
        self.lins = nn.ParameterList([torch.zeros(channels) for channels in CHANNELS])

    @torch.no_grad()
    def forward(self, pictures: Tensor, truth: Tensor) -> Tensor:
        """B float64. pictures and truth: B×3×H×W in [0, 1]. Also raises ValueError for less than 31 pixels a
        side."""
        if min(pictures.shape[-2:]) < SMALLEST:
            raise ValueError(f"lpips_alex of a picture of less than {SMALLEST} pixels a side: enlarge it")
        return lpips(pictures.float(), truth.float(), self.layers, list(self.lins))

    def layers(self, x: Tensor) -> list[Tensor]:
        """What each ReLU gives: five of B×C×h×w. x: B×3×H×W, normalised."""
        found = []
        for layer in self.features:
            x = cast(Tensor, layer(x))
            if isinstance(layer, nn.ReLU):
                found.append(x)
        return found


def _normalised(pictures: Tensor) -> Tensor:
    shift, scale = (pictures.new_tensor(numbers).view(1, 3, 1, 1) for numbers in (SHIFT, SCALE))
    return (2 * pictures - 1 - shift) / scale


def _of_length_one(features: Tensor) -> Tensor:
    features = features.double()
    length: Tensor = torch.linalg.vector_norm(features, dim=1, keepdim=True)
    return features / (length + EPSILON)
