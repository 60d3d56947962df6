"""`latent`: the paper's figures, codes that are split and joined, and a small network that learns two people
by heart and then gives each the other's face.
"""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from models import registry
from models.contract import Controls, Observation, map_code
from models.face_geometry import LANDMARKS_68, crop_to_frame
from models.latent import CROP, Latent, Layout
from models.stylegan2 import Discriminator, styles
from tests.material import TRACKS, track
from tests.models.little_people import PEOPLE, POSES, Pose, observed, psnr

SMALL = Layout(side=32, seen=32, style=64, most=32)
MARGIN = 1.0  # γ of the contrastive losses (supplement, section 3)
STEPS = 360
RATE = 6e-3
# All of one height and tilt: the crop is upright. No two are more alike than 17.4 dB, in either's colours.
TURNED = tuple(Pose(frame, yaw, 0) for frame, yaw in ((0, -36), (22, -12), (47, 12), (60, 36)))


@pytest.fixture
def net() -> Latent:
    torch.manual_seed(0)
    return Latent(layout=SMALL).eval()


def frames(count: int, side: int = SMALL.side) -> Observation:
    pictures = torch.rand(count, 3, side, side, generator=torch.Generator().manual_seed(2))
    to_frame = torch.eye(2, 3).expand(count, -1, -1)
    return Observation(pictures, None, to_frame, torch.ones(count, dtype=torch.bool))


# The paper's figures


@pytest.mark.parametrize(("size", "rows"), [("256", 14), ("1024", 18)])
def test_a_code_has_a_row_of_512_for_each_style(size: str, rows: int) -> None:
    """L = 2·log2(size) − 2. Built without memory: the encoder alone has more than 200 million parameters."""
    with torch.device("meta"):
        net = registry.make(f"latent:{size}").eval()
        assert isinstance(net, Latent)
        w = net.invert(torch.empty(1, 3, int(size), int(size)))
        w_a, w_s = net.split(w)
        for code in (w, w_a, w_s, net.join(w_a, w_s), net.latent_avg.unsqueeze(0)):
            assert code.shape == (1, rows, 512)
        assert net.generator(w).shape == (1, 3, int(size), int(size))
    assert (net.spec.source.size, net.spec.driving.size) == (int(size), 256)
    assert net.spec.size == size


def test_the_encoder_sees_256_pixels_whatever_is_drawn() -> None:
    seen = Layout(side=64, seen=32, style=64, most=32)
    torch.manual_seed(0)
    net = Latent("1024", seen).eval()
    large = torch.rand(1, 3, 64, 64)
    with torch.inference_mode():
        w = net.invert(large)
        assert torch.allclose(w, net.invert(F.avg_pool2d(large, 2)), atol=1e-6)
        rgb, _ = net.decode(*_source(net, large))
    assert rgb.shape == (1, 3, 64, 64)


def _source(net: Latent, picture: Tensor) -> tuple:
    appearance = net.encode_appearance([frames(1)._replace(image=picture)])
    return appearance, appearance.structure


def test_unknown_sizes_are_refused() -> None:
    with pytest.raises(ValueError, match="256, 1024"):
        Latent("512")


def test_untrained_pictures_are_not_saturated() -> None:
    """As wide as the real ones, where sums over channels are as large as they will be."""
    torch.manual_seed(0)
    net = Latent(layout=Layout(side=64, seen=32, style=512, most=512)).eval()
    with torch.inference_mode():
        z = torch.randn(2, 512)
        w = net.generator.map(z).unsqueeze(1).expand(-1, styles(64), -1)
        assert float((net.generator(w).abs() > 0.99).float().mean()) < 0.05


def test_the_crop_is_ffhqs() -> None:
    """Over real faces, seen from about in front: side within 4%, place within 2% of it, tilt within 3°."""
    for clip in TRACKS:
        found = track(clip)
        for points in found.points[::5]:
            middle, side, along = ffhq_square(points[list(LANDMARKS_68), :2])
            to_frame = crop_to_frame(points, CROP, *found.size)
            own_side = np.linalg.norm(to_frame[:, 0])
            assert own_side == pytest.approx(side, rel=0.04)
            centre = to_frame[:, :2] @ (0.5, 0.5) + to_frame[:, 2]
            assert np.linalg.norm(centre - middle) < 0.02 * side
            turn = np.degrees(np.arccos(np.clip(to_frame[:, 0] @ along / own_side, -1, 1)))
            assert turn < 3


def ffhq_square(points: np.ndarray) -> tuple[np.ndarray, float, np.ndarray]:
    """Middle, side and direction of the x axis of FFHQ's crop. points: 68×2."""
    eyes = [points[first : first + 6].mean(0) for first in (36, 42)]
    eye, across = (eyes[0] + eyes[1]) / 2, eyes[1] - eyes[0]
    down = (points[48] + points[54]) / 2 - eye
    along = across + np.array([down[1], -down[0]])
    along /= np.linalg.norm(along)
    half = max(2 * np.linalg.norm(across), 1.8 * np.linalg.norm(down))
    return eye + 0.1 * down, 2 * half, along


