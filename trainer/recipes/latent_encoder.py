"""Tov et al., *Designing an Encoder for StyleGAN Image Manipulation*: a picture's W+ code near to what the
mapping makes, the second of `latent`'s three stages.

It learns from single pictures, and from what the generator draws, whose codes are known. B pictures, L rows
of a code, C numbers in each
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models.coefficients import FaceModel
from models.identity_embedder import SIDE, IdentityEmbedder
from models.latent import Latent
from models.layers import EqualLinear
from models.stylegan2 import Discriminator
from models.vgg import Vgg19
from models.weights import seeded
from trainer import chain, losses
from trainer.config import Learning, Samples, Settings
from trainer.data.views import Views
from trainer.metrics.availability import NotAvailable, load_csim_embedder
from trainer.recipe import Ablation, Made, Phase, Recipe, Stage, Terms, without
from trainer.recipes import Entry, each_alone

BEFORE = "stylegan2"
R1_EVERY = 16  # steps
LAYERS = 4  # of the discriminator of codes


@dataclass(frozen=True)
class Losses:
    """Weights of the terms (section 5)."""

    pixel: float = 1.0
    """Squared L2 of the picture."""
    perceptual: float = 0.8
    """VGG's features, in LPIPS' place; without VGG, features of the StyleGAN2's discriminator."""
    identity: float = 0.5
    """1 − the cosine of two identity vectors; nothing without --embedder."""
    face: float = 1.0
    """Squared L2 of a face model's coefficients of both halves, standardised; nothing without --coefficients;
    not of the paper, whose pictures are large enough to see lids in."""
    delta: float = 2e-4
    """Squared length of the rows' differences from the first."""
    adversarial: float = 0.1
    """Non-saturating: rows that can't be told from the mapping's."""
    r1: float = 10.0
    """γ, of the codes' discriminator."""
    code: float = 0.0
    """Squared L2 of the code, where the picture is the generator's own; not of the paper."""


@dataclass(frozen=True)
class LatentEncoderSettings(Settings):
    """Training of the encoder of latent."""

    model: str = "latent:256"
    upstream: Path | None = None
    """What stylegan2 has left: a run's folder or a checkpoint."""
    weights: Path | None = None
    """A public StyleGAN2 in its place: NVlabs' .pkl, rosinality's .pt."""
    embedder: Path | None = None
    """Weights of an identity embedder, which trainer.prepare check writes."""
    coefficients: Path | None = None
    """A face model, which trainer.prepare coefficients writes; or Deep3DFaceRecon's .pth."""
    begin: float = 0.1
    """Share of the run after which rows begin to differ from the first …"""
    end: float = 0.4
    """… and after which all of them do, one more at a time (section 4.1)."""
    loss: Losses = field(default_factory=Losses)

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.begin <= self.end <= 1:
            raise ValueError(f"begin {self.begin:g} and end {self.end:g}: expected 0 ≤ begin ≤ end ≤ 1")
        if self.upstream is not None and self.weights is not None:
            raise ValueError("upstream and weights: there is one StyleGAN2; leave one out")


