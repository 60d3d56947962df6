"""Where every random number of the rendered faces comes from."""

from zlib import crc32

import numpy as np


def rng(seed: int, name: str, index: int) -> np.random.Generator:
    """The stream of the thing called `name` of identity or clip `index` (≥ 0). Streams are independent of one
    another: identity 17 is the same in any batch, and what another thing draws doesn't move it."""
    return np.random.default_rng([seed, crc32(name.encode()), index])
