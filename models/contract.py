"""What every generator is: one class with six calls, so that the engine, the trainer's evaluation, the
exporter and the offline tool know nothing of any particular network.

    appearance = generator.encode_appearance([source])                        # once per portrait
    structure = generator.encode_structure(driving)                           # every frame
    structure = generator.transfer(structure, neutral, appearance, controls)
    rgb, alpha = generator.decode(appearance, structure)

Shapes: B batch, H×W picture, N = 478 landmarks. Pictures are RGB in [0, 1]. Codes are named tuples of
batch-first tensors.
"""

import abc
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Literal, NamedTuple, TypeVar

import torch
from torch import Tensor, nn

LANDMARKS = 478  # MediaPipe FaceMesh with refined irises

EDITS = ("turn", "nod", "tilt", "jaw", "smile", "blink")  # sliders, along directions of the structure code
OFF = ("retarget", *EDITS)  # controls that are nought until somebody asks for them


class Observation(NamedTuple):
    """One picture of a face, cropped by a generator's `CropRule`."""

    image: Tensor  # B×3×H×W in [0, 1]; as levels (uint8) until `to_unit`, on its way to a network
    points: (
        Tensor | None
    )  # B×478×3 in crop units: x, y in [0, 1] inside the crop, z in the scale of x; absent without landmarks
    to_frame: Tensor  # B×2×3: crop units → pixels of the uncropped frame: what the crop took out is not lost
    valid: Tensor  # B bool: was a face seen
    person: Tensor | None = (
        None  # B×1×H×W in [0, 1]: where the person is; only on source pictures, and optional there
    )


class Controls(NamedTuple):
    """How a session wants the motion applied. Each is a B-tensor, so that sessions with different wishes
    share a batch."""

    relative: Tensor  # 1: motion since the neutral pose; 0: the driver's pose as it stands
    gain_pose: Tensor  # [0, 2] head rotation, shift and scale
    gain_expression: Tensor  # [0, 2] everything that is not head pose
    eyes: Tensor  # [0, 2] gaze and lids, on top of gain_expression
    lips: Tensor  # [0, 2] mouth, on top of gain_expression
    face: Tensor  # [0, 2] all other expression, on top of gain_expression
    retarget: (
        Tensor  # 1: eyes and lips open as far as the landmarks tell; 0: as the network reads the picture
    )
    stitching: Tensor  # [0, 1] how much is done to keep the shoulders where they are
    mouth_pixels: Tensor  # 1: the inside of the driver's mouth is shown; 0: it is synthesised
    shading: Tensor  # [0, 1] how much of the driver's low-pass change of shading is shown
    # Added to whatever the driver does, by networks with directions (`models/directions.py`). ±1 is as far
    # from the middle as one frame of people in forty goes.
    turn: Tensor  # [−1, 1] the head, > 0 to the picture's right
    nod: Tensor  # [−1, 1] the head, > 0 up
    tilt: Tensor  # [−1, 1] the head, > 0 clockwise
    jaw: Tensor  # [−1, 1] the mouth, > 0 open
    smile: Tensor  # [−1, 1]
    blink: Tensor  # [−1, 1] both eyes, > 0 shut

    @classmethod
    def default(cls, batch: int = 1, device: torch.device | str = "cpu", **values: float) -> "Controls":
        """All ones but for those of `OFF`, and for `values` (names as above)."""
        unknown = values.keys() - set(cls._fields)
        if unknown:
            raise ValueError(f"unknown control {sorted(unknown)[0]!r}; known: {', '.join(cls._fields)}")
        return cls(
            *(
                torch.full((batch,), float(values.get(name, name not in OFF)), device=device)
                for name in cls._fields
            )
        )


@dataclass(frozen=True)
class CropRule:
    """Which square of a picture a network wants to see. Each network's weights expect their own. Raises
    ValueError where `inside` and `upright` are both asked for."""

    size: int  # side of the crop, pixels
    scale: float  # side of the square / longer side of the anchors' box
    shift: tuple[float, float] = (
        0.0,
        0.0,
    )  # of the square's centre from the box's, or from the landmark `centre`, in box sides; y points down
    anchors: tuple[int, ...] = ()  # landmark indices that span the box; empty: all
    centre: int | None = None  # index of the landmark on which the square is centred; None: the box's middle
    upright: bool = False  # turn the crop so that it is level, by …
    level: Literal["eyes", "face"] = (
        "eyes"  # … the line through the eyes, or square to that from them to the lips
    )
    inside: bool = False  # keep the square on whole pixels and, where it fits, inside the picture
    min_scale: float = (
        0.0  # with `inside`: never shrink below this multiple of the box; beyond it the border repeats
    )
    exact: bool = (
        False  # in video, cut every frame by its own landmarks; else the square may be smoothed in time
    )

    def __post_init__(self) -> None:
        if self.inside and self.upright:
            raise ValueError("a crop is either kept on whole pixels (inside) or turned (upright)")


