"""Portraits moved along recorded motions."""

import shutil

import numpy as np
import pytest
from PIL import Image

from models.face_tracker import FaceTracker, settled_points
from models.observation import observe
from models.portrait_face import portrait_face
from tests.material import ASTRONAUT, GRID_CLIP, MONA_LISA, TRACKS, frames, picture, track
from tests.trainer.data.films import film, levels
from tests.trainer.data.folder_sink import FolderSink, clips
from trainer.data.stills import Portrait, Puppeteer, StillSettings, choice, prepare_stills
from trainer.data.tracks import FilmedTracks, Track

EYES = (33, 263)


class Recorded:
    """The tests' own tracks."""

    def __init__(self, *names):
        self.remarks = []
        self.names = names

    def tracks(self):
        found = [(name, track(name)) for name in self.names]
        return [Track(one.points.astype(np.float32), one.fps, name) for name, one in found]


def settings(folder, output, **values):
    return StillSettings(**{"folder": folder, "output": output, "frames": 8, "per_portrait": 1, **values})


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Two portraits moved along a motion, beside what is none."""
    root = tmp_path_factory.mktemp("stills")
    (root / "in").mkdir()
    for path in (MONA_LISA, ASTRONAUT):
        shutil.copy(path, root / "in")
    Image.fromarray(levels(1, 300)[0]).save(root / "in/grey.png")
    (root / "in/broken.jpg").write_bytes(b"no picture")
    Image.open(MONA_LISA).resize((72, 128)).save(root / "in/small.png")
    report = prepare_stills(
        settings(root / "in", root / "out", size=512), Recorded("grid_swiz3n"), FolderSink
    )
    return root, report


def test_portraits_are_moved_and_the_others_are_told(made):
    root, report = made
    written = clips(root / "out")
    assert {name.split("+")[0] for name in written} == {"mona_lisa", "astronaut"}
    for name, clip in written.items():
        assert clip["pictures"].shape == (8, 512, 512, 3)
        assert clip["points"].shape == (8, 478, 3)
        assert clip["valid"].all()
        assert (str(clip["identity"]), str(clip["motion"])) == (name.split("+")[0], "grid_swiz3n")
        assert clip["fps"] == 25
        assert np.ptp(clip["pictures"].astype(int), axis=0).max() > 50  # something moves
    lost = {one["clip"]: one["reason"] for one in report["outcomes"] if one["reason"]}
    assert lost["broken"] == "unreadable"
    assert lost["grey"] == "no face"
    small = next(one for one in report["outcomes"] if one["clip"] == "small")
    assert small["reason"] or small["parts"][0]["broke"] == "min_side"


def test_the_truth_is_where_the_tracker_finds_the_face(made):
    """To 3 % of the distance of the eyes' outer corners: the landmarks were drawn, not found."""
    root, _ = made
    for clip in clips(root / "out").values():
        with FaceTracker() as faces:
            for index in (0, 7):
                found = settled_points(clip["pictures"][index], faces)
                truth = clip["points"][index] * 512
                unit = np.linalg.norm(truth[EYES[0], :2] - truth[EYES[1], :2])
                off = np.linalg.norm(found[:, :2] - truth[:, :2], axis=1).mean() / unit
                assert off < 0.03


def test_a_motion_that_stands_still_gives_the_portrait(tmp_path):
    """At its own landmarks' places."""
    shutil.copy(MONA_LISA, tmp_path)
    face = track(TRACKS[0]).points[:1].astype(np.float32)

    class Still(Recorded):
        def tracks(self):
            return [Track(np.repeat(face, 4, 0), 25.0, "still")]

    prepare_stills(settings(tmp_path, tmp_path / "out", size=512), Still(), FolderSink)
    (clip,) = clips(tmp_path / "out").values()
    assert len(clip["pictures"]) == 4  # shorter than asked for: none is made up
    whole = picture(MONA_LISA)
    seen = observe(whole, portrait_face(whole).points, _source_rule())
    original = seen.image[0].permute(1, 2, 0).numpy()
    assert np.abs(clip["pictures"][0].astype(int) - original).mean() < 2
    np.testing.assert_allclose(clip["points"][0], seen.points[0], atol=0.01)
    np.testing.assert_array_equal(clip["pictures"][0], clip["pictures"][3])


def _source_rule():
    from models import registry

    return registry.get("warp").spec.source


class Flat(Puppeteer):
    """Draws at once: two grey frames."""

    def portrait(self, picture):
        return Portrait(None, 500.0, 0.0, ())

    def move(self, portrait, points, neutral):
        return [(np.full((64, 64, 3), 128, np.uint8), face) for face in points]


