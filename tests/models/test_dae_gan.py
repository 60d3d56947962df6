"""`dae_gan`: the paper's shapes, what its two autoencoders and its generator are made of, and that a small
one learns to part a person from a pose.
"""

import operator
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.contract import Controls, Observation, map_code
from models.dae_gan import DaeGan
from models.dae_gan.embedders import Embedded, FaceEmbedder, Posed, PoseEmbedder, redraw
from models.dae_gan.reenactor import Layout, Structure
from models.dae_gan.synthesis import Discriminator
from models.layers import AdaIN, SelfAttention, flow_warp
from models.pix2pixhd import ResidualBlock, logits
from tests.material import TRACKS, shared_folder
from tests.models.little_people import PEOPLE, POSES, observed, psnr, stands_out
from tests.parity.dae_gan import rows

TINY = Layout(side=64, code=16, width=8, downs=3, blocks=2)
PAPER_SIDE = 256


@pytest.fixture
def tiny() -> DaeGan:
    """Untrained."""
    torch.manual_seed(0)
    return DaeGan(layout=TINY).eval()


@pytest.fixture(scope="module")
def paper() -> DaeGan:
    """The whole size, its shapes only."""
    with torch.device("meta"):
        return DaeGan()


def meta(*shape: int) -> Tensor:
    return torch.empty(shape, device="meta")


def smooth(seed: int, *shape: int) -> Tensor:
    """Pictures in [−1, 1] without fine detail."""
    made = torch.rand(*shape[:-2], 6, 6, generator=torch.Generator().manual_seed(seed)) * 2 - 1
    flat = F.interpolate(made.view(-1, shape[-3], 6, 6), shape[-2:], mode="bilinear")
    return flat.view(shape)


def observation(picture: Tensor) -> Observation:
    """picture: 3×S×S in [0, 1]."""
    return Observation(picture[None], None, torch.zeros(1, 2, 3), torch.ones(1, dtype=torch.bool))


# The paper's figures


def test_the_flow_is_a_quarter_and_the_residuals_half_and_whole(paper: DaeGan) -> None:
    """Figure 4, section 3.1."""
    flow, low, high = paper.pose.decode(meta(2, 128))
    assert flow.shape == (2, 2, 64, 64)
    assert low.shape == (2, 3, 128, 128)
    assert high.shape == (2, 3, 256, 256)


def test_each_picture_has_a_flow_and_an_attention_of_its_own_size(paper: DaeGan) -> None:
    """Figure 3."""
    found = paper.face(meta(2, 3, 3, 256, 256))
    assert found.face.shape == (2, 3, 256, 256)
    assert found.flows.shape == (2, 3, 2, 256, 256)
    assert found.attention.shape == (2, 3, 1, 256, 256)


def test_a_frame_is_128_numbers_and_the_generator_is_as_wide_as_pix2pixhd(paper: DaeGan) -> None:
    assert paper.pose.encode(meta(2, 3, 256, 256)).shape == (2, 128)
    assert paper.generator.encode(meta(2, 3, 256, 256)).shape == (2, 64 * 2**4, 16, 16)
    assert len(paper.generator.middle) == 9
    assert paper.spec.source.size == paper.spec.driving.size == PAPER_SIDE


def test_only_the_middle_and_the_back_end_know_the_pose(paper: DaeGan) -> None:
    """Section 3.2: every normalisation there is AdaIN, in front none; attention on both sides."""

    def count(part: nn.Module, kind: type[nn.Module]) -> int:
        return sum(isinstance(module, kind) for module in part.modules())

    generator = paper.generator
    assert count(generator.front, AdaIN) == 0
    assert count(generator.middle, AdaIN) == 2 * 9
    assert count(generator.back, AdaIN) == 2 * 4
    assert count(nn.ModuleList([generator.middle, generator.back]), nn.InstanceNorm2d) == 0
    assert count(generator.front, SelfAttention) == count(generator.back, SelfAttention) == 1


def test_the_discriminator_gives_every_layer_of_two_scales() -> None:
    with torch.device("meta"):
        net = Discriminator()
    found = net(meta(2, 3, 256, 256))
    sides = [[layer.shape[-1] for layer in scale] for scale in found]
    assert sides == [[129, 65, 33, 34, 35], [65, 33, 17, 18, 19]]
    assert [layer.shape[1] for layer in found[0]] == [64, 128, 256, 512, 1]
    assert [tuple(last.shape) for last in logits(found)] == [(2, 1, 35, 35), (2, 1, 19, 19)]


