"""LivePortrait's networks: known answers of their arithmetic, and what narrow ones do with any weights."""

import math
from collections.abc import Sequence

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import spectral_norm

from models.contract import Controls
from models.describe import example
from models.liveportrait import LivePortrait
from models.liveportrait.appearance import AppearanceExtractor
from models.liveportrait.blocks import gathered, sample_volume, shifted_volumes, volume_grid
from models.liveportrait.generator import Appearance, Structure, _seen_in
from models.liveportrait.keypoints import EXPRESSION, EYES, LIPS, POINTS, Motion, degrees, rotation
from models.liveportrait.motion import BINS, Detector
from models.liveportrait.spade import SpadeGenerator, folded
from models.liveportrait.stitching import Stitching, openness
from models.liveportrait.warping import WarpingNetwork, followed
from tests.models.little_portrait import LITTLE


def motion(seed: int, batch: int = 2) -> Motion:
    """A face, somewhere."""
    made = torch.Generator().manual_seed(seed)

    def drawn(*shape: int) -> Tensor:
        return torch.randn(batch, *shape, generator=made)

    angles = (20 * drawn(1) for _ in range(3))
    return Motion(
        0.3 * drawn(POINTS, 3), 0.05 * drawn(POINTS, 3), *angles, 1 + 0.1 * drawn(1), 0.1 * drawn(3)
    )


# Key points


def test_an_angle_is_the_mean_of_its_bins() -> None:
    """Three degrees each, from −97.5: index 32 and a half is straight ahead."""
    sure = torch.full((3, BINS), -1e4)
    sure[0, 0] = sure[1, 65] = sure[2, 32] = sure[2, 33] = 0
    assert degrees(sure).squeeze(1).tolist() == pytest.approx([-97.5, 97.5, 0])


def test_a_head_turns_about_one_axis_after_the_other() -> None:
    angles = [torch.tensor([[value]]) for value in (20.0, -35.0, 50.0)]
    c, s = ([f(math.radians(float(angle))) for angle in angles] for f in (math.cos, math.sin))
    about_x = torch.tensor([[1, 0, 0], [0, c[0], -s[0]], [0, s[0], c[0]]])
    about_y = torch.tensor([[c[1], 0, s[1]], [0, 1, 0], [-s[1], 0, c[1]]])
    about_z = torch.tensor([[c[2], -s[2], 0], [s[2], c[2], 0], [0, 0, 1]])
    expected = (about_z @ about_y @ about_x).T
    assert torch.allclose(rotation(*angles)[0], expected, atol=1e-6)


def test_depth_of_a_shift_is_nothing() -> None:
    here = motion(0)
    there = here._replace(t=here.t + torch.tensor([0.0, 0.0, 5.0]))
    assert torch.equal(here.points, there.points)


def test_openness_is_across_over_along() -> None:
    points = torch.tensor([[[0.0, 0.0], [0.0, 3.0], [-6.0, 1.0], [6.0, 1.0]]])
    assert float(openness(points, (0, 1), (2, 3))) == pytest.approx(0.25, abs=1e-6)
    assert bool(openness(torch.zeros(1, 4, 2), (0, 1), (2, 3)).isfinite().all())


# The networks


def test_a_volume_looked_up_where_it_is_grows_by_its_edge() -> None:
    """Its grid runs over the centres of places, the sampler over their edges."""
    ramp = torch.arange(8.0).expand(1, 1, 4, 4, 8)
    found = sample_volume(ramp, volume_grid(torch.Size((4, 4, 8)), ramp)[None])[0, 0, 2, 2]
    assert torch.allclose(found[1:-1], (torch.arange(8.0) * 8 / 7 - 0.5)[1:-1], atol=1e-5)
    assert torch.allclose(found[[0, -1]], torch.tensor([0.0, 3.5]), atol=1e-5)  # half of it is outside


def test_shifted_volumes_are_samples_of_the_shifted_grid() -> None:
    made = torch.Generator().manual_seed(0)
    volume = torch.randn(2, 4, 8, 16, 20, generator=made)
    shifts = 3 * torch.rand(2, 5, 3, generator=made) - 1.5  # some of which leave nothing
    shifts[:, 0] = 0
    grid = volume_grid(volume.shape[2:], volume)
    found = shifted_volumes(volume, shifts)
    for way in range(5):
        expected = sample_volume(volume, grid + shifts[:, way].view(2, 1, 1, 1, 3))
        assert torch.allclose(found[:, way], expected, atol=1e-5)


