"""Rendered people who do what people in videos did."""

import pickle
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from scipy.ndimage import gaussian_filter1d

from models.face_geometry import LIP_CORNERS, RIGID, rigid_fit
from models.face_tracker import FaceTracker
from tests.material import GRID_CLIP, frames, track
from tests.trainer.data.films import film, levels
from tests.trainer.data.pretender import contents
from trainer import prepare
from trainer.data.rendering import Rendering, render_clips
from trainer.data.replayed import ReplayedClips, framed
from trainer.data.stream import RenderedStream
from trainer.data.synthetic.motion import SHIFT, draw_motion, rotation_angles
from trainer.data.synthetic.replay import LIDS, LIPS, mean_basis
from trainer.data.tracks import FilmedTracks, Track

CPU = torch.device("cpu")
SMALL: dict[str, Any] = {"identities": 2, "frames": 4, "size": 32, "workers": 1}
NAMES = ("grid_lbax4n", "intel_head_pose_male")  # 25 and 12.5 frames a second


class Recorded:
    """The tests' own tracks."""

    def __init__(self, *names: str) -> None:
        self.remarks: list[str] = []
        self.names = names

    def tracks(self) -> list[Track]:
        found = [(name, track(name)) for name in self.names]
        return [Track(one.points.astype(np.float32), one.fps, name) for name, one in found]


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Somebody who speaks, at 25 frames a second and at 24, the latter for a moment."""
    folder = tmp_path_factory.mktemp("films")
    speaker = frames(GRID_CLIP, 40)
    film(folder / "fast.mp4", speaker)
    film(folder / "slow.mp4", speaker[:35], 24)
    return folder


@pytest.fixture(autouse=True)
def _one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pictures so small gain nothing from more, and much is lost where the machine is busy."""
    monkeypatch.setattr("trainer.data.rendering.cores", lambda: 1)


def asked(films: Path, output: Path, **changed: Any) -> Rendering:
    return Rendering(output, **{"motions": films} | SMALL | changed)


def told(error: pytest.ExceptionInfo[ValueError]) -> str:
    assert "\n" not in str(error.value)
    return str(error.value)


def test_a_track_at_another_pace_keeps_its_time() -> None:
    line = np.broadcast_to(np.arange(6, dtype=np.float32)[:, None, None], (6, 478, 3))
    slow = Track(line, 10.0, "line")
    assert slow.at(10.0) is slow.points
    faster = slow.at(25.0)
    np.testing.assert_allclose(faster[:, 0, 0], np.arange(13) * 0.4, atol=1e-5)
    assert faster.dtype == np.float32
    assert slow.at(5.0)[:, 0, 0].tolist() == [0, 2, 4]


def test_motions_that_are_too_short_are_told(tmp_path: Path) -> None:
    found = ReplayedClips(Recorded(*NAMES), 100)
    assert found.remarks == ["motion grid_lbax4n left out: 75 frames at 25 a second, fewer than 100"]
    assert found.content["motion_names"] == ["intel_head_pose_male"]
    with pytest.raises(ValueError, match="no motion has 1000 frames at 25 a second, the longest ") as error:
        ReplayedClips(Recorded(*NAMES), 1000)
    assert "give longer videos" in told(error)
    with pytest.raises(ValueError, match="motions were chosen for clips of at most 100"):
        found(0, 0, 0, 101, 32, CPU, None, ())
    with pytest.raises(ValueError, match="style 'idle': motions that are replayed have their own"):
        found(0, 0, 0, 4, 32, CPU, "idle", ())


def test_a_style_and_motions_exclude_each_other(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="style talking with motions") as error:
        asked(tmp_path, tmp_path / "out", style="talking")
    told(error)


def test_what_is_of_no_use_is_told_before_anything_is_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    film(tmp_path / "in/faceless.mp4", levels(12))
    (tmp_path / "other").mkdir()
    (tmp_path / "other/letter.txt").write_text("kept")
    for folder, output, reason in (
        ("in", "out", "no motion in"),
        ("absent", "out", "is no folder"),
        ("in", "other", "holds something else"),
    ):
        arguments = ["--motions", str(tmp_path / folder), "--output", str(tmp_path / output)]
        assert prepare.main(["synthetic", *arguments]) == 2
        assert reason in capsys.readouterr().err.splitlines()[-1]
    assert list(contents(tmp_path / "other")) == ["letter.txt"]
    assert all(name.startswith("motions/") for name in contents(tmp_path / "out"))


