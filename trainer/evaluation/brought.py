"""Figures that need what the user brings: weights of LPIPS or of an embedder, or features that somebody
else's network made of the pictures that `--pictures` writes. Without it, they say so."""

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

from torch import Tensor

from models.identity_embedder import SIDE, IdentityEmbedder
from trainer.data.realism.crops import cut
from trainer.evaluation.landmarks import squares_about
from trainer.evaluation.looking import Judge, SourceJudge
from trainer.metrics.availability import (
    WIDTHS,
    Features,
    NotAvailable,
    load_csim_embedder,
    load_features,
    load_lpips_alex,
)
from trainer.metrics.distributions import frechet
from trainer.metrics.identity import aced_l1, aced_l1_synthetic, csim, csim_synthetic
from trainer.metrics.lpips import LpipsAlex
from trainer.metrics.summary import summary

DISTANCES = ("fid_inception", "fvd_i3d")


class Brought(NamedTuple):
    """What there is."""

    lpips_alex: LpipsAlex | NotAvailable
    csim_synthetic: IdentityEmbedder | NotAvailable
    features: Mapping[str, Features | NotAvailable]  # of fid_inception, fvd_i3d, aced_l1 and csim

    def judges(self) -> dict[str, Judge]:
        """What judges single pictures, by the figure's name."""
        found: dict[str, Judge] = {}
        if isinstance(lpips := self.lpips_alex, LpipsAlex):
            found["lpips_alex"] = lambda pictures, truth, points: lpips(pictures, truth)
        if isinstance(embedder := self.csim_synthetic, IdentityEmbedder):
            found["csim_synthetic"] = lambda pictures, truth, points: _similar(
                embedder, pictures, truth, points
            )
        return found

    def of_sources(self) -> dict[str, SourceJudge]:
        """What compares single pictures with their sources, by the figure's name."""
        if not isinstance(embedder := self.csim_synthetic, IdentityEmbedder):
            return {}
        return {
            "aced_l1_synthetic": lambda pictures, points, sources, own: _apart(
                embedder, pictures, points, sources, own
            )
        }

    def told(self) -> dict[str, Any]:
        """Of each figure that isn't one of pictures here: its value and n, or what is missing."""
        found: dict[str, Any] = {
            name: str(one)
            for name, one in (("lpips_alex", self.lpips_alex), ("csim_synthetic", self.csim_synthetic))
            if isinstance(one, NotAvailable)
        }
        for name, features in self.features.items():
            if isinstance(features, NotAvailable):
                found[name] = str(features)
            elif name in DISTANCES:
                found[name] = frechet(features.drawn, features.truth)._asdict()
            else:
                function = {"aced_l1": aced_l1, "csim": csim}[name]
                found[name] = summary(function(features.drawn, features.truth).tolist())._asdict()
        return found


def brought(
    lpips: tuple[Path, ...] = (),
    embedder: Path | None = None,
    features: Mapping[str, Path | None] = MappingProxyType({}),
) -> Brought:
    """From files. features: by the figure's name. Raises ValueError, one line that names the file, for what
    isn't what it should be."""
    return Brought(
        load_lpips_alex(lpips),
        load_csim_embedder(embedder),
        {name: load_features(name, features.get(name)) for name in WIDTHS},
    )


def _similar(embedder: IdentityEmbedder, pictures: Tensor, truth: Tensor, points: Tensor) -> Tensor:
    """Both seen where the truth's face is."""
    return csim_synthetic(embedder, _seen(pictures, points), _seen(truth, points))


def _apart(
    embedder: IdentityEmbedder, pictures: Tensor, points: Tensor, sources: Tensor, own: Tensor
) -> Tensor:
    """Each seen where its face should be."""
    return aced_l1_synthetic(embedder, _seen(pictures, points), _seen(sources, own))


def _seen(pictures: Tensor, points: Tensor) -> Tensor:
    """Cut about a face with these landmarks, as the embedder learnt them."""
    return cut(pictures.float().cpu(), squares_about(points), SIDE)