class LatentEncoderRecipe(Recipe):
    """The encoder, and a discriminator of codes in turns."""

    generator: Latent
    name = "latent_encoder"
    frames = 1

    def __init__(self, settings: LatentEncoderSettings, vgg: Vgg19 | None = None) -> None:
        super().__init__()
        self.settings = settings
        self.weights: Losses = without(settings.loss, settings.ablate, ABLATIONS)
        self.vgg = vgg
        self.generator = cast(Latent, seeded(settings.model, settings.seed))
        self.generator.requires_grad_(False)  # but for what the phases train
        layout = self.generator.layout
        self.discriminator = nn.Sequential(
            *[EqualLinear(layout.style, layout.style, activation=True) for _ in range(LAYERS)],
            EqualLinear(layout.style, 1),
        )
        self.pictures = Discriminator(layout.side, layout.most, layout.base).requires_grad_(False)
        self.embedder: IdentityEmbedder | None = None
        self.face: FaceModel | None = None
        self.random = torch.Generator()
        self.rows = 1  # that differ from the first, and the first

    def begin(self) -> None:
        asked, model = self.settings, self.settings.model
        if asked.weights is not None:
            critic = chain.begin_with_stylegan2(self.generator, asked.weights).discriminator
            if critic is None and self.vgg is None and self.weights.perceptual:
                raise ValueError(
                    f"{asked.weights} has no discriminator, and there is no VGG-19: name one with --vgg, or "
                    "leave the perceptual term out with --ablate perceptual"
                )
        else:
            critic = chain.begin(self.generator, asked.upstream, model, self.name, BEFORE)["networks"][
                "discriminator"
            ]
            self.generator.latent_avg.copy_(chain.mean_w(self.generator))
        if critic is not None:
            self.pictures.load_state_dict(critic)
        embedder = load_csim_embedder(asked.embedder)
        self.embedder = None if isinstance(embedder, NotAvailable) else embedder
        self.face = None if asked.coefficients is None else chain.face_model(asked.coefficients)

    def train(self, mode: bool = True) -> Self:
        """But for what doesn't learn, whose normalisation is that of its own training."""
        super().train(mode)
        for judge in (self.embedder, self.face):
            if isinstance(judge, nn.Module):
                judge.eval()
        return self

    @property
    def networks(self) -> Mapping[str, nn.Module]:
        return {"encoder": self.generator.encoder, "discriminator": self.discriminator}

    def stages(self) -> tuple[Stage, ...]:
        phases = [Phase("encoder", ("encoder",), self.encoder_loss)]
        if self.weights.adversarial:
            phases.append(Phase("discriminator", ("discriminator",), self.discriminator_loss))
            if self.weights.r1:
                phases.append(Phase("r1", ("discriminator",), self.r1_loss, every=R1_EVERY, eager=True))
        rates = {"encoder": 1.0} | ({"discriminator": 1.0} if self.weights.adversarial else {})
        return (Stage("all", 1.0, tuple(phases), rates),)

    def new_step(self, pictures: int) -> None:
        asked = self.settings
        self.random = chain.chance(asked.seed, self.name, pictures, self.generator.latent_avg.device)
        most, done = len(self.generator.latent_avg), pictures / asked.pictures
        way = (done - asked.begin) / max(asked.end - asked.begin, 1e-9)
        self.rows = min(most, max(1, 1 + int(way * (most - 1))))

    def encoder_loss(self, views: Views, made: Made) -> Terms:
        """Section 5: of a picture and of what is drawn of its code, and of the code itself."""
        weights, truth = self.weights, views.image[:, -1]
        code = self._code(truth)
        made["code"] = code.detach()
        drawn = self._levels(code)
        terms = {"pixel": weights.pixel * losses.squared_l2(drawn, truth)}
        if weights.perceptual:
            terms["perceptual"] = weights.perceptual * self._perceptual(drawn, truth)
        if weights.identity and self.embedder is not None:
            first, second = (self.embedder(_resized(one)) for one in (drawn, truth))
            terms["identity"] = weights.identity * (1 - (first * second).sum(1)).mean()
        if weights.face and self.face is not None:
            said, told = (torch.cat(self.face.coefficients(one), 1) for one in (drawn, truth))
            terms["face"] = weights.face * losses.squared_l2(said, told)
        if weights.delta:
            differences = code[:, 1:] - code[:, :1]
            terms["delta"] = weights.delta * differences.square().sum((1, 2)).mean()
        if weights.adversarial:
            judged = self.discriminator(self._centred(code))
            terms["adversarial"] = weights.adversarial * losses.bce_generator(judged)
        if weights.code:
            known = self._known(len(truth))
            with torch.no_grad():
                picture = self._levels(known)
            terms["code"] = weights.code * losses.squared_l2(self._code(picture), known)
        return terms

    def discriminator_loss(self, views: Views, made: Made) -> Terms:
        """E[softplus(D(w))] + E[softplus(−D(w_z))], over all rows."""
        real = self.discriminator(self._centred(self._known(len(views.image))))
        drawn = self.discriminator(self._centred(made["code"]))
        return {"bce": losses.bce_discriminator(real, drawn)}

    def r1_loss(self, views: Views, made: Made) -> Terms:
        """γ/2·E‖∇D(w_z)‖²."""
        codes = self._centred(self._known(len(views.image)))[:, 0].detach().requires_grad_()
        return {"r1": self.weights.r1 * losses.r1_penalty(self.discriminator(codes), codes)}

    def drawn(self, views: Views) -> Tensor:
        """The last frame, by its own code."""
        return self._levels(self.generator.invert(views.image[:, -1])).clamp(0, 1)

    def columns(self, views: Views) -> Mapping[str, Tensor]:
        return {"target": views.image[:, -1], "drawn": self.drawn(views)}

    def _code(self, picture: Tensor) -> Tensor:
        """B×L×C: rows whose turn hasn't come yet are the first."""
        code = self.generator.invert(picture)
        late = torch.arange(code.shape[1], device=code.device).view(1, -1, 1) >= self.rows
        return torch.where(late, code[:, :1], code)

    def _known(self, count: int) -> Tensor:
        """B×L×C: codes that the mapping makes."""
        generator, device = self.generator.generator, self.generator.latent_avg.device
        z = torch.randn(count, self.generator.layout.style, generator=self.random, device=device)
        with torch.no_grad():
            return generator.map(z).unsqueeze(1).expand(-1, len(self.generator.latent_avg), -1)

    def _centred(self, code: Tensor) -> Tensor:
        return code - self.generator.latent_avg

    def _levels(self, code: Tensor) -> Tensor:
        """What the generator draws, about [0, 1], with its fixed noise."""
        return (cast(Tensor, self.generator.generator(code)).float() + 1) / 2

    def _perceptual(self, drawn: Tensor, truth: Tensor) -> Tensor:
        if self.vgg is not None:
            return losses.multiscale_perceptual(self.vgg, drawn, truth)
        with torch.no_grad():
            seen = self.pictures.features(truth * 2 - 1)
        found = self.pictures.features(drawn * 2 - 1)
        return torch.stack([losses.l1(*pair) for pair in zip(found, seen, strict=True)]).mean()


