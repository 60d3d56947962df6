"""Clips and sheets: what goes into a measurement, and what comes out to be looked at."""

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from realtime.bench.clips import WINDOW, around_first_face, read_clip, write_clip
from realtime.bench.fidelity import psnr
from realtime.bench.sheet import contact_sheet, evenly


def waves(index: int, height: int = 96, width: int = 128) -> np.ndarray:
    """A smooth picture that moves with its index."""
    ys, xs = np.mgrid[0:height, 0:width]
    grey = 128 + 80 * np.sin(xs / 9 + index / 5) * np.cos(ys / 11)
    return np.repeat(grey[..., None], 3, 2).astype(np.uint8)


def test_a_written_clip_reads_back_nearly_as_it_was(tmp_path: Path) -> None:
    frames = [waves(index) for index in range(9)]
    write_clip(tmp_path / "waves.mp4", frames, Fraction(25))
    clip = read_clip(tmp_path / "waves.mp4", 100)
    assert (clip.name, clip.fps, len(clip.frames)) == ("waves", 25, 9)
    assert min(psnr(a, b) for a, b in zip(frames, clip.frames, strict=True)) > 38


def test_a_long_clip_is_strided_and_its_rate_goes_with_it(tmp_path: Path) -> None:
    write_clip(tmp_path / "waves.mp4", [waves(index) for index in range(20)], Fraction(24))
    clip = read_clip(tmp_path / "waves.mp4", 6)
    assert (len(clip.frames), clip.fps) == (6, 8)
    assert psnr(clip.frames[1], waves(3)) > 38


def test_a_file_without_video_is_refused(tmp_path: Path) -> None:
    import av

    path = tmp_path / "sound.wav"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=8000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 800), np.int16), format="s16", layout="mono")
        frame.sample_rate = 8000
        container.mux(stream.encode(frame))
    with pytest.raises(ValueError, match="no video"):
        read_clip(path, 10)


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"none\.mp4: there is no such file"):
        read_clip(tmp_path / "none.mp4", 10)


def test_the_window_holds_the_first_face_at_its_place() -> None:
    """A face 60 pixels wide fills 1 / 2.2 of the window, and its middle lies a little below the window's."""
    frame = np.zeros((240, 320, 3), np.uint8)
    frame[100:160, 130:190] = 255
    face = np.array([[130.0, 100.0], [190.0, 160.0]])
    (window,) = around_first_face([frame], face)
    assert window.shape == (WINDOW, WINDOW, 3)
    rows, columns = np.where(window[..., 0] > 127)
    assert np.ptp(columns) == pytest.approx(WINDOW / 2.2, abs=3)
    assert columns.mean() == pytest.approx(WINDOW / 2, abs=2)
    assert rows.mean() == pytest.approx(WINDOW / 2 * 1.1, abs=2)


def test_the_window_stays_where_the_first_face_was() -> None:
    first, second = np.zeros((240, 320, 3), np.uint8), np.zeros((240, 320, 3), np.uint8)
    first[100:160, 130:190] = second[100:160, 160:220] = 255
    windows = around_first_face([first, second], np.array([[130.0, 100.0], [190.0, 160.0]]))
    places = [np.where(window[..., 0] > 127)[1].mean() for window in windows]
    assert places[1] - places[0] == pytest.approx(30 * WINDOW / 132, abs=2)


def test_a_sheet_shows_every_picture_once() -> None:
    red, green = np.zeros((30, 20, 3), np.uint8), np.zeros((20, 40, 3), np.uint8)
    red[..., 0], green[..., 1] = 255, 255
    sheet = contact_sheet([("one", [red, green]), ("two", [green])], 40)
    assert sheet.shape[1] == 2 * 44
    reds, greens = (sheet[..., 0] > 240) & (sheet[..., 1] < 20), (sheet[..., 1] > 240) & (sheet[..., 0] < 20)
    assert int(reds.sum()) == red.shape[0] * red.shape[1]  # small enough to be shown as it is
    assert int(greens.sum()) == 2 * green.shape[0] * green.shape[1]
    assert contact_sheet([("alone", [red])], 40).shape == (44, 44, 3)


def test_a_sheet_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one"):
        contact_sheet([], 40)


@pytest.mark.parametrize(
    ("count", "wanted", "chosen"), [(10, 5, [1, 3, 5, 7, 9]), (3, 8, [0, 1, 2]), (7, 1, [6])]
)
def test_frames_are_chosen_evenly(count: int, wanted: int, chosen: list[int]) -> None:
    assert evenly(count, wanted) == chosen