def test_gathered_samples_are_the_sampler_s() -> None:
    made = torch.Generator().manual_seed(0)
    volume = torch.randn(2, 3, 5, 6, 7, generator=made)
    grid = 2.6 * torch.rand(2, 4, 8, 9, 3, generator=made) - 1.3  # inside, at the edges, and outside
    assert torch.allclose(gathered(volume, grid), sample_volume(volume, grid), atol=1e-5)
    assert bool((sample_volume(volume, grid) == 0).any())


def test_exported_programs_do_not_sample_volumes() -> None:
    """For which neither ONNX nor Apple's GPUs have an operation."""
    torch.manual_seed(0)
    net = WarpingNetwork(outputs=8, least=4, most=16).eval()
    inputs = torch.randn(2, 32, 16, 32, 32), torch.rand(2, POINTS, 3), torch.rand(2, POINTS, 3)
    batch = torch.export.Dim("batch", min=1, max=64)
    with torch.no_grad():
        program = torch.export.export(net, inputs, dynamic_shapes=[{0: batch}] * 3)
        found = program.module()(*(one[:1] for one in inputs))
        assert torch.allclose(found, net(*inputs)[:1], atol=1e-4)
    called = {str(node.target) for node in program.graph.nodes}
    assert any("conv" in name for name in called)
    assert not [name for name in called if "grid_sampler" in name]


def test_half_precision_does_not_touch_points_and_grids() -> None:
    made = torch.Generator().manual_seed(0)
    face = motion(0, 1)
    volume = torch.randn(1, 4, 4, 8, 8, generator=made)
    mask = torch.rand(1, POINTS, 4, 8, 8, generator=made).softmax(1)

    def found() -> tuple[Tensor, ...]:
        grid = volume_grid(volume.shape[2:], volume)
        return (
            face.points,
            shifted_volumes(volume, face.kp),
            followed(grid, mask, face.kp),
        )

    plain = found()
    with torch.autocast("cpu", torch.bfloat16):
        assert all(torch.equal(a, b) for a, b in zip(found(), plain, strict=True))


def test_no_motion_leaves_every_place_where_it_is() -> None:
    torch.manual_seed(0)
    net = WarpingNetwork(outputs=8, least=4, most=16).eval()
    volume, points = torch.randn(2, 32, 16, 32, 32), torch.rand(2, POINTS, 3) * 2 - 1
    with torch.no_grad():
        still, moved = net.dense(volume, points, points), net.dense(volume, points + 0.1, points)
        flat = net(volume, points, points)
    grid = volume_grid(volume.shape[2:], volume)
    assert torch.allclose(still.deformation, grid.expand(2, -1, -1, -1, -1), atol=1e-6)
    # As far as each place goes with the key points, and not with the background.
    going = 1 - moved.mask[:, :1].permute(0, 2, 3, 4, 1)
    assert torch.allclose(moved.deformation - grid, -0.1 * going.expand(-1, -1, -1, -1, 3), atol=1e-5)
    assert torch.allclose(still.mask.sum(1), torch.ones(2, 16, 32, 32), atol=1e-5)
    assert flat.shape == (2, 8, 32, 32)


def test_stored_vectors_of_spectral_norms_are_folded_in() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(spectral_norm(nn.Conv2d(3, 4, 3)), nn.ReLU(), nn.Conv2d(4, 2, 3))
    net(torch.rand(1, 3, 8, 8))  # the vectors move
    net.eval()
    plain = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 2, 3))
    plain.load_state_dict(folded(net.state_dict()))
    picture = torch.rand(1, 3, 8, 8)
    assert torch.allclose(plain(picture), net(picture), atol=1e-6)


def test_stitching_shifts_in_the_picture_only() -> None:
    torch.manual_seed(0)
    net = Stitching().eval()
    for layer in (net.retarget_shoulder.mlp[-1],):
        nn.init.zeros_(layer.weight)
        with torch.no_grad():
            layer.bias.copy_(F.pad(torch.tensor([0.5, -0.25]), (3 * POINTS, 0)))
    source, driving = torch.randn(2, POINTS, 3), torch.randn(2, POINTS, 3)
    with torch.no_grad():
        moved = net(source, driving) - driving
    assert torch.allclose(moved, torch.tensor([0.5, -0.25, 0.0]).expand_as(moved), atol=1e-6)


def test_the_networks_are_as_large_as_published() -> None:
    """Parameters in millions, from the table of speeds on the authors' page."""
    with torch.device("meta"):
        nets = AppearanceExtractor(), Detector(), WarpingNetwork(), SpadeGenerator(), Stitching()
    counts = [sum(one.numel() for one in net.parameters()) / 1e6 for net in nets]
    assert counts == pytest.approx([0.84, 28.12, 45.53, 55.37, 0.23], abs=0.02)