def test_a_stopped_run_goes_on(tmp_path, monkeypatch):
    monkeypatch.setattr("trainer.data.stills.Puppeteer", Flat)
    for name in "ab":
        Image.fromarray(levels(1)[0]).save(tmp_path / f"{name}.png")

    class Stopped(FolderSink):
        def write(self, clip_id, *rest):
            if clip_id.startswith("b"):
                raise KeyboardInterrupt
            super().write(clip_id, *rest)

    wanted = settings(tmp_path, tmp_path / "out", frames=2, size=64)
    with pytest.raises(KeyboardInterrupt):
        prepare_stills(wanted, Recorded("grid_lbax4n"), Stopped)
    report = prepare_stills(wanted, Recorded("grid_lbax4n"), FolderSink)
    names = (tmp_path / "out/written.txt").read_text().split()
    assert [name[0] for name in names] == ["a", "b"]
    assert report["kept"] == {"shots": 2, "frames": 4}


def test_the_choice_of_motions_is_each_portrait_s_own():
    tracks = Recorded(*TRACKS).tracks()
    wanted = StillSettings(folder=".", output=".", frames=20, per_portrait=3)
    chosen = choice("someone", tracks, wanted)
    assert [(one.name, window) for one, window in chosen] == [
        (one.name, window) for one, window in choice("someone", tracks, wanted)
    ]
    assert len({one.name for one, _ in chosen}) == 3
    assert all(window.stop - window.start == 20 <= len(one.points) for one, window in chosen)
    others = [[(one.name, window.start) for one, window in choice(str(i), tracks, wanted)] for i in range(5)]
    assert len({str(one) for one in others}) > 1
    every = choice("someone", tracks, wanted.model_copy(update={"per_portrait": 12}))
    assert {one.name for one, _ in every} == set(TRACKS)
    short = wanted.model_copy(update={"frames": 10_000})  # of a motion that is shorter there is one part only
    assert [one.name for one, _ in choice("someone", tracks[:1], short)] == [tracks[0].name]


def test_motions_are_tracked_once(tmp_path, monkeypatch):
    speaker = frames(GRID_CLIP, 40)
    film(tmp_path / "in/speaker.mp4", speaker)
    film(tmp_path / "in/faceless.mp4", levels(12))
    film(tmp_path / "in/short.mp4", speaker[:8])
    (tmp_path / "in/broken.mp4").write_bytes(b"")
    source = FilmedTracks(tmp_path / "in", tmp_path / "cache")
    (motion,) = source.tracks()
    assert (motion.name, motion.fps, motion.points.shape) == ("speaker+000", 25, (40, 478, 3))
    told = "\n".join(source.remarks)
    assert len(source.remarks) == 3
    assert "faceless.mp4 left out: no face" in told
    assert "short.mp4 left out: too short (frames 0 to 7)" in told
    assert "broken.mp4 is not a video" in told

    def never(*_):
        raise AssertionError("it was tracked already")

    monkeypatch.setattr("trainer.data.tracks.look", never)
    again = FilmedTracks(tmp_path / "in", tmp_path / "cache")
    np.testing.assert_array_equal(again.tracks()[0].points, motion.points)
    assert again.remarks == source.remarks


def test_a_motion_is_as_long_as_its_boxes_say(tmp_path):
    """VoxCeleb's boxes of some seconds in a whole video."""
    film(tmp_path / "5r0dWxy17C8.mp4", frames(GRID_CLIP, 60))
    path = tmp_path / "txt/id10270/5r0dWxy17C8/00001.txt"
    path.parent.mkdir(parents=True)
    rows = [f"{frame:06} 0.2 0.1 0.6 0.8" for frame in range(10, 50)]
    path.write_text("\n".join(["FRAME X Y W H", *rows]))
    (motion,) = FilmedTracks(tmp_path, tmp_path / "cache").tracks()
    assert len(motion.points) == 40


@pytest.mark.parametrize(
    ("device", "told"), [("gpu", "expected cpu, cuda or cuda:N"), ("cuda:99", "torch sees .* GPUs here")]
)
def test_a_device_that_is_not_there_is_told_before_anything_is_done(tmp_path, device, told):
    with pytest.raises(ValueError, match=f"^device '{device}': {told}$"):
        settings(tmp_path, tmp_path / "out", device=device)


def test_what_cannot_be_is_told_in_one_line(tmp_path):
    Image.fromarray(levels(1, 300)[0]).save(tmp_path / "grey.png")
    with pytest.raises(ValueError, match="portraits need motions: .* --motions"):
        prepare_stills(settings(tmp_path, tmp_path / "out"), None, FolderSink)
    with pytest.raises(ValueError, match=r"no portrait in .* is of use \(1 no face\)"):
        prepare_stills(settings(tmp_path, tmp_path / "out"), Recorded(TRACKS[0]), FolderSink)
    (tmp_path / "videos").mkdir()
    film(tmp_path / "videos/a.mp4", levels(12))
    with pytest.raises(ValueError, match="no motion in .*: expected videos of one person's face"):
        FilmedTracks(tmp_path / "videos", tmp_path / "cache").tracks()
    with pytest.raises(ValueError, match="not laid out as stills"):
        prepare_stills(settings(tmp_path / "videos", tmp_path / "out"), Recorded(TRACKS[0]), FolderSink)