def _resized(pictures: Tensor) -> Tensor:
    return F.interpolate(pictures, (SIDE, SIDE), mode="bilinear", align_corners=False)


ABLATIONS = {
    "perceptual": Ablation({"perceptual": 0.0}, "blurred"),
    "identity": Ablation({"identity": 0.0}, "other people"),
    "face": Ablation({"face": 0.0}, "not of the paper; expressions are lost"),
    "delta": Ablation({"delta": 0.0}, "less to edit, nearer pictures"),
    "adversarial": Ablation({"adversarial": 0.0}, "less to edit, nearer pictures"),
}

CONFIGS: dict[str, Settings] = {
    # Section 5 and their code: Ranger 1e-4, batch 8, 200,000 steps; Adam stands for Ranger.
    "paper": LatentEncoderSettings(
        pictures=1_600_000,
        batch=8,
        learning=Learning(generator=1e-4, discriminator=2e-5, betas=(0.95, 0.999)),
        checkpoint_every=100_000,
        sample_every=100_000,
        log_every=10_000,
        samples=Samples(workers=8),
    ),
    "light": LatentEncoderSettings(
        model="latent:light",
        pictures=2_000_000,
        batch=32,
        precision="bf16",
        learning=Learning(generator=2e-4, discriminator=2e-5, betas=(0.9, 0.999), schedule="cosine"),
        loss=Losses(code=0.1),
        checkpoint_every=100_000,
        sample_every=100_000,
        log_every=10_000,
        samples=Samples(workers=4),
    ),
    "tiny": LatentEncoderSettings(
        model="latent:tiny",
        pictures=40_000,
        batch=16,
        learning=Learning(
            generator=1e-3,
            discriminator=2e-4,
            betas=(0.9, 0.999),
            schedule="cosine",
            warm_up=1_000,
            ema=2_000,
        ),
        loss=Losses(pixel=10.0, code=0.1, adversarial=0.02),
        sample_every=10_000,
        checkpoint_every=10_000,
    ),
}

ENTRY = Entry(
    LatentEncoderSettings,
    CONFIGS,
    ABLATIONS,
    LatentEncoderRecipe,
    each_alone(ABLATIONS),
    network="latent",
)
