"""StyleGAN2's generator and discriminator, and the encoders e4e and pSp, against the originals' numbers."""

from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from models.e4e import Encoder
from models.stylegan2 import Discriminator, Generator, styles
from tests.parity.golden import Golden

NETS = ("sg2_rosinality_g", "sg2_rosinality_d", "e4e")
TRUNCATION = 0.7  # of `image_z_trunc`

N = TypeVar("N", bound=nn.Module)
Row = tuple[Any, ...]  # name, ok, maximum error, its tolerance, root mean square error, its tolerance


def rows(folder: Path | str) -> list[Row]:
    """A row for each output and tap of each of `NETS` whose fixture is in the folder, `net:` before."""
    found = []
    for net, check in zip(NETS, CHECKS, strict=True):
        if (Path(folder) / f"{net}.json").exists():
            golden = Golden(str(folder), net)
            with torch.inference_mode():
                got = check(golden)
            missing = set(golden.outputs(taps=True)) - set(got)
            assert not missing, f"{net}: nothing to compare with {sorted(missing)}"
            found += [(f"{net}:{name}", *row) for name, *row in golden.compare(got)]
    return found


def _generator(golden: Golden) -> dict[str, Any]:
    net = _filled(Generator(golden.meta["source"]["constructor"]["size"]), golden)
    z, wplus, wmean = (_input(golden, name) for name in ("z", "wplus", "wmean"))
    got = _listened(net, golden)
    got["w"] = net.map(z)
    got["image_wplus"] = net(wplus)
    got["latent_z_trunc"] = net.map(z[:1], TRUNCATION, wmean)
    got["image_z_trunc"] = net(got["latent_z_trunc"].unsqueeze(1).expand(-1, wplus.shape[1], -1))
    return got


def _discriminator(golden: Golden) -> dict[str, Any]:
    net = _filled(Discriminator(golden.meta["source"]["constructor"]["size"]), golden)
    pictures = _input(golden, "image")
    got = _listened(net, golden)
    for name in golden.outputs():  # score_b8, …: of the first 8 pictures as one batch
        got[name] = net(pictures[: int(name.removeprefix("score_b"))])
    return got


def _encoders(golden: Golden) -> dict[str, Any]:
    rows_of_code = styles(golden.meta["source"]["constructor"]["opts"]["stylegan_size"])
    e4e = _filled(Encoder(rows_of_code), golden)
    picture = _input(golden, "image")
    got = _listened(e4e, golden)
    got["e4e_w"] = e4e(picture)
    e4e.relative = False  # pSp, of which the fixture has the same parameters
    got["psp_w"] = e4e(picture)
    return got


def _input(golden: Golden, name: str) -> Tensor:
    return torch.from_numpy(golden.inputs()[f"{golden.net}.{name}"])


def _filled(net: N, golden: Golden) -> N:
    net.load_state_dict({key: torch.from_numpy(value) for key, value in golden.params().items()})
    return net.eval()


def _listened(net: nn.Module, golden: Golden) -> dict[str, Any]:
    """Where the outputs of the inner modules that the fixture holds will be: of each one's first call."""
    got: dict[str, Any] = {}

    def listen(name: str) -> None:
        def keep(_: nn.Module, __: Any, output: Tensor) -> None:
            got.setdefault(name, output.clone())

        net.get_submodule(name.removeprefix("tap:")).register_forward_hook(keep)

    for name in golden.outputs(taps=True):
        if name.startswith("tap:"):
            listen(name)
    return got


CHECKS = (_generator, _discriminator, _encoders)  # of each of `NETS`
