"""Karras et al., *Analyzing and Improving the Image Quality of StyleGAN*, with the augmentation of *Training
Generative Adversarial Networks with Limited Data*: mapping and synthesis of `latent`, the first of its three
stages.

It learns from single pictures. B pictures, L rows of a code, C numbers in each
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, cast

import torch
from torch import Tensor, nn

from models.latent import Latent
from models.stylegan2 import Discriminator
from models.weights import seeded
from trainer import chain, losses
from trainer.ada import adjusted, augmented
from trainer.config import Learning, Samples, Settings
from trainer.data.views import Views
from trainer.distributed import mean_over_ranks
from trainer.metrics.distributions import sliced_wasserstein
from trainer.recipe import Ablation, Made, Phase, Recipe, Stage, Terms, without
from trainer.recipes import Entry, each_alone

PATH_EVERY, PATH_DECAY = 4, 0.01  # steps; how fast the mean length follows (StyleGAN2, appendix B)
R1_EVERY = 16  # steps
FEWER = 2  # times as few pictures for the path lengths as in a step


@dataclass(frozen=True)
class Losses:
    """Weights of the terms, and what the generator's pictures are made of."""

    r1: float = 10.0
    """γ, of R1: the discriminator's slope at real pictures (configuration F)."""
    path_length: float = 2.0
    """Of the lengths' variance (appendix B)."""
    mixing: float = 0.9
    """Share of the codes that are two w, from some row on the other."""
    augmentation: float = 0.6
    """r_t, the share of real pictures that are told from drawn ones less that of those that aren't, beyond
    which augmentation gets stronger (ADA, section 3.1). 0: no augmentation."""


@dataclass(frozen=True)
class StyleGan2Settings(Settings):
    """Training of the StyleGAN2 in latent."""

    model: str = "latent:256"
    weights: Path | None = None
    """Public weights to begin with: NVlabs' .pkl, rosinality's .pt."""
    adapts: int = 500_000
    """Pictures in which the augmentation's probability may go from 0 to 1."""
    loss: Losses = field(default_factory=Losses)


