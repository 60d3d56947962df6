"""Checkpoints as NVlabs' code writes them, made without that code: modules that pickle themselves as a call
with their source and their state, and a stand-in for what their own loader would do with it."""

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

SOURCE = "class Generator:\n    pass\n"
BUFFERS = ("resample_filter", "noise_const", "w_avg")


class EasyDict(dict[str, Any]):
    """As in dnnlib.util."""

    def __getattr__(self, name: str) -> Any:
        try:
            return self[name]
        except KeyError:
            raise AttributeError(name) from None


def _reconstruct_persistent_obj(meta: Mapping[str, Any]) -> Any:
    """What is dangerous about these files: the source that they bring is run."""
    exec(meta["module_src"], {"__name__": "theirs"})
    return meta["class_name"]


EasyDict.__module__, EasyDict.__qualname__ = "dnnlib.util", "EasyDict"
_reconstruct_persistent_obj.__module__ = "torch_utils.persistence"


@contextmanager
def their_code() -> Iterator[None]:
    """Make their two modules importable, which pickle wants while it writes, and a victim while he reads."""
    there: dict[str, dict[str, Any]] = {
        "torch_utils": {},
        "torch_utils.persistence": {"_reconstruct_persistent_obj": _reconstruct_persistent_obj},
        "dnnlib": {},
        "dnnlib.util": {"EasyDict": EasyDict},
    }
    for name, contents in there.items():
        sys.modules[name] = ModuleType(name)
        vars(sys.modules[name]).update(contents)
    try:
        yield
    finally:
        for name in there:
            del sys.modules[name]


class Persistent(nn.Module):
    """A module under their decorator."""

    class_name = "Generator"
    source = SOURCE

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...], None]:
        meta = {
            "type": "class",
            "version": 6,
            "module_src": self.source,
            "class_name": self.class_name,
            "state": vars(self),
        }
        return _reconstruct_persistent_obj, (meta,), None


def persistent(state: Mapping[str, Tensor], **attributes: Any) -> Persistent:
    """A tree of such modules with that state dict."""
    root = Persistent()
    root._init_args = ()  # type: ignore[assignment]
    root._init_kwargs = EasyDict(z_dim=512, mapping_kwargs=EasyDict(num_layers=8))  # type: ignore[assignment]
    for name, value in attributes.items():
        setattr(root, name, value)
    for key, value in state.items():
        *path, last = key.split(".")
        module = root
        for part in path:
            if part not in module._modules:
                module.add_module(part, Persistent())
                module._modules[part].act_gain = np.sqrt(2)  # type: ignore[union-attr, assignment]
            module = module._modules[part]  # type: ignore[assignment]
        if last in BUFFERS:
            module.register_buffer(last, value)
        else:
            module.register_parameter(last, nn.Parameter(value))
    return root


def filters(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The state with their filter beside each convolution's weight."""
    line = torch.tensor([1.0, 3.0, 3.0, 1.0])
    found = dict(state)
    for key, value in state.items():
        if key.endswith("weight") and value.dim() == 4:
            found[f"{key.removesuffix('weight')}resample_filter"] = torch.outer(line, line) / 64
    return found
