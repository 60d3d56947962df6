"""Videos, each shown by a frame of another video of the same person."""

from pathlib import Path
from weakref import ref

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.trainer.data import pretender
from tests.trainer.evaluation.networks import Cheat, Copier, Dark, Pretended
from trainer.data.clips import ClipWriter
from trainer.data.dataset import ClipDataset, is_held_out
from trainer.data.synthetic.clip import render_clip
from trainer.evaluation import streaming
from trainer.evaluation.pairs import Pair, Pairs
from trainer.evaluation.readings import evaluate
from trainer.evaluation.sequences import STYLE, Sequences, folder_sequences, rendered_sequences
from trainer.evaluation.streaming import follow

SIZE = 48
FEWEST, MOST = 3, 6
HALF = 0.5  # of few people in a folder are to test


@pytest.fixture(scope="module")
def lazy() -> Sequences:
    return rendered_sequences(
        seed=0, count=3, frames=(FEWEST, MOST), identities=2, size=SIZE, device="cpu", learnt=2
    )


@pytest.fixture(scope="module")
def made(lazy: Sequences) -> Pairs:
    """All at once, as `evaluate` takes them."""
    pairs = tuple(pair for make in lazy.each for pair in make().pairs)
    return Pairs("sequences", True, pairs, lazy.learnt, consecutive=True)


@pytest.fixture
def kept(lazy: Sequences, made: Pairs) -> Sequences:
    """The same, rendered once."""
    each = tuple(lambda pair=pair: made._replace(pairs=(pair,), learnt=()) for pair in made.pairs)
    return lazy._replace(each=each)


def lengths(pairs: tuple[Pair, ...]) -> list[int]:
    return [len(pair.driving.picture) - 1 for pair in pairs]


def apart(pictures: Tensor, points: Tensor, sources: Tensor, own: Tensor) -> Tensor:
    return (pictures - sources).abs().mean((1, 2, 3))


def test_the_source_is_of_another_video_of_the_same_person(made: Pairs) -> None:
    for pair in made.pairs:
        assert pair.target.identity == pair.driving.identity
        assert is_held_out(str(pair.target.identity), 0.1)
        assert pair.target.clip != pair.driving.clip
        # Neither its scene nor its pose is the sequence's.
        behind = (pair.target.labels == 0) & (pair.driving.labels == 0)
        change = (pair.target.picture.float() - pair.driving.picture.float()).abs().mean(1)
        assert float(change[behind].mean()) > 6  # levels
        assert not torch.allclose(pair.target.points[:1], pair.driving.points[1:], atol=1e-3)


def test_the_truth_is_the_sequence_in_the_source_s_scene(made: Pairs) -> None:
    for pair in made.pairs:
        assert torch.equal(pair.target.points, pair.driving.points)
        behind = (pair.target.labels == 0).all(0)
        colours = pair.target.picture.float()[:, :, behind].mean((1, 2))
        assert float(colours.max() - colours.min()) < 3  # levels: the camera's noise


def test_a_sequence_is_a_video_as_data_sets_have_them(made: Pairs) -> None:
    pair = made.pairs[0]
    person = int(str(pair.driving.identity).rsplit("-", 1)[1])
    clip = render_clip(0, person, 1, lengths(made.pairs)[0], SIZE, torch.device("cpu"), STYLE)
    assert torch.equal(pair.driving.points[1:], clip.points)


def test_people_take_turns(made: Pairs) -> None:
    people = [pair.target.identity for pair in made.pairs]
    assert people[0] == people[2] != people[1]
    assert len({name for pair in made.pairs for name in (pair.target.clip, pair.driving.clip)}) == 6


def test_lengths_are_drawn_and_fewer_are_the_first_of_more(made: Pairs) -> None:
    assert all(FEWEST <= length <= MOST for length in lengths(made.pairs))
    many = rendered_sequences(count=40, frames=(100, 300), identities=8, size=16, learnt=1)
    drawn = [make.args[3] for make in many.each]  # type: ignore[attr-defined]
    assert 100 <= min(drawn) < 150
    assert 250 < max(drawn) <= 300
    again = rendered_sequences(count=1, frames=(FEWEST, MOST), identities=2, size=SIZE, learnt=1)
    assert torch.equal(again.each[0]().pairs[0].target.picture, made.pairs[0].target.picture)