class StyleGan2Recipe(Recipe):
    """Non-saturating loss, lazy regularisation."""

    generator: Latent
    name = "stylegan2"
    frames = 1
    looked_at = 128
    measure: ClassVar[str] = "swd"

    def __init__(self, settings: StyleGan2Settings, vgg: object = None) -> None:
        super().__init__()
        self.weights: Losses = without(settings.loss, settings.ablate, ABLATIONS)
        self.seed, self.batch, self.adapts = settings.seed, settings.batch, settings.adapts
        self.public = settings.weights
        self.generator = cast(Latent, seeded(settings.model, settings.seed))
        layout = self.generator.layout
        self.discriminator = Discriminator(layout.side, layout.most, layout.base)
        self.random = torch.Generator()
        self.strength = 0.0  # the probability, known without asking the device
        self.path_mean: Tensor
        self.probability: Tensor
        self.sign: Tensor
        self.register_buffer("path_mean", torch.zeros(()))
        self.register_buffer("probability", torch.zeros(()))  # of each augmentation
        self.register_buffer("sign", torch.zeros(()))  # r_t of the last step

    def begin(self) -> None:
        if self.public is None:
            return
        found = chain.begin_with_stylegan2(self.generator, self.public)
        if found.discriminator is not None:
            self.discriminator.load_state_dict(found.discriminator)

    @property
    def networks(self) -> Mapping[str, nn.Module]:
        return {"generator": self.generator.generator, "discriminator": self.discriminator}

    def stages(self) -> tuple[Stage, ...]:
        weights = self.weights
        phases = [Phase("generator", ("generator",), self.generator_loss)]
        if weights.path_length:
            phases.append(Phase("path", ("generator",), self.path_length_loss, every=PATH_EVERY, eager=True))
        phases.append(Phase("discriminator", ("discriminator",), self.discriminator_loss))
        if weights.r1:
            phases.append(Phase("r1", ("discriminator",), self.r1_loss, every=R1_EVERY, eager=True))
        return (Stage("all", 1.0, tuple(phases), {"generator": 1.0, "discriminator": 1.0}),)

    def new_step(self, pictures: int) -> None:
        """Lots are drawn anew, and the augmentation follows what the last step said (ADA, section 3.1)."""
        device = self.probability.device
        self.random = chain.chance(self.seed, self.name, pictures, device)
        if self.weights.augmentation:
            sign = mean_over_ranks({"sign": self.sign})["sign"]
            target = self.weights.augmentation
            self.probability.fill_(adjusted(float(self.probability), sign, self.batch, target, self.adapts))

    def generator_loss(self, views: Views, made: Made) -> Terms:
        """E[softplus(−D(G(z)))]."""
        drawn = self._judged(self._drawn(self._codes(len(views.image))))
        return {"adversarial": losses.bce_generator(drawn)}

    def path_length_loss(self, views: Views, made: Made) -> Terms:
        """E(‖J_wᵀ y‖ − a)², a being the lengths' running mean (StyleGAN2, equation 4)."""
        w = self._codes(max(1, len(views.image) // FEWER))
        pictures = self._drawn(w)
        noise = torch.randn(pictures.shape, generator=self.random, device=pictures.device)
        lengths = losses.path_length(pictures, w, noise)
        with torch.no_grad():
            self.path_mean.lerp_(lengths.mean(), PATH_DECAY)
        return {"length": self.weights.path_length * losses.path_length_penalty(lengths, self.path_mean)}

    def discriminator_loss(self, views: Views, made: Made) -> Terms:
        """E[softplus(D(G(z)))] + E[softplus(−D(x))]."""
        with torch.no_grad():
            drawn = self._drawn(self._codes(len(views.image)))
        real = self._judged(_signed(views))
        self.sign.copy_(real.detach().sign().mean())
        return {"bce": losses.bce_discriminator(real, self._judged(drawn))}

    def r1_loss(self, views: Views, made: Made) -> Terms:
        """γ/2·E‖∇D(x)‖², x as the discriminator sees it: augmented."""
        pictures = self._augmented(_signed(views)).detach().requires_grad_()
        return {"r1": self.weights.r1 * losses.r1_penalty(self.discriminator(pictures), pictures)}

    def drawn(self, views: Views) -> Tensor:
        """Of the same codes each time, as many as there are pictures; they have nothing to do with these."""
        random = torch.Generator().manual_seed(self.seed)
        z = torch.randn(len(views.image), self.generator.layout.style, generator=random)
        w = self.generator.generator.map(z.to(views.image.device))
        return _levels(self.generator.generator(self._rows(w)))

    def columns(self, views: Views) -> Mapping[str, Tensor]:
        return {"real": views.image[:, -1], "drawn": self.drawn(views)}

    def distance(self, views: Views) -> float:
        """Sliced Wasserstein distance of pictures and drawn ones."""
        return sliced_wasserstein(views.image[:, -1], self.drawn(views))

    def _codes(self, count: int) -> Tensor:
        """B×L×C: w of one z, or of two."""
        generator, device = self.generator.generator, self.probability.device
        style = self.generator.layout.style
        z = torch.randn(2 * count, style, generator=self.random, device=device)
        first, second = self._rows(generator.map(z)).chunk(2)
        rows = first.shape[1]
        lots = torch.rand(2, count, 1, 1, generator=self.random, device=device)
        mixed = lots[0] < self.weights.mixing
        begin = 1 + (lots[1] * (rows - 1)).long()  # 1 … rows − 1
        row = torch.arange(rows, device=device).view(1, -1, 1)
        return torch.where(mixed & (row >= begin), second, first)

    def _rows(self, w: Tensor) -> Tensor:
        return w.unsqueeze(1).expand(-1, len(self.generator.latent_avg), -1)

    def _drawn(self, w: Tensor) -> Tensor:
        generator = self.generator.generator
        return cast(Tensor, generator(w, generator.fresh_noises(len(w), self.random)))

    def _judged(self, pictures: Tensor) -> Tensor:
        return cast(Tensor, self.discriminator(self._augmented(pictures)))

    def _augmented(self, pictures: Tensor) -> Tensor:
        return pictures if self.strength == 0 else augmented(pictures, self.strength, self.random)


def _signed(views: Views) -> Tensor:
    """B×3×S×S in [−1, 1]: the last frames."""
    return views.image[:, -1] * 2 - 1


def _levels(pictures: Tensor) -> Tensor:
    """[−1, 1] → [0, 1]."""
    return ((pictures.float() + 1) / 2).clamp(0, 1)


ABLATIONS = {
    "path-length": Ablation({"path_length": 0.0}, "codes are harder to find for pictures"),
    "mixing": Ablation({"mixing": 0.0}, "rows of a code rely on one another"),
    "augmentation": Ablation({"augmentation": 0.0}, "few pictures are learnt by heart"),
}

CONFIGS: dict[str, Settings] = {
    # Configuration F: Adam 2e-3, (0, 0.99), batch 32, 25 million pictures.
    "paper": StyleGan2Settings(
        pictures=25_000_000,
        batch=32,
        precision="bf16",
        learning=Learning(generator=2e-3, discriminator=2e-3, betas=(0.0, 0.99)),
        checkpoint_every=200_000,
        sample_every=200_000,
        log_every=10_000,
        samples=Samples(workers=8),
    ),
    "light": StyleGan2Settings(
        model="latent:light",
        pictures=5_000_000,
        batch=64,
        precision="bf16",
        learning=Learning(generator=2e-3, discriminator=2e-3, betas=(0.0, 0.99)),
        loss=Losses(r1=0.5),
        checkpoint_every=100_000,
        sample_every=100_000,
        log_every=10_000,
        samples=Samples(workers=4),
    ),
    "tiny": StyleGan2Settings(
        model="latent:tiny",
        pictures=60_000,
        batch=16,
        learning=Learning(generator=2e-3, discriminator=2e-3, betas=(0.0, 0.99), ema=5_000),
        loss=Losses(r1=0.1),
        sample_every=10_000,
        checkpoint_every=10_000,
    ),
}

ENTRY = Entry(StyleGan2Settings, CONFIGS, ABLATIONS, StyleGan2Recipe, each_alone(ABLATIONS), network="latent")
