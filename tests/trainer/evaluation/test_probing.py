"""What is read off codes that hold known things."""

from collections.abc import Sequence

import pytest
import torch
from torch import Tensor, nn

from models.contract import Observation
from models.dae_gan.reenactor import DaeGan, Layout
from tests.trainer.evaluation.networks import Appearance, Copier, Structure
from trainer.evaluation.probing import MOTIONS, Codes, Gallery, codes_of, gallery, motions_of, probe
from trainer.evaluation.retrieval import nearest, retrieval


@pytest.fixture(scope="module")
def people() -> Gallery:
    return gallery(seed=0, people=4, frames=3, size=32)


def made_codes(count: int = 240) -> Codes:
    """Structure is the motion, mixed; appearance is the person."""
    dice = torch.Generator().manual_seed(0)
    motion = torch.randn(count, len(MOTIONS), generator=dice, dtype=torch.float64)
    mixing = torch.randn(len(MOTIONS), 12, generator=dice, dtype=torch.float64)
    people = torch.arange(count) // 12
    scenes = torch.arange(count) // 6
    features = torch.randn(int(people.max()) + 1, 16, generator=dice, dtype=torch.float64)
    return Codes(motion @ mixing, features[people], motion, people, scenes)


def test_motion_and_people_are_found_where_they_are() -> None:
    found = probe(made_codes())
    assert found.structure.mean > 0.999
    assert found.appearance.mean < 0.1
    assert found.who_appearance.share == 1
    assert found.who_structure.share < 3 * found.who_structure.chance


def test_nobody_is_both_learnt_from_and_tested_on() -> None:
    """A code that only tells who it is predicts nothing of others, however well their motion follows from
    it."""
    codes = made_codes()
    own = torch.randn(20, len(MOTIONS), generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    who = nn.functional.one_hot(codes.people).double()
    found = probe(codes._replace(structure=who, motion=own[codes.people] + 0.01 * codes.motion))
    assert found.structure.mean < 0.1
    assert (found.structure.n_train, found.structure.n_test) == (120, 120)


def test_people_are_looked_for_in_other_scenes() -> None:
    """A code of the scene alone finds nobody."""
    codes = made_codes()
    scene = nn.functional.one_hot(codes.scenes).double()
    assert probe(codes._replace(appearance=scene)).who_appearance.share < 0.5


def test_a_gallery_shows_held_out_people_in_two_scenes_each(people: Gallery) -> None:
    assert len(people.samples) == 8
    assert people.people.tolist() == [one for one in people.people.unique().tolist() for _ in range(2)]
    first, second = people.samples[:2]
    assert first.identity == second.identity
    assert not torch.equal(first.picture, second.picture)
    motion = motions_of(first)
    assert motion.shape == (3, len(MOTIONS))
    assert torch.allclose(motion[:, :3].float(), first.parameters["rotation"])
    assert 0 <= float(motion[:, 3:].min()) <= float(motion[:, 3:].max()) <= 1


def test_codes_leave_the_source_s_structure_out_of_its_appearance(people: Gallery) -> None:
    class Grey(Copier):
        def encode_structure(self, driving: Observation) -> Structure:
            return Structure(driving.image.mean((1, 2, 3))[:, None])

        def encode_appearance(self, sources: Sequence[Observation]) -> Appearance:
            return Appearance(Structure(torch.full((1, 1), torch.nan)), sources[0].image)

    codes = codes_of(Grey(), people)
    assert codes.structure.shape == (24, 1)
    assert codes.appearance.shape == (24, 3 * 4 * 4), "maps are averaged to 4×4"
    assert bool(codes.appearance.isfinite().all())
    assert codes.people.tolist()[:6] == [int(people.people[0])] * 6
    assert codes.scenes.tolist()[:6] == [0, 0, 0, 1, 1, 1]


def test_long_codes_are_projected_alike_every_time(people: Gallery) -> None:
    class Long(Copier):
        def encode_structure(self, driving: Observation) -> Structure:
            return Structure(driving.image.flatten(1))

    first, second = (codes_of(Long(), people).structure for _ in range(2))
    assert first.shape == (24, 512)
    assert torch.equal(first, second)


def test_too_few_people_are_refused() -> None:
    with pytest.raises(ValueError, match="3 people of 20 frames to probe with: at least 4"):
        gallery(people=3)


def test_pictures_of_the_same_pose_are_found_among_other_people() -> None:
    """Codes of the yaw on a circle: the five nearest are those with the nearest yaw, of others."""
    yaw = torch.linspace(-40, 40, 60)
    people = torch.arange(60) % 3
    motion = torch.zeros(60, len(MOTIONS), dtype=torch.float64)
    motion[:, 0] = yaw
    angle = torch.deg2rad(yaw)
    pose = torch.stack((angle.cos(), angle.sin()), 1)
    pose_deg, chance_deg, expression, chance = nearest(pose, motion, people)
    # 80° / 59 a step, in yaw only: the five nearest others are 1, 1, 2, 2 and 4 steps away.
    assert pose_deg == pytest.approx(80 / 59 * 10 / 5 / 3, rel=0.25)
    assert chance_deg > 4 * pose_deg
    assert (expression, chance) == (0, 0)
    lost: Tensor = torch.ones(60, 2)
    assert nearest(lost, motion, people)[0] > 2 * pose_deg


def test_retrieval_reads_pose_codes_and_embedded_faces(people: Gallery) -> None:
    torch.manual_seed(0)
    network = DaeGan(layout=Layout(side=32, code=8, width=4, downs=2, blocks=1)).train()
    found = retrieval(network, people)
    assert network.training
    assert found.queries == 24
    assert found.pose_chance_deg > 0
    assert 0 < found.pose_deg < 2 * found.pose_chance_deg
    assert 0 < found.spread.within < found.spread.between, "an untrained f̂ is much like the picture"
    assert found == retrieval(network, people)