def test_people_are_rendered_along_videos_and_the_folder_is_gone_on_with(
    films: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The command, then workers and ranks: all make the same folder."""
    sizes = ["--identities", "2", "--frames", "38", "--size", "32", "--workers", "1"]
    command = ["synthetic", *sizes, "--motions", str(films), "--output"]
    assert prepare.main([*command, str(tmp_path / "one")]) == 0
    said = capsys.readouterr()
    assert said.out.endswith("2 clips, 2 of them new.\n")
    assert "motion slow+000 left out: 36 frames at 25 a second, fewer than 38\n" in said.err
    whole = contents(tmp_path / "one")
    with np.load(next((tmp_path / "one").rglob("truth.npz"))) as truth:
        assert truth["motion"].tolist() == [0]
        assert (np.diff(truth["motion_frame"]) == 1).all()
        assert truth["valid"].all()
        assert np.ptp(truth["expression"], axis=0).max() > 0.1

    monkeypatch.setattr("trainer.data.tracks.look", None)  # what is tracked is kept
    for other, changed in (("workers", {"workers": 2}), ("ranks", {})):
        shutil.copytree(tmp_path / "one/motions", tmp_path / other / "motions")
        for rank in ("0", "1") if other == "ranks" else ("0",):
            monkeypatch.setenv("RANK", rank)
            monkeypatch.setenv("WORLD_SIZE", "2" if other == "ranks" else "1")
            list(render_clips(asked(films, tmp_path / other, frames=38, **changed)))
        assert contents(tmp_path / other) == whole


def test_other_motions_are_refused(films: Path, tmp_path: Path) -> None:
    list(render_clips(asked(films, tmp_path / "out")))
    fewer = tmp_path / "fewer"
    fewer.mkdir()
    shutil.copy2(films / "fast.mp4", fewer)
    for motions in (fewer, None):
        with pytest.raises(
            ValueError, match="was begun with motions 2 of checksum [0-9a-f]{8}, not "
        ) as error:
            list(render_clips(asked(films, tmp_path / "out", motions=motions)))
        told(error)


def test_ranks_track_another_part_first(films: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    order: list[str] = []

    def seen(clip: Any) -> Any:
        order.append(clip.id)
        return [np.zeros((9, 478, 3), np.float32)], 25.0, []

    monkeypatch.setattr("trainer.data.tracks._shots", seen)
    first = FilmedTracks(films, tmp_path / "a").tracks()
    second = FilmedTracks(films, tmp_path / "b", rank=1, world=2).tracks()
    assert order == ["fast", "slow", "slow", "fast"]
    assert [one.name for one in first] == [one.name for one in second]


def test_the_stream_takes_the_same_renderer() -> None:
    render = ReplayedClips(Recorded(*NAMES), 3)
    drawn = render(0, 4, 0, 3, 32, CPU, None, ())
    again = pickle.loads(pickle.dumps(render))(0, 4, 0, 3, 32, CPU, None, ())
    assert torch.equal(drawn.picture, again.picture)
    stream = RenderedStream(1, 3, 32, identities=8, parameters=("motion_frame",), render=render)
    stream.load_state_dict({"position": 4, "seed": 0})
    batch = next(iter(stream))
    assert torch.equal(batch.picture[0], drawn.picture)
    assert torch.equal(batch.parameters["motion_frame"][0], drawn.parameters["motion_frame"])


def test_a_face_that_walks_through_the_picture_is_shown_from_further_away() -> None:
    still = draw_motion(0, [0], 20, style="idle")
    walking = still._replace(shift=still.shift + torch.linspace(0, 0.6, 20)[:, None] * torch.tensor([1.0, 0]))
    shown = framed(walking)
    assert shown.shift.abs().max() <= SHIFT
    assert shown.shift.diff(dim=0)[:, 0].min() > 0  # never held at the border
    assert shown.scale.max() < 0.9
    assert framed(still).scale.median() == pytest.approx(1)


def test_a_tracker_sees_a_rendered_person_do_what_a_real_one_did() -> None:
    """Somebody who speaks, blinks and nods a little, all within two degrees; shown by a person whom the
    tracker sees well."""
    render = ReplayedClips(Recorded("grid_lbax4n"), 75)
    rendered = render(0, 12, 0, 75, 160, CPU, None, ())
    with FaceTracker() as faces:
        seen = [faces.track(picture.permute(1, 2, 0).contiguous().numpy()) for picture in rendered.picture]
    real, shown = doings(track("grid_lbax4n").points), doings(np.array(seen))
    truth = doings(rendered.points.numpy())
    for name, least in {"mouth": 0.95, "eyes": 0.88, "yaw": 0.85, "pitch": 0.92, "roll": 0.85}.items():
        assert np.corrcoef(real[name], truth[name])[0, 1] > 0.98, name
        assert np.corrcoef(real[name], shown[name])[0, 1] > least, name


def doings(points: npt.NDArray[Any]) -> dict[str, npt.NDArray[np.float64]]:
    """How far mouth and eyes are open, by the width of the mouth and the eyes' distance, and how the head is
    turned, in degrees, without what changes within a tenth of a second: F each."""

    def gap(pairs: Any) -> npt.NDArray[Any]:
        return np.mean([np.linalg.norm(points[:, a, :2] - points[:, b, :2], axis=1) for a, b in pairs], 0)

    def width(ends: tuple[int, int]) -> npt.NDArray[Any]:
        return np.asarray(np.linalg.norm(points[:, ends[0], :2] - points[:, ends[1], :2], axis=1))

    face = mean_basis().neutral[RIGID, :].double().expand(len(points), -1, -1)
    turned = rigid_fit(face, torch.from_numpy(points[:, RIGID].astype(np.float64)))[1]
    yaw, pitch, roll = gaussian_filter1d(rotation_angles(turned).numpy(), 2.0, axis=0).T
    eyes = gap(LIDS[0]) + gap(LIDS[1])
    return {
        "mouth": gap(LIPS) / width((LIP_CORNERS[0], LIP_CORNERS[1])),
        "eyes": eyes / width((33, 263)),
        "yaw": yaw,
        "pitch": pitch,
        "roll": roll,
    }
