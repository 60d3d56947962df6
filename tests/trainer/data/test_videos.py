"""Videos from the file to the sink: what is kept, what is left out and why, and how a stopped run goes on."""

import json

import cv2
import numpy as np
import pytest
from PIL import Image

from models.face_geometry import LANDMARKS_68
from tests.material import ASTRONAUT, GRID_CLIP, MONA_LISA, frames, picture, shared
from tests.trainer.data.films import film, levels
from tests.trainer.data.folder_sink import FolderSink, clips
from trainer.data.videos import VideoSettings, prepare_videos

SHORT = 10  # frames


def still(path, size=256):
    """A portrait, `size` pixels high and of even width."""
    whole = picture(path)
    width = 2 * round(size * whole.shape[1] / whole.shape[0] / 2)
    return cv2.resize(whole, (width, size), interpolation=cv2.INTER_AREA)


def with_a_companion():
    """A portrait whose own face looks over her shoulder, half as large."""
    whole = still(MONA_LISA, 768)
    face = cv2.resize(whole[120:282, 150:297], None, fx=0.55, fy=0.55, interpolation=cv2.INTER_AREA)
    whole[180 : 180 + face.shape[0], 294 : 294 + face.shape[1]] = face
    return whole


@pytest.fixture(scope="module")
def speaker():
    return frames(GRID_CLIP, 30)


def prepared(folder, output, **values):
    settings = {"folder": folder, "output": output, "min_frames": SHORT, "workers": 1, **values}
    return prepare_videos(VideoSettings(**settings), FolderSink)