# Codes


def test_the_mean_code_is_what_an_encoder_of_nothing_gives(net: Latent) -> None:
    """latent_avg is added to what the encoder finds, and everything else counts from there."""
    pictures = frames(2).image
    with torch.inference_mode():
        w = net.invert(pictures)
        parts = net.split(w)
        joined = net.join(*parts)
        net.latent_avg.add_(torch.randn(SMALL.style))
        assert torch.allclose(net.invert(pictures), w + net.latent_avg, atol=1e-5)
        for before, after in zip(parts, net.split(w + net.latent_avg), strict=True):
            assert torch.allclose(after, before, atol=1e-5)
        assert torch.allclose(net.join(*parts), joined + net.latent_avg, atol=1e-5)
    assert "latent_avg" in net.state_dict()


def test_each_row_is_split_and_joined_on_its_own_by_one_network(net: Latent) -> None:
    """Which is told which row it sees."""
    rows = styles(SMALL.side)
    w = torch.randn(1, 1, SMALL.style).expand(-1, rows, -1).clone()
    with torch.inference_mode():
        w_a, w_s = net.split(w)
        w[:, 3] += 1
        for before, after in zip((w_a, w_s), net.split(w), strict=True):
            changed = (before - after).abs().amax((0, 2)) > 1e-6
            assert changed.tolist() == [row == 3 for row in range(rows)]
            assert float(before.std(1).mean()) > 1e-3, "equal rows, told apart by their place"
        joined = net.join(w_a, w_s)
        w_s[:, 5] += 1
        changed = (joined - net.join(w_a, w_s)).abs().amax((0, 2)) > 1e-6
        assert changed.tolist() == [row == 5 for row in range(rows)]
    names = {name for name, parameter in net.f_e.named_parameters() if rows in parameter.shape[:1]}
    assert names == {"row"}, "nothing but the embedding is a row's own"


def test_both_halves_of_a_code_count(net: Latent) -> None:
    with torch.inference_mode():
        w_a, w_s = net.split(net.invert(frames(1).image))
        whole = net.join(w_a, w_s)
        for other in (net.join(w_a + 0.5, w_s), net.join(w_a, w_s + 0.5), net.join(w_s, w_a)):
            assert float((other - whole).abs().max()) > 1e-3


def test_motion_is_arithmetic_on_structure_codes(net: Latent) -> None:
    with torch.inference_mode():
        source, driver, neutral = (frames(1)._replace(image=torch.rand(1, 3, 32, 32)) for _ in range(3))
        appearance = net.encode_appearance([source])
        own = appearance.structure.w_s
        moving, resting = net.encode_structure(driver), net.encode_structure(neutral)

        def moved(**values: float) -> Tensor:
            return net.transfer(moving, resting, appearance, Controls.default(**values)).w_s

        assert torch.allclose(moved(), own + moving.w_s - resting.w_s, atol=1e-6)
        assert torch.allclose(moved(gain_expression=0.5), own + (moving.w_s - resting.w_s) / 2, atol=1e-6)
        assert torch.allclose(moved(relative=0.0), moving.w_s, atol=1e-6)
        assert torch.equal(moved(gain_expression=0.0), own)
        half = net.blend(moving, resting, torch.tensor([0.25]))
        assert torch.allclose(half.w_s, 0.75 * moving.w_s + 0.25 * resting.w_s, atol=1e-6)
        three = [moving, resting, appearance.structure]
        assert torch.equal(net.neutral(three).w_s, torch.cat([code.w_s for code in three]).median(0, True)[0])


def test_the_picture_does_not_depend_on_chance(net: Latent) -> None:
    """Noise is constant, and part of the weights."""
    torch.nn.init.constant_(net.generator.conv1.noise.weight, 1.0)
    torch.manual_seed(1)
    again = Latent(layout=SMALL).eval()
    again.load_state_dict(net.state_dict())
    with torch.inference_mode():
        pictures = [one.decode(*_source(one, frames(1).image))[0] for one in (net, net, again)]
    assert torch.equal(pictures[0], pictures[1])
    assert torch.equal(pictures[0], pictures[2])


# Learning


def apart(a: Tensor, b: Tensor) -> Tensor:
    """B: the L2 distance of codes, whose negative is their similarity (supplement, section 4)."""
    return ((a - b).flatten(1).square().sum(1) + 1e-8).sqrt()


def contrast(alike: Tensor, unlike: Tensor) -> Tensor:
    """max(0, γ − s_pos + s_neg)."""
    return F.relu(MARGIN + alike - unlike).mean()


def recoloured(pictures: Tensor) -> Tensor:
    """The same frames with their channels in another order, each in another contrast or as its negative."""
    count = len(pictures)
    order = torch.rand(count, 3).argsort(1)
    gain = (torch.randint(2, (count, 3)) * 2 - 1) * (0.7 + 0.5 * torch.rand(count, 3))
    mixed = pictures[torch.arange(count).unsqueeze(1), order]
    return (0.5 + gain.view(count, 3, 1, 1) * (mixed - 0.5)).clamp(0, 1)


