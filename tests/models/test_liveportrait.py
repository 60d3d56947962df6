"""LivePortrait's networks: known answers of their arithmetic, and what narrow ones do with any weights."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import spectral_norm

from models.liveportrait.appearance import AppearanceExtractor
from models.liveportrait.blocks import gathered, sample_volume, shifted_volumes, volume_grid
from models.liveportrait.keypoints import EXPRESSION, POINTS, Motion, absolute, degrees, relative, rotation
from models.liveportrait.motion import BINS, Detector, MotionExtractor
from models.liveportrait.spade import SpadeGenerator, folded
from models.liveportrait.stitching import Stitching, openness
from models.liveportrait.warping import WarpingNetwork, followed


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


def test_relative_motion_from_a_face_to_itself_is_none() -> None:
    source, driving = motion(0), motion(1)
    assert torch.allclose(relative(source, driving, driving), source.points, atol=1e-6)


def test_relative_motion_of_oneself_is_ones_own() -> None:
    """Key points at rest being the source's, as those of one person's pictures are."""
    source, driving = motion(0), motion(1)
    assert torch.allclose(relative(source, driving, source), driving._replace(kp=source.kp).points, atol=1e-5)


def test_absolute_motion_takes_the_pose_and_of_expression_what_is_listed() -> None:
    source, driving = motion(0), motion(1)
    exp = source.exp.clone()
    for point, coordinates in EXPRESSION.items():
        for coordinate in coordinates:
            exp[:, point, coordinate] = driving.exp[:, point, coordinate]
    expected = driving._replace(kp=source.kp, exp=exp, scale=source.scale).points
    assert torch.equal(absolute(source, driving), expected)
    assert sum(len(coordinates) for coordinates in EXPRESSION.values()) == 13 * 3 + 2 + 2 + 2


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
    source, driving, rest = motion(0, 1), motion(1, 1), motion(2, 1)
    volume = torch.randn(1, 4, 4, 8, 8, generator=made)
    mask = torch.rand(1, POINTS, 4, 8, 8, generator=made).softmax(1)

    def found() -> tuple[Tensor, ...]:
        grid = volume_grid(volume.shape[2:], volume)
        return (
            relative(source, driving, rest),
            shifted_volumes(volume, source.kp),
            followed(grid, mask, source.kp),
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


def test_a_batch_equals_its_rows() -> None:
    torch.manual_seed(0)
    extract, find = AppearanceExtractor(4).eval(), MotionExtractor((1, 1, 1, 1), (8, 8, 16, 16)).eval()
    warp, draw = WarpingNetwork(8, 4, 16).eval(), SpadeGenerator(8, 16).eval()

    def drawn(picture: Tensor) -> Tensor:
        found = find(picture)
        moved = absolute(found, found._replace(yaw=found.yaw + 10))
        image: Tensor = draw(warp(extract(picture), moved, found.points))
        return image

    pictures = torch.rand(2, 3, 128, 128)
    with torch.no_grad():
        both, each = drawn(pictures), [drawn(picture[None]) for picture in pictures]
    assert both.shape == (2, 3, 256, 256)
    assert torch.allclose(both, torch.cat(each), atol=1e-5)
    assert 0 <= float(both.min()) < float(both.max()) <= 1


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
        moved = net.stitched(source, driving) - driving
    assert torch.allclose(moved, torch.tensor([0.5, -0.25, 0.0]).expand_as(moved), atol=1e-6)


def test_the_networks_are_as_large_as_published() -> None:
    """Parameters in millions, from the table of speeds on the authors' page."""
    with torch.device("meta"):
        nets = AppearanceExtractor(), Detector(), WarpingNetwork(), SpadeGenerator(), Stitching()
    counts = [sum(one.numel() for one in net.parameters()) / 1e6 for net in nets]
    assert counts == pytest.approx([0.84, 28.12, 45.53, 55.37, 0.23], abs=0.02)
