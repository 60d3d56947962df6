"""`warp` on real faces: it moves as the driver does, and shows nothing of him that it may not."""

from functools import cache

import numpy as np
import numpy.typing as npt
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from scipy.spatial import ConvexHull
from torch import Tensor

from models.contract import Controls, Observation
from models.face_geometry import LIPS_INNER, RIGID
from models.face_tracker import FaceTracker, person_mask, settled_points
from models.observation import observe, to_unit
from models.portrait_face import portrait_face
from models.warp import Warp
from models.warp.codes import GRID, SIZE, Appearance, Structure
from models.warp.features import TABLE_HALF, TABLE_STEPS, frame, from_upright, heights, to_upright
from models.warp.field import RING, barycentric, displacement, pulled_inside, visible
from models.warp.layers import Window, look_up, patch_units, sample
from models.warp.motion import GAZE_GAIN
from realtime.bench.motion import FLOORS, Motion, as_track, motion
from tests.material import ASTRONAUT, GRID_CLIP, MEDIA, MONA_LISA, frames, picture, track

Picture = npt.NDArray[np.uint8]
WARP = Warp().eval()
PORTRAITS = {"mona_lisa": MONA_LISA, "astronaut": ASTRONAUT}  # "driver" is the clip's own first picture
LEVEL = 1 / 255
GOLDEN = MEDIA / "golden_mona_lisa.png"
GOLDEN_PART = np.s_[128:400, 128:400]


@cache
def portrait(name: str) -> tuple[Observation, Appearance]:
    whole = clip()[0][0] if name == "driver" else picture(PORTRAITS[name])
    source = to_unit(observe(whole, portrait_face(whole).points, WARP.spec.source, person=person_mask(whole)))
    with torch.inference_mode():
        return source, WARP.encode_appearance([source])


@cache
def clip() -> tuple[list[Picture], list[npt.NDArray[np.float64]]]:
    """The pictures and landmarks of a clip."""
    pictures = frames(GRID_CLIP)
    with FaceTracker() as tracker:
        tracked = [tracker.track(frame) for frame in pictures]
    assert all(points is not None for points in tracked)
    return pictures, [points for points in tracked if points is not None]


def grey(points: npt.NDArray[np.float64], size: tuple[int, int]) -> Observation:
    """A driver of whom nothing but landmarks is known."""
    return to_unit(observe(np.full((size[1], size[0], 3), 128, np.uint8), points, WARP.spec.driving))


def mouth_gap(points: Tensor) -> Tensor:
    """Between the lips, × the mouth's width."""
    return WARP.reader.openness(points)[:, 2]


@torch.inference_mode()
def draw(name: str, code: Structure, neutral: Structure, **controls: float) -> Tensor:
    """3×SIZE×SIZE."""
    _, appearance = portrait(name)
    moved = WARP.transfer(code, neutral, appearance, Controls.default(**controls))
    return WARP.decode(appearance, moved)[0][0]


def as_picture(rgb: Tensor) -> Picture:
    return (rgb * 255 + 0.5).to(torch.uint8).permute(1, 2, 0).contiguous().numpy()


def inner_mouth(points: Tensor, margin: float) -> npt.NDArray[np.bool_]:
    """SIZE×SIZE: the inner-lip polygon of landmarks in the crop's pixels, grown by `margin` pixels."""
    import cv2

    mask = np.zeros((SIZE, SIZE), np.uint8)
    outline = points[list(LIPS_INNER), :2].numpy().round().astype(np.int32)
    cv2.fillPoly(mask, [outline], 1)
    reach = int(2 * margin + 1)
    return cv2.dilate(mask, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (reach, reach))) > 0


def most_open() -> int:
    _, points = clip()
    gaps = [float(mouth_gap(torch.from_numpy(p)[None].float())) for p in points]
    return int(np.argmax(gaps))


