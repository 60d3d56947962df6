"""What a renderer of clips gives, and what its people are called."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from trainer.data.pictures import MapName
from trainer.data.samples import Sample

FPS = 25.0
# Raised by one with every change of what the project's renderer makes of the same numbers: a folder that was
# begun with another one is of other people, and isn't gone on with.
RENDERER = 1


class Rendered(Protocol):
    """A clip of F frames."""

    @property
    def picture(self) -> Tensor:
        """F×3×H×W uint8, RGB."""

    @property
    def points(self) -> Tensor:
        """F×478×3 in crop units."""

    @property
    def labels(self) -> Tensor:
        """F×H×W uint8."""

    @property
    def parameters(self) -> Mapping[str, Tensor]:
        """F×… what each frame shows, 1×… what the whole clip does."""

    @property
    def maps(self) -> Mapping[str, Tensor]:
        """F×C×H×W: those of flow, depth and normals that were asked for."""


class RenderClip(Protocol):
    """Renders clip number `clip` of a person: always the same for the same numbers."""

    def __call__(
        self,
        seed: int,
        identity: int,
        clip: int,
        frames: int,
        size: int,
        device: torch.device,
        style: str | None,
        maps: Sequence[str],
    ) -> Rendered: ...


def renderer() -> RenderClip:
    """The project's own. Imported when it is called: making its template takes seconds."""
    from trainer.data.synthetic.clip import render_clip

    return render_clip


def identity_name(seed: int, identity: int) -> str:
    """Unlike in folders of other seeds, whose people are others."""
    return f"rendered-{seed}-{identity:06d}"


def clip_name(seed: int, identity: int, clip: int) -> str:
    return f"{identity_name(seed, identity)}-{clip:03d}"


def sample_of(
    rendered: Rendered, clip: str, identity: str, maps: Sequence[MapName], parameters: Sequence[str]
) -> Sample:
    """All frames of a rendered clip, where they are. Raises ValueError for a parameter that it hasn't."""
    frames = len(rendered.picture)
    if lacking := set(parameters) - rendered.parameters.keys():
        known = ", ".join(sorted(rendered.parameters))
        raise ValueError(f"rendered clips have no {sorted(lacking)[0]}; they have: {known}")
    device = rendered.picture.device
    return Sample(
        picture=rendered.picture,
        points=rendered.points,
        valid=torch.ones(frames, dtype=torch.bool, device=device),
        labels=rendered.labels,
        frames=torch.arange(frames, device=device),
        maps={name: rendered.maps[name] for name in maps},
        parameters={
            name: rendered.parameters[name].expand(frames, *rendered.parameters[name].shape[1:])
            for name in parameters
        },
        clip=clip,
        identity=identity,
    )


def arrays_of(tensors: Mapping[str, Tensor]) -> dict[str, np.ndarray[Any, np.dtype[Any]]]:
    """On the CPU."""
    return {name: tensor.cpu().numpy() for name, tensor in tensors.items()}
