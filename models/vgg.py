"""VGG-19's convolutions, to compare pictures by what it sees in them (K. Simonyan and A. Zisserman, *Very
Deep Convolutional Networks for Large-Scale Image Recognition*, configuration E).

    vgg = load_vgg(None)                            # None where nobody has brought its weights
    features = vgg(pictures, ("relu1_1", "relu3_1"))

Its weights are torchvision's `vgg19` for ImageNet. They are read where they are, never downloaded.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from models import pickles
from models.public_weights import fitted, plain
from models.weights import naming

WIDTHS = (64, 128, 256, 512, 512)  # channels of the blocks, each of which but the first follows a pooling
CONVOLUTIONS = (2, 2, 4, 4, 4)  # in each block
MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet's pictures: red, green, blue
HUB_NAME = "vgg19-dcbb9e9d.pth"  # torchvision's file, as torch's hub keeps it


def _indices() -> dict[str, int]:
    """Where each ReLU is in torchvision's list: convolution, ReLU, convolution, ReLU, pooling, …"""
    found, index = {}, 0
    for block, count in enumerate(CONVOLUTIONS, 1):
        for number in range(1, count + 1):
            found[f"relu{block}_{number}"] = index + 1
            index += 2
        index += 1  # the pooling
    return found


LAYERS = _indices()  # relu1_1 … relu5_4 → index in `features`


class Vgg19(nn.Module):
    """The convolutions without the classifier, 20 M parameters that don't learn. Keys of the state dict are
    torchvision's."""

    def __init__(self) -> None:
        super().__init__()
        parts: list[nn.Module] = []
        before = 3
        for width, count in zip(WIDTHS, CONVOLUTIONS, strict=True):
            for _ in range(count):
                # In place, since nobody is given what was there before the ReLU.
                parts += [nn.Conv2d(before, width, 3, padding=1), nn.ReLU(inplace=True)]
                before = width
            parts.append(nn.MaxPool2d(2))
        self.features = nn.Sequential(*parts)
        for name, values in (("mean", MEAN), ("deviation", DEVIATION)):
            self.register_buffer(name, torch.tensor(values).view(3, 1, 1), persistent=False)
        self.requires_grad_(False).eval()

    def forward(self, picture: Tensor, layers: Sequence[str]) -> dict[str, Tensor]:
        """Each asked layer's features behind its ReLU, B×C×h×w, under the layer's name. Nothing behind the
        deepest of them is computed.

        picture: B×3×H×W, RGB in [0, 1]; it is brought to ImageNet's mean and deviation here. layers: of
        relu1_1 … relu5_4. Raises ValueError for a layer that there is not, and for a picture that is too
        small for the deepest: block b wants sides of 2^(b − 1) pixels or more.
        """
        if unknown := [name for name in layers if name not in LAYERS]:
            raise ValueError(f"unknown layer {unknown[0]!r} of VGG-19; known: {', '.join(LAYERS)}")
        if not layers:
            return {}
        height, width = picture.shape[-2:]
        deepest = max(layers, key=LAYERS.__getitem__)
        needed = 2 ** (int(deepest[4]) - 1)
        if min(height, width) < needed:
            raise ValueError(
                f"a picture of {height}×{width} is too small for {deepest} of VGG-19: "
                f"its sides must be {needed} pixels or more"
            )
        x = (picture - self.get_buffer("mean")) / self.get_buffer("deviation")
        names = {LAYERS[name]: name for name in layers}
        found = {}
        for index in range(LAYERS[deepest] + 1):
            x = self.features[index](x)
            if index in names:
                found[names[index]] = x
        return found


def vgg_file(path: Path | None) -> Path | None:
    """Where the weights are: the given path, else torch's hub cache if they are there, else nowhere."""
    if path is not None:
        return path
    cached = Path(torch.hub.get_dir(), "checkpoints", HUB_NAME)
    return cached if cached.exists() else None


def load_vgg(path: Path | None) -> Vgg19 | None:
    """VGG-19 with the weights of `vgg_file(path)`, in float32 on the CPU; None where there are none.

    path: what `torch.save` wrote of torchvision's state dict, or the same as `.safetensors`; the classifier
    may be there and is left out. Raises ValueError, one line that names file and key, for what is not whole
    and finite weights of this network. Nothing of a pickle is run.
    """
    file = vgg_file(path)
    if file is None:
        return None
    found = _safetensors(file) if file.suffix == ".safetensors" else pickles.tensors(file)
    with torch.random.fork_rng(devices=[]):  # what a run draws doesn't depend on having these weights
        vgg = Vgg19()
    with naming(file):
        state = plain(found, "the file")
        state = {key: value for key, value in state.items() if not key.startswith("classifier.")}
        vgg.load_state_dict(fitted(state, dict(vgg.state_dict()), "VGG-19"))
    return vgg


def _safetensors(path: Path) -> Any:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except FileNotFoundError:
        raise ValueError(f"{path}: there is no such file") from None
    except (SafetensorError, OSError) as error:
        raise ValueError(f"{path}: no safetensors file, or a damaged one ({error})") from None
