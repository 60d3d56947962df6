"""The systems that can be trained, by name. A recipe's module is imported when it is asked for."""

import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from trainer.config import Settings
from trainer.recipe import Ablation, Recipe

MODULES = {
    "imf": "trainer.recipes.imf",
    "dae_gan": "trainer.recipes.dae_gan",
    "landmark_gan": "trainer.recipes.landmark_gan",
}


class Build(Protocol):
    """Makes the recipe that settings of its own kind ask for."""

    def __call__(self, settings: Any, vgg: Any = None) -> Recipe: ...


@dataclass(frozen=True)
class Entry:
    """A recipe, and what it can be asked for."""

    settings: type[Settings]
    configs: Mapping[str, Settings]  # paper, light, tiny: all defaults
    ablations: Mapping[str, Ablation]
    build: Build


def names() -> list[str]:
    return sorted(MODULES)


def get(name: str) -> Entry:
    """Raises ValueError, listing the known names, for any other."""
    if name not in MODULES:
        raise ValueError(f"unknown recipe {name!r}; known: {', '.join(names())}")
    found = importlib.import_module(MODULES[name]).ENTRY
    assert isinstance(found, Entry)
    return found