@cache
def avatar_motion(name: str, driver_name: str) -> tuple[Motion, Motion]:
    """The driver's and his avatar's; the mouth is drawn, because a recorded track has no pixels."""
    driver = track(driver_name)
    with torch.inference_mode(), FaceTracker() as tracker:
        codes = [WARP.encode_structure(grey(points, driver.size)) for points in driver.points]
        neutral = WARP.neutral(codes[:1])
        drawn = [as_picture(draw(name, code, neutral, mouth_pixels=0)) for code in codes]
        avatar = [tracker.track(frame) for frame in drawn]
    return motion(driver.points), motion(as_track(avatar))


# What of the driver may be seen


@torch.inference_mode()
@pytest.mark.parametrize("name", [*PORTRAITS, "driver"])
@pytest.mark.parametrize(
    "recoloured", [lambda p: 255 - p, lambda p: p[..., ::-1].copy(), lambda p: np.zeros_like(p)]
)
def test_the_drivers_colours_show_between_the_lips_alone(name: str, recoloured) -> None:
    pictures, points = clip()
    frame = most_open()
    drivers = [
        [
            WARP.encode_structure(to_unit(observe(paint(pictures[i]), points[i], WARP.spec.driving)))
            for i in (0, frame)
        ]
        for paint in (lambda picture: picture, recoloured)
    ]
    # His neutral pose may be of the same colours, or of another light.
    neutral, code = drivers[0]
    others = [drivers[1], [neutral, drivers[1][1]]]
    moved = WARP.transfer(code, neutral, portrait(name)[1], Controls.default())
    inside = inner_mouth(moved.points[0], margin=3)

    hidden = draw(name, code, neutral, mouth_pixels=0, shading=0)
    mouth = draw(name, code, neutral, mouth_pixels=1, shading=0)
    for other_neutral, other in others:
        again = draw(name, other, other_neutral, mouth_pixels=0, shading=0)
        assert float((hidden - again).abs().max()) == 0
        again = draw(name, other, other_neutral, mouth_pixels=1, shading=0)
        change = (mouth - again).abs().amax(0).numpy()
        assert change[~inside].max() <= 2 * LEVEL
    if name == "mona_lisa":  # the astronaut keeps her own teeth
        assert change[inside].max() > 20 * LEVEL, "the mouth's pixels should have passed"


def test_shading_passes_nothing_fine() -> None:
    """Stripes finer than the low-pass on the driver's face leave the avatar alone; broad light does not."""
    pictures, points = clip()
    frame = most_open()
    width = float(np.ptp(points[frame][:, 0]))
    columns = np.arange(pictures[frame].shape[1])
    with torch.inference_mode():
        neutral = WARP.encode_structure(to_unit(observe(pictures[0], points[0], WARP.spec.driving)))

    def change(period: float) -> float:
        stripes = 0.8 + 0.1 * np.sin(2 * np.pi * columns / (period * width))[None, :, None]
        plain, striped = pictures[frame] * 0.8, pictures[frame] * stripes
        codes = [
            WARP.encode_structure(to_unit(observe(p, points[frame], WARP.spec.driving)))
            for p in (plain.astype(np.uint8), striped.astype(np.uint8))
        ]
        drawn = [draw("mona_lisa", code, neutral, mouth_pixels=0) for code in codes]
        return float((drawn[0] - drawn[1]).abs().max())

    assert change(0.04) <= 2 * LEVEL
    assert change(0.08) <= 4 * LEVEL  # at the face's edge; all over it twice that without the wide low-pass
    assert change(0.6) >= 5 * LEVEL


# What it draws


@torch.inference_mode()
def golden() -> Picture:
    """The Mona Lisa turning, speaking, with a drawn mouth, by a speaker's landmarks alone."""
    driver = track("grid_bbaf2n")
    rest, spoken = driver.points[0], driver.points[int(np.argmax(motion(driver.points).mouth))]
    neutral = WARP.neutral([WARP.encode_structure(grey(rest, driver.size))])
    code = WARP.encode_structure(grey(turn(spoken, 1, np.radians(10)), driver.size))
    return as_picture(draw("mona_lisa", code, neutral, mouth_pixels=0))[GOLDEN_PART]


