"""The offline tool as its users have it: files in, a file out."""

import tempfile
from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from realtime.animate import Animation, animate
from realtime.bench.clips import read_clip, write_clip

Picture = npt.NDArray[np.uint8]  # H×W×3 RGB


def through_files(
    source: Picture, driving: Sequence[Picture], fps: Fraction, settings: Animation
) -> list[Picture]:
    """The avatar's frames, one for each driving frame, read back from the clip that the offline tool writes.

    source goes to it without loss, driving as H.264 at `CRF`. settings: how to animate, whatever its paths.
    """
    with tempfile.TemporaryDirectory() as folder:
        paths = [Path(folder) / name for name in ("source.png", "driving.mp4", "output.mp4")]
        Image.fromarray(source).save(paths[0])
        write_clip(paths[1], driving, fps)
        animate(replace(settings, source=(paths[0],), driving=paths[1], output=paths[2]))
        return read_clip(paths[2], len(driving)).frames
