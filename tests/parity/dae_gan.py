"""pix2pixHD's generator and discriminator, of whose blocks `dae_gan` is made, against the originals."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from models.pix2pixhd import GlobalGenerator, MultiscaleDiscriminator
from tests.parity.golden import Golden

NETS = ("p2phd_g", "p2phd_d")

Row = tuple[Any, ...]  # name, ok, maximum error, its tolerance, root mean square error, its tolerance


def rows(folder: Path | str) -> list[Row]:
    """A row for each output and tap of those of `NETS` that are in the folder, `net:` before the name."""
    found = []
    for net, check in zip(NETS, (_generator, _discriminator), strict=True):
        if (Path(folder) / f"{net}.json").exists():
            golden = Golden(str(folder), net)
            got = check(golden)
            missing = set(golden.outputs(taps=True)) - set(got)
            assert not missing, f"{net}: nothing to compare with {sorted(missing)}"
            found += [(f"{net}:{name}", *row) for name, *row in golden.compare(got)]
    return found


@torch.inference_mode()
def _generator(golden: Golden) -> dict[str, Any]:
    made = golden.meta["source"]["constructor"]
    net = GlobalGenerator(
        made["input_nc"], made["output_nc"], made["ngf"], made["n_downsampling"], made["n_blocks"]
    )
    _fill(net, golden)
    got: dict[str, Any] = {}
    for name in golden.outputs(taps=True):
        if name.startswith("tap:"):
            _listen(net.get_submodule(name.removeprefix("tap:")), name, got)
    (picture,) = golden.inputs().values()
    got["image"] = net(torch.from_numpy(picture)).numpy()
    return got


@torch.inference_mode()
def _discriminator(golden: Golden) -> dict[str, Any]:
    made = golden.meta["source"]["constructor"]
    net = MultiscaleDiscriminator(made["input_nc"], made["ndf"], made["n_layers"], made["num_D"])
    _fill(net, golden)
    (picture,) = golden.inputs().values()
    return {
        f"d{scale}_layer{index}": layer.numpy()
        for scale, layers in enumerate(net(torch.from_numpy(picture)))
        for index, layer in enumerate(layers)
    }


def _fill(net: nn.Module, golden: Golden) -> None:
    net.load_state_dict({key: torch.from_numpy(value) for key, value in golden.params().items()})
    net.eval()


def _listen(module: nn.Module, name: str, got: dict[str, Any]) -> None:
    def keep(_: nn.Module, __: Any, output: Tensor) -> None:
        got[name] = output.clone().numpy()

    module.register_forward_hook(keep)
