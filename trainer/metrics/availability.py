"""Metrics whose networks or weights are the user's to bring.

    lpips_alex = load_lpips_alex([alexnet, linear])     # a network to call, or NotAvailable
    str(load_lpips_alex(None))                          # "not available: give PATH …"

Nothing takes the place of what isn't there. A file is safetensors, or what `torch.save` wrote of a state dict
(`.pth`, `.pt`), which is read without running anything of it. Networks that aren't ours (Inception, I3D,
ResNet-50, ArcFace) run elsewhere: PATH then holds what they made of the pictures, and is judged here.

| metric | PATH |
|---|---|
| lpips_alex | torchvision's AlexNet, and the authors' linear weights (`lin0.model.1.weight` …) |
| csim_synthetic | the state dict of a trained `models.identity_embedder.IdentityEmbedder` |
| fid_inception | `drawn` n×2048 and `truth` m×2048: Inception-V3's last pooling layer, one row a picture |
| fvd_i3d | `drawn` n×400 and `truth` m×400: logits of I3D, Kinetics-400, one row a clip |
| aced_l1 | `drawn` n×D and `truth` n×D: a classifier's embeddings, rows in pairs |
| csim | the same, of a face recognition network |
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from torch import Tensor, nn

from models import pickles
from models.identity_embedder import IdentityEmbedder
from models.public_weights import plain
from models.weights import check_finite, check_keys, check_shapes, naming
from trainer.metrics.lpips import LpipsAlex

WIDTHS: dict[str, int | None] = {"fid_inception": 2048, "fvd_i3d": 400, "aced_l1": None, "csim": None}
IN_PAIRS = ("aced_l1", "csim")
NEEDS = {
    "lpips_alex": "torchvision's AlexNet and LPIPS' linear weights",
    "csim_synthetic": "the state dict of a trained IdentityEmbedder",
    "fid_inception": "features `drawn` and `truth`, n×2048, of Inception-V3's last pooling layer",
    "fvd_i3d": "features `drawn` and `truth`, n×400, of I3D's logits",
    "aced_l1": "embeddings `drawn` and `truth`, n×D, of a classifier",
    "csim": "embeddings `drawn` and `truth`, n×D, of a face recognition network",
}  # what PATH holds
LIN = "lin{}.model.1.weight"


@dataclass(frozen=True)
class NotAvailable:
    """In a report, where a figure would stand."""

    metric: str  # a key of NEEDS

    def __str__(self) -> str:
        return f"not available: give PATH ({NEEDS[self.metric]})"


class Features(NamedTuple):
    """What somebody else's network made of pictures or clips."""

    drawn: Tensor  # n×D float64
    truth: Tensor  # m×D float64


def load_lpips_alex(paths: Sequence[Path] | None) -> LpipsAlex | NotAvailable:
    """paths: the one or two files that hold AlexNet's convolutions and the linear weights. Raises ValueError,
    one line that names file and key, where something is missing or of another shape."""
    if not paths:
        return NotAvailable("lpips_alex")
    found: dict[str, Tensor] = {}
    for path in paths:
        found |= {k: v for k, v in _read(path).items() if k.startswith(("features.", "lin"))}
    network = LpipsAlex()
    expected = network.state_dict()
    with naming(Path(" + ".join(str(path) for path in paths))):
        state = {key: tensor for key, tensor in found.items() if key.startswith("features.")}
        for number in range(len(network.lins)):
            theirs = LIN.format(number)
            if theirs not in found:
                raise ValueError(f"{theirs} is missing: give LPIPS' linear weights for AlexNet, too")
            state[f"lins.{number}"] = found[theirs].flatten()
        _fill(network, state, expected, "LPIPS over AlexNet")
    return network


def load_csim_embedder(path: Path | None) -> IdentityEmbedder | NotAvailable:
    """For `csim_synthetic`. Raises ValueError, one line that names file and key, for other weights."""
    if path is None:
        return NotAvailable("csim_synthetic")
    network = IdentityEmbedder()
    with naming(path):
        state = _read(path)
        _fill(network, state, network.state_dict(), "IdentityEmbedder")
    return network


def load_features(metric: str, path: Path | None) -> Features | NotAvailable:
    """metric: fid_inception or fvd_i3d, for `frechet`; aced_l1 or csim, for the functions of those names.
    Raises ValueError, one line that names the file and what was expected, for what isn't such features."""
    if metric not in WIDTHS:
        raise ValueError(f"no metric {metric!r} is made of features; known: {', '.join(WIDTHS)}")
    if path is None:
        return NotAvailable(metric)
    found = _read(path)
    with naming(path):
        for key in Features._fields:
            if key not in found:
                raise ValueError(f"{key} is missing; {metric} expects {NEEDS[metric]}")
        features = Features(found["drawn"].double(), found["truth"].double())
        check_finite(features._asdict())
        shapes = [tuple(part.shape) for part in features]
        width = WIDTHS[metric]
        fits = all(len(shape) == 2 and shape[-1] == (width or shapes[0][-1]) for shape in shapes)
        if not fits or (metric in IN_PAIRS and shapes[0] != shapes[1]):
            raise ValueError(f"drawn is {shapes[0]}, truth {shapes[1]}; {metric} expects {NEEDS[metric]}")
    return features


def _read(path: Path) -> Mapping[str, Tensor]:
    if path.suffix == ".safetensors":
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        try:
            return load_file(path)
        except (SafetensorError, OSError) as error:
            raise ValueError(f"{path}: can't be read: {error}") from None
    found = pickles.tensors(path)
    with naming(path):
        return plain(found, "the file")


def _fill(
    network: nn.Module, state: Mapping[str, Tensor], expected: Mapping[str, Tensor], whose: str
) -> None:
    check_keys(state, expected, whose)
    check_shapes(state, expected, whose)
    check_finite(state)
    network.load_state_dict(dict(state))
    network.eval().requires_grad_(False)