def test_the_second_scale_sees_the_picture_at_half_the_size() -> None:
    torch.manual_seed(0)
    net = Discriminator(width=8)
    picture = torch.rand(1, 3, 64, 64)
    second = {k.replace("scale0", "scale1"): v for k, v in net.state_dict().items() if "scale0" in k}
    alone = Discriminator(width=8)
    alone.load_state_dict({**net.state_dict(), **second})  # the whole size's parameters are named scale1
    half = F.avg_pool2d(F.pad(picture, (1, 1, 1, 1)), 3, 2) * 9
    half = half / (F.avg_pool2d(F.pad(torch.ones_like(picture), (1, 1, 1, 1)), 3, 2) * 9)
    for got, expected in zip(net(picture)[1], alone(half)[0], strict=True):
        assert torch.allclose(got, expected, atol=1e-5)


# The face embedder


@pytest.mark.parametrize("count", [1, 2, 8])
def test_attention_is_positive_and_sums_to_one_over_the_pictures(tiny: DaeGan, count: int) -> None:
    with torch.no_grad():
        attention = tiny.face(smooth(1, 2, count, 3, 64, 64)).attention
    assert float(attention.min()) > 0
    assert torch.allclose(attention.sum(1), torch.ones(2, 1, 64, 64), atol=1e-6)
    if count > 1:
        assert float((attention - 1 / count).abs().max()) > 1e-3  # and it is not all the same


def test_the_order_of_the_pictures_makes_no_difference(tiny: DaeGan) -> None:
    pictures = smooth(2, 1, 4, 3, 64, 64)
    order = [2, 0, 3, 1]
    with torch.no_grad():
        one, other = tiny.face(pictures), tiny.face(pictures[:, order])
    assert torch.allclose(one.face, other.face, atol=1e-5)
    assert torch.allclose(one.flows[:, order], other.flows, atol=1e-5)


def test_one_picture_is_as_good_as_the_same_one_three_times(tiny: DaeGan) -> None:
    pictures = smooth(3, 1, 2, 3, 64, 64)
    with torch.no_grad():
        once = tiny.face(pictures[:, :1]).face
        thrice = tiny.face(pictures[:, :1].expand(-1, 3, -1, -1, -1)).face
        both = tiny.face(pictures).face
    assert torch.allclose(once, thrice, atol=1e-5)
    assert float((once - both).abs().mean()) > 0.05


def test_people_of_a_batch_are_not_mixed(tiny: DaeGan) -> None:
    pictures = smooth(4, 2, 3, 3, 64, 64)
    with torch.no_grad():
        whole = tiny.face(pictures).face
        alone = torch.cat([tiny.face(person[None]).face for person in pictures])
    assert torch.allclose(whole, alone, atol=1e-5)


def test_fusing_is_equation_1() -> None:
    """Against loops over pictures, pixels and the four neighbours of each sample."""
    torch.manual_seed(0)
    net = FaceEmbedder(16, width=8)
    nn.init.normal_(net.flow.conv.weight, std=0.3)
    pictures = torch.rand(1, 2, 3, 16, 16)
    with torch.no_grad():
        features = net.decoder(net.encoder(pictures[0]))[-1]
        flows, scores = net.flow(features), net.attention(features).exp()
        found = net(pictures).face[0]
    expected = torch.zeros(3, 16, 16)
    for v in range(16):
        for u in range(16):
            total = sum(scores[k, 0, v, u] for k in range(2))
            for k in range(2):
                x = u + float(flows[k, 0, v, u]) * 8  # a flow of 1 is half of the picture's 16 pixels
                y = v + float(flows[k, 1, v, u]) * 8
                value = bilinear(pictures[0, k], x, y)
                expected[:, v, u] += scores[k, 0, v, u] / total * value
    assert torch.allclose(found, expected, atol=1e-4)


