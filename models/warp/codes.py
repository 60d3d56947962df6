"""What `warp` keeps of a portrait and of a driving frame."""

from typing import NamedTuple

from torch import Tensor

from models.warp.features import Features
from models.warp.field import Field

SIZE = 512  # side of the source's crop, pixels
GRID = 128  # cells a side of the displacement
SHADE = 96  # pixels a side of the canonical face, on which shading is compared
MOUTH = (72, 96)  # pixels of the mouth's patch, height and width
MOUTH_SPAN = 1.5  # width of the patch, × the mouth's width
EYE = (64, 96)  # pixels of an eye's patch
EYE_SPAN = 1.6  # width of the patch, × the eye's width
IRIS = 48  # pixels a side of an iris' patch
IRIS_SPAN = 1.3  # half side of the patch, × the iris' radius


class Structure(NamedTuple):
    """What of a face moves. A driving frame's is in its frame's pixels, a transferred one in the source
    crop's.
    """

    points: Tensor  # B×478×3
    head: Tensor  # B×RING×2: where the silhouette goes; 0 in a driver's codes
    shade: Tensor  # B×1×SHADE×SHADE: log of the low-pass luminance on the canonical face
    skin: Tensor  # B×3: mean colour of the cheeks and the nose bridge
    mouth: Tensor  # B×3×MOUTH: the mouth, upright and scaled to its width
    opened: Tensor  # B in [0, 1]: how much of `mouth` is shown between the lips
    opening: (
        Tensor  # B×478×3: what was taken from a neutral's points to close its mouth; 0 in all other codes
    )


class Appearance(NamedTuple):
    """What of a portrait stays. Batch 1 when it is made."""

    structure: Structure  # the source's own
    picture: Tensor  # B×3×SIZE×SIZE
    ring: Tensor  # B×RING×3: the head's silhouette, crop pixels
    features: Features  # of the picture, in grid_sample's units
    field: Field
    shade_at: (
        Tensor  # B×GRID×GRID×2: where on the canonical face each cell of the crop lies, grid_sample's units
    )
    shade_mask: Tensor  # B×1×GRID×GRID: where the driver's shading may act: the face without eyes
    # B×2×3×EYE: the eyeballs without irises, left and right, upright and scaled to the eye's width
    sclera: Tensor
    iris: Tensor  # B×2×3×IRIS×IRIS
    iris_radius: Tensor  # B×2, × the eye's width
    eyes_seen: Tensor  # B×2: 1 where the portrait shows enough of an eye to draw it