def test_a_folder_of_all_sorts(tmp_path, speaker):
    folder = tmp_path / "in"
    other = still(ASTRONAUT)
    film(folder / "cut.mp4", [*speaker[:15], *[cv2.resize(other, (360, 288))] * 12])
    film(folder / "dark.mp4", [frame // 12 for frame in speaker[:12]])
    film(folder / "faceless.mp4", levels(12))
    film(folder / "short.mp4", speaker[:5])
    film(folder / "two.mp4", [with_a_companion()] * 12)
    film(folder / "blurred.mp4", [cv2.GaussianBlur(frame, (0, 0), 6) for frame in speaker[:12]])
    (folder / "broken.mp4").write_bytes(b"this is no video")
    (folder / "empty.mp4").write_bytes(b"")
    whole = (folder / "short.mp4").read_bytes()
    (folder / "truncated.mp4").write_bytes(whole[: len(whole) // 2])
    report = prepared(folder, tmp_path / "out", min_side=80)
    assert report["clips"] == {"found": 9, "used": 1}
    why = {
        one["clip"]: one["reason"] or [part["broke"] for part in one["parts"]] for one in report["outcomes"]
    }
    assert why == {
        "cut": [None, None],
        "dark": why["dark"],
        "faceless": "no face",
        "short": ["min_frames"],
        "two": ["max_second_face"],
        "blurred": ["min_sharpness"],
        "broken": "unreadable",
        "empty": "unreadable",
        "truncated": "unreadable",
    }
    assert why["dark"] in ("no face", ["min_light"])
    written = clips(tmp_path / "out")
    assert {name: len(clip["pictures"]) for name, clip in written.items()} == {"cut+000": 15, "cut+001": 12}
    np.testing.assert_array_equal(written["cut+001"]["source_frame"], np.arange(15, 27))
    assert json.loads((tmp_path / "out/report.json").read_text()) == report


def test_landmarks_lie_on_the_pictures(tmp_path, speaker):
    """The crop holds what the landmarks say: pixels there are those of the original at its landmarks."""
    film(tmp_path / "in/a.mp4", speaker[:SHORT])
    prepared(tmp_path / "in", tmp_path / "out", size=288)
    clip = clips(tmp_path / "out")["a+000"]
    assert clip["pictures"].shape == (SHORT, 288, 288, 3)
    assert clip["points"].shape == (SHORT, 478, 3)
    assert clip["valid"].all()
    assert clip["fps"] == 25
    assert (clip["square"] == clip["square"][0]).all()  # steady
    x, y, side = clip["square"][0]
    for frame, shown, points in zip(speaker, clip["pictures"], clip["points"], strict=False):
        assert points[:, :2].min() > 0
        assert points[:, :2].max() < 1
        there = (points[:, :2] * 288).astype(int)
        here = (points[:, :2] * side + (x, y)).astype(int)
        colours = shown[there[:, 1], there[:, 0]].astype(float) - frame[here[:, 1], here[:, 0]]
        assert np.abs(colours).mean() < 8


def test_a_stopped_run_goes_on_without_duplicates_or_holes(tmp_path, speaker):
    for name in "abc":
        film(tmp_path / f"in/{name}.mp4", speaker[:12])

    class Stopped(FolderSink):
        def write(self, clip_id, *rest, **named):
            if clip_id.startswith("b"):
                raise KeyboardInterrupt
            super().write(clip_id, *rest, **named)

    settings = VideoSettings(folder=tmp_path / "in", output=tmp_path / "out", min_frames=SHORT, workers=1)
    with pytest.raises(KeyboardInterrupt):
        prepare_videos(settings, Stopped)
    assert list(clips(tmp_path / "out")) == ["a+000"]
    with (tmp_path / "out/outcomes.jsonl").open("a") as file:
        file.write('{"clip": "b", "sour')  # what a kill may leave behind
    seen = []
    report = prepare_videos(settings, FolderSink, lambda done, of: seen.append((done, of)))
    assert seen == [(1, 3), (2, 3), (3, 3)]
    assert (tmp_path / "out/written.txt").read_text().split() == ["a+000", "b+000", "c+000"]
    assert report["kept"]["shots"] == 3
    assert prepare_videos(settings, FolderSink) == report


def test_what_was_deleted_or_mended_is_done_again(tmp_path, speaker):
    film(tmp_path / "in/a.mp4", speaker[:12])
    (tmp_path / "in/b.mp4").write_bytes(b"half of it")
    prepared(tmp_path / "in", tmp_path / "out")
    (tmp_path / "out/clips/a+000.npz").unlink()
    film(tmp_path / "in/b.mp4", speaker[10:22])
    report = prepared(tmp_path / "in", tmp_path / "out")
    assert set(clips(tmp_path / "out")) == {"a+000", "b+000"}
    assert report["left_out"] == {}


def test_a_clip_without_one_frame_is_looked_at_again(tmp_path, speaker):
    """Somebody may have fetched it again."""
    folder = tmp_path / "in/Clip+-1Jouc19Ixo+P0+C1+F4196-4320"
    folder.mkdir(parents=True)
    for number, frame in enumerate(speaker[:12]):
        (folder / f"{number}.png").write_bytes(b"")
        Image.fromarray(frame).save(tmp_path / f"{number}.png")
    with pytest.raises(ValueError, match="1 empty"):
        prepared(tmp_path / "in", tmp_path / "out")
    for number in range(12):
        (tmp_path / f"{number}.png").replace(folder / f"{number}.png")
    assert prepared(tmp_path / "in", tmp_path / "out")["kept"] == {"shots": 1, "frames": 12}


def test_300vw_s_points_come_along(tmp_path, speaker):
    """The annotation of people: here the tracker's own, in the file's pixels that count from 1."""
    film(tmp_path / "in/410/vid.avi", speaker[:12])
    prepared(tmp_path / "in", tmp_path / "first")
    clip = clips(tmp_path / "first")["410+000"]
    x, y, side = clip["square"][0]
    (tmp_path / "in/410/annot").mkdir()
    for number, points in enumerate(clip["points"][:-1], 1):
        lines = [f"{px:.4f} {py:.4f}" for px, py in points[LANDMARKS_68, :2] * side + (x + 0.5, y + 0.5)]
        text = "\n".join(["version: 1", "n_points:  68", "{", *lines, "}"])
        (tmp_path / f"in/410/annot/{number:06}.pts").write_text(text)
    prepared(tmp_path / "in", tmp_path / "second")
    again = clips(tmp_path / "second")["410+000"]
    assert (str(again["split"]), str(again["part"])) == ("test", "test3")
    known = again["annotation"]
    np.testing.assert_allclose(known[:-1], clip["points"][:-1][:, LANDMARKS_68, :2], atol=1e-4)
    assert np.isnan(known[-1]).all()  # it has no file


def test_boxes_say_whose_face_it_is(tmp_path):
    """Two people in a video; VoxCeleb's boxes are those of the one on the right."""
    left, right = still(ASTRONAUT), still(MONA_LISA)
    video = film(tmp_path / "in/5r0dWxy17C8.mp4", [np.hstack([left, right])] * 24)
    assert video.exists()
    box = left.shape[1] + right.shape[1] * 0.25, 60, right.shape[1] * 0.5, 110
    scaled = [value * 360 / 256 for value in box]
    rows = [f"{frame:06} \t" + " \t".join(f"{value:.0f}" for value in scaled) for frame in range(4, 16)]
    path = tmp_path / "in/txt/id10270/5r0dWxy17C8/00001.txt"
    path.parent.mkdir(parents=True)
    path.write_text("Identity  : \tid10270\n\nFRAME \tX \tY \tW \tH \n" + "\n".join(rows))
    prepared(tmp_path / "in", tmp_path / "out", layout="voxceleb", min_side=80)
    clip = clips(tmp_path / "out")["id10270+5r0dWxy17C8+00001+000"]
    np.testing.assert_array_equal(clip["source_frame"], np.arange(4, 16))
    middle = clip["points"][..., 0].mean() * clip["square"][0, 2] + clip["square"][0, 0]
    assert middle > left.shape[1]


def test_rafd_s_labels_come_along(tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    Image.fromarray(still(ASTRONAUT, 400)).save(folder / "Rafd090_01_Caucasian_female_happy_frontal.jpg")
    Image.fromarray(still(MONA_LISA, 300)).save(folder / "Rafd090_01_Caucasian_female_neutral_left.jpg")
    Image.fromarray(levels(1)[0]).save(folder / "Rafd090_01_Caucasian_female_angry_left.jpg")  # no face
    report = prepared(folder, tmp_path / "out", min_side=80)
    clip = clips(tmp_path / "out")["Rafd090+01+000"]
    assert clip["emotion"].tolist() == ["happy", "neutral"]
    assert clip["gaze"].tolist() == ["frontal", "left"]
    assert (str(clip["identity"]), float(clip["fps"])) == ("01", 0.0)
    assert report["frames_without_face"] == 1


def test_broken_pictures_of_a_series_cost_no_others(tmp_path):
    (tmp_path / "in").mkdir()
    for emotion, path in (("angry", MONA_LISA), ("happy", ASTRONAUT), ("sad", MONA_LISA)):
        name = tmp_path / f"in/Rafd090_01_Caucasian_female_{emotion}_left.png"
        Image.fromarray(still(path, 400)).save(name)
        if emotion == "angry":
            name.write_bytes(b"half of it")
    report = prepared(tmp_path / "in", tmp_path / "out", min_side=80)
    clip = clips(tmp_path / "out")["Rafd090+01+000"]
    assert clip["emotion"].tolist() == ["happy", "sad"]
    assert report["remarks"] == ["Rafd090+01: 1 of 3 pictures can't be read"]


def test_a_folder_with_nothing_of_use(tmp_path):
    film(tmp_path / "in/a.mp4", levels(12))
    (tmp_path / "in/b.mp4").write_bytes(b"")
    with pytest.raises(ValueError, match=r"nothing in .* is of use \(1 no face, 1 unreadable\)") as raised:
        prepared(tmp_path / "in", tmp_path / "out")
    assert "\n" not in str(raised.value)
    assert (tmp_path / "out/report.md").exists()


def test_pictures_are_no_videos(tmp_path):
    Image.fromarray(levels(1)[0]).save(tmp_path / "a.png")
    with pytest.raises(ValueError, match="holds pictures, no videos: use `stills`"):
        prepared(tmp_path, tmp_path / "out")


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"fps": 0}, "fps 0: input should be greater than 0"),
        ({"max_yaw": 200}, "max-yaw 200: input should be less than or equal to 180"),
        ({"colour": 1}, "colour 1: extra inputs are not permitted"),
        ({"max_frames": 20}, "max-frames 20: shots need min-frames, which are 32"),
    ],
)
def test_mistakes_in_the_settings_are_told_in_one_line(values, told):
    with pytest.raises(ValueError, match=f"^{told}$"):
        VideoSettings(folder=".", output="out", **values)


@pytest.mark.slow
def test_processes_make_what_one_makes(tmp_path):
    """And all the clips of the collection are of use."""
    folder = shared("driving")
    reports = [
        prepare_videos(
            VideoSettings(folder=folder, output=tmp_path / str(workers), workers=workers), FolderSink
        )
        for workers in (1, 2)
    ]
    assert reports[0] == reports[1]
    assert reports[0]["clips"]["used"] == 6
    assert reports[0]["left_out"] == {}
    one, two = (clips(tmp_path / str(workers)) for workers in (1, 2))
    assert one.keys() == two.keys()
    for name, clip in one.items():
        for key, values in clip.items():
            np.testing.assert_array_equal(values, two[name][key])