def bilinear(picture: Tensor, x: float, y: float) -> Tensor:
    """The colour at a point, in pixels from the centre of the first; the border is repeated."""
    side = picture.shape[-1]
    x, y = min(max(x, 0), side - 1), min(max(y, 0), side - 1)
    left, top = int(x), int(y)
    right, bottom = min(left + 1, side - 1), min(top + 1, side - 1)
    a, b = x - left, y - top
    upper = (1 - a) * picture[:, top, left] + a * picture[:, top, right]
    lower = (1 - a) * picture[:, bottom, left] + a * picture[:, bottom, right]
    return (1 - b) * upper + b * lower


def test_a_flow_says_where_each_pixel_comes_from() -> None:
    """Backward: a flow of two pixels to the right and three down brings the picture left and up as much."""
    picture = torch.rand(1, 3, 16, 16)
    flow = torch.tensor([2 / 8, 3 / 8]).view(1, 2, 1, 1).expand(1, 2, 16, 16)
    moved = flow_warp(picture, flow)
    assert torch.allclose(moved[..., :13, :14], picture[..., 3:, 2:], atol=1e-5)


def test_the_embedders_sample_backwards(tiny: DaeGan) -> None:
    """The face embedder with a flow that is the same everywhere, eight pixels to the right."""
    nn.init.zeros_(tiny.face.flow.conv.weight)
    tiny.face.flow.conv.bias.data = torch.tensor([8 / 32, 0.0]).atanh()
    picture = smooth(5, 1, 1, 3, 64, 64)
    with torch.no_grad():
        face = tiny.face(picture).face
    assert torch.allclose(face[..., :-8], picture[:, 0, :, :, 8:], atol=1e-5)


# The pose embedder


def test_a_frame_is_redrawn_by_equation_2() -> None:
    face, low, high = smooth(6, 1, 3, 64, 64), torch.rand(1, 3, 32, 32), torch.rand(1, 3, 64, 64)
    still = torch.zeros(1, 2, 16, 16)
    plain = redraw(face, still, torch.zeros_like(low), torch.zeros_like(high))
    # Smooth, so that a quarter of its size holds nearly all of it.
    assert float((plain - face).abs().mean()) < 0.05
    up = F.interpolate(low, scale_factor=2, mode="bilinear")
    assert torch.allclose(redraw(face, still, low, high) - plain, high + up, atol=1e-5)
    shifted = redraw(face, still + torch.tensor([16 / 32, 0]).view(1, 2, 1, 1), 0 * low, 0 * high)
    assert torch.allclose(shifted[..., 4:44], plain[..., 20:60], atol=1e-5)  # but for the border


def test_what_is_too_fine_for_the_flow_is_averaged_and_not_sampled() -> None:
    """A checkerboard of single pixels is grey, wherever the flow looks."""
    board = (torch.arange(64)[:, None] + torch.arange(64)) % 2 * 2.0 - 1
    face = board.expand(1, 3, 64, 64)
    flow = torch.rand(1, 2, 16, 16) * 0.2
    drawn = redraw(face, flow, torch.zeros(1, 3, 32, 32), torch.zeros(1, 3, 64, 64))
    assert float(drawn.abs().max()) < 1e-6


def test_an_untrained_embedder_hardly_changes_a_picture(tiny: DaeGan) -> None:
    picture = smooth(7, 1, 1, 3, 64, 64)
    with torch.no_grad():
        face = tiny.face(picture).face
        posed = tiny.pose(picture[:, 0], face)
    assert float((face - picture[:, 0]).abs().mean()) < 0.05
    assert float((posed.picture - face).abs().mean()) < 0.1


def test_flows_stay_float32_where_pictures_are_bfloat16(tiny: DaeGan) -> None:
    nn.init.normal_(tiny.pose.flow.conv.weight, std=0.1)
    picture = smooth(8, 1, 3, 64, 64)
    with torch.no_grad():
        with torch.autocast("cpu", dtype=torch.bfloat16):
            cast = [tiny.pose(picture, picture).flow, tiny.face(picture[:, None]).flows]
        tiny.bfloat16()
        half = picture.bfloat16()
        own = [tiny.pose(half, half).flow, tiny.face(half[:, None]).flows]
    for flow in (*cast, *own):
        assert flow.dtype == torch.float32
        assert not torch.equal(flow, flow.bfloat16().float())


# The generator