# The contract


def network() -> LivePortrait:
    """Little, with the same random weights each time."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return LivePortrait(LITTLE).eval().requires_grad_(False)


NET = network()
SQUARE = torch.tensor([[[100.0, 0, 50], [0, 100, 30]]])  # a crop of 100 pixels
PORTRAIT = torch.tensor([[[200.0, 0, 10], [0, 200, 20]]])


def crop(side: float, degrees: float, x: float, y: float) -> Tensor:
    """1×2×3: a square around x, y, turned clockwise."""
    c, s = side * math.cos(math.radians(degrees)), side * math.sin(math.radians(degrees))
    return torch.tensor([[[c, -s, x - (c - s) / 2], [s, c, y - (s + c) / 2]]])


def code(seed: int, to_frame: Tensor = SQUARE) -> Structure:
    found = motion(seed, 1)
    return Structure(
        found.exp,
        found.rotation,
        found.scale,
        found.t[:, :2],
        torch.tensor([[0.3, 0.32, 0.1 * seed]]),
        torch.ones(1, 1),
        to_frame,
    )


def portrait(to_frame: Tensor = PORTRAIT) -> Appearance:
    return Appearance(code(7, to_frame), motion(7, 1).kp, torch.zeros(1, 32, 4, 8, 8))


def moved(driving: Structure, rest: Structure, own: Appearance | None = None, **wishes: float) -> Structure:
    return NET.transfer(driving, rest, own or portrait(), Controls.default(**wishes))


def straight(found: Structure) -> Structure:
    return found._replace(rotation=torch.eye(3)[None])


def facing(found: Appearance) -> Appearance:
    return found._replace(structure=straight(found.structure))


def turned(found: Structure, by: Tensor) -> Structure:
    """Its head turned in the terms of its crop, its expression along."""
    return found._replace(rotation=found.rotation @ by, exp=found.exp @ by)


def roll(degrees: float) -> Tensor:
    return rotation(*(torch.tensor([[angle]]) for angle in (0.0, 0.0, degrees)))


@pytest.mark.parametrize("relative", [1.0, 0.0])
def test_crops_alike_leave_the_authors_formulas(relative: float) -> None:
    """Section 3.4 for relative motion, their program's for absolute."""
    driving, rest, own = code(1), code(2), code(7, SQUARE)
    found = moved(driving, rest, portrait(SQUARE), relative=relative)
    if relative:
        expected = own._replace(
            rotation=driving.rotation @ rest.rotation.transpose(1, 2) @ own.rotation,
            scale=own.scale * driving.scale / rest.scale,
            t=own.t + driving.t - rest.t,
            exp=own.exp + driving.exp - rest.exp,
        )
    else:
        exp = own.exp.clone()
        for point, coordinates in EXPRESSION.items():
            for coordinate in coordinates:
                exp[:, point, coordinate] = driving.exp[:, point, coordinate]
        expected = own._replace(rotation=driving.rotation, t=driving.t, exp=exp)
    for name in ("rotation", "scale", "t", "exp"):
        assert torch.allclose(getattr(found, name), getattr(expected, name), atol=1e-5), name


def test_what_is_listed_of_expression_is_thirteen_points_and_some() -> None:
    assert sum(len(coordinates) for coordinates in EXPRESSION.values()) == 13 * 3 + 2 + 2 + 2


@pytest.mark.parametrize("gain", [0.4, 1.0, 1.7])
def test_a_motion_is_the_same_however_the_driver_is_cropped(gain: float) -> None:
    """By crops that don't turn; one that does is the next test's."""
    driving, rest = code(1), code(2)
    plain = moved(driving, rest, gain_pose=gain)
    # The same head in a crop of 140 pixels around another place.
    other = crop(140, 0, 90, 70)
    middle = torch.tensor([[100.0, 80.0]])
    elsewhere = driving._replace(
        scale=driving.scale * 100 / 140,
        t=(middle + 50 * driving.t - torch.tensor([[90.0, 70.0]])) / 70,
        to_frame=other,
    )
    found = moved(elsewhere, rest, gain_pose=gain)
    for name in ("rotation", "scale", "t", "exp"):
        assert torch.allclose(getattr(found, name), getattr(plain, name), atol=1e-5), name


