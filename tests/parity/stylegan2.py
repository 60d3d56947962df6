"""StyleGAN2's generator and discriminator, and the encoders e4e and pSp, against the originals' numbers."""

from pathlib import Path
from typing import Any

from models.e4e import Encoder
from models.stylegan2 import Discriminator, Generator, styles
from tests.parity.golden import Golden
from tests.parity.nets import Row, filled, given, listened, rows_of

TRUNCATION = 0.7  # of `image_z_trunc`


def rows(folder: Path | str) -> list[Row]:
    """See `rows_of`."""
    return rows_of(folder, CHECKS)


def _generator(golden: Golden) -> dict[str, Any]:
    net = filled(Generator(golden.meta["source"]["constructor"]["size"]), golden)
    z, wplus, wmean = (given(golden, name) for name in ("z", "wplus", "wmean"))
    got = listened(net, golden)
    got["w"] = net.map(z)
    got["image_wplus"] = net(wplus)
    got["latent_z_trunc"] = net.map(z[:1], TRUNCATION, wmean)
    got["image_z_trunc"] = net(got["latent_z_trunc"].unsqueeze(1).expand(-1, wplus.shape[1], -1))
    return got


def _discriminator(golden: Golden) -> dict[str, Any]:
    net = filled(Discriminator(golden.meta["source"]["constructor"]["size"]), golden)
    pictures = given(golden, "image")
    got = listened(net, golden)
    for name in golden.outputs():  # score_b8, …: of the first 8 pictures as one batch
        got[name] = net(pictures[: int(name.removeprefix("score_b"))])
    return got


def _encoders(golden: Golden) -> dict[str, Any]:
    rows_of_code = styles(golden.meta["source"]["constructor"]["opts"]["stylegan_size"])
    e4e = filled(Encoder(rows_of_code), golden)
    picture = given(golden, "image")
    got = listened(e4e, golden)
    got["e4e_w"] = e4e(picture)
    e4e.relative = False  # pSp, of which the fixture has the same parameters
    got["psp_w"] = e4e(picture)
    return got


CHECKS = {"sg2_rosinality_g": _generator, "sg2_rosinality_d": _discriminator, "e4e": _encoders}
NETS = tuple(CHECKS)
