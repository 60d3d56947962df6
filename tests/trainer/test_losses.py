"""Each loss against figures worked out by hand, its gradient against differences, and what holds of it."""

import math
from collections.abc import Callable, Mapping, Sequence

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd import gradcheck

from models.pix2pixhd import MultiscaleDiscriminator
from models.vgg import Vgg19
from trainer import losses


def noise(seed: int, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def variable(seed: int, *shape: int) -> Tensor:
    return noise(seed, *shape).requires_grad_()


def row(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float32)


def kassapis(seed: int) -> dict[str, Tensor]:
    """Features of every layer that the paper names, small."""
    layers = (*losses.FEATURES, losses.IDENTITY)
    return {layer: noise(seed + index, 2, 3, 2, 2) for index, layer in enumerate(layers)}


def flat_features(value: float = 0.0) -> dict[str, Tensor]:
    return {layer: torch.full((1, 2, 1, 2), value) for layer in (*losses.FEATURES, losses.IDENTITY)}


def passes(loss: Callable[..., Tensor], *inputs: Tensor) -> None:
    """The gradient is what differences say, and it is one: not nought, as of a loss that is cut off."""
    assert loss(*inputs).shape == ()
    for slope in torch.autograd.grad(loss(*inputs), inputs):
        assert slope.abs().max() > 0
    assert gradcheck(loss, inputs)


# Pictures


def test_l1_by_hand() -> None:
    drawn, truth = row(0, 2, 4, -1).view(1, 1, 2, 2), row(1, 2, 1, 1).view(1, 1, 2, 2)
    assert losses.l1(drawn, truth).item() == pytest.approx((1 + 0 + 3 + 2) / 4)


def test_squared_l2_by_hand() -> None:
    drawn, truth = row(0, 2, 4, -1).view(1, 1, 2, 2), row(1, 2, 1, 1).view(1, 1, 2, 2)
    assert losses.squared_l2(drawn, truth).item() == pytest.approx((1 + 0 + 9 + 4) / 4)


def test_squared_l2_is_each_pictures_norm_over_its_values() -> None:
    drawn, truth = noise(0, 3, 2, 4, 5), noise(1, 3, 2, 4, 5)
    norms = torch.linalg.vector_norm((drawn - truth).flatten(1), dim=1) ** 2
    assert losses.squared_l2(drawn, truth).item() == pytest.approx(float(norms.mean()) / (2 * 4 * 5))


def test_shapes_that_differ_are_not_stretched() -> None:
    for loss in (losses.l1, losses.squared_l2):
        with pytest.raises(AssertionError):
            loss(torch.zeros(2, 3, 4, 4), torch.zeros(2, 1, 4, 4))


def test_total_variation_by_hand() -> None:
    flow = torch.zeros(1, 2, 2, 3)
    flow[0, 0] = torch.tensor([[0.0, 1.0, 3.0], [0.0, 0.0, 0.0]])
    # Along rows 1, 2, 0, 0 and four noughts in the other component; along columns 0, 1, 3 and three noughts.
    assert losses.total_variation(flow).item() == pytest.approx(3 / 8 + 4 / 6)


def test_total_variation_of_a_shift_is_nought_and_of_a_slope_its_step() -> None:
    assert losses.total_variation(torch.full((2, 3, 2, 8, 8), 0.3)).item() == 0
    slope = (0.25 * torch.arange(8.0)).expand(2, 2, 5, 8)
    assert losses.total_variation(slope).item() == pytest.approx(0.25)
    assert losses.total_variation(slope.mT).item() == pytest.approx(0.25)


def test_gradients_of_picture_losses() -> None:
    for loss in (losses.l1, losses.squared_l2):
        passes(loss, variable(0, 2, 3, 3, 4), variable(1, 2, 3, 3, 4))
    passes(losses.total_variation, variable(2, 2, 2, 2, 4, 3))


# What VGG sees in them


def test_perceptual_adds_layers_of_any_size_alike() -> None:
    drawn = {"relu1_1": torch.ones(2, 3, 4, 4), "relu2_1": torch.zeros(2, 5, 2, 2)}
    truth = {"relu1_1": torch.zeros(2, 3, 4, 4), "relu2_1": torch.full((2, 5, 2, 2), 3.0)}
    assert losses.perceptual(drawn, truth).item() == pytest.approx(1 + 3)


def shallow(picture: Tensor, layers: Sequence[str]) -> Mapping[str, Tensor]:
    """In place of VGG: the picture and its square, so that sums can be done by hand."""
    return {layer: picture ** (1 + index) for index, layer in enumerate(layers)}


def test_multiscale_perceptual_by_hand() -> None:
    # At 32² a picture of 2 beside one of 1: |2 − 1| + |4 − 1|. At 16² the same again; 8² is too small.
    drawn, truth = torch.full((2, 3, 32, 32), 2.0), torch.ones(2, 3, 32, 32)
    found = losses.multiscale_perceptual(shallow, drawn, truth, layers=("first", "second"))
    assert found.item() == pytest.approx(2 * (1 + 3))


@pytest.mark.parametrize(
    ("side", "sizes"),
    [(16, [16]), (31, [31]), (64, [64, 32, 16]), (128, [128, 64, 32, 16]), (256, [256, 128, 64, 32])],
)
def test_multiscale_perceptual_looks_at_four_sizes_while_they_are_not_too_small(
    side: int, sizes: list[int]
) -> None:
    seen = []

    def watching(picture: Tensor, layers: Sequence[str]) -> Mapping[str, Tensor]:
        seen.append(picture.shape[-1])
        return shallow(picture, layers)

    losses.multiscale_perceptual(watching, torch.zeros(1, 3, side, side), torch.ones(1, 3, side, side))
    assert seen == [size for size in sizes for _ in range(2)]


def test_multiscale_perceptual_refuses_what_is_too_small_at_once() -> None:
    with pytest.raises(ValueError, match=r"^pictures of 64×15 are too small .*16 pixels or more$"):
        losses.multiscale_perceptual(shallow, torch.zeros(1, 3, 64, 15), torch.zeros(1, 3, 64, 15))


def test_halvings_don_t_alias() -> None:
    checks = (torch.arange(32)[:, None] + torch.arange(32)) % 2 * 1.0
    drawn, truth = checks.expand(1, 3, 32, 32), torch.full((1, 3, 32, 32), 0.5)
    # At half the size the checks are as grey as the truth.
    both = losses.multiscale_perceptual(shallow, drawn, truth, 2, ("first",))
    assert both.item() == pytest.approx(0.5)


def test_multiscale_perceptual_of_vgg() -> None:
    torch.manual_seed(0)
    vgg = Vgg19()
    truth = torch.rand(2, 3, 64, 64)
    drawn = (truth + 0.1 * torch.rand(2, 3, 64, 64)).requires_grad_()
    watched = truth.clone().requires_grad_()
    loss = losses.multiscale_perceptual(vgg, drawn, watched)
    (slope,) = torch.autograd.grad(loss, drawn)
    assert loss.dtype == torch.float32
    assert slope.isfinite().all()
    assert slope.abs().flatten(1).amax(1).min() > 0
    with pytest.raises(RuntimeError, match="unused"):
        torch.autograd.grad(losses.multiscale_perceptual(vgg, drawn, watched), watched)
    nearer = truth + (drawn.detach() - truth) / 10
    assert losses.multiscale_perceptual(vgg, nearer, truth) < loss / 2
    assert losses.multiscale_perceptual(vgg, truth, truth).item() == 0


def test_gram_by_hand() -> None:
    features = row(1, 2, 3, 4).view(1, 2, 1, 2)  # two channels of two places
    expected = torch.tensor([[1 + 4, 3 + 8], [3 + 8, 9 + 16.0]]) / (2 * 1 * 2)
    torch.testing.assert_close(losses.gram(features)[0], expected)


def test_gram_never_mixes_the_batch() -> None:
    batch = noise(0, 3, 4, 5, 6)
    alone = torch.cat([losses.gram(picture[None]) for picture in batch])
    torch.testing.assert_close(losses.gram(batch), alone)
    other = torch.cat((batch[:1], 7 * noise(1, 2, 4, 5, 6)))
    torch.testing.assert_close(losses.gram(other)[0], alone[0])


def test_gram_stays_in_float32_under_autocast() -> None:
    features = noise(0, 2, 8, 6, 6).float()
    with torch.autocast("cpu", torch.bfloat16):
        assert (features[0, 0] @ features[0, 0]).dtype == torch.bfloat16
        found = losses.gram(features)
        half = losses.gram(features.bfloat16())
    assert found.dtype == half.dtype == torch.float32
    torch.testing.assert_close(found, losses.gram(features), rtol=0, atol=0)
    # The products of numbers that have 8 bits: bfloat16 would lose them, float32 holds them.
    torch.testing.assert_close(half.double(), losses.gram(features.bfloat16().double()), rtol=1e-5, atol=1e-6)


def test_feature_and_gram_by_hand() -> None:
    drawn, truth = flat_features(), flat_features()
    drawn["relu1_2"] += 3
    assert losses.feature_and_gram(drawn, truth).item() == pytest.approx(3)
    drawn = flat_features()
    drawn["relu3_3"] += 2
    # Of two channels of 2, 2: all four values of the Gram matrix are 8 / 4, its norm is 4.
    assert losses.feature_and_gram(drawn, truth).item() == pytest.approx(2 + 4)
    drawn = flat_features()
    drawn[losses.IDENTITY] += 9
    assert losses.feature_and_gram(drawn, truth).item() == 0


def test_grams_norm_is_each_pictures_own() -> None:
    drawn, truth = flat_features(), flat_features()
    empty = {layer: torch.cat((features, features)) for layer, features in truth.items()}
    once = losses.feature_and_gram(drawn | {"relu3_3": torch.ones(1, 2, 1, 2)}, truth)
    pair = empty | {"relu3_3": torch.stack((torch.ones(2, 1, 2), torch.zeros(2, 1, 2)))}
    assert losses.feature_and_gram(pair, empty).item() == pytest.approx(once.item() / 2)


def test_identity_is_l1_at_one_layer() -> None:
    drawn, truth = flat_features(), flat_features(5)
    truth["relu3_2"] = torch.full((1, 2, 1, 2), 0.5)
    assert losses.identity(drawn, truth).item() == pytest.approx(0.5)


def test_gradients_of_feature_losses() -> None:
    truth = kassapis(10)
    layers = tuple(truth)

    def named(loss: Callable[..., Tensor]) -> Callable[..., Tensor]:
        return lambda *features: loss(dict(zip(layers, features, strict=True)), truth)

    drawn = kassapis(20)
    passes(named(losses.perceptual), *(drawn[layer].requires_grad_() for layer in layers))
    passes(lambda one: losses.identity({losses.IDENTITY: one}, truth), drawn[losses.IDENTITY])
    without = tuple(drawn[layer] for layer in losses.FEATURES)
    passes(
        lambda *some: losses.feature_and_gram(dict(zip(losses.FEATURES, some, strict=True)), truth), *without
    )
    passes(lambda x: losses.gram(x).square().sum(), variable(3, 2, 3, 2, 2))


def test_gradient_of_multiscale_perceptual() -> None:
    truth = noise(1, 1, 1, 32, 32)

    def few(numbers: Tensor) -> Tensor:
        drawn = F.interpolate(numbers, size=(32, 32), mode="bilinear", align_corners=False)
        return losses.multiscale_perceptual(shallow, drawn, truth)

    passes(few, variable(0, 1, 1, 3, 3))


def test_features_that_agree_have_a_gradient_all_the_same() -> None:
    """The Frobenius norm has none at nought; it must not be NaN."""
    drawn = {layer: features.requires_grad_() for layer, features in kassapis(0).items()}
    truth = {layer: features.detach() for layer, features in drawn.items()}
    loss = losses.feature_and_gram(drawn, truth)
    slopes = torch.autograd.grad(loss, [drawn[layer] for layer in losses.FEATURES])
    assert loss.item() == 0
    assert all(slope.isfinite().all() for slope in slopes)


# What a discriminator says of them


def test_hinge_by_hand() -> None:
    real, drawn = [row(2, 0.5), row(-1)], [row(-3, 0), row(0.5)]
    # max(0, 1 − D): 0, 0.5 and 2; max(0, 1 + D): 0, 1 and 1.5.
    assert losses.hinge_discriminator(real, drawn).item() == pytest.approx(0.25 + 2 + 0.5 + 1.5)
    assert losses.hinge_generator(drawn).item() == pytest.approx(1.5 - 0.5)


def test_hinge_is_content_beyond_the_margin_only() -> None:
    assert losses.hinge_discriminator([row(1, 5)], [row(-1, -7)]).item() == 0
    assert losses.hinge_discriminator([row(-1)], [row(1)]).item() == 4


@pytest.mark.parametrize("kind", ["hinge", "bce"])
def test_signs(kind: str) -> None:
    """The discriminator raises the logits of the real and lowers those of the drawn; the generator raises."""
    real, drawn = torch.zeros(4, requires_grad=True), torch.zeros(4, requires_grad=True)
    if kind == "hinge":
        critic, artist = losses.hinge_discriminator([real], [drawn]), losses.hinge_generator([drawn])
    else:
        critic, artist = losses.bce_discriminator(real, drawn), losses.bce_generator(drawn)
    of_real, of_drawn = torch.autograd.grad(critic, (real, drawn))
    assert (of_real < 0).all()
    assert (of_drawn > 0).all()
    assert (torch.autograd.grad(artist, drawn)[0] < 0).all()


def test_scales_count_alike_whatever_their_patches() -> None:
    drawn = [torch.full((2, 1, 8, 8), 1.0), torch.full((2, 1, 4, 4), 3.0)]
    assert losses.hinge_generator(drawn).item() == pytest.approx(-4)


def test_bce_by_hand() -> None:
    real, drawn = row(0, math.log(3)), row(0, -math.log(3))  # σ: 1/2, 3/4 and 1/2, 1/4
    expected = -(math.log(1 / 2) + math.log(3 / 4)) / 2
    assert losses.bce_discriminator(real, drawn).item() == pytest.approx(2 * expected)
    assert losses.bce_generator(real).item() == pytest.approx(expected)


def test_bce_is_averaged_behind_the_logarithm() -> None:
    drawn = row(-4, 4)
    assert losses.bce_generator(drawn).item() > losses.bce_generator(drawn.mean()).item() + 1


def test_extreme_logits_stay_finite() -> None:
    for value in (1e4, -1e4):
        real, drawn = torch.full((3,), value, requires_grad=True), torch.full((3,), value, requires_grad=True)
        for loss in (
            losses.hinge_discriminator([real], [drawn]),
            losses.bce_discriminator(real, drawn),
            losses.hinge_generator([real]) + losses.hinge_generator([drawn]),
            losses.bce_generator(real) + losses.bce_generator(drawn),
        ):
            slopes = torch.autograd.grad(loss, (real, drawn))
            assert loss.isfinite()
            assert all(slope.isfinite().all() for slope in slopes)
    assert losses.bce_generator(torch.tensor(-1e4)).item() == 1e4
    assert losses.bce_discriminator(torch.tensor(1e4), torch.tensor(-1e4)).item() == 0


def test_feature_matching_by_hand() -> None:
    real = [
        [torch.zeros(1, 2), torch.zeros(1, 3), torch.zeros(1)],
        [torch.zeros(1, 4), torch.zeros(1, 1), row(9)],
    ]
    drawn = [[row(1, 3)[None], row(0, 0, 3)[None], row(99)], [row(2, 2, 2, 2)[None], row(5)[None], row(0)]]
    # Layers 2, 1 and 2, 5; the logits don't count.
    assert losses.feature_matching(real, drawn).item() == pytest.approx(((2 + 1) / 2 + (2 + 5) / 2) / 2)


def test_feature_matching_gives_the_real_features_no_gradient() -> None:
    real = [[variable(0, 1, 2), variable(1, 1)]]
    drawn = [[variable(2, 1, 2), variable(3, 1)]]
    slopes = torch.autograd.grad(
        losses.feature_matching(real, drawn), (*real[0], *drawn[0]), allow_unused=True
    )
    assert [slope is not None for slope in slopes] == [False, False, True, False]


def test_feature_matching_takes_the_answers_of_a_discriminator() -> None:
    torch.manual_seed(0)
    critic = MultiscaleDiscriminator(width=4)
    picture = torch.rand(1, 3, 32, 32)
    assert losses.feature_matching(critic(picture), critic(picture)).item() == 0
    assert losses.feature_matching(critic(picture), critic(1 - picture)).item() > 0


def test_gradients_of_adversarial_losses() -> None:
    real, drawn = (variable(0, 2, 1, 2, 2), variable(1, 2, 1, 1, 1)), (variable(2, 3, 2), variable(3, 3))
    passes(lambda a, b, c, d: losses.hinge_discriminator((a, b), (c, d)), *real, *drawn)
    passes(lambda *logits: losses.hinge_generator(logits), *drawn)
    passes(losses.bce_discriminator, real[0], drawn[0])
    passes(losses.bce_generator, drawn[0])
    truth = [[noise(4, 2, 3), noise(5, 2, 2), noise(6, 2)]]
    passes(
        lambda a, b: losses.feature_matching(truth, [[a, b, truth[0][2]]]),
        variable(7, 2, 3),
        variable(8, 2, 2),
    )


# R1


def test_r1_by_hand() -> None:
    pictures = row(1, 2, 3, 4).view(2, 2, 1, 1).requires_grad_()
    logits = (pictures.square() * row(1, 3).view(1, 2, 1, 1)).sum((1, 2, 3))
    # The slopes are 2, 12 and 6, 24.
    assert losses.r1_penalty(logits, pictures).item() == pytest.approx((4 + 144 + 36 + 576) / 2 / 2)


def test_r1_of_patches_is_that_of_their_sum() -> None:
    pictures = variable(0, 2, 3, 4, 4)
    patches = pictures.square()
    by_patch = losses.r1_penalty(patches, pictures)
    torch.testing.assert_close(by_patch, losses.r1_penalty(patches.sum((1, 2, 3)), pictures))
    torch.testing.assert_close(by_patch, (2 * pictures).square().sum() / 2 / 2)


def critic_and_pictures() -> tuple[nn.Module, Tensor]:
    torch.manual_seed(0)
    critic = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Softplus(), nn.Conv2d(4, 1, 2))
    return critic.double(), variable(1, 2, 3, 4, 4)


