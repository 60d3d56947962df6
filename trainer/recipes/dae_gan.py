"""Zeng et al., *Realistic Face Reenactment via Self-Supervised Disentangling of Identity and Pose*: frames of
a clip become one embedded face, from which its frames are drawn again (section 3).

B clips; of each K frames that the face is embedded from, and one that it isn't; T frames to be drawn
"""

import random
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.dae_gan import DaeGan
from models.dae_gan.embedders import Embedded, Posed
from models.dae_gan.synthesis import Discriminator
from models.layers import flow_warp
from models.pix2pixhd import logits
from models.vgg import Vgg19
from models.weights import seeded
from trainer import losses
from trainer.config import Learning, Samples, Settings
from trainer.data.views import Views
from trainer.recipe import Ablation, Made, Phase, Recipe, Stage, Terms, without
from trainer.recipes import Entry, ladder

SLOWER = 0.1  # × the embedders' own learning rate in the second stage (section 3.3)


@dataclass(frozen=True)
class Losses:
    """Weights of the terms (equations 5 and 6), and the parts that the paper adds one by one."""

    reconstruction: float = 1.0
    """L1 of the frame that the pose embedder draws."""
    smoothness: float = 1.0
    """λ_S, of the flows' total variation."""
    adversarial: float = 1.0
    """Hinge. 0: neither generator nor discriminator."""
    content: float = 1.0
    """λ_R, L1 of the frame that the generator draws."""
    matching: float = 1.0
    """λ_FM, L1 of the discriminator's features."""
    multi_frame: bool = True
    """The face is embedded from several frames."""
    multi_scale: bool = True
    """Flow at a quarter of the size and residuals; else the flow alone, enlarged."""


@dataclass(frozen=True)
class DaeGanSettings(Settings):
    """Training of dae_gan."""

    model: str = "dae_gan:paper"
    sources: tuple[int, int] = (3, 8)
    """Fewest and most frames that a face is embedded from; how many, is drawn for each step."""
    alone: float = 0.5
    """Share of the run that trains the embedders alone."""
    embedders: float = 1.0
    """× the learning rate: the embedders'."""
    loss: Losses = field(default_factory=Losses)
    discriminator: int = 64
    """Width of its first layer."""

    def __post_init__(self) -> None:
        super().__post_init__()
        fewest, most = self.sources
        if not 1 <= fewest <= most:
            raise ValueError(f"sources {fewest} {most}: expected the fewest, at least 1, and the most")
        if not 0 <= self.alone <= 1:
            raise ValueError(f"alone {self.alone:g}: expected a share from 0 to 1")
        if not self.embedders > 0:
            raise ValueError(f"embedders {self.embedders:g}: expected a factor above 0")


class DaeGanRecipe(Recipe):
    """First the embedders alone (equation 5), then all four networks, one at a time, the others frozen
    (section 3.3)."""

    generator: DaeGan
    name = "dae_gan"

    def __init__(self, settings: DaeGanSettings, vgg: Vgg19 | None = None) -> None:
        super().__init__()
        self.weights: Losses = without(settings.loss, settings.ablate, ABLATIONS)
        self.seed, self.alone, self.rate = settings.seed, settings.alone, settings.embedders
        self.fewest, self.most = settings.sources if self.weights.multi_frame else (1, 1)
        self.count = self.most  # K of this step
        self.frames = self.most + 1
        self.generator = cast(DaeGan, seeded(settings.model, settings.seed))
        self.discriminator = Discriminator(settings.discriminator)

    @property
    def networks(self) -> Mapping[str, nn.Module]:
        embedders = {"face": self.generator.face, "pose": self.generator.pose}
        return {**embedders, "generator": self.generator.generator, "discriminator": self.discriminator}

    def stages(self) -> tuple[Stage, ...]:
        embedders = ("face", "pose")
        alone = Phase("embedders", embedders, self.embedder_loss)
        first = Stage(
            "embedders",
            self.alone if self.weights.adversarial else 1.0,
            (alone,),
            dict.fromkeys(embedders, self.rate),
        )
        if not self.weights.adversarial:
            return (first,)
        phases = (
            Phase("face", ("face",), self.embedder_loss),
            Phase("pose", ("pose",), self.embedder_loss),
            Phase("generator", ("generator",), self.generator_loss),
            Phase("discriminator", ("discriminator",), self.discriminator_loss),
        )
        rates = dict.fromkeys(embedders, SLOWER * self.rate) | {"generator": 1.0, "discriminator": 1.0}
        second = Stage("all", 1 - self.alone, phases, rates)
        return tuple(stage for stage in (first, second) if stage.share > 0)

    def new_step(self, pictures: int) -> None:
        self.count = random.Random(f"{self.seed} {pictures}").randint(self.fewest, self.most)

    def drawn(self, views: Views) -> Tensor:
        pictures = _signed(views)
        embedded = self.generator.face(pictures[:, :1])
        if self.weights.adversarial:
            code = self.generator.pose.encode(pictures[:, -1])
            found = self.generator.generator(embedded.face, code)
        else:
            found = self._posed(embedded.face, pictures[:, -1]).picture
        return cast(Tensor, found.float() + 1) / 2

    def embedder_loss(self, views: Views, made: Made) -> Terms:
        """Equation 5: L_REC + λ_S·L_S. In the second stage too: the networks are stepped one by one "instead
        of in an end-to-end manner" (section 3.3), so that nothing of the generator's comes back to them."""
        embedded, targets, weights = self._embedded(views), self._targets(views), self.weights
        posed = self._posed(_for_each(embedded.face), targets)
        terms = {"reconstruction": weights.reconstruction * losses.l1(posed.picture, targets)}
        if weights.smoothness:
            there, back = (
                losses.total_variation(flow) for flow in (embedded.flows.flatten(0, 1), posed.flow)
            )
            terms["smoothness"] = weights.smoothness * (there + back)
        return terms

    def generator_loss(self, views: Views, made: Made) -> Terms:
        """Equation 6, of which G minimises its terms: −D(x̂) + λ_R·L1 + λ_FM·L_FM."""
        targets, weights = self._targets(views), self.weights
        with torch.no_grad():
            face, code = self._embedded(views).face, self.generator.pose.encode(targets)
        drawn = self.generator.generator(face, code)
        made["drawn"] = drawn.detach()
        judged = self.discriminator(drawn)
        terms = {
            "content": weights.content * losses.l1(drawn, targets),
            "adversarial": weights.adversarial * losses.hinge_generator(logits(judged)),
        }
        if weights.matching:
            with torch.no_grad():
                real = self.discriminator(targets)
            terms["matching"] = weights.matching * losses.feature_matching(real, judged)
        return terms

    def discriminator_loss(self, views: Views, made: Made) -> Terms:
        """Equation 7."""
        real, drawn = self.discriminator(self._targets(views)), self.discriminator(made["drawn"])
        return {"hinge": losses.hinge_discriminator(logits(real), logits(drawn))}

    def looks(self, views: Views) -> Mapping[str, Tensor]:
        embedded = self._embedded(views)
        flow = self._posed(embedded.face, _signed(views)[:, -1]).flow
        return {
            "embedded face": (embedded.face.float() + 1) / 2,
            "flow to the face": embedded.flows[:, 0],
            "flow back": flow,
            "attention": embedded.attention[:, 0],
        }

    def _embedded(self, views: Views) -> Embedded:
        return cast(Embedded, self.generator.face(_signed(views)[:, : self.count]))

    def _posed(self, face: Tensor, frames: Tensor) -> Posed:
        """The frames, redrawn by the pose embedder."""
        if self.weights.multi_scale:
            return cast(Posed, self.generator.pose(frames, face))
        code = self.generator.pose.encode(frames)
        flow = self.generator.pose.decode(code)[0]
        whole = F.interpolate(flow, size=face.shape[2:], mode="bilinear", align_corners=False)
        return Posed(flow_warp(face, whole), flow, code)

    def _targets(self, views: Views) -> Tensor:
        """B·T×3×S×S in [−1, 1]: a frame that the face was embedded from, and one that is new."""
        pictures = _signed(views)
        return torch.stack((pictures[:, 0], pictures[:, -1]), 1).flatten(0, 1)


