"""The generators by name. A network registers itself where it is defined; the registry imports its file when
it is asked for."""

import importlib
from typing import Any, TypeVar

from models.contract import Reenactor

MODULES = {
    "warp": "models.warp",
    "imf": "models.imf",
    "dae_gan": "models.dae_gan",
    "landmark_gan": "models.landmark_gan",
    "latent": "models.latent",
    "liveportrait": "models.liveportrait",
}
"""Name → the module that defines it, so that asking for one network imports one network."""

_classes: dict[str, type[Reenactor[Any, Any]]] = {}

C = TypeVar("C", bound=type[Reenactor[Any, Any]])


def register(cls: C) -> C:
    """Class decorator: make the network known under its `spec.name`."""
    _classes[cls.spec.name] = cls
    return cls


def names() -> list[str]:
    """Every name that `get` knows."""
    return sorted(MODULES | _classes)


def parse(model: str) -> tuple[type[Reenactor[Any, Any]], str]:
    """The class of `NAME` or `NAME:SIZE`, and the size; "" where none is named. Raises ValueError, listing
    what there is, for an unknown name or size."""
    name, colon, size = model.partition(":")
    cls = get(name)
    if colon and (size not in cls.spec.sizes or not size):
        known = ", ".join(f"{name}:{one}" for one in cls.spec.sizes if one) or f"only {name} itself"
        raise ValueError(f"unknown size {size!r} of model {name}; known: {known}")
    return cls, size


def make(model: str) -> Reenactor[Any, Any]:
    """The network of `NAME` or `NAME:SIZE`, its parameters as the constructor leaves them. Raises ValueError,
    listing what there is, for an unknown name or size."""
    cls, size = parse(model)
    return cls(size) if size else cls()


def get(name: str) -> type[Reenactor[Any, Any]]:
    """The class of that name. Raises ValueError, listing the known names, for any other."""
    if name not in _classes:
        if name not in MODULES:
            raise ValueError(f"unknown model {name!r}; known: {', '.join(names())}")
        importlib.import_module(MODULES[name])
    return _classes[name]
