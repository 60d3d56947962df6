"""Whom a run is looked at with."""

from dataclasses import replace

import pytest
import torch

from tests.trainer.data.pretender import render
from trainer import recipes
from trainer.data.dataset import is_held_out
from trainer.feed import SHOWN_SEED, held_out
from trainer.train import build


@pytest.mark.parametrize("seed", [0, SHOWN_SEED])
def test_people_who_are_rendered_to_look_at_are_never_learnt_from(seed: int) -> None:
    """Of the seed that they are rendered with, too."""
    settings = replace(recipes.get("landmark_gan").configs["tiny"], seed=seed)
    shown = held_out(settings, build(settings, "landmark_gan"), 8, torch.device("cpu"), render)
    assert all(is_held_out(name, settings.samples.held_out) for name in shown.identity)