def test_a_head_that_rolls_in_its_upright_crop_rolls() -> None:
    """M sees nothing of it: the crop rolled along. The avatar's head turns the same way in the picture, and
    what its face does turns along."""
    rest, own = straight(code(2, crop(100, 0, 100, 80))), facing(portrait())
    found = moved(rest._replace(to_frame=crop(100, 25, 100, 80)), rest, own)
    expected = turned(own.structure, roll(25))
    assert torch.allclose(found.rotation, expected.rotation, atol=1e-5)
    assert torch.allclose(found.exp, expected.exp, atol=1e-5)
    assert torch.allclose(found.scale, own.structure.scale, atol=1e-5)
    half = moved(rest._replace(to_frame=crop(100, 25, 100, 80)), rest, own, gain_pose=0.5)
    assert torch.allclose(half.rotation, turned(own.structure, roll(12.5)).rotation, atol=1e-5)


def test_positive_roll_is_clockwise_in_the_picture() -> None:
    """As `crop` turns, x to the right and y down: what points right then points down."""
    right = torch.tensor([[1.0, 0, 0]]) @ roll(30)[0]
    assert torch.allclose(right, torch.tensor([[math.cos(math.radians(30)), 0.5, 0]]), atol=1e-6)
    axis = crop(1.0, 30, 0, 0)[0, :, 0]
    assert torch.allclose(axis, right[0, :2], atol=1e-6)


def test_a_head_that_moves_with_its_crop_moves() -> None:
    """A quarter of the crop to the right and a tenth down, in the halves of a side that key points count."""
    rest = code(2)
    own = portrait()
    found = moved(rest._replace(to_frame=crop(100, 0, 125, 90)), rest, own)
    assert torch.allclose(found.t - own.structure.t, torch.tensor([[0.5, 0.2]]), atol=1e-5)
    tilted = portrait(crop(200, 90, 100, 100))  # lies on its side: its crop's x axis points down
    found = moved(rest._replace(to_frame=crop(100, 0, 125, 90)), rest, tilted)
    assert torch.allclose(found.t - tilted.structure.t, torch.tensor([[0.2, -0.5]]), atol=1e-5)


def test_a_head_that_comes_nearer_with_its_crop_grows() -> None:
    rest = code(2, crop(100, 0, 100, 80))
    near = rest._replace(to_frame=crop(130, 0, 100, 80))
    for gain in (0.0, 0.5, 1.0, 2.0):
        found = moved(near, rest, gain_pose=gain)
        assert float(found.scale / portrait().structure.scale) == pytest.approx(1.3**gain, rel=1e-4)


@pytest.mark.parametrize(
    ("region", "points"),
    [
        ({"eyes": 0.0, "face": 0.0}, LIPS),
        ({"lips": 0.0, "face": 0.0}, EYES),
        ({"gain_expression": 0.0}, ()),
        ({}, range(POINTS)),
    ],
)
def test_regions_take_the_driver_s_motion_in_their_points(
    region: dict[str, float], points: Sequence[int]
) -> None:
    driving, rest, own = code(1), code(2), portrait()
    found = moved(driving, rest, own, gain_pose=0.0, **region)
    change = (found.exp - own.structure.exp)[0].abs().amax(1) > 1e-6
    assert change.nonzero().flatten().tolist() == sorted(points)
    assert torch.allclose(found.rotation, own.structure.rotation, atol=1e-6)


def test_pose_alone_turns_the_source_s_own_face() -> None:
    driving, rest, own = code(1), code(2), portrait()
    found, whole = moved(driving, rest, own, gain_expression=0.0), moved(driving, rest, own)
    assert torch.equal(found.rotation, whole.rotation)
    assert torch.allclose(found.exp, own.structure.exp, atol=1e-6)


def test_gains_scale_what_they_name() -> None:
    driving, rest, own = code(1), code(2), portrait()
    once, twice = (
        moved(driving, rest, own, gain_pose=0.0, gain_expression=gain).exp - own.structure.exp
        for gain in (1.0, 2.0)
    )
    assert torch.allclose(2 * once, twice, atol=1e-5)
    half = moved(driving, rest, own, gain_pose=0.0, lips=0.5).exp - own.structure.exp
    share = torch.where(NET.part == 1, 0.5, 1.0).view(1, -1, 1)
    assert torch.allclose(half, share * once, atol=1e-6)


