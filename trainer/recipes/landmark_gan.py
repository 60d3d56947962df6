"""Kassapis, Verdenius and Ondrag, *DeepFaceImageSynthesis*: three frames of a clip, of which one is redrawn
with the landmarks of the others (section 3, Training).

B clips, 3 frames of each: the source, one in between, the target
"""

from dataclasses import dataclass, field
from typing import cast

import torch
from torch import Tensor

from models.landmark_gan import Discriminator, LandmarkGan
from models.vgg import Vgg19
from models.weights import seeded
from trainer import losses
from trainer.config import Learning, Samples, Settings
from trainer.data.views import Views
from trainer.recipe import Ablation, AdversarialRecipe, Made, Terms, without
from trainer.recipes import Entry, each_alone

SOURCE, BETWEEN, TARGET = 0, 1, 2  # of a sample's frames
LAYERS = (*losses.FEATURES, losses.IDENTITY)  # VGG's


@dataclass(frozen=True)
class Losses:
    """Weights of the six terms (section 3, Training)."""

    adversarial: float = 1.0
    """Binary cross-entropy."""
    pixel: float = 10.0
    """Squared L2 to the target."""
    self_consistency: float = 100.0
    """Squared L2 to the source, after there and back."""
    triple_consistency: float = 100.0
    """Squared L2 between the direct way to the target and that by the frame in between."""
    perceptual: float = 10.0
    """VGG's features, and Gram matrices of one layer; without VGG, the discriminator's features."""
    identity: float = 1.0
    """VGG's features at relu3_2; nothing without VGG."""


@dataclass(frozen=True)
class LandmarkGanSettings(Settings):
    """Training of landmark_gan."""

    model: str = "landmark_gan:64"
    loss: Losses = field(default_factory=Losses)
    discriminator: int = 32
    """Its width."""


class LandmarkGanRecipe(AdversarialRecipe):
    """Alternates between the generator's six terms and the discriminator."""

    generator: LandmarkGan
    discriminator: Discriminator
    name = "landmark_gan"
    frames = 3
    needs_points = True

    def __init__(self, settings: LandmarkGanSettings, vgg: Vgg19 | None = None) -> None:
        super().__init__()
        self.weights: Losses = without(settings.loss, settings.ablate, ABLATIONS)
        self.generator = cast(LandmarkGan, seeded(settings.model, settings.seed))
        self.discriminator = Discriminator(settings.discriminator)
        self.vgg = vgg

    @property
    def adversarial(self) -> float:
        return self.weights.adversarial

    @property
    def perceptual(self) -> float:
        return self.weights.perceptual

    def drawn(self, views: Views) -> Tensor:
        return (self._redrawn(views.image[:, SOURCE] * 2 - 1, self._maps(views, TARGET)) + 1) / 2

    def generator_loss(self, views: Views, made: Made) -> Terms:
        """L_adv + λ_pix·L_pix + λ_self·L_self + λ_triple·L_triple + λ_pp·L_pp + λ_id·L_id."""
        weights = self.weights
        source, target = (views.image[:, k] * 2 - 1 for k in (SOURCE, TARGET))
        there, back = self._maps(views, TARGET), self._maps(views, SOURCE)
        drawn = self._redrawn(source, there)
        made["drawn"] = drawn.detach()
        terms = {"pixel": weights.pixel * losses.squared_l2(drawn, target)}
        if weights.self_consistency:
            again = self._redrawn(drawn, back)
            terms["self"] = weights.self_consistency * losses.squared_l2(again, source)
        if weights.triple_consistency:
            by_way = self._redrawn(self._redrawn(source, self._maps(views, BETWEEN)), there)
            terms["triple"] = weights.triple_consistency * losses.squared_l2(by_way, drawn)
        if self.vgg is not None and (weights.perceptual or weights.identity):
            seen, true = (self.vgg((one + 1) / 2, LAYERS) for one in (drawn, target))
            if weights.perceptual:
                terms["perceptual"] = weights.perceptual * losses.feature_and_gram(seen, true)
            if weights.identity:
                terms["identity"] = weights.identity * losses.identity(seen, true)
        if not self.judged:
            return terms
        judged = self.discriminator.features(drawn, there)
        terms["adversarial"] = weights.adversarial * losses.bce_generator(judged[-1])
        if self.matches_instead:
            with torch.no_grad():
                real = self.discriminator.features(target, there)
            terms["matching"] = weights.perceptual * losses.feature_matching([real], [judged])
        return terms

    def discriminator_loss(self, views: Views, made: Made) -> Terms:
        """L_D: binary cross-entropy on logits, averaged over the patches afterwards."""
        there = self._maps(views, TARGET)
        real, drawn = (
            self.discriminator(picture, there) for picture in (views.image[:, TARGET] * 2 - 1, made["drawn"])
        )
        return {"bce": losses.bce_discriminator(real, drawn)}

    def _redrawn(self, picture: Tensor, maps: Tensor) -> Tensor:
        """G(I; e): B×3×S×S in [−1, 1], as `picture` is."""
        return cast(Tensor, self.generator.generator(picture, maps)).float()

    def _maps(self, views: Views, frame: int) -> Tensor:
        """e: B×68×S×S."""
        return cast(Tensor, self.generator.heat(self.generator.encode_structure(views.frame(frame)).points))


ABLATIONS = {
    "pixel": Ablation({"pixel": 0.0}, "conditioning and identity suffer", "akd", 1),
    "consistency": Ablation(
        {"self_consistency": 0.0, "triple_consistency": 0.0},
        "identity suffers, conditioning does not",
        "csim",
        -1,
    ),
    "features": Ablation(
        {"perceptual": 0.0, "identity": 0.0},
        "collapses to copying the source: conditioning suffers most",
        "akd",
        1,
    ),
    "self": Ablation({"self_consistency": 0.0}, "left as future work"),
    "triple": Ablation({"triple_consistency": 0.0}, "left as future work"),
    "perceptual": Ablation({"perceptual": 0.0}, "left as future work"),
    "identity": Ablation({"identity": 0.0}, "left as future work"),
    "adversarial": Ablation({"adversarial": 0.0}, "left as future work"),
}

CONFIGS: dict[str, Settings] = {
    # Section 3: 57.2 k triples over 6 epochs; Adam 2e-4 and 5e-5, its other numbers torch's own. Batch open.
    "paper": LandmarkGanSettings(
        pictures=57_200,
        batch=16,
        learning=Learning(discriminator=5e-5, betas=(0.9, 0.999), ema=5_000),
        sample_every=5_000,
        checkpoint_every=5_000,
    ),
    "light": LandmarkGanSettings(
        model="landmark_gan:light",
        pictures=4_000_000,
        batch=64,
        precision="bf16",
        learning=Learning(discriminator=5e-5, betas=(0.9, 0.999)),
        checkpoint_every=100_000,
        sample_every=100_000,
        log_every=10_000,
        samples=Samples(workers=4),
    ),
    "tiny": LandmarkGanSettings(
        model="landmark_gan:tiny",
        pictures=32_000,
        batch=16,
        learning=Learning(
            generator=2e-3, discriminator=2e-4, betas=(0.9, 0.999), schedule="cosine", ema=2_000
        ),
        loss=Losses(
            adversarial=0.1, pixel=100.0, self_consistency=10.0, triple_consistency=10.0, perceptual=1.0
        ),
        discriminator=16,
        sample_every=10_000,
        checkpoint_every=10_000,
    ),
}

ENTRY = Entry(LandmarkGanSettings, CONFIGS, ABLATIONS, LandmarkGanRecipe, each_alone(ABLATIONS))