def test_r1_can_be_differentiated_again() -> None:
    critic, pictures = critic_and_pictures()
    first, last = critic[0].weight, critic[2].weight

    def penalty(first: Tensor, last: Tensor) -> Tensor:
        logits = F.conv2d(F.softplus(F.conv2d(pictures, first)), last)
        return losses.r1_penalty(logits, pictures)

    passes(penalty, first, last)


def test_r1_gives_every_parameter_a_gradient() -> None:
    """The last bias has none in the slope; without one DistributedDataParallel goes wrong."""
    critic, pictures = critic_and_pictures()
    losses.r1_penalty(critic(pictures), pictures).backward()
    slopes = {name: parameter.grad for name, parameter in critic.named_parameters()}
    assert all(slope is not None for slope in slopes.values())
    assert slopes["2.bias"] is not None
    assert slopes["2.bias"].abs().max() == 0
    assert slopes["0.bias"] is not None
    assert slopes["0.bias"].abs().max() > 0


def test_r1_stays_in_float32_under_autocast() -> None:
    """Linear layers are what autocast would halve on the way back."""
    torch.manual_seed(0)
    critic = nn.Sequential(nn.Flatten(), nn.Linear(48, 8), nn.Softplus(), nn.Linear(8, 1))
    pictures = noise(1, 2, 3, 4, 4).float().requires_grad_()
    expected = losses.r1_penalty(critic(pictures), pictures)
    logits = critic(pictures)
    with torch.autocast("cpu", torch.bfloat16):
        found = losses.r1_penalty(logits, pictures)
        halved = critic(pictures)
        assert halved.dtype == torch.bfloat16
        with pytest.raises(AssertionError, match="outside autocast"):
            losses.r1_penalty(halved, pictures)
    assert found.dtype == torch.float32
    assert found.item() == expected.item()
    weights = [parameter for name, parameter in critic.named_parameters() if name.endswith("weight")]
    slopes = torch.autograd.grad(expected, weights)
    torch.testing.assert_close(torch.autograd.grad(found, weights), slopes, rtol=0, atol=0)


