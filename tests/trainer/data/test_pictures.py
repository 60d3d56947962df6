"""Pictures, masks and maps, written and read."""

import cv2
import numpy as np
import numpy.typing as npt
import pytest

from tests.material import ASTRONAUT, picture
from trainer.data.pictures import (
    MAPS,
    Format,
    Planes,
    decode_depth,
    decode_flow,
    decode_labels,
    decode_normals,
    decode_picture,
    encode_depth,
    encode_flow,
    encode_labels,
    encode_normals,
    encode_picture,
)


def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def decibels(found: npt.NDArray[np.uint8], truth: npt.NDArray[np.uint8]) -> float:
    error = found.astype(np.float64) - truth
    return float(10 * np.log10(255**2 / np.square(error).mean()))


def test_a_png_loses_nothing() -> None:
    face = picture(ASTRONAUT)[:96, :64]
    assert (decode_picture(encode_picture(face, "png")) == face.transpose(2, 0, 1)).all()


def test_a_jpeg_is_close_to_the_photograph() -> None:
    face = cv2.resize(picture(ASTRONAUT), (256, 256), interpolation=cv2.INTER_AREA)
    found = decode_picture(encode_picture(np.asarray(face, np.uint8), "jpg"))
    assert decibels(found, face.transpose(2, 0, 1)) > 36


def test_a_jpeg_keeps_the_colours_of_single_pixels() -> None:
    """Columns of alternating hue and equal luma: halved colours would be one grey."""
    stripes = np.empty((32, 32, 3), np.uint8)
    stripes[:, ::2], stripes[:, 1::2] = (160, 110, 120), (90, 140, 120)
    found = decode_picture(encode_picture(stripes, "jpg")).astype(int)
    assert (found[0, :, ::2] - found[0, :, 1::2]).mean() == pytest.approx(70, abs=8)


def test_labels_come_back() -> None:
    labels = rng().integers(0, 256, (20, 30), dtype=np.uint8)
    assert (decode_labels(encode_labels(labels)) == labels).all()


def test_a_flow_comes_back_within_its_step() -> None:
    flow = rng().uniform(-511, 511, (2, 20, 30)).astype(np.float32)
    flow[:, 3:9, 4:8] = np.nan
    found = decode_flow(encode_flow(flow))
    assert found.dtype == np.float32
    assert (np.isnan(found) == np.isnan(flow)).all()
    assert np.nanmax(np.abs(found - flow)) <= 1 / 128 + 1e-4
    assert (decode_flow(encode_flow(np.zeros((2, 4, 4), np.float32))) == 0).all()


def test_depth_comes_back_within_its_step() -> None:
    depth = rng().uniform(5, 650, (1, 20, 30)).astype(np.float32)
    depth[:, 3:9, 4:8] = np.inf
    found = decode_depth(encode_depth(depth))
    assert found.shape == depth.shape
    assert (np.isinf(found) == np.isinf(depth)).all()
    there = np.isfinite(depth)
    assert np.abs(found[there] - depth[there]).max() <= 0.005 + 1e-4


def test_normals_come_back_within_their_angle() -> None:
    normals = rng().normal(size=(3, 40, 50)).astype(np.float32)
    normals /= np.linalg.norm(normals, axis=0)
    normals[:, 3:9, 4:8] = 0
    normals[:, 20, 20] = np.nan
    found = decode_normals(encode_normals(normals))
    none = ~(np.linalg.norm(normals, axis=0) > 0)
    assert (found[:, none] == 0).all()
    angles = np.degrees(np.arccos(np.clip((found * normals).sum(0)[~none], -1, 1)))
    assert angles.max() < 0.4
    assert np.linalg.norm(found, axis=0)[~none] == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize(
    ("name", "planes", "reason"),
    [
        ("flow", np.full((2, 4, 4), 513, np.float32), "beyond ±512 pixels"),
        ("depth", np.full((1, 4, 4), 656, np.float32), "outside 0.01 to 655.35 cm"),
        ("depth", np.full((1, 4, 4), 0, np.float32), "outside 0.01 to 655.35 cm"),
    ],
)
def test_what_does_not_fit_is_refused(name: str, planes: Planes, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        MAPS[name].encode(planes)  # type: ignore[index]


@pytest.mark.parametrize("form", ["jpg", "png"])
def test_what_is_no_picture_is_refused(form: Format) -> None:
    whole = encode_picture(np.zeros((16, 16, 3), np.uint8), form)
    for data in (b"no picture", whole[:10]):
        with pytest.raises(ValueError, match="no picture"):
            decode_picture(data)
