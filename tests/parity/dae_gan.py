"""pix2pixHD's generator and discriminator, of whose blocks `dae_gan` is made, against the originals."""

from pathlib import Path
from typing import Any

import torch

from models.pix2pixhd import GlobalGenerator, MultiscaleDiscriminator
from tests.parity.golden import Golden
from tests.parity.nets import Row, filled, listened, rows_of


def rows(folder: Path | str) -> list[Row]:
    """See `rows_of`."""
    return rows_of(folder, CHECKS)


def _generator(golden: Golden) -> dict[str, Any]:
    made = golden.meta["source"]["constructor"]
    net = GlobalGenerator(
        made["input_nc"], made["output_nc"], made["ngf"], made["n_downsampling"], made["n_blocks"]
    )
    got = listened(filled(net, golden), golden)
    (picture,) = golden.inputs().values()
    got["image"] = net(torch.from_numpy(picture))
    return got


def _discriminator(golden: Golden) -> dict[str, Any]:
    made = golden.meta["source"]["constructor"]
    net = MultiscaleDiscriminator(made["input_nc"], made["ndf"], made["n_layers"], made["num_D"])
    filled(net, golden)
    (picture,) = golden.inputs().values()
    return {
        f"d{scale}_layer{index}": layer
        for scale, layers in enumerate(net(torch.from_numpy(picture)))
        for index, layer in enumerate(layers)
    }


CHECKS = {"p2phd_g": _generator, "p2phd_d": _discriminator}
NETS = tuple(CHECKS)
