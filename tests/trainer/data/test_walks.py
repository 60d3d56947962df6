"""Synthetic videos: whose walk it is, how it moves, and that a run gets the same ones again."""

from itertools import islice
from pathlib import Path

import pytest
import torch
from torch import Tensor

from models.latent import Latent, Layout
from trainer.data.synthetic.motion import draw_motion
from trainer.data.walks import (
    REACH,
    STRUCTURE,
    Moves,
    WalkStream,
    codes,
    fitted,
    load_moves,
    numbers_of,
    people,
    unlabelled,
)

ROWS, STYLE, MOVING = 8, 16, 5
SMALL = Layout(side=32, seen=32, style=STYLE, most=8, base=256, upright=False)


def known(noise: float = 0.0, unlike: float = 1.0) -> tuple[Tensor, Tensor, Tensor]:
    """Codes that follow motions by these directions exactly, but for noise, each about its own person; the
    motions' numbers; the directions, for one unit of a number. unlike: deviation of the people's codes."""
    clips, frames = 40, 6
    random = torch.Generator().manual_seed(0)
    motion = draw_motion(0, list(range(clips)), frames, style="stills")
    numbers = numbers_of(motion).view(clips, frames, -1)
    directions = 0.1 * torch.randn(len(STRUCTURE), ROWS, STYLE, generator=random)
    directions[:, MOVING:] = 0
    own = unlike * torch.randn(clips, 1, ROWS, STYLE, generator=random)
    found = own + torch.einsum("nkp,plc->nklc", numbers, directions)
    return found + noise * torch.randn(found.shape, generator=random), numbers, directions


def moves() -> Moves:
    encoded, numbers, _ = known()
    return fitted(encoded, numbers, MOVING)


def test_directions_that_codes_follow_are_found() -> None:
    """Of numbers that somebody shows: what never changes has no direction."""
    encoded, numbers, truth = known()
    found = fitted(encoded, numbers, MOVING)
    assert float(found.fit) > 0.99
    change = numbers[0, 1] - numbers[0, 0]
    said = torch.einsum("p,plc->lc", change / found.deviation, found.directions)
    true = torch.einsum("p,plc->lc", change, truth)
    assert float((said - true).norm() / true.norm()) < 0.1
    assert torch.allclose(found.offsets.mean(1), torch.zeros(()), atol=1e-5)


def test_what_a_code_says_of_a_motion_is_read() -> None:
    encoded, numbers, _ = known(unlike=0.05)
    found = fitted(encoded, numbers, MOVING)
    said = torch.einsum("nklc,lcp->nkp", encoded, found.reading) + found.bias
    truth = (numbers - found.mean) / found.deviation
    for name in ("yaw", "pitch", "roll"):
        both = torch.stack([rows[..., STRUCTURE.index(name)].flatten() for rows in (said, truth)])
        assert float(torch.corrcoef(both)[0, 1]) > 0.95, name


def test_people_do_nothing_of_their_own() -> None:
    """What their codes said of a motion is taken off. The mean code is nought here."""
    torch.manual_seed(0)
    network = Latent(layout=SMALL).eval()
    encoded, numbers, _ = known(unlike=0.05)
    way = fitted(encoded, numbers, MOVING).way
    z = torch.randn(64, STYLE)

    def read(code: Tensor) -> Tensor:
        return (torch.einsum("blc,lcp->bp", code, way.reading) + way.bias)[:, STRUCTURE.index("yaw") :]

    with torch.no_grad():
        before = REACH * network.generator.map(z).unsqueeze(1).expand(-1, ROWS, -1)
        after = people(network, z, way)
    assert float(read(after).norm()) < 0.5 * float(read(before).norm())
    assert torch.equal(after[:, MOVING:], before[:, MOVING:])


def test_noise_is_not_explained() -> None:
    encoded, numbers, _ = known(noise=30.0)
    assert float(fitted(encoded, numbers, MOVING).fit) < 0.5


def test_rows_that_do_not_move_stay() -> None:
    found = moves()
    assert not found.directions[:, MOVING:].any()
    assert not found.offsets[:, :, MOVING:].any()
    assert found.offsets[:, :, MOVING - 1].any()


