"""What the recipes minimise: one pure function for each term, with its paper's formula.

B batch, C channels, H×W sides, in pixels or of a feature map. Pictures are B×3×H×W in the range that the
recipe works in; VGG's are in [0, 1]. A norm is divided by how many values it runs over, so that a paper's
weights mean the same at each size: ‖·‖₁ is the mean magnitude, ‖·‖² the mean square. Every loss is a scalar,
computed in float32, under autocast too; float64 stays float64.

Papers: IMF is Gao et al. (supplement), Kassapis et al. is *DeepFaceImageSynthesis*, DAE-GAN is Zeng et al.,
pix2pixHD is Wang et al., StyleGAN2 is Karras et al. (*Analyzing and Improving the Image Quality*), Duarte is
Duarte et al. (supplement).
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from models.layers import without_autocast

SMALLEST = 16  # pixels, the side of a picture that leaves one value to VGG's last block
PERCEPTUAL = ("relu1_1", "relu2_1", "relu3_1", "relu4_1", "relu5_1")  # IMF, j = 0 … 4
FEATURES = ("relu1_2", "relu2_2", "relu3_3", "relu4_3")  # Kassapis, of L_pp
STYLE = "relu3_3"  # Kassapis, whose Gram matrix it is
IDENTITY = "relu3_2"  # Kassapis, of L_id: the paper's relu2_3 is not in VGG-19

NEAREST = 1e-3  # of a distance between codes: below it there is no slope, which rounding would make up

Similarity = Literal["l2", "dot"]
Vgg = Callable[[Tensor, Sequence[str]], Mapping[str, Tensor]]  # `models.vgg.Vgg19`


# Pictures


def l1(drawn: Tensor, truth: Tensor) -> Tensor:
    """‖x̂ − x‖₁: IMF eq. 1, DAE-GAN eq. 3. Both of one shape."""
    _same(drawn, truth)
    return (_wide(drawn) - _wide(truth)).abs().mean()


def squared_l2(drawn: Tensor, truth: Tensor) -> Tensor:
    """‖x̂ − x‖²₂, divided by C·H·W, in the mean over the batch: Kassapis, of three pairs of pictures.

    - pixel: G(I_s; e_t) and I_t;
    - self-consistency: G(G(I_s; e_t); e_s) and I_s;
    - triple consistency: G(G(I_s; e_m); e_t) and G(I_s; e_t), e_m being landmarks in between.

    Undivided, the norm would grow with the picture, and the paper's weights (10, 100, 100) beside the
    adversarial term of 1 would be others at 64² than at 256². Both of one shape.
    """
    _same(drawn, truth)
    return (_wide(drawn) - _wide(truth)).square().mean()


def total_variation(flow: Tensor) -> Tensor:
    """E(‖∇_u T‖₁ + ‖∇_v T‖₁): DAE-GAN eq. 4, for one of its two flows.

    flow: …×2×H×W in any unit, sides of 2 or more; the loss is in that unit per place of the grid. Both
    expectations are means over all differences there are, components included.
    """
    flow = _wide(flow)
    return flow.diff(dim=-1).abs().mean() + flow.diff(dim=-2).abs().mean()


# What VGG sees in them


def perceptual(drawn: Mapping[str, Tensor], truth: Mapping[str, Tensor]) -> Tensor:
    """Σ_j ‖VGG^j(x̂) − VGG^j(x)‖₁ over the layers that are there: IMF eq. 2 at one size of the picture.

    drawn, truth: a layer's name → B×C×h×w, the same layers in both.
    """
    assert drawn.keys() == truth.keys()
    return _sum(l1(features, truth[layer]) for layer, features in drawn.items())


def multiscale_perceptual(
    vgg: Vgg, drawn: Tensor, truth: Tensor, scales: int = 4, layers: Sequence[str] = PERCEPTUAL
) -> Tensor:
    """Σ_i Σ_j ‖VGG^j(x̂^i) − VGG^j(x^i)‖₁, x^i being x after i halvings: IMF eq. 2, i = 0 … scales − 1.

    drawn, truth: B×3×H×W in [0, 1]. A halving is the mean of 2×2 pixels. A size counts only while its sides
    are 16 pixels or more: at 64² there are three, and at 128² all four. The truth gets no gradient. Raises
    ValueError for pictures smaller than that.
    """
    _same(drawn, truth)
    if min(drawn.shape[-2:]) < SMALLEST:
        raise ValueError(
            f"pictures of {drawn.shape[-2]}×{drawn.shape[-1]} are too small for VGG's features: "
            f"their sides must be {SMALLEST} pixels or more"
        )
    drawn, truth = _wide(drawn), _wide(truth)
    found = []
    for _ in range(scales):
        with torch.no_grad():
            seen = vgg(truth, layers)
        found.append(perceptual(vgg(drawn, layers), seen))
        drawn, truth = F.avg_pool2d(drawn, 2), F.avg_pool2d(truth, 2)
        if min(drawn.shape[-2:]) < SMALLEST:
            break
    return _sum(found)


def gram(features: Tensor) -> Tensor:
    """Γ(Φ) = ΦΦᵀ / (C·H·W), Φ being C×HW, of each picture for itself: B×C×C, in float32 or wider.

    features: B×C×H×W.
    """
    with without_autocast(features.device.type):
        flat = _wide(features).flatten(2)
        return flat @ flat.mT / flat[0].numel()


def feature_and_gram(drawn: Mapping[str, Tensor], truth: Mapping[str, Tensor]) -> Tensor:
    """Σ_l ‖Φ^l(I) − Φ^l(Î)‖₁ + ‖Γ(Φ^relu3_3(I)) − Γ(Φ^relu3_3(Î))‖_F: Kassapis, L_pp.

    drawn, truth: a layer's name → B×C×h×w; of them those of `FEATURES` count. The Frobenius norm is each
    picture's own, not squared, in the mean over the batch.
    """
    features = _sum(l1(drawn[layer], truth[layer]) for layer in FEATURES)
    style: Tensor = torch.linalg.matrix_norm(gram(drawn[STYLE]) - gram(truth[STYLE])).mean()
    return features + style


def identity(drawn: Mapping[str, Tensor], truth: Mapping[str, Tensor]) -> Tensor:
    """‖Φ^l(I) − Φ^l(Î)‖₁ at l = relu3_2: Kassapis, L_id. drawn, truth: as for `feature_and_gram`."""
    return l1(drawn[IDENTITY], truth[IDENTITY])


# What a discriminator says of them


def hinge_discriminator(real: Sequence[Tensor], drawn: Sequence[Tensor]) -> Tensor:
    """E[max(0, 1 − D(x))] + E[max(0, 1 + D(x̂))]: IMF eq. 3 with its parenthesis put right, DAE-GAN eq. 7.

    real, drawn: the logits of each scale, any shape. A scale's are averaged, and the scales added, as
    pix2pixHD (eq. 3) does.
    """
    return _sum(
        F.relu(1 - _wide(of_real)).mean() + F.relu(1 + _wide(of_drawn)).mean()
        for of_real, of_drawn in zip(real, drawn, strict=True)
    )


def hinge_generator(drawn: Sequence[Tensor]) -> Tensor:
    """−E[D(x̂)]: IMF eq. 3, DAE-GAN eq. 7. drawn: as for `hinge_discriminator`, and added in the same way."""
    return _sum(-_wide(logits).mean() for logits in drawn)


def bce_discriminator(real: Tensor, drawn: Tensor) -> Tensor:
    """−E[log σ(D(I))] − E[log(1 − σ(D(Î)))]: Kassapis, L_D.

    real, drawn: logits, any shape, a patch or a picture each; averaged behind the logarithm.
    """
    return F.softplus(-_wide(real)).mean() + F.softplus(_wide(drawn)).mean()


def bce_generator(drawn: Tensor) -> Tensor:
    """−E[log σ(D(Î))]: Kassapis, L_adv. drawn: logits, any shape; averaged behind the logarithm."""
    return F.softplus(-_wide(drawn)).mean()


def feature_matching(real: Sequence[Sequence[Tensor]], drawn: Sequence[Sequence[Tensor]]) -> Tensor:
    """E Σ_i 1/N_i ‖D^i(x) − D^i(x̂)‖₁: pix2pixHD eq. 4, DAE-GAN's L_FM; in the mean over scales and layers.

    real, drawn: for each scale, the output of each layer, the logits last; those don't count. The real ones
    get no gradient. pix2pixHD's code weights each layer by 4 / layers, so four times as much as here.
    """
    scales = []
    for of_real, of_drawn in zip(real, drawn, strict=True):
        pairs = list(zip(of_real[:-1], of_drawn[:-1], strict=True))
        scales.append(_sum(l1(theirs, truth.detach()) for truth, theirs in pairs) / len(pairs))
    return _sum(scales) / len(scales)


def r1_penalty(logits: Tensor, pictures: Tensor) -> Tensor:
    """½ E‖∇_x D(x)‖²₂: Mescheder et al., *Which Training Methods for GANs do actually Converge?*, eq. 9.

    logits: D(pictures), any shape, float32 or wider: D runs outside autocast here. pictures: B×C×H×W, real
    ones that require a gradient. The norm is each picture's own and not divided. For use inside a loss: it
    can be differentiated again.
    """
    assert logits.dtype in (torch.float32, torch.float64), "a discriminator's R1 step runs outside autocast"
    with without_autocast(logits.device.type):
        (slope,) = torch.autograd.grad(logits.sum(), pictures, create_graph=True)
        penalty = _wide(slope).flatten(1).square().sum(1).mean() / 2
        # The slope leaves out parameters, such as the last bias, and DistributedDataParallel then averages
        # wrong gradients (pytorch#47562); so the logits take part, with nothing.
        return penalty + 0 * logits.sum()


# How far a generator's picture moves with its code


def path_length(pictures: Tensor, w: Tensor, noise: Tensor) -> Tensor:
    """‖J_wᵀ y‖ of each picture, B: StyleGAN2 section 3.2, y being the noise / √(H·W).

    pictures: G(w), B×3×H×W, float32 or wider: G runs outside autocast here. w: B×L×C, which the pictures were
    made of and which requires a gradient. noise: of the pictures' shape, N(0, 1). Squares are added over C
    and averaged over the L rows before the root, so that a code of equal rows is no longer for their number.
    For use inside a loss: it can be differentiated again.
    """
    _same(pictures, noise)
    assert pictures.dtype in (torch.float32, torch.float64), "path lengths are taken outside autocast"
    with without_autocast(pictures.device.type):
        height, width = pictures.shape[-2:]
        seen = (pictures * noise).sum() / (height * width) ** 0.5
        (slope,) = torch.autograd.grad(seen, w, create_graph=True)
        # Of a slope of nought a norm's gradient is nought, and a root's would be infinite.
        lengths: Tensor = torch.linalg.vector_norm(_wide(slope), dim=(1, 2)) / w.shape[1] ** 0.5
        return lengths + 0 * pictures.sum()  # as in `r1_penalty`: the last biases are not in the slope


def path_length_penalty(lengths: Tensor, mean: Tensor | float) -> Tensor:
    """E[(‖J_wᵀ y‖ − a)²]: StyleGAN2 eq. 4. lengths: B, of `path_length`. mean: a, their running mean, which
    gets no gradient."""
    mean = mean.detach() if isinstance(mean, Tensor) else mean
    return (_wide(lengths) - mean).square().mean()


# Which codes are alike


def appearance_contrastive(codes: Tensor, margin: float = 1.0, similarity: Similarity = "l2") -> Tensor:
    """max(0, γ − s(a, p) + s(a, n)): Duarte, eq. 2 and figure 1, left; in the mean over all that there are of
    a frame's w^(a), another frame p of its video, and a frame n of any other video of the batch.

    codes: V×F×…, of F frames of V videos, each of another identity; over ranks, `distributed.everybody`'s.
    margin: γ. similarity: "l2", −√(mean (x − y)²), or "dot", mean x·y. The paper gives no scale: a norm is
    divided by how many values it runs over, as everywhere here, so that γ = 1 means the same for a code of
    any length, and is near what two unrelated codes of variance 1 are apart (√2). Below `NEAREST` two codes
    count as that far apart.

    Raises ValueError for fewer than two videos, or two frames of each.
    """
    videos, frames = codes.shape[:2]
    if videos < 2 or frames < 2:
        raise ValueError(
            f"{videos} videos of {frames} frames leave nothing to tell apart: take two or more of each"
        )
    return _contrastive(codes.flatten(2)[None], margin, similarity)


def structure_contrastive(
    codes: Tensor, augmented: Tensor, margin: float = 1.0, similarity: Similarity = "l2"
) -> Tensor:
    """max(0, γ − s(a, p) + s(a, n)): Duarte, eq. 3 and figure 1, right; in the mean over all that there are
    of a frame's w^(s), or its augmented version's, the other of the two p, and one of either, n, of another
    frame of the same video.

    Frames of other videos are no negatives. It is for appearance alone that the paper says "computed
    batch-wise"; two people may do the same thing, and what tells them apart most easily is how they look,
    which w^(s) is to leave out. Frames of one video differ in nothing but structure. So each rank has its own
    videos here, and DistributedDataParallel's mean is that of all.

    codes, augmented: V×F×…, of F frames of V videos. margin, similarity: as for `appearance_contrastive`.

    Raises ValueError for fewer than two frames.
    """
    _same(codes, augmented)
    frames = codes.shape[1]
    if frames < 2:
        raise ValueError(f"videos of {frames} frames leave nothing to tell apart: take two or more")
    views = torch.stack((_wide(codes).flatten(2), _wide(augmented).flatten(2)), 2)
    return _contrastive(views, margin, similarity)


def _contrastive(codes: Tensor, margin: float, similarity: Similarity) -> Tensor:
    """Of codes N×G×M×D: for each of N on its own, the M of a group together and the G groups apart."""
    count, groups, members, _ = codes.shape
    with without_autocast(codes.device.type):
        rows = _wide(codes).flatten(1, 2)
        alike = (_dots if similarity == "dot" else _minus_distances)(rows)
        alike = alike.view(count, groups, members, groups, members)
        positive = alike.diagonal(dim1=1, dim2=3).movedim(-1, 1)  # N×G×M×M
        hinges = F.relu(margin - positive[..., None, None] + alike[:, :, :, None])  # N×G×M×M×G×M
        others = ~torch.eye(members, dtype=torch.bool, device=codes.device)
        strangers = ~torch.eye(groups, dtype=torch.bool, device=codes.device)
        counts = others[:, :, None, None] & strangers[:, None, None, :, None]  # G×M×M×G×1
        return hinges.where(counts, 0).sum() / (count * counts.sum() * members)


def _dots(rows: Tensor) -> Tensor:
    """Mean x·y of rows N×R×D: N×R×R."""
    return rows @ rows.mT / rows.shape[-1]


def _minus_distances(rows: Tensor) -> Tensor:
    """−√(mean (x − y)²) of rows N×R×D: N×R×R. By products, as the differences would take R times the
    rows' memory. What the rows have in common is taken off first, since it would round the distances."""
    rows = rows - rows.mean(1, keepdim=True).detach()
    dots = _dots(rows)
    squares = dots.diagonal(dim1=1, dim2=2)
    return -(squares[:, :, None] + squares[:, None] - 2 * dots).clamp(min=NEAREST**2).sqrt()


def _wide(x: Tensor) -> Tensor:
    """In float32, or wider where it is."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


def _sum(terms: Iterable[Tensor]) -> Tensor:
    return torch.stack(list(terms)).sum()


def _same(drawn: Tensor, truth: Tensor) -> None:
    assert drawn.shape == truth.shape, f"{tuple(drawn.shape)} against {tuple(truth.shape)}"
