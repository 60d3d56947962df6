"""Gao et al., *Implicit Motion Function* (CVPR 2024, supplement): a clip's frame is drawn from another one of
the clip; a discriminator learns to tell.

B clips, 2 frames of each: the source and the driving one
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import cast

import torch
from torch import Tensor

from models.imf import Discriminator, Imf
from models.pix2pixhd import logits
from models.vgg import Vgg19
from models.weights import seeded
from trainer import losses
from trainer.config import Learning, Samples, Settings
from trainer.data.views import Views
from trainer.recipe import Ablation, AdversarialRecipe, Made, Terms, without
from trainer.recipes import Entry, each_alone

SOURCE, DRIVING = 0, 1  # of a sample's frames


@dataclass(frozen=True)
class Losses:
    """Weights of the terms (section 2, equation 4)."""

    pixel: float = 10.0
    """L1 of the picture."""
    perceptual: float = 10.0
    """L1 of VGG's features at four scales; without VGG, of the discriminator's."""
    adversarial: float = 1.0
    """Hinge."""


@dataclass(frozen=True)
class ImfSettings(Settings):
    """Training of imf."""

    model: str = "imf:paper"
    loss: Losses = field(default_factory=Losses)
    discriminator: tuple[int, ...] = (64, 128, 256, 512)
    """Its widths."""


class ImfRecipe(AdversarialRecipe):
    """Alternates between the generator (section 2, L_G) and the discriminator (L_D)."""

    generator: Imf
    discriminator: Discriminator
    name = "imf"
    frames = 2

    def __init__(self, settings: ImfSettings, vgg: Vgg19 | None = None) -> None:
        super().__init__()
        self.weights: Losses = without(settings.loss, settings.ablate, ABLATIONS)
        self.generator = cast(Imf, seeded(settings.model, settings.seed))
        self.discriminator = Discriminator(settings.discriminator)
        self.vgg = vgg

    @property
    def adversarial(self) -> float:
        return self.weights.adversarial

    @property
    def perceptual(self) -> float:
        return self.weights.perceptual

    def drawn(self, views: Views) -> Tensor:
        appearance = self.generator.encode_appearance([views.frame(SOURCE)])
        structure = self.generator.encode_structure(views.frame(DRIVING))
        return self.generator.decode(appearance, structure)[0]

    def generator_loss(self, views: Views, made: Made) -> Terms:
        """λ_p·L1 + λ_v·VGG + λ_G·(−D(x̂))."""
        truth, drawn, weights = views.image[:, DRIVING], self.drawn(views), self.weights
        made["drawn"] = drawn.detach()
        terms = {"pixel": weights.pixel * losses.l1(drawn, truth)}
        if weights.perceptual and self.vgg is not None:
            terms["perceptual"] = weights.perceptual * losses.multiscale_perceptual(self.vgg, drawn, truth)
        if not self.judged:
            return terms
        judged = self.discriminator(drawn)
        terms["adversarial"] = weights.adversarial * losses.hinge_generator(logits(judged))
        if self.matches_instead:
            with torch.no_grad():
                real = self.discriminator(truth)
            terms["matching"] = weights.perceptual * losses.feature_matching(real, judged)
        return terms

    def discriminator_loss(self, views: Views, made: Made) -> Terms:
        """Hinge, at both scales: relu(1 − D(x)) + relu(1 + D(x̂)); equation 3 has a bracket in another
        place."""
        real, drawn = self.discriminator(views.image[:, DRIVING]), self.discriminator(made["drawn"])
        return {"hinge": losses.hinge_discriminator(logits(real), logits(drawn))}

    def looks(self, views: Views) -> Mapping[str, Tensor]:
        source, driving = (self.generator.encode_structure(views.frame(k)) for k in (SOURCE, DRIVING))
        return {"flow": self.generator.flow(source, driving)}


ABLATIONS = {
    "pixel": Ablation({"pixel": 0.0}, "not reported; colours drift: L1 rises"),
    "perceptual": Ablation({"perceptual": 0.0}, "not reported; less detail: AKD rises"),
    "adversarial": Ablation({"adversarial": 0.0}, "not reported; softer pictures, L1 no worse"),
}

CONFIGS: dict[str, Settings] = {
    # Supplement, sections 2 and 3.3: batch 64, 2e-4, Adam (0.5, 0.999). How long is open: 10 M pictures.
    "paper": ImfSettings(
        pictures=10_000_000,
        precision="bf16",
        checkpoint_every=200_000,
        sample_every=200_000,
        log_every=10_000,
        samples=Samples(workers=8),
    ),
    "light": ImfSettings(
        model="imf:light",
        pictures=4_000_000,
        precision="bf16",
        checkpoint_every=100_000,
        sample_every=100_000,
        log_every=10_000,
        samples=Samples(workers=4),
    ),
    "tiny": ImfSettings(
        model="imf:tiny",
        pictures=30_000,
        batch=16,
        learning=Learning(generator=1e-3, discriminator=2e-4, schedule="cosine", ema=2_000),
        discriminator=(16, 32, 64, 64),
        loss=Losses(perceptual=2.0, adversarial=0.1),
        sample_every=10_000,
        checkpoint_every=10_000,
    ),
}

ENTRY = Entry(ImfSettings, CONFIGS, ABLATIONS, ImfRecipe, each_alone(ABLATIONS))