def test_it_draws_the_golden_picture() -> None:
    """Where a change of the generator is meant to be seen, look at the new picture and write it with
    `python -m tests.models.test_warp`.
    """
    off = np.abs(golden().astype(int) - picture(GOLDEN))
    assert off.mean() < 0.5
    assert np.percentile(off, 99.9) < 8


@given(st.integers(0, 2**31))
def test_upsampling_is_bilinear(seed: int) -> None:
    field = torch.randn(2, 3, GRID, GRID, generator=torch.Generator().manual_seed(seed))
    wanted = F.interpolate(field, size=(SIZE, SIZE), mode="bilinear", align_corners=False)
    assert torch.allclose(WARP._upsampled(field), wanted, atol=1e-5)


# It moves as the driver does


@pytest.mark.parametrize("name", PORTRAITS)
def test_a_blink_closes_the_portraits_eyes(name: str) -> None:
    theirs, ours = (one.closing for one in avatar_motion(name, "grid_bbaf2n"))
    assert theirs.min() < 0.45, "the driver blinks"
    assert np.corrcoef(theirs, ours)[0, 1] > 0.85
    assert ours.min() < 0.5


@pytest.mark.parametrize("driver", ["grid_swiz3n", "grid_bbaf2n"])
def test_the_mouth_follows(driver: str) -> None:
    """swiz3n speaks in his first frame, which is his neutral one."""
    theirs, ours = (one.mouth for one in avatar_motion("astronaut", driver))
    assert theirs.std() > FLOORS["mouth"]
    assert np.corrcoef(theirs, ours)[0, 1] > 0.9


def test_closed_lips_open() -> None:
    """The Mona Lisa's lips are too thin for FaceMesh to see them part: the darkness between them counts."""
    recorded = track("grid_swiz3n")
    with torch.inference_mode():
        codes = [WARP.encode_structure(grey(points, recorded.size)) for points in recorded.points[::3]]
        neutral = WARP.neutral(codes[:1])
        still = draw("mona_lisa", neutral, neutral, mouth_pixels=0)
        mouth = portrait("mona_lisa")[1].structure.points[0, 13, :2].round().int().tolist()
        around = np.s_[mouth[1] - 12 : mouth[1] + 40, mouth[0] - 25 : mouth[0] + 25]
        drawn = [draw("mona_lisa", code, neutral, mouth_pixels=0).mean(0)[around] for code in codes]
        dark = [float((still.mean(0)[around] - one).clamp_min(0).sum()) for one in drawn]
    theirs = motion(recorded.points[::3]).mouth
    assert np.corrcoef(theirs, dark)[0, 1] > 0.9


@pytest.mark.parametrize("name", PORTRAITS)
@pytest.mark.parametrize(("quantity", "axis", "sign"), [("yaw", 1, -1), ("pitch", 0, -1)])
def test_the_head_turns_by_the_drivers_angle(name: str, quantity: str, axis: int, sign: int) -> None:
    driver = track("grid_lbax4n")
    rest = driver.points[0]
    angles = np.linspace(-12, 12, 9)
    with torch.inference_mode(), FaceTracker() as tracker:
        neutral = WARP.encode_structure(grey(rest, driver.size))
        avatar = []
        for angle in angles:
            turned = turn(rest, axis, sign * np.radians(angle))
            code = WARP.encode_structure(grey(turned, driver.size))
            avatar.append(tracker.track(as_picture(draw(name, code, neutral))))
    measured = getattr(motion(as_track(avatar)), quantity)
    slope, _ = np.polyfit(angles, measured, 1)
    assert np.corrcoef(angles, measured)[0, 1] > 0.97
    assert 0.6 < slope < 1.6


def turn(points: npt.NDArray[np.float64], axis: int, angle: float) -> npt.NDArray[np.float64]:
    """A face turned about its own centre. axis: 0 across, 1 down."""
    a, b = [(1, 2), (2, 0)][axis]
    rotation = np.eye(3)
    rotation[[a, a, b, b], [a, b, a, b]] = np.cos(angle), -np.sin(angle), np.sin(angle), np.cos(angle)
    centre = points.mean(0)
    return (points - centre) @ rotation.T + centre


