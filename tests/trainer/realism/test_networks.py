"""The two networks that learn from renders."""

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from models.face_geometry import FLIP_68
from models.identity_embedder import MARGIN, IdentityEmbedder, margin_loss, retrieval
from models.landmark_regressor import SIDE, LandmarkRegressor
from trainer.data.realism import embedder, regressor
from trainer.data.realism.crops import Squares
from trainer.data.realism.renders import orders_of, turned


def test_the_regressor_is_small() -> None:
    network = LandmarkRegressor().eval()
    assert sum(one.numel() for one in network.parameters()) < 3e6
    with FlopCounterMode(display=False) as counter:
        points = network(torch.rand(1, 1, SIDE, SIDE))
    assert counter.get_total_flops() / 2 < 60e6
    assert points.shape == (1, 68, 2)


def test_brightness_and_contrast_are_no_matter() -> None:
    network = LandmarkRegressor().eval()
    pictures = torch.rand(2, 1, SIDE, SIDE, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        assert torch.allclose(network(pictures), network(0.9 * pictures + 0.05), atol=2e-3)


def test_one_hot_spot_is_the_answer() -> None:
    """Whatever the features, a heat map with one high place says that place."""
    from models.landmark_regressor import MAPS, _mean_place

    heat = torch.zeros(1, 1, MAPS, MAPS)
    heat[0, 0, 3, 20] = 50
    grid = (torch.arange(MAPS) + 0.5) / MAPS
    assert torch.allclose(_mean_place(heat, grid), torch.tensor([[[20.5 / MAPS, 3.5 / MAPS]]]), atol=1e-5)


def test_retrieval_by_hand() -> None:
    gallery = torch.eye(4)
    probes = torch.tensor([[0.9, 0.1, 0, 0], [0.1, 0.9, 0, 0], [0, 0, 0.2, 0.8], [0, 0, 0, 1.0]])
    assert retrieval(gallery, probes) == 0.75


def test_the_margin_asks_for_more_than_to_be_nearest() -> None:
    people = torch.eye(3, 128)
    vectors = torch.nn.functional.normalize(torch.tensor([[1.0, 0.95, 0]]) @ people, dim=1)
    loss = margin_loss(vectors, people, torch.tensor([0]))
    without = torch.nn.functional.cross_entropy(24.0 * vectors @ people.T, torch.tensor([0]))
    assert MARGIN > 0
    assert loss > without + 2
    assert torch.allclose(loss, margin_loss(vectors, 7 * people, torch.tensor([0])))


@pytest.fixture(scope="module")
def faces() -> tuple[regressor.Faces, regressor.Faces]:
    return regressor.faces_of(people=5, seed=2, workers=0)


def test_the_regressor_learns(faces: tuple[regressor.Faces, regressor.Faces]) -> None:
    """In a few steps it comes nearer to other people's points than the mean of those it has learnt."""
    learnt, held = faces
    assert len(learnt.pictures) > 20
    _, curve = regressor.train(learnt, held, steps=25, seed=0)
    assert [step for step, _ in curve][:2] == [0, 4]
    assert curve[-1][1] < 0.75 * curve[0][1]


def test_mirrored_lessons_keep_points_on_their_places(
    faces: tuple[regressor.Faces, regressor.Faces],
) -> None:
    """The left eye's outer corner lies to the left of its inner one, whichever way a picture is turned."""
    learnt, _ = faces
    facing = (learnt.points[:, 39, 0] - learnt.points[:, 36, 0]) > 0.02
    rows = facing.nonzero().squeeze(1).repeat(3)
    _, points = regressor._lesson(learnt, rows, torch.Generator().manual_seed(0))
    assert (points[:, 39, 0] > points[:, 36, 0]).all()
    assert sorted(FLIP_68) == list(range(68))


def test_untrained_networks_know_nobody() -> None:
    """A network that has learnt nothing is far from the goal in other light; a seed trains one network."""
    album = embedder.album_of(embedder._trial(range(8), seed=4), workers=0)
    assert album.person.tolist() == [person for person in range(8) for _ in range(3)]
    torch.manual_seed(0)
    vectors = embedder.embed(IdentityEmbedder().eval(), album, face=True).view(8, 3, -1)
    assert torch.allclose(vectors.norm(dim=2), torch.ones(8, 3), atol=1e-5)
    assert retrieval(vectors[:, 0], vectors[:, 2]) <= 0.5
    one, again = (embedder.embed(embedder.train(album, 2, seed=1), album, face=False) for _ in range(2))
    assert torch.equal(one, again)
    assert 0.05 < album.face.float().mean() < 0.5


def test_nothing_but_the_person_tells_pictures_in_one_light_apart() -> None:
    trial = embedder._trial(range(5, 9), 0)
    plain = orders_of(range(5, 9), 3, turned, 128, 0, stream=3)
    assert [order.moves for order in trial] == [order.moves for order in plain]
    assert len({move for order in trial for move in order.moves}) == 12
    first, second, third = ({order.scenes[at] for order in trial} for at in range(3))
    assert first == second
    assert len(first) == 1
    assert len(third) == 4
    album = embedder.album_of(trial[:2], workers=0)
    seen = embedder._shown(album, torch.arange(6), torch.zeros(6, dtype=torch.bool))
    behind = ~album.head[:, None].expand_as(seen)
    assert (seen[behind] == embedder.GREY).all()
    assert (seen[~behind] != embedder.GREY).float().mean() > 0.9
    assert (album.head | ~album.face).all()


def test_squares_hold_the_face() -> None:
    album = embedder.album_of(orders_of([1], 2, turned, 64, 0), workers=0)
    assert isinstance(album.squares, Squares)
    assert (album.squares.side > 0.2).all()