# How far a generator's picture moves with its code


def scaled(w: Tensor, factors: Tensor) -> Tensor:
    """B×1×2×2 of w, B×2×2: each pixel a number of the code, times a factor."""
    return (w * factors).view(-1, 1, 2, 2)


def test_path_length_by_hand() -> None:
    w = variable(0, 2, 2, 2)
    factors, dots = (
        row(1, 2, 3, 4).view(2, 2).double(),
        row(2, 1, 1, 0.5, 0, 0, 1, 0).view(2, 1, 2, 2).double(),
    )
    found = losses.path_length(scaled(w, factors), w, dots)
    # Factors × noise are 2, 2, 3, 2 and 0, 0, 3, 0; √(H·W) = 2; two rows.
    assert found.tolist() == pytest.approx([math.sqrt(21 / 4 / 2), math.sqrt(9 / 4 / 2)])


def test_path_length_of_a_linear_generator_is_its_matrix_on_noise() -> None:
    matrix, w, dots = noise(0, 5 * 7, 3 * 4 * 6), variable(1, 3, 5, 7), noise(2, 3, 3, 4, 6)
    found = losses.path_length((w.flatten(1) @ matrix).view(3, 3, 4, 6), w, dots)
    expected = torch.linalg.vector_norm(dots.flatten(1) @ matrix.mT, dim=1) / math.sqrt(4 * 6 * 5)
    torch.testing.assert_close(found, expected)


