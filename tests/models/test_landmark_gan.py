"""`landmark_gan`: the paper's figures, heat maps against naive drawings, motion on points, and a network that
learns two people by heart and then gives each the other's face.
"""

import math
from itertools import product
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models import registry
from models.contract import LANDMARKS, Controls, Observation, map_code
from models.face_geometry import FLIP_68, LANDMARKS_68, quaternion_to_rotation
from models.landmark_gan import (
    EYES,
    INPUTS,
    LIPS,
    POINTS,
    SIZES,
    STABLE,
    Appearance,
    Discriminator,
    HeatMaps,
    LandmarkGan,
)
from tests.material import TRACKS, track
from tests.models.little_people import PEOPLE, POSES, observed, psnr

NARROW = 8  # channels at full size


@pytest.fixture
def net() -> LandmarkGan:
    torch.manual_seed(0)
    return LandmarkGan(width=NARROW).eval()


def face(clip: str, frame: int) -> Observation:
    """What the network gets to see of one frame, but for the picture."""
    found = track(clip)
    points = torch.from_numpy(found.points[frame : frame + 1]).float()
    return in_crop(points, torch.tensor([[[300.0, 0.0, 20.0], [0.0, 300.0, -10.0]]]))


def in_crop(points: Tensor, to_frame: Tensor) -> Observation:
    """points: B×478×3 in pixels of the frame; to_frame: of a crop that is not turned."""
    corner = torch.cat((to_frame[:, :, 2], torch.zeros(len(to_frame), 1)), 1).unsqueeze(1)
    return Observation(
        image=torch.rand(len(points), 3, 64, 64),
        points=(points - corner) / to_frame[:, :1, :1],
        to_frame=to_frame.expand(len(points), -1, -1),
        valid=torch.ones(len(points), dtype=torch.bool),
    )


def portrait(net: LandmarkGan, clip: str = TRACKS[0], frame: int = 0) -> Appearance:
    return net.encode_appearance([face(clip, frame)])


def shapes_of(net: nn.Module, parts: dict[str, nn.Module], *inputs: Tensor) -> dict[str, torch.Size]:
    found: dict[str, torch.Size] = {}
    for name, part in parts.items():
        part.register_forward_hook(lambda _, __, out, name=name: found.update({name: out.shape}))
    net(*inputs)
    return found


# The paper's figures


def test_the_u_net_sees_71_channels_and_halves_four_times() -> None:
    """Section 2 and section 3, Training."""
    net = LandmarkGan()
    assert (INPUTS, POINTS, net.spec.source.size) == (71, 68, 64)
    u_net = net.generator
    assert u_net.enter[0].weight.shape == (64, 71, 3, 3)
    parts = {f"down{level}": part for level, part in enumerate(u_net.down)}
    parts |= {f"up{level}": part for level, part in enumerate(u_net.up)}
    parts["bottleneck"] = u_net.bottleneck
    with torch.inference_mode():
        found = shapes_of(u_net, parts, torch.rand(1, 3, 64, 64), torch.rand(1, 68, 64, 64))
    assert [tuple(found[f"down{level}"][1:]) for level in range(4)] == [
        (128, 32, 32),
        (256, 16, 16),
        (512, 8, 8),
        (1024, 4, 4),
    ]
    assert found["bottleneck"][1:] == (1024, 4, 4)
    assert [tuple(found[f"up{level}"][1:]) for level in range(4)] == [
        (512, 8, 8),
        (256, 16, 16),
        (128, 32, 32),
        (64, 64, 64),
    ]


def test_skips_are_added() -> None:
    """With its way through the bottleneck cut, the network draws from the skips of each level alone."""
    net = LandmarkGan(width=NARROW).generator
    x = torch.rand(1, 3, 64, 64), torch.rand(1, 68, 64, 64)
    with torch.inference_mode():
        for up in net.up:
            up[1].weight.zero_()  # the normalisation's
            up[1].bias.zero_()
        assert torch.allclose(net(*x), torch.tanh(net.leave(net.enter(torch.cat(x, 1)))), atol=1e-6)


