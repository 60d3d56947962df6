"""LivePortrait's public weights as its authors write them, of a narrow network: five files."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils import remove_spectral_norm, spectral_norm

from models.liveportrait.generator import Layout, LivePortrait
from models.liveportrait.spade import SpadeBlock

NAMES = {
    "appearance": "appearance_feature_extractor.pth",
    "motion": "motion_extractor.pth",
    "warping": "warping_module.pth",
    "generator": "spade_generator.pth",
    "stitching": "stitching_retargeting_module.pth",
}
OLD = ("motion", "stitching")  # whose keys begin with `module.`, in the format before zip archives

State = dict[str, Tensor]


class Narrow(LivePortrait):
    """With few channels."""

    def __init__(self) -> None:
        super().__init__(
            Layout(width=2, depths=(1, 1, 1, 1), widths=(4, 4, 4, 8), least=2, most=4, label=4, features=16)
        )


def authored() -> tuple[dict[str, Any], State]:
    """What each file holds, by our module, and what is to come of it."""
    torch.manual_seed(0)
    network = Narrow()
    with torch.no_grad():
        for value in network.state_dict().values():
            value.copy_(torch.rand_like(value.float()))  # nothing is as a constructor leaves it
    convolutions = [
        convolution
        for block in network.generator.modules()
        if isinstance(block, SpadeBlock)
        for convolution in (block.conv_0, block.conv_1, *([block.conv_s] if block.changes else []))
    ]
    for convolution in convolutions:
        spectral_norm(convolution)
    files: dict[str, Any] = {part: dict(network.get_submodule(part).state_dict()) for part in NAMES}
    files["stitching"] = {
        name: dict(module.state_dict()) for name, module in network.stitching.named_children()
    }
    files["motion"] = _old(files["motion"])
    files["stitching"] = {name: _old(state) for name, state in files["stitching"].items()}
    files = changed(files, lambda tensor: tensor.detach().clone())
    for convolution in convolutions:
        remove_spectral_norm(convolution)
    return files, {key: value.detach().clone() for key, value in network.state_dict().items()}


def written(files: dict[str, Any], folder: Path) -> dict[str, Path]:
    """The files' paths, by our module."""
    folder.mkdir(parents=True, exist_ok=True)
    for part, held in files.items():
        torch.save(held, folder / NAMES[part], _use_new_zipfile_serialization=part not in OLD)
    return {part: folder / NAMES[part] for part in files}


def changed(held: dict[str, Any], change: Callable[[Tensor], Tensor]) -> dict[str, Any]:
    """With each tensor replaced."""
    return {
        key: changed(value, change) if isinstance(value, dict) else change(value)
        for key, value in held.items()
    }


def _old(state: State) -> State:
    return {f"module.{key}": value for key, value in state.items()}