def test_path_length_penalty_by_hand() -> None:
    mean = torch.tensor(2.0, requires_grad=True)
    lengths = row(1, 2, 5).requires_grad_()
    assert losses.path_length_penalty(lengths, 2.0).item() == pytest.approx((1 + 0 + 9) / 3)
    loss = losses.path_length_penalty(lengths, mean)
    (slope,) = torch.autograd.grad(loss, lengths)
    assert slope.tolist() == pytest.approx([-2 / 3, 0, 2])
    assert not torch.autograd.grad(losses.path_length_penalty(lengths, mean), [lengths])[0].requires_grad
    loss = losses.path_length_penalty(lengths, mean)
    assert torch.autograd.grad(loss, [lengths, mean], allow_unused=True)[1] is None


def test_path_length_can_be_differentiated_again() -> None:
    w, dots = variable(1, 2, 2, 3), noise(2, 2, 3, 2, 2)

    def penalty(first: Tensor, last: Tensor) -> Tensor:
        pictures = F.softplus(w.flatten(1) @ first) @ last
        return losses.path_length_penalty(losses.path_length(pictures.view(2, 3, 2, 2), w, dots), 0.3)

    passes(penalty, variable(3, 6, 4), variable(4, 4, 12))


def test_path_length_gives_every_parameter_a_gradient() -> None:
    generator = nn.Sequential(nn.Linear(4, 5), nn.Softplus(), nn.Linear(5, 12)).double()
    w = variable(0, 2, 1, 4)
    losses.path_length(generator(w).view(2, 3, 2, 2), w, noise(1, 2, 3, 2, 2)).sum().backward()
    slopes = {name: parameter.grad for name, parameter in generator.named_parameters()}
    assert slopes["2.bias"] is not None
    assert slopes["2.bias"].abs().max() == 0
    assert slopes["0.bias"] is not None
    assert slopes["0.bias"].abs().max() > 0


