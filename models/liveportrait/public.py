"""The authors' weights: four files that each hold a network's state, and one that holds three. That one is
larger than those three are; what else is in it, and the authors' own program leaves alone, is left alone.
"""

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from models import pickles
from models.liveportrait.spade import folded
from models.public_weights import State, entry, fitted, mapping, plain
from models.weights import check_finite, naming

STITCHING = "stitching"  # whose file is a table of three states


def read(files: Mapping[str, Path], network: nn.Module) -> State:
    """The network's state, of the authors' files by the name of the module that each is for: `appearance`,
    `motion`, `warping`, `generator` and `stitching`. Of the network itself only keys and shapes are looked
    at; its device may be `meta`. Raises ValueError, one line that names file, key and what was expected, for
    what does not fit."""
    state: State = {}
    for part, path in files.items():
        module = network.get_submodule(part)
        found = pickles.tensors(path)
        with naming(path):
            if part == STITCHING:
                theirs: State = {}
                for name, _ in module.named_children():
                    one = plain(entry(mapping(found, "the file"), name), name)
                    theirs |= {f"{name}.{key}": value for key, value in _bare(one).items()}
            else:
                theirs = _bare(plain(found, "the file"))
            ours = _without_norms(theirs, module.state_dict(), f"LivePortrait's module {part}")
        state |= {f"{part}.{key}": value for key, value in ours.items()}
    return state


def _bare(state: State) -> State:
    """Without the `module.` that training on several GPUs puts before keys."""
    for key, value in state.items():
        if f"module.{key}" in state and not torch.equal(value, state[f"module.{key}"]):
            raise ValueError(f"{key} is there twice, as module.{key} with other numbers; expected it once")
    return {key.removeprefix("module."): value for key, value in state.items()}


def _without_norms(state: State, reference: Mapping[str, Tensor], whose: str) -> State:
    """The state, found to fit, its spectral norms folded into the weights."""
    expected: State = {}
    for key, tensor in reference.items():
        if key.endswith(".weight") and f"{key}_orig" in state:
            expected |= {
                f"{key}_orig": tensor,
                f"{key}_u": tensor.flatten(1)[:, 0],
                f"{key}_v": tensor.flatten(1)[0],
            }
        else:
            expected[key] = tensor
    found = folded(fitted(state, expected, whose))
    check_finite(found)  # which what is divided by nought is not
    return found
