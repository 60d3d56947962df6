import numpy as np
import pytest

from trainer.data.annotations import read_boxes, read_pts

POINTS = "version: 1\nn_points: 3\n{\n1.0 2.5\n10 20\n-3.5 4e1\n}\n"
HEAD = "Identity  : \tid10001\nReference : \t1zcIwhmdeo4\nOffset    : \t-3\n\nFRAME \tX \tY \tW \tH \n"


def written(path, text):
    path.write_text(text)
    return path


def test_points_count_from_the_picture_s_edge(tmp_path):
    """Their first pixel's centre is 1; ours lies half a pixel from the edge."""
    points = read_pts(written(tmp_path / "a.pts", POINTS))
    np.testing.assert_allclose(points, [[0.5, 2.0], [9.5, 19.5], [-4.0, 39.5]])


@pytest.mark.parametrize("change", [("\n", "\r\n"), ("version: 1", "version:  1.0"), ("{\n", "{\n\n")])
def test_points_as_other_tools_write_them(tmp_path, change):
    assert read_pts(written(tmp_path / "a.pts", POINTS.replace(*change))).shape == (3, 2)


@pytest.mark.parametrize(
    "change",
    [
        ("}", ""),
        ("{", ""),
        ("version: 1", "version: 2"),
        ("version: 1\n", ""),
        ("n_points: 3", "n_points: 4"),
        ("n_points: 3", "n_points: many"),
        ("10 20", "10 20 30"),
        ("10 20", "10 x"),
        ("10 20", "nan 20"),
    ],
)
def test_other_files_are_refused(tmp_path, change):
    with pytest.raises(ValueError, match=r"a\.pts is no landmark file"):
        read_pts(written(tmp_path / "a.pts", POINTS.replace(*change)))


def test_an_empty_file_holds_no_points(tmp_path):
    with pytest.raises(ValueError, match="no landmark file"):
        read_pts(written(tmp_path / "a.pts", ""))


def test_boxes_in_pixels(tmp_path):
    text = HEAD + "000050 \t265 \t77 \t108 \t108 \n000051 \t260 \t80 \t108 \t110 \n"
    region, start_s, end_s = read_boxes(written(tmp_path / "a.txt", text))
    assert region == (260, 77, 373, 190, 360)
    assert (start_s, end_s) == (2.0, 2.08)


def test_boxes_in_shares(tmp_path):
    region, *_ = read_boxes(written(tmp_path / "a.txt", HEAD + "000219 \t0.25 \t0.125 \t0.5 \t0.75\n"))
    assert region == (0.25, 0.125, 0.75, 0.875, None)


@pytest.mark.parametrize("text", ["", HEAD, "000050 1 2 3 4\n", HEAD + "000050 1 2 x 4\n", HEAD + "50 1 2\n"])
def test_files_without_boxes(tmp_path, text):
    with pytest.raises(ValueError, match="holds no boxes"):
        read_boxes(written(tmp_path / "a.txt", text))
