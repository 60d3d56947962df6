"""Flicker of drawn videos."""

import pytest
import torch

from tests.trainer.evaluation.networks import Cheat, Copier
from trainer.evaluation.pairs import Pairs, crossing_pairs
from trainer.evaluation.readings import evaluate
from trainer.evaluation.reenactment import Drawn
from trainer.evaluation.steadiness import steadiness

FRAMES = 4


@pytest.fixture(scope="module")
def moving() -> Pairs:
    return crossing_pairs(
        seed=0, identities=2, motions=1, frames=FRAMES, size=48, style=None, consecutive=True, learnt=1
    )


def test_the_truth_flickers_as_the_truth(moving: Pairs) -> None:
    found = steadiness(moving, evaluate(Cheat(moving), moving))
    assert set(found) == {*Drawn._fields, "truth"}
    assert found["network"] == found["truth"]
    assert (found["network"].n, found["network"].groups) == (2 * (FRAMES - 1), 2)


def test_frames_that_differ_by_light_flicker(moving: Pairs) -> None:
    readings = evaluate(Copier(), moving)
    still = steadiness(moving, readings)["network"].mean
    light = torch.tensor([0.0, 0.1] * FRAMES).view(-1, 1, 1, 1)
    drawn = readings.pictures._replace(network=(readings.pictures.network * 0.8 + light).clamp(0, 1))
    unsteady = steadiness(moving, readings.__class__(**{**vars(readings), "pictures": drawn}))
    assert unsteady["network"].mean > still + 0.05
    assert unsteady["copy"].mean == still