def _signed(views: Views) -> Tensor:
    """B×K×3×S×S in [−1, 1]."""
    return views.image * 2 - 1


def _for_each(face: Tensor) -> Tensor:
    """The face of each clip beside each of its targets: B·T×…"""
    return face.repeat_interleave(2, 0)


# The paper adds each part to those before it.
ABLATIONS = {
    "smoothness": Ablation(
        {"smoothness": 0.0}, "flows cross themselves: SSIM falls (0.68 to 0.65)", "ssim", -1
    ),
    "multi-frame": Ablation(
        {"multi_frame": False}, "the face is incomplete: SSIM falls (0.72 to 0.68)", "ssim", -1
    ),
    "multi-scale": Ablation({"multi_scale": False}, "blurred: SSIM falls (0.73 to 0.72)", "ssim", -1),
    "adversarial": Ablation(
        {"adversarial": 0.0}, "less real: FID rises (26.3 to 46.8), SSIM stays", "ssim", 0
    ),
    "feature-matching": Ablation(
        {"matching": 0.0}, "less real: FID rises (24.8 to 26.3), SSIM stays", "ssim", 0
    ),
}

CONFIGS: dict[str, Settings] = {
    # Section 4: Adam (0, 0.9), 1e-4 and 4e-4, linear. Batch and epochs of the second stage are open.
    "paper": DaeGanSettings(
        pictures=4_000_000,
        batch=16,
        precision="bf16",
        learning=Learning(generator=1e-4, discriminator=4e-4, betas=(0.0, 0.9), schedule="linear"),
        checkpoint_every=100_000,
        sample_every=100_000,
        log_every=10_000,
        samples=Samples(workers=8),
    ),
    # 20 epochs of RaFD's 8,040 pictures, from a checkpoint of VoxCeleb1: --initial.
    "rafd": DaeGanSettings(
        pictures=160_800,
        batch=16,
        alone=0.0,
        precision="bf16",
        learning=Learning(generator=1e-4, discriminator=4e-4, betas=(0.0, 0.9), schedule="linear"),
        samples=Samples(workers=8),
    ),
    "light": DaeGanSettings(
        model="dae_gan:light",
        pictures=4_000_000,
        batch=32,
        precision="bf16",
        learning=Learning(generator=1e-4, discriminator=4e-4, betas=(0.0, 0.9), schedule="linear"),
        discriminator=32,
        checkpoint_every=100_000,
        sample_every=100_000,
        log_every=10_000,
        samples=Samples(workers=4),
    ),
    "tiny": DaeGanSettings(
        model="dae_gan:tiny",
        pictures=25_000,
        batch=16,
        sources=(1, 3),
        alone=0.2,
        embedders=0.3,
        learning=Learning(
            generator=1.5e-3, discriminator=4e-4, betas=(0.0, 0.9), schedule="linear", ema=2_000
        ),
        loss=Losses(smoothness=0.1, adversarial=0.03, content=10.0, matching=0.1),
        discriminator=16,
        sample_every=10_000,
        checkpoint_every=10_000,
    ),
}

ENTRY = Entry(DaeGanSettings, CONFIGS, ABLATIONS, DaeGanRecipe, ladder(ABLATIONS))