def test_a_walk_is_one_person_s_who_moves_about_a_middle() -> None:
    torch.manual_seed(0)
    network = Latent(layout=SMALL).eval()
    made = moves()
    walked = next(iter(WalkStream(made, 16, 8)))
    with torch.no_grad():
        found = codes(network, walked, made.way)
        person = people(network, walked.z, made.way, walked.seen)
        mapped = REACH * network.generator.map(walked.z).unsqueeze(1).expand(-1, ROWS, -1)
    assert found.shape == (16, 8, ROWS, STYLE)
    labelled = walked.path.flatten(1).any(1)
    assert labelled.any()
    assert not labelled.all()
    moved = torch.einsum("bkp,plc->bklc", walked.path, made.directions)[labelled]
    assert torch.allclose(found[labelled] - person[labelled, None], moved, atol=1e-4)
    assert torch.allclose(found[~labelled].mean(1)[:, MOVING:], person[~labelled][:, MOVING:], atol=1e-4)
    # Eight frames of a clip of six: some come twice.
    there = walked.seen.flatten(1).any(1)
    assert there.any()
    assert not there.all()
    whose = torch.where(there.view(-1, 1, 1), walked.seen, mapped)[:, None, MOVING:]
    assert torch.allclose(found[:, :, MOVING:], whose.expand(-1, 8, -1, -1), atol=1e-6)
    assert (found.std(1)[:, :MOVING].mean((1, 2)) > 0).all()
    for row in (labelled.nonzero()[0, 0], (~labelled).nonzero()[0, 0]):
        assert bool(walked.offset[row].any()) is not bool(labelled[row])


def test_walks_of_unlabelled_clips_take_their_offsets_only() -> None:
    encoded, _, _ = known()
    made = unlabelled(encoded, MOVING)
    walked = next(iter(WalkStream(made, 16, 4)))
    assert not walked.path.any()
    assert walked.offset.flatten(1).any(1).all()


def test_frames_follow_one_another_smoothly() -> None:
    """What a walk changes from frame to frame is less than what two frames anywhere in it differ by."""
    made = moves()
    walked = next(iter(WalkStream(made, 64, 8)))
    paths = walked.path[walked.path.flatten(1).any(1)]
    head = paths[..., STRUCTURE.index("yaw") :]
    steps, apart = head.diff(dim=1).norm(dim=-1), (head[:, 0] - head[:, -1]).norm(dim=-1)
    assert float(steps.mean()) < 0.6 * float(apart.mean())


def test_ranks_share_one_row_of_walks_and_a_run_goes_on_where_it_was() -> None:
    made = moves()
    alone = list(islice(WalkStream(made, 4, 3, seed=5), 3))
    halves = [list(islice(WalkStream(made, 2, 3, seed=5, rank=rank, world=2), 3)) for rank in (0, 1)]
    for whole, first, second in zip(alone, *halves, strict=True):
        for one, a, b in zip(whole, first, second, strict=True):
            assert torch.equal(one, torch.cat((a, b)))
    again = WalkStream(made, 4, 3, seed=5)
    again.load_state_dict({"position": 4, "seed": 5})
    assert torch.equal(next(iter(again)).z, alone[1].z)
    assert not torch.equal(alone[0].z, alone[1].z)
    with pytest.raises(ValueError, match="seed 5; they are of 6"):
        WalkStream(made, 4, 3, seed=6).load_state_dict({"position": 4, "seed": 5})


def test_parts_of_a_batch_are_the_batch() -> None:
    walked = next(iter(WalkStream(moves(), 4, 3)))
    first, second = walked.parts(2)
    for whole, a, b in zip(walked, first, second, strict=True):
        assert torch.equal(whole, torch.cat((a, b)))


def test_a_file_says_what_it_was_made_of(tmp_path: Path) -> None:
    made = moves()
    made.save(tmp_path / "moves.safetensors")
    for ours, found in zip(made, load_moves(tmp_path / "moves.safetensors", ROWS, STYLE), strict=True):
        assert torch.equal(ours, found)
    with pytest.raises(
        ValueError, match=r"moves\.safetensors: directions is .* these codes need \(49, 10, 16\)"
    ):
        load_moves(tmp_path / "moves.safetensors", 10, STYLE)
    (tmp_path / "other.safetensors").write_bytes(b"none")
    with pytest.raises(ValueError, match=r"other\.safetensors: can't be read"):
        load_moves(tmp_path / "other.safetensors", ROWS, STYLE)
    made._replace(fit=torch.tensor(float("nan"))).save(tmp_path / "nan.safetensors")
    with pytest.raises(ValueError, match=r"nan\.safetensors: .*fit"):
        load_moves(tmp_path / "nan.safetensors", ROWS, STYLE)
