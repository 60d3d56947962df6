"""What a face model says of a picture, in numbers: how the face looks, and what it does.

    model = load_coefficients("coefficients.safetensors")
    found = model.coefficients(picture)  # B×3×S×S in [0, 1]
    dict(zip(model.structure_names, found.structure[0].tolist(), strict=True))["jawOpen"]

Duarte et al. (section 3.4) compare pictures by a 3D morphable model's numbers. Here any network will do that
gives such numbers and lets gradients through: by default a small one that learnt from rendered people, whose
truth is known (`python -m trainer.prepare coefficients`). `models.deep3d` has the public one.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models.face_geometry import LANDMARKS_68
from models.landmark_regressor import Residual, conv, doubled
from models.layers import lay_out
from models.weights import check_finite, check_keys, check_shapes, naming, save_state

SIDE = 64  # pixels
WIDTHS = (24, 40, 56, 80)  # at 1/2, 1/4, 1/8, 1/16 of the side
MAPS = 16  # side of the heat maps
LOOKS, WHOLE = 4, 2  # numbers that are seen at each landmark, and in each feature of the coarsest grid
HIDDEN = 160
KIND = "coefficients"  # what such a file's header says it is
VERSION = "1"  # of that header
MOST_NAMES, LONGEST_NAME = 500, 60  # in a header


class Coefficients(NamedTuple):
    """Of B pictures. Each number is standardised: over the people of the model's training, the truth has mean
    0 and deviation 1, so that L1 and L2 between pictures give every number the same say."""

    appearance: Tensor  # B×A, how the face looks: shape and colours
    structure: Tensor  # B×S, what it does: expression, gaze and rotation


class FaceModel(Protocol):
    """Differentiable in the pictures."""

    @property
    def appearance_names(self) -> tuple[str, ...]:
        """Of the A numbers."""

    @property
    def structure_names(self) -> tuple[str, ...]:
        """Of the S numbers."""

    def coefficients(self, image: Tensor) -> Coefficients:
        """image: B×3×S×S in [0, 1], cropped as `models.latent.crop` has it of the network that draws it."""


class CoefficientRegressor(nn.Module):
    """0.5 M parameters and 22 million multiplications a picture of 64². It finds 68 landmarks, as
    `models.landmark_regressor` does, looks at what is there, and tells its numbers from both and from the
    whole. Each number is the mean of what is possible with that picture: the less can be seen of it, the
    nearer it stays to nought.

    appearance, structure: names of the numbers; `mean` and `deviation` hold what 0 and 1 are in the units of
    the truth. Raises ValueError where a half has no name or a name comes twice.
    """

    mean: Tensor
    deviation: Tensor
    grid: Tensor

    def __init__(self, appearance: Sequence[str], structure: Sequence[str]) -> None:
        super().__init__()
        self.appearance_names, self.structure_names = tuple(appearance), tuple(structure)
        names = (*appearance, *structure)
        if not appearance or not structure or len(set(names)) < len(names):
            raise ValueError("each half needs a number at least, and each number a name of its own")
        a, b, c, d = WIDTHS
        self.fine = nn.Sequential(conv(3, a, stride=2), conv(a, b, stride=2), conv(b, b))  # 16²
        self.middle = nn.Sequential(conv(b, c, stride=2), Residual(c))  # 8²
        self.coarse = nn.Sequential(conv(c, d, stride=2), Residual(d))  # 4²
        self.to_middle = conv(d, c, kernel=1)
        self.middle_again = Residual(c)
        self.to_fine = conv(c, b, kernel=1)
        self.fine_again = conv(b, b)
        self.heat = nn.Conv2d(b, len(LANDMARKS_68), 1)
        self.look = nn.Conv2d(b, LOOKS, 1)  # of what is there at each landmark
        self.whole = nn.Conv2d(d, WHOLE * d, SIDE // 16, groups=d)
        seen = len(LANDMARKS_68) * (2 + LOOKS) + WHOLE * d
        self.numbers = nn.Sequential(
            nn.BatchNorm1d(seen),
            nn.Linear(seen, HIDDEN),
            nn.BatchNorm1d(HIDDEN),
            nn.ReLU(inplace=True),
            nn.Linear(HIDDEN, len(names)),
        )
        self.register_buffer("grid", (torch.arange(MAPS) + 0.5) / MAPS, persistent=False)
        self.register_buffer("mean", torch.zeros(len(names)))
        self.register_buffer("deviation", torch.ones(len(names)))
        lay_out(self)

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """The numbers, B×(A + S), standardised; and the landmarks that it goes by, B×68×2 in crop units.
        image: B×3×S×S in [0, 1], brought to 64² by its areas' means."""
        if image.shape[2:] != (SIDE, SIDE):
            image = F.interpolate(image, (SIDE, SIDE), mode="area")
        fine = self.fine(2 * image - 1)
        middle = self.middle(fine)
        coarse = self.coarse(middle)
        middle = self.middle_again(middle + doubled(self.to_middle(coarse)))
        fine = self.fine_again(fine + doubled(self.to_fine(middle)))
        share = self.heat(fine).flatten(2).softmax(2)  # B×68×16²
        maps = share.unflatten(2, (MAPS, MAPS))
        points = torch.stack(((maps.sum(2) * self.grid).sum(2), (maps.sum(3) * self.grid).sum(2)), 2)
        there = share @ self.look(fine).flatten(2).transpose(1, 2)  # B×68×LOOKS
        seen = torch.cat((points.flatten(1), there.flatten(1), self.whole(coarse).flatten(1)), 1)
        return self.numbers(seen), points

    def coefficients(self, image: Tensor) -> Coefficients:
        """As `FaceModel` has it."""
        found: Tensor = self(image)[0]
        return Coefficients(*torch.split(found, [len(self.appearance_names), len(self.structure_names)], 1))

    def only(self, names: frozenset[str]) -> "CoefficientRegressor":
        """A copy that gives those of its numbers. Raises ValueError where a half would have none."""
        every = (*self.appearance_names, *self.structure_names)
        rows = [row for row, name in enumerate(every) if name in names]
        less = CoefficientRegressor(
            [name for name in self.appearance_names if name in names],
            [name for name in self.structure_names if name in names],
        )
        of_numbers = ("numbers.4.weight", "numbers.4.bias", "mean", "deviation")
        state = self.state_dict()
        less.load_state_dict(state | {key: state[key][rows] for key in of_numbers})
        return less.train(self.training)