def test_path_length_of_a_picture_that_does_not_move_has_a_finite_gradient() -> None:
    w, factors = variable(0, 1, 2, 2), torch.zeros(2, 2, dtype=torch.float64, requires_grad=True)
    lengths = losses.path_length(scaled(w, factors), w, noise(1, 1, 1, 2, 2))
    assert lengths.tolist() == [0]
    (slope,) = torch.autograd.grad(losses.path_length_penalty(lengths, 1.0), factors)
    assert slope.isfinite().all()


def test_path_length_is_taken_outside_autocast() -> None:
    w = noise(0, 1, 2, 2).float().requires_grad_()
    with pytest.raises(AssertionError, match="outside autocast"):
        losses.path_length(scaled(w, torch.ones(2, 2)).bfloat16(), w, torch.ones(1, 1, 2, 2).bfloat16())


# Which codes are alike

FOUR = (0.0, 0.5, 1.25, 3.0)  # two frames of a video and two of another


def four(*shape: int) -> Tensor:
    """2×2×…, a code being all of one number."""
    codes = torch.tensor(FOUR, dtype=torch.float64).view(2, 2, *(1 for _ in shape))
    return codes.expand(2, 2, *shape).clone().requires_grad_()


def slopes(loss: Tensor, codes: Tensor) -> list[float]:
    (slope,) = torch.autograd.grad(loss, codes)
    found: list[float] = slope.flatten(2).sum(2).flatten().tolist()
    return found


