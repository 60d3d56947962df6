"""Who is drawn with whose motion."""

from pathlib import Path

import pytest
import torch

from tests.trainer.data import pretender
from trainer.data.dataset import is_held_out
from trainer.data.rendered import identity_name
from trainer.evaluation.pairs import Pairs, crossing_pairs, dataset_pairs, identities_of, people_of


def test_nobody_in_a_pair_is_known_from_training(crossing: Pairs) -> None:
    for pair in crossing.pairs:
        for sample in pair:
            assert is_held_out(str(sample.identity), 0.1)
        assert pair.target.identity != pair.driving.identity
    assert not any(is_held_out(str(sample.identity), 0.1) for sample in crossing.learnt)


def test_splits_share_nobody() -> None:
    test, train = identities_of(3, 20), identities_of(3, 20, "train")
    assert not set(test) & set(train)
    assert test == sorted(test)
    assert all(is_held_out(identity_name(3, one), 0.1) for one in test)


def test_the_truth_does_what_the_driver_does(crossing: Pairs) -> None:
    """Two people's landmarks lie differently, but their heads turn alike: the nose against the ears."""
    for pair in crossing.pairs:
        assert not torch.equal(pair.target.picture, pair.driving.picture)
        turns = []
        for sample in pair:
            nose, ears = sample.points[:, 1], sample.points[:, [234, 454]]
            turns.append((nose - ears.mean(1))[:, 0] / (ears[:, 1] - ears[:, 0])[:, 0].abs().clamp(min=0.01))
        apart = (turns[0] - turns[1]).abs()
        across = (turns[0][1:] - turns[0][:1]).abs()
        assert float(apart.mean()) < 0.5 * float(across.mean()) + 0.05


def test_source_and_truth_are_before_one_background(crossing: Pairs) -> None:
    """And the driver before another."""
    pair = crossing.pairs[0]
    behind = [
        sample.picture.float()[:, :, (sample.labels == 0).all(0)].mean((1, 2)) for sample in (pair.target,)
    ][0]
    assert float(behind.max() - behind.min()) < 3  # levels: the camera's noise
    theirs = (pair.target.labels == 0) & (pair.driving.labels == 0)
    apart = (pair.target.picture.float() - pair.driving.picture.float()).abs().mean(1)[theirs]
    assert float(apart.mean()) > 10


def test_the_same_numbers_give_the_same_pairs(crossing: Pairs) -> None:
    again = crossing_pairs(seed=0, identities=3, motions=1, frames=2, size=48, learnt=2)
    for one, other in zip(crossing.pairs, again.pairs, strict=True):
        assert torch.equal(one.target.picture, other.target.picture)
        assert torch.equal(one.driving.picture, other.driving.picture)


def test_skipped_people_are_left_to_others(crossing: Pairs) -> None:
    others = crossing_pairs(seed=0, identities=2, motions=1, frames=1, size=32, learnt=1, skip=3)
    assert not set(people_of(crossing.pairs)) & set(people_of(others.pairs))


def test_numbers_that_make_no_sense_are_refused() -> None:
    with pytest.raises(ValueError, match="2 motions for each of 2 people"):
        crossing_pairs(identities=2, motions=2)
    with pytest.raises(ValueError, match="frames 0: expected at least 1"):
        crossing_pairs(frames=0)


def test_a_folder_gives_its_clips_to_test(tmp_path: Path) -> None:
    folder = pretender.folder(tmp_path / "data", identities=24)
    found = dataset_pairs(folder, clips=2, frames=2)
    assert found.name == "self_synthetic"
    assert 1 <= len(found.pairs) <= 2
    for pair in found.pairs:
        assert pair.target is pair.driving
        assert pair.target.frames.tolist() == [0, 1, 2]
        assert is_held_out(str(pair.target.identity), 0.1)
    assert not any(is_held_out(str(sample.identity), 0.1) for sample in found.learnt)
