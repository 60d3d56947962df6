"""The Implicit Motion Function: the paper's figures, its attention against plain loops, what it learns."""

import math
import operator
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise, product

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from models import registry
from models.contract import Controls, Observation, cat_codes, map_code
from models.imf import Discriminator, Imf
from models.imf.alignment import Alignment, Positions, align, picture, places
from models.imf.encoders import FeatureEncoder, TokenEncoder
from models.imf.generator import Appearance
from models.imf.motion import MotionDecoder
from models.imf.shape import SHAPES, Shape
from tests.material import TRACKS
from tests.models.little_people import PEOPLE, POSES, observed, psnr, stands_out

NARROW = Shape(  # the paper's arrangement, where widths and depths do not matter
    side=64,
    token=6,
    encoder=(8, 8, 16, 16, 16),
    features=(8, 8, 8, 16, 16, 16),
    motion=(16, 16, 16, 16, 16),
    decoder=(16, 16, 16, 8, 8),
    blocks=1,
    heads=(2, 2, 2, 2),
    growth=2,
)
NARROW_LIGHT = replace(NARROW, motion=NARROW.motion[:-1])
LEARNER = replace(  # as wide as a few pictures take
    NARROW,
    token=8,
    encoder=(16, 16, 32, 32, 32),
    features=(16, 16, 16, 32, 32, 32),
    motion=(32, 32, 32, 32, 32),
    decoder=(32, 32, 32, 16, 16),
)
ARRANGEMENTS = pytest.mark.parametrize("shape", [NARROW, NARROW_LIGHT], ids=["paper", "light"])


def observation(picture: Tensor) -> Observation:
    batch = picture.shape[0]
    return Observation(picture, None, torch.zeros(batch, 2, 3), torch.ones(batch, dtype=torch.bool))


def pictures(count: int, side: int = 64, seed: int = 0) -> Tensor:
    return torch.rand(count, 3, side, side, generator=torch.Generator().manual_seed(seed))


def network(shape: Shape, seed: int = 0) -> Imf:
    """With noise in its motion, as after training; it begins without."""
    torch.manual_seed(seed)
    net = Imf("paper", shape).eval()
    with torch.no_grad():
        for name, parameter in net.motion.named_parameters():
            if name.endswith("noise.weight"):
                parameter.fill_(0.1)
    return net


def appearances(net: Imf, sources: Tensor) -> Appearance:
    return cat_codes([net.encode_appearance([observation(source[None])]) for source in sources])


@pytest.fixture(params=["paper", "light"])
def on_paper(request: pytest.FixtureRequest) -> Iterator[Imf]:
    """A network without numbers: shapes only."""
    with torch.device("meta"), torch.no_grad():
        yield registry.make(f"imf:{request.param}")


# The paper's figures (supplement, section 3 and Figure 1)


def test_the_token_encoder_ends_at_4x4_and_32_numbers() -> None:
    seen: list[tuple[int, ...]] = []
    with torch.device("meta"):
        encoder = TokenEncoder(SHAPES["paper"])
        for module in (*encoder.blocks, encoder.whole, *encoder.perceptron):
            module.register_forward_hook(lambda _, __, out: seen.append(tuple(out.shape[1:])))
        encoder(torch.empty(2, 3, 256, 256))
    widths = (64, 128, 256, 512, 512, 512)
    assert seen[:7] == [(64, 256, 256)] + [(c, 128 >> i, 128 >> i) for i, c in enumerate(widths)]
    assert seen[6] == (512, 4, 4)
    assert seen[7:] == [(512, 1, 1), *[(512,)] * 4, (32,)]


def test_the_features_are_as_wide_as_the_paper_has_them() -> None:
    with torch.device("meta"):
        levels = FeatureEncoder(SHAPES["paper"])(torch.empty(2, 3, 256, 256))
    assert [tuple(f.shape) for f in levels] == [
        (2, 128, 64, 64),
        (2, 256, 32, 32),
        (2, 512, 16, 16),
        (2, 512, 8, 8),
    ]


def test_the_motion_maps_are_as_wide_as_the_paper_has_them() -> None:
    with torch.device("meta"):
        decoder = MotionDecoder(SHAPES["paper"])
        maps = decoder(torch.empty(2, 32))
    assert tuple(decoder.constant.shape) == (1, 512, 4, 4)
    assert [tuple(m.shape) for m in maps] == [
        (2, 256, 64, 64),
        (2, 512, 32, 32),
        (2, 512, 16, 16),
        (2, 512, 8, 8),
    ]