@pytest.mark.parametrize("shape", [(1,), (512,), (2, 3)])
def test_appearance_contrastive_by_hand(shape: tuple[int, ...]) -> None:
    codes = four(*shape)
    loss = losses.appearance_contrastive(codes)
    # a: 1 + 0.5 − (1.25, 3)    → 0.25, none    b: 1 + 0.5 − (0.75, 2.5) → 0.75, none
    # c: 1 + 1.75 − (1.25, 0.75) → 1.5, 2       d: 1 + 1.75 − (3, 2.5)   → none, 0.25
    assert loss.item() == pytest.approx((0.25 + 0.75 + 1.5 + 2 + 0.25) / 8)
    # Of 2(b − a) + 3(d − c) − 2(c − a) − 2(c − b) − (d − b).
    assert slopes(loss, codes) == pytest.approx([0, 5 / 8, -7 / 8, 2 / 8])


@pytest.mark.parametrize("shape", [(1,), (512,), (2, 3)])
def test_appearance_contrastive_of_dot_products_by_hand(shape: tuple[int, ...]) -> None:
    codes = four(*shape)
    loss = losses.appearance_contrastive(codes, similarity="dot")
    # a: 1 − 0 + (0, 0) → 1, 1                   b: 1 − 0 + (0.625, 1.5) → 1.625, 2.5
    # c: 1 − 3.75 + (0, 0.625) → none, none      d: 1 − 3.75 + (0, 1.5)  → none, none
    assert loss.item() == pytest.approx((1 + 1 + 1.625 + 2.5) / 8)
    # Of −4ab + (a + b)(c + d).
    assert slopes(loss, codes) == pytest.approx([2.25 / 8, 4.25 / 8, 0.5 / 8, 0.5 / 8])


