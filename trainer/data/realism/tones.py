"""Are all skin tones there, and as often one as another?

A person's tone is the median colour of the chest's texture, as under even white light: skin that neither
blood nor make-up nor a beard colours. Its level is the nearest of the ten of E. Monk, "Monk Skin Tone Scale"
(2019, skintone.google) in CIELAB. Cheeks are told beside: their blood takes the palest to other levels.
"""

import numpy as np
import numpy.typing as npt
import torch

from trainer.data.realism.readings import Findings, Reading
from trainer.data.synthetic.head import chest, skin
from trainer.data.synthetic.people import draw_identity, make_people

PART = "tones"
MONK = (
    *("f6ede4", "f3e7db", "f7ead0", "eadaba", "d7bd96"),
    *("a07e56", "825c43", "604134", "3a312a", "292420"),
)
CHEEKS = ((50, 205), (280, 425))  # landmarks between whose places in the texture a cheek lies
SIZE = 64  # of the pictures that the texture would be for
AT_ONCE = 10  # people
SLACK = 2.0  # points of percent by which a level's share may be off

# sRGB (IEC 61966-2-1) to XYZ of D65, and that white.
TO_XYZ = ((0.4124, 0.3576, 0.1805), (0.2126, 0.7152, 0.0722), (0.0193, 0.1192, 0.9505))
WHITE = (0.9505, 1.0, 1.089)

Array = npt.NDArray[np.float64]


def measure(people: int, seed: int) -> Findings:
    """Of `people` identities."""
    cpu = torch.device("cpu")
    chests, cheeks = [], []
    with torch.inference_mode():
        for first in range(0, people, AT_ONCE):
            identity = draw_identity(seed, range(first, min(first + AT_ONCE, people)))
            atlas = make_people(identity, SIZE, cpu).atlas.numpy()
            chests.append(chest_colours(atlas))
            cheeks.append(cheek_colours(atlas))
    shares = level_shares(np.concatenate(chests))
    flushed = ", ".join(f"{share:.1f}" for share in level_shares(np.concatenate(cheeks)))
    even = 100 / len(MONK)
    readings = [
        Reading(PART, f"Monk level {level}", float(share), "%", least=even - SLACK, most=even + SLACK)
        for level, share in enumerate(shares, 1)
    ]
    return Findings(
        readings,
        [
            f"tones: of {people} identities, by the median reflectance of the chest; by that of the cheeks, "
            f"where blood, freckles and rouge are, levels 1 to 10 have {flushed} %"
        ],
    )


def chest_colours(atlas: npt.NDArray[np.float32]) -> Array:
    """Textures (B×A×A×4, linear) to the median reflectance of the chest: B×3, linear."""
    uv = chest().uv * atlas.shape[1]
    (left, top), (right, bottom) = uv.min(0).astype(int) + 1, uv.max(0).astype(int)
    return _median(atlas[:, top:bottom, left:right, :3])


def cheek_colours(atlas: npt.NDArray[np.float32]) -> Array:
    """Textures (B×A×A×4, linear) to the median reflectance of the cheeks: B×3, linear."""
    side = atlas.shape[1]
    patches = []
    for a, b in CHEEKS:
        first, second = skin().uv[a] * side, skin().uv[b] * side
        (x, y), half = (first + second) / 2, max(float(np.abs(first - second).max()) / 2, 1.0)
        rows, columns = (slice(int(place - half), int(place + half) + 1) for place in (y, x))
        patches.append(atlas[:, rows, columns, :3].reshape(len(atlas), -1, 3))
    return _median(np.concatenate(patches, 1))


def _median(patch: npt.NDArray[np.float32]) -> Array:
    """B×…×3 → B×3."""
    return np.asarray(np.median(patch.reshape(len(patch), -1, 3).astype(np.float64), axis=1))


def level_shares(colours: Array) -> Array:
    """Which percentage of colours (N×3, linear) is nearest to each level: 10."""
    levels = lab(linear(np.array([[int(code[at : at + 2], 16) for at in (0, 2, 4)] for code in MONK]) / 255))
    distances = np.linalg.norm(lab(colours)[:, None] - levels[None], axis=2)
    return np.asarray(100 * np.bincount(distances.argmin(1), minlength=len(MONK)) / len(colours))


def linear(stored: Array) -> Array:
    """sRGB values in [0, 1] as light."""
    return np.where(stored <= 0.04045, stored / 12.92, ((stored + 0.055) / 1.055) ** 2.4)


def lab(light: Array) -> Array:
    """Linear light (…×3) in CIELAB under D65 (CIE 15:2004)."""
    share = light @ np.array(TO_XYZ).T / WHITE
    cube = np.where(share > (6 / 29) ** 3, np.cbrt(share), share / (3 * (6 / 29) ** 2) + 4 / 29)
    x, y, z = np.moveaxis(cube, -1, 0)
    return np.stack((116 * y - 16, 500 * (x - y), 200 * (y - z)), -1)
