"""Make a painting speak:

    python examples/animate_painting.py tests/media/grid_brbk7n.mp4 mona_lisa.mp4

Or your own picture, with your own clip:

    python examples/animate_painting.py me.mp4 out.mp4 --source me.jpg
"""

import argparse
from pathlib import Path

from realtime.animate import Animation, animate

parser = argparse.ArgumentParser(description="Make a painting speak.")
parser.add_argument("driving", type=Path, help="clip of a face")
parser.add_argument("output", type=Path, help="clip to write, .mp4")
parser.add_argument(
    "--source", type=Path, default=Path(__file__).parent / "mona_lisa.jpg", help="painting or photo"
)
given = parser.parse_args()

report = animate(Animation(source=(given.source,), driving=given.driving, output=given.output, compare=True))
print(f"{given.output}: {report.frames} frames: painting, driver, and the painting alive")