def test_the_discriminator_judges_patches_by_picture_and_landmarks() -> None:
    """Section 2: three halvings, 32 channels, enriched with the target landmarks. It gives logits."""
    torch.manual_seed(0)
    net = Discriminator().eval()
    convolutions = [part for part in net.modules() if isinstance(part, nn.Conv2d)]
    assert [part.stride[0] for part in convolutions] == [2, 2, 2, 1, 1]
    assert [part.in_channels for part in convolutions] == [71, 32, 64, 128, 256]
    picture, maps = torch.rand(2, 3, 64, 64), torch.rand(2, 68, 64, 64)
    with torch.inference_mode():
        logits = net(picture, maps)
        assert logits.shape == (2, 1, 6, 6)
        assert float((logits - net(picture, 0 * maps)).abs().max()) > 1e-3
        net.leave.bias.fill_(5.0)
        assert float(net(picture, maps).mean()) > 3


@pytest.mark.parametrize("size", SIZES)
def test_each_size_draws_its_own(size: str) -> None:
    torch.manual_seed(0)
    net = LandmarkGan(size, width=NARROW).eval()
    side = SIZES[size].side
    assert (net.spec.size, net.spec.source.size) == (size, side)
    source = face(TRACKS[0], 0)._replace(image=torch.rand(1, 3, side, side))
    with torch.inference_mode():
        appearance = net.encode_appearance([source])
        rgb, alpha = net.decode(appearance, appearance.structure)
    assert rgb.shape == (1, 3, side, side)
    assert alpha.shape == (1, 1, side, side)
    assert float((rgb - 0.5).abs().quantile(0.99)) < 0.48, "untrained, but not saturated"
    assert float(alpha[0, 0, side // 2, side // 2]) == 1
    assert float(alpha[0, 0, 0, side // 2]) < 0.5


def test_unknown_sizes_and_heat_maps_are_refused() -> None:
    with pytest.raises(ValueError, match="64, 64-code, 128, 256"):
        LandmarkGan("512")
    with pytest.raises(ValueError, match="paper, code"):
        HeatMaps(64, "sharp")  # type: ignore[arg-type]
    assert registry.get("landmark_gan") is LandmarkGan


def test_the_crop_lies_around_the_nose_bridge() -> None:
    """Point 28 in the middle, the side 2.5 × the longer side of the 68 points' box."""
    for clip in TRACKS:
        at = observed(PEOPLE[0], clip, LandmarkGan.spec.source)
        assert at.points is not None
        for points in at.points[:, list(LANDMARKS_68), :2]:
            assert points[28].tolist() == pytest.approx([0.5, 0.5], abs=1e-5)
            low, high = points.aminmax(dim=0)
            assert float((high - low).max()) == pytest.approx(1 / 2.5, abs=1e-5)


# Heat maps


def naive(kind: str, size: int, x: float, y: float) -> np.ndarray:
    """One map, pixel by pixel."""
    drawn = np.zeros((size, size) if kind == "paper" else (2 * size, 2 * size))
    side = len(drawn)
    if not (0 <= x < 1 and 0 <= y < 1):
        return np.zeros((size, size))
    for row, column in product(range(side), range(side)):
        if kind == "paper":
            dx, dy = column + 0.5 - x * side, row + 0.5 - y * side
            if max(abs(dx), abs(dy)) <= 3.5:
                drawn[row, column] = math.exp(-(dx**2 + dy**2) / (2 / 3))
        else:
            dx, dy = column - int(x * side), row - int(y * side)
            if max(abs(dx), abs(dy)) <= 3:
                # The taps of a window of 7 from −1 to 1, with a deviation of 1/3.
                drawn[row, column] = math.exp(-((dx / 3) ** 2 + (dy / 3) ** 2) / (2 / 9))
    if kind == "code":
        drawn = drawn.reshape(size, 2, size, 2).mean((1, 3))
    return drawn


@pytest.mark.parametrize("kind", ["paper", "code"])
def test_heat_maps_equal_a_naive_drawing(kind: Any) -> None:
    heat = HeatMaps(16, kind)
    at = np.random.default_rng(0).uniform(-0.2, 1.2, (12, 2))
    at[0] = 0.01, 0.99  # cut off at a corner
    maps = heat(torch.from_numpy(at)[None])[0]
    for (x, y), drawn in zip(at, maps, strict=True):
        assert drawn.numpy() == pytest.approx(naive(kind, 16, x, y), abs=1e-5)


def test_a_heat_map_has_the_papers_values() -> None:
    """Section 3: over 7 pixels, mean 0, variance 1/3: exp(−3d²/2)."""
    heat = HeatMaps(64)
    at = torch.tensor([[[10.5 / 64, 20.5 / 64]]])  # the centre of the pixel in column 10 of row 20
    drawn = heat(at)[0, 0]
    known = {(20, 10): 1.0, (20, 11): 0.2231302, (19, 10): 0.2231302, (21, 11): 0.0497871}
    for where, value in known.items():
        assert float(drawn[where]) == pytest.approx(value, abs=1e-5)
    assert float(drawn[20, 13]) == pytest.approx(1.37e-6, rel=0.01)
    assert float(drawn[20, 14]) == 0
    assert int((drawn > 0).sum()) <= 49
    line = 1 + 2 * sum(math.exp(-1.5 * d**2) for d in (1, 2, 3))
    assert float(drawn.sum()) == pytest.approx(line**2, rel=1e-5)


@pytest.mark.parametrize("kind", ["paper", "code"])
def test_every_heat_map_inside_has_the_same_sum(kind: Any) -> None:
    """However its point lies between the pixels."""
    at = 0.2 + 0.6 * torch.rand(1, 68, 2, generator=torch.Generator().manual_seed(0))
    sums = HeatMaps(64, kind)(at).sum((2, 3))
    known = (
        2 * math.pi / 3 if kind == "paper" else (sum(math.exp(-(d**2) / 2) for d in range(-3, 4)) / 2) ** 2
    )
    assert sums.numpy() == pytest.approx(known, rel=0.02 if kind == "paper" else 1e-5)


@pytest.mark.parametrize("kind", ["paper", "code"])
def test_points_outside_the_picture_leave_their_maps_empty(kind: Any) -> None:
    outside = [(-0.001, 0.5), (0.5, 1.0), (1.2, 0.5), (0.5, -1e30), (math.inf, 0.5), (math.nan, math.nan)]
    maps = HeatMaps(64, kind)(torch.tensor([[*outside, (0.999, 0.0)]]))[0]
    assert bool(torch.isfinite(maps).all())
    assert float(maps[:-1].abs().max()) == 0
    assert float(maps[-1].max()) > 0.1


def mirrored(points: Tensor) -> Tensor:
    return points * torch.tensor([-1.0, 1.0, 1.0]) + torch.tensor([1.0, 0.0, 0.0])


def test_a_flip_swaps_left_and_right_channels(net: LandmarkGan) -> None:
    """The mirror image of a face, its landmarks named anew as a detector would, has the mirror images of the
    other side's maps.
    """
    frame = face(TRACKS[0], 5)
    assert frame.points is not None
    code = net.encode_structure(frame)
    seen = torch.zeros(1, LANDMARKS, 3)
    seen[:, list(LANDMARKS_68)] = mirrored(frame.points[:, [LANDMARKS_68[other] for other in FLIP_68]])
    flipped = net.encode_structure(frame._replace(points=seen))
    assert torch.allclose(flipped.points, mirrored(code.points)[:, list(FLIP_68)])
    maps, mirror = net.heat(code.points), net.heat(flipped.points)
    assert float(maps.sum()) > 60
    assert torch.allclose(mirror, maps.flip(3)[:, list(FLIP_68)], atol=1e-4)
    assert not torch.allclose(mirror, maps.flip(3), atol=0.5)


# Motion


def wishes(**values: float) -> Controls:
    return Controls.default(**values)


def test_relative_transfer_moves_the_source_as_the_driver_moved(net: LandmarkGan) -> None:
    """A known similarity of the driver's whole head, in the frame, whatever the crops it is seen in."""
    appearance = portrait(net)
    found = track(TRACKS[1])
    rest = torch.from_numpy(found.points[:1]).float()
    q = torch.tensor([[math.cos(0.15), 0.0, 0.6 * math.sin(0.15), 0.8 * math.sin(0.15)]])
    rotation = quaternion_to_rotation(q)
    middle = rest[:, [LANDMARKS_68[point] for point in STABLE]].mean(1, keepdim=True)
    shift = torch.tensor([[[14.0, -9.0, 0.0]]])
    moved = 1.1 * (rest - middle) @ rotation.transpose(1, 2) + middle + shift
    neutral, code = (
        net.encode_structure(in_crop(points, torch.tensor([[[side, 0.0, x], [0.0, side, -5.0]]])))
        for points, side, x in ((rest, 280.0, 15.0), (moved, 333.0, -20.0))
    )
    got = net.transfer(code, neutral, appearance, wishes())
    source = appearance.structure.points
    at = source[:, list(STABLE)].mean(1, keepdim=True)
    # The driver's face is larger or smaller than the source's: so are his steps, and his axes are turned.
    own = (source - at)[:, list(STABLE)]
    his = (rest - middle)[:, [LANDMARKS_68[point] for point in STABLE]]
    u, _, v = torch.linalg.svd(his[0].T @ own[0])
    sign = torch.diag(torch.tensor([1.0, 1.0, float(torch.det(u @ v).sign())]))
    turn = (u @ sign @ v).T
    size = float((his[0] @ turn.T * own[0]).sum() / his.square().sum())
    turned = turn @ rotation[0] @ turn.T
    expected = 1.1 * (source - at) @ turned.T + at + size * shift
    assert torch.allclose(got.points, expected, atol=1e-4)
    assert torch.equal(got.to_frame, appearance.structure.to_frame)


def test_an_expression_is_scaled_to_the_source(net: LandmarkGan) -> None:
    """A driver of the source's shape but twice its size opens his mouth."""
    source = face(TRACKS[0], 0)
    assert source.points is not None
    appearance = net.encode_appearance([source])
    opened = source.points.clone()
    opened[:, [14, 17, 152], 1] += 0.03
    large = source.to_frame * torch.tensor([2.0, 2.0, 1.0])
    neutral, code = (
        net.encode_structure(source._replace(points=points, to_frame=large))
        for points in (source.points, opened)
    )
    got = net.transfer(code, neutral, appearance, wishes()).points - appearance.structure.points
    below = [LANDMARKS_68.index(landmark) for landmark in (14, 17, 152)]
    assert got[0, below, 1].tolist() == pytest.approx([0.03] * 3, abs=1e-4)
    rest = [point for point in range(POINTS) if point not in below]
    assert float(got[:, rest].abs().max()) < 1e-4
    lips = {66, 57}  # of the three, what is of the lips and not the chin
    halved = net.transfer(code, neutral, appearance, wishes(lips=0.5)).points - appearance.structure.points
    for point in below:
        assert float(halved[0, point, 1]) == pytest.approx(0.015 if point in lips else 0.03, abs=1e-4)
    stronger = net.transfer(code, neutral, appearance, wishes(gain_expression=2.0)).points
    assert torch.allclose(stronger - appearance.structure.points, 2 * got, atol=1e-4)


def test_gains_act_on_what_they_name(net: LandmarkGan) -> None:
    appearance = portrait(net)
    neutral, code = (net.encode_structure(face(TRACKS[1], frame)) for frame in (0, 40))
    still = wishes(gain_pose=0.0)  # or a head's turn would move everything
    whole = net.transfer(code, neutral, appearance, still).points
    for control, moved in (("eyes", EYES), ("lips", LIPS)):
        less = net.transfer(code, neutral, appearance, still._replace(**{control: torch.zeros(1)})).points
        rest = [point for point in range(POINTS) if point not in moved]
        assert torch.equal(less[:, rest], whole[:, rest])
        assert torch.equal(less[:, moved], appearance.structure.points[:, moved])
        assert not torch.allclose(less[:, moved], whole[:, moved], atol=1e-3)


def test_at_rest_and_at_gains_of_nought_nothing_moves(net: LandmarkGan) -> None:
    appearance = portrait(net)
    source = appearance.structure.points
    neutral, code = (net.encode_structure(face(TRACKS[1], frame)) for frame in (0, 40))
    still = wishes(gain_pose=0.0, gain_expression=0.0)
    for relative in (1.0, 0.0):
        one = still._replace(relative=torch.tensor([relative]))
        assert torch.equal(net.transfer(code, neutral, appearance, one).points, source)
    rested = net.transfer(neutral, neutral, appearance, wishes()).points
    assert float((rested - source).abs().max()) < 1e-5


def test_absolute_transfer_is_the_drivers_own_code(net: LandmarkGan) -> None:
    appearance = portrait(net)
    for frame in (0, 40):
        code = net.encode_structure(face(TRACKS[1], frame))
        got = net.transfer(code, code, appearance, wishes(relative=0.0))
        assert torch.allclose(got.points, code.points, atol=1e-5)


def test_motion_outside_a_frames_own_crop_is_not_lost(net: LandmarkGan) -> None:
    """The same face, seen in two crops, is the same driver."""
    appearance = portrait(net)
    points = torch.from_numpy(track(TRACKS[1]).points[40:41]).float()
    neutral = net.encode_structure(face(TRACKS[1], 0))
    one, other = (
        net.transfer(
            net.encode_structure(in_crop(points, torch.tensor([[[side, 0.0, x], [0.0, side, 3.0]]]))),
            neutral,
            appearance,
            wishes(),
        ).points
        for side, x in ((200.0, 0.0), (420.0, -60.0))
    )
    assert torch.allclose(one, other, atol=1e-4)


def test_the_neutral_face_is_the_middle_one(net: LandmarkGan) -> None:
    codes = [net.encode_structure(face(TRACKS[0], frame)) for frame in (0, 1, 2, 3)]
    (alone,) = [net.neutral(codes[:1])]
    assert torch.allclose(alone.points, codes[0].points, atol=1e-5)
    wild = codes[0]._replace(points=codes[0].points.clone())
    wild.points[:, list(LIPS)] += 0.2
    calm, disturbed = net.neutral(codes), net.neutral([*codes, wild])
    assert float((disturbed.points - calm.points).abs().max()) < 0.02
    turned = net.neutral([codes[0], codes[0]._replace(to_frame=codes[0].to_frame * 2)])
    ratio = (turned.points - turned.points.mean(1, keepdim=True)) / (
        codes[0].points - codes[0].points.mean(1, keepdim=True)
    )
    assert float(ratio.std()) < 1e-2, "of one shape, whatever the size it is seen in"


# Learning


def objectives(net: LandmarkGan, judge: nn.Module, pictures: Tensor, maps: Tensor) -> tuple[Tensor, Tensor]:
    """The losses of a triple of pictures of one person: the generator's, with the paper's weights and without
    its perceptual terms, and the discriminator's. pictures: 3×3×S×S in [−1, 1]; maps: 3×68×S×S.
    """
    first, between, last = pictures.split(1)
    at_first, at_between, at_last = maps.split(1)
    drawn = net.generator(first, at_last)
    back = net.generator(drawn, at_first)
    detour = net.generator(net.generator(first, at_between), at_last)
    fooled = judge(drawn, at_last)
    generator = (
        F.binary_cross_entropy_with_logits(fooled, torch.ones_like(fooled))
        + 10 * F.mse_loss(drawn, last)
        + 100 * F.mse_loss(back, first)
        + 100 * F.mse_loss(detour, drawn)
    )
    real, fake = judge(last, at_last), judge(drawn.detach(), at_last)
    discriminator = F.binary_cross_entropy_with_logits(
        real, torch.ones_like(real)
    ) + F.binary_cross_entropy_with_logits(fake, torch.zeros_like(fake))
    return generator, discriminator


def test_gradients_reach_every_parameter() -> None:
    torch.manual_seed(0)
    net, judge = LandmarkGan(width=NARROW), Discriminator(NARROW)
    seen = observed(PEOPLE[0], TRACKS[0], net.spec.source, POSES[:3])
    maps = net.heat(net.encode_structure(seen).points)
    generator, discriminator = objectives(net, judge, seen.image * 2 - 1, maps)
    for loss, module in ((generator, net.generator), (discriminator, judge)):
        module.zero_grad()
        loss.backward()
        for name, parameter in module.named_parameters():
            assert parameter.grad is not None, name
            assert bool(torch.isfinite(parameter.grad).all()), name
            assert float(parameter.grad.abs().max()) > 0, name


def test_gradients_reach_the_points(net: LandmarkGan) -> None:
    """So that whatever gives the points can be taught through the picture."""
    appearance = portrait(net)
    points = appearance.structure.points.clone().requires_grad_()
    rgb, _ = net.decode(appearance, appearance.structure._replace(points=points))
    rgb.square().sum().backward()
    assert points.grad is not None
    inside = ((appearance.structure.points[..., :2] > 0) & (appearance.structure.points[..., :2] < 1)).all(2)
    assert bool((points.grad[..., :2].abs().sum(2) > 0)[inside].all())


STEPS = 280
RATE = 5e-3
CLIPS = ("grid_bbaf2n", "grid_swiz3n")  # whose faces the two people have


def test_it_learns_two_people_and_gives_each_the_others_face() -> None:
    """8 pictures of 2 people, each drawn from another of the same person, as in training. Then, with the
    driver's points as they are: one person's looks in the other's shape and pose, which nobody showed it.
    """
    torch.manual_seed(0)
    net = LandmarkGan(width=NARROW)
    rule, count = net.spec.source, len(POSES)
    seen = [observed(looks, clip, rule) for looks, clip in zip(PEOPLE, CLIPS, strict=True)]
    codes = [net.encode_structure(one) for one in seen]
    pictures = torch.cat([one.image for one in seen]) * 2 - 1
    maps = net.heat(torch.cat([code.points for code in codes]))
    optimiser = torch.optim.Adam(net.generator.parameters(), RATE, betas=(0.5, 0.999))
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, RATE, total_steps=STEPS)
    person = torch.arange(2).repeat_interleave(count) * count
    for _ in range(STEPS):
        source, target = (person + torch.randint(count, (2 * count,)) for _ in range(2))
        loss = F.mse_loss(net.generator(pictures[source], maps[target]), pictures[target])
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()

    net.eval()
    controls = Controls.default(count, relative=0.0)
    with torch.inference_mode():
        for own, other in ((0, 1), (1, 0)):
            source = map_code(lambda tensor: tensor[:1], seen[own])
            appearance = net.encode_appearance([source])
            learnt, _ = net.decode(appearance, codes[own])
            assert float(psnr(learnt, seen[own].image).min()) >= 25
            moved = net.transfer(codes[other], codes[other], appearance, controls)
            swapped, _ = net.decode(appearance, moved)
            truth = observed(PEOPLE[own], CLIPS[other], rule).image
            right = psnr(swapped, truth)
            assert float(right.min()) > 18
            assert float((right - psnr(swapped, seen[other].image)).min()) > 6, "the looks stay"
            # The first pose is the one that the source is in.
            assert float((right - psnr(swapped, source.image))[1:].min()) > 2, "the face moves"