@dataclass(frozen=True)
class Spec:
    """What the rest of the program has to know about a network."""

    name: str
    reads: frozenset[Literal["image", "points"]]  # what of the driving observation it looks at
    source: CropRule
    driving: CropRule
    controls: tuple[str, ...]  # the fields of `Controls` that it honours; an instance may honour more
    max_sources: int = 1
    needs_weights: bool = True
    weights_licence: str | None = None  # of the public weights, where there are any
    half: Literal["fp16", "bf16"] | None = None  # the precision that is enough for it on a GPU; None: float32
    sizes: tuple[str, ...] = ("",)  # the variants that the network is built in; the first is the default
    size: str = ""  # which of them this is about
    appearance: Literal["device", "host"] = (
        "device"  # host: encode_appearance may leave the device and is not exported
    )


A = TypeVar("A", bound=tuple[Any, ...])  # the network's AppearanceCode; it always has a field `structure`
S = TypeVar("S", bound=tuple[Any, ...])  # the network's StructureCode


class Reenactor(nn.Module, abc.ABC, Generic[A, S]):
    """A generator, in one of its `spec.sizes`: the constructor takes a size's name where there are several,
    and the instance's own `spec` tells what differs.

    All but `encode_appearance` and `neutral` are pure tensor functions: static shapes, no `.item()`, no host
    synchronisation, no randomness. That is what lets them be captured, exported and batched over sessions.

    Laws, which hold for every registered network:
    relative `transfer(n, n, a) == a.structure`; all gains 0 give `a.structure`, both with `EDITS` at 0;
    `blend` is exact at its ends; a batch equals its rows; bf16 never touches points, grids or flows.
    """

    spec: Spec

    @abc.abstractmethod
    def encode_appearance(self, sources: Sequence[Observation]) -> A:
        """The code (batch 1) of 1 … `spec.max_sources` pictures of one person. Raises ValueError for any
        other number, and where the network needs landmarks and a picture has none."""

    @abc.abstractmethod
    def encode_structure(self, driving: Observation) -> S:
        """The code of each driving frame. Rows that are not `valid` hold finite numbers without meaning."""

    @abc.abstractmethod
    def neutral(self, codes: Sequence[S]) -> S:
        """The robust centre of several codes of one driver at rest, in the network's own algebra. Raises
        ValueError for none."""

    @abc.abstractmethod
    def blend(self, a: S, b: S, t: Tensor) -> S:
        """From a (t = 0) to b (t = 1). t: B."""

    @abc.abstractmethod
    def transfer(self, structure: S, neutral: S, appearance: A, controls: Controls) -> S:
        """The driver's motion, applied to the source: a structure code in the source's terms."""

    @abc.abstractmethod
    def decode(self, appearance: A, structure: S) -> tuple[Tensor, Tensor]:
        """rgb B×3×H×W in [0, 1] in the source's crop, and alpha B×1×H×W: where it may replace the source."""


def faces_seen(pictures: Observation) -> bool:
    """Was there a face in each. Exported graphs take it on trust: no value is known while they are traced."""
    return torch.compiler.is_exporting() or bool(pictures.valid.all())


T = TypeVar("T", bound=tuple[Any, ...])


def map_code(function: Callable[..., Tensor], *codes: T) -> T:
    """Apply `function` to the tensors at the same place of each code (codes may nest). Absent fields stay
    absent."""
    first = codes[0]
    fields = []
    for parts in zip(*codes, strict=True):
        if isinstance(parts[0], tuple):
            fields.append(map_code(function, *parts))
        else:
            fields.append(None if parts[0] is None else function(*parts))
    return type(first)(*fields)


def middle(rows: Tensor) -> Tensor:
    """1×…, float32: the median over the first dimension; of an even number, the mean of the two in the
    middle."""
    found: Tensor = rows.float().quantile(0.5, dim=0, keepdim=True)
    return found


def cat_codes(codes: Sequence[T]) -> T:
    """One batch of all the codes' rows, in order."""
    return map_code(lambda *rows: torch.cat(rows), *codes)
