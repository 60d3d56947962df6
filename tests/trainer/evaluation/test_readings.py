"""Figures that are known beforehand."""

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from tests.models.tiny import Tiny
from tests.trainer.evaluation.networks import Appearance, Cheat, Copier, Dark, Pretended, Structure
from trainer.evaluation.framing import framed, seen_as_source
from trainer.evaluation.landmarks import Found
from trainer.evaluation.pairs import Pairs
from trainer.evaluation.readings import evaluate

PICTURES = ("l1_face", "psnr_face", "ssim_gauss11_face", "l1_whole", "psnr_whole", "ssim_gauss11_whole")
LANDMARKS = ("akd_l2_256", "akd_l1_256", "swap_error_68")


@pytest.mark.parametrize("kind", ["crossing", "own"])
def test_who_copies_the_source_scores_what_copying_scores(kind: str, request: pytest.FixtureRequest) -> None:
    pairs: Pairs = request.getfixturevalue(kind)
    found = evaluate(Copier(), pairs, Pretended())
    assert {one.name for one in found.figures} == {*PICTURES, *LANDMARKS, "faceless"}
    assert found.reading("swap_error_68").drawn.mean == 1
    for one in found.figures:
        assert one.drawn == one.copy
        assert not one.beats
        assert (one.drawn.n, one.drawn.groups) == (6, 3)
    assert found.reading("l1_face").drawn.mean > 0.02


def test_who_knows_the_truth_makes_no_error(crossing: Pairs) -> None:
    found = evaluate(Cheat(crossing), crossing, Pretended())
    assert found.reading("l1_whole").drawn.mean == 0
    assert found.reading("psnr_face").drawn.mean == math.inf
    assert found.reading("ssim_gauss11_whole").drawn.mean == pytest.approx(1)
    assert found.reading("akd_l2_256").drawn.mean == 0
    assert found.reading("swap_error_68").drawn.mean == 0
    assert all(one.beats for one in found.figures if one.name != "faceless")


def test_large_pictures_are_compared_at_five_scales(crossing: Pairs) -> None:
    class Large(Copier):
        rule = replace(Copier.spec.source, size=176)
        spec = replace(Copier.spec, source=rule, driving=rule)

        def decode(self, appearance: Appearance, structure: Structure) -> tuple[Tensor, Tensor]:
            picture = appearance.picture.expand_as(structure.picture)
            return picture, torch.ones_like(picture[:, :1])

    found = evaluate(Large(), crossing)
    assert 0 < found.reading("ms_ssim_whole").drawn.mean == found.reading("ms_ssim_whole").copy.mean < 1


def test_the_figures_are_means_over_all_pictures(crossing: Pairs) -> None:
    """By hand, of L1 on the whole and inside the face."""
    errors, inside = [], []
    for pair in crossing.pairs:
        clip = framed(pair, Copier.spec)
        assert clip.mask is not None
        off = (clip.source.image - clip.truth).abs().mean(1)
        errors += off.mean((1, 2)).tolist()
        inside += [float(row[mask[0]].mean()) for row, mask in zip(off, clip.mask, strict=True)]
    found = evaluate(Copier(), crossing)
    assert found.reading("l1_whole").drawn.mean == pytest.approx(sum(errors) / 6, rel=1e-5)
    assert found.reading("l1_face").drawn.mean == pytest.approx(sum(inside) / 6, rel=1e-5)
    told = [clip["figures"]["l1_whole"] for clip in found.clips]
    assert told == pytest.approx([sum(errors[row : row + 2]) / 2 for row in (0, 2, 4)], rel=1e-5)


def test_where_no_face_is_drawn_it_counts_as_the_worst(crossing: Pairs) -> None:
    found = evaluate(Dark(), crossing, Pretended())
    assert found.reading("faceless").drawn.mean == 1
    assert found.reading("faceless").copy.mean == 0
    akd = found.reading("akd_l2_256")
    assert akd.drawn.mean > max(akd.copy.mean, akd.mean.mean)
    # The pretended face's box is 0.3 wide and high.
    assert akd.drawn.mean == pytest.approx(256 * 0.3 * math.sqrt(2), rel=1e-4)
    assert found.reading("swap_error_68").drawn.mean == 1


def test_a_face_that_the_finder_misses_in_the_truth_lies_where_it_lies(crossing: Pairs) -> None:
    class Blind(Pretended):
        def __call__(self, pictures: Tensor, where: Tensor) -> Found:
            found = super().__call__(pictures, where)
            return found._replace(valid=torch.zeros_like(found.valid))

    found = evaluate(Copier(), crossing, Blind())
    assert found.reading("faceless").drawn.n == 6
    assert any("in 6 of 6 true pictures no face is found" in note for note in found.notes)


def test_who_copies_is_not_apart_from_the_source(crossing: Pairs) -> None:
    """By the pictures' mean colours, and told where the faces lie in both."""
    seen = []

    def apart(pictures: Tensor, points: Tensor, sources: Tensor, own: Tensor) -> Tensor:
        seen.append((points, own))
        return (pictures - sources).mean((2, 3)).abs().sum(1)

    found = evaluate(Cheat(crossing), crossing, of_sources={"aced_l1_synthetic": apart})
    figure = found.reading("aced_l1_synthetic")
    assert figure.copy.mean == 0 < figure.drawn.mean < figure.mean.mean
    points, own = seen[0]
    assert torch.equal(points, torch.cat([clip.points for clip in found.framed]))
    assert torch.equal(own[0], own[1]), "one source a clip"
    assert not torch.equal(own, points)


def test_the_mean_face_is_that_of_people_in_training(crossing: Pairs) -> None:
    """Of one picture, it is that picture."""
    one = crossing.learnt[0]
    alone = one._replace(
        picture=one.picture[:1], points=one.points[:1], valid=one.valid[:1], labels=one.labels[:1]
    )
    found = evaluate(Copier(), crossing._replace(learnt=(alone,)))
    expected = seen_as_source(alone, Copier.spec).image
    assert torch.equal(found.pictures.mean, expected.expand(6, -1, -1, -1))
    both = evaluate(Copier(), crossing._replace(learnt=(one,))).pictures.mean[0]
    assert torch.allclose(both, seen_as_source(one, Copier.spec).image.mean(0), atol=1e-6)


def test_pictures_without_landmarks_or_masks_are_judged_as_a_whole(own: Pairs) -> None:
    pairs = []
    for pair in own.pairs:
        bare = pair.target._replace(
            labels=torch.full_like(pair.target.labels, 255),
            valid=torch.zeros_like(pair.target.valid),
            points=torch.zeros_like(pair.target.points),
        )
        pairs.append(pair._replace(target=bare, driving=bare))
    found = evaluate(Copier(), own._replace(pairs=tuple(pairs)), Pretended())
    assert [one.name for one in found.figures] == list(PICTURES[3:])
    assert any("neither landmarks nor masks" in note for note in found.notes)


def test_a_network_stays_in_the_mode_it_was_in(own: Pairs) -> None:
    network = Tiny().train()
    first = evaluate(network, own)
    assert network.training
    assert first.figures == evaluate(network, own).figures, "batch statistics had no part in it"


def test_an_unknown_figure_is_named(own: Pairs) -> None:
    with pytest.raises(ValueError, match="no figure 'beauty'; there are l1_face"):
        evaluate(Copier(), own).reading("beauty")
