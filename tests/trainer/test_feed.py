"""Whom a run is looked at with."""

from contextlib import closing
from dataclasses import replace
from inspect import signature
from unittest.mock import Mock

import pytest
import torch

from tests.trainer.data.pretender import render
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
    noted = Mock(wraps=render)
    device = torch.device("cpu")
    with closing(iter(source_of(settings, recipe, 2, Rank(0, 1, None, 1), device, noted))) as batches:
        next(batches)
    held_out(settings, recipe, 2, device, noted)
    asked = [signature(render).bind(*call.args, **call.kwargs).arguments for call in noted.call_args_list]
    assert {one["style"] for one in asked} == {"seated"}
    assert len({one["seed"] for one in asked}) == 2, "those to learn from, and those to look at"
