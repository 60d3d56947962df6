"""The measures of pictures against pictures, on pictures whose figures are known."""

import numpy as np
import pytest

from realtime.bench.fidelity import akd, face_box, fidelity, psnr, ssim


def noise(seed: int, height: int = 40, width: int = 50) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def face(centre: tuple[float, float] = (25.0, 20.0), size: float = 16.0) -> np.ndarray:
    """468 landmarks that fill a square box exactly; the outer eye corners (33, 263) are `size` / 2 apart."""
    points = np.random.default_rng(3).uniform(-0.5, 0.5, (468, 3))
    points[0, :2], points[1, :2] = (-0.5, -0.5), (0.5, 0.5)
    points[33, :2], points[263, :2] = (-0.25, 0.0), (0.25, 0.0)
    return points * size + np.array([*centre, 0.0])


def test_psnr_of_a_constant_error_is_its_formula() -> None:
    black = np.zeros((8, 8, 3), np.uint8)
    assert psnr(black, black + 16) == pytest.approx(20 * np.log10(255 / 16))


def test_psnr_of_equal_pictures_is_finite() -> None:
    assert psnr(noise(1), noise(1)) == pytest.approx(90)


def test_ssim_of_equal_pictures_is_one() -> None:
    assert ssim(noise(1), noise(1)) == pytest.approx(1)


def test_ssim_of_one_window_is_its_formula() -> None:
    a, b = noise(1, 7, 7), noise(2, 7, 7)
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    channels = []
    for channel in range(3):
        x, y = a[..., channel].ravel().astype(float), b[..., channel].ravel().astype(float)
        (var_x, cov), (_, var_y) = np.cov(x, y)
        mean_x, mean_y = x.mean(), y.mean()
        channels.append(
            (2 * mean_x * mean_y + c1)
            * (2 * cov + c2)
            / ((mean_x**2 + mean_y**2 + c1) * (var_x + var_y + c2))
        )
    assert ssim(a, b) == pytest.approx(np.mean(channels), abs=1e-12)


def test_ssim_agrees_with_scikit_image() -> None:
    metrics = pytest.importorskip("skimage.metrics", reason="scikit-image is not installed")
    a = noise(1, 64, 51)
    b = np.clip(a.astype(int) + np.random.default_rng(5).integers(-40, 40, a.shape), 0, 255).astype(np.uint8)
    assert ssim(a, b) == pytest.approx(metrics.structural_similarity(a, b, channel_axis=2), abs=1e-9)


def test_ssim_refuses_pictures_smaller_than_its_window() -> None:
    with pytest.raises(ValueError, match="at least 7"):
        ssim(noise(1, 6, 20), noise(2, 6, 20))


def test_the_face_box_is_1_4_times_the_face() -> None:
    rows, columns = face_box(face((50.0, 40.0), 20.0), 100, 90)
    assert (rows, columns) == (slice(26, 54), slice(36, 64))


def test_the_face_box_stays_inside_the_picture() -> None:
    rows, columns = face_box(face((2.0, 88.0), 20.0), 100, 90)
    assert columns.start == 0
    assert rows.stop == 90


def test_akd_of_a_shift_is_the_shift_over_the_eyes_distance() -> None:
    still = face(size=16.0)  # eye corners 8 pixels apart
    assert akd(still, still + np.array([0.3, 0.4, 9.0])) == pytest.approx(100 * 0.5 / 8)


def test_a_frame_without_the_avatars_face_counts_as_not_moved() -> None:
    here, there = face(), face() + np.array([4.0, 0.0, 0.0])
    frames = [noise(1), noise(1)]
    result = fidelity(frames, frames, [here, there], [here, None])
    assert result.face == 0.5
    assert result.akd == pytest.approx((0 + 100 * 4 / 8) / 2)


def test_frames_without_the_drivers_face_are_left_out() -> None:
    frames, other = [noise(1), noise(1)], [noise(1), noise(2)]
    result = fidelity(frames, other, [face(), None], [face(), face()])
    assert result.psnr == pytest.approx(90)
    assert result.face == 1


def test_a_clip_without_a_face_cannot_be_scored() -> None:
    with pytest.raises(ValueError, match="no face"):
        fidelity([noise(1)], [noise(1)], [None], [face()])
