"""NVlabs' StyleGAN2, through the names that its files have."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from models.public_weights import nvlabs_generator
from models.stylegan2 import Generator
from tests.parity.golden import Golden

NETS = ("sg2_ada_g",)
TRUNCATION = 0.7  # of `w_psi07`
# Their layers, of which the fixture holds the first output, by ours.
TAPS = {
    "synthesis.b4.conv1": "conv1",
    "synthesis.b4.torgb": "to_rgb1",
    "synthesis.b8.conv0": "convs.0",
    "synthesis.b8.conv1": "convs.1",
    "synthesis.b256.conv1": "convs.11",
}

Row = tuple[Any, ...]  # name, ok, largest error, its tolerance, root mean square error, its tolerance


@torch.inference_mode()
def rows(folder: Path | str) -> list[Row]:
    """A row for each output and tap."""
    (net,) = NETS
    golden = Golden(str(folder), net)
    state, mean = nvlabs_generator({key: torch.from_numpy(value) for key, value in golden.params().items()})
    generator = Generator(golden.meta["source"]["constructor"]["img_resolution"])
    generator.load_state_dict(state)
    got: dict[str, Any] = {}
    for name in golden.outputs(taps=True):
        if name.startswith("tap:"):
            _listen(generator.get_submodule(TAPS[name.removeprefix("tap:")]), name, got)
    z, ws = (torch.from_numpy(golden.inputs()[f"{net}.{name}"]) for name in ("z", "ws"))
    got["image_ws"] = generator(ws)
    got["w"] = generator.map(z)
    got["w_psi07"] = generator.map(z, TRUNCATION, mean)
    got["image_z"] = generator(got["w"][:1].unsqueeze(1).expand(-1, ws.shape[1], -1))
    return [(f"{net}:{name}", *row) for name, *row in golden.compare(got)]


def _listen(module: nn.Module, name: str, got: dict[str, Any]) -> None:
    """Keep what the module gives at its first call."""

    def keep(_: nn.Module, __: Any, output: Tensor) -> None:
        got.setdefault(name, output.clone())

    module.register_forward_hook(keep)