@pytest.mark.parametrize("network", [Copier, Dark, Cheat])
def test_one_after_the_other_they_are_judged_as_all_at_once(
    network: type, kept: Sequences, made: Pairs, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Even torn into parts; and nobody gains by where his face isn't found."""
    drawing = Cheat(made) if network is Cheat else network()
    judges = {"aced_l1_synthetic": apart}
    expected = evaluate(drawing, made, Pretended(), of_sources=judges)
    monkeypatch.setattr(streaming, "AT_ONCE", 3)
    found = follow(drawing, kept, finder=Pretended(), of_sources=judges).readings
    assert found.experiment == "sequences_synthetic"
    for one, other in zip(found.figures, expected.figures, strict=True):
        assert one.name == other.name
        for mine, theirs in ((one.drawn, other.drawn), (one.copy, other.copy), (one.mean, other.mean)):
            assert tuple(mine) == pytest.approx(tuple(theirs), rel=1e-5)
    assert [dict(clip, figures=None) for clip in found.clips] == [
        dict(clip, figures=None) for clip in expected.clips
    ]
    for one, other in zip(found.clips, expected.clips, strict=True):
        assert one["figures"] == pytest.approx(other["figures"], rel=1e-5)


def test_akd_and_aced_say_different_things(kept: Sequences, made: Pairs) -> None:
    judges = {"aced_l1_synthetic": apart}
    copied = follow(Copier(), kept, finder=Pretended(), of_sources=judges)
    true = follow(Cheat(made), kept, finder=Pretended(), of_sources=judges)
    assert copied.readings.reading("aced_l1_synthetic").drawn.mean == 0
    assert copied.readings.reading("akd_l2_256").drawn.mean > 0
    assert true.readings.reading("aced_l1_synthetic").drawn.mean > 0
    assert true.readings.reading("akd_l2_256").drawn.mean == 0
    frames = lengths(made.pairs)
    assert true.frames == (min(frames), max(frames))
    assert true.flicker["network"] == true.flicker["truth"]
    assert true.flicker["truth"].n == sum(frames) - len(frames)


def test_pictures_of_one_sequence_are_there_at_a_time(kept: Sequences) -> None:
    gone: list[bool] = []
    before: list[ref[Tensor]] = []

    def watched(number: int) -> Pairs:
        gone.extend(known() is None for known in before)
        pairs = kept.each[number]()
        pair = pairs.pairs[0]
        own = pair.target._replace(picture=pair.target.picture.clone())
        before[:] = [ref(own.picture)]
        return pairs._replace(pairs=(pair._replace(target=own),))

    def begins(number: int, clip: object, begin: int, drawn: Tensor) -> None:
        before.append(ref(drawn))

    each = tuple(lambda number=number: watched(number) for number in range(3))
    follow(Copier(), kept._replace(each=each), keep=begins)
    assert gone == [True] * 4


def test_pictures_are_kept_in_order(kept: Sequences, made: Pairs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streaming, "AT_ONCE", 3)
    rows: list[tuple[int, int]] = []
    told: list[tuple[int, int]] = []
    follow(
        Copier(),
        kept,
        keep=lambda number, clip, begin, drawn: rows.extend((number, begin + k) for k in range(len(drawn))),
        told=lambda number, frames: told.append((number, frames)),
    )
    frames = lengths(made.pairs)
    assert rows == [(number, frame) for number, many in enumerate(frames) for frame in range(many)]
    assert told == list(enumerate(frames))


def test_a_folder_gives_sources_of_another_clip(tmp_path: Path) -> None:
    folder = pretender.folder(tmp_path / "data", identities=6, clips_per_identity=2, frames=6)
    found = folder_sequences(folder, seed=0, count=50, frames=(2, 4), held_out=HALF)
    test = ClipDataset(folder, "test", HALF)
    assert len(found.each) == len(test) > 1
    names = {entry.id: number for number, entry in enumerate(test.clips)}
    seen = set()
    for make in found.each:
        pairs = make()
        (pair,) = pairs.pairs
        assert pair.target.identity == pair.driving.identity
        assert pair.target.clip != pair.driving.clip
        assert not pairs.exact
        length = len(pair.driving.picture) - 1
        assert 2 <= length <= 4
        assert pair.driving.frames.tolist()[1:] == list(range(6 - length, 6))
        source = test[names[str(pair.target.clip)]].read(pair.target.frames.tolist()[:1])
        assert torch.equal(pair.target.picture[:1], source.picture)
        seen.add(length)
    assert len(seen) > 1, "drawn"
    assert any("another clip of the same identity" in note for note in found.notes)
    again = folder_sequences(folder, seed=0, count=1, frames=(2, 4), held_out=HALF)
    assert torch.equal(again.each[0]().pairs[0].target.picture, found.each[0]().pairs[0].target.picture)
    readings = follow(Copier(), found, finder=Pretended()).readings
    names_of = {one.name for one in readings.figures}
    assert "akd_l2_256" in names_of
    assert not any(name.startswith(("l1", "psnr", "ssim")) for name in names_of), "there is no true picture"


def test_without_another_clip_the_source_is_elsewhere_in_the_same(tmp_path: Path) -> None:
    folder = pretender.folder(tmp_path / "data", identities=2, frames=6)
    found = folder_sequences(folder, frames=(5, 9), held_out=HALF)
    for make in found.each:
        pairs = make()
        (pair,) = pairs.pairs
        assert pair.target.clip == pair.driving.clip
        assert pair.target.frames.tolist() == [0, 1, 2, 3, 4, 5]
        assert pairs.exact
    assert any("another place of the same clip" in note for note in found.notes)
    assert follow(Copier(), found).readings.reading("l1_whole").drawn.mean > 0
    with pytest.raises(ValueError, match=r"no clip to test has 6 frames with a face .* at most 5: ask"):
        folder_sequences(folder, frames=(6, 9), held_out=HALF)
    with pytest.raises(ValueError, match=r"no clip to test has 100 frames .* at most 6"):
        folder_sequences(folder, held_out=HALF)


def test_frames_without_a_face_interrupt_a_sequence(tmp_path: Path) -> None:
    """And sources of other sizes become as large as the sequence."""
    writer = ClipWriter(tmp_path, "videos", {})
    random = np.random.default_rng(0)
    seen = {"id1+aaa+1": "1101111011", "id1+aaa+2": "0100", "id1+bbb+1": "0010", "id2+ccc+1": "11111"}
    for name, faces in seen.items():
        frames, size = len(faces), 24 if "bbb" in name else 32
        pictures = random.integers(0, 255, (frames, size, size, 3), dtype=np.uint8)
        valid = np.array([face == "1" for face in faces])
        split = "train" if "id2" in name else "test"
        points = pretender.clip_points(frames)
        writer.write(name, pictures, points, valid, name[:3], 25, split=split)  # type: ignore[arg-type]
    writer.finish()
    found = folder_sequences(tmp_path, frames=(3, 100))
    assert found.name == "sequences"
    assert "2 clips without 3 such frames in a row were left out" in found.notes
    (pair,) = found.each[0]().pairs
    assert pair.driving.clip == "id1+aaa+1"
    assert pair.target.clip == "id1+bbb+1", "of another recording, rather than of the same"
    assert pair.target.picture.shape[2:] == (32, 32)
    assert pair.target.frames[0] == 2
    rest = pair.target.frames[1:].tolist()
    assert rest[-1] == 6
    assert rest == list(range(rest[0], 7))
    assert rest[0] >= 3


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"count": 0}, "sequences 0: expected at least 1"),
        ({"frames": (1, 5)}, "sequence-frames 1 5: expected the fewest"),
        ({"frames": (9, 5)}, "sequence-frames 9 5: expected the fewest"),
        ({"style": "dancing"}, "unknown style of motion 'dancing'"),
    ],
)
def test_numbers_that_make_no_sense_are_refused(asked: dict[str, object], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        rendered_sequences(**asked)  # type: ignore[arg-type]


def test_frames_that_are_no_video_do_not_flicker() -> None:
    found = rendered_sequences(count=1, frames=(2, 2), identities=1, size=32, style="seated", learnt=1)
    assert not found.each[0]().consecutive
    assert found.notes == ("seated: frames that don't follow one another; no flicker",)
    assert follow(Copier(), found).flicker == {}