def test_the_margin_is_what_it_has_to_be_told_apart_by() -> None:
    # a: 1.5 → 2 + 0.5 − 1.25, none, and so on; what was none is now 2 + 0.5 − 3, 2.5 − 2.5, 3.75 − 3.
    found = losses.appearance_contrastive(four(1), margin=2.0).item()
    assert found == pytest.approx((1.25 + 1.75 + 0 + 2.5 + 3 + 0.75 + 1.25) / 8)


def test_structure_contrastive_by_hand() -> None:
    frames = torch.tensor([[0, 1.125], [0, 10]], dtype=torch.float64)[..., None].requires_grad_()
    changed = torch.tensor([[0.25, 1.75], [0.5, 10.5]], dtype=torch.float64)[..., None].requires_grad_()
    loss = losses.structure_contrastive(frames, changed)
    # Of the first video; the second's frames are apart already.
    # 0: 1.25 − (1.125, 1.75) → 0.125, none        0.25: 1.25 − (0.875, 1.5) → 0.375, none
    # 1.125: 1.625 − (1.125, 0.875) → 0.5, 0.75    1.75: 1.625 − (1.75, 1.5) → none, 0.125
    assert loss.item() == pytest.approx((0.125 + 0.375 + 0.5 + 0.75 + 0.125) / 16)
    of_frames, of_changed = torch.autograd.grad(loss, (frames, changed))
    assert of_frames.flatten().tolist() == pytest.approx([0, -7 / 16, 0, 0])
    assert of_changed.flatten().tolist() == pytest.approx([5 / 16, 2 / 16, 0, 0])


def test_structure_contrastive_of_dot_products_by_hand() -> None:
    frames = torch.tensor([[[0.0], [1.0]]], dtype=torch.float64)
    changed = torch.tensor([[[0.5], [2.0]]], dtype=torch.float64)
    # 0: 1 − 0 + (0, 0) → 1, 1    0.5: 1 − 0 + (0.5, 1) → 1.5, 2    1 and 2: 1 − 2 + … (0, 0.5), (0, 1) → 0
    loss = losses.structure_contrastive(frames, changed, similarity="dot")
    assert loss.item() == pytest.approx((1 + 1 + 1.5 + 2) / 8)


def test_frames_of_other_videos_may_do_the_same() -> None:
    """Two people's structures don't push each other apart; two people's appearances do."""
    alone, aside = noise(0, 1, 3, 4), noise(1, 1, 3, 4)
    twice = losses.structure_contrastive(alone.expand(2, -1, -1), aside.expand(2, -1, -1))
    assert twice.item() == pytest.approx(losses.structure_contrastive(alone, aside).item())
    same = alone.expand(2, -1, -1)
    far = torch.cat((alone, alone + 10))
    assert losses.appearance_contrastive(same).item() > losses.appearance_contrastive(far).item()


@pytest.mark.parametrize("similarity", ["l2", "dot"])
def test_contrastive_losses_pull_and_push(similarity: losses.Similarity) -> None:
    """Down the slope a group comes together, and groups part, by the similarity that was asked for."""

    def likeness(rows: Tensor) -> Tensor:
        flat = rows.flatten(1)
        return flat @ flat.mT if similarity == "dot" else -torch.cdist(flat, flat)

    codes, changed = variable(0, 4, 3, 2, 5), variable(1, 4, 3, 2, 5)
    (slope,) = torch.autograd.grad(losses.appearance_contrastive(codes, similarity=similarity), codes)
    together = torch.block_diag(*[torch.ones(3, 3)] * 4).bool()
    own = together & ~torch.eye(12).bool()
    before, after = (likeness(one.detach().flatten(0, 1)) for one in (codes, codes - 0.1 * slope))
    gap = [float(alike[own].mean() - alike[~together].mean()) for alike in (before, after)]
    assert gap[1] > gap[0] + 1e-3

    pair = torch.autograd.grad(
        losses.structure_contrastive(codes, changed, similarity=similarity), (codes, changed)
    )
    frame = torch.eye(3).bool()
    for video in range(4):
        gaps = []
        for step in (0, 0.1):
            views = [
                (one - step * slope).detach()[video]
                for one, slope in zip((codes, changed), pair, strict=True)
            ]
            alike = likeness(torch.cat(views))[:3, 3:]
            gaps.append(float(alike[frame].mean() - alike[~frame].mean()))
        assert gaps[1] > gaps[0] + 1e-3


