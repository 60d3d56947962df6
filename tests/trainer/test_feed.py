"""Whom a run is looked at with."""

from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace

import pytest
import torch

from tests.trainer.data.pretender import Pretended, render
from trainer import recipes
from trainer.data.dataset import is_held_out
from trainer.data.workers import Rank
from trainer.feed import SHOWN_SEED, held_out, source_of
from trainer.train import build


@pytest.mark.parametrize("seed", [0, SHOWN_SEED])
def test_people_who_are_rendered_to_look_at_are_never_learnt_from(seed: int) -> None:
    """Of the seed that they are rendered with, too."""
    settings = replace(recipes.get("landmark_gan").configs["tiny"], seed=seed)
    shown = held_out(settings, build(settings, "landmark_gan"), 8, torch.device("cpu"), render)
    assert all(is_held_out(name, settings.samples.held_out) for name in shown.identity)


def test_people_who_are_rendered_move_as_they_are_told_to() -> None:
    settings = recipes.get("imf").configs["tiny"]
    settings = replace(settings, batch=2, samples=replace(settings.samples, style="seated"))
    recipe = build(settings, "imf")
    styles: list[str | None] = []

    def noted(
        seed: int,
        identity: int,
        clip: int,
        frames: int,
        size: int,
        device: torch.device,
        style: str | None,
        maps: Sequence[str],
    ) -> Pretended:
        styles.append(style)
        return render(seed, identity, clip, frames, size, device, style, maps)

    device = torch.device("cpu")
    with closing(iter(source_of(settings, recipe, 2, Rank(0, 1, None, 1), device, noted))) as batches:
        next(batches)
    held_out(settings, recipe, 2, device, noted)
    assert len(styles) >= 4
    assert set(styles) == {"seated"}