def objectives(net: Latent, pictures: Tensor) -> Tensor:
    """Reconstruction, cycle and contrastive losses of two videos, with as many frames of each.

    As the contrastive ones have it, a video's appearance is one, and a frame's structure is that of its
    recoloured copy: so a frame is drawn with another's appearance and mostly its copy's structure. Nothing
    shows what one person looks like with the other's face.
    """
    count = len(pictures)
    each = count // 2
    first = torch.arange(2).repeat_interleave(each) * each

    def of_video(places: Tensor, swapped: bool = False) -> Tensor:
        """The indices of frames at `places` of their own, or of the other, video."""
        return (first.flip(0) if swapped else first) + places.repeat(2)

    same, other = of_video(torch.randperm(each)), of_video(torch.randperm(each), swapped=True)
    later = of_video((torch.arange(each) + int(torch.randint(1, each, ()))) % each)
    w = net.invert(torch.cat((pictures, recoloured(pictures))))
    w_a, w_s = net.split(w)
    (w, _), (w_a, _), (w_s, alike) = (code.chunk(2) for code in (w, w_a, w_s))
    own = (torch.rand(count) < 0.25).view(-1, 1, 1)
    joined = net.join(w_a[same], torch.where(own, w_s, alike))
    swapped_a, swapped_s = net.split(net.join(w_a, w_s[other]))
    return (
        2 * F.mse_loss(net.generator(joined), pictures * 2 - 1)
        + 0.3 * F.mse_loss(joined, w)
        + 0.3 * (F.mse_loss(swapped_a, w_a) + F.mse_loss(swapped_s, w_s[other]))
        + 0.03 * contrast(apart(w_a, w_a[same]), apart(w_a, w_a[other]))
        + 0.03 * contrast(apart(w_s, alike), apart(w_s, w_s[later]))
    )


def test_the_contrastive_loss_is_that_of_the_paper() -> None:
    zero = torch.zeros(1, 2, 4)
    near, far = zero.clone(), zero.clone()
    near[0, 0, 0], far[0, 1, 3] = 3.0, 3.5
    assert float(contrast(apart(zero, near), apart(zero, far))) == pytest.approx(0.5, abs=1e-4)
    assert float(contrast(apart(zero, zero), apart(zero, far))) == 0


def test_gradients_reach_every_parameter(net: Latent) -> None:
    """Mapping and discriminator take part where synthetic videos are made of sampled codes."""
    net.train()
    judge = Discriminator(SMALL.side, SMALL.most)
    seen = torch.cat([observed(looks, TRACKS[0], net.spec.source, POSES[:2]).image for looks in PEOPLE])
    sampled = net.generator.map(torch.randn(2, SMALL.style)).unsqueeze(1)
    sampled = net.generator(sampled.expand(-1, styles(SMALL.side), -1))
    (objectives(net, seen) + F.softplus(-judge(sampled)).mean()).backward()
    for network in (net, judge):
        for name, parameter in network.named_parameters():
            assert parameter.grad is not None, name
            assert bool(torch.isfinite(parameter.grad).all()), name
            assert float(parameter.grad.abs().max()) > 0, name


@pytest.mark.slow
def test_it_learns_two_people_and_gives_each_the_others_face() -> None:
    """8 pictures of 2 people, with the same four faces. Then one's w^(a) with the other's w^(s), whose
    picture is known: the one's own with that face, which was never drawn from such a pair.
    """
    torch.manual_seed(0)
    net = Latent(layout=SMALL)
    rule, count = net.spec.source, len(TURNED)
    seen = [observed(looks, TRACKS[0], rule, TURNED) for looks in PEOPLE]
    pictures = torch.cat([one.image for one in seen])
    optimiser = torch.optim.Adam(net.parameters(), RATE, betas=(0.9, 0.99), fused=True)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, RATE, total_steps=STEPS, pct_start=0.15, cycle_momentum=False
    )
    for _ in range(STEPS):
        optimiser.zero_grad()
        objectives(net, pictures).backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimiser.step()
        schedule.step()

    net.eval()
    controls = Controls.default(count, relative=0.0)
    with torch.inference_mode():
        appearances = [net.encode_appearance([map_code(lambda tensor: tensor[:1], one)]) for one in seen]
        codes = [net.encode_structure(one) for one in seen]
        for own, driver in ((0, 0), (0, 1), (1, 0), (1, 1)):
            moved = net.transfer(codes[driver], codes[driver], appearances[own], controls)
            drawn, _ = net.decode(appearances[own], moved)
            right = psnr(drawn, seen[own].image)
            assert float(right.min()) >= (25 if own == driver else 22)
            for other in range(1, 2 * count):
                wrong = pictures[(torch.arange(count) + own * count + other) % (2 * count)]
                assert float((right - psnr(drawn, wrong)).min()) > 4, "the looks stay, the face moves"