def test_gradients_of_contrastive_losses() -> None:
    for similarity in ("l2", "dot"):
        passes(
            lambda codes, how=similarity: losses.appearance_contrastive(codes, 1.0, how),
            variable(0, 3, 3, 2, 4),
        )
        passes(
            lambda codes, changed, how=similarity: losses.structure_contrastive(codes, changed, 1.0, how),
            variable(1, 2, 3, 2, 4),
            variable(2, 2, 3, 2, 4),
        )


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_codes_that_agree_have_a_finite_gradient(dtype: torch.dtype) -> None:
    """As of an encoder that was just made, or a video that stands still."""
    still = noise(0, 3, 1, 2, 4).to(dtype).expand(3, 4, 2, 4).clone().requires_grad_()
    assert losses.appearance_contrastive(still).isfinite()
    for codes in (still, torch.ones(2, 2, 5, dtype=dtype, requires_grad=True)):
        for loss in (losses.appearance_contrastive(codes), losses.structure_contrastive(codes, codes)):
            (slope,) = torch.autograd.grad(loss, codes)
            assert slope.isfinite().all()
            assert slope.abs().max() < 1
    # All alike: as far from friends as from strangers.
    assert losses.appearance_contrastive(torch.ones(2, 2, 5)).item() == pytest.approx(1)


def test_distances_are_exact_wherever_the_codes_are() -> None:
    codes = noise(0, 8, 4, 10, 64)
    exact = losses.appearance_contrastive(codes).item()
    shifted = losses.appearance_contrastive((codes + 30).float()).item()
    assert shifted == pytest.approx(exact, abs=1e-5)


def test_what_leaves_nothing_to_tell_apart_is_refused() -> None:
    for videos, frames in ((1, 8), (8, 1)):
        with pytest.raises(ValueError, match=rf"^{videos} videos of {frames} frames .*two or more of each$"):
            losses.appearance_contrastive(torch.zeros(videos, frames, 4))
    with pytest.raises(ValueError, match=r"^videos of 1 frames .*two or more$"):
        losses.structure_contrastive(torch.zeros(8, 1, 4), torch.zeros(8, 1, 4))


# All of them


def every(dtype: torch.dtype) -> dict[str, Tensor]:
    """Each loss of inputs of that type."""
    pictures = [noise(seed, 2, 3, 16, 16).to(dtype) for seed in (0, 1)]
    features = [{layer: value.to(dtype) for layer, value in kassapis(seed).items()} for seed in (0, 9)]
    logits = [[noise(seed, 2, 1, 3, 3).to(dtype)] for seed in (2, 3)]
    layers = [[[noise(seed, 2, 3).to(dtype), noise(seed, 2).to(dtype)]] for seed in (4, 5)]
    return {
        "l1": losses.l1(*pictures),
        "squared_l2": losses.squared_l2(*pictures),
        "total_variation": losses.total_variation(pictures[0]),
        "perceptual": losses.perceptual(*features),
        "multiscale_perceptual": losses.multiscale_perceptual(shallow, *pictures),
        "feature_and_gram": losses.feature_and_gram(*features),
        "identity": losses.identity(*features),
        "hinge_discriminator": losses.hinge_discriminator(*logits),
        "hinge_generator": losses.hinge_generator(logits[0]),
        "bce_discriminator": losses.bce_discriminator(logits[0][0], logits[1][0]),
        "bce_generator": losses.bce_generator(logits[0][0]),
        "feature_matching": losses.feature_matching(*layers),
        "path_length_penalty": losses.path_length_penalty(logits[0][0], 1.0),
        "appearance_contrastive": losses.appearance_contrastive(features[0]["relu1_2"]),
        "appearance_contrastive, dot": losses.appearance_contrastive(features[0]["relu1_2"], 1.0, "dot"),
        "structure_contrastive": losses.structure_contrastive(*pictures),
    }


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
def test_losses_are_float32_scalars(dtype: torch.dtype) -> None:
    for name, exact in every(torch.float64).items():
        assert exact.dtype == torch.float64, name
    for name, loss in every(dtype).items():
        assert loss.shape == (), name
        assert loss.dtype == torch.float32, name
        assert loss.isfinite(), name
    with torch.autocast("cpu", torch.bfloat16):
        for name, loss in every(dtype).items():
            assert loss.dtype == torch.float32, name


def test_losses_of_half_precision_are_averaged_in_float32() -> None:
    """A third, which bfloat16 holds to three digits."""
    drawn, truth = row(1, 0, 0).bfloat16(), row(0, 0, 0).bfloat16()
    for loss in (losses.l1, losses.squared_l2):
        assert loss(drawn, truth).item() == pytest.approx(1 / 3, rel=1e-6)
    assert losses.hinge_generator([drawn]).item() == pytest.approx(-1 / 3, rel=1e-6)