def leaned(points: npt.NDArray[np.float64], angle: float) -> npt.NDArray[np.float64]:
    cos, sin = np.cos(angle), np.sin(angle)
    centre = points.mean(0)
    return (points - centre) @ np.array([[cos, sin, 0], [-sin, cos, 0], [0, 0, 1]]) + centre


def sized(points: npt.NDArray[np.float64], factor: float) -> npt.NDArray[np.float64]:
    centre = points.mean(0)
    return (points - centre) * factor + centre


@pytest.mark.parametrize("name", PORTRAITS)
@pytest.mark.parametrize(
    "move",
    {
        "close to the camera": lambda points: sized(points, 2.5),
        "far from it": lambda points: sized(points, 0.4),
        "on a shoulder": lambda points: leaned(points, np.radians(70)),
        "to one side": lambda points: turn(points, 1, np.radians(50)),
        "to the other": lambda points: turn(points, 1, np.radians(-50)),
        "down": lambda points: turn(points, 0, np.radians(40)),
        "out of the picture": lambda points: points + [3 * np.ptp(points[:, 0]), 0, 0],
    }.items(),
    ids=lambda one: one[0],
)
def test_a_face_stays_a_face_however_far_the_driver_goes(name: str, move) -> None:
    driver = track("grid_lbax4n")
    rest = driver.points[0]
    _, appearance = portrait(name)
    with torch.inference_mode():
        neutral, code = (WARP.encode_structure(grey(points, driver.size)) for points in (rest, move[1](rest)))
        moved = WARP.transfer(code, neutral, appearance, Controls.default())
        drawn = as_picture(WARP.decode(appearance, moved)[0][0])
    with FaceTracker() as tracker:
        seen = settled_points(drawn, tracker)
    assert seen is not None
    wanted = moved.points[0, :, :2].numpy()
    off = np.linalg.norm(seen[:, :2] - wanted, axis=1) / np.ptp(wanted[:, 0])
    assert np.median(off) < 0.04


def test_gaze_moves_the_irises_alone() -> None:
    _, appearance = portrait("mona_lisa")
    driver = track("grid_bbaf2n")
    rest = driver.points[0]
    aside = rest.copy()
    for iris, (left, right) in ((range(468, 473), (33, 133)), (range(473, 478), (362, 263))):
        aside[list(iris), :2] += 0.1 * (rest[right, :2] - rest[left, :2])
    with torch.inference_mode():
        codes = [WARP.encode_structure(grey(p, driver.size)) for p in (rest, aside)]
        still, looking = (
            WARP.transfer(code, codes[0], appearance, Controls.default()).points for code in codes
        )
    moved = (looking - still)[0, :, :2].square().sum(1).sqrt()
    assert float(moved[:468].max()) < 0.05
    eye = float((still[0, 33, :2] - still[0, 133, :2]).square().sum().sqrt())
    assert float(moved[468]) / (0.1 * eye) == pytest.approx(GAZE_GAIN, rel=0.03)


def test_a_neutral_taken_with_an_open_mouth_is_closed() -> None:
    """A driver who was calibrated in mid-word drives as one who was not."""
    pictures, points = clip()
    frame = most_open()
    _, appearance = portrait("mona_lisa")
    with torch.inference_mode():
        spoken = WARP.encode_structure(to_unit(observe(pictures[frame], points[frame], WARP.spec.driving)))
        neutral = WARP.neutral([spoken])
        assert float(mouth_gap(neutral.points)) < 0.02
        moved = WARP.transfer(spoken, neutral, appearance, Controls.default()).points
    driver, avatar = mouth_gap(spoken.points), mouth_gap(moved)
    assert float(avatar) > 0.6 * float(driver)


