"""NVlabs' StyleGAN2, through the names that its files have."""

from pathlib import Path
from typing import Any

from models.public_weights import nvlabs_generator
from models.stylegan2 import Generator
from tests.parity.golden import Golden
from tests.parity.nets import Row, given, listened, rows_of, state_of

TRUNCATION = 0.7  # of `w_psi07`
# Their layers, of which the fixture holds the first output, by ours.
TAPS = {
    "synthesis.b4.conv1": "conv1",
    "synthesis.b4.torgb": "to_rgb1",
    "synthesis.b8.conv0": "convs.0",
    "synthesis.b8.conv1": "convs.1",
    "synthesis.b256.conv1": "convs.11",
}


def rows(folder: Path | str) -> list[Row]:
    """See `rows_of`."""
    return rows_of(folder, CHECKS)


def _generator(golden: Golden) -> dict[str, Any]:
    state, mean = nvlabs_generator(state_of(golden))
    generator = Generator(golden.meta["source"]["constructor"]["img_resolution"])
    generator.load_state_dict(state)
    got = listened(generator, golden, TAPS)
    z, ws = given(golden, "z"), given(golden, "ws")
    got["image_ws"] = generator(ws)
    got["w"] = generator.map(z)
    got["w_psi07"] = generator.map(z, TRUNCATION, mean)
    got["image_z"] = generator(got["w"][:1].unsqueeze(1).expand(-1, ws.shape[1], -1))
    return got


CHECKS = {"sg2_ada_g": _generator}
NETS = tuple(CHECKS)
