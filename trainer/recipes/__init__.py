"""The systems that can be trained, by name. A recipe's module is imported when it is asked for."""

import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

from trainer.config import Settings
from trainer.recipe import Ablation, Recipe

MODULES = {
    "imf": "trainer.recipes.imf",
    "dae_gan": "trainer.recipes.dae_gan",
    "landmark_gan": "trainer.recipes.landmark_gan",
    "stylegan2": "trainer.recipes.stylegan2",
    "latent_encoder": "trainer.recipes.latent_encoder",
    "latent": "trainer.recipes.latent",
}


class Build(Protocol):
    """Makes the recipe that settings of its own kind ask for."""

    def __call__(self, settings: Any, vgg: Any = None) -> Recipe: ...


class Variant(NamedTuple):
    """A row of a recipe's table of ablations."""

    off: tuple[str, ...]
    """The switches that are off."""
    against: str | None = None
    """The row that it is compared with, which has one switch more or less off."""


WHOLE = "whole"  # the row of a recipe with nothing off


def each_alone(ablations: Mapping[str, Ablation]) -> dict[str, Variant]:
    """The whole recipe, and each switch alone beside it."""
    return {WHOLE: Variant(()), **{f"without-{name}": Variant((name,), WHOLE) for name in ablations}}


def ladder(ablations: Mapping[str, Ablation]) -> dict[str, Variant]:
    """From all switches off to the whole recipe, one more part with each row, in the switches' order."""
    names = list(ablations)
    rows = ["vanilla", *(f"with-{name}" for name in names[:-1]), WHOLE]
    return {
        row: Variant(tuple(names[number:]), rows[number - 1] if number else None)
        for number, row in enumerate(rows)
    }


@dataclass(frozen=True)
class Entry:
    """A recipe, and what it can be asked for."""

    settings: type[Settings]
    configs: Mapping[str, Settings]  # paper, light, tiny: all defaults
    ablations: Mapping[str, Ablation]
    build: Build
    variants: Mapping[str, Variant]
    """The table of ablations, row by row."""
    network: str = ""
    """That it trains, by the registry's name; by default its own."""


def names() -> list[str]:
    return sorted(MODULES)


def get(name: str) -> Entry:
    """Raises ValueError, listing the known names, for any other."""
    if name not in MODULES:
        raise ValueError(f"unknown recipe {name!r}; known: {', '.join(names())}")
    found = importlib.import_module(MODULES[name]).ENTRY
    assert isinstance(found, Entry)
    return found