@torch.inference_mode()
def test_a_driver_calibrated_with_a_grin_leaves_the_mouth_its_width() -> None:
    """He grins in his first frame and is serious in his last one."""
    driver = track("intel_head_pose_male")
    first, last = (WARP.encode_structure(grey(driver.points[i], driver.size)) for i in (0, -1))
    _, appearance = portrait("mona_lisa")
    moved = WARP.transfer(last, WARP.neutral([first]), appearance, Controls.default()).points
    theirs, before, after = (
        float(WARP.reader.frames(points).width[:, 2])
        for points in (last.points, appearance.structure.points, moved)
    )
    rest = float(WARP.reader.frames(first.points).width[:, 2])
    assert theirs / rest < 0.85, "his mouth becomes narrower"
    assert 0.8 < after / before < 1


def test_nothing_moves_at_the_edge_of_the_crop() -> None:
    source, _ = portrait("mona_lisa")
    driver = track("intel_head_pose_male")
    with torch.inference_mode():
        codes = [WARP.encode_structure(grey(points, driver.size)) for points in driver.points]
    drawn = draw("mona_lisa", codes[-1], codes[0])
    border = torch.ones(SIZE, SIZE, dtype=torch.bool)
    border[4:-4, 4:-4] = False
    assert float((drawn - source.image[0]).abs().amax(0)[border].mean()) < 2 * LEVEL


# The parts


def test_the_operator_gives_every_control_point_its_own_motion() -> None:
    _, appearance = portrait("astronaut")
    field = appearance.field
    count = len(WARP.motion.bending) + RING
    still = displacement(field, torch.zeros(1, 2, count))
    assert float(still.abs().max()) == 0
    shift = displacement(field, torch.ones(1, 2, count))[0, 0]
    points = appearance.structure.points[0, WARP.motion.bending, :2] / SIZE * GRID
    inside = shift[points[:, 1].long().clamp(0, GRID - 1), points[:, 0].long().clamp(0, GRID - 1)]
    assert float((inside - 1).abs().max()) < 1e-4
    assert float(shift[0].abs().max()) < 0.2, "it has died out at the crop's edge"
    assert float(shift.min()) > -1e-4, "and is nowhere turned round"