def test_retargeting_opens_eyes_and_lips_as_far_as_the_landmarks_tell() -> None:
    """By S, from the source's openness to his own and the driver's change; M's reading of eyes and lips has
    no say."""
    rest, own = code(2), portrait()
    opened = rest._replace(openness=rest.openness + torch.tensor([[0.1, 0.2, 0.4]]))
    noisy = opened._replace(exp=torch.where(NET.part.view(1, -1, 1) == 2, rest.exp, rest.exp + 1))
    found = moved(noisy, rest, own, retarget=1.0)
    assert torch.allclose(found.openness, own.structure.openness + torch.tensor([[0.1, 0.2, 0.4]]))
    points = NET.key_points(own, own.structure)
    left, right, lips = own.structure.openness.unbind(1)

    def asked(lids: Tensor, mouth: Tensor) -> Tensor:
        eyes = NET.stitching.eyes(points, torch.stack((left, right, lids), 1))
        return eyes + NET.stitching.lips(points, torch.stack((lips, mouth), 1))

    middle = (left + right) / 2
    expected = points + asked(middle + 0.15, lips + 0.4) - asked(middle, lips)
    assert torch.allclose(NET.key_points(own, found), expected, atol=1e-5)
    assert float((expected - points).abs().max()) > 1e-3
    still = moved(rest, rest, own, retarget=1.0)
    assert torch.allclose(still.exp, own.structure.exp, atol=1e-6)


def test_retargeted_lips_turn_with_the_head() -> None:
    rest, own = straight(code(2)), facing(portrait())
    opened = rest._replace(openness=rest.openness + 0.3)
    level = moved(opened, rest, own, retarget=1.0)
    rolled = moved(opened._replace(to_frame=crop(100, 30, 100, 80)), rest, own, retarget=1.0)
    assert torch.allclose(rolled.exp, level.exp @ roll(30), atol=1e-5)


def test_stitching_can_be_turned_down() -> None:
    source, driving = motion(0, 1).points, motion(1, 1).points
    whole = NET.stitching(source, driving)
    for amount in (0.0, 0.5, 1.0):
        found = NET.stitched(source, driving, torch.tensor([[amount]]))
        assert torch.allclose(found, driving + amount * (whole - driving), atol=1e-6)
    assert float(moved(code(1), code(2), stitching=0.25).stitching) == 0.25


def test_the_rest_is_the_middle_of_what_was_seen() -> None:
    """In the frame, though the crop moved; one frame of a yawn does not count."""
    steady = code(3, crop(100, 0, 100, 80))
    crops = [crop(100, 0, 100, 80), crop(105, 10, 104, 78), crop(95, -8, 99, 83)]
    codes = [_seen_in(steady, to_frame) for to_frame in crops]
    yawn = codes[1]._replace(exp=codes[1].exp + 3, openness=codes[1].openness + 1)
    found = NET.neutral([codes[0], yawn, codes[2]])
    for name in ("rotation", "scale", "t", "exp", "openness", "to_frame"):
        assert torch.allclose(getattr(found, name), getattr(steady, name), atol=1e-4), name
    first, second = code(1), code(2)
    between = NET.neutral([first, second]).rotation
    assert torch.allclose(between @ between.transpose(1, 2), torch.eye(3), atol=1e-5)
    assert float(torch.linalg.det(between)) == pytest.approx(1, abs=1e-5)
    assert angle(between, first.rotation) == pytest.approx(angle(between, second.rotation), abs=0.5)


def angle(a: Tensor, b: Tensor) -> float:
    """Degrees."""
    trace = float((a @ b.transpose(1, 2)).diagonal(dim1=1, dim2=2).sum())
    return math.degrees(math.acos(min(1.0, (trace - 1) / 2)))


def test_blending_turns_evenly() -> None:
    a, b = code(1), code(2)
    third = NET.blend(a, b, torch.tensor([1 / 3])).rotation
    assert angle(third, a.rotation) == pytest.approx(angle(a.rotation, b.rotation) / 3, abs=0.1)


def test_the_source_is_halved_for_the_networks() -> None:
    source = example(NET.spec.source)
    half = torch.nn.functional.avg_pool2d(source.image, 2)
    found = NET.encode_appearance([source])
    assert torch.equal(found.volume, NET.appearance(half))
    plain = NET.motion(half)
    assert torch.equal(found.kp, plain.kp)
    assert torch.equal(NET.key_points(found, found.structure), plain.points)


def test_openness_of_the_mean_face() -> None:
    """Eyes a quarter to a third as high as wide; in the mean over speakers, lips are a little apart."""
    left, right, lips = NET.encode_structure(example(NET.spec.driving)).openness[0].tolist()
    assert left == pytest.approx(right, rel=0.02)
    assert 0.2 < left < 0.45
    assert 0.05 < lips < 0.2