@pytest.mark.parametrize("size", SHAPES)
def test_motion_begins_as_strong_at_every_size(size: str) -> None:
    """Next to positions, which are, a weaker one would not be heard."""
    torch.manual_seed(0)
    decoder = MotionDecoder(SHAPES[size])
    with torch.no_grad():
        for maps in decoder(torch.randn(8, 32)):
            assert 0.2 < float(maps.std()) < 2


def test_values_are_brought_to_the_motion_maps_width_and_four_blocks_refine_them() -> None:
    with torch.device("meta"):
        net = Imf("paper")
    for alignment, features, width in zip(
        net.alignments, (128, 256, 512, 512), (256, 512, 512, 512), strict=True
    ):
        assert alignment.value.in_features == features
        assert alignment.value.out_features == width
        assert len(alignment.blocks) == 4
        for block in alignment.blocks:
            assert block.heads == 8
            assert block.mlp[0].out_features == 4 * width


def test_the_frame_decoder_is_the_papers() -> None:
    seen: list[tuple[int, ...]] = []
    with torch.device("meta"):
        net = Imf("paper")
        for module in (*net.frame.ups, *(block for level in net.frame.blocks for block in level)):
            module.register_forward_hook(lambda _, __, out: seen.append(tuple(out.shape[1:])))
        widths = ((256, 64), (512, 32), (512, 16), (512, 8))
        rgb = net.frame([torch.empty(1, c, side, side) for c, side in widths])
    expected = [(512, 16)] * 4 + [(512, 32)] * 4 + [(256, 64)] * 4 + [(128, 128), (64, 256)]
    assert seen == [(c, side, side) for c, side in expected]
    assert tuple(rgb.shape) == (1, 3, 256, 256)


def test_the_discriminator_is_the_papers() -> None:
    with torch.device("meta"):
        found = Discriminator()(torch.empty(2, 3, 256, 256))
    full = [(64, 128), (128, 64), (256, 32), (512, 16), (1, 16)]
    assert len(found) == 2
    for index, scale in enumerate(found):
        assert [tuple(x.shape) for x in scale] == [(2, c, side >> index, side >> index) for c, side in full]


def test_the_discriminators_layers_are_spectrally_and_instance_normalised() -> None:
    torch.manual_seed(0)
    net = Discriminator((8, 16, 16, 16))
    for _ in range(100):  # each pass in training brings the estimate of the largest singular value nearer
        net(pictures(2))
    with torch.no_grad():
        found = net.eval()(pictures(2))
    for scale, features in zip(net.scales, found, strict=True):
        for conv in (*scale.convs, scale.head):
            largest = torch.linalg.matrix_norm(conv.weight.detach().flatten(1), 2)
            assert float(largest) == pytest.approx(1, abs=0.01)
        for x in features[1:4]:
            before = torch.where(x < 0, x / 0.2, x)
            assert torch.allclose(before.mean((2, 3)), torch.zeros(2, 16), atol=1e-5)
        assert float(features[0].mean((2, 3)).abs().max()) > 1e-3
    a, b = (scale.convs[1].weight for scale in net.scales)
    assert not torch.equal(a, b)


# The two sizes


def flops_of_a_frame(net: Imf) -> int:
    """Multiplications and additions of `decode`; on the reference path of attention, which is counted."""
    net.requires_grad_(False)
    with torch.device("meta"), sdpa_kernel(SDPBackend.MATH):
        appearance = net.encode_appearance([observation(torch.empty(1, 3, 256, 256))])
        with FlopCounterMode(display=False) as counter:
            net.decode(appearance, appearance.structure)
    return counter.get_total_flops()


def test_light_is_light() -> None:
    with torch.device("meta"):
        net = Imf("light")
    assert sum(parameter.numel() for parameter in net.parameters()) <= 30e6
    assert flops_of_a_frame(net) <= 2 * 30e9


