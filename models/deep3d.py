"""The public face model of Deng et al., *Accurate 3D Face Reconstruction with Weakly-Supervised Learning*, as
`models.coefficients.FaceModel`: 257 numbers from a ResNet-50.

    model = load_deep3d("epoch_20.pth")
    found = model.coefficients(picture)  # B×3×S×S in [0, 1]

After the authors' program (sicxu/Deep3DFaceRecon_pytorch), where these were read: the checkpoint's
`net_recon` and its keys, the order of the seven last layers, pictures in [0, 1] without further normalisation
at 224², the square about the face, and shape, expression and texture as multiples of the deviations of the
3DMM's modes. Not tried with the authors' weights.
"""

from pathlib import Path
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models import pickles
from models.coefficients import Coefficients
from models.public_weights import entry, fitted, mapping, plain
from models.weights import naming

SIDE = 224  # pixels
PARTS = (80, 64, 80, 3, 27, 3)  # id, exp, tex, angle, light, trans
HEADS = (80, 64, 80, 3, 27, 2, 1)  # the last layers: trans is x and y, and z on its own
BLOCKS = ((64, 3, 1), (128, 4, 2), (256, 6, 2), (512, 3, 2))  # ResNet-50: width, length, stride
GROWTH = 4  # channels of a block / its width
ANGLE = 0.3  # radians, about the deviation of drawn heads' yaw, pitch and roll

# The square that the network was trained with, as a part of `models.latent.CROP`'s, in dm of a mean face seen
# from the front: theirs is 224 pixels at 102 a dm, about the point where x and y are nought.
EYES_X, EYES_Y, MOUTH_Y = 0.31, 0.29, -0.38  # eyes at ±x; y points up
OURS = 4 * 2 * EYES_X  # FFHQ's side: 4 × the distance of the eyes
SHARE = SIDE / 102 / OURS  # their side / ours
BELOW = (EYES_Y - 0.1 * (EYES_Y - MOUTH_Y)) / OURS  # from our middle down to theirs, in our sides


class Parts(NamedTuple):
    """What the 257 numbers are."""

    id: Tensor  # B×80, shape of the face
    exp: Tensor  # B×64, expression
    tex: Tensor  # B×80, colours
    angle: Tensor  # B×3, radians: pitch, yaw, roll
    light: Tensor  # B×27, spherical harmonics, nine of each colour
    trans: Tensor  # B×3, dm


def split_257(vector: Tensor) -> Parts:
    """vector: B×257. Raises ValueError for another length."""
    if vector.shape[-1] != sum(PARTS):
        raise ValueError(f"{vector.shape[-1]} coefficients; expected {sum(PARTS)}")
    return Parts(*torch.split(vector, list(PARTS), -1))


class Deep3DFaceRecon(nn.Module):
    """appearance: id and tex, B×160. structure: exp and angle, B×67. Parameters are named as in the public
    checkpoint."""

    appearance_names = tuple(f"{part}_{number}" for part in ("id", "tex") for number in range(80))
    structure_names = (*(f"exp_{number}" for number in range(64)), "pitch", "yaw", "roll")

    def __init__(self) -> None:
        super().__init__()
        self.backbone = _ResNet50()
        self.final_layers = nn.ModuleList([nn.Conv2d(BLOCKS[-1][0] * GROWTH, width, 1) for width in HEADS])

    def forward(self, image: Tensor) -> Tensor:
        """B×257 of faces in the authors' own square: B×3×224×224 in [0, 1]."""
        features = self.backbone(image)
        return torch.cat([layer(features).flatten(1) for layer in self.final_layers], 1)

    def coefficients(self, image: Tensor) -> Coefficients:
        """As `models.coefficients.FaceModel` has it."""
        found = split_257(self(reframed(image)))
        return Coefficients(
            torch.cat((found.id, found.tex), 1), torch.cat((found.exp, found.angle / ANGLE), 1)
        )


def reframed(image: Tensor) -> Tensor:
    """The authors' square of pictures cropped as `models.latent.CROP` has it: B×3×S×S → B×3×224×224. What
    lies below the picture repeats its edge."""
    theta = image.new_tensor([[SHARE, 0, 0], [0, SHARE, 2 * BELOW]]).expand(len(image), 2, 3)
    side = max(1, round(SHARE * image.shape[-1] / SIDE)) * SIDE  # of larger pictures, means of areas
    grid = F.affine_grid(theta, [len(image), 3, side, side], align_corners=False)
    found = F.grid_sample(image, grid, mode="bilinear", padding_mode="border", align_corners=False)
    return F.avg_pool2d(found, side // SIDE)


def load_deep3d(path: str | Path) -> Deep3DFaceRecon:
    """The authors' `.pth`, frozen and in evaluation mode. Raises ValueError, one line that names file and
    key, for anything else. Nothing of the file is run."""
    path = Path(path)
    found = pickles.tensors(path)
    with torch.random.fork_rng(devices=[]):  # what a run draws doesn't depend on loading
        network = Deep3DFaceRecon()
    with naming(path):
        state = plain(entry(mapping(found, "the file"), "net_recon"), "net_recon")
        network.load_state_dict(fitted(state, dict(network.state_dict()), "Deep3DFaceRecon"))
    return network.requires_grad_(False).eval()


class _ResNet50(nn.Module):
    """B×3×224×224 → B×2048×1×1. K. He et al., "Deep residual learning for image recognition", with the
    strides at the 3×3 convolutions."""

    def __init__(self) -> None:
        super().__init__()
        before = BLOCKS[0][0]
        self.conv1 = nn.Conv2d(3, before, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(before)
        for number, (width, length, stride) in enumerate(BLOCKS, 1):
            after = width * GROWTH
            first = _Bottleneck(before, width, stride)
            rest = [_Bottleneck(after, width, 1) for _ in range(length - 1)]
            self.add_module(f"layer{number}", nn.Sequential(first, *rest))
            before = after

    def forward(self, x: Tensor) -> Tensor:
        x = F.max_pool2d(F.relu(self.bn1(self.conv1(x))), 3, 2, 1)
        for number in range(1, len(BLOCKS) + 1):
            x = self.get_submodule(f"layer{number}")(x)
        return x.mean((2, 3), keepdim=True)


class _Bottleneck(nn.Module):
    """Its widest layers are at its ends; what goes in is added."""

    def __init__(self, before: int, width: int, stride: int) -> None:
        super().__init__()
        after = width * GROWTH
        self.conv1, self.bn1 = nn.Conv2d(before, width, 1, bias=False), nn.BatchNorm2d(width)
        self.conv2, self.bn2 = nn.Conv2d(width, width, 3, stride, 1, bias=False), nn.BatchNorm2d(width)
        self.conv3, self.bn3 = nn.Conv2d(width, after, 1, bias=False), nn.BatchNorm2d(after)
        self.downsample: nn.Sequential | None = None
        if before != after:
            self.downsample = nn.Sequential(
                nn.Conv2d(before, after, 1, stride, bias=False), nn.BatchNorm2d(after)
            )

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.bn1(self.conv1(x)))
        y = self.bn3(self.conv3(F.relu(self.bn2(self.conv2(y)))))
        return F.relu(y + cast(Tensor, x if self.downsample is None else self.downsample(x)))
