from fractions import Fraction

import numpy as np
import pytest
from PIL import Image

from tests.material import GRID_CLIP, frames
from tests.trainer.data.films import film, levels
from trainer.data.decoding import moments, rate_of, read_picture
from trainer.data.layouts import Clip


def numbers(found):
    """Which of `levels` each picture is, by its colour."""
    return [round((float(moment.picture.mean()) - 20) / 3) for moment in found]


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    """Forty frames at 25 a second."""
    path = film(tmp_path_factory.mktemp("films") / "forty.mp4", levels(40))
    return Clip("forty", "forty", path)


def test_every_frame_in_its_order(clip):
    found = list(moments(clip, None))
    assert numbers(found) == [moment.number for moment in found] == list(range(40))
    np.testing.assert_allclose([moment.time_s for moment in found], np.arange(40) / 25, atol=1e-6)
    assert rate_of(clip) == 25


@pytest.mark.parametrize(
    ("fps", "wanted"),
    [(25, list(range(40))), (60, list(range(40))), (12.5, list(range(0, 40, 2))), (5, list(range(0, 40, 5)))],
)
def test_frames_are_left_out_and_none_is_made_up(clip, fps, wanted):
    assert numbers(moments(clip, fps)) == wanted


def test_an_uneven_rate_stays_even_on_average(clip):
    found = numbers(moments(clip, 10))
    assert len(found) == 16
    assert set(np.diff(found)) == {2, 3}


def test_a_part_of_a_video(clip):
    assert numbers(moments(clip, 25, 0.4, 0.8)) == list(range(10, 20))


def test_a_part_that_lies_beyond_the_end(clip):
    assert numbers(moments(clip, 25, 1.52, 9.0)) == [38, 39]
    assert numbers(moments(clip, 25, 5.0, 9.0)) == []


def test_a_part_far_into_a_video_is_found_by_seeking(tmp_path):
    path = film(tmp_path / "long.mp4", [picture for picture in levels(75) for _ in range(2)])
    found = list(moments(Clip("long", "long", path), 25, 4.0, 4.4))
    assert [moment.number for moment in found] == list(range(100, 110))
    assert numbers(found) == [number // 2 for number in range(100, 110)]


def test_what_a_damaged_video_still_holds_is_read(tmp_path):
    """The second half of its frames is overwritten: what comes before is there."""
    path = film(tmp_path / "a.mp4", frames(GRID_CLIP, 30))
    whole = list(moments(Clip("a", "a", path), None))
    data = bytearray(path.read_bytes())
    start = data.index(b"mdat")
    size = int.from_bytes(data[start - 4 : start], "big")
    middle, end = start + size // 2, start - 4 + size
    data[middle:end] = b"\xff" * (end - middle)
    path.write_bytes(data)
    found = list(moments(Clip("a", "a", path), None))
    assert 3 <= len(found) < len(whole) == 30
    for before, after in zip(whole[:3], found, strict=False):
        np.testing.assert_array_equal(before.picture, after.picture)


@pytest.mark.parametrize("content", [b"", b"hello", b"\0" * 4096])
def test_a_file_that_is_no_video(tmp_path, content):
    path = tmp_path / "a.mp4"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"a\.mp4 is not a video") as raised:
        list(moments(Clip("a", "a", path), 25))
    assert "\n" not in str(raised.value)


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(ValueError, match="no such file"):
        list(moments(Clip("a", "a", tmp_path / "a.mp4"), 25))


def test_frames_of_a_folder(tmp_path):
    for number, picture in enumerate(levels(10)):
        Image.fromarray(picture).save(tmp_path / f"{number}.png")
    paths = tuple(tmp_path / f"{number}.png" for number in range(10))
    clip = Clip("a", "a", tmp_path, paths)
    assert rate_of(clip) == Fraction(25)
    assert numbers(moments(clip, 12.5)) == [0, 2, 4, 6, 8]
    assert numbers(moments(clip._replace(series=True), 12.5)) == list(range(10))


@pytest.mark.parametrize("series", [False, True])
def test_broken_pictures_of_a_folder_are_left_out(tmp_path, series):
    paths = tuple(tmp_path / f"{number}.png" for number in range(6))
    for path, picture in zip(paths, levels(6), strict=True):
        Image.fromarray(picture).save(path)
    paths[2].write_bytes(b"no picture")
    paths[4].write_bytes(paths[4].read_bytes()[:60])
    found = list(moments(Clip("a", "a", tmp_path, paths, series=series), None))
    assert numbers(found) == [moment.number for moment in found] == [0, 1, 3, 5]


def test_pictures_are_turned_upright(tmp_path):
    picture = np.zeros((20, 30, 3), np.uint8)
    picture[:10, :10] = 255
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned clockwise
    Image.fromarray(picture).save(tmp_path / "a.png", exif=exif)
    np.testing.assert_array_equal(read_picture(tmp_path / "a.png"), np.rot90(picture, -1))


@pytest.mark.parametrize("cut", [0, 50])
def test_a_damaged_picture(tmp_path, cut):
    Image.fromarray(levels(1)[0]).save(tmp_path / "whole.jpg")
    path = tmp_path / "a.jpg"
    path.write_bytes((tmp_path / "whole.jpg").read_bytes()[:cut])
    with pytest.raises(ValueError, match=r"a\.jpg (is not a picture|can't be read)"):
        read_picture(path)


def test_frames_of_a_container_without_stamps_are_counted(tmp_path):
    """Of B-frames in an AVI the stamps are wrong."""
    path = film(tmp_path / "a.avi", frames(GRID_CLIP, 30))
    found = list(moments(Clip("a", "a", path), 25))
    assert [moment.number for moment in found] == list(range(30))
    np.testing.assert_allclose([moment.time_s for moment in found], np.arange(30) / 25, atol=1e-6)