@pytest.mark.parametrize(("size", "most"), [("paper", 64), ("light", 32)])
def test_how_many_places_attend(size: str, most: int, monkeypatch: pytest.MonkeyPatch) -> None:
    attended: list[int] = []
    real = F.scaled_dot_product_attention

    def counted(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        attended.append(query.shape[-2])
        return real(query, key, value)

    monkeypatch.setattr(F, "scaled_dot_product_attention", counted)
    with torch.device("meta"):
        flops_of_a_frame(Imf(size))
    assert max(attended) == most**2


def test_an_unknown_size_is_refused() -> None:
    with pytest.raises(ValueError, match="paper, light, tiny"):
        Imf("huge")


def test_a_size_says_what_it_is(on_paper: Imf) -> None:
    assert registry.make("imf:" + on_paper.spec.size).spec == on_paper.spec
    assert on_paper.spec.sizes == ("paper", "light", "tiny")
    assert on_paper.spec.source.size == on_paper.spec.driving.size == 256


def test_codes_are_what_the_paper_keeps(on_paper: Imf) -> None:
    """A token of 32, and of a source f¹…f⁴ and a key for each of their places that attends."""
    with torch.device("meta"):
        seen = observation(torch.empty(1, 3, 256, 256))
        appearance, structure = on_paper.encode_appearance([seen]), on_paper.encode_structure(seen)
    assert structure.token.shape == appearance.structure.token.shape == (1, 32)
    sides = (64, 32, 16, 8)
    assert [f.shape[2:] for f in appearance.features] == [(side, side) for side in sides]
    for feature, key in zip(appearance.features, appearance.keys, strict=True):
        if key is None:
            assert on_paper.spec.size == "light"
            assert feature is appearance.features.f1
        else:
            assert key.shape == (1, feature.shape[2] * feature.shape[3], feature.shape[1])


# Alignment


def naive(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """Equation 5, place by place."""
    rows = []
    for queries, keys, values in zip(query.tolist(), key.tolist(), value, strict=True):
        for one in queries:
            scores = [sum(map(operator.mul, one, other)) / math.sqrt(len(one)) for other in keys]
            weights = [math.exp(score - max(scores)) for score in scores]
            rows.append(sum(w / sum(weights) * v for w, v in zip(weights, values, strict=True)))
    return torch.stack(rows).view(*query.shape[:2], -1)


def test_alignment_is_the_papers_equation() -> None:
    torch.manual_seed(0)
    query, key, value = torch.randn(2, 9, 4) * 2, torch.randn(2, 9, 4) * 2, torch.randn(2, 9, 5)
    assert torch.allclose(align(query, key, value), naive(query, key, value), atol=1e-5)


def test_a_level_is_aligned_by_the_drivers_queries_and_the_sources_keys() -> None:
    """With values that are projected before they are weighted, as the paper has it."""
    torch.manual_seed(0)
    level = Alignment(width=8, features=4, side=3, blocks=0, heads=2, growth=2)
    nn.init.normal_(level.query.weight)
    nn.init.normal_(level.key.weight)
    driver, source = torch.randn(2, 8, 3, 3), torch.randn(2, 8, 3, 3)
    features = torch.randn(2, 4, 3, 3)
    with torch.no_grad():
        found, along = level(driver, level.keys(source), features)
        positions = level.positions()
        query = (driver + positions).flatten(2).transpose(1, 2) @ level.query.weight.T
        key = (source + positions).flatten(2).transpose(1, 2) @ level.key.weight.T
        value = level.value(features.flatten(2).transpose(1, 2))
        expected = naive(query, key, value).transpose(1, 2).reshape(2, 8, 3, 3) + positions
    assert torch.allclose(found, expected, atol=1e-5)
    assert along.shape == (2, 0, 3, 3)


def test_light_takes_the_finest_features_along_with_the_attention_below_them() -> None:
    """Each pixel of f¹ moves as the place of level 2 that it lies in."""
    net = network(NARROW_LIGHT)
    a, b = pictures(1), pictures(1, seed=1)
    with torch.no_grad():
        appearance = net.encode_appearance([observation(a)])
        structure = net.encode_structure(observation(b))
        found = net.aligned(appearance, structure)[0]
        level = net.alignments[0]
        query = level.query(places(net.motion(structure.token)[0] + level.positions()))
        f1, side = appearance.features.f1, appearance.features.f2.shape[2]
        for dy in range(2):
            for dx in range(2):
                expected = naive(query, appearance.keys.k2, places(f1[:, :, dy::2, dx::2]))
                moved = found[:, :, dy::2, dx::2]
                assert torch.allclose(moved, picture(expected, side), atol=1e-5)


def test_a_place_begins_by_looking_for_itself() -> None:
    """A source in its own pose begins as itself, more or less, and not as the mean of its places."""
    torch.manual_seed(0)
    level = Alignment(width=64, features=64, side=16, blocks=0, heads=2, growth=2)
    motion = torch.randn(1, 64, 16, 16)
    values = torch.eye(256).view(1, 256, 16, 16)  # one channel for each place: what comes out is the weights
    with torch.no_grad():
        query = level.query(places(motion + level.positions()))
        weights = align(query, level.keys(motion), places(values))[0]
    assert torch.equal(weights.argmax(1), torch.arange(256))


def test_positions_are_learned_and_tell_rows_and_columns() -> None:
    positions = Positions(8, 5)
    assert {name for name, _ in positions.named_parameters()} == {"rows", "columns"}
    grid = positions()[0].detach()  # C×H×W
    assert grid.shape == (8, 5, 5)
    assert torch.equal(grid[:4], grid[:4, :, :1].expand(-1, -1, 5))
    assert torch.equal(grid[4:], grid[4:, :1].expand(-1, 5, -1))
    vectors = grid.flatten(1).T
    assert float((torch.cdist(vectors, vectors) + torch.eye(25)).min()) > 0.1
    with torch.no_grad():
        positions.rows[0, 0, 3, 0] += 1
    assert torch.equal(
        (positions()[0].detach() != grid).nonzero(), torch.tensor([[0, 3, column] for column in range(5)])
    )


# The whole


@ARRANGEMENTS
def test_nothing_depends_on_the_place_in_the_batch(shape: Shape) -> None:
    net = network(shape)
    sources, drivers = pictures(3), pictures(3, seed=1)
    order = torch.tensor([2, 0, 1])
    with torch.no_grad():
        appearance = appearances(net, sources)
        structure = net.encode_structure(observation(drivers))
        rgb, alpha = net.decode(appearance, structure)
        shuffled = map_code(lambda tensor: tensor[order], appearance)
        turned, _ = net.decode(shuffled, map_code(lambda tensor: tensor[order], structure))
    assert torch.allclose(turned, rgb[order], atol=1e-5)
    assert float((rgb[0] - rgb[1]).abs().mean()) > 1e-3
    assert alpha.shape == (3, 1, 64, 64)


@ARRANGEMENTS
def test_what_is_cached_gives_what_is_not(shape: Shape) -> None:
    """Everything anew from the two pictures, in the paper's order: f projected first, weighted then."""
    net = network(shape)
    source, driver = pictures(2), pictures(2, seed=1)
    with torch.no_grad():
        rgb, _ = net.decode(appearances(net, source), net.encode_structure(observation(driver)))
        features = net.features(source * 2 - 1)
        of_source, of_driver = (net.motion(net.token(x * 2 - 1)) for x in (source, driver))
        levels = []
        for index, level in enumerate(net.alignments):
            at = index + shape.finest - 1
            positions = level.positions()
            query = level.query(places(of_driver[index] + positions))
            key = level.key(places(of_source[index] + positions))
            weights = torch.softmax(query @ key.transpose(1, 2) / math.sqrt(key.shape[2]), 2)
            if at == 1 and index == 0:
                levels.append(
                    F.pixel_shuffle(
                        picture(weights @ places(F.pixel_unshuffle(features[0], 2)), features[1].shape[2]), 2
                    )
                )
            x = weights @ level.value(places(features[at])) + places(positions)
            levels.append(picture(level.blocks(x), features[at].shape[2]))
        expected = net.frame(levels)
    assert torch.allclose(rgb, expected, atol=1e-5)


def test_the_picture_is_a_sigmoid() -> None:
    """And neither clamped nor normalised after it."""
    net, seen = network(NARROW), []
    net.frame.last.register_forward_hook(lambda _, __, out: seen.append(out))
    with torch.no_grad():
        net.frame.last.weight *= 50
        appearance = net.encode_appearance([observation(pictures(1))])
        rgb, _ = net.decode(appearance, appearance.structure)
    assert float(seen[0].abs().max()) > 3
    assert torch.equal(rgb, 1 / (1 + (-seen[0]).exp())) or torch.allclose(rgb, torch.sigmoid(seen[0]))


@pytest.mark.parametrize("size", ["light"])
def test_untrained_pictures_are_neither_flat_nor_saturated(size: str) -> None:
    torch.manual_seed(0)
    net = registry.make(f"imf:{size}").eval()
    with torch.inference_mode():
        appearance = net.encode_appearance([observation(pictures(1, 256))])
        rgb, _ = net.decode(appearance, appearance.structure)
    assert float(rgb.std()) > 0.02
    assert 0.02 < float(rgb.min()) < float(rgb.max()) < 0.98


def test_alpha_fades_at_the_border_only() -> None:
    alpha = network(NARROW).alpha[0, 0]
    edge = math.ceil(0.03 * 64)
    assert torch.equal(alpha[edge:-edge, edge:-edge], torch.ones(64 - 2 * edge, 64 - 2 * edge))
    assert float(alpha[0].max()) < 0.5
    assert all(float(a) <= float(b) for a, b in pairwise(alpha[32, :32]))
    assert torch.equal(alpha, alpha.flip(0))
    assert torch.equal(alpha, alpha.T)


def test_an_absolute_driver_is_drawn_as_he_is() -> None:
    net = network(NARROW)
    with torch.no_grad():
        appearance = net.encode_appearance([observation(pictures(1))])
        driver, rest = (net.encode_structure(observation(pictures(1, seed=s))) for s in (1, 2))
        moved = net.transfer(driver, rest, appearance, Controls.default(relative=0.0))
    assert torch.allclose(moved.token, driver.token, atol=1e-6)


def test_motion_follows_the_token_alone() -> None:
    net = network(NARROW)
    a, b = torch.randn(1, 6), torch.randn(1, 6)
    with torch.no_grad():
        for first, same, other in zip(net.motion(a), net.motion(a), net.motion(b), strict=True):
            assert torch.equal(first, same)
            assert float((first - other).abs().mean()) > 0.01


def test_tokens_stay_float32_where_the_network_is_bfloat16() -> None:
    """Their differences are the motion, and bfloat16 keeps two digits of them."""
    net = network(NARROW)
    source, driver = observation(pictures(1)), observation(pictures(1, seed=1))
    with torch.no_grad():
        plain, _ = net.decode(net.encode_appearance([source]), net.encode_structure(driver))
        net.bfloat16()
        structure = net.encode_structure(driver)
        halved, alpha = net.decode(net.encode_appearance([source]), structure)
    assert structure.token.dtype == halved.dtype == alpha.dtype == torch.float32
    assert float((plain - halved).abs().mean()) < 0.01


# Training


def hinge(found: list[list[Tensor]], sign: float) -> Tensor:
    """Equation 3's discriminator terms: real (sign 1) or made (−1), over all scales."""
    return torch.stack([F.relu(1 - sign * scale[-1]).mean() for scale in found]).sum()


@ARRANGEMENTS
def test_gradients_reach_every_parameter(shape: Shape) -> None:
    """Through L1, the hinge loss on both sides, and matched features."""
    torch.manual_seed(0)
    net, judge = Imf("paper", shape), Discriminator((8, 16, 16, 16))
    source, target = pictures(2), pictures(2, seed=1)
    structure = net.encode_structure(observation(target))
    rgb, _ = net.decode(net.encode_appearance([observation(source)]), structure)
    real, made = judge(target), judge(rgb)
    matched = torch.stack(
        [
            F.l1_loss(a, b.detach())
            for x, y in zip(made, real, strict=True)
            for a, b in zip(x[:-1], y[:-1], strict=True)
        ]
    ).mean()
    adversarial = -torch.stack([scale[-1].mean() for scale in made]).sum()
    (10 * F.l1_loss(rgb, target) + adversarial + matched).backward()
    for name, parameter in net.named_parameters():
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name
        assert float(parameter.grad.abs().max()) > 0, name
    judge.zero_grad()
    with torch.no_grad():  # while every patch is inside the margin, the two terms' pulls on the bias cancel
        for scale in judge.scales:
            scale.head.bias.fill_(0.9)
    (hinge(judge(target), 1) + hinge(judge(rgb.detach()), -1)).backward()
    for name, parameter in judge.named_parameters():
        assert parameter.grad is not None, name
        assert float(parameter.grad.abs().max()) > 0, name


def disguised(frames: Tensor, most: float, seed: torch.Generator) -> Tensor:
    """In colours more or less not their own, up to `most`, from 0 to 1. Eight pictures would teach the token
    who it is, for learning them by heart is easier; a data set's thousands of people need no such help.
    """
    count = len(frames)
    amount = most * torch.rand(count, 1, 1, generator=seed)
    mixing = torch.lerp(torch.eye(3).expand(count, 3, 3), torch.randn(count, 3, 3, generator=seed), amount)
    tint = 0.3 * amount.unsqueeze(3) * torch.randn(count, 3, 1, 1, generator=seed)
    return 0.5 + torch.einsum("bij,bjhw->bihw", mixing, frames - 0.5) + tint


def learn(net: Imf, people: Tensor, steps: int) -> None:
    """Each picture, from any one of its person's and itself as driver. people: people × poses × 3×S×S."""
    with torch.no_grad():  # so narrow an encoder makes weak tokens
        net.motion.constant.mul_(30 / 16)
        net.token.perceptron[-1].weight.mul_(5)
    frames, poses = people.flatten(0, 1), people.shape[1]
    first = torch.arange(len(people)).repeat_interleave(poses) * poses
    seed = torch.Generator().manual_seed(0)
    encoder = [*net.token.parameters()]  # of equalised rates, by which weights of one change least
    others = [one for name, one in net.named_parameters() if not name.startswith("token.")]
    optimizer = torch.optim.Adam(
        [{"params": others, "lr": 3e-3}, {"params": encoder, "lr": 1.2e-2}], betas=(0.9, 0.99)
    )
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: min(1, (step + 1) / 20, (steps - step) / (0.3 * steps))
    )
    for step in range(steps):
        sources = frames[first + torch.randint(poses, first.shape, generator=seed)]
        # First that there is motion, then that it is all there is in the token; at last, plain pictures.
        most = max(0.0, min(1, (step - 60) / 120, (steps - step) / (0.15 * steps)))
        structure = net.encode_structure(observation(disguised(frames, most, seed)))
        drawn, _ = net.decode(net.encode_appearance([observation(sources)]), structure)
        optimizer.zero_grad()
        (F.l1_loss(drawn, frames) + 5 * F.mse_loss(drawn, frames)).backward()
        nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimizer.step()
        schedule.step()


@pytest.mark.slow
@pytest.mark.parametrize(("levels", "steps"), [(4, 900), (3, 600)], ids=["paper", "light"])
def test_it_learns_eight_pictures_and_parts_the_people_from_their_motion(levels: int, steps: int) -> None:
    torch.manual_seed(0)
    net = Imf("paper", replace(LEARNER, motion=LEARNER.motion[: 1 + levels]))
    seen = [observed(looks, TRACKS[0], net.spec.source) for looks in PEOPLE]
    people = torch.stack([one.image for one in seen])
    learn(net.train(), people, steps)

    net.eval()
    every, count = people.flatten(0, 1), len(POSES)
    with torch.inference_mode():
        codes = [net.encode_structure(one) for one in seen]
        for person, pose in product(range(len(seen)), range(count)):
            source = map_code(operator.itemgetter(slice(pose, pose + 1)), seen[person])
            appearance = net.encode_appearance([source])
            batch = map_code(lambda tensor: tensor.expand(count, *tensor.shape[1:]), appearance)
            learnt, _ = net.decode(batch, codes[person])
            assert float(psnr(learnt, people[person]).min()) >= 25
            # With the other's motion: this person as they never were drawn by it, and in no other pose.
            swapped, _ = net.decode(batch, codes[1 - person])
            for driver, drawn in enumerate(swapped):
                like, margin = stands_out(drawn, every, person * count + driver)
                assert like > 22
                assert margin > 4
        # Relative: from the other's first pose to their second is, from this one's first, this one's second.
        first, second = (map_code(operator.itemgetter(slice(row, row + 1)), codes[1]) for row in range(2))
        appearance = net.encode_appearance([map_code(operator.itemgetter(slice(0, 1)), seen[0])])
        moved, _ = net.decode(appearance, net.transfer(second, first, appearance, Controls.default()))
        assert int(psnr(moved.expand_as(every), every).argmax()) == 1


MEASURE = """
from pathlib import Path

import torch
from models import registry
from models.contract import Observation


def peak() -> int:  # bytes; getrusage's would be the parent's, where that is higher
    status = Path("/proc/self/status").read_text()
    return 1024 * int(status.split("VmHWM:")[1].split()[0])


torch.set_num_threads(1)
before = peak()
net = registry.make("imf:paper").eval()
seen = Observation(torch.rand(1, 3, 256, 256), None, torch.zeros(1, 2, 3), torch.ones(1, dtype=torch.bool))
with torch.inference_mode():
    appearance = net.encode_appearance([seen])
    net.decode(appearance, net.encode_structure(seen))
print(peak() - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc/self/status")
def test_the_papers_size_fits_in_a_gigabyte_and_a_half() -> None:
    """Parameters included: a portrait and a frame, batch 1, float32 on the CPU."""
    done = subprocess.run([sys.executable, "-c", MEASURE], capture_output=True, text=True, check=True)
    parameters = 4 * 128e6
    assert parameters < int(done.stdout) < 1.5e9