def save_coefficients(network: CoefficientRegressor, path: str | Path) -> None:
    """Raises ValueError where a number is not finite, OSError where the file can't be written."""
    names = {"appearance": network.appearance_names, "structure": network.structure_names}
    header = {half: json.dumps(those) for half, those in names.items()}
    save_state(network, path, {"kind": KIND, "version": VERSION, **header})


def load_coefficients(path: str | Path) -> CoefficientRegressor:
    """What `save_coefficients` wrote, frozen and in evaluation mode. Raises ValueError, one line that names
    the file, for anything else."""
    from safetensors import SafetensorError, safe_open

    path = Path(path)
    with naming(path):
        if not path.is_file():
            raise ValueError("there is no such file; python -m trainer.prepare coefficients makes one")
        try:
            with safe_open(path, framework="pt") as file:
                header = file.metadata() or {}
                if header.get("kind") != KIND or header.get("version") != VERSION:
                    raise ValueError(
                        "not the weights of a CoefficientRegressor of this version; "
                        "python -m trainer.prepare coefficients makes them"
                    )
                with torch.random.fork_rng(devices=[]):  # what a run draws doesn't depend on loading
                    network = CoefficientRegressor(_names(header, "appearance"), _names(header, "structure"))
                expected = network.state_dict()
                check_keys(file.keys(), expected, "CoefficientRegressor")
                state = {key: file.get_tensor(key) for key in expected}
        except (SafetensorError, OSError) as error:
            raise ValueError(f"no safetensors file, or a damaged one ({error})") from None
        check_shapes(state, expected, "CoefficientRegressor")
        check_finite(state)
    network.load_state_dict(state)
    return network.requires_grad_(False).eval()


def _names(header: Mapping[str, str], half: str) -> list[str]:
    try:
        names = json.loads(header.get(half, ""))
    except (ValueError, RecursionError):
        names = None
    if (
        not isinstance(names, list)
        or len(names) > MOST_NAMES
        or not all(isinstance(name, str) and 0 < len(name) <= LONGEST_NAME for name in names)
    ):
        raise ValueError(f"its header's {half!r} holds no names of numbers")
    return names