@given(st.integers(3, 60), st.integers(0, 2**31))
def test_every_query_is_found_in_its_triangle(count: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    points, queries = random.random((count, 2)), random.random((200, 2)) * 1.6 - 0.3
    index, weight, inside = barycentric(points, queries)
    edges = ConvexHull(points).equations
    depth = (queries @ edges[:, :2].T + edges[:, 2]).max(1)
    assert inside[depth < -1e-6].all()
    assert not inside[depth > 1e-6].any()
    met = (points[index] * weight[..., None]).sum(1)
    assert np.abs(met - queries)[inside].max(initial=0) < 1e-6
    assert np.abs(weight.sum(1)[inside] - 1).max(initial=0) < 1e-6
    assert weight.min() > -1e-6
    assert not weight[~inside].any()

    pulled = pulled_inside(points, queries)
    assert (pulled @ edges[:, :2].T + edges[:, 2]).max() < 1e-9, "all lie in the hull now"
    assert np.abs(pulled - queries)[depth < -1e-6].max(initial=0) < 1e-9, "those that did, have not moved"
    centre = points.mean(0)
    out, back = queries - centre, pulled - centre
    assert np.abs(out[:, 0] * back[:, 1] - out[:, 1] * back[:, 0]).max() < 1e-9, (
        "the others, towards the centre"
    )


@pytest.mark.parametrize("side", [-1, 1])
def test_the_far_side_of_a_turned_face_is_not_visible(side: int) -> None:
    mean = WARP.motion.mean.numpy().astype(np.float64)
    assert visible(mean * 300 + 200, mean).all(), "from the front everything is"
    turn = np.radians(60 * side)
    rotation = np.array([[np.cos(turn), 0, np.sin(turn)], [0, 1, 0], [-np.sin(turn), 0, np.cos(turn)]])
    shown = visible(mean @ rotation.T, mean)
    across = mean[:, 0] - mean[list(RIGID), 0].mean()  # × the face's width, positive to the picture's right
    turned_away = (mean @ rotation.T)[:, 2] > mean[:, 2]
    assert shown[~turned_away & (np.abs(across) > 0.2)].mean() > 0.9
    assert shown[turned_away & (np.abs(across) > 0.4)].mean() < 0.5


@given(st.floats(-3, 3), st.floats(20, 200), st.integers(0, 2**31))
def test_upright_coordinates_round_trip(angle: float, width: float, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    centre = torch.rand(1, 1, 2, generator=generator) * 300
    step = torch.tensor([[[np.cos(angle), np.sin(angle)]]], dtype=torch.float32) * width
    at = frame(centre, step).of(slice(0, 1))
    points = torch.rand(1, 2, 40, generator=generator) * 512
    assert float((from_upright(at, to_upright(at, points)) - points).abs().max()) < 0.01
    corners = torch.tensor([[[-0.5, 0.5], [0.0, 0.0]]])
    expected = centre.transpose(1, 2) + step.transpose(1, 2) * torch.tensor([-0.5, 0.5])
    assert float((from_upright(at, corners) - expected).abs().max()) < 0.01


def test_heights_are_those_of_the_polyline() -> None:
    x = torch.linspace(-0.7, 0.7, 200)[None]
    line = torch.tensor([[-0.5, -0.2, 0.1, 0.5], [0.0, -0.3, 0.2, 0.1]])
    wanted = np.interp(x[0].numpy(), line[0].numpy(), line[1].numpy())
    assert np.abs(heights(line.view(1, 2, 1, 4), x)[0, 0].numpy() - wanted).max() < 1e-5
    steps = ((torch.arange(TABLE_STEPS) + 0.5) / TABLE_STEPS * 2 - 1)[None] * TABLE_HALF
    found = look_up(heights(line.view(1, 2, 1, 4), steps), x)[0, 0]
    assert np.abs(found.numpy() - wanted).max() < 0.02  # the table's steps round the corners off


@given(st.floats(0, 40), st.floats(0, 40))
def test_a_window_follows_its_feature_and_stays_in_the_picture(x: float, y: float) -> None:
    side = 40
    at = frame(torch.tensor([[[x, y]]]), torch.tensor([[[3.0, 4.0]]])).of(slice(0, 1))
    placed = Window((8, 12), side).place(at)
    rows, columns = placed.pixels[0] // side, placed.pixels[0] % side
    assert (int(rows[-1] - rows[0]), int(columns[-1] - columns[0])) == (7, 11)
    assert abs(float(rows.float().mean()) + 0.5 - min(max(y, 4), side - 4)) <= 0.51
    assert abs(float(columns.float().mean()) + 0.5 - min(max(x, 6), side - 6)) <= 0.51
    pixels = torch.stack((columns, rows))[None] + 0.5
    assert float((from_upright(at, placed.points) - pixels).abs().max()) < 1e-3


def test_a_patch_is_found_again_at_its_upright_coordinates() -> None:
    patch = torch.rand(1, 3, 6, 8, generator=torch.Generator().manual_seed(0))
    corner = torch.tensor([[[-1.5 / 2 * 7 / 8], [-1.125 / 2 * 5 / 6]]])  # the first pixel's centre
    assert torch.allclose(
        sample(patch, corner * patch_units((6, 8), 1.5))[0, :, 0], patch[0, :, 0, 0], atol=1e-6
    )


def test_it_takes_one_face_only() -> None:
    source, _ = portrait("mona_lisa")
    with pytest.raises(ValueError, match="one source picture, not 2"):
        WARP.encode_appearance([source, source])
    with pytest.raises(ValueError, match="a face in it"):
        WARP.encode_appearance([source._replace(valid=torch.tensor([False]))])
    with pytest.raises(ValueError, match="at least one"):
        WARP.neutral([])


if __name__ == "__main__":
    Image.fromarray(golden()).save(GOLDEN, optimize=True)