def test_appearance_is_fused_from_all_pictures_and_posed_as_the_first(tiny: DaeGan) -> None:
    sources = [observation((picture + 1) / 2) for picture in smooth(9, 3, 3, 64, 64)]
    with torch.no_grad():
        code = tiny.encode_appearance(sources)
        assert code.face.shape == (1, 3, 64, 64)
        assert torch.equal(code.structure.pose, tiny.encode_structure(sources[0]).pose)
        turned = tiny.encode_appearance(sources[::-1])
        assert torch.allclose(turned.face, code.face, atol=1e-5)
        assert torch.allclose(turned.features, code.features, atol=1e-3)
        rgb, _ = tiny.decode(code, code.structure)
        whole = tiny.generator(code.face, code.structure.pose)
    assert torch.allclose(rgb * 2 - 1, whole, atol=1e-5)


def test_colours_of_the_face_reach_the_picture(tiny: DaeGan) -> None:
    """An embedded face in other colours makes another picture: no normalisation takes them away."""
    face, code = smooth(10, 1, 3, 64, 64), torch.randn(1, 16, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        plain = tiny.generator(face, code)
        brighter = tiny.generator(0.5 * face + 0.5, code)
    assert float((plain - brighter).abs().mean()) > 0.02


def test_a_face_is_drawn_in_several_poses_as_in_each_alone(tiny: DaeGan) -> None:
    faces, codes = smooth(10, 2, 3, 64, 64), torch.randn(6, 16, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        together = tiny.generator(faces, codes)
        alone = [tiny.generator(faces[row // 3, None], codes[row, None]) for row in range(6)]
    assert torch.allclose(together, torch.cat(alone), atol=1e-4)


@pytest.mark.parametrize("seed", range(3))
def test_random_weights_draw_something_between_black_and_white(seed: int) -> None:
    torch.manual_seed(seed)
    net = DaeGan(layout=Layout(side=64, code=16, width=8, downs=4, blocks=9)).eval()  # as deep as the paper's
    source = observation((smooth(seed, 3, 64, 64) + 1) / 2)
    with torch.no_grad():
        code = net.encode_appearance([source])
        rgb, _ = net.decode(code, code.structure)
    assert float(((rgb < 0.02) | (rgb > 0.98)).float().mean()) < 0.02
    assert float(rgb.std()) > 0.03


def test_a_bfloat16_network_draws_nearly_the_same(tiny: DaeGan) -> None:
    source, driver = (observation((picture + 1) / 2) for picture in smooth(11, 2, 3, 64, 64))
    drawn = []
    with torch.no_grad():
        for net in (tiny, tiny.bfloat16()):
            code, pose = net.encode_appearance([source]), net.encode_structure(driver)
            assert pose.pose.dtype == torch.float32
            moved = net.transfer(pose, code.structure, code, Controls.default())
            drawn.append(net.decode(code, moved)[0])
    assert drawn[1].dtype == torch.float32
    assert float((drawn[0] - drawn[1]).abs().mean()) < 0.02


def test_decode_exports_for_any_batch(tiny: DaeGan) -> None:
    class Decode(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = tiny

        def forward(self, features: Tensor, code: Tensor) -> Tensor:
            return self.net.generator.decode(features, code)

    batch = torch.export.Dim("batch", min=2, max=64)
    features = tiny.generator.encode(smooth(12, 2, 3, 64, 64)).detach()
    program = torch.export.export(
        Decode(), (features, torch.zeros(2, 16)), dynamic_shapes=({0: batch}, {0: batch})
    )
    again = torch.cat((features, features.flip(3), features[:1]))
    codes = torch.randn(5, 16, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected = tiny.generator.decode(again, codes)
        got = program.module(check_guards=False)(again, codes)
    assert torch.allclose(got, expected, atol=1e-4)


def test_an_unknown_size_is_refused() -> None:
    with pytest.raises(ValueError, match="'huge'.*known: paper, light, tiny"):
        DaeGan("huge")


@pytest.mark.parametrize("side", [8, 48, 100])
def test_a_side_that_cannot_be_halved_to_four_is_refused(side: int) -> None:
    with pytest.raises(ValueError, match=f"{side} pixels.*power of two"):
        PoseEmbedder(side)


# Training


def total_variation(flow: Tensor) -> Tensor:
    """Eq. 4, a mean."""
    return flow.diff(dim=-1).abs().mean() + flow.diff(dim=-2).abs().mean()


def embedders_objective(frames: Tensor, posed: Posed, embedded: Embedded, smoothness: float = 1.0) -> Tensor:
    """Eq. 5."""
    rough = total_variation(embedded.flows) + total_variation(posed.flow)
    return (frames - posed.picture).abs().mean() + smoothness * rough


def generator_objective(net: nn.Module, frames: Tensor, drawn: Tensor) -> Tensor:
    """Eq. 6 as the generator sees it: hinge, L1 and feature matching, weights 1."""
    judged, real = net(drawn), net(frames)
    loss = (frames - drawn).abs().mean()
    for features, wanted in zip(judged, real, strict=True):
        loss = loss - features[-1].mean()
        for a, b in zip(features[:-1], wanted[:-1], strict=True):
            loss = loss + (a - b.detach()).abs().mean()
    return loss


def discriminator_objective(net: nn.Module, frames: Tensor, drawn: Tensor) -> Tensor:
    """Eq. 7: hinge."""
    pairs = zip(logits(net(frames)), logits(net(drawn.detach())), strict=True)
    return sum(((1 - real).relu().mean() + (1 + made).relu().mean() for real, made in pairs), torch.zeros(()))


def dead(net: nn.Module, loss: Tensor) -> list[str]:
    """Parameters that the loss does not depend on: in float64, what is left of them is rounding, 1e-16."""
    names, parameters = zip(*net.named_parameters(), strict=True)
    found = torch.autograd.grad(loss, parameters, allow_unused=True)
    scale = max(float(g.abs().max()) for g in found if g is not None)
    return [n for n, g in zip(names, found, strict=True) if g is None or float(g.abs().max()) < 1e-12 * scale]


def test_every_parameter_learns_from_its_stage(tiny: DaeGan) -> None:
    """Section 3.3: the embedders from Eq. 5, generator and discriminator from Eq. 6 and 7."""
    tiny.double()
    for module in tiny.modules():
        if isinstance(module, SelfAttention):
            nn.init.constant_(module.gamma, 0.5)  # it begins at nought: in the second step, then
    frames, others = smooth(13, 2, 3, 64, 64).double(), smooth(14, 2, 3, 3, 64, 64).double()
    embedded = tiny.face(others)
    posed = tiny.pose(frames, embedded.face)
    loss = embedders_objective(frames, posed, embedded)
    assert dead(nn.ModuleList([tiny.face, tiny.pose]), loss) == []
    judge = Discriminator(width=8).double()
    drawn = tiny.generator(embedded.face.detach(), posed.code.detach())
    assert dead(tiny.generator, generator_objective(judge, frames, drawn)) == []
    assert dead(judge, discriminator_objective(judge, frames, drawn)) == []
    stages = {id(p) for part in (tiny.face, tiny.pose, tiny.generator) for p in part.parameters()}
    assert {id(p) for p in tiny.parameters()} == stages


def test_a_parameter_that_learns_nothing_would_be_noticed() -> None:
    """pix2pixHD's own biases in front of a normalisation are such."""
    block = ResidualBlock(4).double()
    assert dead(block, block(torch.rand(1, 4, 8, 8).double()).square().mean()) == [
        "conv_block.1.bias",
        "conv_block.5.bias",
    ]


# Parity with pix2pixHD


def test_pix2pixhd_s_blocks_compute_what_the_originals_compute() -> None:
    found = rows(shared_folder("golden/public"))
    assert {name.partition(":")[0] for name, *_ in found} == {"p2phd_g", "p2phd_d"}
    assert len(found) == 8 + 10
    assert [row for row in found if not row[1]] == []


# What a small one learns from eight pictures


def disguised(frames: Tensor, seed: torch.Generator) -> Tensor:
    """Most of them in colours that tell nothing of who it is: eight pictures teach a pose code that by
    themselves, for learning them by heart is easier. A data set's thousands of people need no such help.
    """
    mixed = torch.einsum("bij,bjhw->bihw", torch.randn(len(frames), 3, 3, generator=seed), frames)
    mixed = mixed - mixed.mean((2, 3), keepdim=True)
    mixed = mixed / mixed.abs().amax((1, 2, 3), keepdim=True)
    contrast = 0.5 + 0.7 * torch.rand(len(frames), 1, 1, 1, generator=seed)
    mixed = contrast * mixed + 0.2 * torch.randn(len(frames), 3, 1, 1, generator=seed)
    return torch.where(torch.rand(len(frames), 1, 1, 1, generator=seed) < 0.25, frames, mixed)


def learn(net: DaeGan, pictures: Tensor, first: int, second: int) -> None:
    """The two stages of section 3.3, of so many steps; the second without a discriminator. pictures: people
    × poses × 3×S×S in [−1, 1].
    """
    seed = torch.Generator().manual_seed(0)
    people, poses = pictures.shape[:2]
    frames = pictures.flatten(0, 1)
    # A flow's step from cell to cell is larger where there are fewer cells: λ_S is 1 at the paper's side.
    smoothness = pictures.shape[-1] / PAPER_SIDE

    def some() -> Tensor:
        """One to all of each person's pictures."""
        count = int(torch.randint(1, poses + 1, (), generator=seed))
        return pictures[:, torch.randperm(poses, generator=seed)[:count]]

    def run(parameters: list[nn.Parameter], steps: int, objective: Any) -> None:
        optimizer = torch.optim.Adam(parameters, 2e-3, betas=(0.5, 0.99))
        schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.01, steps)
        for _ in range(steps):
            optimizer.zero_grad()
            objective().backward()
            optimizer.step()
            schedule.step()

    def embedding() -> Tensor:
        embedded = net.face(some())
        code = net.pose.encode(disguised(frames, seed))
        flow, low, high = net.pose.decode(code)
        drawn = redraw(embedded.face.repeat_interleave(poses, 0), flow, low, high)
        return embedders_objective(frames, Posed(drawn, flow, code), embedded, smoothness)

    def generation() -> Tensor:
        with torch.no_grad():
            face = net.face(some()).face.repeat_interleave(poses, 0)
            code = net.pose.encode(disguised(frames, seed))
        return (net.generator(face, code) - frames).abs().mean()

    run([*net.face.parameters(), *net.pose.parameters()], first, embedding)
    run([*net.generator.parameters()], second, generation)


def test_it_learns_eight_pictures_and_parts_the_people_from_the_poses(tiny: DaeGan) -> None:
    people = [observed(looks, TRACKS[0], tiny.spec.source) for looks in PEOPLE]
    pictures = torch.stack([one.image for one in people])
    learn(tiny.train(), pictures * 2 - 1, first=350, second=300)
    tiny.eval()
    every, count = pictures.flatten(0, 1), len(POSES)
    with torch.inference_mode():
        codes = [tiny.encode_structure(one) for one in people]
        for person, seen in enumerate(people):
            sources = [map_code(operator.itemgetter(slice(row, row + 1)), seen) for row in range(count)]
            for given in (sources, sources[:1]):  # all of a person's pictures, and one
                appearance = tiny.encode_appearance(given)
                learnt, _ = tiny.decode(appearance, codes[person])
                assert float(psnr(learnt, seen.image).min()) >= 25
                # The other's pose codes: this person, in the other's poses, and in none of their own.
                swapped, _ = tiny.decode(appearance, codes[1 - person])
                for pose, drawn in enumerate(swapped):
                    like, margin = stands_out(drawn, every, person * count + pose)
                    assert like > 22
                    assert margin > 4
        # Relative: from the other's first pose to a second is, from this one's first pose, this one's second.
        first, second = (Structure(codes[1].pose[row : row + 1]) for row in range(2))
        appearance = tiny.encode_appearance([map_code(operator.itemgetter(slice(0, 1)), people[0])])
        moved, _ = tiny.decode(appearance, tiny.transfer(second, first, appearance, Controls.default()))
        assert int(psnr(moved.expand_as(every), every).argmax()) == 1
        # Figure 8: the nearest pose of the other person is the same pose.
        mine, theirs = (F.normalize(code.pose) for code in codes)
        assert (mine @ theirs.T).argmax(1).tolist() == list(range(count))
        # Figure 7: one frame's embedded face is like another's, far more than the frames are.
        faces = tiny.face(every[:, None] * 2 - 1).face.view(2, count, -1)
        frames = (pictures * 2 - 1).flatten(2)
        spread, apart = ((x - x.mean(1, keepdim=True)).abs().mean() for x in (faces, frames))
        assert float(spread) < 0.5 * float(apart)
