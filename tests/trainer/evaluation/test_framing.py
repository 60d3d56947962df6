"""What a network sees, and where the truth is."""

from dataclasses import replace

import torch

from models import registry
from models.contract import CropRule, Spec
from tests.models.tiny import Tiny
from tests.trainer.evaluation.networks import Copier
from trainer.evaluation.framing import driving_rule, framed, seen
from trainer.evaluation.pairs import Pairs


def trained() -> Spec:
    return replace(Copier.spec, name="imf")


def test_source_and_truth_share_a_square(crossing: Pairs) -> None:
    pair = crossing.pairs[0]
    clip = framed(pair, Copier.spec)
    assert clip.source.points is not None
    # From the same square: what moved in the picture moved as far in the crop.
    side = clip.source.to_frame[0, 0, 0]
    moved = (clip.points[:, :, :2] - clip.source.points[..., :2]) * side
    expected = pair.target.points[1:, :, :2] - pair.target.points[:1, :, :2]
    assert torch.allclose(moved, expected, atol=1e-5)


def test_networks_that_are_trained_here_see_every_frame_in_its_own_square(crossing: Pairs) -> None:
    clip = framed(crossing.pairs[0], trained())
    middles = (clip.points[..., :2].amax(1) + clip.points[..., :2].amin(1)) / 2
    assert torch.allclose(middles, torch.full_like(middles, 0.5), atol=1e-5)
    together = framed(crossing.pairs[0], Copier.spec).points
    middle = (together[..., :2].amax(1) + together[..., :2].amin(1)) / 2
    assert float((middle - 0.5).abs().max()) > 0.02


def test_in_self_reenactment_the_driving_frames_are_the_truth(own: Pairs) -> None:
    clip = framed(own.pairs[0], Copier.spec)
    assert torch.equal(clip.driving.image, clip.truth)


def test_networks_that_read_pictures_alone_see_the_driver_as_in_training() -> None:
    rule = CropRule(size=32, scale=2.0, inside=True, min_scale=1.5)
    spec = replace(Copier.spec, source=rule, driving=CropRule(size=16, scale=1.4))
    assert driving_rule(spec) == replace(rule, size=16)
    assert driving_rule(registry.get("warp").spec) == registry.get("warp").spec.driving


def test_the_mask_is_of_the_face(crossing: Pairs) -> None:
    for pair in crossing.pairs:
        clip = framed(pair, Copier.spec)
        assert clip.mask is not None
        share = clip.mask.float().mean((1, 2, 3))
        assert float(share.min()) > 0.05
        assert float(share.max()) < 0.5
        # The landmarks' middle is in it, the corners aren't.
        for row, points in enumerate(clip.points):
            x, y = (points[:, :2].mean(0) * 32).long().clamp(0, 31).tolist()
            assert bool(clip.mask[row, 0, max(y - 2, 0) : y + 3, max(x - 2, 0) : x + 3].any())
        assert not bool(clip.mask[:, 0, 0, 0].any() or clip.mask[:, 0, -1, -1].any())


def test_without_labels_the_mask_is_the_landmarks_hull(own: Pairs) -> None:
    target = own.pairs[0].target
    bare = target._replace(labels=torch.full_like(target.labels, 255))
    hull = framed(own.pairs[0]._replace(target=bare), Copier.spec).mask
    face = framed(own.pairs[0], Copier.spec).mask
    assert hull is not None
    assert face is not None
    assert bool((hull | ~face).all()), "the face is within the hull"
    inside = framed(own.pairs[0], Copier.spec).points[0, :, :2]
    pixels = (inside * 32).long().clamp(0, 31)
    assert float(hull[0, 0, pixels[:, 1], pixels[:, 0]].float().mean()) > 0.8  # but for those on the edge


def test_without_landmarks_and_labels_there_is_no_mask(own: Pairs) -> None:
    target = own.pairs[0].target
    bare = target._replace(labels=torch.full_like(target.labels, 255), valid=torch.zeros_like(target.valid))
    assert framed(own.pairs[0]._replace(target=bare), Copier.spec).mask is None


def test_turned_crops_are_level(own: Pairs) -> None:
    points = seen(own.pairs[0].target, Tiny.spec).points
    assert points is not None
    along = points[:, [362, 263], :2].mean(1) - points[:, [33, 133], :2].mean(1)
    assert float((along[:, 1] / along[:, 0]).abs().max()) < 1e-4
